//! A private database for each test, cloned from a template that has the service's schema.
//!
//! The cluster is given by `COMMUNAL_TEST_DATABASE_URL` (a superuser's); `./dev test` starts
//! one. Without it a test fails: nothing is skipped in silence. A failing test leaves its
//! database behind and says where.

use std::str::FromStr;
use std::time::Duration;

use sha2::{Digest, Sha256};
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, PgPool};

use crate::database;

/// The database of one test.
#[derive(Debug)]
pub struct TestDatabase {
    /// A pool to it.
    pub pool: PgPool,
    /// How a process under test connects to it.
    pub url: String,
    name: String,
}

impl TestDatabase {
    /// Makes a database with the schema of a service.
    ///
    /// # Panics
    /// Where there is no cluster to make it in.
    #[allow(clippy::expect_used)]
    pub async fn create(service: &str, migrator: &'static Migrator) -> Self {
        let cluster = std::env::var("COMMUNAL_TEST_DATABASE_URL")
            .expect("COMMUNAL_TEST_DATABASE_URL must name a PostgreSQL cluster; `./dev test` starts one");
        Self::create_in(&cluster, service, migrator).await
    }

    /// Makes it in a cluster that the test brings along.
    ///
    /// # Panics
    /// Where it cannot be made.
    #[allow(clippy::expect_used)]
    pub async fn create_in(cluster: &str, service: &str, migrator: &'static Migrator) -> Self {
        let options = PgConnectOptions::from_str(cluster).expect("the test cluster must be a PostgreSQL URL");
        let mut admin = PgConnection::connect_with(&options).await.expect("the test cluster must answer");
        let template = template(&mut admin, &options, service, migrator).await.expect("the template database");
        let name = format!("test_{service}_{:016x}", rand::random::<u64>());
        // Cloning fails while anyone is connected to the template; another test process may
        // just be closing its connection.
        let mut tries = 0;
        loop {
            let create = format!("CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy");
            match sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut admin).await {
                Ok(_) => break,
                Err(_) if tries < 50 => tokio::time::sleep(Duration::from_millis(100)).await,
                Err(error) => panic!("a database cannot be made: {error}"),
            }
            tries += 1;
        }
        let _ = admin.close().await;
        let options = options.database(&name);
        let pool = PgPoolOptions::new().max_connections(20).connect_lazy_with(options.clone());
        Self { pool, url: options.to_url_lossy().to_string(), name }
    }
}

impl Drop for TestDatabase {
    #[allow(clippy::print_stderr)]
    fn drop(&mut self) {
        // Databases go with the throw-away cluster; a failed test's is worth a look before.
        if std::thread::panicking() {
            eprintln!("the database of this test is kept: {}", self.name);
        }
    }
}

async fn template(
    admin: &mut PgConnection,
    options: &PgConnectOptions,
    service: &str,
    migrator: &'static Migrator,
) -> anyhow::Result<String> {
    let mut hash = Sha256::new();
    database::PLATFORM.iter().for_each(|m| hash.update(&m.checksum));
    migrator.iter().for_each(|m| hash.update(&m.checksum));
    let name = format!("template_{service}_{}", &hex::encode(hash.finalize())[..12]);
    sqlx::query("SELECT pg_advisory_lock(7303)").execute(&mut *admin).await?;
    let exists: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
        .bind(&name)
        .fetch_one(&mut *admin)
        .await?;
    if !exists {
        let half = format!("{name}_half");
        sqlx::raw_sql(AssertSqlSafe(format!("DROP DATABASE IF EXISTS {half}"))).execute(&mut *admin).await?;
        sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {half}"))).execute(&mut *admin).await?;
        let pool = PgPoolOptions::new().max_connections(1).connect_with(options.clone().database(&half)).await?;
        database::migrate(&pool, migrator).await?;
        pool.close().await;
        sqlx::raw_sql(AssertSqlSafe(format!("ALTER DATABASE {half} RENAME TO {name}"))).execute(&mut *admin).await?;
    }
    sqlx::query("SELECT pg_advisory_unlock(7303)").execute(admin).await?;
    Ok(name)
}
