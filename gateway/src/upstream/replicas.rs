//! The replicas of one service: which there are, which can be reached, and whose turn it is.
//!
//! Names are resolved every few seconds, and at once when a call could not be delivered, so
//! that new replicas get calls and gone ones are forgotten without a restart. A replica that
//! could not be reached rests until its health check says that it serves.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use http::uri::PathAndQuery;
use metrics::gauge;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tonic::client::Grpc;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::service_urls::{ServiceHost, ServiceUrls};
use super::transport::Transport;
use super::{Encoded, LARGEST_REPLY};

/// How long names are believed.
const RESOLVED_FOR: Duration = Duration::from_secs(5);
/// Longest wait for the first resolution.
const FIRST_RESOLUTION: Duration = Duration::from_secs(2);
/// Failures of many calls at once are one reason to look.
const GATHERING: Duration = Duration::from_millis(50);
/// Pauses between health checks of a resting replica: from, to.
const PROBES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));
/// Longest wait for the answer of a health check.
const PROBE_LIMIT: Duration = Duration::from_secs(1);

/// The replicas that are known at a moment.
pub(super) type Known = Arc<[Arc<Replica>]>;

/// Turns a host into addresses.
pub(super) type Resolve = Arc<dyn Fn(ServiceHost) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync>;

/// By the system's resolver.
pub(super) fn by_system() -> Resolve {
    Arc::new(|ServiceHost { host, port }| {
        Box::pin(async move { Ok(tokio::net::lookup_host((host.as_str(), port)).await?.collect()) })
    })
}

/// See the module.
#[derive(Debug)]
pub(super) struct Replicas {
    known: watch::Receiver<Known>,
    trouble: Arc<Notify>,
    turn: AtomicUsize,
    keeper: JoinHandle<()>,
}

impl Replicas {
    /// Begins to look for replicas. Addresses that need no resolution are known at once.
    pub(super) fn keep(
        service: &'static str,
        urls: &ServiceUrls,
        transport: Transport,
        resolve: Resolve,
        resolved_for: Option<Duration>,
    ) -> Self {
        let (tell, known) = watch::channel(Known::default());
        let trouble = Arc::new(Notify::new());
        let mut keeper = Keeper {
            service,
            hosts: urls.hosts().to_vec(),
            transport,
            resolve,
            resolved_for: resolved_for.unwrap_or(RESOLVED_FOR),
            tell,
            trouble: Arc::clone(&trouble),
        };
        let literal = |host: &ServiceHost| Some(SocketAddr::new(host.host.parse::<IpAddr>().ok()?, host.port));
        let addresses: Option<Vec<_>> = keeper.hosts.iter().map(|h| Some((literal(h)?, h.host.clone()))).collect();
        if let Some(addresses) = addresses {
            keeper.become_known(addresses, false);
        }
        Self { known, trouble, turn: AtomicUsize::new(0), keeper: tokio::spawn(keeper.run()) }
    }

    /// The replicas; waits for the first resolution.
    pub(super) async fn known(&self) -> Result<Known, Status> {
        let known = Arc::clone(&self.known.borrow());
        if !known.is_empty() {
            return Ok(known);
        }
        self.trouble.notify_one();
        let mut receiver = self.known.clone();
        match tokio::time::timeout(FIRST_RESOLUTION, receiver.wait_for(|known| !known.is_empty())).await {
            Ok(Ok(known)) => Ok(Arc::clone(&known)),
            _ => Err(Status::unavailable("the service's name resolves to nothing")),
        }
    }

    /// The replica whose turn it is: of those not tried yet the one with the fewest calls,
    /// and a resting one only where there is no other.
    pub(super) fn pick<'a>(&self, known: &'a Known, tried: &[SocketAddr]) -> Option<&'a Arc<Replica>> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % known.len().max(1);
        let among = |resting: bool| {
            let (before, after) = known.split_at(turn.min(known.len()));
            let candidates = after.iter().chain(before);
            candidates
                .filter(|r| r.resting.load(Ordering::Relaxed) == resting && !tried.contains(&r.address))
                .min_by_key(|r| r.running.load(Ordering::Relaxed))
        };
        among(false).or_else(|| among(true))
    }

    /// No connection to this replica could be made.
    pub(super) fn unreachable(&self, replica: &Replica) {
        replica.resting.store(true, Ordering::Relaxed);
        self.trouble.notify_one();
    }
}

impl Drop for Replicas {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

/// One replica, by several connections in turn: a single one is served by one thread and is
/// held up by a large reply.
#[derive(Debug)]
pub(super) struct Replica {
    pub(super) address: SocketAddr,
    /// The name that its certificate must have.
    host: String,
    channels: Vec<Channel>,
    turn: AtomicUsize,
    running: AtomicUsize,
    resting: AtomicBool,
}

impl Replica {
    pub(super) async fn call(
        &self,
        request: Request<bytes::Bytes>,
        path: PathAndQuery,
    ) -> Result<Response<bytes::Bytes>, Status> {
        let _running = Running::begin(&self.running);
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.channels.len();
        let mut client = Grpc::new(self.channels[turn].clone()).max_decoding_message_size(LARGEST_REPLY);
        client.ready().await.map_err(|error| Status::from_error(error.into()))?;
        client.unary(request, path, Encoded).await
    }

