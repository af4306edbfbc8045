//! The facts of a fee that its amount depends on.

use std::num::NonZeroU32;

use chrono::{Days, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta};
use rust_decimal::Decimal;

use super::months;

/// Whole days, the last one excluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first day.
    pub from: NaiveDate,
    /// The day after the last one.
    pub until: NaiveDate,
}

impl Span {
    /// The number of days.
    #[must_use]
    pub fn days(self) -> i64 {
        self.until.signed_duration_since(self.from).num_days()
    }

    /// The last second.
    #[must_use]
    pub fn last_second(self) -> NaiveDateTime {
        last_second_before(self.until)
    }
}

/// A fee.
#[derive(Clone, Debug)]
pub struct Fee {
    /// The time that it charges for.
    pub course: Course,
    /// An ended fee owes nothing.
    pub ended: bool,
    /// Credit: what payments brought beyond the whole days that they cover.
    pub credit: Decimal,
    /// The amount stored with the fee (4004, 6006, 8008).
    pub amount: Option<Decimal>,
    /// The meter reading (5005, 9009).
    pub reading: Option<Reading>,
    /// Escalation of the rent (1102).
    pub escalation: Option<Escalation>,
}

impl Fee {
    /// A fee that has only its course.
    #[must_use]
    pub fn of(course: Course) -> Self {
        Self { course, ended: false, credit: Decimal::ZERO, amount: None, reading: None, escalation: None }
    }
}

/// A meter reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The previous degrees.
    pub previous: Decimal,
    /// The current degrees.
    pub current: Decimal,
    /// The unit price that was stored with the reading (9009).
    pub price: Option<Decimal>,
}

/// Escalation of a rent (递增).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Escalation {
    /// A day of the month in which the rent first rises; its day becomes that of the anchor.
    pub from: NaiveDate,
    /// Months between two rises.
    pub every: NonZeroU32,
    /// The rise: 0.05 for 5 %.
    pub rate: Decimal,
}

/// The time that a fee charges for.
#[derive(Clone, Debug)]
pub enum Course {
    /// A periodic or indirect fee.
    Running(Running),
    /// A one-off fee.
    OneOff(OneOff),
    /// A bill: one span of a bill rule.
    Bill(Bill),
}

impl Course {
    /// The day from which months are counted.
    #[must_use]
    pub fn start(&self) -> NaiveDate {
        match self {
            Self::Running(running) => running.start,
            Self::OneOff(one_off) => one_off.start.date(),
            Self::Bill(bill) => bill.rule_start,
        }
    }
}

/// A contradiction between the times of a fee.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CourseError {
    /// The paid-through time is before the start.
    #[error("the paid-through time is before the start")]
    PaidBeforeStart,
    /// A paid span is empty, overlaps another one, or begins before the paid-through time.
    #[error("a paid span is empty, overlaps another or begins before the paid-through time")]
    PaidSpans,
    /// A time is beyond the calendar.
    #[error("a time is beyond the calendar")]
    OutOfRange,
}

/// A periodic or indirect fee. It charges whole days.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    pub(super) start: NaiveDate,
    /// The first day that is not paid.
    pub(super) unpaid: NaiveDate,
    /// The day after the last one that is charged.
    pub(super) end: NaiveDate,
    /// Spans that are paid beyond the first unpaid day, in order.
    pub(super) paid: Vec<Span>,
}

impl Running {
    /// Cuts the times of a fee to days. The start and the paid-through time mean their day, a limit means its
    /// whole day; the limit is the earlier of the fee's deadline and the item's end. A paid-through
    /// time that is the last second of the limit means that every day is paid. `paid` are spans that
    /// were paid beyond a gap.
    ///
    /// # Errors
    /// Returns a [`CourseError`] if the times contradict each other.
    pub fn new(
        start: NaiveDateTime,
        paid_through: NaiveDateTime,
        deadline: Option<NaiveDateTime>,
        item_end: NaiveDateTime,
        mut paid: Vec<Span>,
    ) -> Result<Self, CourseError> {
        let limit = deadline.map_or(item_end, |deadline| deadline.min(item_end)).date();
        let end = limit.succ_opt().ok_or(CourseError::OutOfRange)?;
        let shown_at_limit = paid_through >= last_second_before(end);
        let mut unpaid = if shown_at_limit { end.max(paid_through.date()) } else { paid_through.date() };
        let start = start.date();
        if unpaid < start {
            return Err(CourseError::PaidBeforeStart);
        }
        paid.sort_by_key(|span| span.from);
        let mut earlier = unpaid;
        for span in &paid {
            if span.from < earlier || span.until <= span.from {
                return Err(CourseError::PaidSpans);
            }
            earlier = span.until;
            if span.from == unpaid {
                unpaid = span.until;
            }
        }
        paid.retain(|span| span.from >= unpaid);
        Ok(Self { start, unpaid, end, paid })
    }

