//! The layer around every call: trace context, deadline, quotas, credentials, and metrics.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use communal_proto::contract::v1::Reason as Common;
use futures::future::{BoxFuture, Either};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Sleep, sleep_until};
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};
use tracing::{Instrument, Span, info_span};

use super::deadlines::Deadlines;
use super::limits::ServerLimits;
use super::methods::Method;
use super::requests::{Arriving, Refused};
use super::shares::{AddressShare, Shares};
use crate::edge::{Answer, Connection, Open, cut_off_at};
use crate::identity::{Authenticator, ChannelShare, vouching};
use crate::limits::Shared;
use crate::refusal::Refusal;
use crate::telemetry;
use crate::telemetry::boundary::{self, Boundary, Operation};
use crate::telemetry::lane::Lanes;
use crate::telemetry::trace::{TRACE_ID, TraceContext};

/// The time after which a refused caller may try again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The resources of the server that calls use.
#[derive(Debug)]
struct Resources {
    service: &'static str,
    limits: ServerLimits,
    shares: Arc<Shares>,
    authenticator: Arc<Authenticator>,
}

/// Wraps a service in [`Calls`].
#[derive(Clone, Debug)]
pub(super) struct CallLayer(Arc<Resources>);

impl CallLayer {
    pub(super) fn new(
        service: &'static str,
        limits: ServerLimits,
        shares: Arc<Shares>,
        authenticator: Arc<Authenticator>,
    ) -> Self {
        Method::load();
        Self(Arc::new(Resources { service, limits, shares, authenticator }))
    }
}

impl<S> Layer<S> for CallLayer {
    type Service = Calls<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Calls { inner, resources: Arc::clone(&self.0) }
    }
}

/// The service that carries calls out within their trace, deadlines and quotas.
#[derive(Clone, Debug)]
pub(super) struct Calls<S> {
    inner: S,
    resources: Arc<Resources>,
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
        // The clone has its own readiness; the one that was polled ready is used for this call.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let resources = Arc::clone(&self.resources);
        let trace = resources.authenticator.trace_of(request.headers());
        let method = Method::of(request.uri().path());
        let (service, operation) = (resources.service, Operation::Rpc(method.path));
        let call = Boundary { service, operation, trace, edge_id: boundary::edge_id(request.headers()), lanes: None };
        Box::pin(call.clone().around(async move {
            let span = if boundary::traced() { span_of(resources.service, method.path) } else { Span::none() };
            trace.adopt(&span);
            request.extensions_mut().insert(trace);
            let began = tokio::time::Instant::now();
            let (deadlines, malformed) = Deadlines::of(request.headers(), method, &resources.limits);
            let mut running = Running::begin(method, span.clone());
            let outcome = async {
                if let Some(refusal) = malformed {
                    return Err(refusal);
                }
                match tokio::time::timeout(deadlines.answer, resources.carry_out(&mut inner, method, trace, request))
                    .await
                {
                    Ok(outcome) => outcome,
                    Err(_) => Err(overdue()),
                }
            }
            .instrument(span.clone())
            .await;
            let Carried { mut answer, kept, lanes, refused } = match outcome {
                Ok(carried) => carried,
                // Inside the call's context, because the conversion logs the refusal.
                Err(refusal) => Carried::alone(span.in_scope(|| Status::from(refusal).into_http())),
            };
            running.answered(answer.headers());
            if let Ok(mut id) = HeaderValue::try_from(trace.trace_id()) {
                // A value that never comes again takes no place in the connection's table of headers.
                id.set_sensitive(true);
                answer.headers_mut().insert(TRACE_ID, id);
            }
            if !method.shape.streams {
                return Ok(answer);
            }
            let call = Boundary { lanes, ..call };
            let stream = Stream { method: method.path, call, span, code: code_of(answer.headers()) };
            let until = Box::pin(sleep_until(began + deadlines.stream));
            let stall = resources.limits.stall;
            Ok(answer.map(|body| Body::new(Streamed { body: Some(body), stream, until, stall, refused, _kept: kept })))
        }))
    }
}

/// The outcome of a call.
struct Carried {
    answer: Response<Body>,
    kept: Kept,
    /// What the caller's calls wait for, for a stream that goes on.
    lanes: Option<Arc<Lanes>>,
    /// Of a stream of requests that goes on while it is answered.
    refused: Option<Refused>,
}

