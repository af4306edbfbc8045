//! The stage of a benchmark: its own databases, and processes on free ports that are started as an operator starts them.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};

use crate::capture::{self, Statement};
use crate::grpc::Metadata;
use crate::processor::Group;
use communal_fixtures::credentials::billing::{NETWORK, RETAIL, STORE};

/// Connections to the database: of each service, and of pgbench if it is the limit.
pub const CONNECTIONS: u32 = 8;
/// Connections of clients if the database is not measured: enough that a next request is always waiting.
pub const CLIENTS: u32 = 32;
/// The channel of all calls.
const CHANNEL: &str = "bench";
/// The operator of all calls.
const OPERATOR: &str = "bench-operator";
/// The community of the fee rows.
pub const COMMUNITY: &str = "2025010100000001";
const TOKEN_KEY: &str = "a key that signs the tokens of a benchmark";
const SEALING_KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// The programs and folders of a run, as `./dev bench` found or made them.
#[derive(Clone, Debug, clap::Args)]
pub struct Places {
    /// Folder of the binaries under test
    #[arg(long, env = "COMMUNAL_BENCH_PROGRAMS")]
    pub programs: PathBuf,
    /// Folder of PostgreSQL's programs
    #[arg(long, env = "COMMUNAL_BENCH_PG_BIN")]
    pub pg_bin: PathBuf,
    /// Folder of the cluster's socket
    #[arg(long, env = "COMMUNAL_BENCH_SOCKET")]
    pub socket: PathBuf,
    /// Process id of the cluster
    #[arg(long, env = "COMMUNAL_BENCH_POSTMASTER")]
    pub postmaster: u32,
    /// The cluster's log, in JSON
    #[arg(long, env = "COMMUNAL_BENCH_SERVER_LOG")]
    pub server_log: PathBuf,
    /// Folder for the files of a run
    #[arg(long, env = "COMMUNAL_BENCH_WORK")]
    pub work: PathBuf,
    /// The grpc-gateway peer, if it could be built
    #[arg(long, env = "COMMUNAL_BENCH_GRPC_GATEWAY")]
    pub grpc_gateway: Option<PathBuf>,
    /// Folder of criterion's results, if the transcoder was measured
    #[arg(long, env = "COMMUNAL_BENCH_CRITERION")]
    pub criterion: Option<PathBuf>,
}

/// A process under test. It is killed when it is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// Its CPU time and memory.
    pub group: Group,
    /// The address on which it serves.
    pub address: String,
    /// The time from its start until it was ready.
    pub ready_after: Duration,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A service with its database and the credentials to call it.
#[derive(Debug)]
pub struct Service {
    /// The process.
    pub process: Process,
    /// Name of its database.
    pub database: String,
    /// The benchmark's own connections to it.
    pub pool: PgPool,
    /// The metadata of a call.
    pub metadata: Metadata,
    /// The channel's key, for the JSON dialects.
    pub key: String,
    /// The operator's token (HC).
    pub token: String,
}

impl Service {
    /// The metadata of a call with a request id.
    #[must_use]
    pub fn metadata_of(&self, request_id: &str) -> Metadata {
        let mut metadata = self.metadata.clone();
        metadata.push(("idempotency-key".to_owned(), request_id.to_owned()));
        metadata
    }

    /// The block SYS_HEAD of an EPEIS body.
    #[must_use]
    pub fn sys_head(&self) -> String {
        format!(
            "\"SYS_HEAD\":{{\"CHANNEL_DID\":\"{CHANNEL}\",\"DYNAMIC_KEY\":\"{}\",\"REGISTER_DID\":\"{OPERATOR}\",\
             \"ACCOUNT_DID\":\"{RETAIL}\"}}",
            self.key
        )
    }
}

/// The stage of a run.
#[derive(Debug)]
pub struct Stage {
    /// The programs and folders.
    pub places: Places,
    /// PostgreSQL.
    pub postgres: Group,
}

/// Announces an actor to a transaction.
pub const ACTOR: &str = "SELECT set_config('communal.' || field, 'bench', true)
     FROM unnest(ARRAY['operator_id', 'operator_name', 'channel_id', 'trace_id', 'method']) AS field;
     SELECT set_config('communal.instant', now()::text, true)";

