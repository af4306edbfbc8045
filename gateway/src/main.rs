//! The gateway as a process.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use communal_gateway::plan::Contract;
use communal_gateway::{Config, serve};
use communal_kit::config::{EXIT_CONFIGURATION, Reader};
use communal_kit::telemetry::{self, TelemetrySettings};

/// Serves the documented REST shapes by calling gRPC.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Copy, Subcommand)]
enum Command {
    /// Serves until it is told to stop.
    Serve,
    /// Checks configuration and contract and ends.
    Check,
}

/// Gives memory back when a large answer is over; see docs/adr/0009.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[tokio::main]
async fn main() -> ExitCode {
    let Arguments { command } = Arguments::parse();
    let mut reader = Reader::from_environment();
    let config = Config::read(&mut reader);
    let settings = TelemetrySettings::read(&mut reader);
    if let Err(faults) = reader.finish() {
        complain(&faults);
        return ExitCode::from(EXIT_CONFIGURATION);
    }
    let outcome = match command {
        Command::Serve => run(config, &settings).await,
        Command::Check => Contract::load().map(drop).map_err(Into::into),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(config: Config, settings: &TelemetrySettings) -> anyhow::Result<()> {
    let guard = telemetry::init("gateway", settings)?;
    let outcome = serve(config, communal_kit::server::shutdown_signal()?).await;
    guard.shutdown().await;
    outcome
}

/// Logging may not have begun yet.
#[allow(clippy::print_stderr)]
fn complain(what: &dyn std::fmt::Display) {
    eprintln!("gateway: {what}");
}
