//! The rows of the table, a file for each subject. Each prepares its own stage and checks the data before the clock starts.

mod amounts;
mod archive;
mod arrears;
mod bill_rules;
mod cascade;
mod community_arrears;
mod fee_batch;
mod fee_items;
mod gateway;
mod import;
mod memory;
mod prices;
mod rating;
mod readings;
mod run;
mod run_growth;
mod start;
mod table_size;
mod transcoder;

pub use transcoder::{ANSWER_LINES, REQUEST_ROWS};

use std::time::Instant;

use anyhow::bail;

use crate::arithmetic::Figure;
use crate::arithmetic::Throughput;
use crate::processor::{self, Group, Reading};
use crate::report::Report;
use crate::stage::Stage;

/// The extent of a run.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Extent {
    /// Rounds of each contestant
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// Approximate seconds of a round
    #[arg(long, default_value_t = 2.0)]
    pub seconds: f64,
    /// Lines in the larger table; the smaller one has a tenth
    #[arg(long, default_value_t = 10_000_000)]
    pub table_rows: u64,
    /// Lines of an import
    #[arg(long, default_value_t = 300_000)]
    pub import_lines: u64,
    /// Accounts of an archive
    #[arg(long, default_value_t = 100_000)]
    pub archive_accounts: u64,
    /// Accounts of a month that is run
    #[arg(long, default_value_t = 200_000)]
    pub run_accounts: u64,
    /// Lines of the stream that must not grow the memory
    #[arg(long, default_value_t = 1_000_000)]
    pub stream_lines: u64,
}

/// Everything that a row needs.
#[derive(Debug)]
pub struct Run<'r> {
    /// The stage.
    pub stage: &'r Stage,
    /// The extent.
    pub extent: Extent,
    /// The results so far.
    pub report: &'r mut Report,
}

/// The rows with their descriptions, in the order of the table.
pub const ROWS: [(&str, &str); 20] = [
    ("arrears", "arrears of one book over gRPC, compared with pgbench and with a struct of 61 columns"),
    ("gateway", "the same through the gateway, compared with grpc-gateway"),
    ("transcoder", "protobuf to JSON and back inside one process, compared with prost + serde_json"),
    ("prices", "UpdateSalePackagePrice of rows on sale, compared with its bare statements"),
    ("fee-items", "saveFeeConfig and updateFeeConfig with request id, compared with their bare statements"),
    ("cascade", "stopping an item with many fees, compared with one bare UPDATE"),
    ("amounts", "amounts owed by 60,000 fees, computed in one thread"),
    ("rating", "bills of 60,000 accounts under the packages of the demo data, computed in one thread"),
    ("community-arrears", "what a community of 60,000 fees owes, compared with one bare SELECT of them"),
    ("bill-rules", "a bill run over 60,000 rules, compared with COPY of the bills"),
    ("fee-batch", "one call that charges 10,000 rooms, compared with COPY of the fees"),
    ("import", "receivable lines over gRPC, compared with COPY"),
    ("archive-import", "an archive of accounts with meters over gRPC, compared with COPY"),
    ("user-lookup", "accounts by name, phone, certificate and address"),
    ("readings", "readings of a month over gRPC, compared with COPY"),
    ("run", "a month of a company by RunBook, compared with bare COPY and UPDATE of the same rows"),
    ("run-growth", "the same as the company and its history grow, and the total of what is not charged off"),
    ("table-size", "arrears while the table grows"),
    ("memory", "memory of each process after work, and of the stream without a cap"),
    ("start", "time from start to readiness"),
];

