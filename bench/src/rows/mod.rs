//! The rows of the table, a file a subject. Each sets its own stage, checks the data, and only
//! then starts the clock.

mod arrears;
mod cascade;
mod fee_items;
mod gateway;
mod import;
mod memory;
mod prices;
mod start;
mod table_size;
mod transcoder;

pub use transcoder::{ANSWER_LINES, REQUEST_ROWS};

use std::time::Instant;

use anyhow::bail;

use crate::arithmetic::Figure;
use crate::load::Load;
use crate::processor::{self, Group, Reading};
use crate::report::Report;
use crate::stage::Stage;

/// How much is measured.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Extent {
    /// Rounds of each contestant
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// Seconds of a round, about
    #[arg(long, default_value_t = 2.0)]
    pub seconds: f64,
    /// Lines in the larger table; the smaller one has a tenth
    #[arg(long, default_value_t = 10_000_000)]
    pub table_rows: u64,
    /// Lines of an import
    #[arg(long, default_value_t = 300_000)]
    pub import_lines: u64,
    /// Lines of the stream that must not grow the memory
    #[arg(long, default_value_t = 1_000_000)]
    pub stream_lines: u64,
}

/// What a row needs to be measured.
#[derive(Debug)]
pub struct Run<'r> {
    /// Where.
    pub stage: &'r Stage,
    /// How much.
    pub extent: Extent,
    /// What was found so far.
    pub report: &'r mut Report,
}

/// The rows with what they measure, in the order of the table.
pub const ROWS: [(&str, &str); 10] = [
    ("arrears", "arrears of one book over gRPC, against pgbench and against a struct of 61 columns"),
    ("gateway", "the same through the gateway, against grpc-gateway"),
    ("transcoder", "protobuf to JSON and back inside one process, against prost + serde_json"),
    ("prices", "UpdateSalePackagePrice of rows on sale, against its bare statements"),
    ("fee-items", "saveFeeConfig and updateFeeConfig with request id, against their bare statements"),
    ("cascade", "stopping an item with many fees, against one bare UPDATE"),
    ("import", "receivable lines over gRPC, against COPY"),
    ("table-size", "arrears while the table grows"),
    ("memory", "memory of each process after work, and of the stream without a cap"),
    ("start", "from start to ready"),
];

/// Measures a row.
///
/// # Errors
/// It could not be measured.
pub async fn run(name: &str, run: Run<'_>) -> anyhow::Result<()> {
    match name {
        "arrears" => arrears::measure(run).await,
        "gateway" => gateway::measure(run).await,
        "transcoder" => transcoder::measure(run),
        "prices" => prices::measure(run).await,
        "fee-items" => fee_items::measure(run).await,
        "cascade" => cascade::measure(run).await,
        "import" => import::measure(run).await,
        "table-size" => table_size::measure(run).await,
        "memory" => memory::measure(run).await,
        "start" => start::measure(run).await,
        other => bail!("there is no row {other}"),
    }
}

/// One round of a contestant.
#[derive(Clone, Debug)]
struct Round {
    /// Operations a second, as they were.
    rate: f64,
    /// Operations a second had the load generator been elsewhere: of the machine's CPU time, what the generator used
    /// was not there for those that serve.
    rate_alone: f64,
    /// CPU nanoseconds an operation, of each group in turn.
    cpu: Vec<f64>,
}

/// A round that is under way.
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

    fn end(self, load: Load) -> Round {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let offered = self.began.elapsed().as_nanos() as f64 * cores as f64;
        let generator = processor::own_nanoseconds().saturating_sub(self.generator) as f64;
        let share = (generator / offered).min(0.9);
        let used = self.groups.iter().zip(&self.before).map(|(group, earlier)| group.since(earlier) as f64);
        let cpu = used.map(|used| used / load.operations).collect();
        Round { rate: load.rate, rate_alone: load.rate / (1.0 - share), cpu }
    }
}

/// Puts a load on and reads what it cost.
fn round(groups: &[&Group], load: impl FnOnce() -> anyhow::Result<Load>) -> anyhow::Result<Round> {
    let watch = Watch::begin(groups);
    Ok(watch.end(load()?))
}

type Contestant<'c> = Box<dyn FnMut() -> anyhow::Result<Round> + 'c>;

/// Every round runs every contestant once, so that whatever else the machine does meets all of
/// them alike. The first round warms up and does not count.
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

/// The rates of rounds as they were.
fn rates(rounds: &[Round]) -> Figure {
    figure(rounds.iter().map(|r| r.rate))
}

/// The rates of rounds without the load generator's share.
fn rates_alone(rounds: &[Round]) -> Figure {
    figure(rounds.iter().map(|r| r.rate_alone))
}

/// CPU of the given groups together, in microseconds an operation.
fn cpu_of(rounds: &[Round], groups: &[usize]) -> Figure {
    figure(rounds.iter().map(|r| groups.iter().filter_map(|g| r.cpu.get(*g)).sum::<f64>() / 1_000.0))
}

fn figure(values: impl Iterator<Item = f64>) -> Figure {
    Figure::of(&values.collect::<Vec<_>>()).unwrap_or(Figure::single(f64::NAN))
}

/// How many operations fill a round, after a short trial.
fn enough(extent: &Extent, trial: impl FnOnce() -> anyhow::Result<Load>) -> anyhow::Result<u64> {
    Ok((trial()?.rate * extent.seconds).max(50.0) as u64)
}
