//! The processes of a scenario and what they need: databases with their schema, credentials,
//! and the data that the load works on.

use std::net::{SocketAddr, TcpListener};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use chrono::{TimeDelta, Utc};
use communal_kit::identity::store::{self, NewChannel};
use communal_kit::identity::{Proof, SealingKey, TenantKind, token};
use communal_kit::secret::Secret;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::process::{Child, Command};

use crate::Place;

pub(crate) const CHANNEL: &str = "C000000000000001";
pub(crate) const KEY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
pub(crate) const OPERATOR: &str = "R000000000000001";
pub(crate) const RETAIL: &str = "S000000000000001";
pub(crate) const NETWORK: &str = "N000000000000001";
pub(crate) const STORE: &str = "H000000000000001";
pub(crate) const APP: &str = "micro-community";
pub(crate) const COMMUNITY: &str = "10001";
/// Tenants that no load touches.
pub(crate) const QUIET_RETAIL: &str = "S000000000000002";
pub(crate) const QUIET_COMMUNITY: &str = "10002";
/// Owns the databases and is no superuser, as in production.
const DATABASE_OWNER: &str = "communal";
const HC_OPERATOR: &str = "302023111900000001";
const TOKEN_KEY: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0";
const SEALING_KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// Ports that processes here listen on.
const PORTS: Range<u16> = 20_000..30_000;
/// Longest wait of a probe; a busy machine is no reason to believe anything.
pub(crate) const PROBE: Duration = Duration::from_secs(5);
/// Longest time until a process is ready.
const START_LIMIT: Duration = Duration::from_secs(20);

/// What a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Billing,
    Community,
    Gateway,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Billing => "billing",
            Self::Community => "community",
            Self::Gateway => "gateway",
        }
    }
}

/// A place for a process: its ports stay when the process is replaced.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub(crate) kind: Kind,
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    settings: Vec<(String, String)>,
    program: PathBuf,
    log: PathBuf,
}

/// Settings all processes of a scenario share, by name without prefix.
pub(crate) type Settings<'a> = &'a [(&'a str, &'a str)];

/// Two databases behind one socket folder.
#[derive(Clone, Debug)]
pub(crate) struct Databases {
    socket: PathBuf,
}

impl Databases {
    /// Databases reached through a socket folder.
    pub(crate) fn at(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// Makes both, with their schema and credentials.
    pub(crate) async fn fill(&self, place: &Place) -> anyhow::Result<()> {
        self.create().await?;
        for kind in [Kind::Billing, Kind::Community] {
            let migrated = self.command(place, kind, "migrate").await?;
            ensure!(migrated.succeeded, "{} migrate: {}", kind.name(), migrated.said);
        }
        self.let_in().await
    }

    /// Makes both, empty.
    pub(crate) async fn create(&self) -> anyhow::Result<()> {
        let administrator = self.administrator()?;
        execute(&administrator, &format!("CREATE ROLE {DATABASE_OWNER} LOGIN")).await?;
        for kind in [Kind::Billing, Kind::Community] {
            execute(&administrator, &format!("CREATE DATABASE {} OWNER {DATABASE_OWNER}", kind.name())).await?;
        }
        Ok(())
    }

    /// Registers who may call.
    pub(crate) async fn let_in(&self) -> anyhow::Result<()> {
        billing_credentials(&self.pool("billing")?).await?;
        community_credentials(&self.pool("community")?).await
    }

    /// Runs a service's binary with a subcommand that ends by itself.
    pub(crate) async fn command(&self, place: &Place, kind: Kind, subcommand: &str) -> anyhow::Result<Ran> {
        let mut command = Command::new(place.programs.join(kind.name()));
        command.arg(subcommand).stdin(Stdio::null()).kill_on_drop(true);
        forget_settings(&mut command);
        command.envs(self.settings(kind));
        let output = command.output().await.with_context(|| format!("{} {subcommand}", kind.name()))?;
        let said = [output.stdout, output.stderr].concat();
        Ok(Ran { succeeded: output.status.success(), said: String::from_utf8_lossy(&said).trim().to_owned() })
    }

    /// What a service must be told.
    pub(crate) fn settings(&self, kind: Kind) -> [(String, String); 3] {
        let url = format!("COMMUNAL_{}_DATABASE_URL", kind.name().to_uppercase());
        let keys = [("COMMUNAL_TOKEN_KEY", TOKEN_KEY), ("COMMUNAL_SEALING_KEY", SEALING_KEY)];
        let [token, sealing] = keys.map(|(name, value)| (name.to_owned(), value.to_owned()));
        [(url, self.url(kind.name())), token, sealing]
    }

    fn url(&self, database: &str) -> String {
        self.url_as(DATABASE_OWNER, database)
    }

    /// A URL that psql and its like read as well.
    pub(crate) fn url_as(&self, user: &str, database: &str) -> String {
        format!("postgres://{user}@localhost:5432/{database}?host={}", self.socket.display())
    }

    /// For looking at what is stored.
    pub(crate) fn pool(&self, database: &str) -> anyhow::Result<PgPool> {
        pool(&self.url(database))
    }

    /// For what only a superuser may do.
    pub(crate) fn administrator(&self) -> anyhow::Result<PgPool> {
        pool(&self.url_as("postgres", "postgres"))
    }
}

fn pool(url: &str) -> anyhow::Result<PgPool> {
    let options: PgConnectOptions = url.parse()?;
    Ok(PgPoolOptions::new().max_connections(2).acquire_timeout(Duration::from_secs(5)).connect_lazy_with(options))
}

/// Runs statements made here.
pub(crate) async fn execute(pool: &PgPool, statements: &str) -> anyhow::Result<()> {
    sqlx::raw_sql(sqlx::AssertSqlSafe(statements.to_owned())).execute(pool).await?;
    Ok(())
}

/// What came of a command.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) succeeded: bool,
    /// What it printed.
    pub(crate) said: String,
}