impl Stage {
    /// An empty stage.
    #[must_use]
    pub fn new(places: Places) -> Self {
        let postgres = Group::family(places.postmaster);
        Self { places, postgres }
    }

    /// Returns the URL of a database.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        let socket = self.places.socket.to_string_lossy().replace('/', "%2F");
        format!("postgres://postgres@{socket}:5432/{database}")
    }

    async fn admin(&self) -> anyhow::Result<PgConnection> {
        let options = PgConnectOptions::from_str(&self.url("postgres"))?;
        PgConnection::connect_with(&options).await.context("the cluster does not answer")
    }

    /// Runs one statement as the superuser of the cluster.
    ///
    /// # Errors
    /// Returns the database's error.
    pub async fn administer(&self, statement: &str) -> anyhow::Result<()> {
        let mut admin = self.admin().await?;
        sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
            .execute(&mut admin)
            .await
            .with_context(|| statement.to_owned())?;
        admin.close().await?;
        Ok(())
    }

    /// Reads a setting of the cluster.
    ///
    /// # Errors
    /// Returns the database's error.
    pub async fn setting(&self, name: &str) -> anyhow::Result<String> {
        let mut admin = self.admin().await?;
        let shown: String = sqlx::query_scalar(AssertSqlSafe(format!("SHOW {name}"))).fetch_one(&mut admin).await?;
        admin.close().await?;
        Ok(shown)
    }

    /// Creates an empty database, or a copy of a database without connections.
    ///
    /// # Errors
    /// Returns the database's error.
    pub async fn create_database(&self, name: &str, template: Option<&str>) -> anyhow::Result<()> {
        self.administer(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await?;
        let template = template.map(|t| format!(" TEMPLATE {t}")).unwrap_or_default();
        self.administer(&format!("CREATE DATABASE {name}{template}")).await
    }

    /// Opens connections of the benchmark itself.
    ///
    /// # Errors
    /// Returns an error if the database does not answer.
    pub async fn pool(&self, database: &str) -> anyhow::Result<PgPool> {
        let options = PgConnectOptions::from_str(&self.url(database))?;
        Ok(PgPoolOptions::new().max_connections(4).connect_with(options).await?)
    }

    fn command(&self, program: &str, database: &str) -> Command {
        let mut command = Command::new(self.places.programs.join(program));
        let variable = format!("COMMUNAL_{}_DATABASE_URL", program.to_uppercase());
        command
            .env(variable, self.url(database))
            .env("COMMUNAL_DATABASE_CONNECTIONS", CONNECTIONS.to_string())
            .env("COMMUNAL_CHANNEL_CALLS_PER_SECOND", "0")
            // Calls at an even rate do not wait for each other: if the machine stalls, hundreds are under way, and a refused
            // one would end the row instead of showing as the latency that it is.
            .env("COMMUNAL_CONCURRENT_CALLS", "8192")
            .env("COMMUNAL_CHANNEL_CONCURRENT_CALLS", "8192")
            .env("COMMUNAL_TOKEN_KEY", TOKEN_KEY)
            .env("COMMUNAL_SEALING_KEY", SEALING_KEY)
            .env("COMMUNAL_STATEMENT_TIMEOUT_MS", "600000")
            .env("COMMUNAL_DEFAULT_DEADLINE_MS", "600000")
            .env("COMMUNAL_ACQUIRE_TIMEOUT_MS", "60000")
            .env("COMMUNAL_LOG", "warn")
            .stdin(Stdio::null());
        command
    }

    /// Runs a command of a service; returns its output.
    ///
    /// # Errors
    /// Returns an error if the command failed.
    pub fn run(&self, program: &str, database: &str, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.command(program, database).args(arguments).output()?;
        let printed = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{program} {}: {}", arguments.join(" "), complaint.trim());
        Ok(printed)
    }

    /// Starts a program and waits until it is ready.
    ///
    /// # Errors
    /// Returns an error if it ended or was not ready within 30 seconds.
    pub fn start(
        &self,
        program: &str,
        mut command: Command,
        address: String,
        admin: SocketAddr,
    ) -> anyhow::Result<Process> {
        let log = self.places.work.join(format!("{program}.log"));
        let complaints = File::create(&log)?;
        command.stdout(complaints.try_clone()?).stderr(complaints);
        let start = Instant::now();
        let mut child = command.spawn().with_context(|| format!("{program} cannot be started"))?;
        let group = Group::process(child.id());
        while !is_ready(admin) {
            if let Some(status) = child.try_wait()? {
                let said = std::fs::read_to_string(&log).unwrap_or_default();
                bail!("{program} ended ({status}): {}", said.trim());
            }
            if start.elapsed() > Duration::from_secs(30) {
                let _ = child.kill();
                bail!("{program} was not ready after 30 s; see {}", log.display());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(Process { child, group, address, ready_after: start.elapsed() })
    }

    /// Starts a service on a migrated database.
    ///
    /// # Errors
    /// Returns an error if it does not become ready.
    pub fn serve(&self, program: &str, database: &str) -> anyhow::Result<Process> {
        let (address, admin) = (free_address()?, free_address()?);
        let mut command = self.command(program, database);
        let name = program.to_uppercase();
        command
            .arg("serve")
            .env(format!("COMMUNAL_{name}_ADDR"), address.to_string())
            .env(format!("COMMUNAL_{name}_ADMIN_ADDR"), admin.to_string());
        self.start(program, command, address.to_string(), admin)
    }

    /// Starts a billing service with a database of its own: migrated, with companies and a channel, and with the rows that the
    /// statements of `fill` write before the start.
    ///
    /// # Errors
    /// Returns an error of any of these steps.
    pub async fn billing(&self, database: &str, fill: &[&str]) -> anyhow::Result<Service> {
        let run = |arguments: &[&str]| self.run("billing", database, arguments);
        self.create_database(database, None).await?;
        run(&["migrate"])?;
        run(&["tenant", "add", RETAIL, "--kind", "retail", "--name", "城东供水销售"])?;
        run(&["tenant", "add", NETWORK, "--kind", "network", "--name", "城东供水管网"])?;
        run(&["store", "add", RETAIL, STORE, "--name", "城东营业厅", "--region", "110101000000"])?;
        let tenants = ["--tenant", RETAIL, "--tenant", NETWORK];
        let key = self.register("billing", database, "key", &tenants)?;
        let metadata = [
            ("x-channel-id", CHANNEL),
            ("x-channel-key", &key),
            ("x-operator-id", OPERATOR),
            ("x-tenant-id", RETAIL),
            // The clients of the rows take more than others do.
            ("x-max-reply-bytes", "67108864"),
        ];
        let metadata = metadata.map(|(k, v)| (k.to_owned(), v.to_owned())).to_vec();
        let pool = self.fill(database, fill).await?;
        let process = self.serve("billing", database)?;
        Ok(Service { process, database: database.to_owned(), pool, metadata, key, token: String::new() })
    }

    /// Starts a community service with a database of its own.
    ///
    /// # Errors
    /// Returns an error of any of these steps.
    pub async fn community(&self, database: &str, fill: &[&str]) -> anyhow::Result<Service> {
        let run = |arguments: &[&str]| self.run("community", database, arguments);
        self.create_database(database, None).await?;
        run(&["migrate"])?;
        run(&["tenant", "add", COMMUNITY, "--kind", "community", "--name", "阳光花园"])?;
        let key = self.register("community", database, "signature", &["--tenant", COMMUNITY])?;
        let token = run(&["token", "--operator", OPERATOR])?;
        let metadata = vec![
            ("x-channel-id".to_owned(), CHANNEL.to_owned()),
            ("x-channel-key".to_owned(), key.clone()),
            ("authorization".to_owned(), format!("Bearer {token}")),
        ];
        let pool = self.fill(database, fill).await?;
        let process = self.serve("community", database)?;
        Ok(Service { process, database: database.to_owned(), pool, metadata, key, token })
    }

    async fn fill(&self, database: &str, statements: &[&str]) -> anyhow::Result<PgPool> {
        let pool = self.pool(database).await?;
        for statement in statements {
            // Each statement runs in one transaction with its actor, because a write without an actor fails.
            sqlx::raw_sql(AssertSqlSafe(format!("{ACTOR}; {statement}")))
                .execute(&pool)
                .await
                .with_context(|| (*statement).to_owned())?;
        }
        if !statements.is_empty() {
            sqlx::raw_sql("VACUUM ANALYZE").execute(&pool).await?;
        }
        Ok(pool)
    }

    /// Registers the operator and the channel; returns the channel's key.
    fn register(&self, program: &str, database: &str, proof: &str, tenants: &[&str]) -> anyhow::Result<String> {
        let operator = [&["operator", "add", OPERATOR, "--name", "基准"], tenants].concat();
        self.run(program, database, &operator)?;
        let channel = [&["channel", "add", CHANNEL, "--name", "基准", "--proof", proof], tenants].concat();
        self.run(program, database, &channel)
    }

    /// Starts a gateway in front of services.
    ///
    /// # Errors
    /// Returns an error if it does not become ready.
    pub fn gateway(&self, billing: &str, community: &str) -> anyhow::Result<Process> {
        let (address, admin) = (free_address()?, free_address()?);
        let mut command = Command::new(self.places.programs.join("gateway"));
        command
            .arg("serve")
            .env("COMMUNAL_GATEWAY_ADDR", address.to_string())
            .env("COMMUNAL_GATEWAY_ADMIN_ADDR", admin.to_string())
            .env("COMMUNAL_GATEWAY_BILLING_URL", format!("http://{billing}"))
            .env("COMMUNAL_GATEWAY_COMMUNITY_URL", format!("http://{community}"))
            .env("COMMUNAL_LOG", "warn")
            .stdin(Stdio::null());
        self.start("gateway", command, address.to_string(), admin)
    }

    /// Starts a peer, which takes its address as first argument and has no readiness.
    ///
    /// # Errors
    /// Returns an error if it does not listen.
    pub fn peer(&self, program: &Path, name: &str, argument: &str) -> anyhow::Result<Process> {
        let address = free_address()?;
        let log = File::create(self.places.work.join(format!("{name}.log")))?;
        let start = Instant::now();
        let mut child = Command::new(program)
            .args([&address.to_string(), argument])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("{name} cannot be started"))?;
        let group = Group::process(child.id());
        while TcpStream::connect(address).is_err() {
            if child.try_wait()?.is_some() || start.elapsed() > Duration::from_secs(30) {
                let _ = child.kill();
                bail!("{name} does not listen; see {name}.log");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(Process { child, group, address: address.to_string(), ready_after: start.elapsed() })
    }

    /// Returns the statements that run in a database during `work`.
    ///
    /// # Errors
    /// Returns the error of the work, or an error if the log cannot be read.
    pub async fn capture<T>(
        &self,
        database: &str,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<Vec<Statement>> {
        self.log_statements("0").await?;
        let mut log = File::open(&self.places.server_log).context("the cluster's log cannot be read")?;
        log.seek(SeekFrom::End(0))?;
        let outcome = work.await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        self.log_statements("-1").await?;
        outcome?;
        let mut text = String::new();
        log.read_to_string(&mut text)?;
        let mut statements = capture::statements(&text, database)?;
        let pool = self.pool(database).await?;
        let mut connection = pool.acquire().await?;
        for statement in statements.iter_mut().filter(|s| !s.parameters.is_empty()) {
            let prepare = format!("PREPARE captured AS {}", statement.text);
            sqlx::raw_sql(AssertSqlSafe(prepare)).execute(&mut *connection).await?;
            let types = "SELECT parameter_types::text[] FROM pg_prepared_statements WHERE name = 'captured'";
            statement.types = sqlx::query_scalar(types).fetch_one(&mut *connection).await?;
            sqlx::raw_sql("DEALLOCATE captured").execute(&mut *connection).await?;
        }
        Ok(statements)
    }

    async fn log_statements(&self, from_duration: &str) -> anyhow::Result<()> {
        self.administer(&format!("ALTER SYSTEM SET log_min_duration_statement = {from_duration}")).await?;
        self.administer("SELECT pg_reload_conf()").await?;
        tokio::time::sleep(Duration::from_millis(300)).await;
        Ok(())
    }
}

/// Returns a free address of this machine.
///
/// # Errors
/// Returns an error if there is no free port.
pub fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn is_ready(admin: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect(admin) else { return false };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
    let request = format!("GET /readyz HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
    let mut answer = [0; 15];
    stream.write_all(request.as_bytes()).is_ok()
        && stream.read_exact(&mut answer).is_ok()
        && answer.starts_with(b"HTTP/1.1 200")
}
