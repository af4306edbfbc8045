//! Health of a service. Liveness ("liveness") means that the process runs; readiness ("readiness" and
//! "") means that its database answers, is the primary, and has the schema of this binary. They have
//! different names so that a database outage takes a replica out of load balancing and does not restart
//! it.
//!
//! The database is queried over a connection of its own. The connections of the pool may all be in use,
//! by calls that wait for a lock or for each other: then the replica sheds load and is still ready. It
//! is not ready if all of them are in use and none has been released for a while, because then it
//! answers nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use futures::future::join_all;
use sqlx::migrate::Migrator;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};
use tokio::sync::watch::Sender;
use tokio::task::JoinHandle;

use super::health::HealthStates;
use crate::database;
use crate::pool::Pool;
use crate::sandbox::Sandbox;

const LIVENESS: &str = "liveness";
const READINESS: [&str; 2] = ["", "readiness"];
const INTERVAL: Duration = Duration::from_secs(1);
/// The longest wait for the database's answer.
const LIMIT: Duration = Duration::from_secs(2);
/// The largest difference between the machine's clock and the database's. A replica whose clock is
/// ahead would open prices and end items on days that have not come.
const MOST_CLOCK_OFFSET: Duration = Duration::from_secs(2);

/// The longest time for which a pool may have no free connection without releasing one: longer than
/// calls wait for a connection.
const EXHAUSTED_LIMIT: Duration = Duration::from_secs(10);

/// Watches the database until aborted. The first state is known when this returns.
pub(super) async fn watch(
    service: &'static str,
    told: Told,
    pool: Pool,
    migrator: &'static Migrator,
) -> JoinHandle<()> {
    told.health.set(&[LIVENESS], true);
    let mut database = Database::of(service, pool, migrator);
    let mut was = None;
    let now = database.check(&mut was).await;
    measure(service, &database.pool);
    told.set(now);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(INTERVAL).await;
            let now = database.check(&mut was).await;
            measure(service, &database.pool);
            told.set(now);
        }
    })
}

/// The receivers of the state.
#[derive(Clone)]
pub(super) struct Told {
    /// Health over gRPC.
    pub(super) health: HealthStates,
    /// The admin port.
    pub(super) ready: Sender<bool>,
    /// The services by their names: clients that check health ask for the one they call.
    pub(super) names: Vec<&'static str>,
}

impl Told {
    /// Reports the state to gRPC health and to the admin port.
    pub(super) fn set(&self, now: bool) {
        self.health.set(READINESS.iter().chain(&self.names), now);
        self.ready.send_replace(now);
    }
}

/// Closes idle connections after an outage: they may be broken, or lead to a server that is no longer
/// the primary. Otherwise each would fail a call first.
async fn renew_idle(pool: &Pool) {
    let closing = pool.take_idle().into_iter().map(|connection| tokio::time::timeout(LIMIT, connection.close()));
    let ended = join_all(closing).await;
    tracing::debug!(connections = ended.len(), "idle connections closed after an outage");
}

/// Updates the gauges of the pool. Services that share a process have a pool each.
fn measure(service: &'static str, pool: &Pool) {
    let (open, idle) = pool.counts();
    for (state, count) in [("idle", idle), ("open", open)] {
        metrics::gauge!("communal_database_connections", "service" => service, "state" => state).set(as_gauge(count));
    }
}

