//! PostgreSQL replicas (hot standbys) that answer reads whose callers accept a bounded staleness.
//!
//! [`staleness`] computes the bound and is pure; [`store`] queries the servers; the watchers keep
//! the position of the primary and the replay state of the replicas up to date.
//!
//! The watchers only decide which replica is picked. The bound is proved on the connection that
//! reads, right before it does: a URL may lead to another server next time, and a server may have
//! been replaced since it was watched.

pub mod staleness;
pub mod store;
mod watch;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::database::{DatabaseSettings, Statement as _};
use crate::pool::Pool;
use sqlx::{PgConnection, PgPool};
use tokio::task::JoinSet;
use tokio::time::timeout;

use staleness::{PositionHistory, ReplayState};

/// The interval at which a server is watched.
const INTERVAL: Duration = Duration::from_millis(250);
/// The limit of the watchers' and the proof's queries.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);
/// The time by which a replica may be beyond the limit and is still picked, because it may have caught up since it was
/// watched.
const CATCH_UP: Duration = Duration::from_millis(500);

/// Describes the metrics of replica reads. Reads of the primary are counted without replicas too.
pub fn describe_metrics() {
    metrics::describe_gauge!(
        "communal_replica_staleness_seconds",
        "Upper bound of the staleness of a replica, by its number in the setting; inf if nothing is proved"
    );
    metrics::describe_counter!(
        "communal_replica_reads_total",
        "Queries that support replicas, by the server they read"
    );
    metrics::describe_counter!(
        "communal_replica_fallbacks_total",
        "Queries that fell back from a replica to the primary, by reason"
    );
    for from in [Source::Primary, Source::Replica] {
        metrics::counter!("communal_replica_reads_total", "from" => from.name()).increment(0);
    }
}

/// The server that a read went to.
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

    /// Returns the server of an answer, given the staleness if a replica gave it.
    #[must_use]
    pub fn of(behind: Option<Duration>) -> Self {
        if behind.is_some() { Self::Replica } else { Self::Primary }
    }

    /// Counts a read.
    pub fn count(self) {
        metrics::counter!("communal_replica_reads_total", "from" => self.name()).increment(1);
    }
}

/// The replicas of a database.
#[derive(Debug)]
pub struct Replicas {
    history: Arc<Mutex<PositionHistory>>,
    replicas: Vec<Replica>,
    turn: AtomicUsize,
    statement_timeout: Duration,
    /// End when this is dropped.
    _watchers: JoinSet<()>,
}

#[derive(Debug)]
struct Replica {
    pool: Pool,
    /// The last replay state; absent if the replica did not answer.
    seen: Arc<Mutex<Option<ReplayState>>>,
}

/// The reason for falling back to the primary.
#[derive(Debug, thiserror::Error)]
pub enum Fallback {
    /// No replica is fresh enough.
    #[error("no replica is fresh enough")]
    Stale,
    /// The replica failed.
    #[error(transparent)]
    Storage(#[from] sqlx::Error),
}

impl Fallback {
    /// Every [`reason`](Self::reason).
    const REASONS: [&'static str; 3] = ["stale", "conflict", "failed"];

    fn reason(&self) -> &'static str {
        match self {
            Self::Stale => "stale",
            Self::Storage(error) => match error.as_database_error().and_then(|e| e.code()).as_deref() {
                // The replay removed rows, or needed a lock, that the read used.
                Some("40001" | "40P01") => "conflict",
                _ => "failed",
            },
        }
    }
}

impl Replicas {
    /// Starts the watchers.
    ///
    /// # Errors
    /// Returns an error if a URL cannot be parsed.
    pub fn watch(primary: &PgPool, replicas: &[DatabaseSettings]) -> Result<Self, sqlx::Error> {
        for reason in Fallback::REASONS {
            metrics::counter!("communal_replica_fallbacks_total", "reason" => reason).increment(0);
        }
        let history = Arc::new(Mutex::new(PositionHistory::default()));
        let mut watchers = JoinSet::new();
        watchers.spawn(watch::primary(primary.clone(), Arc::clone(&history)));
        let mut watched = Vec::new();
        for (index, settings) in replicas.iter().enumerate() {
            let (pool, seen) = (Pool::new(settings)?, Arc::new(Mutex::new(None)));
            watchers.spawn(watch::replica(index + 1, pool.driver().clone(), Arc::clone(&history), Arc::clone(&seen)));
            watched.push(Replica { pool, seen });
        }
        // Replicas have the limits of their primary.
        let statement_timeout = replicas.first().map_or(Duration::MAX, |settings| settings.statement_timeout);
        Ok(Self { history, replicas: watched, turn: AtomicUsize::new(0), statement_timeout, _watchers: watchers })
    }

    /// Picks a replica that is likely within the limit, in turn.
    ///
    /// # Errors
    /// Returns `Stale` if no replica is.
    pub fn pick(&self, limit: Duration) -> Result<&Pool, Fallback> {
        let now = Instant::now();
        let history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        if history.least(now).is_none_or(|least| least > limit) {
            return Err(Fallback::Stale);
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.replicas.len().max(1);
        let (before, after) = self.replicas.split_at(turn.min(self.replicas.len()));
        let pick = |replica: &&Replica| {
            let seen = replica.seen.lock().unwrap_or_else(PoisonError::into_inner);
            let behind = seen.as_ref().and_then(|replay_state| history.behind(replay_state, now));
            behind.is_some_and(|behind| behind.saturating_sub(CATCH_UP) <= limit)
        };
        after.iter().chain(before).find(pick).map(|replica| &replica.pool).ok_or(Fallback::Stale)
    }

    /// Returns an upper bound of the staleness of statements that begin on this connection from now
    /// on.
    ///
    /// # Errors
    /// Returns `Stale` if the bound is beyond the limit, and an error of storage if the server does
    /// not answer while the primary still could in time.
    pub async fn prove(&self, connection: &mut PgConnection, limit: Duration) -> Result<Duration, Fallback> {
        let asked = timeout(ANSWER_LIMIT, store::replay_state(connection)).named("replica_replay_state").await;
        let replay_state = asked.map_err(|silent| sqlx::Error::Io(silent.into()))??;
        let history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        history.behind(&replay_state, Instant::now()).filter(|behind| *behind <= limit).ok_or(Fallback::Stale)
    }

    /// Returns the replica's answer, or `None` if the caller should fall back to the primary.
    ///
    /// # Errors
    /// Returns the error of a statement that reached the limit of its time: it would do so on the
    /// primary as well.
    pub fn answered<T>(&self, outcome: Result<T, Fallback>, took: Duration) -> Result<Option<T>, sqlx::Error> {
        let missed = match outcome {
            Ok(answer) => return Ok(Some(answer)),
            Err(missed) => missed,
        };
        let reason = missed.reason();
        if let Fallback::Storage(error) = missed {
            let state = error.as_database_error().and_then(|e| e.code());
            if state.as_deref() == Some("57014") && took >= self.statement_timeout {
                return Err(error);
            }
            tracing::warn!(
                reason,
                sqlstate = state.as_deref(),
                "a replica did not answer; falling back to the primary"
            );
        }
        metrics::counter!("communal_replica_fallbacks_total", "reason" => reason).increment(1);
        Ok(None)
    }
}

/// Checks that the replicas can answer for the primary.
///
/// # Errors
/// Returns which replica cannot, and why.
pub async fn check(primary: &DatabaseSettings, replicas: &[DatabaseSettings]) -> anyhow::Result<()> {
    if replicas.is_empty() { Ok(()) } else { watch::check(primary, replicas).await }
}
