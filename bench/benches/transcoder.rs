//! The transcoder compared with prost + serde_json, in CPU time of the thread, because elapsed time on a shared machine
//! depends on the other processes.
#![allow(missing_docs, clippy::float_arithmetic, clippy::unwrap_used)]

use std::hint::black_box;
use std::time::Duration;

use communal_bench::columns::DocumentedLine;
use communal_bench::lines::line;
use communal_bench::rows::{ANSWER_LINES, REQUEST_ROWS};
use communal_bench::tariffs::{PriceBody, documented_body};
use communal_gateway::json::{Input, Output, Strictness};
use communal_gateway::plan::{Contract, Route};
use communal_proto::billing::v1::{ReceivableLine, UpdateSalePackagePriceRequest};
use criterion::measurement::{Measurement, ValueFormatter};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use nix::time::{ClockId, clock_gettime};
use prost::Message;
use serde::Serialize;

/// The allocator of the gateway, for both contestants.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// CPU time of this thread.
struct ThreadTime;

impl Measurement for ThreadTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap())
    }

    fn end(&self, start: Duration) -> Duration {
        self.start() - start
    }

    fn add(&self, one: &Duration, other: &Duration) -> Duration {
        *one + *other
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        value.as_secs_f64() * 1e9
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        &Nanoseconds
    }
}

struct Nanoseconds;

impl ValueFormatter for Nanoseconds {
    fn scale_values(&self, _: f64, values: &mut [f64]) -> &'static str {
        values.iter_mut().for_each(|value| *value /= 1e3);
        "µs CPU"
    }

    fn scale_throughputs(&self, _: f64, throughput: &Throughput, values: &mut [f64]) -> &'static str {
        if let Throughput::Elements(fields) = throughput {
            values.iter_mut().for_each(|value| *value /= *fields as f64);
        }
        "ns CPU a field"
    }

    fn scale_for_machines(&self, _: &mut [f64]) -> &'static str {
        "ns"
    }
}

/// The reply as a typed message, as the peer reads it.
#[derive(Clone, PartialEq, Message)]
struct Reply {
    #[prost(message, repeated, tag = "1")]
    lines: Vec<ReceivableLine>,
}

#[derive(Serialize)]
struct DocumentedReply<'l> {
    #[serde(rename = "ACC_VOLPRICE_OWE")]
    lines: Vec<DocumentedLine<'l>>,
}

fn by_serde(wire: &[u8]) -> Vec<u8> {
    let reply = Reply::decode(wire).unwrap();
    let lines = reply.lines.iter().map(|line| DocumentedLine::of(line).unwrap()).collect();
    serde_json::to_vec(&DocumentedReply { lines }).unwrap()
}

fn by_plan(contract: &Contract, route: &Route, wire: &[u8]) -> Vec<u8> {
    let mut output = Output::new(contract.plans(), Vec::with_capacity(wire.len() * 3));
    output.object(route.output, wire).unwrap();
    output.into_bytes()
}

fn read_by_plan(contract: &Contract, route: &Route, body: &[u8]) -> Vec<u8> {
    let mut input = Input::new(contract.plans(), Strictness::Strict, body.len());
    input.body(route.input, body, None).unwrap();
    let (wire, faults, _) = input.finish();
    assert_eq!(faults.count(), 0);
    wire
}

fn read_by_serde(body: &[u8]) -> Vec<u8> {
    let body: PriceBody<'_> = serde_json::from_slice(body).unwrap();
    UpdateSalePackagePriceRequest::from(body).encode_to_vec()
}

fn transcoder(criterion: &mut Criterion<ThreadTime>) {
    let contract = Contract::load().unwrap();
    let route = |name: &str| contract.routes().iter().find(|r| r.name == name).unwrap();
    let (arrears, prices) = (route("QueryUserArrearages"), route("UpdateSalePackagePrice"));

    let wire = Reply { lines: (0..ANSWER_LINES).map(|i| line(1, i)).collect() }.encode_to_vec();
    let (ours, theirs) = (by_plan(&contract, arrears, &wire), by_serde(&wire));
    assert_eq!(String::from_utf8(ours).unwrap(), String::from_utf8(theirs).unwrap(), "both write the same bytes");
    let body = documented_body(REQUEST_ROWS, None).into_bytes();
    let (ours, theirs) = (read_by_plan(&contract, prices, &body), read_by_serde(&body));
    let read = |wire: &[u8]| UpdateSalePackagePriceRequest::decode(wire).unwrap();
    assert_eq!(read(&ours), read(&theirs), "both read the same message");

    let mut group = criterion.benchmark_group("transcoder");
    group.sample_size(40).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(3));
    group.throughput(Throughput::Elements(ANSWER_LINES * 61));
    group.bench_function("answer-plan", |b| b.iter(|| by_plan(&contract, arrears, black_box(&wire))));
    group.bench_function("answer-serde", |b| b.iter(|| by_serde(black_box(&wire))));
    group.throughput(Throughput::Elements(REQUEST_ROWS * 15));
    group.bench_function("request-plan", |b| b.iter(|| read_by_plan(&contract, prices, black_box(&body))));
    group.bench_function("request-serde", |b| b.iter(|| read_by_serde(black_box(&body))));
    group.finish();
}

criterion_group!(name = benches; config = Criterion::default().with_measurement(ThreadTime); targets = transcoder);
criterion_main!(benches);