impl Carried {
    fn alone(answer: Response<Body>) -> Self {
        Self { answer, kept: Kept::default(), lanes: None, refused: None }
    }
}

/// The quotas that a stream of answers holds until its end.
#[derive(Default)]
struct Kept {
    _shared: Option<Shared>,
    _watching: Option<Open<AddressShare>>,
}

impl Resources {
    /// Carries a call out within its quotas.
    async fn carry_out<S>(
        &self,
        inner: &mut S,
        method: Method,
        trace: TraceContext,
        mut request: Request<Body>,
    ) -> Result<Carried, Refusal>
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Send,
        S::Future: Send,
    {
        let connection = request.extensions_mut().remove::<Arc<Connection<AddressShare>>>();
        if method.shape.open {
            return self.carry_out_open(inner, method, connection, request).await;
        }
        let _place = self.shares.calls.take(1).ok_or_else(overloaded)?;
        // Until the channel is known, the call is counted for the address.
        let unproved = match &connection {
            Some(connection) => Some(connection.share().unproved.take(1).ok_or_else(overloaded)?),
            None => None,
        };
        let caller = self.authenticator.authenticate(request.headers(), request.uri().path(), &trace).await?;
        drop(unproved);
        let share = Arc::clone(caller.share(|channel_id| self.shares.of_channel(channel_id)));
        let _place_of_channel = share.calls.take(1).ok_or_else(overloaded)?;
        let stream = match method.shape.streams {
            true => Some(Shared::take(&self.shares.streams, &share.streams, 1).ok_or_else(overloaded)?),
            false => None,
        };
        let (arriving, mut refused) = self.arriving(method, &share);
        // Kept until the call is answered: what was decoded is as long in memory.
        let _request = arriving.hold();
        request = request.map(|body| Body::new(arriving.of(body)));
        if let Some(hash) = caller.vouched {
            let refused = caller.wording.credentials;
            request = request.map(|body| vouching::proved(body, hash, refused));
        }
        request.extensions_mut().insert(Arc::new(caller));
        let lanes = Some(Arc::clone(&share.lanes));
        let carrying = match Boundary::current() {
            Some(call) => Either::Left(Boundary { lanes: lanes.clone(), ..call }.around(inner.call(request))),
            None => Either::Right(inner.call(request)),
        };
        let answer = tokio::select! {
            biased;
            answer = carrying => never_fails(answer),
            refusal = refused.refusal() => return Err(refusal),
        };
        if method.shape.streams {
            let kept = Kept { _shared: stream, _watching: None };
            return Ok(Carried { answer, kept, lanes, refused: Some(refused) });
        }
        Ok(Carried::alone(self.count_answer(answer, &share).await?))
    }

    /// Carries out a call that needs no credentials. A busy server must still answer health checks, so
    /// these calls do not count as calls in progress; only streams, and the open calls of a connection,
    /// are counted.
    async fn carry_out_open<S>(
        &self,
        inner: &mut S,
        method: Method,
        connection: Option<Arc<Connection<AddressShare>>>,
        request: Request<Body>,
    ) -> Result<Carried, Refusal>
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Send,
        S::Future: Send,
    {
        let mut kept = Kept::default();
        if let Some(connection) = &connection {
            let Some(watching) = connection.watch(self.limits.connection_watches as u64) else {
                self.shares.watched_too_much();
                return Err(overloaded());
            };
            kept._watching = Some(watching);
            if method.shape.streams {
                let shared = Shared::take(&self.shares.watches, &connection.share().watches, 1);
                kept._shared = Some(shared.ok_or_else(overloaded)?);
            }
        }
        let (arriving, mut refused) = Arriving::new(method, &self.limits, None);
        let request = request.map(|body| Body::new(arriving.of(body)));
        let answer = tokio::select! {
            biased;
            answer = inner.call(request) => never_fails(answer),
            refusal = refused.refusal() => return Err(refusal),
        };
        Ok(Carried { answer, kept, lanes: None, refused: Some(refused) })
    }

    fn arriving(&self, method: Method, share: &Arc<ChannelShare>) -> (Arriving, Refused) {
        Arriving::new(method, &self.limits, Some((Arc::clone(&self.shares), Arc::clone(share))))
    }

