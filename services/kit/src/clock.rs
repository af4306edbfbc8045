//! Clocks that are passed in. Business dates are days in a configured time zone; instants are UTC.
//! Tests use a clock that they set; a sandbox has one that is set for a whole Communal.

use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, NaiveDate, NaiveDateTime, TimeZone, Utc};
use chrono_tz::Tz;

use crate::config::Reader;
use crate::sandbox::Sandbox;

/// The default time zone of business dates.
pub const DEFAULT_ZONE: Tz = Tz::Asia__Shanghai;

/// A clock with the time zone of business dates.
#[derive(Clone, Debug)]
pub struct Clock {
    zone: Tz,
    fixed: Option<Arc<Mutex<DateTime<Utc>>>>,
    sandbox: Option<Arc<Sandbox>>,
}

impl Clock {
    /// Reads the zone of business dates and whether this is a sandbox.
    pub fn read(reader: &mut Reader) -> Self {
        let zone = reader.parsed("time_zone", DEFAULT_ZONE);
        Self { sandbox: Sandbox::read(reader, zone), ..Self::system(zone) }
    }

    /// Creates a clock that reads the machine's time.
    #[must_use]
    pub fn system(zone: Tz) -> Self {
        Self { zone, fixed: None, sandbox: None }
    }

    /// Creates a clock that stands still until it is set.
    #[must_use]
    pub fn fixed(zone: Tz, instant: DateTime<Utc>) -> Self {
        Self { zone, fixed: Some(Arc::new(Mutex::new(instant))), sandbox: None }
    }

    /// Sets a fixed clock; does nothing to the machine's clock.
    pub fn set(&self, instant: DateTime<Utc>) {
        if let Some(fixed) = &self.fixed {
            *fixed.lock().unwrap_or_else(PoisonError::into_inner) = instant;
        }
    }

    /// Returns the current instant of business: what a rule, a date or a record means by «now».
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        self.machine() + self.sandbox.as_ref().map(|sandbox| sandbox.offset()).unwrap_or_default()
    }

    /// Returns whether this is a sandbox.
    #[must_use]
    pub fn is_sandbox(&self) -> bool {
        self.sandbox.is_some()
    }

    /// Lets a sandbox's clock count from now on: its database holds demo data, or is about to.
    pub fn admit_sandbox(&self) {
        if let Some(sandbox) = &self.sandbox {
            sandbox.admit();
        }
    }

    /// Returns the current instant by the machine's clock, also in a sandbox: for credentials and the times of requests, which
    /// callers make by their own machines' clocks.
    #[must_use]
    pub fn machine(&self) -> DateTime<Utc> {
        match &self.fixed {
            Some(fixed) => *fixed.lock().unwrap_or_else(PoisonError::into_inner),
            None => Utc::now(),
        }
    }

    /// Returns the current business date.
    #[must_use]
    pub fn today(&self) -> NaiveDate {
        self.local(self.now()).date()
    }

    /// Returns the local time of an instant.
    #[must_use]
    pub fn local(&self, instant: DateTime<Utc>) -> NaiveDateTime {
        instant.with_timezone(&self.zone).naive_local()
    }

    /// Returns the instant of a local time. A time in the gap of a daylight-saving change becomes the
    /// instant after the gap; a time that occurs twice becomes the first of the two.
    #[must_use]
    pub fn instant(&self, local: NaiveDateTime) -> DateTime<Utc> {
        let hour = chrono::TimeDelta::hours(1);
        self.zone
            .from_local_datetime(&local)
            .earliest()
            .or_else(|| self.zone.from_local_datetime(&(local + hour)).earliest())
            .map_or_else(|| local.and_utc(), |t| t.with_timezone(&Utc))
    }

    /// Returns the time zone of business dates.
    #[must_use]
    pub fn zone(&self) -> Tz {
        self.zone
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_business_date_is_the_zones_not_utcs() {
        let evening = Utc.with_ymd_and_hms(2024, 2, 29, 16, 30, 0).unwrap();
        let clock = Clock::fixed(DEFAULT_ZONE, evening);
        assert_eq!(clock.today(), NaiveDate::from_ymd_opt(2024, 3, 1).unwrap());
        assert_eq!(clock.instant(clock.local(evening)), evening);
        clock.set(evening + chrono::TimeDelta::days(1));
        assert_eq!(clock.today(), NaiveDate::from_ymd_opt(2024, 3, 2).unwrap());
    }
}
