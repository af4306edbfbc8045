//! Times as the documents write them: `yyyy-MM-dd HH:mm:ss`, or a date. All are times of the
//! configured business zone.

use chrono::{NaiveDate, NaiveDateTime, NaiveTime, Timelike as _};

const TIME: &str = "%Y-%m-%d %H:%M:%S";
const DATE: &str = "%Y-%m-%d";

/// The start of a span: a date means its first second.
///
/// ```
/// use communal_community::vocabulary::times::{print, start};
/// assert_eq!(start("2024-01-01").map(print).as_deref(), Some("2024-01-01 00:00:00"));
/// assert_eq!(start("2024-01-01 12:30:00").map(print).as_deref(), Some("2024-01-01 12:30:00"));
/// assert_eq!(start("2024-02-30"), None);
/// ```
#[must_use]
pub fn start(text: &str) -> Option<NaiveDateTime> {
    read(text, NaiveTime::MIN)
}

/// The end of a span: a date means its last second, because people who write an end date
/// mean that day included.
///
/// ```
/// use communal_community::vocabulary::times::{end, print};
/// assert_eq!(end("2024-12-31").map(print).as_deref(), Some("2024-12-31 23:59:59"));
/// ```
#[must_use]
pub fn end(text: &str) -> Option<NaiveDateTime> {
    read(text, NaiveTime::from_hms_opt(23, 59, 59).unwrap_or_default())
}

fn read(text: &str, time_of_a_date: NaiveTime) -> Option<NaiveDateTime> {
    // chrono takes shorter forms as well; the documents do not.
    match text.len() {
        10 => NaiveDate::parse_from_str(text, DATE).ok().map(|date| date.and_time(time_of_a_date)),
        19 => NaiveDateTime::parse_from_str(text, TIME).ok(),
        _ => None,
    }
}

/// The documented text of a time.
#[must_use]
pub fn print(time: NaiveDateTime) -> String {
    // Without a format to read: lists print a dozen times for each fee.
    let time = time.with_nanosecond(0).unwrap_or(time);
    format!("{} {}", time.date(), time.time())
}

/// The documented text of a date.
#[must_use]
pub fn print_date(date: NaiveDate) -> String {
    date.to_string()
}
