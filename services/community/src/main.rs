//! `community`: the service of community fees, and its administration. See the library.

use std::process::ExitCode;

use clap::Parser;
use communal_community::cli::{Arguments, run};
use communal_kit::config::{ConfigurationFaults, EXIT_CONFIGURATION, Reader};

/// Gives memory back when a large answer is over; see docs/adr/0009.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[tokio::main]
#[allow(clippy::print_stderr)]
async fn main() -> ExitCode {
    match run(Arguments::parse(), Reader::from_environment()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<ConfigurationFaults>() => {
            eprint!("{error}");
            ExitCode::from(EXIT_CONFIGURATION)
        }
        Err(error) => {
            eprintln!("community: {error:#}");
            ExitCode::FAILURE
        }
    }
}
