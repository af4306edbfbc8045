//! The product as a process of its own, which a test can kill.

use std::net::{SocketAddr, TcpListener};
use std::ops::Range;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use communal_fixtures::credentials::community;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Databases, client};

/// The ports of processes: below those that the kernel gives to connections, so that none takes a port between its choice here and
/// the start of its process.
const PORTS: Range<u16> = 20_000..32_000;

/// A port on which nothing listens, each once.
pub(crate) fn free_port() -> SocketAddr {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    // Runs of these tests beside each other begin at places of their own.
    let begin = std::process::id() % u32::from(PORTS.end - PORTS.start);
    loop {
        let place = (begin + u32::from(TAKEN.fetch_add(1, Ordering::Relaxed))) % u32::from(PORTS.end - PORTS.start);
        let address = SocketAddr::from(([127, 0, 0, 1], PORTS.start + u16::try_from(place).unwrap()));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// A `communal serve` on databases that outlive it. It is killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    pub(crate) billing: SocketAddr,
    pub(crate) community: SocketAddr,
    pub(crate) gateway: SocketAddr,
    /// The administration of billing and of community.
    pub(crate) identity: [SocketAddr; 2],
    /// The admin ports of billing, community and the gateway.
    pub(crate) admin: [SocketAddr; 3],
}

impl Process {
    /// Starts it with settings and an output of the test's own, and waits until it is ready.
    pub(crate) async fn start(databases: &Databases, configure: impl FnOnce(&mut Command)) -> Self {
        let process = Self::spawn(databases, configure);
        for admin in process.admin {
            until_ready(admin).await;
        }
        process
    }

    /// Starts it and does not wait.
    pub(crate) fn spawn(databases: &Databases, configure: impl FnOnce(&mut Command)) -> Self {
        let [billing, community, gateway] = std::array::from_fn(|_| free_port());
        let admin: [SocketAddr; 3] = std::array::from_fn(|_| free_port());
        let identity: [SocketAddr; 2] = std::array::from_fn(|_| free_port());
        let mut command = Command::new(env!("CARGO_BIN_EXE_communal"));
        command
            .arg("serve")
            .env("COMMUNAL_BILLING_DATABASE_URL", &databases.billing.url)
            .env("COMMUNAL_COMMUNITY_DATABASE_URL", &databases.community.url)
            .env("COMMUNAL_BILLING_ADDR", billing.to_string())
            .env("COMMUNAL_COMMUNITY_ADDR", community.to_string())
            .env("COMMUNAL_GATEWAY_ADDR", gateway.to_string())
            .env("COMMUNAL_BILLING_ADMIN_ADDR", admin[0].to_string())
            .env("COMMUNAL_COMMUNITY_ADMIN_ADDR", admin[1].to_string())
            .env("COMMUNAL_GATEWAY_ADMIN_ADDR", admin[2].to_string())
            .env("COMMUNAL_BILLING_IDENTITY_ADDR", identity[0].to_string())
            .env("COMMUNAL_COMMUNITY_IDENTITY_ADDR", identity[1].to_string())
            .env("COMMUNAL_TOKEN_KEY", community::TOKEN_KEY)
            .env("COMMUNAL_SEALING_KEY", community::SEALING_KEY);
        configure(&mut command);
        Self { child: command.spawn().unwrap(), billing, community, gateway, identity, admin }
    }

    /// Whether billing says that it is ready.
    pub(crate) async fn billing_is_ready(&self) -> bool {
        let answer = client().get(format!("http://{}/readyz", self.admin[0])).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    /// Waits until the process has ended; returns whether it succeeded.
    pub(crate) async fn ended(&mut self) -> bool {
        for _ in 0..1_200 {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.success();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("it does not end within 60 s");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn until_ready(admin: SocketAddr) {
    let http = client();
    for _ in 0..1_200 {
        let answer = http.get(format!("http://{admin}/readyz")).send().await;
        if answer.is_ok_and(|a| a.status().is_success()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("not ready within 60 s");
}
