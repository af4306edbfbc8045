//! The sandbox clock: how far business time is from the machine's clock, for demos, trainings and tests of integrations
//! that cannot wait for the end of a month.
//!
//! A file says how far, so that every process of a sandbox follows one `./dev clock` command at once. It counts only after
//! the service's database has said that it holds demo data: real accounts are never billed in a time that is not theirs.
//! Credentials, request times, deadlines and log lines keep the machine's time.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Months, NaiveDate, NaiveDateTime, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;

use crate::config::Reader;

/// The setting that names the file.
pub const SETTING: &str = "sandbox_clock";
/// How far a clock may be from the machine's, in years. A clock that was moved too far by mistake could not be moved back.
const MOST_YEARS: u32 = 100;
/// How long the file's content is used before it is read again.
const REREAD: Duration = Duration::from_millis(200);

static OF_PROCESS: OnceLock<Arc<Sandbox>> = OnceLock::new();

/// The sandbox clock of a process.
#[derive(Debug)]
pub struct Sandbox {
    zone: Tz,
    file: PathBuf,
    admitted: AtomicBool,
    /// What the file said, and when it was read.
    read: Mutex<Option<(Instant, TimeDelta)>>,
}

/// Why a sandbox clock is not moved.
#[derive(Debug, thiserror::Error)]
pub enum NotMoved {
    /// The time or the span cannot be read.
    #[error("{0:?} is neither a time like 2026-01-05T10:00 nor a span like 1mo, 2w, 3d, 4h or 5m")]
    Unreadable(String),
    /// The time is before the present one.
    #[error("the clock stands at {} and never goes back: what was written then would lie in the future", .0.format("%Y-%m-%dT%H:%M:%S"))]
    Back(NaiveDateTime),
    /// The time is further from the machine's than any test needs.
    #[error("{} is more than {MOST_YEARS} years from now", .0.format("%Y-%m-%dT%H:%M:%S"))]
    Far(NaiveDateTime),
    /// The file cannot be written.
    #[error("{0}: {1}")]
    File(PathBuf, std::io::Error),
}

impl Sandbox {
    /// Reads the setting; the process has a sandbox clock from then on.
    pub fn read(reader: &mut Reader, zone: Tz) -> Option<Arc<Self>> {
        let file = reader.text(SETTING, "");
        (!file.is_empty()).then(|| Arc::clone(OF_PROCESS.get_or_init(|| Arc::new(Self::of_file(file, zone)))))
    }

    /// Returns the sandbox clock of the process, if it has one.
    #[must_use]
    pub fn of_process() -> Option<&'static Arc<Self>> {
        OF_PROCESS.get()
    }

    /// Creates a sandbox clock that follows a file.
    #[must_use]
    pub fn of_file(file: impl Into<PathBuf>, zone: Tz) -> Self {
        Self { zone, file: file.into(), admitted: AtomicBool::new(false), read: Mutex::new(None) }
    }

    /// Lets the clock count: the database holds demo data.
    pub fn admit(&self) {
        self.admitted.store(true, Ordering::Relaxed);
    }

    /// Returns the business time in the zone of business dates, to the second, once the clock counts.
    #[must_use]
    pub fn local(&self) -> Option<String> {
        let admitted = self.admitted.load(Ordering::Relaxed);
        let time = || (Utc::now() + self.offset()).with_timezone(&self.zone).format("%Y-%m-%dT%H:%M:%S").to_string();
        admitted.then(time)
    }

    /// Returns how far business time is ahead of the machine's, or behind if negative. Zero until the clock is admitted.
    #[must_use]
    pub fn offset(&self) -> TimeDelta {
        if !self.admitted.load(Ordering::Relaxed) {
            return TimeDelta::zero();
        }
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        match *read {
            Some((at, offset)) if at.elapsed() < REREAD => offset,
            former => {
                // A file that is being replaced, or is gone, moves nothing; and no file moves a clock back.
                let former = former.map(|(_, offset)| offset);
                let offset = said_by(&self.file).max(former).unwrap_or_default();
                *read = Some((Instant::now(), offset));
                offset
            }
        }
    }
}

/// Returns the time of the sandbox clock of a file, given the machine's.
#[must_use]
pub fn time(file: &Path, machine: DateTime<Utc>) -> DateTime<Utc> {
    machine + said_by(file).unwrap_or_default()
}

/// Moves the clock of a file to a local time, or on by a span: `2026-01-05T10:00`, `2026-01-05`, `1mo`, `2w`, `3d`, `4h`, `5m`.
/// Returns the time to which it was moved. A month after the 31st is the last day of the next month. Without a file
/// the clock stands at the machine's time.
///
/// # Errors
/// Returns an error if the text cannot be read, the time lies before the clock's, or the file cannot be written.
pub fn advance(file: &Path, to: &str, zone: Tz, machine: DateTime<Utc>) -> Result<NaiveDateTime, NotMoved> {
    let unreadable = || NotMoved::Unreadable(to.to_owned());
    let now = time(file, machine);
    let local = now.with_timezone(&zone).naive_local();
    let target = moment(to).or_else(|| on_by(local, to)).ok_or_else(unreadable)?;
    let instant = zone.from_local_datetime(&target).earliest().ok_or_else(unreadable)?.with_timezone(&Utc);
    // Seconds are not written, so the second that has just begun is not in the past.
    if instant < now - TimeDelta::seconds(1) {
        return Err(NotMoved::Back(local));
    }
    write(file, near(target, instant, machine)?)?;
    Ok(target)
}

