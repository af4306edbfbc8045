//! Breaks a running Communal on purpose and counts what its clients noticed. `./dev chaos`
//! builds the binaries, finds PostgreSQL and starts this; nothing else on the machine is
//! touched, and what was started ends with it.

mod books;
mod clients;
mod dbgone;
mod failover;
mod lines;
mod load;
mod overload;
mod postgres;
mod report;
mod restore;
mod rolling;
mod runbook;
mod stage;
mod tally;
mod upgrade;
mod wire;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};

use report::{Ending, Report, heading, summary};

/// Breaks a running Communal on purpose and counts what its clients noticed
#[derive(Debug, Parser)]
struct Arguments {
    /// What happens to it
    what: What,
    #[command(flatten)]
    place: Place,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum What {
    /// Every process is replaced, one by one, under load
    Rolling,
    /// The schema grows under load, and a replica waits for one that lacks a migration
    Upgrade,
    /// Three times the load it is set up for
    Overload,
    /// PostgreSQL stops, and comes back
    Dbgone,
    /// The primary of PostgreSQL is killed, and its standby promoted
    Failover,
    /// Both databases are dumped under load, dropped and restored
    Restore,
    /// One after the other
    All,
}

impl What {
    const SCENARIOS: [Self; 6] =
        [Self::Rolling, Self::Upgrade, Self::Overload, Self::Dbgone, Self::Failover, Self::Restore];

    fn name(self) -> &'static str {
        match self {
            Self::Rolling => "rolling",
            Self::Upgrade => "upgrade",
            Self::Overload => "overload",
            Self::Dbgone => "dbgone",
            Self::Failover => "failover",
            Self::Restore => "restore",
            Self::All => "all",
        }
    }
}

/// Where everything is.
#[derive(Clone, Debug, clap::Args)]
struct Place {
    /// Folder of the built binaries
    #[arg(long)]
    programs: PathBuf,
    /// Folder of PostgreSQL's programs
    #[arg(long)]
    postgres: PathBuf,
    /// System user that PostgreSQL runs as, where that is not oneself
    #[arg(long)]
    owner: Option<String>,
    /// An empty folder of that user, with a short path: sockets lie in it
    #[arg(long)]
    folder: PathBuf,
}

/// Longer than any scenario takes; a command that hangs is a failure as well.
const LIMIT: Duration = Duration::from_secs(150);

#[tokio::main]
async fn main() -> ExitCode {
    let Arguments { what, place } = Arguments::parse();
    let scenarios = async {
        match what {
            What::All => all(&place).await,
            what => scenario(what, &place).await.holds,
        }
    };
    // Whatever ends first, the scenario is dropped, and its processes with it.
    let holds = tokio::select! {
        holds = scenarios => holds,
        () = told_to_end() => false,
    };
    if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Each in a folder of its own, whatever became of those before.
async fn all(place: &Place) -> bool {
    let mut endings = Vec::new();
    for what in What::SCENARIOS {
        heading(what.name());
        let place = Place { folder: place.folder.join(what.name()), ..place.clone() };
        let ending = match postgres::make_folder(place.owner.as_deref(), &place.folder) {
            Ok(()) => scenario(what, &place).await,
            Err(error) => Report::default().end(Err(error)),
        };
        if ending.holds {
            // Half a gigabyte in all, where /tmp may be memory.
            let _ = std::fs::remove_dir_all(&place.folder);
        }
        endings.push((what.name(), ending));
    }
    summary(&endings);
    endings.iter().all(|(_, ending)| ending.holds)
}

async fn scenario(what: What, place: &Place) -> Ending {
    let mut report = Report::default();
    let carried_out = async {
        match what {
            What::Rolling => rolling::run(place, &mut report).await,
            What::Upgrade => upgrade::run(place, &mut report).await,
            What::Overload => overload::run(place, &mut report).await,
            What::Dbgone => dbgone::run(place, &mut report).await,
            What::Failover => failover::run(place, &mut report).await,
            What::Restore => restore::run(place, &mut report).await,
            What::All => Err(anyhow::anyhow!("is not one scenario")),
        }
    };
    let outcome = match tokio::time::timeout(LIMIT, carried_out).await {
        Ok(outcome) => outcome,
        Err(_) => Err(anyhow::anyhow!("not done within {LIMIT:?}")),
    };
    report.end(outcome)
}

async fn told_to_end() {
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut terminate) => drop(terminate.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminated => {}
    }
}