fn as_gauge(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// Returns the smallest possible difference between the machine's clock and the database's, whose time
/// was read between two readings of the machine's.
fn clock_offset(before: DateTime<Utc>, theirs: DateTime<Utc>, after: DateTime<Utc>) -> Duration {
    let behind = theirs.signed_duration_since(after).to_std();
    let ahead = before.signed_duration_since(theirs).to_std();
    behind.or(ahead).unwrap_or_default()
}

/// The watched database.
struct Database {
    service: &'static str,
    pool: Pool,
    migrator: &'static Migrator,
    options: Arc<PgConnectOptions>,
    /// `None` before the first check and after one that failed; the next check then opens a new
    /// connection, to whichever server the address leads to by then.
    connection: Option<PgConnection>,
    schema_seen: bool,
    /// Whether a sandbox clock may count.
    admitted: bool,
    /// The number of released leases and the instant since which no connection has been free.
    exhausted: Option<(u64, Instant)>,
}

impl Database {
    fn of(service: &'static str, pool: Pool, migrator: &'static Migrator) -> Self {
        let options = pool.connect_options();
        Self {
            service,
            pool,
            migrator,
            options,
            connection: None,
            schema_seen: false,
            admitted: false,
            exhausted: None,
        }
    }

    async fn check(&mut self, was: &mut Option<String>) -> bool {
        let trouble = match tokio::time::timeout(LIMIT, self.ask()).await {
            Ok(Ok(trouble)) => trouble.or_else(|| self.exhausted()),
            Ok(Err(error)) => Some(format!("the database does not answer: {error}")),
            Err(_) => Some("the database does not answer in time".to_owned()),
        };
        if *was != trouble || was.is_none() && trouble.is_some() {
            match &trouble {
                Some(trouble) => tracing::warn!(trouble, "not ready"),
                None => tracing::info!("ready"),
            }
        }
        let ready = trouble.is_none();
        if ready && was.is_some() {
            renew_idle(&self.pool).await;
        }
        *was = trouble;
        ready
    }

    fn exhausted(&mut self) -> Option<String> {
        let released = self.pool.exhausted();
        let since = match (released, self.exhausted) {
            (None, _) => {
                self.exhausted = None;
                return None;
            }
            (Some(released), Some((then, since))) if released == then => since,
            (Some(released), _) => self.exhausted.insert((released, Instant::now())).1,
        };
        let gone = since.elapsed() >= EXHAUSTED_LIMIT;
        gone.then(|| format!("no connection of the pool was released for {EXHAUSTED_LIMIT:?}"))
    }

    async fn ask(&mut self) -> Result<Option<String>, sqlx::Error> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => PgConnection::connect_with(&self.options).await?,
        };
        let before = Utc::now();
        let (standby, theirs): (bool, DateTime<Utc>) =
            sqlx::query_as("SELECT pg_is_in_recovery(), clock_timestamp()").fetch_one(&mut connection).await?;
        let off = clock_offset(before, theirs, Utc::now());
        metrics::gauge!("communal_clock_offset_seconds", "service" => self.service).set(off.as_secs_f64());
        if standby {
            return Ok(Some("the database is a standby".into()));
        }
        self.connection = Some(connection);
        if off > MOST_CLOCK_OFFSET {
            return Ok(Some(format!("the clock is off from the database's by more than {MOST_CLOCK_OFFSET:?}")));
        }
        // A schema only grows, so one check is enough.
        if !self.schema_seen {
            self.schema_seen = database::schema_is_current(self.pool.driver(), self.migrator).await?;
        }
        if !self.schema_seen {
            return Ok(Some("the database lacks migrations: run `migrate`".into()));
        }
        self.admit_sandbox().await
    }

    /// Lets a sandbox clock count, if the database holds demo data; another one must not serve by it.
    async fn admit_sandbox(&mut self) -> Result<Option<String>, sqlx::Error> {
        let (false, Some(sandbox), Some(connection)) = (self.admitted, Sandbox::of_process(), &mut self.connection)
        else {
            return Ok(None);
        };
        self.admitted = database::holds_demo_data(connection).await?;
        if self.admitted {
            sandbox.admit();
            tracing::warn!(time = sandbox.local(), "business time is that of a sandbox clock");
        }
        Ok((!self.admitted).then(|| "COMMUNAL_SANDBOX_CLOCK is set, and the database holds no demo data".into()))
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn a_clock_is_off_by_what_the_time_of_the_question_does_not_explain() {
        let (before, after) = (DateTime::UNIX_EPOCH, DateTime::UNIX_EPOCH + TimeDelta::seconds(1));
        let off = |theirs: i64| clock_offset(before, before + TimeDelta::milliseconds(theirs), after).as_millis();
        assert_eq!([off(0), off(500), off(1_000)], [0; 3]);
        assert_eq!([off(3_500), off(-2_500)], [2_500; 2]);
    }
}
