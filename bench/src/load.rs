//! The load generators: h2load for HTTP in both versions, pgbench for the bare statements.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};

use crate::arithmetic::quantile;
use crate::capture::Script;
use crate::grpc::Metadata;
use crate::stage::Stage;

/// What a load came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// Operations that succeeded: all that were begun.
    pub operations: f64,
    /// Operations a second.
    pub rate: f64,
}

/// A request that h2load repeats.
#[derive(Clone, Debug)]
pub struct Repeated {
    /// Where to.
    pub url: String,
    /// HTTP/1.1 instead of HTTP/2 without TLS.
    pub http1: bool,
    /// Headers.
    pub headers: Metadata,
    /// File with the body.
    pub body: String,
}

impl Repeated {
    /// A gRPC call: the message behind its length, and the headers every call has.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn grpc(stage: &Stage, address: &str, path: &str, metadata: &Metadata, message: &[u8]) -> anyhow::Result<Self> {
        let mut frame = vec![0];
        frame.extend_from_slice(&u32::try_from(message.len())?.to_be_bytes());
        frame.extend_from_slice(message);
        let mut headers = metadata.clone();
        headers.push(("te".into(), "trailers".into()));
        headers.push(("content-type".into(), "application/grpc".into()));
        Self::new(stage, format!("http://{address}{path}"), false, headers, &frame)
    }

    /// A JSON call over HTTP/1.1.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn json(stage: &Stage, address: &str, path: &str, headers: &Metadata, body: &str) -> anyhow::Result<Self> {
        let mut headers = headers.clone();
        headers.push(("content-type".into(), "application/json".into()));
        Self::new(stage, format!("http://{address}{path}"), true, headers, body.as_bytes())
    }

    fn new(stage: &Stage, url: String, http1: bool, headers: Metadata, body: &[u8]) -> anyhow::Result<Self> {
        let file = stage.places.work.join(format!("body-{:016x}", rand::random::<u64>()));
        std::fs::write(&file, body)?;
        Ok(Self { url, http1, headers, body: file.to_string_lossy().into_owned() })
    }

    fn command(&self, clients: u32, requests: u64) -> Command {
        let mut command = Command::new("h2load");
        command.args(["-t", "1", "-c", &clients.to_string(), "-n", &requests.to_string(), "-d", &self.body]);
        if self.http1 {
            command.arg("--h1");
        }
        for (key, value) in &self.headers {
            command.arg("-H").arg(format!("{key}: {value}"));
        }
        command
    }

    /// Sends `requests` by `clients`, each waiting for its answer.
    ///
    /// # Errors
    /// Any request failed.
    pub fn closed(&self, clients: u32, requests: u64) -> anyhow::Result<Load> {
        let printed = finished(self.command(clients, requests).arg(&self.url))?;
        let load = h2load(&printed)?;
        ensure!(load.operations >= requests as f64, "only {} of {requests} calls succeeded", load.operations);
        Ok(load)
    }

    /// Sends at a rate, whatever the answers do: latencies in milliseconds, sorted.
    ///
    /// # Errors
    /// Any request failed.
    pub fn open(&self, rate: f64, seconds: f64) -> anyhow::Result<Vec<f64>> {
        // Clients stand for a crowd: so many that none has to wait for its own answer.
        let clients = 50;
        let per_client = (rate / f64::from(clients)).round().max(1.0);
        let requests = ((per_client * f64::from(clients) * seconds) as u64).max(u64::from(clients));
        let log = format!("{}.log", self.body);
        let _ = std::fs::remove_file(&log);
        let mut command = self.command(clients, requests);
        command.arg(format!("--rps={per_client}")).arg(format!("--log-file={log}"));
        finished(command.arg(&self.url))?;
        latencies(&std::fs::read_to_string(&log)?)
    }
}

fn finished(command: &mut Command) -> anyhow::Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("{program} cannot be started"))?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program}: {} {}", printed.trim(), complaint.trim());
    Ok(printed)
}

fn number_before(text: &str, unit: &str) -> Option<f64> {
    text.split(unit).next()?.split([' ', ',', '(']).rfind(|w| !w.is_empty())?.parse().ok()
}

fn h2load(printed: &str) -> anyhow::Result<Load> {
    let line = |start: &str| printed.lines().find(|l| l.trim_start().starts_with(start));
    let rate = line("finished in").filter(|l| l.contains(" req/s")).and_then(|l| number_before(l, " req/s"));
    let answered = line("status codes:").filter(|l| l.contains(" 2xx")).and_then(|l| number_before(l, " 2xx"));
    let (rate, operations) = rate.zip(answered).with_context(|| format!("h2load said: {printed}"))?;
    Ok(Load { operations, rate })
}

