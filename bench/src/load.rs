//! The load generators: h2load for HTTP/1.1 and HTTP/2, pgbench for the bare statements.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::arithmetic::{Throughput, quantile};
use crate::capture::Script;
use crate::grpc::Metadata;
use crate::stage::Stage;

/// A request that h2load repeats.
#[derive(Clone, Debug)]
pub struct Repeated {
    /// The URL.
    pub url: String,
    /// True if it uses HTTP/1.1 instead of HTTP/2 without TLS.
    pub http1: bool,
    /// Headers.
    pub headers: Metadata,
    /// The file with the body.
    pub body: String,
}

impl Repeated {
    /// A gRPC call: the message with its length, and the headers of every call.
    ///
    /// # Errors
    /// Returns an error if the file cannot be written.
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
    /// Returns an error if the file cannot be written.
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

    /// Sends `requests` with `clients`, each of which waits for its answer.
    ///
    /// # Errors
    /// Returns an error if a request failed.
    pub fn closed(&self, clients: u32, requests: u64) -> anyhow::Result<Throughput> {
        let printed = finished(self.command(clients, requests).arg(&self.url))?;
        let load = h2load(&printed)?;
        ensure!(load.operations >= requests as f64, "only {} of {requests} calls succeeded", load.operations);
        Ok(load)
    }
}

/// Makes calls at an even rate that does not depend on the answers; returns the sorted latencies in milliseconds. h2load has
/// a rate as well, but all its clients call at the same instant.
///
/// # Errors
/// Returns an error if a call failed.
pub async fn open<F>(rate: f64, seconds: f64, mut call: impl FnMut(u64) -> F) -> anyhow::Result<Vec<f64>>
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let calls = (rate * seconds).max(100.0) as u64;
    let began = tokio::time::Instant::now();
    let mut running = tokio::task::JoinSet::new();
    for number in 0..calls {
        tokio::time::sleep_until(began + Duration::from_secs_f64(number as f64 / rate)).await;
        let call = call(number);
        running.spawn(async move {
            let sent = Instant::now();
            call.await.map(|()| sent.elapsed().as_secs_f64() * 1e3)
        });
    }
    let mut found = running.join_all().await.into_iter().collect::<anyhow::Result<Vec<f64>>>()?;
    found.sort_by(f64::total_cmp);
    Ok(found)
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

fn h2load(printed: &str) -> anyhow::Result<Throughput> {
    let line = |start: &str| printed.lines().find(|l| l.trim_start().starts_with(start));
    let rate = line("finished in").filter(|l| l.contains(" req/s")).and_then(|l| number_before(l, " req/s"));
    let answered = line("status codes:").filter(|l| l.contains(" 2xx")).and_then(|l| number_before(l, " 2xx"));
    let (rate, operations) = rate.zip(answered).with_context(|| format!("h2load printed: {printed}"))?;
    Ok(Throughput { operations, rate })
}

/// Returns p50 and p99 of sorted latencies.
#[must_use]
pub fn percentiles(latencies: &[f64]) -> Option<(f64, f64)> {
    quantile(latencies, 0.5).zip(quantile(latencies, 0.99))
}

/// Runs a script with `clients`, each `transactions` times, with prepared statements.
///
/// # Errors
/// Returns an error if a statement failed.
pub fn pgbench(
    stage: &Stage,
    database: &str,
    script: &Script,
    clients: u32,
    transactions: u64,
) -> anyhow::Result<Throughput> {
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

fn pgbench_load(printed: &str) -> anyhow::Result<Throughput> {
    let value = |start: &str| {
        let rest = printed.lines().find_map(|l| l.strip_prefix(start))?;
        rest.split([' ', '/']).find(|w| !w.is_empty())?.parse::<f64>().ok()
    };
    let found = value("tps = ").zip(value("number of transactions actually processed:"));
    let (rate, operations) = found.with_context(|| format!("pgbench printed: {printed}"))?;
    ensure!(value("number of failed transactions:").unwrap_or(0.0) == 0.0, "pgbench failed: {printed}");
    Ok(Throughput { operations, rate })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_output_of_h2load_is_read() {
        let printed = "starting benchmark...\nfinished in 1.02s, 49261.08 req/s, 20.11MB/s\n\
            requests: 50000 total, 50000 started, 50000 done, 50000 succeeded, 0 failed, 0 errored, 0 timeout\n\
            status codes: 49999 2xx, 0 3xx, 1 4xx, 0 5xx\n";
        assert_eq!(h2load(printed).unwrap(), Throughput { operations: 49_999.0, rate: 49_261.08 });
        assert!(h2load("nonsense").is_err());
    }

    #[tokio::test]
    async fn calls_at_a_rate_do_not_wait_for_each_other_and_all_must_succeed() {
        let began = Instant::now();
        let found = open(500.0, 0.4, |number| async move {
            tokio::time::sleep(Duration::from_millis(if number == 0 { 150 } else { 1 })).await;
            Ok(())
        })
        .await
        .unwrap();
        assert_eq!(found.len(), 200);
        assert!(found[199] >= 150.0 && found[0] >= 1.0, "{found:?}");
        assert!(began.elapsed() >= Duration::from_millis(390), "not faster than the rate");
        assert_eq!(percentiles(&[1.0, 2.0, 3.0]).unwrap().0, 2.0);
        assert!(
            open(500.0, 0.1, |n| async move {
                anyhow::ensure!(n != 3, "refused");
                Ok(())
            })
            .await
            .is_err()
        );
    }

    #[test]
    fn the_output_of_pgbench_is_read_and_a_failure_is_an_error() {
        let printed = "number of transactions actually processed: 800/800\n\
            number of failed transactions: 0 (0.000%)\nlatency average = 1.1 ms\n\
            tps = 7012.5 (without initial connection time)\n";
        assert_eq!(pgbench_load(printed).unwrap(), Throughput { operations: 800.0, rate: 7_012.5 });
        assert!(pgbench_load(&printed.replace("transactions: 0", "transactions: 3")).is_err());
    }
}
