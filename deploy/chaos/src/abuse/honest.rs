//! Honest clients, on a thread and a runtime of their own: what the attacker's tasks do must not be mistaken for what the
//! product does.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use communal_fixtures::credentials::billing::RETAIL;
use communal_fixtures::credentials::community::HOME;
use communal_proto::billing::v1::receivable_service_client::ReceivableServiceClient;
use communal_proto::billing::v1::supplier_service_client::SupplierServiceClient;
use communal_proto::billing::v1::{ArrearsFilter, ListStoresRequest, StreamUserArrearagesRequest};
use tonic::Status;
use tonic::transport::Endpoint;

use crate::accounts::{book_of, lines_of};
use crate::clients::{Answer, Clients, Item, Protocol, answer_of};
use crate::deployment::{Kind, PROBE, Slot, readiness};
use crate::tally::{Key, Write, percentile};

/// Pause between the calls of a client.
const PAUSE: Duration = Duration::from_millis(20);
/// Pause between imports of a client.
const PAUSE_OF_IMPORTS: Duration = Duration::from_millis(120);
/// Longest wait of a client.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);
/// Lines of an import.
const LINES: usize = 5;

/// What a client does, again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    ArrearsOverRest,
    ArrearsOverGrpc,
    ArrearsAsStream,
    UpdateOverRest,
    UpdateOverGrpc,
    /// A REST call on a connection of its own.
    NewRestConnection,
    /// A gRPC call on a connection of its own.
    NewGrpcConnection,
    Import,
    /// The admin ports are asked for readiness.
    Probe,
}

impl Work {
    const ALL: [Self; 9] = [
        Self::ArrearsOverRest,
        Self::ArrearsOverGrpc,
        Self::ArrearsAsStream,
        Self::UpdateOverRest,
        Self::UpdateOverGrpc,
        Self::NewRestConnection,
        Self::NewGrpcConnection,
        Self::Import,
        Self::Probe,
    ];

    fn class(self) -> Class {
        match self {
            Self::Import => Class::Import,
            Self::Probe => Class::Probe,
            _ => Class::Call,
        }
    }
}

/// Calls whose times are compared with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Queries and updates.
    Call,
    /// Imports of a few lines.
    Import,
    /// Probes, whose times do not count.
    Probe,
}

#[derive(Debug)]
struct Sample {
    work: Work,
    began: Instant,
    took: Duration,
    answer: Answer,
}

#[derive(Debug, Default)]
struct Log {
    samples: Vec<Sample>,
    acknowledged: Vec<Write>,
    /// The begin of the running call of each client.
    open: BTreeMap<usize, Instant>,
}

impl Log {
    fn note(&mut self, client: usize, sample: Sample, key: Option<Key>) {
        self.open.remove(&client);
        if sample.answer == Answer::Done {
            self.acknowledged.extend(key.map(|key| Write { key, at: Instant::now() }));
        }
        self.samples.push(sample);
    }
}

/// See the module.
pub(crate) struct Honest {
    stop: Arc<AtomicBool>,
    log: Arc<Mutex<Log>>,
    thread: JoinHandle<anyhow::Result<()>>,
}

/// The calls of a period.
#[derive(Debug, Default)]
pub(crate) struct Period {
    pub(crate) calls: usize,
    pub(crate) imports: usize,
    /// Calls that were refused or failed.
    pub(crate) errors: usize,
    /// Some of their answers.
    pub(crate) detail: Vec<String>,
    pub(crate) call_p99: Duration,
    pub(crate) import_p99: Duration,
}

fn lock(log: &Mutex<Log>) -> MutexGuard<'_, Log> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the clients call.
struct Targets {
    clients: Clients,
    fresh: reqwest::Client,
    slots: [Slot; 3],
    items: [Item; 2],
}

impl Honest {
    /// Starts the clients of billing, community and a gateway.
    pub(crate) fn begin(slots: [Slot; 3], items: [Item; 2]) -> Self {
        let (stop, log) = (Arc::<AtomicBool>::default(), Arc::<Mutex<Log>>::default());
        let (stopped, written) = (Arc::clone(&stop), Arc::clone(&log));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let [billing, community, gateway] = &slots;
                let clients = Clients::new(&[billing, community, gateway], 1, DEADLINE)?;
                let fresh =
                    reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).timeout(DEADLINE).build()?;
                let targets = Targets { clients, fresh, slots, items };
                let work = |(client, work)| go_on(client, work, &targets, &stopped, &written);
                futures::future::join_all(Work::ALL.into_iter().enumerate().map(work)).await;
                Ok(())
            })
        });
        Self { stop, log, thread }
    }

    /// Returns whether a call that began before an instant is still running.
    pub(crate) fn waits_since(&self, instant: Instant) -> bool {
        lock(&self.log).open.values().any(|began| *began < instant)
    }

    /// The calls that began in these times and have ended.
    pub(crate) fn within(&self, times: &[Range<Instant>]) -> Period {
        let log = lock(&self.log);
        let within = |sample: &&Sample| times.iter().any(|time| time.contains(&sample.began));
        let (mut period, mut times) = (Period::default(), [Vec::new(), Vec::new()]);
        for sample in log.samples.iter().filter(within) {
            match sample.work.class() {
                Class::Call => times[0].push(sample.took),
                Class::Import => times[1].push(sample.took),
                Class::Probe => {}
            }
            if sample.answer != Answer::Done {
                period.errors += 1;
                let detail = format!("{:?} after {:?}: {:?}", sample.work, sample.took, sample.answer);
                if period.detail.len() < 3 {
                    period.detail.push(detail.chars().take(300).collect());
                }
            }
        }
        let [calls, imports] = &times;
        (period.calls, period.imports) = (calls.len(), imports.len());
        period.call_p99 = percentile(calls, 99).unwrap_or_default();
        period.import_p99 = percentile(imports, 99).unwrap_or_default();
        period
    }

    /// Waits for the running call of each client and returns the writes that were acknowledged.
    pub(crate) async fn end(self) -> anyhow::Result<Vec<Write>> {
        self.stop.store(true, Ordering::Relaxed);
        let ended = tokio::task::spawn_blocking(move || self.thread.join()).await?;
        ended.ok().context("the honest clients ended in a panic")??;
        Ok(std::mem::take(&mut lock(&self.log).acknowledged))
    }
}

