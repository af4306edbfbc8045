//! `communal serve`: everything in one process. See the library for why.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use communal_kit::config::{EXIT_CONFIGURATION, Reader};
use communal_kit::{server, telemetry};
use communal_standalone::{Settings, start};

/// Communal in one process: billing, community and gateway.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM or Ctrl-C
    Serve,
    /// Check the configuration
    Check,
}

/// Gives memory back when a large answer is over; see docs/adr/0009.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[tokio::main]
#[allow(clippy::print_stderr)]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let settings = match Settings::read(Reader::from_environment()) {
        Ok(settings) => settings,
        Err(faults) => {
            eprint!("{faults}");
            return ExitCode::from(EXIT_CONFIGURATION);
        }
    };
    let outcome = match arguments.command {
        Command::Check => Ok(()),
        Command::Serve => serve(settings).await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("communal: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(settings: Settings) -> anyhow::Result<()> {
    // Listened to before anything starts, so that a signal during the start is not lost.
    let shutdown = server::shutdown_signal()?;
    let guard = telemetry::init("communal", &settings.telemetry)?;
    let outcome = match start(settings).await {
        Ok(running) => running.until(shutdown).await,
        Err(error) => Err(error),
    };
    guard.shutdown().await;
    outcome
}
