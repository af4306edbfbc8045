//! PostgreSQL: connections with their timeouts, migrations, named statements, constraints, enums in
//! columns, and the reasons of its errors.

pub mod copy;
pub mod errors;
pub mod stored;

use std::str::FromStr;
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{PgConnection, PgPool};
use tracing::Instrument;

use crate::config::Reader;
use crate::secret::Secret;
use crate::telemetry::boundary::traced;

/// The migrations of the tables that every service has: credentials, and request ids with their
/// replies.
pub static PLATFORM: Migrator = sqlx::migrate!("./migrations");

/// The tables that record the applied migrations of the platform and of the service.
const PLATFORM_MIGRATIONS: &str = "_platform_migrations";
const SERVICE_MIGRATIONS: &str = "_sqlx_migrations";

/// The longest wait for a free connection to a replica.
const REPLICA_ACQUIRE_TIMEOUT: Duration = Duration::from_secs(1);

/// The settings of a connection to the database, with its timeouts.
#[derive(Clone, Debug)]
pub struct DatabaseSettings {
    /// The connection URL. It contains the password, so it is never printed.
    pub url: Secret,
    /// The most connections of this process.
    pub connections: u32,
    /// The longest time of a statement.
    pub statement_timeout: Duration,
    /// The longest wait for a row lock.
    pub lock_timeout: Duration,
    /// The longest wait for a free connection.
    pub acquire_timeout: Duration,
}

impl DatabaseSettings {
    /// Reads `COMMUNAL_<SERVICE>_DATABASE_URL` and the limits that all services share.
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

    /// Reads the URLs of replicas of this database, separated by commas. Each has the limits of the
    /// primary except a shorter wait for a connection, because the caller can fall back to the primary.
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

/// Creates a pool whose connections have the timeouts set. It connects when it is first used, so a
/// service starts, not ready, while its database is down.
///
/// # Errors
/// Returns an error if the URL cannot be parsed.
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
        // Connections are replaced periodically, so that all of them move after a failover.
        .max_lifetime(Duration::from_mins(30))
        // A broken connection fails at its first statement, before anything has changed, and the caller
        // is told to retry. A ping before each use would cost a round trip a call.
        .test_before_acquire(false)
        .connect_lazy_with(options))
}

/// Applies the platform's migrations and then the service's. Migrations of a newer release are ignored,
/// so that an older release can be rolled back to.
///
/// # Errors
/// Returns the error of the first migration that fails; those before it stay applied.
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
    // The serving role checks whether the schema is current.
    let notes = "GRANT SELECT ON _platform_migrations, _sqlx_migrations TO communal_server";
    sqlx::query(notes).execute(&mut *connection).await?;
    connection.close().await?;
    Ok(())
}

/// Returns the collation of a database, unless it compares texts by their bytes. Every key is a text, and asking the C library
/// for each comparison takes a sixth of what a run of a month does.
///
/// # Errors
/// Returns the database's error.
pub async fn slow_collation(pool: &PgPool) -> Result<Option<String>, sqlx::Error> {
    let of_database = "SELECT datcollate FROM pg_database WHERE datname = current_database()";
    let collation: String = sqlx::query_scalar(of_database).fetch_one(pool).await?;
    Ok((!["C", "POSIX"].contains(&collation.as_str())).then_some(collation))
}

/// Returns whether every migration of this binary has been applied.
///
/// # Errors
/// Returns the database's error.
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

/// Notes that the database is filled with demo data.
///
/// # Errors
/// Returns the database's error.
pub async fn note_demo_data(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO platform.demo_data DEFAULT VALUES ON CONFLICT DO NOTHING").execute(connection).await?;
    Ok(())
}

/// Returns whether the database was filled with demo data.
///
/// # Errors
/// Returns the database's error.
pub async fn holds_demo_data(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM platform.demo_data)").fetch_one(connection).await
}

/// Has the rest of a transaction look rows up by their keys. A transaction that fills tables, or reads those that were
/// empty a moment ago, has no statistics of their rows: to the planner, reading them whole looks cheaper than
/// some hundred lookups, and each statement would cost what is there and not what it asks for.
///
/// # Errors
/// Returns the database's error.
pub async fn look_up_by_keys(transaction: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "SELECT set_config('enable_hashjoin', 'off', true) AS hash_joins,
             set_config('enable_mergejoin', 'off', true) AS merge_joins, set_config('enable_seqscan', 'off', true) AS scans"
    )
    .fetch_one(transaction)
    .named("look_up_by_keys")
    .await?;
    Ok(())
}

/// Returns the name of the constraint that a statement violated.
#[must_use]
pub fn constraint(error: &sqlx::Error) -> Option<&str> {
    error.as_database_error().and_then(|e| e.constraint())
}

/// Converts a violated constraint into a refusal that means something to the caller, and every
/// other error into the default one.
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

/// A named statement: its time is measured, and if the trace of its call is exported it gets a span.
///
/// ```no_run
/// # async fn f(pool: sqlx::PgPool) -> Result<(), sqlx::Error> {
/// use communal_kit::database::Statement as _;
/// sqlx::query("SELECT 1").fetch_one(&pool).named("one").await?;
/// # Ok(()) }
/// ```
pub trait Statement: Future + Sized {
    /// Names the statement in traces and metrics. The name must not contain a value.
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

/// Returns the span of a statement.
fn span_of(name: &'static str) -> tracing::Span {
    tracing::info_span!(
        "sql",
        otel.name = name,
        otel.kind = "client",
        db.system.name = "postgresql",
        db.operation.name = name,
        // Recorded by the layer in `telemetry/driver.rs`.
        db.response.returned_rows = tracing::field::Empty,
        db.response.affected_rows = tracing::field::Empty,
    )
}
