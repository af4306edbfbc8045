//! Around every call: its place in the trace, its deadline, its share of the machine, and
//! what is counted of it.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use communal_proto::contract::v1::Reason as Common;
use futures::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use prost::Message as _;
use prost_types::FileDescriptorSet;
use tokio::sync::Semaphore;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};
use tracing::{Instrument, Span, info_span};

use crate::refusal::Refusal;
use crate::telemetry::boundary::{self, Boundary, Operation};
use crate::telemetry::trace::TraceContext;

const GRPC_TIMEOUT: &str = "grpc-timeout";
/// tonic itself ends a call at its deadline, on both sides, and says CANCELLED. Ours comes
/// first by a tenth of the time, and by no more than this.
const MOST_AHEAD: Duration = Duration::from_millis(100);

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct CallLayer {
    service: &'static str,
    permits: Arc<Semaphore>,
    default_deadline: Duration,
}

impl CallLayer {
    pub(super) fn new(service: &'static str, concurrent_calls: usize, default_deadline: Duration) -> Self {
        // Made now, and not at the cost of the first call.
        LazyLock::force(&KNOWN);
        let permits = Arc::new(Semaphore::new(concurrent_calls.min(Semaphore::MAX_PERMITS)));
        Self { service, permits, default_deadline }
    }
}

impl<S> Layer<S> for CallLayer {
    type Service = Calls<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Calls { inner, layer: self.clone() }
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Calls<S> {
    inner: S,
    layer: CallLayer,
}

impl<S> Service<Request<Body>> for Calls<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let CallLayer { service, permits, default_deadline } = self.layer.clone();
        let trace = TraceContext::of(request.headers());
        let method = Method::of(request.uri().path());
        let call = Boundary { service, operation: Operation::Rpc(method.path), trace };
        Box::pin(call.clone().around(async move {
            let span = if boundary::traced() { span_of(service, method.path) } else { Span::none() };
            trace.adopt(&span);
            request.extensions_mut().insert(trace);
            let deadline = deadline(request.headers(), default_deadline);
            let mut running = Running::begin(method, span.clone());
            let answer = async {
                // Probes must be answered truthfully by a busy server, so health needs no permit.
                let permit = if method.path.starts_with("/grpc.health.") {
                    None
                } else {
                    let Ok(permit) = permits.try_acquire_owned() else {
                        return Status::from(overloaded()).into_http();
                    };
                    Some(permit)
                };
                let outcome = tokio::time::timeout(deadline, inner.call(request)).await;
                drop(permit);
                match outcome {
                    Ok(Ok(response)) => response,
                    Ok(Err(never)) => match never {},
                    Err(_) => Status::from(Refusal::new(Common::DeadlineExceeded, "请求处理超时")).into_http(),
                }
            }
            .instrument(span.clone())
            .await;
            running.answered(answer.headers());
            if !method.streams {
                return Ok(answer);
            }
            let stream = Stream { method: method.path, call, span, code: code_of(answer.headers()) };
            Ok(answer.map(|body| Body::new(Streamed { body, stream })))
        }))
    }
}

/// The span of a call that is exported.
fn span_of(service: &'static str, method: &'static str) -> Span {
    info_span!(
        "call",
        service,
        rpc.method = method,
        otel.name = method,
        otel.kind = "server",
        otel.status_code = tracing::field::Empty,
        rpc.response.status_code = tracing::field::Empty,
    )
}

fn overloaded() -> Refusal {
    Refusal::new(Common::Overloaded, "系统繁忙，请稍后重试").retry_after(Duration::from_secs(1))
}

/// A refusal has its code in the headers; a reply has it in trailers that are still to come.
fn code_of(headers: &HeaderMap) -> Code {
    headers.get("grpc-status").map_or(Code::Ok, |status| Code::from_bytes(status.as_bytes()))
}

/// A method that exists.
#[derive(Clone, Copy, Debug)]
struct Method {
    path: &'static str,
    /// Whether it answers with a stream.
    streams: bool,
}

impl Method {
    /// Paths are the caller's to choose; only those that exist stand in labels, spans and
    /// lines.
    fn of(path: &str) -> Self {
        let known = KNOWN.get_key_value(path);
        known.map_or(Self { path: "unknown", streams: false }, |(path, streams)| Self { path, streams: *streams })
    }
}

static KNOWN: LazyLock<HashMap<String, bool>> = LazyLock::new(methods);

/// Path of each method → whether it answers with a stream.
fn methods() -> HashMap<String, bool> {
    let mut methods = HashMap::new();
    for set in [
        communal_proto::FILE_DESCRIPTOR_SET,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ] {
        // They are part of this binary; a test sees that they can be read.
        let set = FileDescriptorSet::decode(set).unwrap_or_default();
        for file in &set.file {
            for service in &file.service {
                for method in &service.method {
                    let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                    methods.insert(path, method.server_streaming());
                }
            }
        }
    }
    methods
}

/// A call until it is answered. One that is dropped before had a client that went away.
struct Running {
    method: Method,
    span: Span,
    began: Instant,
    answered: bool,
}