impl Slot {
    /// A place for a service.
    pub(crate) fn service(
        kind: Kind,
        place: &Place,
        databases: &Databases,
        settings: Settings<'_>,
    ) -> anyhow::Result<Self> {
        let mut slot = Self::new(kind, place, settings)?;
        slot.settings.extend(databases.settings(kind));
        Ok(slot)
    }

    /// A place for a gateway in front of services.
    pub(crate) fn gateway(place: &Place, services: &[&Self], settings: Settings<'_>) -> anyhow::Result<Self> {
        let mut slot = Self::new(Kind::Gateway, place, settings)?;
        for kind in [Kind::Billing, Kind::Community] {
            let of_kind = services.iter().filter(|s| s.kind == kind);
            let urls: Vec<_> = of_kind.map(|s| format!("http://{}", s.address)).collect();
            // A service that has no part in a scenario must not be looked for on its usual port.
            let urls = if urls.is_empty() { "http://127.0.0.1:1".to_owned() } else { urls.join(",") };
            slot.set(&format!("GATEWAY_{}_URL", kind.name().to_uppercase()), &urls);
        }
        Ok(slot)
    }

    fn new(kind: Kind, place: &Place, settings: Settings<'_>) -> anyhow::Result<Self> {
        let (address, admin) = (free_port()?, free_port()?);
        let program = place.programs.join(kind.name());
        let log = place.folder.join(format!("{}-{}.log", kind.name(), address.port()));
        let mut slot = Self { kind, address, admin, settings: Vec::new(), program, log };
        let upper = kind.name().to_uppercase();
        slot.set(&format!("{upper}_ADDR"), &address.to_string());
        slot.set(&format!("{upper}_ADMIN_ADDR"), &admin.to_string());
        slot.set("LOG", "info");
        for (name, value) in settings {
            slot.set(&name.to_uppercase(), value);
        }
        Ok(slot)
    }

    fn set(&mut self, name: &str, value: &str) {
        self.settings.push((format!("COMMUNAL_{name}"), value.to_owned()));
    }

    /// Starts a process here and waits until it is ready.
    pub(crate) async fn start(&self) -> anyhow::Result<Process> {
        let mut process = self.launch()?;
        let began = Instant::now();
        while !process.is_ready().await {
            if let Some(status) = process.child.try_wait()? {
                bail!("{} ended with {status}: {}", self.kind.name(), self.logged().lines().last().unwrap_or_default());
            }
            ensure!(began.elapsed() < START_LIMIT, "{} at {} is not ready", self.kind.name(), self.address);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(process)
    }

    /// What the processes here have logged.
    pub(crate) fn logged(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Starts a process here.
    pub(crate) fn launch(&self) -> anyhow::Result<Process> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(&self.program);
        command.arg("serve").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
        forget_settings(&mut command);
        // Ctrl-C is for the scenario, which then ends its processes.
        command.envs(self.settings.iter().cloned()).process_group(0);
        let child = command.spawn().with_context(|| self.program.display().to_string())?;
        Ok(Process { slot: self.clone(), child })
    }
}

/// A running process; dropping it kills it.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) slot: Slot,
    child: Child,
}

