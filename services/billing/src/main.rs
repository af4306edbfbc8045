//! `billing`: serves, migrates, seeds and administers retail-utility billing.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use communal_billing::cli::{Cli, run};
use communal_kit::config::{ConfigurationFaults, EXIT_CONFIGURATION};

/// Gives memory back when a large answer is over; see docs/adr/0009.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(printed) => match std::io::stdout().write_all(printed.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "billing: {error:#}");
            if error.is::<ConfigurationFaults>() { ExitCode::from(EXIT_CONFIGURATION) } else { ExitCode::FAILURE }
        }
    }
}
