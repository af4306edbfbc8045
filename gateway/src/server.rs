//! The HTTP server: connections, answers, and a graceful stop that loses no call.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use communal_kit::telemetry;
use futures::FutureExt as _;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tower::ServiceBuilder;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{And, NotForContentType, Predicate, SizeAbove};

use crate::config::{Config, Drain};
use crate::dialects;
use crate::gateway::{Gateway, describe_metrics};
use crate::plan::Contract;

/// Largest request line with headers, in bytes.
const LARGEST_HEAD: usize = 32 * 1024;

/// A gateway with open ports that does not answer yet.
#[derive(Debug)]
pub struct Bound {
    gateway: Arc<Gateway>,
    listener: TcpListener,
    connections: Arc<Semaphore>,
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
    let connections = Arc::new(Semaphore::new(config.limits.connections.min(Semaphore::MAX_PERMITS)));
    Ok(Bound {
        gateway,
        listener,
        connections,
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
        let graceful = GracefulShutdown::new();
        self.ready.send_replace(true);
        tracing::info!(http.address = %self.addr, admin.address = %self.admin_addr, "serving");
        let ready = self.ready.clone();
        let notice = self.drain.notice;
        let ending = async move {
            shutdown.await;
            tracing::info!("stopping: not ready any more");
            ready.send_replace(false);
            tokio::time::sleep(notice).await;
        };
        tokio::select! {
            () = self.accept(&graceful) => {}
            () = ending => {}
        }
        drop(self.listener);
        if tokio::time::timeout(self.drain.limit, graceful.shutdown()).await.is_err() {
            tracing::warn!("some calls did not end in time and were aborted");
        }
        let _ = self.admin_stop.send(());
        tracing::info!("stopped");
        Ok(())
    }

    async fn accept(&self, graceful: &GracefulShutdown) {
        loop {
            // The semaphore is never closed. A connection beyond the limit stays in the listener's queue.
            let Ok(permit) = Arc::clone(&self.connections).acquire_owned().await else { return };
            match self.listener.accept().await {
                Ok((stream, _)) => self.connection(stream, permit, graceful),
                Err(error) => {
                    // Probably there are no file descriptors left: wait until some are closed.
                    tracing::warn!(error = %error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    fn connection(&self, stream: TcpStream, permit: OwnedSemaphorePermit, graceful: &GracefulShutdown) {
        // With Nagle's algorithm a small answer would wait for the client's delayed acknowledgement.
        let _ = stream.set_nodelay(true);
        let gateway = Arc::clone(&self.gateway);
        let service = ServiceBuilder::new()
            .layer(CompressionLayer::new().gzip(true).compress_when(compressible()))
            .service_fn(move |request: Request<Incoming>| {
                let gateway = Arc::clone(&gateway);
                async move { Ok::<_, Infallible>(answer(&gateway, request).await) }
            });
        let mut builder = Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(self.head_time)
            .max_buf_size(LARGEST_HEAD)
            .http2()
            .timer(TokioTimer::new())
            .max_header_list_size(LARGEST_HEAD as u32)
            .keep_alive_interval(Duration::from_secs(30));
        let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
        let connection = graceful.watch(connection.into_owned());
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = %error, "connection broke");
            }
            drop(permit);
        });
    }
}

/// Leaves out small answers, which are not worth compressing, and images, which are compressed already.
fn compressible() -> And<SizeAbove, NotForContentType> {
    SizeAbove::new(1024).and(NotForContentType::IMAGES)
}

async fn answer(gateway: &Arc<Gateway>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let dialect = dialects::of_unknown_path(request.uri().path());
    // Nothing should panic. If something does, the client gets an answer and other calls on the connection go on.
    match AssertUnwindSafe(Arc::clone(gateway).answer(request)).catch_unwind().await {
        Ok(response) => response,
        Err(_) => gateway.panicked(dialect),
    }
}
