//! Receives spans over OTLP and prints one trace as a tree: what `./dev observe` shows.
//!
//! `trace_printer ADDRESS TRACE_ID SECONDS` ends when the trace contains SQL statements and no more of it arrives, or
//! fails if that has not happened in time.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod receiver;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use receiver::Span;

/// A trace without new spans for this time is complete: the product exports every 200 ms here.
const SILENCE: Duration = Duration::from_millis(1_500);

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, trace_id, seconds] = arguments.as_slice() else {
        eprintln!("usage: trace_printer ADDRESS TRACE_ID SECONDS");
        return Ok(ExitCode::from(64));
    };
    let (_, received) = receiver::receive(address.parse()?)?;
    let end = Instant::now() + Duration::from_secs(seconds.parse()?);
    let (mut count, mut since) = (0, Instant::now());
    while Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let spans = received.trace(trace_id);
        if spans.len() != count {
            (count, since) = (spans.len(), Instant::now());
        }
        if spans.iter().any(is_statement) && since.elapsed() > SILENCE {
            print(&spans);
            return Ok(ExitCode::SUCCESS);
        }
    }
    eprintln!("trace {trace_id} did not come down to a statement; {count} spans of it came");
    print(&received.trace(trace_id));
    Ok(ExitCode::FAILURE)
}

fn is_statement(span: &Span) -> bool {
    span.attributes.contains_key("db.operation.name")
}

fn print(spans: &[Span]) {
    let Some(first) = spans.first() else { return };
    println!("trace {}", first.trace_id);
    let roots = spans.iter().filter(|span| spans.iter().all(|other| other.span_id != span.parent_id));
    for root in roots {
        branch(spans, root, first.begin_ns, 0);
    }
}

fn branch(spans: &[Span], span: &Span, begin_ns: u64, depth: usize) {
    let what = if is_statement(span) { "postgresql" } else { attribute(span, "service") };
    let mut said = String::new();
    for key in ["http.response.status_code", "communal.code", "rpc.response.status_code", "db.response.returned_rows"] {
        if let Some(value) = span.attributes.get(key) {
            said.push_str(&format!(" {}={value}", key.rsplit('.').next().unwrap_or(key)));
        }
    }
    println!(
        "{:>8} µs +{:>6} µs  {:indent$}{what}: {}{said}{}",
        span.begin_ns.saturating_sub(begin_ns) / 1_000,
        span.end_ns.saturating_sub(span.begin_ns) / 1_000,
        "",
        span.name,
        if span.failed { " FAILED" } else { "" },
        indent = depth * 2,
    );
    for child in spans.iter().filter(|child| child.parent_id == span.span_id) {
        branch(spans, child, begin_ns, depth + 1);
    }
}

fn attribute<'s>(span: &'s Span, key: &str) -> &'s str {
    span.attributes.get(key).map_or("?", String::as_str)
}