impl Running {
    fn begin(method: Method, span: Span) -> Self {
        metrics::gauge!("communal_calls_in_flight").increment(1.0);
        Self { method, span, began: Instant::now(), answered: false }
    }

    fn answered(&mut self, headers: &HeaderMap) {
        self.answered = true;
        let code = code_of(headers);
        self.count(code);
        // A refusal says why where it becomes a status, and has details then. What tonic
        // itself refuses has none.
        if code != Code::Ok && !headers.contains_key("grpc-status-details-bin") {
            tracing::info!(grpc.code = ?code, "call refused before it reached its handler");
        }
    }

    fn count(&self, code: Code) {
        let method = self.method.path;
        metrics::counter!("communal_calls_total", "method" => method, "code" => name_of(code)).increment(1);
        metrics::histogram!("communal_call_seconds", "method" => method).record(self.began.elapsed());
        note(&self.span, code);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        metrics::gauge!("communal_calls_in_flight").decrement(1.0);
        if !self.answered {
            self.count(Code::Cancelled);
        }
    }
}

/// Writes the outcome into the exported span; an error there is a fault of ours.
fn note(span: &Span, code: Code) {
    if span.is_none() {
        return;
    }
    span.record("rpc.response.status_code", name_of(code));
    let ours =
        matches!(code, Code::Unknown | Code::DeadlineExceeded | Code::Internal | Code::Unavailable | Code::DataLoss);
    if ours {
        span.record("otel.status_code", "ERROR");
    }
}

fn name_of(code: Code) -> &'static str {
    match code {
        Code::Ok => "Ok",
        Code::Cancelled => "Cancelled",
        Code::Unknown => "Unknown",
        Code::InvalidArgument => "InvalidArgument",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::NotFound => "NotFound",
        Code::AlreadyExists => "AlreadyExists",
        Code::PermissionDenied => "PermissionDenied",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::Aborted => "Aborted",
        Code::OutOfRange => "OutOfRange",
        Code::Unimplemented => "Unimplemented",
        Code::Internal => "Internal",
        Code::Unavailable => "Unavailable",
        Code::DataLoss => "DataLoss",
        Code::Unauthenticated => "Unauthenticated",
    }
}

/// A stream of replies, whose outcome comes after the last of them.
struct Stream {
    method: &'static str,
    call: Boundary,
    span: Span,
    /// What it ends with; until its trailers say otherwise.
    code: Code,
}

impl Drop for Stream {
    fn drop(&mut self) {
        let labels = [("method", self.method), ("code", name_of(self.code))];
        metrics::counter!("communal_streams_ended_total", &labels).increment(1);
        note(&self.span, self.code);
    }
}

/// The body of a reply that is a stream.
struct Streamed {
    body: Body,
    stream: Stream,
}

impl HttpBody for Streamed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = &mut *self;
        let (call, span, body) = (&this.stream.call, &this.stream.span, &mut this.body);
        let polled = call.during(|| span.in_scope(|| Pin::new(body).poll_frame(context)));
        match &polled {
            Poll::Ready(Some(Ok(frame))) => match frame.trailers_ref() {
                Some(trailers) => this.stream.code = code_of(trailers),
                // Something was sent, so the end is still to come: going away now is a cancellation.
                None => this.stream.code = Code::Cancelled,
            },
            Poll::Ready(Some(Err(error))) => this.stream.code = error.code(),
            _ => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn deadline(headers: &HeaderMap, default: Duration) -> Duration {
    let asked = headers.get(GRPC_TIMEOUT).and_then(|v| v.to_str().ok()).and_then(parse_timeout);
    asked.map_or(default, |asked| asked.saturating_sub(MOST_AHEAD.min(asked / 10)))
}

/// At most eight digits and a unit, as gRPC over HTTP/2 writes it.
fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let value: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(value * 3_600)),
        "M" => Some(Duration::from_secs(value * 60)),
        "S" => Some(Duration::from_secs(value)),
        "m" => Some(Duration::from_millis(value)),
        "u" => Some(Duration::from_micros(value)),
        "n" => Some(Duration::from_nanos(value)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_methods_that_exist_are_named() {
        let path = "/communal.billing.v1.ReceivableService/StreamUserArrearages";
        assert_eq!(Method::of(path).path, path);
        assert!(Method::of(path).streams);
        assert!(!Method::of("/grpc.health.v1.Health/Check").streams);
        assert_eq!(Method::of("/grpc.health.v1.Health/Check").path, "/grpc.health.v1.Health/Check");
        for invented in ["/communal.billing.v1.ReceivableService/13800138000", "/", ""] {
            assert_eq!(Method::of(invented).path, "unknown", "{invented}");
        }
    }

    #[test]
    fn timeouts_are_read_as_grpc_writes_them() {
        assert_eq!(parse_timeout("250m"), Some(Duration::from_millis(250)));
        assert_eq!(parse_timeout("2S"), Some(Duration::from_secs(2)));
        for bad in ["", "m", "123456789m", "-1m", "1s", "1秒"] {
            assert_eq!(parse_timeout(bad), None, "{bad}");
        }
    }
}
