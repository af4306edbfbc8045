//! The layer around every call: trace context, deadline, quotas, credentials, and metrics.

use std::convert::Infallible;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use communal_proto::Fault;
use communal_proto::contract::v1::{FaultKind, Reason as Common};
use futures::future::{BoxFuture, Either};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Sleep, sleep_until};
use tonic::body::Body;
use tonic::{Code, Status};
use tower::Service;
use tracing::{Instrument, Span, info_span};

use super::compression;
use super::deadlines::Deadlines;
use super::elsewhere;
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

/// The metadata in which a client says how large a reply it takes, in bytes.
pub const MOST_REPLY: &str = "x-max-reply-bytes";
/// The largest reply that clients of gRPC take unless they are told otherwise.
const DEFAULT_REPLY: usize = 4 * 1024 * 1024;
/// More data than this are compressed on a blocking thread.
const LARGE: usize = 512 * 1024;
/// The time after which a refused caller may try again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The resources of the server that calls of all ports use.
#[derive(Debug)]
pub(super) struct CallResources {
    pub(super) service: &'static str,
    pub(super) limits: ServerLimits,
    pub(super) gzip_from: Option<NonZeroUsize>,
    pub(super) shares: Arc<Shares>,
    pub(super) authenticator: Arc<Authenticator>,
}

/// The service that carries the calls of one port out, within their trace, deadlines and quotas.
#[derive(Clone, Debug)]
pub(super) struct Calls<S> {
    inner: S,
    /// The names of the services of this port.
    served: Arc<[&'static str]>,
    resources: Arc<CallResources>,
}

impl<S> Calls<S> {
    /// Carries out calls of these services.
    pub(super) fn new(inner: S, served: Vec<&'static str>, resources: Arc<CallResources>) -> Self {
        Method::load();
        Self { inner, served: served.into(), resources }
    }
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
        let (resources, served) = (Arc::clone(&self.resources), Arc::clone(&self.served));
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
                if let Some(status) = elsewhere::status(request.uri().path(), method, resources.service, &served) {
                    return Ok(Carried::alone(status.into_http()));
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
            let Carried { mut answer, kept, lanes, gzip_from, refused } = match outcome {
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
            if gzip_from.is_some() {
                compression::announce(answer.headers_mut());
            }
            Ok(answer.map(|body| {
                Body::new(Streamed { body: Some(body), stream, until, stall, gzip_from, refused, _kept: kept })
            }))
        }))
    }
}

/// The outcome of a call.
struct Carried {
    answer: Response<Body>,
    kept: Kept,
    /// What the caller's calls wait for, for a stream that goes on.
    lanes: Option<Arc<Lanes>>,
    /// The bytes from which a message of a stream of answers is compressed.
    gzip_from: Option<usize>,
    /// Of a stream of requests that goes on while it is answered.
    refused: Option<Refused>,
}

impl Carried {
    fn alone(answer: Response<Body>) -> Self {
        Self { answer, kept: Kept::default(), lanes: None, gzip_from: None, refused: None }
    }
}

/// The quotas that a stream of answers holds until its end.
#[derive(Default)]
struct Kept {
    _shared: Option<Shared>,
    _watching: Option<Open<AddressShare>>,
}

