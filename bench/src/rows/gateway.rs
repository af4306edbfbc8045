//! Arrears through the gateway, and through grpc-gateway in front of the same service.

use anyhow::{Context, ensure};
use serde_json::Value;

use super::arrears::{LINES, QUERY, check, request, with_books};
use super::{Contestant, Run, cpu_of, enough, interleaved, rates, rates_alone, round};
use crate::arithmetic::Throughput;
use crate::arithmetic::{Figure, Target};
use crate::columns::COLUMNS;
use crate::lines::{book_id, total_cents};
use crate::load::{Repeated, open, percentiles};
use crate::plot::Curve;
use crate::report::Measurement;
use crate::stage::{CLIENTS, Process, Service, Stage};

/// The documented path.
const PATH: &str = "/Service/v1/QueryUserArrearages/";
/// A book without lines: the smallest call.
const EMPTY: u64 = 0;

/// The documented body for a book.
pub(super) fn body(service: &Service, book: u64) -> String {
    format!("{{{},\"ACC_VOLPRICE_OWE\":{{\"BOOK_AID\":\"{}\"}}}}", service.sys_head(), book_id(book))
}

/// A load of the gateway.
pub(super) fn load(stage: &Stage, gateway: &Process, service: &Service, book: u64) -> anyhow::Result<Repeated> {
    Repeated::json(stage, &gateway.address, PATH, &Vec::new(), &body(service, book))
}

/// Checks that the JSON has the lines of the book, every documented key, and the sum of the lines.
async fn check_json(request: &Repeated, book: u64) -> anyhow::Result<()> {
    let mut call = reqwest::Client::new().post(&request.url).body(std::fs::read(&request.body)?);
    for (key, value) in &request.headers {
        call = call.header(key, value);
    }
    let answer: Value = serde_json::from_slice(&call.send().await?.bytes().await?)?;
    let lines = answer.get("DATA").unwrap_or(&answer).get("ACC_VOLPRICE_OWE").and_then(Value::as_array);
    let lines = lines.with_context(|| format!("{} answers {answer}", request.url))?;
    let mut cents = 0;
    for line in lines {
        ensure!(line.as_object().is_some_and(|l| l.len() == COLUMNS.len()), "a line without all keys: {line}");
        // Ours is a bare number, the peer's is a text.
        let fee = line["CALC_FEE"].to_string().replace('"', "").parse::<f64>()?;
        cents += (fee * 100.0).round() as u64;
    }
    ensure!(lines.len() as u64 == book, "{} answers {} lines instead of {book}", request.url, lines.len());
    ensure!(cents == total_cents(book), "{} answers {cents} cents instead of {}", request.url, total_cents(book));
    Ok(())
}

/// A load and the number of calls in a round.
struct Asked {
    load: Repeated,
    calls: u64,
}

impl Asked {
    fn new(run: &Run<'_>, load: Repeated) -> anyhow::Result<Self> {
        let calls = enough(&run.extent, || load.closed(CLIENTS, 320))?;
        Ok(Self { load, calls })
    }

    fn run(&self) -> anyhow::Result<Throughput> {
        self.load.closed(CLIENTS, self.calls)
    }
}

