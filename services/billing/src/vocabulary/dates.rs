//! Business days, times of day and account months as the documents write them: the numbers yyyyMMdd, HHmmss and yyyyMM,
//! 0 for none.

use chrono::{Datelike, NaiveDate, NaiveDateTime, Timelike};
use communal_kit::dates;

/// Returns the day of a documented number; `None` for 0 and for a day that does not exist.
#[must_use]
pub fn day(number: i32) -> Option<NaiveDate> {
    dates::from_number(number)
}

/// Returns the documented number of a day; 0 for none.
#[must_use]
pub fn day_number(day: Option<NaiveDate>) -> i32 {
    day.map_or(0, dates::to_number)
}

/// Returns the documented number of a time of day, HHmmss.
#[must_use]
pub fn time_number(time: NaiveDateTime) -> i32 {
    (time.hour() * 10_000 + time.minute() * 100 + time.second()).cast_signed()
}

/// Returns the day of a documented number at the time of another.
#[must_use]
pub fn instant(day_number: i32, time_number: i32) -> Option<NaiveDateTime> {
    let time = u32::try_from(time_number).ok()?;
    day(day_number)?.and_hms_opt(time / 10_000, time / 100 % 100, time % 100)
}

/// A month that is billed (账务年月).
///
/// ```
/// use communal_billing::vocabulary::dates::{AccountMonth, day};
/// assert_eq!(day(20_240_229).map(AccountMonth::of), AccountMonth::read(202_402));
/// assert_eq!(AccountMonth::read(202_413), None);
/// assert_eq!(AccountMonth::read(202_412).map(AccountMonth::next), AccountMonth::read(202_501));
/// assert_eq!(AccountMonth::read(202_412).map(AccountMonth::year), Some(2024));
/// assert_eq!(AccountMonth::read(202_412).and_then(AccountMonth::bounds), day(20_241_201).zip(day(20_250_101)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountMonth(i32);

impl AccountMonth {
    /// Reads a documented number; `None` for 0 and for a month that does not exist.
    #[must_use]
    pub fn read(number: i32) -> Option<Self> {
        ((190_001..=999_912).contains(&number) && (1..=12).contains(&(number % 100))).then_some(Self(number))
    }

    /// The month of a day.
    #[must_use]
    pub fn of(day: NaiveDate) -> Self {
        Self(day.year() * 100 + day.month().cast_signed())
    }

    /// The month after it.
    #[must_use]
    pub fn next(self) -> Self {
        Self(if self.0 % 100 == 12 { self.0 + 89 } else { self.0 + 1 })
    }

    /// The same month of the next year.
    #[must_use]
    pub fn a_year_later(self) -> Self {
        Self(self.0 + 100)
    }

    /// The calendar year.
    #[must_use]
    pub fn year(self) -> i32 {
        self.0 / 100
    }

    /// The first day of the month, and of the month after it.
    #[must_use]
    pub fn bounds(self) -> Option<(NaiveDate, NaiveDate)> {
        Some((day(self.0 * 100 + 1)?, day(self.next().0 * 100 + 1)?))
    }

    /// The documented number, yyyyMM.
    #[must_use]
    pub fn number(self) -> i32 {
        self.0
    }
}