impl CallResources {
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
        let compressed = match compression::take_encoding(request.headers_mut()) {
            Ok(compressed) => compressed,
            Err(status) => return Ok(Carried::alone(status.into_http())),
        };
        if method.shape.open {
            return self.carry_out_open(inner, method, connection, compressed, request).await;
        }
        let _place = self.shares.calls.take(1).ok_or_else(overloaded)?;
        // Until the channel is known, the call is counted for the address.
        let unproved = match &connection {
            Some(connection) => Some(connection.share().unproved.take(1).ok_or_else(overloaded)?),
            None => None,
        };
        let caller = self.authenticator.authenticate(request.headers(), request.uri().path(), &trace).await?;
        drop(unproved);
        let taken = Taken::of(request.headers(), self.gzip_from)?;
        let share = Arc::clone(caller.share(|channel_id| self.shares.of_channel(channel_id)));
        let _place_of_channel = share.calls.take(1).ok_or_else(overloaded)?;
        let stream = match method.shape.streams {
            true => Some(Shared::take(&self.shares.streams, &share.streams, 1).ok_or_else(overloaded)?),
            false => None,
        };
        let (arriving, mut refused) = self.arriving(method, compressed, &share);
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
            return Ok(Carried { answer, kept, lanes, gzip_from: taken.gzip_from, refused: Some(refused) });
        }
        Ok(Carried::alone(self.count_answer(answer, &share, taken).await?))
    }

    /// Carries out a call that needs no credentials. A busy server must still answer health checks, so
    /// these calls do not count as calls in progress; only streams, and the open calls of a connection,
    /// are counted.
    async fn carry_out_open<S>(
        &self,
        inner: &mut S,
        method: Method,
        connection: Option<Arc<Connection<AddressShare>>>,
        compressed: bool,
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
        let (arriving, mut refused) = Arriving::new(method, compressed, &self.limits, None);
        let request = request.map(|body| Body::new(arriving.of(body)));
        let answer = tokio::select! {
            biased;
            answer = inner.call(request) => never_fails(answer),
            refusal = refused.refusal() => return Err(refusal),
        };
        Ok(Carried { answer, kept, lanes: None, gzip_from: None, refused: Some(refused) })
    }

    fn arriving(&self, method: Method, compressed: bool, share: &Arc<ChannelShare>) -> (Arriving, Refused) {
        Arriving::new(method, compressed, &self.limits, Some((Arc::clone(&self.shares), Arc::clone(share))))
    }

    /// Encodes the one message of an answer now, so that its size is known, and counts it until it has
    /// been sent.
    ///
    /// # Errors
    /// Returns `ANSWER_TOO_LARGE` if the message is larger than the client takes, and `OVERLOADED` if there is no room
    /// for it.
    async fn count_answer(
        &self,
        answer: Response<Body>,
        share: &ChannelShare,
        taken: Taken,
    ) -> Result<Response<Body>, Refusal> {
        if answer.headers().contains_key("grpc-status") {
            return Ok(answer);
        }
        let (mut head, mut body) = answer.into_parts();
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
        if data.len() > taken.largest.saturating_add(compression::PREFIX) {
            return Err(too_large(data.len(), taken.largest));
        }
        if let Some(from) = taken.gzip_from.filter(|from| data.len() >= *from) {
            compression::announce(&mut head.headers);
            data = off_the_runtime(data, move |data| compression::compress(data, from)).await?;
        }
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

/// What a client takes as a reply.
#[derive(Clone, Copy)]
struct Taken {
    /// The most bytes.
    largest: usize,
    /// The bytes from which it is compressed, if at all.
    gzip_from: Option<usize>,
}

impl Taken {
    /// Reads what the client says.
    ///
    /// # Errors
    /// Returns `FIELD_MALFORMED` if the limit of a reply is no number.
    fn of(headers: &HeaderMap, gzip_from: Option<NonZeroUsize>) -> Result<Self, Refusal> {
        let largest = match headers.get(MOST_REPLY).map(|value| value.to_str().ok()?.parse().ok()) {
            None => DEFAULT_REPLY,
            Some(Some(largest)) => largest,
            Some(None) => {
                return Err(Refusal::for_faults(vec![Fault {
                    field: MOST_REPLY.into(),
                    kind: FaultKind::Format,
                    description: "is no number of bytes".into(),
                    text: format!("请求头{MOST_REPLY}应为字节数"),
                }]));
            }
        };
        let gzip_from = gzip_from.filter(|_| compression::is_accepted(headers)).map(NonZeroUsize::get);
        Ok(Self { largest, gzip_from })
    }
}

/// The refusal of a reply that its client would not take. The client would tell its caller RESOURCE_EXHAUSTED, which
/// means to try again.
fn too_large(bytes: usize, largest: usize) -> Refusal {
    let description = format!(
        "is {largest}, and the reply has {bytes} bytes: raise the limit of the client and tell it here, or use the page or \
         the stream of the same service"
    );
    Refusal::of(Common::AnswerTooLarge).fault(Fault::rule(MOST_REPLY, description, "查询结果过多，请缩小查询范围"))
}

/// Runs the work on much data on a blocking thread, so that other calls do not wait for it.
async fn off_the_runtime(data: Bytes, work: impl FnOnce(Bytes) -> Bytes + Send + 'static) -> Result<Bytes, Refusal> {
    if data.len() < LARGE {
        return Ok(work(data));
    }
    tokio::task::spawn_blocking(move || work(data)).await.map_err(Refusal::internal)
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
    gzip_from: Option<usize>,
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
        let Some(from) = this.gzip_from else { return polled };
        polled.map_ok(|frame| frame.map_data(|data| compression::compress(data, from)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, HttpBody::size_hint)
    }
}
