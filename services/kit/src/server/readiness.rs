//! Health that tells the truth. Liveness ("liveness") says that the process runs; readiness
//! ("readiness" and "") that its database answers, is the primary, and has the schema this
//! binary knows. They have different names so that a database outage takes a replica out of
//! the load balancer and does not restart it.

use std::time::Duration;

use sqlx::PgPool;
use sqlx::migrate::Migrator;
use tokio::sync::watch::Sender;
use tokio::task::JoinHandle;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::database;

const LIVENESS: &str = "liveness";
const READINESS: [&str; 2] = ["", "readiness"];
const PERIOD: Duration = Duration::from_secs(1);

/// Watches the database until aborted. The first state is known when this returns.
pub(super) async fn watch(
    service: &'static str,
    health: HealthReporter,
    pool: PgPool,
    migrator: &'static Migrator,
    ready: Sender<bool>,
) -> JoinHandle<()> {
    health.set_service_status(LIVENESS, ServingStatus::Serving).await;
    let mut schema_seen = false;
    let mut was = None;
    let now = check(&pool, migrator, &mut schema_seen, &mut was).await;
    measure(service, &pool);
    set(&health, &ready, now).await;
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(PERIOD).await;
            let now = check(&pool, migrator, &mut schema_seen, &mut was).await;
            measure(service, &pool);
            set(&health, &ready, now).await;
        }
    })
}

/// Tells gRPC health and the admin port.
pub(super) async fn set(health: &HealthReporter, ready: &Sender<bool>, now: bool) {
    let status = if now { ServingStatus::Serving } else { ServingStatus::NotServing };
    for name in READINESS {
        health.set_service_status(name, status).await;
    }
    ready.send_replace(now);
}

async fn check(pool: &PgPool, migrator: &'static Migrator, schema_seen: &mut bool, was: &mut Option<String>) -> bool {
    let asked = tokio::time::timeout(Duration::from_secs(2), ask(pool, migrator, schema_seen)).await;
    let trouble = match asked {
        Ok(Ok(trouble)) => trouble,
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
    *was = trouble;
    ready
}

/// Services that share a process have each a pool of their own.
fn measure(service: &'static str, pool: &PgPool) {
    let open = usize::try_from(pool.size()).unwrap_or_default();
    for (state, count) in [("idle", pool.num_idle()), ("open", open)] {
        metrics::gauge!("communal_database_connections", "service" => service, "state" => state).set(as_gauge(count));
    }
}

fn as_gauge(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

async fn ask(pool: &PgPool, migrator: &Migrator, schema_seen: &mut bool) -> Result<Option<String>, sqlx::Error> {
    let standby: bool = sqlx::query_scalar("SELECT pg_is_in_recovery()").fetch_one(pool).await?;
    if standby {
        return Ok(Some("the database is a standby".into()));
    }
    // A schema only grows, so once is enough.
    if !*schema_seen {
        *schema_seen = database::schema_is_current(pool, migrator).await?;
    }
    Ok((!*schema_seen).then(|| "the database lacks migrations: run `migrate`".into()))
}