    /// Encodes the one message of an answer now, so that its size is known, and counts it until it has
    /// been sent.
    async fn count_answer(&self, answer: Response<Body>, share: &ChannelShare) -> Result<Response<Body>, Refusal> {
        if answer.headers().contains_key("grpc-status") {
            return Ok(answer);
        }
        let (head, mut body) = answer.into_parts();
        let (mut data, mut trailers) = (Bytes::new(), None);
        while let Some(frame) = body.frame().await {
            match frame.map(Frame::into_data) {
                Ok(Ok(more)) if data.is_empty() => data = more,
                Ok(Ok(more)) => {
                    let mut whole = BytesMut::from(data);
                    whole.extend_from_slice(&more);
                    data = whole.freeze();
                }
                Ok(Err(frame)) => trailers = frame.into_trailers().ok(),
                Err(status) => return Ok(status.into_http()),
            }
        }
        drop(body);
        let hold = match Answer::<()>::counts(data.len()) {
            true => Some(
                Shared::take(&self.shares.answer_bytes, &share.answer_bytes, data.len() as u64)
                    .ok_or_else(overloaded)?,
            ),
            false => None,
        };
        Ok(Response::from_parts(head, Body::new(Answer::new(data, trailers, hold, self.limits.stall, ()))))
    }
}

fn never_fails<T>(outcome: Result<T, Infallible>) -> T {
    match outcome {
        Ok(value) => value,
        Err(never) => match never {},
    }
}

/// Returns the span of a call.
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

pub(super) fn overloaded() -> Refusal {
    Refusal::new(Common::Overloaded, "系统繁忙，请稍后重试").retry_after(RETRY_AFTER)
}

pub(super) fn overdue() -> Refusal {
    Refusal::new(Common::DeadlineExceeded, "请求处理超时")
}

/// Returns the code of a refusal, which is in the headers; that of a reply follows in its trailers.
fn code_of(headers: &HeaderMap) -> Code {
    headers.get("grpc-status").map_or(Code::Ok, |status| Code::from_bytes(status.as_bytes()))
}

/// A call until it is answered. If it is dropped before, its client has cancelled it.
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
        // A refusal is logged when it becomes a status, which then has details. A refusal by tonic
        // itself has none.
        if code != Code::Ok && !headers.contains_key("grpc-status-details-bin") && telemetry::refusal_is_a_line() {
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

/// Records the outcome in the exported span; an error is one of the server.
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

/// A stream of replies, whose outcome follows its last message.
struct Stream {
    method: &'static str,
    call: Boundary,
    span: Span,
    /// The final code, until the trailers have another.
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
    /// `None` after the stream was ended.
    body: Option<Body>,
    stream: Stream,
    until: Pin<Box<Sleep>>,
    stall: Duration,
    refused: Option<Refused>,
    _kept: Kept,
}

impl Streamed {
    /// Ends the stream with a refusal.
    fn end(&mut self, refusal: Refusal) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.body = None;
        let (call, span) = (&self.stream.call, &self.stream.span);
        let status = call.during(|| span.in_scope(|| Status::from(refusal)));
        self.stream.code = status.code();
        let mut trailers = HeaderMap::new();
        Poll::Ready(Some(status.add_header(&mut trailers).map(|()| Frame::trailers(trailers))))
    }
}

impl HttpBody for Streamed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = &mut *self;
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        let (call, span) = (&this.stream.call, &this.stream.span);
        let polled = call.during(|| span.in_scope(|| Pin::new(body).poll_frame(context)));
        // After an item was given to the client it has to read; before, the service has to produce.
        let turn = polled.is_ready().then(|| tokio::time::Instant::now() + this.stall);
        cut_off_at(turn);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => match frame.trailers_ref() {
                Some(trailers) => this.stream.code = code_of(trailers),
                // The end is still to come: a client that cancels now cancels the stream.
                None => this.stream.code = Code::Cancelled,
            },
            Poll::Ready(Some(Err(error))) => this.stream.code = error.code(),
            Poll::Ready(None) => {}
            Poll::Pending => {
                if let Some(Poll::Ready(refusal)) = this.refused.as_mut().map(|refused| refused.poll(context)) {
                    return this.end(refusal);
                }
                if this.until.as_mut().poll(context).is_ready() {
                    return this.end(overdue());
                }
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, HttpBody::size_hint)
    }
}
