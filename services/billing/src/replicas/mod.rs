//! Hot standbys that may answer reads whose callers allow the answer to be somewhat behind.
//!
//! [`staleness`] knows how far behind one is at most, and is pure; [`store`] asks the servers;
//! the watchers keep what is known of the primary and of the replicas up to date.
//!
//! What the watchers saw of a replica only decides whether it is worth asking. The proof is made
//! on the connection that reads, right before it does: the URL may lead to one server now and to
//! another next time, and a server may have been replaced since it was looked at.

pub mod staleness;
pub mod store;
mod watch;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use communal_kit::database::{DatabaseSettings, Statement as _};
use communal_kit::pool::Pool;
use sqlx::{PgConnection, PgPool};
use tokio::task::JoinSet;
use tokio::time::timeout;

use staleness::{Standing, Trail};

/// Between two looks at a server.
const PERIOD: Duration = Duration::from_millis(250);
/// Longest wait for what a server says of itself.
const PATIENCE: Duration = Duration::from_secs(1);
/// As much may a replica have caught up since it was looked at; it is worth asking then.
const SINCE_SEEN: Duration = Duration::from_millis(500);

/// Says what is measured of them. Which server was read is counted without replicas too.
pub(crate) fn describe_metrics() {
    metrics::describe_gauge!(
        "communal_billing_replica_staleness_seconds",
        "How far a replica is behind the primary at most, by its number in the setting; inf where nothing is proved"
    );
    metrics::describe_counter!("communal_billing_arrears_reads_total", "Queries of arrears by the server they read");
    metrics::describe_counter!(
        "communal_billing_replica_fallbacks_total",
        "Queries of arrears that a replica might have answered and the primary had to, by reason"
    );
    for from in [Source::Primary, Source::Replica] {
        metrics::counter!("communal_billing_arrears_reads_total", "from" => from.name()).increment(0);
    }
}

/// Which server a read went to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The primary.
    Primary,
    /// One of its replicas.
    Replica,
}

impl Source {
    fn name(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Replica => "replica",
        }
    }

    /// The server of an answer, by how far behind it is if a replica gave it.
    #[must_use]
    pub fn of(behind: Option<Duration>) -> Self {
        if behind.is_some() { Self::Replica } else { Self::Primary }
    }

    /// Counts a read.
    pub fn count(self) {
        metrics::counter!("communal_billing_arrears_reads_total", "from" => self.name()).increment(1);
    }
}

/// The replicas of a database.
#[derive(Debug)]
pub struct Replicas {
    trail: Arc<Mutex<Trail>>,
    replicas: Vec<Replica>,
    turn: AtomicUsize,
    statement_timeout: Duration,
    /// They end with this.
    _watchers: JoinSet<()>,
}

#[derive(Debug)]
struct Replica {
    pool: Pool,
    /// What it last said of itself; nothing where it did not answer.
    seen: Arc<Mutex<Option<Standing>>>,
}

/// Why a replica did not answer.
#[derive(Debug, thiserror::Error)]
pub enum Missed {
    /// None is known to be fresh enough.
    #[error("no replica is fresh enough")]
    Stale,
    /// It failed.
    #[error(transparent)]
    Storage(#[from] sqlx::Error),
}

impl Missed {
    /// Every [`reason`](Self::reason).
    const REASONS: [&'static str; 3] = ["stale", "conflict", "failed"];

    fn reason(&self) -> &'static str {
        match self {
            Self::Stale => "stale",
            Self::Storage(error) => match error.as_database_error().and_then(|e| e.code()).as_deref() {
                // What it replays removed rows, or a lock, from under the read.
                Some("40001" | "40P01") => "conflict",
                _ => "failed",
            },
        }
    }
}

impl Replicas {
    /// Begins to watch them.
    ///
    /// # Errors
    /// Where a URL cannot be read.
    pub fn watch(primary: &PgPool, replicas: &[DatabaseSettings]) -> Result<Self, sqlx::Error> {
        for reason in Missed::REASONS {
            metrics::counter!("communal_billing_replica_fallbacks_total", "reason" => reason).increment(0);
        }
        let trail = Arc::new(Mutex::new(Trail::default()));
        let mut watchers = JoinSet::new();
        watchers.spawn(watch::primary(primary.clone(), Arc::clone(&trail)));
        let mut watched = Vec::new();
        for (index, settings) in replicas.iter().enumerate() {
            let (pool, seen) = (Pool::new(settings)?, Arc::new(Mutex::new(None)));
            watchers.spawn(watch::replica(index + 1, pool.driver().clone(), Arc::clone(&trail), Arc::clone(&seen)));
            watched.push(Replica { pool, seen });
        }
        // They have the limits of their primary.
        let statement_timeout = replicas.first().map_or(Duration::MAX, |settings| settings.statement_timeout);
        Ok(Self { trail, replicas: watched, turn: AtomicUsize::new(0), statement_timeout, _watchers: watchers })
    }

