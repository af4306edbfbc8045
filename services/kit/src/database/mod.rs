//! PostgreSQL: connections with their limits, migrations, named statements and constraints, enums in
//! columns, and what its errors mean.

pub mod errors;
pub mod stored;

use std::str::FromStr;
use std::time::Duration;

use sqlx::PgPool;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tracing::Instrument;

use crate::config::Reader;
use crate::secret::Secret;
use crate::telemetry::boundary::traced;

/// The tables every service has: who may call, and which requests were answered.
pub static PLATFORM: Migrator = sqlx::migrate!("./migrations");

/// Where the platform's migrations are noted, and where the service's own are.
const PLATFORM_MIGRATIONS: &str = "_platform_migrations";
const SERVICE_MIGRATIONS: &str = "_sqlx_migrations";

/// Longest wait for a free connection to a replica.
const REPLICA_ACQUIRE_TIMEOUT: Duration = Duration::from_secs(1);

/// How to reach the database, and how long to wait for it.
#[derive(Clone, Debug)]
pub struct DatabaseSettings {
    /// Connection URL; has the password, so it never prints.
    pub url: Secret,
    /// Most connections of this process.
    pub connections: u32,
    /// Longest statement.
    pub statement_timeout: Duration,
    /// Longest wait for a row lock.
    pub lock_timeout: Duration,
    /// Longest wait for a free connection.
    pub acquire_timeout: Duration,
}

impl DatabaseSettings {
    /// Reads `COMMUNAL_<SERVICE>_DATABASE_URL` and the limits all services share.
    pub fn read(reader: &mut Reader, url_key: &'static str) -> Self {
        let url = reader.required(url_key);
        if !url.is_empty()
            && let Err(error) = PgConnectOptions::from_str(&url)
        {
            reader.fault(url_key, error);
        }
        let milliseconds = |reader: &mut Reader, key, default| Duration::from_millis(reader.parsed(key, default));
        Self {
            url: Secret::new(url),
            connections: reader.parsed("database_connections", 16),
            statement_timeout: milliseconds(reader, "statement_timeout_ms", 30_000),
            lock_timeout: milliseconds(reader, "lock_timeout_ms", 10_000),
            acquire_timeout: milliseconds(reader, "acquire_timeout_ms", 5_000),
        }
    }

    /// Reads the URLs of replicas of this database, commas between. Each has the limits of the
    /// primary, but a connection to it is not waited for as long: the primary is there as well.
    pub fn read_replicas(&self, reader: &mut Reader, urls_key: &'static str) -> Vec<Self> {
        let urls = reader.secret(urls_key);
        let mut replicas = Vec::new();
        for url in urls.expose().split(',').map(str::trim).filter(|_| !urls.is_empty()) {
            if let Err(error) = PgConnectOptions::from_str(url) {
                reader.fault(urls_key, error);
            }
            let acquire_timeout = self.acquire_timeout.min(REPLICA_ACQUIRE_TIMEOUT);
            replicas.push(Self { url: Secret::new(url), acquire_timeout, ..self.clone() });
        }
        replicas
    }
}

/// A pool whose every connection has its timeouts set. Connects when first used, so that a
/// service starts, not ready, while its database is away.
///
/// # Errors
/// Where the URL cannot be read.
pub fn connect(settings: &DatabaseSettings) -> Result<PgPool, sqlx::Error> {
    let milliseconds = |duration: Duration| format!("{}ms", duration.as_millis());
    let options = PgConnectOptions::from_str(settings.url.expose())?.options([
        ("statement_timeout", milliseconds(settings.statement_timeout)),
        ("lock_timeout", milliseconds(settings.lock_timeout)),
        ("idle_in_transaction_session_timeout", milliseconds(settings.statement_timeout * 2)),
        ("timezone", "UTC".to_owned()),
    ]);
    Ok(PgPoolOptions::new()
        .max_connections(settings.connections)
        .acquire_timeout(settings.acquire_timeout)
        // A connection is replaced in time, so that a failover moves all of them.
        .max_lifetime(Duration::from_mins(30))
        // A dead connection shows at its first statement, which nothing has changed yet: the
        // caller is told to retry. A ping before each use would cost a round trip a call.
        .test_before_acquire(false)
        .connect_lazy_with(options))
}

