//! The processes of a scenario and what they need: databases with their schema, credentials,
//! and the data that the load works on.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
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
use crate::postgres::until;

pub(crate) const CHANNEL: &str = "C000000000000001";
pub(crate) const KEY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
pub(crate) const OPERATOR: &str = "R000000000000001";
pub(crate) const RETAIL: &str = "S000000000000001";
pub(crate) const NETWORK: &str = "N000000000000001";
pub(crate) const STORE: &str = "H000000000000001";
pub(crate) const APP: &str = "micro-community";
pub(crate) const COMMUNITY: &str = "10001";
const HC_OPERATOR: &str = "302023111900000001";
const TOKEN_KEY: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0";
const SEALING_KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

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
        let postgres = self.pool("postgres")?;
        for kind in [Kind::Billing, Kind::Community] {
            sqlx::raw_sql(sqlx::AssertSqlSafe(format!("CREATE DATABASE {}", kind.name()))).execute(&postgres).await?;
            let mut command = Command::new(place.programs.join(kind.name()));
            command.arg("migrate").stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
            forget_settings(&mut command);
            command.env(format!("COMMUNAL_{}_DATABASE_URL", kind.name().to_uppercase()), self.url(kind.name()));
            let status = command.status().await.with_context(|| format!("{} migrate", kind.name()))?;
            ensure!(status.success(), "{} migrate: {status}", kind.name());
        }
        postgres.close().await;
        billing_credentials(&self.pool("billing")?).await?;
        community_credentials(&self.pool("community")?).await
    }

    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://postgres@localhost:5432/{database}?host={}", self.socket.display())
    }

    /// For looking at what is stored.
    pub(crate) fn pool(&self, database: &str) -> anyhow::Result<PgPool> {
        let options: PgConnectOptions = self.url(database).parse()?;
        Ok(PgPoolOptions::new().max_connections(2).acquire_timeout(Duration::from_secs(5)).connect_lazy_with(options))
    }
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
        let upper = kind.name().to_uppercase();
        slot.set(&format!("{upper}_DATABASE_URL"), &databases.url(kind.name()));
        slot.set("TOKEN_KEY", TOKEN_KEY);
        slot.set("SEALING_KEY", SEALING_KEY);
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
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(&self.program);
        command.arg("serve").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
        forget_settings(&mut command);
        // Ctrl-C is for the scenario, which then ends its processes.
        command.envs(self.settings.iter().cloned()).process_group(0);
        let child = command.spawn().with_context(|| self.program.display().to_string())?;
        let process = Process { slot: self.clone(), child };
        let what = format!("{} at {} ready", self.kind.name(), self.address);
        until(&what, Duration::from_secs(20), || process.is_ready()).await?;
        Ok(process)
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
        is_ready(self.slot.admin).await
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

/// Whether the process behind an admin port says that it should get requests.
pub(crate) async fn is_ready(admin: SocketAddr) -> bool {
    let Ok(client) = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(1)).build() else {
        return false;
    };
    let answer = client.get(format!("http://{admin}/readyz")).send().await;
    answer.is_ok_and(|answer| answer.status().is_success())
}

/// A bearer token of the operator.
pub(crate) fn operator_token() -> anyhow::Result<String> {
    token::issue(&Secret::new(TOKEN_KEY), HC_OPERATOR, Utc::now(), TimeDelta::hours(1))
}

/// The settings of the shell that started this are no part of a scenario.
fn forget_settings(command: &mut Command) {
    for (name, _) in std::env::vars() {
        if name.starts_with("COMMUNAL_") || name.starts_with("PG") {
            command.env_remove(name);
        }
    }
}

fn free_port() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

async fn billing_credentials(pool: &PgPool) -> anyhow::Result<()> {
    let mut connection = pool.acquire().await?;
    for (tenant, kind) in [(NETWORK, TenantKind::NetworkCompany), (RETAIL, TenantKind::RetailCompany)] {
        store::register_tenant(&mut connection, tenant, kind, tenant).await?;
    }
    let tenants = [NETWORK, RETAIL].map(str::to_owned);
    store::add_channel(&mut connection, &channel(CHANNEL, Proof::Key, &tenants), None, Utc::now()).await?;
    store::register_operator(&mut connection, OPERATOR, "操作员", &tenants).await?;
    Ok(())
}

async fn community_credentials(pool: &PgPool) -> anyhow::Result<()> {
    let mut connection = pool.acquire().await?;
    let tenants = [COMMUNITY.to_owned()];
    store::register_tenant(&mut connection, COMMUNITY, TenantKind::Community, COMMUNITY).await?;
    let sealing = SealingKey::parse(&Secret::new(SEALING_KEY))?;
    store::add_channel(&mut connection, &channel(APP, Proof::None, &tenants), Some(&sealing), Utc::now()).await?;
    store::register_operator(&mut connection, HC_OPERATOR, "管理员", &tenants).await?;
    Ok(())
}

fn channel<'a>(channel_id: &'a str, proof: Proof, tenant_ids: &'a [String]) -> NewChannel<'a> {
    let key = Some(Secret::new(KEY));
    NewChannel { channel_id, name: channel_id, proof, admin: false, tenant_ids, methods: &[], key, valid_for: None }
}
