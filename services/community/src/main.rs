//! `community`: serves, migrates, seeds and administers community fees.

use std::process::ExitCode;

use clap::Parser as _;
use communal_community::cli::{Arguments, run};
use communal_kit::cli::exit_code;
use communal_kit::config::Reader;

/// Gives memory back after a large answer; see docs/adr/0009.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[tokio::main]
async fn main() -> ExitCode {
    exit_code("community", run(Arguments::parse(), Reader::from_environment()).await)
}