/// Starts the clock of a file at a local time, which may lie in the machine's past: for a sandbox that has no data yet.
///
/// # Errors
/// Returns an error if the text cannot be read or the file cannot be written.
pub fn start(file: &Path, at: &str, zone: Tz, machine: DateTime<Utc>) -> Result<NaiveDateTime, NotMoved> {
    let unreadable = || NotMoved::Unreadable(at.to_owned());
    let target = moment(at).ok_or_else(unreadable)?;
    let instant = zone.from_local_datetime(&target).earliest().ok_or_else(unreadable)?;
    write(file, near(target, instant.with_timezone(&Utc), machine)?)?;
    Ok(target)
}

/// Returns how far an instant is from the machine's time.
///
/// # Errors
/// Returns an error if it is further than [`MOST_YEARS`].
fn near(target: NaiveDateTime, instant: DateTime<Utc>, machine: DateTime<Utc>) -> Result<TimeDelta, NotMoved> {
    let offset = instant.signed_duration_since(machine);
    if offset.num_days().unsigned_abs() > u64::from(MOST_YEARS) * 366 { Err(NotMoved::Far(target)) } else { Ok(offset) }
}

/// Writes an offset in whole seconds. A part of a second counts as one: a clock that was set to midnight never shows the day
/// before.
fn write(file: &Path, offset: TimeDelta) -> Result<(), NotMoved> {
    let beside = file.with_extension("new");
    let seconds = offset.num_seconds() + i64::from(offset.subsec_nanos() > 0);
    std::fs::write(&beside, format!("{seconds}\n"))
        .and_then(|()| std::fs::rename(&beside, file))
        .map_err(|error| NotMoved::File(file.to_owned(), error))
}

/// Reads the offset of a file, in seconds.
fn said_by(file: &Path) -> Option<TimeDelta> {
    TimeDelta::try_seconds(std::fs::read_to_string(file).ok()?.trim().parse().ok()?)
}

fn moment(text: &str) -> Option<NaiveDateTime> {
    ["%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M"]
        .iter()
        .find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())
        .or_else(|| NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0))
}

fn on_by(from: NaiveDateTime, span: &str) -> Option<NaiveDateTime> {
    let digits = span.bytes().take_while(u8::is_ascii_digit).count();
    let (count, unit) = span.split_at(digits);
    let count: u32 = count.parse().ok()?;
    match unit {
        "mo" => from.checked_add_months(Months::new(count)),
        "w" => from.checked_add_signed(TimeDelta::try_weeks(count.into())?),
        "d" => from.checked_add_signed(TimeDelta::try_days(count.into())?),
        "h" => from.checked_add_signed(TimeDelta::try_hours(count.into())?),
        "m" => from.checked_add_signed(TimeDelta::try_minutes(count.into())?),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const ZONE: Tz = Tz::Asia__Shanghai;

    fn file(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("communal-sandbox-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder.join("clock")
    }

    #[test]
    fn the_clock_is_moved_to_a_time_and_on_by_spans_and_never_back() {
        let (file, machine) = (file("moves"), Utc.with_ymd_and_hms(2026, 11, 1, 0, 0, 0).unwrap());
        start(&file, "2025-12-01", ZONE, machine).unwrap();
        let moved = |to: &str| advance(&file, to, ZONE, machine).map(|time| time.to_string());
        assert_eq!(moved("2026-01-31T10:00").unwrap(), "2026-01-31 10:00:00");
        assert_eq!(moved("1mo").unwrap(), "2026-02-28 10:00:00");
        assert_eq!(moved("3d").unwrap(), "2026-03-03 10:00:00");
        assert_eq!(moved("2026-04-01").unwrap(), "2026-04-01 00:00:00");
        assert!(matches!(moved("2026-03-31"), Err(NotMoved::Back(_))));
        for unreadable in ["", "mo", "1", "1y", "-1d", "2026-02-30", "tomorrow", "99999999999d"] {
            assert!(matches!(moved(unreadable), Err(NotMoved::Unreadable(_))), "{unreadable}");
        }
        for far in ["120000mo", "9999-01-01", "40000d"] {
            assert!(matches!(moved(far), Err(NotMoved::Far(_))), "{far}");
        }
        assert_eq!(time(&file, machine).with_timezone(&ZONE).naive_local().to_string(), "2026-04-01 00:00:00");
    }

    #[test]
    fn a_clock_is_never_before_the_time_to_which_it_was_set() {
        let file = file("fractions");
        for day in ["2026-12-01", "2026-10-01"] {
            let machine = Utc.with_ymd_and_hms(2026, 11, 1, 3, 0, 0).unwrap() + TimeDelta::milliseconds(10);
            start(&file, day, ZONE, machine).unwrap();
            let shown = time(&file, machine).with_timezone(&ZONE).naive_local();
            assert_eq!(shown.date().to_string(), day, "{shown}");
            assert!(advance(&file, day, ZONE, machine).is_ok(), "the same time again");
        }
    }

    #[test]
    fn it_counts_only_where_it_is_admitted_and_follows_its_file() {
        let file = file("follows");
        std::fs::write(&file, "86400\n").unwrap();
        let sandbox = Sandbox::of_file(&file, ZONE);
        assert_eq!(sandbox.offset(), TimeDelta::zero());
        sandbox.admit();
        assert_eq!(sandbox.offset(), TimeDelta::days(1));
        for (content, days) in [("172800\n", 2), ("86400\n", 2), ("nonsense", 2), ("259200", 3)] {
            std::fs::write(&file, content).unwrap();
            std::thread::sleep(REREAD);
            assert_eq!(sandbox.offset(), TimeDelta::days(days), "{content}");
        }
    }
}