    /// Whether it serves. One that has no health check and answers does.
    async fn serves(&self) -> bool {
        let Some(channel) = self.channels.first() else { return false };
        let mut client = HealthClient::new(channel.clone());
        let question = client.check(HealthCheckRequest { service: "readiness".to_owned() });
        match tokio::time::timeout(PROBE_LIMIT, question).await {
            Ok(Ok(answer)) => answer.into_inner().status() == ServingStatus::Serving,
            Ok(Err(status)) => status.code() == Code::Unimplemented,
            Err(_) => false,
        }
    }
}

/// Counts a call for as long as it runs, also when the client goes away in between.
struct Running<'a>(&'a AtomicUsize);

impl<'a> Running<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Looks after the replicas of one service until it is dropped.
struct Keeper {
    service: &'static str,
    hosts: Vec<ServiceHost>,
    transport: Transport,
    resolve: Resolve,
    resolved_for: Duration,
    tell: watch::Sender<Known>,
    trouble: Arc<Notify>,
}

impl Keeper {
    async fn run(mut self) {
        let mut probe_pause = PROBES.0;
        loop {
            let renewed = self.transport.reload();
            if let Some(addresses) = self.resolve().await {
                self.become_known(addresses, renewed);
            }
            let began = Instant::now();
            loop {
                let resting = self.probe().await;
                let pause = if resting { probe_pause } else { self.resolved_for };
                probe_pause = if resting { (probe_pause * 2).min(PROBES.1) } else { PROBES.0 };
                tokio::select! {
                    () = tokio::time::sleep(pause.min(self.resolved_for)) => {}
                    () = self.trouble.notified() => {
                        tokio::time::sleep(GATHERING).await;
                        break;
                    }
                }
                if began.elapsed() >= self.resolved_for {
                    break;
                }
            }
        }
    }

    /// All addresses; `None`, and what is known stays, where a name cannot be resolved.
    async fn resolve(&self) -> Option<Vec<(SocketAddr, String)>> {
        let mut addresses: Vec<(SocketAddr, String)> = Vec::new();
        for host in &self.hosts {
            match (self.resolve)(host.clone()).await {
                Ok(found) => addresses.extend(found.into_iter().map(|address| (address, host.host.clone()))),
                Err(error) => {
                    tracing::warn!(service = self.service, host = host.host, error = %error, "cannot resolve a service");
                    return None;
                }
            }
        }
        addresses.sort();
        addresses.dedup_by_key(|(address, _)| *address);
        (!addresses.is_empty()).then_some(addresses)
    }

    /// Calls in progress keep the connections of a replica that is not known any more until
    /// they end.
    fn become_known(&mut self, addresses: Vec<(SocketAddr, String)>, renewed: bool) {
        let before = Arc::clone(&self.tell.borrow());
        let mut changed = before.len() != addresses.len();
        let mut known = Vec::with_capacity(addresses.len());
        for (address, host) in addresses {
            let same = before.iter().find(|r| r.address == address && r.host == host);
            if let (Some(same), false) = (same, renewed) {
                known.push(Arc::clone(same));
                continue;
            }
            let channels = match self.transport.channels(address, &host) {
                Ok(channels) => channels,
                Err(error) => {
                    tracing::error!(service = self.service, replica.address = %address, error = %error, "cannot call a replica");
                    continue;
                }
            };
            changed = true;
            // One that comes while others serve shows first that it does as well.
            let resting = same.map_or(!before.is_empty(), |same| same.resting.load(Ordering::Relaxed));
            known.push(Arc::new(Replica {
                address,
                host,
                channels,
                turn: AtomicUsize::new(0),
                running: AtomicUsize::new(0),
                resting: AtomicBool::new(resting),
            }));
        }
        if changed && !known.is_empty() {
            tracing::info!(service = self.service, replicas = known.len(), "replicas");
            self.tell.send_replace(known.into());
        }
    }

    /// Asks those that rest whether they serve again. Whether some still do not.
    async fn probe(&self) -> bool {
        let known = Arc::clone(&self.tell.borrow());
        let resting = known.iter().filter(|r| r.resting.load(Ordering::Relaxed));
        join_all(resting.map(|replica| async move {
            if replica.serves().await {
                replica.resting.store(false, Ordering::Relaxed);
                tracing::info!(service = self.service, replica.address = %replica.address, "a replica serves again");
            }
        }))
        .await;
        let resting = known.iter().filter(|r| r.resting.load(Ordering::Relaxed)).count();
        for (state, count) in [("reachable", known.len() - resting), ("unreachable", resting)] {
            let count = f64::from(u32::try_from(count).unwrap_or(u32::MAX));
            gauge!("gateway_replicas", "service" => self.service, "state" => state).set(count);
        }
        resting > 0
    }
}
