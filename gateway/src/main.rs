//! The gateway as a process.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use communal_gateway::plan::Contract;
use communal_gateway::{Config, serve};
use communal_kit::cli;
use communal_kit::config::Reader;
use communal_kit::telemetry::TelemetrySettings;

/// Serves the documented REST shapes by calling gRPC.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Copy, Subcommand)]
enum Command {
    /// Serve until SIGTERM or Ctrl-C
    Serve,
    /// Check configuration and contract
    Check,
}

/// Gives memory back after a large answer; see docs/adr/0009.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[tokio::main]
async fn main() -> ExitCode {
    cli::exit_code("gateway", run(Arguments::parse().command, Reader::from_environment()).await)
}

async fn run(command: Command, mut reader: Reader) -> anyhow::Result<String> {
    let (config, telemetry) = (Config::read(&mut reader), TelemetrySettings::read(&mut reader));
    reader.finish()?;
    match command {
        Command::Serve => cli::serve("gateway", &telemetry, async |shutdown| serve(config, shutdown).await).await?,
        Command::Check => drop(Contract::load()?),
    }
    Ok(String::new())
}
