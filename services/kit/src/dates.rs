//! Dates as the documents write them: numbers yyyyMMdd and texts.

use chrono::{Datelike, NaiveDate, NaiveDateTime, NaiveTime};

/// `yyyyMMdd` of a date.
///
/// ```
/// let date = chrono::NaiveDate::from_ymd_opt(2024, 2, 29).unwrap();
/// assert_eq!(communal_kit::dates::to_number(date), 20240229);
/// ```
#[must_use]
pub fn to_number(date: NaiveDate) -> i32 {
    date.year() * 10_000 + (date.month() * 100 + date.day()).cast_signed()
}

/// The date of a `yyyyMMdd`; `None` where there is no such day. Zero is no date.
#[must_use]
pub fn from_number(number: i32) -> Option<NaiveDate> {
    let part = |value: i32| u32::try_from(value).ok();
    NaiveDate::from_ymd_opt(number / 10_000, part(number / 100 % 100)?, part(number % 100)?)
}

/// Reads `yyyy-MM-dd` or `yyyy-MM-dd HH:mm:ss`; a date alone gets `time_of_day`.
#[must_use]
pub fn from_text(text: &str, time_of_day: NaiveTime) -> Option<NaiveDateTime> {
    NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S")
        .ok()
        .or_else(|| Some(NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_time(time_of_day)))
}

/// `yyyy-MM-dd HH:mm:ss`.
#[must_use]
pub fn to_text(time: NaiveDateTime) -> String {
    time.format("%Y-%m-%d %H:%M:%S").to_string()
}