/// Measures a row.
///
/// # Errors
/// Returns an error if the row cannot be measured.
pub async fn run(name: &str, run: Run<'_>) -> anyhow::Result<()> {
    match name {
        "arrears" => arrears::measure(run).await,
        "gateway" => gateway::measure(run).await,
        "transcoder" => transcoder::measure(run),
        "prices" => prices::measure(run).await,
        "fee-items" => fee_items::measure(run).await,
        "cascade" => cascade::measure(run).await,
        "amounts" => amounts::measure(run),
        "rating" => rating::measure(run),
        "community-arrears" => community_arrears::measure(run).await,
        "bill-rules" => bill_rules::measure(run).await,
        "fee-batch" => fee_batch::measure(run).await,
        "import" => import::measure(run).await,
        "archive-import" => archive::measure_import(run).await,
        "user-lookup" => archive::measure_lookup(run).await,
        "readings" => readings::measure(run).await,
        "run" => run::measure(run).await,
        "run-growth" => run_growth::measure(run).await,
        "table-size" => table_size::measure(run).await,
        "memory" => memory::measure(run).await,
        "start" => start::measure(run).await,
        other => bail!("there is no row {other}"),
    }
}

/// One round of a contestant.
#[derive(Clone, Debug)]
struct Round {
    /// The measured rate in operations a second.
    rate: f64,
    /// The rate on a machine without the load generator, whose CPU time is missing to the serving processes.
    rate_alone: f64,
    /// CPU nanoseconds of an operation, for each group.
    cpu: Vec<f64>,
}

/// A running round.
struct Watch<'g> {
    groups: &'g [&'g Group],
    before: Vec<Reading>,
    generator: u64,
    began: Instant,
}

impl<'g> Watch<'g> {
    fn begin(groups: &'g [&'g Group]) -> Self {
        let before = groups.iter().map(|group| group.read()).collect();
        Self { groups, before, generator: processor::own_nanoseconds(), began: Instant::now() }
    }

    fn end(self, load: Throughput) -> Round {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let offered = self.began.elapsed().as_nanos() as f64 * cores as f64;
        let generator = processor::own_nanoseconds().saturating_sub(self.generator) as f64;
        let share = (generator / offered).min(0.9);
        let used = self.groups.iter().zip(&self.before).map(|(group, earlier)| group.since(earlier) as f64);
        let cpu = used.map(|used| used / load.operations).collect();
        Round { rate: load.rate, rate_alone: load.rate / (1.0 - share), cpu }
    }
}

/// Runs a load and reads its cost.
fn round(groups: &[&Group], load: impl FnOnce() -> anyhow::Result<Throughput>) -> anyhow::Result<Round> {
    let watch = Watch::begin(groups);
    Ok(watch.end(load()?))
}

type Contestant<'c> = Box<dyn FnMut() -> anyhow::Result<Round> + 'c>;

/// Runs every contestant once in every round, so that other work of the machine affects all of them equally. The first round
/// is a warm-up and does not count.
fn interleaved(rounds: usize, contestants: &mut [Contestant<'_>]) -> anyhow::Result<Vec<Vec<Round>>> {
    let mut found = vec![Vec::new(); contestants.len()];
    for number in 0..=rounds {
        for (contestant, rounds) in contestants.iter_mut().zip(&mut found) {
            let round = contestant()?;
            if number > 0 {
                rounds.push(round);
            }
        }
    }
    Ok(found)
}

/// The measured rates of rounds.
fn rates(rounds: &[Round]) -> Figure {
    figure(rounds.iter().map(|r| r.rate))
}

/// The rates of rounds without the load generator's share.
fn rates_alone(rounds: &[Round]) -> Figure {
    figure(rounds.iter().map(|r| r.rate_alone))
}

/// The CPU time of some groups together, in microseconds an operation.
fn cpu_of(rounds: &[Round], groups: &[usize]) -> Figure {
    figure(rounds.iter().map(|r| groups.iter().filter_map(|g| r.cpu.get(*g)).sum::<f64>() / 1_000.0))
}

fn figure(values: impl Iterator<Item = f64>) -> Figure {
    Figure::of(&values.collect::<Vec<_>>()).unwrap_or(Figure::single(f64::NAN))
}

/// Returns the number of operations that fill a round, after a short trial.
fn enough(extent: &Extent, trial: impl FnOnce() -> anyhow::Result<Throughput>) -> anyhow::Result<u64> {
    Ok((trial()?.rate * extent.seconds).max(50.0) as u64)
}