/// Lines of h2load's log: start, status, microseconds.
fn latencies(log: &str) -> anyhow::Result<Vec<f64>> {
    let mut found = Vec::new();
    for line in log.lines() {
        let mut words = line.split_whitespace().skip(1);
        let (status, took) = (words.next(), words.next().and_then(|w| w.parse::<f64>().ok()));
        ensure!(status == Some("200"), "a call was answered {status:?}");
        found.push(took.context("a latency that is no number")? / 1_000.0);
    }
    found.sort_by(f64::total_cmp);
    Ok(found)
}

/// p50 and p99 of sorted latencies.
#[must_use]
pub fn percentiles(latencies: &[f64]) -> Option<(f64, f64)> {
    quantile(latencies, 0.5).zip(quantile(latencies, 0.99))
}

/// Runs a script by `clients`, each `transactions` times, with prepared statements.
///
/// # Errors
/// A statement failed.
pub fn pgbench(
    stage: &Stage,
    database: &str,
    script: &Script,
    clients: u32,
    transactions: u64,
) -> anyhow::Result<Load> {
    let file = stage.places.work.join(format!("{database}.pgbench"));
    std::fs::write(&file, &script.text)?;
    let mut command = Command::new(program(&stage.places.pg_bin));
    command
        .args(["-M", "prepared", "-n", "-j", &clients.min(2).to_string(), "-c", &clients.to_string()])
        .args(["-t", &transactions.to_string(), "-U", "postgres", "-p", "5432", "-h"])
        .arg(&stage.places.socket)
        .arg("-f")
        .arg(&file)
        .env("PGCLIENTENCODING", "UTF8")
        .env("PGOPTIONS", "-c timezone=UTC");
    for (name, value) in &script.variables {
        command.arg("-D").arg(format!("{name}={value}"));
    }
    pgbench_load(&finished(command.arg(database))?)
}

fn program(pg_bin: &Path) -> std::path::PathBuf {
    let own = pg_bin.join("pgbench");
    if own.exists() { own } else { "pgbench".into() }
}

fn pgbench_load(printed: &str) -> anyhow::Result<Load> {
    let value = |start: &str| {
        let rest = printed.lines().find_map(|l| l.strip_prefix(start))?;
        rest.split([' ', '/']).find(|w| !w.is_empty())?.parse::<f64>().ok()
    };
    let found = value("tps = ").zip(value("number of transactions actually processed:"));
    let (rate, operations) = found.with_context(|| format!("pgbench said: {printed}"))?;
    ensure!(value("number of failed transactions:").unwrap_or(0.0) == 0.0, "pgbench failed: {printed}");
    Ok(Load { operations, rate })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_h2load_prints_is_understood() {
        let printed = "starting benchmark...\nfinished in 1.02s, 49261.08 req/s, 20.11MB/s\n\
            requests: 50000 total, 50000 started, 50000 done, 50000 succeeded, 0 failed, 0 errored, 0 timeout\n\
            status codes: 49999 2xx, 0 3xx, 1 4xx, 0 5xx\n";
        assert_eq!(h2load(printed).unwrap(), Load { operations: 49_999.0, rate: 49_261.08 });
        assert!(h2load("nonsense").is_err());
    }

    #[test]
    fn latencies_are_sorted_and_every_answer_must_be_good() {
        let found = latencies("1\t200\t3000\n2\t200\t1000\n3\t200\t2000\n").unwrap();
        assert_eq!(found, [1.0, 2.0, 3.0]);
        assert_eq!(percentiles(&found).unwrap().0, 2.0);
        assert!(latencies("1\t503\t3000\n").is_err());
    }

    #[test]
    fn what_pgbench_prints_is_understood_and_failures_are_not_counted_as_fast() {
        let printed = "number of transactions actually processed: 800/800\n\
            number of failed transactions: 0 (0.000%)\nlatency average = 1.1 ms\n\
            tps = 7012.5 (without initial connection time)\n";
        assert_eq!(pgbench_load(printed).unwrap(), Load { operations: 800.0, rate: 7_012.5 });
        assert!(pgbench_load(&printed.replace("transactions: 0", "transactions: 3")).is_err());
    }
}
