//! The deployment of a scenario: its databases with schema and credentials, and its processes.

use std::net::{SocketAddr, TcpListener};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use communal_fixtures::credentials::{billing, community};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::process::{Child, Command};
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::installation::Installation;

/// Owns the databases and is not a superuser, as in production.
const DATABASE_OWNER: &str = "communal";
/// The role by which services connect while they serve.
const SERVING_ROLE: &str = "communal_serving";

/// The ports on which processes listen.
const PORTS: Range<u16> = 20_000..30_000;
/// Longest wait for a probe: long, because a slow answer on a busy machine means nothing.
pub(crate) const PROBE: Duration = Duration::from_secs(5);
/// Longest time until a process is ready.
const START_LIMIT: Duration = Duration::from_secs(20);

/// The kind of a process.
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

/// The ports and settings of a process, which stay when the process is replaced.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub(crate) kind: Kind,
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    settings: Vec<(String, String)>,
    program: PathBuf,
    log: PathBuf,
    memory: Option<u64>,
}

/// Settings of a process, by name without prefix.
pub(crate) type Settings<'a> = &'a [(&'a str, &'a str)];

/// Two databases behind one socket folder.
#[derive(Clone, Debug)]
pub(crate) struct Databases {
    socket: PathBuf,
}

impl Databases {
    /// The databases behind a socket folder.
    pub(crate) fn at(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// Creates both with their schema and credentials.
    pub(crate) async fn fill(&self, installation: &Installation) -> anyhow::Result<()> {
        self.create().await?;
        for kind in [Kind::Billing, Kind::Community] {
            let migrated = self.command(installation, kind, "migrate").await?;
            ensure!(migrated.succeeded, "{} migrate: {}", kind.name(), migrated.output);
        }
        self.register_credentials().await
    }

    /// Creates both, empty.
    pub(crate) async fn create(&self) -> anyhow::Result<()> {
        let administrator = self.administrator()?;
        execute(&administrator, &format!("CREATE ROLE {DATABASE_OWNER} LOGIN")).await?;
        execute(&administrator, "CREATE ROLE communal_server NOLOGIN").await?;
        execute(&administrator, &format!("CREATE ROLE {SERVING_ROLE} LOGIN IN ROLE communal_server")).await?;
        for kind in [Kind::Billing, Kind::Community] {
            execute(&administrator, &format!("CREATE DATABASE {} OWNER {DATABASE_OWNER}", kind.name())).await?;
        }
        Ok(())
    }

    /// Registers the credentials of the clients.
    pub(crate) async fn register_credentials(&self) -> anyhow::Result<()> {
        billing::register(&mut *self.pool("billing")?.acquire().await?).await?;
        community::register(&mut *self.pool("community")?.acquire().await?).await
    }

    /// Runs a service's binary with a subcommand that ends by itself.
    pub(crate) async fn command(
        &self,
        installation: &Installation,
        kind: Kind,
        subcommand: &str,
    ) -> anyhow::Result<Ran> {
        let mut command = Command::new(installation.programs.join(kind.name()));
        command.arg(subcommand).stdin(Stdio::null()).kill_on_drop(true);
        forget_settings(&mut command);
        command.envs(self.settings(kind));
        let output = command.output().await.with_context(|| format!("{} {subcommand}", kind.name()))?;
        let said = [output.stdout, output.stderr].concat();
        Ok(Ran { succeeded: output.status.success(), output: String::from_utf8_lossy(&said).trim().to_owned() })
    }

    /// The settings of a service's commands, which run as the owner of its tables.
    pub(crate) fn settings(&self, kind: Kind) -> [(String, String); 3] {
        self.settings_as(DATABASE_OWNER, kind)
    }

    fn settings_as(&self, role: &str, kind: Kind) -> [(String, String); 3] {
        let url = format!("COMMUNAL_{}_DATABASE_URL", kind.name().to_uppercase());
        let keys = [("COMMUNAL_TOKEN_KEY", community::TOKEN_KEY), ("COMMUNAL_SEALING_KEY", community::SEALING_KEY)];
        let [token, sealing] = keys.map(|(name, value)| (name.to_owned(), value.to_owned()));
        [(url, self.url_as(role, kind.name())), token, sealing]
    }

    fn url(&self, database: &str) -> String {
        self.url_as(DATABASE_OWNER, database)
    }

    /// A URL that psql and similar programs accept as well.
    pub(crate) fn url_as(&self, user: &str, database: &str) -> String {
        format!("postgres://{user}@localhost:5432/{database}?host={}", self.socket.display())
    }

    /// A pool to look at stored data.
    pub(crate) fn pool(&self, database: &str) -> anyhow::Result<PgPool> {
        pool(&self.url(database))
    }

    /// A pool of the superuser.
    pub(crate) fn administrator(&self) -> anyhow::Result<PgPool> {
        pool(&self.url_as("postgres", "postgres"))
    }
}

fn pool(url: &str) -> anyhow::Result<PgPool> {
    let options: PgConnectOptions = url.parse()?;
    Ok(PgPoolOptions::new().max_connections(2).acquire_timeout(Duration::from_secs(5)).connect_lazy_with(options))
}

/// Runs statements that this program wrote.
pub(crate) async fn execute(pool: &PgPool, statements: &str) -> anyhow::Result<()> {
    sqlx::raw_sql(sqlx::AssertSqlSafe(statements.to_owned())).execute(pool).await?;
    Ok(())
}

/// The outcome of a command.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) succeeded: bool,
    /// The output.
    pub(crate) output: String,
}