    /// The replica whose turn it is of those worth asking for an answer so far behind.
    ///
    /// # Errors
    /// There is none.
    pub fn worth_asking(&self, limit: Duration) -> Result<&Pool, Missed> {
        let now = Instant::now();
        let trail = self.trail.lock().unwrap_or_else(PoisonError::into_inner);
        if trail.least(now).is_none_or(|least| least > limit) {
            return Err(Missed::Stale);
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.replicas.len().max(1);
        let (before, after) = self.replicas.split_at(turn.min(self.replicas.len()));
        let worth_asking = |replica: &&Replica| {
            let seen = replica.seen.lock().unwrap_or_else(PoisonError::into_inner);
            let behind = seen.as_ref().and_then(|standing| trail.behind(standing, now));
            behind.is_some_and(|behind| behind.saturating_sub(SINCE_SEEN) <= limit)
        };
        after.iter().chain(before).find(worth_asking).map(|replica| &replica.pool).ok_or(Missed::Stale)
    }

    /// How far behind a statement is at most that begins on this connection after this.
    ///
    /// # Errors
    /// It cannot be shown to be within the limit. A server that is suddenly silent is given up
    /// here, while the primary can still answer in time.
    pub async fn prove(&self, connection: &mut PgConnection, limit: Duration) -> Result<Duration, Missed> {
        let asked = timeout(PATIENCE, store::standing(connection)).named("replica_standing").await;
        let standing = asked.map_err(|silent| sqlx::Error::Io(silent.into()))??;
        let trail = self.trail.lock().unwrap_or_else(PoisonError::into_inner);
        trail.behind(&standing, Instant::now()).filter(|behind| *behind <= limit).ok_or(Missed::Stale)
    }

    /// What a replica answered after so long; nothing where the primary is to be asked instead.
    ///
    /// # Errors
    /// What ran into the limit of a statement's time would do so on the primary as well, and at
    /// its expense.
    pub fn answered<T>(&self, outcome: Result<T, Missed>, took: Duration) -> Result<Option<T>, sqlx::Error> {
        let missed = match outcome {
            Ok(answer) => return Ok(Some(answer)),
            Err(missed) => missed,
        };
        let reason = missed.reason();
        if let Missed::Storage(error) = missed {
            let state = error.as_database_error().and_then(|e| e.code());
            if state.as_deref() == Some("57014") && took >= self.statement_timeout {
                return Err(error);
            }
            tracing::warn!(reason, sqlstate = state.as_deref(), "a replica did not answer; the primary is asked");
        }
        metrics::counter!("communal_billing_replica_fallbacks_total", "reason" => reason).increment(1);
        Ok(None)
    }
}

/// Whether these replicas can stand in for this primary, now.
///
/// # Errors
/// Which cannot, and why.
pub async fn check(primary: &DatabaseSettings, replicas: &[DatabaseSettings]) -> anyhow::Result<()> {
    if replicas.is_empty() { Ok(()) } else { watch::check(primary, replicas).await }
}
