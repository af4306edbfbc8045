//! The replicas of one service: their addresses, their health, and the choice of one for a call.
//!
//! Names are resolved every few seconds, and immediately when a call could not be delivered, so that new replicas get
//! calls and vanished ones are forgotten without a restart. A replica that could not be reached is suspended until its
//! health check reports that it serves.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use communal_proto::raw_codec::RawCodec;
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

use super::LARGEST_REPLY;
use super::transport::Transport;
use crate::service_urls::{ServiceHost, ServiceUrls};

/// Time between two resolutions of the names.
const RESOLVED_FOR: Duration = Duration::from_secs(5);
/// Longest wait for the first resolution.
const FIRST_RESOLUTION: Duration = Duration::from_secs(2);
/// Time in which the failures of several calls lead to one resolution.
const GATHERING: Duration = Duration::from_millis(50);
/// Shortest and longest pause between health checks of a suspended replica.
const PROBES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));
/// Deadline of a health check.
const PROBE_LIMIT: Duration = Duration::from_secs(1);

/// The replicas that are known at an instant.
pub(super) type Known = Arc<[Arc<ServiceReplica>]>;

/// Turns a host into addresses.
pub(super) type Resolve = Arc<dyn Fn(ServiceHost) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync>;

/// Resolves by the operating system.
pub(super) fn by_system() -> Resolve {
    Arc::new(|ServiceHost { host, port }| {
        Box::pin(async move { Ok(tokio::net::lookup_host((host.as_str(), port)).await?.collect()) })
    })
}

/// The replicas of one service; a task in the background keeps them up to date.
#[derive(Debug)]
pub(super) struct ServiceReplicas {
    known: watch::Receiver<Known>,
    trouble: Arc<Notify>,
    turn: AtomicUsize,
    keeper: JoinHandle<()>,
}

impl ServiceReplicas {
    /// Starts the background task. Addresses that need no resolution are known immediately.
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

    /// Returns the replicas; waits for the first resolution.
    ///
    /// # Errors
    /// Returns `UNAVAILABLE` if the names resolve to no address.
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

    /// Picks a replica that was not tried yet: the one with the fewest running calls, and a suspended one only if there
    /// is no other.
    pub(super) fn pick<'a>(&self, known: &'a Known, tried: &[SocketAddr]) -> Option<&'a Arc<ServiceReplica>> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % known.len().max(1);
        let among = |suspended: bool| {
            let (before, after) = known.split_at(turn.min(known.len()));
            let candidates = after.iter().chain(before);
            candidates
                .filter(|r| r.suspended.load(Ordering::Relaxed) == suspended && !tried.contains(&r.address))
                .min_by_key(|r| r.running.load(Ordering::Relaxed))
        };
        among(false).or_else(|| among(true))
    }

    /// Suspends a replica to which no connection could be made.
    pub(super) fn unreachable(&self, replica: &ServiceReplica) {
        replica.suspended.store(true, Ordering::Relaxed);
        self.trouble.notify_one();
    }
}

impl Drop for ServiceReplicas {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

/// One replica, called over several connections in turn. A single connection would be served by one thread and be
/// blocked by one large reply.
#[derive(Debug)]
pub(super) struct ServiceReplica {
    pub(super) address: SocketAddr,
    /// The name in its certificate.
    host: String,
    channels: Vec<Channel>,
    turn: AtomicUsize,
    running: AtomicUsize,
    suspended: AtomicBool,
}

impl ServiceReplica {
    pub(super) async fn call(
        &self,
        request: Request<bytes::Bytes>,
        path: PathAndQuery,
    ) -> Result<Response<bytes::Bytes>, Status> {
        let _running = Running::begin(&self.running);
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.channels.len();
        let mut client = Grpc::new(self.channels[turn].clone()).max_decoding_message_size(LARGEST_REPLY);
        client.ready().await.map_err(|error| Status::from_error(error.into()))?;
        client.unary(request, path, RawCodec).await
    }

    /// Returns whether it serves. A replica without a health check serves if it answers.
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

/// Counts a call while it runs, also if the client disconnects.
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

/// The background task of the replicas of one service.
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
                let suspended = self.probe().await;
                let pause = if suspended { probe_pause } else { self.resolved_for };
                probe_pause = if suspended { (probe_pause * 2).min(PROBES.1) } else { PROBES.0 };
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

    /// Resolves all names. Returns `None` if one cannot be resolved; the known replicas stay.
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

    /// Publishes the replicas of these addresses. Running calls keep the connections of a replica that has vanished.
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
            // A new replica beside others gets calls after its first successful health check.
            let suspended = same.map_or(!before.is_empty(), |same| same.suspended.load(Ordering::Relaxed));
            known.push(Arc::new(ServiceReplica {
                address,
                host,
                channels,
                turn: AtomicUsize::new(0),
                running: AtomicUsize::new(0),
                suspended: AtomicBool::new(suspended),
            }));
        }
        if changed && !known.is_empty() {
            tracing::info!(service = self.service, replicas = known.len(), "replicas");
            self.tell.send_replace(known.into());
        }
    }

    /// Checks the health of suspended replicas; returns whether some are still suspended.
    async fn probe(&self) -> bool {
        let known = Arc::clone(&self.tell.borrow());
        let suspended = known.iter().filter(|r| r.suspended.load(Ordering::Relaxed));
        join_all(suspended.map(|replica| async move {
            if replica.serves().await {
                replica.suspended.store(false, Ordering::Relaxed);
                tracing::info!(service = self.service, replica.address = %replica.address, "a replica serves again");
            }
        }))
        .await;
        let suspended = known.iter().filter(|r| r.suspended.load(Ordering::Relaxed)).count();
        for (state, count) in [("reachable", known.len() - suspended), ("unreachable", suspended)] {
            let count = f64::from(u32::try_from(count).unwrap_or(u32::MAX));
            gauge!("gateway_replicas", "service" => self.service, "state" => state).set(count);
        }
        suspended > 0
    }
}