impl Slot {
    /// The slot of a service.
    pub(crate) fn service(
        kind: Kind,
        installation: &Installation,
        databases: &Databases,
        settings: Settings<'_>,
    ) -> anyhow::Result<Self> {
        let mut slot = Self::new(kind, installation, settings)?;
        slot.settings.extend(databases.settings_as(SERVING_ROLE, kind));
        Ok(slot)
    }

    /// The slot of a gateway in front of services.
    pub(crate) fn gateway(
        installation: &Installation,
        services: &[&Self],
        settings: Settings<'_>,
    ) -> anyhow::Result<Self> {
        let mut slot = Self::new(Kind::Gateway, installation, settings)?;
        for kind in [Kind::Billing, Kind::Community] {
            let of_kind = services.iter().filter(|s| s.kind == kind);
            let urls: Vec<_> = of_kind.map(|s| format!("http://{}", s.address)).collect();
            // A service without a part in the scenario must not be called on its default port.
            let urls = if urls.is_empty() { "http://127.0.0.1:1".to_owned() } else { urls.join(",") };
            slot.set(&format!("GATEWAY_{}_URL", kind.name().to_uppercase()), &urls);
        }
        Ok(slot)
    }

    fn new(kind: Kind, installation: &Installation, settings: Settings<'_>) -> anyhow::Result<Self> {
        let (address, admin) = (free_port()?, free_port()?);
        let program = installation.programs.join(kind.name());
        let log = installation.folder.join(format!("{}-{}.log", kind.name(), address.port()));
        let mut slot = Self { kind, address, admin, settings: Vec::new(), program, log, memory: None };
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

    /// Sets the memory that a process of this slot may use, in MiB, which [`Process::outgrown`] compares with the peak. What
    /// it may map is limited to four times of it, as the allocator keeps addresses whose memory it gave back; beyond that an
    /// allocation fails, which ends the process.
    pub(crate) fn within_memory(self, mebibytes: u64) -> Self {
        Self { memory: Some(mebibytes), ..self }
    }

    /// Starts a process and waits until it is ready.
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

    /// The log of all processes of this slot.
    pub(crate) fn logged(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Starts a process without waiting.
    pub(crate) fn launch(&self) -> anyhow::Result<Process> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&self.log)?;
        let mut command = match self.memory {
            None => Command::new(&self.program),
            Some(mebibytes) => {
                let mut command = Command::new("sh");
                command
                    .args(["-euc", &format!("ulimit -d {}; exec \"$0\" \"$@\"", 4 * mebibytes * 1024)])
                    .arg(&self.program);
                command
            }
        };
        command.arg("serve").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
        forget_settings(&mut command);
        // Ctrl-C reaches only this program, which then ends its processes.
        command.envs(self.settings.iter().cloned()).process_group(0);
        let child = command.spawn().with_context(|| self.program.display().to_string())?;
        Ok(Process { slot: self.clone(), child })
    }
}

