//! Watches the primary and its replicas, each over a connection of its own: they take none from
//! the calls, and wait for none. Nothing is written.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use communal_kit::database::{DatabaseSettings, connect};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, PgConnection, PgPool};
use tokio::time::{sleep, timeout};

use super::staleness::{Standing, Trail};
use super::{PATIENCE, PERIOD, store};

/// Between tries, while there is no answer.
const PAUSE: Duration = Duration::from_secs(1);
/// A connection is replaced in time, so that it follows an address that was moved.
const CONNECTION_AGE: Duration = Duration::from_mins(1);

/// One server, asked again and again.
struct Line {
    options: PgConnectOptions,
    open: Option<(Instant, PgConnection)>,
}

impl Line {
    /// To where the pool's connections lead.
    fn beside(pool: &PgPool) -> Self {
        // Four lines a second of a log that shows statements would be noise.
        let options = PgConnectOptions::clone(&pool.connect_options()).disable_statement_logging();
        Self { options, open: None }
    }

    /// Asks; a connection over which no answer came in time is not used again.
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
        match timeout(PATIENCE, asked).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(format!("it does not answer: {error}")),
            Err(_) => Err("it does not answer in time".to_owned()),
        }
    }
}

/// Notes where the primary is. Never ends.
pub(super) async fn primary(pool: PgPool, trail: Arc<Mutex<Trail>>) {
    let mut line = Line::beside(&pool);
    let mut was = None;
    loop {
        let answer = line
            .ask(async |connection| {
                let asked_at = Instant::now();
                Ok((asked_at, store::written(connection).await?))
            })
            .await;
        let trouble = answer
            .map(|(asked_at, (origin, position))| {
                trail.lock().unwrap_or_else(PoisonError::into_inner).note(origin, position, asked_at);
            })
            .err();
        let pause = if trouble.is_some() { PAUSE } else { PERIOD };
        if was != trouble {
            match &trouble {
                Some(trouble) => tracing::warn!(trouble, "the primary's position is not known; replicas go stale"),
                None => tracing::info!("the primary's position is known again"),
            }
            was = trouble;
        }
        sleep(pause).await;
    }
}

/// Looks at a replica, by its number in the settings. Never ends.
pub(super) async fn replica(number: usize, pool: PgPool, trail: Arc<Mutex<Trail>>, seen: Arc<Mutex<Option<Standing>>>) {
    let mut line = Line::beside(&pool);
    let gauge = metrics::gauge!("communal_billing_replica_staleness_seconds", "replica" => number.to_string());
    let mut was = None;
    loop {
        let answer = line.ask(store::standing).await;
        let (trouble, behind) = {
            let trail = trail.lock().unwrap_or_else(PoisonError::into_inner);
            match &answer {
                Ok(standing) => (
                    trail.origin().and_then(|primary| standing.trouble(primary)).map(str::to_owned),
                    trail.behind(standing, Instant::now()),
                ),
                Err(trouble) => (Some(trouble.clone()), None),
            }
        };
        gauge.set(behind.map_or(f64::INFINITY, |behind| behind.as_secs_f64()));
        let pause = if answer.is_err() { PAUSE } else { PERIOD };
        *seen.lock().unwrap_or_else(PoisonError::into_inner) = answer.ok();
        if was.as_ref() != Some(&trouble) {
            match &trouble {
                Some(trouble) => tracing::warn!(replica = number, trouble, "a replica is not used"),
                None => tracing::info!(replica = number, "a replica is used"),
            }
            was = Some(trouble);
        }
        sleep(pause).await;
    }
}

/// Whether these replicas can stand in for this primary, now.
///
/// # Errors
/// Which cannot, and why.
pub(super) async fn check(primary: &DatabaseSettings, replicas: &[DatabaseSettings]) -> anyhow::Result<()> {
    let (origin, _) = store::written(&mut *connect(primary)?.acquire().await?).await?;
    for (index, settings) in replicas.iter().enumerate() {
        let number = index + 1;
        let mut line = Line::beside(&connect(settings)?);
        let standing = line.ask(store::standing).await;
        let standing = standing.map_err(|trouble| anyhow::anyhow!("replica {number}: {trouble}"))?;
        if let Some(trouble) = standing.trouble(&origin) {
            anyhow::bail!("replica {number} cannot be used: {trouble}");
        }
    }
    Ok(())
}
