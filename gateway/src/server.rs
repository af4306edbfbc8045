//! The HTTP server: connections, answers, and a graceful stop that loses no call.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use communal_kit::edge::{Answer, Connection, Edge, EdgeLimits, Open, Patience, drive, keep_measuring};
use communal_kit::telemetry;
use futures::FutureExt as _;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tower::ServiceBuilder;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{And, NotForContentType, Predicate, SizeAbove};

use crate::config::{Config, Drain, LIMITS, Limits};
use crate::dialects;
use crate::gateway::{Gateway, describe_metrics};
use crate::plan::Contract;
use crate::shares::AddressShare;

/// Largest request line with headers, in bytes.
const LARGEST_HEAD: usize = 32 * 1024;

/// A gateway with open ports that does not answer yet.
#[derive(Debug)]
pub struct Bound {
    gateway: Arc<Gateway>,
    listener: TcpListener,
    edge: Arc<Edge<AddressShare>>,
    ready: watch::Sender<bool>,
    admin_stop: oneshot::Sender<()>,
    head_time: Duration,
    drain: Drain,
    /// The address of REST.
    pub addr: SocketAddr,
    /// The address of metrics and health.
    pub admin_addr: SocketAddr,
}

/// Compiles the contract and opens the ports.
///
/// # Errors
/// Returns an error if the contract cannot be served or a port is taken.
pub async fn bind(config: Config) -> anyhow::Result<Bound> {
    let contract = Contract::load().context("the contract cannot be served")?;
    bind_contract(contract, config).await
}

/// Opens the ports for another contract than that of this build.
///
/// # Errors
/// Returns an error if a port is taken.
pub async fn bind_contract(contract: Contract, config: Config) -> anyhow::Result<Bound> {
    // Installed first, so that counting begins with the first call and not with the first scrape.
    telemetry::metrics_handle();
    describe_metrics();
    let gateway = Arc::new(Gateway::new(contract, &config)?);
    let listener = TcpListener::bind(config.addr).await.with_context(|| format!("cannot listen on {}", config.addr))?;
    let addr = listener.local_addr()?;
    let (ready, readiness) = watch::channel(false);
    let (admin_stop, stopped) = oneshot::channel::<()>();
    let stop = async move { drop(stopped.await) };
    let (admin_addr, _) = telemetry::serve_admin(config.admin_addr, readiness, stop).await?;
    let edge = Arc::new(edge(config.limits));
    Ok(Bound {
        gateway,
        listener,
        edge,
        ready,
        admin_stop,
        head_time: config.limits.body_time,
        drain: config.drain,
        addr,
        admin_addr,
    })
}

/// Serves until `shutdown` ends, then waits for the running calls.
///
/// # Errors
/// Returns an error if the contract cannot be served or a port is taken.
pub async fn serve(config: Config, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
    bind(config).await?.serve(shutdown).await
}

impl Bound {
    /// Serves until `shutdown` ends. Then it reports "not ready", waits until load balancers have noticed, accepts no
    /// new connections, and waits for the running calls within the drain limit.
    ///
    /// # Errors
    /// Returns no error at present: an error of a client ends its connection and not the gateway.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
        let Self { gateway, listener, edge, ready, admin_stop, head_time, drain, addr, admin_addr } = self;
        ready.send_replace(true);
        tracing::info!(http.address = %addr, admin.address = %admin_addr, "serving");
        let levels = tokio::spawn(keep_measuring(gateway.shares().levels(edge.connections())));
        let (stop, stopping) = watch::channel(false);
        let served = Arc::clone(&edge);
        let serving = edge.serve(listener, stopping, move |stream, connection, stopping| {
            let (gateway, edge) = (Arc::clone(&gateway), Arc::clone(&served));
            async move { serve_connection(gateway, &edge, head_time, stream, connection, stopping).await }
        });
        let ending = async {
            shutdown.await;
            tracing::info!("stopping: not ready any more");
            ready.send_replace(false);
            tokio::time::sleep(drain.notice).await;
            stop.send_replace(true);
            tokio::time::sleep(drain.limit).await;
        };
        tokio::select! {
            () = serving => {}
            () = ending => tracing::warn!("some calls did not end in time and were aborted"),
        }
        levels.abort();
        let _ = admin_stop.send(());
        tracing::info!("stopped");
        Ok(())
    }
}

fn edge(limits: Limits) -> Edge<AddressShare> {
    let declared = EdgeLimits {
        connections: &LIMITS.connections,
        connections_per_address: &LIMITS.connections_per_address,
        greeting: &LIMITS.greeting,
        stall: &LIMITS.stall,
    };
    let patience = Patience { greeting: limits.greeting, idle: limits.idle, stall: limits.stall, age: None };
    let most = (limits.connections, limits.connections_per_address);
    Edge::new("gateway", declared, most, patience, move || AddressShare::new(&limits))
}

async fn serve_connection(
    gateway: Arc<Gateway>,
    edge: &Edge<AddressShare>,
    head_time: Duration,
    stream: TcpStream,
    connection: Arc<Connection<AddressShare>>,
    stopping: watch::Receiver<bool>,
) {
    let of_requests = Arc::clone(&connection);
    let service = ServiceBuilder::new()
        .layer(CompressionLayer::new().gzip(true).compress_when(compressible()))
        .service_fn(move |request: Request<Incoming>| {
            let (gateway, connection) = (Arc::clone(&gateway), Arc::clone(&of_requests));
            async move { Ok::<_, Infallible>(answer(&gateway, request, &connection).await) }
        });
    let mut builder = Builder::new(edge.streams(&connection));
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(head_time)
        .max_buf_size(LARGEST_HEAD)
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(LARGEST_HEAD as u32)
        .keep_alive_interval(Duration::from_secs(30));
    let serving = builder.serve_connection(TokioIo::new(edge.timed(stream)), TowerToHyperService::new(service));
    drive(serving, &connection, edge.patience(), stopping).await;
}

/// Leaves out small answers, which are not worth compressing, and images, which are compressed already.
fn compressible() -> And<SizeAbove, NotForContentType> {
    SizeAbove::new(1024).and(NotForContentType::IMAGES)
}

async fn answer(
    gateway: &Arc<Gateway>,
    request: Request<Incoming>,
    connection: &Arc<Connection<AddressShare>>,
) -> Response<Answer<Open<AddressShare>>> {
    let open = connection.begin();
    let dialect = dialects::of_unknown_path(request.uri().path());
    // Nothing should panic. If something does, the client gets an answer and other calls on the connection go on.
    let response = match AssertUnwindSafe(Arc::clone(gateway).answer(request, connection)).catch_unwind().await {
        Ok(response) => response,
        Err(_) => gateway.panicked(dialect),
    };
    response.map(|body| body.keeping(open))
}