/// A running process. It is killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) slot: Slot,
    child: Child,
}

impl Process {
    /// Returns whether the admin port reports "ready".
    pub(crate) async fn is_ready(&self) -> bool {
        readiness(self.slot.admin, PROBE).await == Some(true)
    }

    /// Returns whether the process has not ended.
    pub(crate) fn is_running(&mut self) -> anyhow::Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// The most memory that was resident since the start, or since [`Process::forget_peak`], in MiB.
    pub(crate) fn peak(&self) -> anyhow::Result<u64> {
        let pid = self.child.id().context("the process has ended")?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
        Ok(peak.context("the field is missing")?.parse::<u64>()? / 1024)
    }

    /// The peak, if it is above the memory of the slot.
    pub(crate) fn outgrown(&self) -> Option<u64> {
        self.peak().ok().filter(|peak| self.slot.memory.is_some_and(|memory| *peak > memory))
    }

    /// Begins a new measurement of the peak.
    pub(crate) fn forget_peak(&self) -> anyhow::Result<()> {
        let pid = self.child.id().context("the process has ended")?;
        Ok(std::fs::write(format!("/proc/{pid}/clear_refs"), "5")?)
    }

    /// The CPU time used so far, in the kernel's resolution of hundredths of a second.
    pub(crate) fn cpu_time(&self) -> anyhow::Result<Duration> {
        let pid = self.child.id().context("the process has ended")?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The format is "1234 (name with spaces) S …"; user and system time are the 14th and 15th field.
        let after_name: Vec<_> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        let ticks =
            |at: usize| after_name.get(at).and_then(|text| text.parse::<u64>().ok()).context("the field is missing");
        Ok(Duration::from_millis(10 * (ticks(11)? + ticks(12)?)))
    }

    /// Sends SIGTERM, as Kubernetes does, and waits for the end.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        let pid = self.child.id().context("the process has ended")?;
        kill(Pid::from_raw(pid.cast_signed()), Signal::SIGTERM)?;
        let status = tokio::time::timeout(Duration::from_secs(40), self.child.wait()).await??;
        ensure!(status.success(), "{} ended with {status}", self.slot.kind.name());
        Ok(())
    }
}

/// Returns whether the process behind an admin port reports "ready". A process that cannot be reached is not ready; one
/// that does not answer within the limit has reported nothing.
pub(crate) async fn readiness(admin: SocketAddr, limit: Duration) -> Option<bool> {
    let client = reqwest::Client::builder().no_proxy().timeout(limit).build().ok()?;
    match client.get(format!("http://{admin}/readyz")).send().await {
        Ok(answer) => Some(answer.status().is_success()),
        Err(error) if error.is_timeout() => None,
        Err(_) => Some(false),
    }
}

/// Returns the gRPC health status under a name.
pub(crate) async fn health(address: SocketAddr, name: &str) -> anyhow::Result<ServingStatus> {
    let channel = Endpoint::from_shared(format!("http://{address}"))?.connect().await?;
    let request = HealthCheckRequest { service: name.to_owned() };
    Ok(HealthClient::new(channel).check(request).await?.into_inner().status())
}

/// Removes the settings of the calling shell, which are not a part of the scenario.
pub(crate) fn forget_settings(command: &mut Command) {
    for (name, _) in std::env::vars() {
        if name.starts_with("COMMUNAL_") || name.starts_with("PG") {
            command.env_remove(name);
        }
    }
}

/// Returns a free port, another one each time. It is below the range that the kernel gives to outgoing connections, so that
/// no connection takes it while its process is replaced.
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
