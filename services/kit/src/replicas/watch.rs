//! Watchers of the primary and its replicas, each over a connection of its own, apart from those of
//! the calls. They write nothing.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::database::{DatabaseSettings, connect};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, PgConnection, PgPool};
use tokio::time::{sleep, timeout};

use super::staleness::{PositionHistory, ReplayState};
use super::{ANSWER_LIMIT, INTERVAL, store};

/// The interval of retries while a server does not answer.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// A connection is replaced in time, so that it follows an address that was moved.
const CONNECTION_AGE: Duration = Duration::from_mins(1);

/// The connection to a watched server.
struct ServerLink {
    options: PgConnectOptions,
    open: Option<(Instant, PgConnection)>,
}

impl ServerLink {
    /// Connects to the server of a pool.
    fn to(pool: &PgPool) -> Self {
        // Four lines a second would flood a log that shows statements.
        let options = PgConnectOptions::clone(&pool.connect_options()).disable_statement_logging();
        Self { options, open: None }
    }

    /// Runs a query. A connection whose query failed or took too long is closed.
    async fn ask<T>(
        &mut self,
        question: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, String> {
        let asked = async {
            let (since, mut connection) = match self.open.take() {
                Some((since, connection)) if since.elapsed() < CONNECTION_AGE => (since, connection),
                _ => (Instant::now(), self.options.connect().await?),
            };
            let answer = question(&mut connection).await?;
            self.open = Some((since, connection));
            Ok::<_, sqlx::Error>(answer)
        };
        match timeout(ANSWER_LIMIT, asked).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(format!("it does not answer: {error}")),
            Err(_) => Err("it does not answer in time".to_owned()),
        }
    }
}

/// Samples the primary's position, forever.
pub(super) async fn primary(pool: PgPool, history: Arc<Mutex<PositionHistory>>) {
    let mut link = ServerLink::to(&pool);
    let mut was = None;
    loop {
        let answer = link
            .ask(async |connection| {
                let asked_at = Instant::now();
                Ok((asked_at, store::written(connection).await?))
            })
            .await;
        let defect = answer
            .map(|(asked_at, (origin, position))| {
                history.lock().unwrap_or_else(PoisonError::into_inner).note(origin, position, asked_at);
            })
            .err();
        let pause = if defect.is_some() { RETRY_INTERVAL } else { INTERVAL };
        if was != defect {
            match &defect {
                Some(defect) => tracing::warn!(defect, "the primary's position is not known; replicas become stale"),
                None => tracing::info!("the primary's position is known again"),
            }
            was = defect;
        }
        sleep(pause).await;
    }
}

/// Watches a replica, given its number in the settings, forever.
pub(super) async fn replica(
    number: usize,
    pool: PgPool,
    history: Arc<Mutex<PositionHistory>>,
    seen: Arc<Mutex<Option<ReplayState>>>,
) {
    let mut link = ServerLink::to(&pool);
    let gauge = metrics::gauge!("communal_replica_staleness_seconds", "replica" => number.to_string());
    let mut was = None;
    loop {
        let answer = link.ask(store::replay_state).await;
        let (defect, behind) = {
            let history = history.lock().unwrap_or_else(PoisonError::into_inner);
            match &answer {
                Ok(replay_state) => (
                    history.origin().and_then(|primary| replay_state.defect(primary)).map(str::to_owned),
                    history.behind(replay_state, Instant::now()),
                ),
                Err(defect) => (Some(defect.clone()), None),
            }
        };
        gauge.set(behind.map_or(f64::INFINITY, |behind| behind.as_secs_f64()));
        let pause = if answer.is_err() { RETRY_INTERVAL } else { INTERVAL };
        *seen.lock().unwrap_or_else(PoisonError::into_inner) = answer.ok();
        if was.as_ref() != Some(&defect) {
            match &defect {
                Some(defect) => tracing::warn!(replica = number, defect, "a replica is not used"),
                None => tracing::info!(replica = number, "a replica is used"),
            }
            was = Some(defect);
        }
        sleep(pause).await;
    }
}

/// Checks that the replicas can answer for the primary.
///
/// # Errors
/// Returns which replica cannot, and why.
pub(super) async fn check(primary: &DatabaseSettings, replicas: &[DatabaseSettings]) -> anyhow::Result<()> {
    let (origin, _) = store::written(&mut *connect(primary)?.acquire().await?).await?;
    for (index, settings) in replicas.iter().enumerate() {
        let number = index + 1;
        let mut link = ServerLink::to(&connect(settings)?);
        let replay_state = link.ask(store::replay_state).await;
        let replay_state = replay_state.map_err(|defect| anyhow::anyhow!("replica {number}: {defect}"))?;
        if let Some(defect) = replay_state.defect(&origin) {
            anyhow::bail!("replica {number} cannot be used: {defect}");
        }
    }
    Ok(())
}