async fn go_on(client: usize, work: Work, targets: &Targets, stop: &AtomicBool, log: &Mutex<Log>) {
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        lock(log).open.insert(client, began);
        let call = work.call(targets, targets.clients.number());
        let (answer, key) = match tokio::time::timeout(DEADLINE * 2, call).await {
            Ok(outcome) => outcome,
            Err(_) => (Answer::Unknown("no answer".to_owned()), None),
        };
        lock(log).note(client, Sample { work, began, took: began.elapsed(), answer }, key);
        tokio::time::sleep(if work == Work::Import { PAUSE_OF_IMPORTS } else { PAUSE }).await;
    }
}

impl Work {
    async fn call(self, targets: &Targets, number: usize) -> (Answer, Option<Key>) {
        let Targets { clients, items: [of_rest, of_grpc], .. } = targets;
        match self {
            Self::ArrearsOverRest => (clients.arrears(Protocol::Rest).await, None),
            Self::ArrearsOverGrpc => (clients.arrears(Protocol::Grpc).await, None),
            Self::ArrearsAsStream => (targets.stream().await, None),
            Self::UpdateOverRest => update(clients, Protocol::Rest, of_rest, number).await,
            Self::UpdateOverGrpc => update(clients, Protocol::Grpc, of_grpc, number).await,
            Self::NewRestConnection => (targets.new_rest_connection().await, None),
            Self::NewGrpcConnection => (targets.new_grpc_connection().await, None),
            Self::Import => import(clients, number).await,
            Self::Probe => (targets.probe().await, None),
        }
    }
}

async fn update(clients: &Clients, protocol: Protocol, item: &Item, number: usize) -> (Answer, Option<Key>) {
    let answer = clients.update(protocol, item, number).await;
    (answer, Some((item.id.clone(), number.to_string())))
}

async fn import(clients: &Clients, number: usize) -> (Answer, Option<Key>) {
    let batch = format!("honest-{number}");
    // None of these accounts is in the book that is queried, so that its size stays.
    let answer = match lines_of(RETAIL, number * 800 + 40, LINES) {
        Ok(lines) => clients.import(&batch, &lines).await,
        Err(error) => Answer::Refused(error.to_string()),
    };
    (answer, Some(("batch".to_owned(), batch)))
}

impl Targets {
    async fn new_rest_connection(&self) -> Answer {
        let [.., gateway] = &self.slots;
        let path = format!("/app/feeConfig.listFeeConfigs?page=1&row=10&communityId={HOME}");
        let mut request = self.fresh.get(format!("http://{}{path}", gateway.address));
        for (name, value) in self.clients.hc_head("honest-query") {
            request = request.header(name, value);
        }
        match request.send().await {
            Ok(answer) if answer.status().as_u16() == 200 => Answer::Done,
            Ok(answer) => Answer::Refused(answer.status().to_string()),
            Err(error) => Answer::Unknown(format!("{error:?}")),
        }
    }

    async fn stream(&self) -> Answer {
        let call = async {
            let filter = ArrearsFilter { book_id: book_of(0), ..ArrearsFilter::default() };
            let message = StreamUserArrearagesRequest { filter: Some(filter) };
            let channel = self.clients.channel(Kind::Billing).map_err(|error| Status::internal(error.to_string()))?;
            let request = self.clients.of_billing(message, RETAIL)?;
            let mut lines = ReceivableServiceClient::new(channel).stream_user_arrearages(request).await?.into_inner();
            while lines.message().await?.is_some() {}
            Ok(())
        };
        call.await.map_or_else(|status| answer_of(&status), |()| Answer::Done)
    }

    async fn new_grpc_connection(&self) -> Answer {
        let call = async {
            let [billing, ..] = &self.slots;
            let endpoint = Endpoint::from_shared(format!("http://{}", billing.address))
                .map_err(|error| Status::internal(error.to_string()))?;
            let channel = endpoint.connect_timeout(DEADLINE).connect().await;
            let channel = channel.map_err(|error| Status::unknown(format!("{error:?}")))?;
            let request = self.clients.of_billing(ListStoresRequest::default(), RETAIL)?;
            SupplierServiceClient::new(channel).list_stores(request).await.map(drop)
        };
        call.await.map_or_else(|status| answer_of(&status), |()| Answer::Done)
    }

    /// Asks every process whether it is ready. No answer in time says nothing.
    async fn probe(&self) -> Answer {
        for slot in &self.slots {
            if readiness(slot.admin, PROBE).await == Some(false) {
                return Answer::Refused(format!("{} is not ready", slot.kind.name()));
            }
        }
        Answer::Done
    }
}