impl Process {
    /// What its admin port says.
    pub(crate) async fn is_ready(&self) -> bool {
        readiness(self.slot.admin, PROBE).await == Some(true)
    }

    /// CPU time it has used so far, as the kernel counts it: in hundredths of a second.
    pub(crate) fn cpu_time(&self) -> anyhow::Result<Duration> {
        let pid = self.child.id().context("it ended by itself")?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // «1234 (name with spaces) S …», where user and system time are the 14th and 15th.
        let after_name: Vec<_> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        let ticks = |at: usize| after_name.get(at).and_then(|text| text.parse::<u64>().ok()).context("no such figure");
        Ok(Duration::from_millis(10 * (ticks(11)? + ticks(12)?)))
    }

    /// SIGTERM, as Kubernetes sends it, and the wait for its end.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        let pid = self.child.id().context("it ended by itself")?;
        kill(Pid::from_raw(pid.cast_signed()), Signal::SIGTERM)?;
        let status = tokio::time::timeout(Duration::from_secs(40), self.child.wait()).await??;
        ensure!(status.success(), "{} ended with {status}", self.slot.kind.name());
        Ok(())
    }
}

/// Whether the process behind an admin port says that it should get requests. One that cannot
/// be reached should not; one that does not answer within a limit has said nothing.
pub(crate) async fn readiness(admin: SocketAddr, limit: Duration) -> Option<bool> {
    let client = reqwest::Client::builder().no_proxy().timeout(limit).build().ok()?;
    match client.get(format!("http://{admin}/readyz")).send().await {
        Ok(answer) => Some(answer.status().is_success()),
        Err(error) if error.is_timeout() => None,
        Err(_) => Some(false),
    }
}

/// A bearer token of the operator.
pub(crate) fn operator_token() -> anyhow::Result<String> {
    token::issue(&Secret::new(TOKEN_KEY), HC_OPERATOR, Utc::now(), TimeDelta::hours(1))
}

/// The settings of the shell that started this are no part of a scenario.
pub(crate) fn forget_settings(command: &mut Command) {
    for (name, _) in std::env::vars() {
        if name.starts_with("COMMUNAL_") || name.starts_with("PG") {
            command.env_remove(name);
        }
    }
}

/// A port that nobody listens on, another one each time. It is below those that the kernel gives
/// to outgoing connections, so that none of these takes it while its process is replaced.
fn free_port() -> anyhow::Result<SocketAddr> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 1_000)? * 10;
    for _ in PORTS {
        let offset = (first + NEXT.fetch_add(1, Ordering::Relaxed)) % (PORTS.end - PORTS.start);
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", PORTS.start + offset)) {
            return Ok(listener.local_addr()?);
        }
    }
    anyhow::bail!("no port of {PORTS:?} is free")
}

async fn billing_credentials(pool: &PgPool) -> anyhow::Result<()> {
    let mut connection = pool.acquire().await?;
    let tenants = [NETWORK, RETAIL, QUIET_RETAIL].map(str::to_owned);
    for tenant in &tenants {
        let kind = if tenant == NETWORK { TenantKind::NetworkCompany } else { TenantKind::RetailCompany };
        store::register_tenant(&mut connection, tenant, kind, tenant).await?;
    }
    store::add_channel(&mut connection, &channel(CHANNEL, Proof::Key, &tenants), None, Utc::now()).await?;
    store::register_operator(&mut connection, OPERATOR, "操作员", &tenants).await?;
    Ok(())
}

async fn community_credentials(pool: &PgPool) -> anyhow::Result<()> {
    let mut connection = pool.acquire().await?;
    let tenants = [COMMUNITY, QUIET_COMMUNITY].map(str::to_owned);
    for tenant in &tenants {
        store::register_tenant(&mut connection, tenant, TenantKind::Community, tenant).await?;
    }
    let sealing = SealingKey::parse(&Secret::new(SEALING_KEY))?;
    store::add_channel(&mut connection, &channel(APP, Proof::None, &tenants), Some(&sealing), Utc::now()).await?;
    store::register_operator(&mut connection, HC_OPERATOR, "管理员", &tenants).await?;
    Ok(())
}

fn channel<'a>(channel_id: &'a str, proof: Proof, tenant_ids: &'a [String]) -> NewChannel<'a> {
    let key = Some(Secret::new(KEY));
    NewChannel { channel_id, name: channel_id, proof, admin: false, tenant_ids, methods: &[], key, valid_for: None }
}
