//! Breaks a running Communal on purpose and counts what its clients noticed. `./dev chaos`
//! builds the binaries, finds PostgreSQL and starts this; nothing else on the machine is
//! touched, and what was started ends with it.

mod dbgone;
mod failover;
mod load;
mod overload;
mod postgres;
mod report;
mod rolling;
mod stage;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use report::Report;

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
    /// Three times the load it is set up for
    Overload,
    /// PostgreSQL stops, and comes back
    Dbgone,
    /// The primary of PostgreSQL is killed, and its standby promoted
    Failover,
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
    let mut report = Report::default();
    let mut terminate = match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        Ok(terminate) => terminate,
        Err(error) => return report.failed(&error.into()),
    };
    let scenario = async {
        match what {
            What::Rolling => rolling::run(&place, &mut report).await,
            What::Overload => overload::run(&place, &mut report).await,
            What::Dbgone => dbgone::run(&place, &mut report).await,
            What::Failover => failover::run(&place, &mut report).await,
        }
    };
    // Whatever ends first, the scenario is dropped, and its processes with it.
    let outcome = tokio::select! {
        outcome = scenario => outcome,
        () = tokio::time::sleep(LIMIT) => Err(anyhow::anyhow!("not done within {LIMIT:?}")),
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
        _ = terminate.recv() => Err(anyhow::anyhow!("told to end")),
    };
    match outcome {
        Ok(()) => report.end(),
        Err(error) => report.failed(&error),
    }
}
