//! Failure scenarios: breaks a running Communal on purpose and counts what its clients noticed.
//!
//! `./dev chaos` builds the binaries, finds PostgreSQL and starts this program. It touches nothing else on the machine,
//! and its processes end with it.

mod abuse;
mod accounts;
mod books;
mod clients;
mod dbgone;
mod deployment;
mod failover;
mod installation;
mod overload;
mod postgres;
mod restore;
mod rolling;
mod runbook;
mod tally;
mod transcript;
mod upgrade;
mod wire;
mod workers;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};

use abuse::Chosen;
use installation::Installation;
use transcript::{Ending, Transcript, heading, summary};

/// Breaks a running Communal on purpose and counts what its clients noticed
#[derive(Debug, Parser)]
struct Arguments {
    /// The scenario
    what: Scenario,
    #[command(flatten)]
    chosen: Chosen,
    #[command(flatten)]
    installation: Installation,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Scenario {
    /// Every process is replaced, one by one, under load
    Rolling,
    /// The schema grows under load, and a replica waits for one that lacks a migration
    Upgrade,
    /// Three times the load of its capacity
    Overload,
    /// PostgreSQL stops and starts again
    Dbgone,
    /// The primary of PostgreSQL is killed, and its standby promoted
    Failover,
    /// Both databases are dumped under load, dropped and restored
    Restore,
    /// One bad caller beside honest ones
    Abuse,
    /// All scenarios, one after the other
    All,
}

impl Scenario {
    const SCENARIOS: [Self; 7] =
        [Self::Rolling, Self::Upgrade, Self::Overload, Self::Dbgone, Self::Failover, Self::Restore, Self::Abuse];

    fn name(self) -> &'static str {
        match self {
            Self::Rolling => "rolling",
            Self::Upgrade => "upgrade",
            Self::Overload => "overload",
            Self::Dbgone => "dbgone",
            Self::Failover => "failover",
            Self::Restore => "restore",
            Self::Abuse => "abuse",
            Self::All => "all",
        }
    }
}

/// A limit that no scenario needs; a command that hangs is a failure as well.
const LIMIT: Duration = Duration::from_secs(150);
/// The same of the attacks, of which there are many.
const LIMIT_OF_ABUSE: Duration = Duration::from_secs(600);

#[tokio::main]
async fn main() -> ExitCode {
    let Arguments { what, chosen, installation } = Arguments::parse();
    let scenarios = async {
        match what {
            Scenario::All => all(&installation, &chosen).await,
            what => scenario(what, &installation, &chosen).await.holds,
        }
    };
    // At a signal the scenario is dropped, and its processes with it.
    let holds = tokio::select! {
        holds = scenarios => holds,
        () = terminated() => false,
    };
    if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs every scenario in a folder of its own, also after a failed one.
async fn all(installation: &Installation, chosen: &Chosen) -> bool {
    let mut endings = Vec::new();
    for what in Scenario::SCENARIOS {
        heading(what.name());
        let installation = Installation { folder: installation.folder.join(what.name()), ..installation.clone() };
        let ending = match postgres::make_folder(installation.owner.as_deref(), &installation.folder) {
            Ok(()) => scenario(what, &installation, chosen).await,
            Err(error) => Transcript::default().end(Err(error)),
        };
        if ending.holds {
            // All folders together would take half a gigabyte, and /tmp may be memory.
            let _ = std::fs::remove_dir_all(&installation.folder);
        }
        endings.push((what.name(), ending));
    }
    summary(&endings);
    endings.iter().all(|(_, ending)| ending.holds)
}

async fn scenario(what: Scenario, installation: &Installation, chosen: &Chosen) -> Ending {
    let mut transcript = Transcript::default();
    let run = async {
        match what {
            Scenario::Rolling => rolling::run(installation, &mut transcript).await,
            Scenario::Upgrade => upgrade::run(installation, &mut transcript).await,
            Scenario::Overload => overload::run(installation, &mut transcript).await,
            Scenario::Dbgone => dbgone::run(installation, &mut transcript).await,
            Scenario::Failover => failover::run(installation, &mut transcript).await,
            Scenario::Restore => restore::run(installation, &mut transcript).await,
            Scenario::Abuse => abuse::run(installation, chosen, &mut transcript).await,
            Scenario::All => Err(anyhow::anyhow!("`all` is not one scenario")),
        }
    };
    let limit = if matches!(what, Scenario::Abuse) { LIMIT_OF_ABUSE } else { LIMIT };
    let outcome = match tokio::time::timeout(limit, run).await {
        Ok(outcome) => outcome,
        Err(_) => Err(anyhow::anyhow!("not finished within {limit:?}")),
    };
    transcript.end(outcome)
}

async fn terminated() {
    let terminate = async {
        match signal(SignalKind::terminate()) {
            Ok(mut received) => drop(received.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminate => {}
    }
}
