//! `communal serve`: everything in one process. The library's documentation gives the reason.

use std::path::PathBuf;
use std::process::ExitCode;

use chrono::Utc;
use clap::{Parser, Subcommand};
use communal_kit::cli;
use communal_kit::clock::Clock;
use communal_kit::config::Reader;
use communal_kit::sandbox;
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
    /// The sandbox clock, in the file that COMMUNAL_SANDBOX_CLOCK names
    #[command(subcommand)]
    Clock(ClockCommand),
}

#[derive(Debug, Subcommand)]
enum ClockCommand {
    /// Print the business time
    Show,
    /// Start a sandbox without data at a local time, like 2026-01-05T10:00
    Start {
        /// Local time
        time: String,
    },
    /// Move the clock to a local time that is not past
    Set {
        /// Local time, like 2026-01-05T10:00
        time: String,
    },
    /// Move the clock on
    Advance {
        /// Span: 1mo, 2w, 3d, 4h or 5m
        span: String,
    },
}

/// The allocator, which returns memory after a large answer; see docs/adr/0009.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[tokio::main]
async fn main() -> ExitCode {
    cli::exit_code("communal", run(Arguments::parse().command, Reader::from_environment()).await)
}

/// Moves the clock, and returns the time at which it stands.
fn clock(command: &ClockCommand, mut reader: Reader) -> anyhow::Result<String> {
    let (file, zone) = (reader.required(sandbox::SETTING), Clock::read(&mut reader).zone());
    reader.finish()?;
    let (file, machine) = (PathBuf::from(file), Utc::now());
    let time = match command {
        ClockCommand::Show => sandbox::time(&file, machine).with_timezone(&zone).naive_local(),
        ClockCommand::Start { time } => sandbox::start(&file, time, zone, machine)?,
        ClockCommand::Set { time: to } | ClockCommand::Advance { span: to } => {
            sandbox::advance(&file, to, zone, machine)?
        }
    };
    Ok(format!("{}\n", time.format("%Y-%m-%dT%H:%M:%S")))
}

async fn run(command: Command, reader: Reader) -> anyhow::Result<String> {
    if let Command::Clock(command) = &command {
        return clock(command, reader);
    }
    let settings = Settings::read(reader)?;
    let telemetry = settings.telemetry.clone();
    match command {
        Command::Serve => {
            let serving = async |shutdown| start(settings).await?.until(shutdown).await;
            cli::serve("communal", &telemetry, serving).await?;
        }
        Command::Check | Command::Clock(_) => {}
    }
    Ok(String::new())
}
