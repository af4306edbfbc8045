//! How far behind a replica is at most. Pure: positions and times are handed in.
//!
//! The primary's position in its write-ahead log is noted again and again, each time with an
//! instant taken *before* it was asked for. Whatever the primary had committed by that instant
//! lies below that position; a replica that has replayed the log up to there has all of it, and
//! is behind by no more than the age of the note. There is one clock, that of this process, and
//! no server's word about time is believed: the time of the last replayed commit grows old on an
//! idle primary and says nothing where the connection between the two is cut.
//!
//! Whatever is not known makes the bound larger, never smaller.

use std::time::{Duration, Instant};

use communal_proto::Fault;
use communal_proto::contract::v1::FaultKind;

/// Metadata of a request: how many milliseconds behind the primary its answer may be.
pub const LIMIT: &str = "x-max-staleness-ms";
/// Metadata of the answer to such a request: how many it is behind at most; 0 from the primary.
pub const SHOWN: &str = "x-data-staleness-ms";
/// The furthest behind that can be asked for; older notes are forgotten.
pub const LONGEST: Duration = Duration::from_hours(24);

/// Two notes are thinned out where the age of the younger is more than this many times the gap
/// between them: a bound is then too large by a share of itself and no more.
const SHARE: u32 = 32;

/// A place in a write-ahead log, in bytes from its beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position(u64);

/// What the first page of a log segment begins with, and what the others do.
const SEGMENT_HEADER: u64 = 40;
const PAGE_HEADER: u64 = 24;

impl Position {
    /// The place up to which a replica has replayed.
    #[must_use]
    pub fn replayed(bytes: u64) -> Self {
        Self(bytes)
    }

    /// The place below which everything lies that a primary has written, from where it would
    /// write next. Right behind the header of a page nothing has been written to that page: a
    /// replica will not come closer than to its beginning before something is, which on an
    /// idle primary whose segment was switched may take hours.
    #[must_use]
    pub fn written(next: u64, page: u64, segment: u64) -> Self {
        let within = |size: u64| next.checked_rem(size).unwrap_or(next);
        let header = if within(segment) == within(page) { SEGMENT_HEADER } else { PAGE_HEADER };
        Self(if within(page) <= header { next - within(page) } else { next })
    }
}

/// Whose log it is. Positions in logs of different origin cannot be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// What `initdb` called the database system; its replicas have it too.
    pub system: i64,
    /// Raised by every promotion: what the old primary wrote after it is not in the new log.
    pub timeline: i32,
    /// The database within it.
    pub database: String,
}

/// What a server says of itself when it is asked to answer as a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whether it replays the log of another server. One that was promoted does not.
    pub standby: bool,
    /// Whose log it replays.
    pub origin: Origin,
    /// How far it has; nothing where it has replayed nothing.
    pub replayed: Option<Position>,
}

impl Standing {
    /// Why it cannot stand in for this primary at all, however fresh it is.
    #[must_use]
    pub fn trouble(&self, primary: &Origin) -> Option<&'static str> {
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

/// One note: by this instant the primary had written no further.
#[derive(Clone, Copy, Debug)]
struct Note {
    at: Instant,
    position: Position,
}

/// Where the primary was when, as far back as [`LONGEST`].
#[derive(Clone, Debug, Default)]
pub struct Trail {
    origin: Option<Origin>,
    /// Both instants and positions rise.
    notes: Vec<Note>,
}

impl Trail {
    /// Whose log it is about.
    #[must_use]
    pub fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }

    /// How many notes are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.notes.len()
    }

    /// Whether nothing is known of the primary.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.notes.is_empty()
    }

    /// Notes where the primary was. `asked_at` was taken before it was asked.
    pub fn note(&mut self, origin: Origin, position: Position, asked_at: Instant) {
        // A log that became shorter lost its end in a crash: what is written there now is not
        // what was noted.
        let shorter = self.notes.last().is_some_and(|last| position < last.position);
        if shorter || self.origin.as_ref() != Some(&origin) {
            self.notes.clear();
            self.origin = Some(origin);
        }
        match self.notes.last_mut() {
            Some(last) if asked_at <= last.at => return,
            // Nothing was written in between: the later note says more.
            Some(last) if position == last.position => last.at = asked_at,
            _ => self.notes.push(Note { at: asked_at, position }),
        }
        self.thin_out(asked_at);
    }

    /// The more a note is in the past, the less it matters exactly when it was. A missing note
    /// makes way for an older one, so this can only make a bound larger.
    fn thin_out(&mut self, now: Instant) {
        let mut kept: Vec<Note> = Vec::with_capacity(self.notes.len());
        for (index, note) in self.notes.iter().enumerate() {
            if now.saturating_duration_since(note.at) > LONGEST {
                continue;
            }
            let dispensable = kept.last().zip(self.notes.get(index + 1)).is_some_and(|(before, after)| {
                let gap = after.at.saturating_duration_since(before.at);
                gap.saturating_mul(SHARE) <= now.saturating_duration_since(after.at)
            });
            if !dispensable {
                kept.push(*note);
            }
        }
        self.notes = kept;
    }

    /// How far behind a replica is at most that has replayed up to there: the age of the newest
    /// note it has reached. Nothing where that is not known.
    #[must_use]
    pub fn behind(&self, standing: &Standing, now: Instant) -> Option<Duration> {
        if self.origin.as_ref().is_none_or(|primary| standing.trouble(primary).is_some()) {
            return None;
        }
        let replayed = standing.replayed?;
        let reached = self.notes.partition_point(|note| note.position <= replayed);
        let newest = self.notes.get(reached.checked_sub(1)?)?;
        Some(now.saturating_duration_since(newest.at))
    }

    /// The least that any replica can be shown to be behind: the age of the newest note.
    #[must_use]
    pub fn least(&self, now: Instant) -> Option<Duration> {
        self.notes.last().map(|newest| now.saturating_duration_since(newest.at))
    }
}

/// Reads how far behind an answer may be.
///
/// # Errors
/// What is no whole number of milliseconds from 1 to a day.
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
    // More digits than any number has that is small enough.
    let limit = text.parse().map(Duration::from_millis).map_err(|_| fault(FaultKind::Range))?;
    if limit.is_zero() || limit > LONGEST { Err(fault(FaultKind::Range)) } else { Ok(limit) }
}

/// A bound as a caller is shown it: whole milliseconds, rounded up, and never 0, which is the
/// primary's.
#[must_use]
pub fn shown(behind: Duration) -> u64 {
    u64::try_from(behind.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX).max(1)
}