/// Applies the platform's migrations and then the service's. What a newer release applied is left
/// alone: the older one, which a roll-back brings in again, has nothing to do.
///
/// # Errors
/// Where one fails; those before it stay applied.
pub async fn migrate(pool: &PgPool, service: &Migrator) -> anyhow::Result<()> {
    // Migrations may take longer than a call is allowed to.
    let mut connection = pool.acquire().await?;
    sqlx::query("SELECT set_config('statement_timeout', '0', false)").execute(&mut *connection).await?;
    for (table, migrator) in [(PLATFORM_MIGRATIONS, &PLATFORM), (SERVICE_MIGRATIONS, service)] {
        let mut migrator =
            Migrator { migrations: migrator.migrations.clone(), ignore_missing: true, ..Migrator::DEFAULT };
        migrator.dangerous_set_table_name(table);
        migrator.run_direct(None, &mut *connection, false).await?;
    }
    // The role that serves asks whether the schema is current.
    let notes = "GRANT SELECT ON _platform_migrations, _sqlx_migrations TO communal_server";
    sqlx::query(notes).execute(&mut *connection).await?;
    connection.close().await?;
    Ok(())
}

/// Whether every migration this binary knows has been applied.
///
/// # Errors
/// Where the database cannot be asked.
pub async fn schema_is_current(pool: &PgPool, service: &Migrator) -> Result<bool, sqlx::Error> {
    for (table, migrator) in [(PLATFORM_MIGRATIONS, &PLATFORM), (SERVICE_MIGRATIONS, service)] {
        let exists: bool = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL").bind(table).fetch_one(pool).await?;
        if !exists {
            return Ok(false);
        }
        let known: Vec<i64> = migrator.iter().map(|m| m.version).collect();
        let applied: i64 = match table {
            PLATFORM_MIGRATIONS => {
                sqlx::query_scalar("SELECT count(*) FROM _platform_migrations WHERE success AND version = ANY($1)")
            }
            _ => sqlx::query_scalar("SELECT count(*) FROM _sqlx_migrations WHERE success AND version = ANY($1)"),
        }
        .bind(&known)
        .fetch_one(pool)
        .await?;
        if usize::try_from(applied).ok() != Some(known.len()) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The name of the constraint that a statement violated.
#[must_use]
pub fn constraint(error: &sqlx::Error) -> Option<&str> {
    error.as_database_error().and_then(|e| e.constraint())
}

/// Turns a violated constraint that means something to the caller into a refusal, and leaves every
/// other error as it is.
///
/// ```
/// # use communal_kit::{database::on_constraint, refusal::Refusal};
/// # fn name_taken() -> Refusal { Refusal::internal("taken") }
/// # fn f(stored: Result<(), sqlx::Error>) -> Result<(), Refusal> {
/// stored.map_err(on_constraint("package_live_name", name_taken))
/// # }
/// ```
pub fn on_constraint<R: From<sqlx::Error>>(
    name: &'static str,
    refuse: impl FnOnce() -> R,
) -> impl FnOnce(sqlx::Error) -> R {
    move |error| if constraint(&error) == Some(name) { refuse() } else { R::from(error) }
}

/// A statement that is named: its time is counted, and where its call is exported it gets a span
/// of its own.
///
/// ```no_run
/// # async fn f(pool: sqlx::PgPool) -> Result<(), sqlx::Error> {
/// use communal_kit::database::Statement as _;
/// sqlx::query("SELECT 1").fetch_one(&pool).named("one").await?;
/// # Ok(()) }
/// ```
pub trait Statement: Future + Sized {
    /// Names the statement in traces and metrics. Never put a value into the name.
    fn named(self, name: &'static str) -> impl Future<Output = Self::Output> {
        let span = if traced() { span_of(name) } else { tracing::Span::none() };
        let began = std::time::Instant::now();
        async move {
            let output = self.await;
            metrics::histogram!("communal_statement_seconds", "statement" => name).record(began.elapsed());
            output
        }
        .instrument(span)
    }
}

impl<F: Future> Statement for F {}

/// The span of a statement that is exported.
fn span_of(name: &'static str) -> tracing::Span {
    tracing::info_span!(
        "sql",
        otel.name = name,
        otel.kind = "client",
        db.system.name = "postgresql",
        db.operation.name = name,
        // The driver says how many; see the telemetry of the driver.
        db.response.returned_rows = tracing::field::Empty,
        db.response.affected_rows = tracing::field::Empty,
    )
}
