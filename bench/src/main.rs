//! `bench [ROW…]`: the program behind `./dev bench`, which prepares everything that it needs.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command for people")]

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Instant;

use clap::Parser;
use communal_bench::page;
use communal_bench::report::Report;
use communal_bench::rows::{Extent, ROWS, Run, run};
use communal_bench::stage::{CLIENTS, CONNECTIONS, Places, Stage};

/// Measure Communal against its limits and its peers
#[derive(Debug, Parser)]
struct Arguments {
    /// Rows to measure; all if none is named
    rows: Vec<String>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
    /// Folder of the documents; written when all rows ran
    #[arg(long, env = "COMMUNAL_BENCH_DOCS")]
    docs: Option<PathBuf>,
    #[command(flatten)]
    extent: Extent,
    #[command(flatten)]
    places: Places,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    if let Some(unknown) = arguments.rows.iter().find(|name| !ROWS.iter().any(|(known, _)| known == name)) {
        eprintln!("bench: there is no row {unknown}. The rows:");
        ROWS.iter().for_each(|(name, what)| eprintln!("  {name:<12} {what}"));
        return Ok(ExitCode::from(64));
    }
    let all = arguments.rows.is_empty();
    let stage = Stage::new(arguments.places);
    let mut report = Report { conditions: conditions(&stage, &arguments.extent).await?, ..Report::default() };
    if !arguments.json {
        report.conditions.iter().for_each(|(name, value)| println!("{name}: {value}"));
    }
    let mut failed = false;
    for (name, _) in ROWS.iter().filter(|(name, _)| all || arguments.rows.iter().any(|wanted| wanted == name)) {
        let start = Instant::now();
        eprintln!("bench: {name} …");
        let known = report.measurements.len();
        let measured = Run { stage: &stage, extent: arguments.extent, report: &mut report };
        if let Err(error) = run(name, measured).await {
            eprintln!("bench: {name}: {error:#}");
            report.absent.push(format!("{name}: {error:#}"));
            failed = true;
        }
        // A run takes minutes, so each row is printed when it is finished.
        eprintln!(
            "{}bench: {name}: {:.0} s",
            Report::table_of(&report.measurements[known..]),
            start.elapsed().as_secs_f64()
        );
    }
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!("\n{}", report.table());
        report.remarks.iter().for_each(|remark| println!("{remark}"));
    }
    if let Some(docs) = arguments.docs.filter(|_| all) {
        page::write(&report, &docs)?;
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The conditions of a run: machine, versions, settings and date.
async fn conditions(stage: &Stage, extent: &Extent) -> anyhow::Result<Vec<(String, String)>> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let of = |text: &str, key: &str| {
        let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default();
        line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
    };
    let cores = std::thread::available_parallelism()?;
    let load = read("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" ");
    let mut settings = Vec::new();
    for name in [
        "server_version",
        "fsync",
        "synchronous_commit",
        "full_page_writes",
        "wal_level",
        "autovacuum",
        "shared_buffers",
        "max_wal_size",
        "work_mem",
        "jit",
    ] {
        settings.push(format!("{name} {}", stage.setting(name).await?));
    }
    let first_line = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        text.lines().next().map(str::to_owned)
    };
    let tools: Vec<String> =
        [("rustc", "--version"), ("h2load", "--version"), ("pgbench", "--version"), ("go", "version")]
            .into_iter()
            .map(|(program, argument)| first_line(program, &[argument]).unwrap_or(format!("{program} absent")))
            .collect();
    let commit = first_line("git", &["log", "-1", "--format=%h %cs"]).unwrap_or_default();
    Ok([
        ("date", chrono::Utc::now().format("%Y-%m-%d %H:%M UTC").to_string()),
        ("commit", commit),
        ("processor", format!("{}, {cores} cores", of(&read("/proc/cpuinfo"), "model name"))),
        ("memory", of(&read("/proc/meminfo"), "MemTotal")),
        ("kernel", read("/proc/sys/kernel/osrelease").trim().to_owned()),
        ("load before", load),
        ("tools", tools.join("; ")),
        ("PostgreSQL", settings.join(", ")),
        (
            "extent",
            format!(
                "{} rounds of {} s after one warm-up; {CONNECTIONS} connections and callers, {CLIENTS} of the \
                 gateway; {} lines in the \
                 large table, a tenth in the small one; {} lines in an import",
                extent.rounds, extent.seconds, extent.table_rows, extent.import_lines
            ),
        ),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec())
}
