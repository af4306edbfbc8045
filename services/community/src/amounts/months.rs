//! Months from the start of a fee to a day, and back.
//!
//! Whole periods run from anchor to anchor: from the day of the month on which the fee starts, or
//! the last day of a month that lacks it (31 January, 29 February, 31 March). Between two anchors
//! the count is that of the documents: the days to the next 1st as a share of their month, whole
//! months, and the days of the last month as a share of it, each share at four places. It is held
//! between the counts of both anchors, so that a later day never has fewer months.

use chrono::{Datelike, NaiveDate};
use rust_decimal::Decimal;

/// Ten-thousandths in a month.
const WHOLE: i64 = 10_000;
/// Digits after the point of a count of months.
pub const PLACES: u32 = 4;

/// A count of months at four places.
///
/// ```
/// use communal_community::amounts::Months;
/// use rust_decimal::Decimal;
///
/// let months = Months::from_decimal(Decimal::new(15, 1)).unwrap();
/// assert_eq!(months.to_string(), "1.5000");
/// assert_eq!(Months::from_decimal(Decimal::new(1, 5)), None, "five places");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Months(i64);

impl Months {
    /// No time at all.
    pub const ZERO: Self = Self(0);
    /// One month.
    pub const ONE: Self = Self(WHOLE);

    /// A whole number of months.
    #[must_use]
    pub fn whole(months: u32) -> Self {
        Self(i64::from(months) * WHOLE)
    }

    /// Reads a number of months; `None` if it is negative or has more than four places.
    #[must_use]
    pub fn from_decimal(months: Decimal) -> Option<Self> {
        let mut scaled = months.normalize();
        if scaled.scale() > PLACES || scaled.is_sign_negative() {
            return None;
        }
        scaled.rescale(PLACES);
        (scaled.scale() == PLACES).then(|| i64::try_from(scaled.mantissa()).ok().map(Self)).flatten()
    }

    /// The number of months, with four places.
    #[must_use]
    pub fn to_decimal(self) -> Decimal {
        Decimal::new(self.0, PLACES)
    }

    /// The sum; `None` if it is out of range.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The time from `earlier` to this count; zero if that is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self(self.0.saturating_sub(earlier.0).max(0))
    }

    /// The whole months in it.
    #[must_use]
    pub fn completed(self) -> u32 {
        u32::try_from(self.0 / WHOLE).unwrap_or(0)
    }

    fn is_whole(self) -> bool {
        self.0 % WHOLE == 0
    }
}

impl std::fmt::Display for Months {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.to_decimal().fmt(out)
    }
}

/// The day on which the period after `months` whole months begins; `None` beyond the calendar.
#[must_use]
pub fn anchor(start: NaiveDate, months: u32) -> Option<NaiveDate> {
    start.checked_add_months(chrono::Months::new(months))
}

/// The number of anchors after the start that are not later than `day`: the completed months.
#[must_use]
pub fn completed(start: NaiveDate, day: NaiveDate) -> u32 {
    let months = month_number(day) - month_number(start);
    let reached = day.day() >= anchor_day(start, day);
    u32::try_from(months - i64::from(!reached)).unwrap_or(0)
}

/// The months from `start` to the first moment of `day`; zero for a day before the start.
///
/// ```
/// use chrono::NaiveDate;
/// use communal_community::amounts::months::at;
///
/// let day = |y, m, d| NaiveDate::from_ymd_opt(y, m, d).unwrap();
/// assert_eq!(at(day(2024, 1, 1), day(2024, 2, 16)).to_string(), "1.5172");
/// assert_eq!(at(day(2024, 1, 31), day(2024, 2, 29)).to_string(), "1.0000", "the anchor of February");
/// ```
#[must_use]
pub fn at(start: NaiveDate, day: NaiveDate) -> Months {
    if day <= start {
        return Months::ZERO;
    }
    let completed = completed(start, day);
    let (low, high) = (Months::whole(completed), Months::whole(completed + 1));
    if day.day() == anchor_day(start, day) {
        return low;
    }
    Months(between(start, day)).clamp(low, high)
}

/// The latest day whose months are not more than `months`: the day up to which they pay. Of several
/// days with the same whole count it is the anchor. `None` beyond the calendar.
#[must_use]
pub fn day_reached(start: NaiveDate, months: Months) -> Option<NaiveDate> {
    let first = anchor(start, months.completed())?;
    if months.is_whole() {
        return Some(first);
    }
    let next = anchor(start, months.completed() + 1)?;
    let found = latest(first, next.pred_opt()?, |day| at(start, day) <= months)?;
    Some(if at(start, found).is_whole() { first } else { found })
}

/// The latest day from `first` to `last` that `fits`; the days that fit come first. `None` if not
/// even `first` fits.
pub(super) fn latest(first: NaiveDate, last: NaiveDate, fits: impl Fn(NaiveDate) -> bool) -> Option<NaiveDate> {
    let (mut low, mut high) = (0, last.signed_duration_since(first).num_days());
    if high < 0 || !fits(first) {
        return None;
    }
    let day = |number: i64| first.checked_add_days(chrono::Days::new(u64::try_from(number).ok()?));
    while low < high {
        let middle = low + (high - low + 1) / 2;
        if fits(day(middle)?) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    day(low)
}

/// The count of the documents, in ten-thousandths, for a day after `start` that is no anchor.
fn between(start: NaiveDate, day: NaiveDate) -> i64 {
    let months = month_number(day) - month_number(start);
    let (first, last) = (u32::from(start.num_days_in_month()), u32::from(day.num_days_in_month()));
    if start.day() == 1 {
        return months * WHOLE + share(day.day() - 1, last);
    }
    if months == 0 {
        return share(day.day() - start.day(), first);
    }
    share(first - start.day() + 1, first) + (months - 1) * WHOLE + share(day.day() - 1, last)
}

/// Days as a share of their month, half up at four places.
fn share(days: u32, month: u32) -> i64 {
    let (days, month) = (i64::from(days), i64::from(month));
    (days * WHOLE * 2 + month) / (month * 2)
}

fn anchor_day(start: NaiveDate, month: NaiveDate) -> u32 {
    start.day().min(u32::from(month.num_days_in_month()))
}

fn month_number(day: NaiveDate) -> i64 {
    i64::from(day.year()) * 12 + i64::from(day.month0())
}
