//! `communal serve`: everything in one process. The library's documentation gives the reason.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use communal_kit::cli;
use communal_kit::config::Reader;
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

/// The allocator, which returns memory after a large answer; see docs/adr/0009.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[tokio::main]
async fn main() -> ExitCode {
    cli::exit_code("communal", run(Arguments::parse().command, Reader::from_environment()).await)
}

async fn run(command: Command, reader: Reader) -> anyhow::Result<String> {
    let settings = Settings::read(reader)?;
    let telemetry = settings.telemetry.clone();
    match command {
        Command::Serve => {
            let serving = async |shutdown| start(settings).await?.until(shutdown).await;
            cli::serve("communal", &telemetry, serving).await?;
        }
        Command::Check => {}
    }
    Ok(String::new())
}
