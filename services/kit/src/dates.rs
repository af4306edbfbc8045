//! Dates in the documented form: numbers yyyyMMdd.

use chrono::{Datelike, NaiveDate};

/// Returns a date as `yyyyMMdd`.
///
/// ```
/// let date = chrono::NaiveDate::from_ymd_opt(2024, 2, 29).unwrap();
/// assert_eq!(communal_kit::dates::to_number(date), 20240229);
/// ```
#[must_use]
pub fn to_number(date: NaiveDate) -> i32 {
    date.year() * 10_000 + (date.month() * 100 + date.day()).cast_signed()
}

/// Returns the date of a `yyyyMMdd`, or `None` if there is no such day; zero is no date.
#[must_use]
pub fn from_number(number: i32) -> Option<NaiveDate> {
    let part = |value: i32| u32::try_from(value).ok();
    NaiveDate::from_ymd_opt(number / 10_000, part(number / 100 % 100)?, part(number % 100)?)
}