    /// The first day that is not paid.
    #[must_use]
    pub fn unpaid(&self) -> NaiveDate {
        self.unpaid
    }

    /// The day after the last one that is charged.
    #[must_use]
    pub fn end(&self) -> NaiveDate {
        self.end
    }

    /// The paid-through time as it is shown: the first unpaid day, and never beyond the limit.
    #[must_use]
    pub fn paid_through(&self) -> NaiveDateTime {
        self.shown(self.unpaid)
    }

    /// A paid-through day as it is shown.
    #[must_use]
    pub fn shown(&self, unpaid: NaiveDate) -> NaiveDateTime {
        midnight(unpaid).min(last_second_before(self.end))
    }

    /// The spans before `until` that are not paid, in order.
    pub(super) fn unpaid_before(&self, until: NaiveDate) -> Vec<Span> {
        let until = until.min(self.end);
        let mut spans = Vec::with_capacity(1 + self.paid.len());
        let mut from = self.unpaid;
        for paid in &self.paid {
            if from < until && from < paid.from {
                spans.push(Span { from, until: until.min(paid.from) });
            }
            from = from.max(paid.until);
        }
        if from < until {
            spans.push(Span { from, until });
        }
        spans
    }

    /// The first day that is not paid after the days of `span` are.
    pub(super) fn unpaid_after(&self, span: Span) -> NaiveDate {
        if span.from > self.unpaid {
            return self.unpaid;
        }
        self.paid.iter().fold(self.unpaid.max(span.until), |unpaid, paid| {
            if paid.from <= unpaid { unpaid.max(paid.until) } else { unpaid }
        })
    }

    /// The day at which the unpaid days from the paid-through time on end: the next paid span, or the limit.
    pub(super) fn next_stop(&self) -> NaiveDate {
        self.paid.first().map_or(self.end, |span| span.from.min(self.end))
    }

    /// Returns whether a day of `span` is paid.
    pub(super) fn is_paid_within(&self, span: Span) -> bool {
        span.from < self.unpaid || self.paid.iter().any(|paid| paid.from < span.until && span.from < paid.until)
    }

    /// Months from the start to a day.
    #[must_use]
    pub fn months_at(&self, day: NaiveDate) -> months::Months {
        months::at(self.start, day)
    }
}

/// A one-off fee. It is paid whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OneOff {
    /// The time from which it is owed.
    pub start: NaiveDateTime,
    /// The time until which it is to be paid.
    pub deadline: NaiveDateTime,
}

/// A bill. It charges its own span, with months counted from the start of its rule, and is owed from
/// the moment it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bill {
    /// Start of the bill rule.
    pub rule_start: NaiveDate,
    /// The span that is billed.
    pub span: Span,
}

/// The first moment of a day.
pub(super) fn midnight(day: NaiveDate) -> NaiveDateTime {
    day.and_time(NaiveTime::MIN)
}

/// The last second before a day.
pub(super) fn last_second_before(day: NaiveDate) -> NaiveDateTime {
    midnight(day).checked_sub_signed(TimeDelta::seconds(1)).unwrap_or(NaiveDateTime::MIN)
}

/// The moment so many days before the first moment of a day.
pub(super) fn days_before(day: NaiveDateTime, days: u32) -> NaiveDateTime {
    day.checked_sub_days(Days::new(u64::from(days))).unwrap_or(NaiveDateTime::MIN)
}