pub(super) async fn measure(run: Run<'_>) -> anyhow::Result<()> {
    let stage = run.stage;
    let service = with_books(stage, "bench_gateway").await?;
    let gateway = stage.gateway(&service.process.address, &service.process.address)?;
    check(&service.process.address, &service, LINES).await?;
    for book in [EMPTY, 1, 100, LINES, 1_000] {
        check_json(&load(stage, &gateway, &service, book)?, book).await?;
    }

    let ask = |book| Asked::new(&run, load(stage, &gateway, &service, book)?);
    let (empty, one, hundred, many) = (ask(EMPTY)?, ask(1)?, ask(100)?, ask(LINES)?);
    let direct = Repeated::grpc(stage, &service.process.address, QUERY, &service.metadata, &request(LINES))?;
    let direct = Asked::new(&run, direct)?;
    let peer = match &stage.places.grpc_gateway {
        Some(program) => Some(stage.peer(program, "grpc-gateway", &service.process.address)?),
        None => None,
    };
    let peer_asked = match &peer {
        None => Vec::new(),
        Some(peer) => {
            let mut asked = Vec::new();
            for book in [1, 100] {
                let filter = format!("{{\"ACC_VOLPRICE_OWE\":{{\"BOOK_AID\":\"{}\"}}}}", book_id(book));
                let load =
                    Repeated::json(stage, &peer.address, PATH.trim_end_matches('/'), &service.metadata, &filter)?;
                check_json(&load, book).await?;
                asked.push(Asked::new(&run, load)?);
            }
            asked
        }
    };
    let behind = [&gateway.group, &service.process.group, &stage.postgres];
    let mut contestants: Vec<Contestant<'_>> = [&direct, &many, &hundred, &one, &empty]
        .into_iter()
        .map(|asked| Box::new(move || round(&behind, || asked.run())) as Contestant<'_>)
        .collect();
    let peer_groups = peer.as_ref().map(|peer| [&peer.group]);
    for asked in &peer_asked {
        if let Some(groups) = peer_groups {
            contestants.push(Box::new(move || round(&groups, || asked.run())));
        }
    }
    let found = interleaved(run.extent.rounds, &mut contestants)?;
    drop(contestants);

    let [direct_rounds, many_rounds, hundred_rounds, one_rounds, empty_rounds, ..] = found.as_slice() else {
        anyhow::bail!("a contestant is missing");
    };
    let gateway_cpu = |rounds| cpu_of(rounds, &[0]);
    // The difference between two answers excludes the fixed cost of a call.
    let fields = (LINES - 1) as f64 * COLUMNS.len() as f64;
    let a_field = (gateway_cpu(many_rounds).median - gateway_cpu(one_rounds).median) * 1_000.0 / fields;
    let lines = &mut run.report.measurements;
    lines.push(
        Measurement::alone(
            "gateway",
            "calls through the gateway, 200 lines",
            "/s",
            rates_alone(many_rounds),
            Target::AtLeast(0.55),
        )
        .to_limit("gRPC direct", rates_alone(direct_rounds)),
    );
    let spread = gateway_cpu(many_rounds).spread;
    let a_field = Figure { median: a_field, spread };
    lines.push(Measurement::alone(
        "gateway",
        "gateway CPU a JSON field beyond fixed",
        "ns",
        a_field,
        Target::AtMost(25.0),
    ));
    let smallest = gateway_cpu(empty_rounds).scaled(10_000.0 / 1_000_000.0);
    lines.push(Measurement::alone(
        "gateway",
        "gateway CPU, smallest call, 10,000 times",
        "s",
        smallest,
        Target::AtMost(0.5),
    ));
    for (name, ours, theirs, target) in
        [("1 line", one_rounds, found.get(5), 3.0), ("100 lines", hundred_rounds, found.get(6), 7.0)]
    {
        let line = Measurement::alone(
            "gateway",
            format!("gateway CPU, {name}"),
            "µs",
            gateway_cpu(ours),
            Target::AtLeast(target),
        );
        match theirs {
            Some(theirs) => lines.push(line.ahead_of("grpc-gateway", gateway_cpu(theirs))),
            None => lines.push(Measurement { target: Target::Shown, ..line }),
        }
    }
    if peer.is_none() {
        run.report.absent.push("grpc-gateway: could not be built on this machine".into());
    }
    let (client, body) = (reqwest::Client::new(), body(&service, LINES));
    let latencies = open(rates(many_rounds).median / 2.0, run.extent.seconds, |_| {
        let call = client.post(&many.load.url).body(body.clone());
        async move { Ok(call.send().await?.error_for_status()?.bytes().await.map(drop)?) }
    })
    .await?;
    let (p50, p99) = percentiles(&latencies).context("no latencies")?;
    run.report.remarks.push(format!(
        "gateway, 200 lines: gateway {:.0} + service {:.0} + PostgreSQL {:.0} µs a call; with the load generator on \
         the same cores {:.0} calls a second, direct {:.0}; at half of that rate p50 {p50:.2} ms, p99 {p99:.2} ms; resident afterwards: gateway {:.1} MB, service {:.1} MB",
        cpu_of(many_rounds, &[0]).median,
        cpu_of(many_rounds, &[1]).median,
        cpu_of(many_rounds, &[2]).median,
        rates(many_rounds).median,
        rates(direct_rounds).median,
        gateway.group.resident()? as f64 / 1e6,
        service.process.group.resident()? as f64 / 1e6,
    ));
    let ours = [(1.0, one_rounds), (100.0, hundred_rounds), (LINES as f64, many_rounds)];
    let mut series = vec![("gateway".to_owned(), ours.map(|(n, r)| (n, gateway_cpu(r).median)).to_vec())];
    if let (Some(one), Some(hundred)) = (found.get(5), found.get(6)) {
        let theirs = vec![(1.0, gateway_cpu(one).median), (100.0, gateway_cpu(hundred).median)];
        series.push(("grpc-gateway".to_owned(), theirs));
    }
    run.report.curves.push(Curve {
        file: "gateway".into(),
        title: "Arrears through the gateway".into(),
        across: "lines in the answer".into(),
        up: "CPU of the gateway a call, µs".into(),
        series,
    });
    Ok(())
}
