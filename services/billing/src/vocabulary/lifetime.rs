//! The days on which something is in force.

use chrono::NaiveDate;

/// The days from `start` up to, and without, `stop`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lifetime {
    /// First day in force; `None` until it is decided.
    pub start: Option<NaiveDate>,
    /// First day no longer in force; `None` if it is open.
    pub stop: Option<NaiveDate>,
}

impl Lifetime {
    /// Returns true if the day is one of them.
    #[must_use]
    pub fn covers(self, day: NaiveDate) -> bool {
        self.start.is_some_and(|start| start <= day) && !self.ended(day)
    }

    /// Returns true if they are over on a day.
    #[must_use]
    pub fn ended(self, day: NaiveDate) -> bool {
        self.stop.is_some_and(|stop| stop <= day)
    }

    /// Returns true if the end comes after the beginning, as far as both are known.
    #[must_use]
    pub fn is_forward(self) -> bool {
        match (self.start, self.stop) {
            (Some(start), Some(stop)) => stop > start,
            _ => true,
        }
    }

    /// The lifetime of something that is cancelled on a day: it ends on that day, or never begins.
    #[must_use]
    pub fn cut(self, day: NaiveDate) -> Self {
        let end = self.start.map_or(day, |start| start.max(day));
        Self { start: self.start, stop: Some(self.stop.map_or(end, |stop| stop.min(end))) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn day(day: u32) -> NaiveDate {
        NaiveDate::from_ymd_opt(2024, 3, day).unwrap()
    }

    #[test]
    fn cancelling_ends_today_or_before_the_first_day() {
        let open = Lifetime { start: Some(day(5)), stop: None };
        assert_eq!(open.cut(day(8)).stop, Some(day(8)));
        assert_eq!(open.cut(day(1)).stop, Some(day(5)), "never begins");
        let ended = Lifetime { start: Some(day(5)), stop: Some(day(7)) };
        assert_eq!(ended.cut(day(20)).stop, Some(day(7)), "what is over stays as it was");
    }

    #[test]
    fn a_lifetime_runs_forward() {
        assert!(!Lifetime { start: Some(day(5)), stop: Some(day(5)) }.is_forward());
        assert!(Lifetime { start: Some(day(5)), stop: None }.is_forward());
    }
}
