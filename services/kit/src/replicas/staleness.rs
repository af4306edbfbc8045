//! The upper bound of a replica's staleness. Pure: positions and times are handed in.
//!
//! The primary's position in its write-ahead log is sampled periodically, each time with an instant
//! taken *before* the query. Everything the primary had committed by that instant lies below that
//! position; a replica that has replayed the log up to it has all of it, and is stale by no more
//! than the age of the sample. Only the clock of this process is used, never a server's time: the
//! time of the last replayed commit grows old on an idle primary, and says nothing while the
//! connection between the two is cut.
//!
//! Anything unknown makes the bound larger, never smaller.

use std::time::{Duration, Instant};

use communal_proto::Fault;
use communal_proto::contract::v1::FaultKind;

/// The request metadata with the accepted staleness in milliseconds.
pub const LIMIT: &str = "x-max-staleness-ms";
/// The response metadata with the upper bound of the staleness in milliseconds; 0 from the primary.
pub const ACTUAL: &str = "x-data-staleness-ms";
/// The longest staleness that can be accepted; older samples are dropped.
pub const LONGEST: Duration = Duration::from_hours(24);

/// A sample is dropped if the age of the next one is more than this many times the gap around it,
/// which makes a bound too large by at most this fraction of itself.
const SHARE: u32 = 32;

/// A place in a write-ahead log, in bytes from its beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position(u64);

/// Bytes of the header of a segment's first page, and of the header of other pages.
const SEGMENT_HEADER: u64 = 40;
const PAGE_HEADER: u64 = 24;

impl Position {
    /// Returns the position up to which a replica has replayed.
    #[must_use]
    pub fn replayed(bytes: u64) -> Self {
        Self(bytes)
    }

    /// Returns the position below which everything lies that a primary has written, given where it
    /// would write next. Right behind the header of a page nothing has been written to that page
    /// yet: a replica gets no further than the page's beginning until something is, which may take
    /// hours on an idle primary whose segment was switched.
    #[must_use]
    pub fn written(next: u64, page: u64, segment: u64) -> Self {
        let within = |size: u64| next.checked_rem(size).unwrap_or(next);
        let header = if within(segment) == within(page) { SEGMENT_HEADER } else { PAGE_HEADER };
        Self(if within(page) <= header { next - within(page) } else { next })
    }
}

/// The origin of a log. Positions in logs of different origins cannot be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The identifier that `initdb` gave the database system; its replicas share it.
    pub system: i64,
    /// The timeline, raised by every promotion: later writes of the old primary are not in the log.
    pub timeline: i32,
    /// The database within it.
    pub database: String,
}

/// The replay state that a server reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayState {
    /// True if it replays the log of another server. One that was promoted does not.
    pub standby: bool,
    /// The origin of the log it replays.
    pub origin: Origin,
    /// The position it has reached; absent if it has replayed nothing.
    pub replayed: Option<Position>,
}

impl ReplayState {
    /// Returns why the server cannot answer for this primary at all, however fresh it is.
    #[must_use]
    pub fn defect(&self, primary: &Origin) -> Option<&'static str> {
        if !self.standby {
            Some("it is not a standby")
        } else if self.origin.system != primary.system {
            Some("it belongs to another database system than the primary")
        } else if self.origin.database != primary.database {
            Some("it is another database than the primary's")
        } else if self.origin.timeline != primary.timeline {
            Some("it is not known to follow the timeline of the primary")
        } else {
            None
        }
    }
}

/// A sample: by this instant the primary had written no further than this position.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Instant,
    position: Position,
}

/// The primary's positions over time, as far back as [`LONGEST`].
#[derive(Clone, Debug, Default)]
pub struct PositionHistory {
    origin: Option<Origin>,
    /// Both instants and positions rise.
    samples: Vec<Sample>,
}

impl PositionHistory {
    /// The origin of the log.
    #[must_use]
    pub fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }

    /// The number of samples.
    #[must_use]
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// Returns whether there is no sample.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// Adds a sample. `asked_at` was taken before the query.
    pub fn note(&mut self, origin: Origin, position: Position, asked_at: Instant) {
        // A log that became shorter lost its end in a crash: what is written there now differs
        // from what was sampled.
        let shorter = self.samples.last().is_some_and(|last| position < last.position);
        if shorter || self.origin.as_ref() != Some(&origin) {
            self.samples.clear();
            self.origin = Some(origin);
        }
        match self.samples.last_mut() {
            Some(last) if asked_at <= last.at => return,
            // Nothing was written in between: the later sample is more precise.
            Some(last) if position == last.position => last.at = asked_at,
            _ => self.samples.push(Sample { at: asked_at, position }),
        }
        self.thin_out(asked_at);
    }

    /// Drops samples whose neighbours are close enough. A dropped sample is replaced by an older one,
    /// so this can only make a bound larger.
    fn thin_out(&mut self, now: Instant) {
        let mut kept: Vec<Sample> = Vec::with_capacity(self.samples.len());
        for (index, note) in self.samples.iter().enumerate() {
            if now.saturating_duration_since(note.at) > LONGEST {
                continue;
            }
            let redundant = kept.last().zip(self.samples.get(index + 1)).is_some_and(|(before, after)| {
                let gap = after.at.saturating_duration_since(before.at);
                gap.saturating_mul(SHARE) <= now.saturating_duration_since(after.at)
            });
            if !redundant {
                kept.push(*note);
            }
        }
        self.samples = kept;
    }

    /// Returns the upper bound of a replica's staleness: the age of the newest sample that it has
    /// reached, or `None` if that is not known.
    #[must_use]
    pub fn behind(&self, replay_state: &ReplayState, now: Instant) -> Option<Duration> {
        if self.origin.as_ref().is_none_or(|primary| replay_state.defect(primary).is_some()) {
            return None;
        }
        let replayed = replay_state.replayed?;
        let reached = self.samples.partition_point(|note| note.position <= replayed);
        let newest = self.samples.get(reached.checked_sub(1)?)?;
        Some(now.saturating_duration_since(newest.at))
    }

    /// Returns the smallest bound that any replica can have: the age of the newest sample.
    #[must_use]
    pub fn least(&self, now: Instant) -> Option<Duration> {
        self.samples.last().map(|newest| now.saturating_duration_since(newest.at))
    }
}

/// Parses the accepted staleness.
///
/// # Errors
/// Returns a fault if the text is not a whole number of milliseconds from 1 to a day.
pub fn read_limit(text: &str) -> Result<Duration, Fault> {
    let longest = LONGEST.as_millis();
    let fault = |kind| Fault {
        field: LIMIT.into(),
        kind,
        description: format!("is not a whole number of milliseconds from 1 to {longest}"),
        text: format!("{LIMIT}必须是1到{longest}之间的整数（毫秒）"),
    };
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(fault(FaultKind::Format));
    }
    // More digits than any allowed number has.
    let limit = text.parse().map(Duration::from_millis).map_err(|_| fault(FaultKind::Range))?;
    if limit.is_zero() || limit > LONGEST { Err(fault(FaultKind::Range)) } else { Ok(limit) }
}

/// Returns a bound as the metadata shows it: whole milliseconds, rounded up, and never 0, which
/// stands for the primary.
#[must_use]
pub fn actual_ms(behind: Duration) -> u64 {
    u64::try_from(behind.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX).max(1)
}
