//! The gRPC port: its connections from acceptance until they are closed.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2::Builder;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tonic::body::Body;
use tonic::service::Routes;
use tower::ServiceExt as _;
use tower::util::Oneshot;

use super::calls::Calls;
use super::shares::AddressShare;
use super::tls::ServerTls;
use crate::edge::{Connection, Edge, drive};
use crate::telemetry;

/// The most bytes of a call's metadata, with room for up to 200 transcoding faults that the gateway
/// sends.
const LARGEST_METADATA: u32 = 64 * 1024;
/// The open calls that a connection may have for each call that the process carries out at once.
const STREAMS_FOR_A_CALL: usize = 4;
/// The time between pings, which detect broken connections.
const PING_EVERY: Duration = Duration::from_secs(30);
/// The longest wait for the answer to a ping.
const PING_LIMIT: Duration = Duration::from_secs(20);

/// The gRPC port of a service.
pub(super) struct Port {
    pub(super) edge: Edge<AddressShare>,
    pub(super) tls: Option<Arc<ServerTls>>,
    pub(super) calls: Calls<Routes>,
    pub(super) concurrent_calls: usize,
}

impl Port {
    /// Serves until `stopping`, and then until every connection has ended.
    pub(super) async fn serve(self, listener: TcpListener, stopping: watch::Receiver<bool>) {
        let port = Arc::new(self);
        let served = Arc::clone(&port);
        port.edge
            .serve(listener, stopping, move |stream, connection, stopping| {
                let port = Arc::clone(&served);
                async move { port.connection(stream, connection, stopping).await }
            })
            .await;
    }

    async fn connection(
        &self,
        stream: TcpStream,
        connection: Arc<Connection<AddressShare>>,
        mut stopping: watch::Receiver<bool>,
    ) {
        let Some(tls) = &self.tls else { return self.http2(stream, connection, stopping).await };
        let greeted = tokio::select! {
            greeted = tokio::time::timeout(self.edge.patience().greeting, tls.acceptor().accept(stream)) => greeted,
            _ = stopping.wait_for(|stopping| *stopping) => return,
        };
        match greeted {
            Ok(Ok(stream)) => self.http2(stream, connection, stopping).await,
            Ok(Err(error)) if telemetry::refusal_is_a_line() => {
                tracing::info!(error = %error, "the TLS handshake with a client failed")
            }
            Ok(Err(_)) => {}
            Err(_) => self.edge.greeted_late(),
        }
    }

    async fn http2<T>(&self, stream: T, connection: Arc<Connection<AddressShare>>, stopping: watch::Receiver<bool>)
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let service = OfConnection { calls: self.calls.clone(), connection: Arc::clone(&connection) };
        let serving = Builder::new(self.edge.streams(&connection))
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_LIMIT)
            .max_header_list_size(LARGEST_METADATA)
            .max_concurrent_streams(streams_of_a_connection(self.concurrent_calls))
            .serve_connection(TokioIo::new(self.edge.timed(stream)), service);
        drive(serving, &connection, self.edge.patience(), stopping).await;
    }
}

/// Returns how many calls one connection may have open at once. A client queues calls beyond this
/// number itself, so with a low one a client with a single connection would never be refused. It is
/// therefore higher than the number that the process carries out: excess calls are refused, with a time
/// for the next attempt.
fn streams_of_a_connection(concurrent_calls: usize) -> u32 {
    u32::try_from(concurrent_calls.saturating_mul(STREAMS_FOR_A_CALL)).unwrap_or(u32::MAX)
}

/// A service whose requests carry their connection.
struct OfConnection {
    calls: Calls<Routes>,
    connection: Arc<Connection<AddressShare>>,
}

impl hyper::service::Service<Request<Incoming>> for OfConnection {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Oneshot<Calls<Routes>, Request<Body>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Arc::clone(&self.connection));
        self.calls.clone().oneshot(request)
    }
}
