//! A call from its HTTP request to its HTTP answer.

use std::collections::HashMap;
use std::error::Error as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use communal_kit::edge::{self, Connection};
use communal_kit::idempotency;
use communal_kit::identity::GatewayKeys;
use communal_kit::identity::vouching::SIGNATURE_STATES;
use communal_kit::limits::Shared;
use communal_kit::replicas::staleness;
use communal_kit::sandbox::Sandbox;
use communal_kit::telemetry::boundary::{self, Boundary, Operation};
use communal_kit::telemetry::trace::{TRACE_ID, TraceContext};
use communal_proto::contract::v1::Dialect;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use tonic::Status;
use tonic::metadata::AsciiMetadataValue;
use tracing::field::Empty;
use tracing::{Instrument, Span};

use crate::body::{Bodies, ReadBody, Unread};
use crate::config::{Config, Limits, OnUnknownKeys};
use crate::dialects::{self, Answer, NotDispatched, Prepared};
use crate::pages::Pages;
use crate::plan::{Contract, Route};
use crate::refused_call::{Class, RefusedCall};
use crate::shares::{AddressShare, Shares};
use crate::upstream::Upstreams;

/// The header by which a client asks for a shorter deadline, in milliseconds.
const TIMEOUT: &str = "x-timeout-ms";
/// The header that tells the client that business time is that of a sandbox, and what time that is.
const SANDBOX_TIME: HeaderName = HeaderName::from_static("x-sandbox-time");
/// The longest name of an encoding that a refusal repeats, in characters.
const LONGEST_ENCODING: usize = 32;
/// The header that names the keys of a request that the interface does not have and the call did not read.
const IGNORED_KEYS: HeaderName = HeaderName::from_static("x-ignored-keys");
/// What a service says about its reply, for which no envelope has a place: its greatest age, if the client sent a
/// limit, and that the request had been carried out before.
const TOLD: [HeaderName; 2] =
    [HeaderName::from_static(staleness::ACTUAL), HeaderName::from_static(idempotency::REPLAYED)];
/// Larger bodies and replies are transcoded on a blocking thread: a megabyte takes about a millisecond, and other calls
/// should not wait for that.
const LARGE: usize = 512 * 1024;

/// The body of an answer.
pub(crate) type Body = edge::Answer<()>;

/// Everything that a call needs.
#[derive(Debug)]
pub(crate) struct Gateway {
    contract: Contract,
    /// The index of the route of a path, which has no slash at its end.
    paths: HashMap<String, usize>,
    upstreams: Upstreams,
    /// The key that proves to the services that signature states were made here.
    key: Option<GatewayKeys>,
    unknown_keys: OnUnknownKeys,
    pages: Pages,
    limits: Limits,
    shares: Arc<Shares>,
    bodies: Bodies,
}

/// The end of a call that did not succeed.
enum Outcome {
    /// The client's error, and detail for the log only.
    Refused(Box<RefusedCall>, Option<String>),
    /// The request never became a call.
    NotDispatched(NotDispatched),
}

impl From<NotDispatched> for Outcome {
    fn from(not_dispatched: NotDispatched) -> Self {
        Self::NotDispatched(not_dispatched)
    }
}

impl Gateway {
    pub(crate) fn new(contract: Contract, config: &Config) -> anyhow::Result<Self> {
        let mut paths = HashMap::new();
        for (index, route) in contract.routes().iter().enumerate() {
            for path in dialects::paths(route) {
                if let Some(other) = paths.insert(path.clone(), index) {
                    let other = &contract.routes()[other].method;
                    anyhow::bail!("{path} would lead to both {other} and {}", route.method);
                }
            }
        }
        let shares = Arc::new(Shares::new(&config.limits));
        Ok(Self {
            pages: Pages::new(&contract)?,
            contract,
            paths,
            upstreams: Upstreams::new(config)?,
            key: config.key.clone(),
            unknown_keys: config.unknown_keys,
            limits: config.limits,
            bodies: Bodies::new(&config.limits, &shares),
            shares,
        })
    }

    /// The resources that all callers share.
    pub(crate) fn shares(&self) -> &Shares {
        &self.shares
    }

    /// Answers a request of a connection. The answer is counted until it has left.
    pub(crate) async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        connection: &Connection<AddressShare>,
    ) -> Response<Body> {
        let dialect = dialects::of_unknown_path(request.uri().path());
        let (gateway, share) = (Arc::clone(&self), connection.share());
        let stall = gateway.limits.stall;
        let (response, hold) = self.answer_of(request, share).await;
        let bytes = response.body().len();
        let hold = match hold {
            // A page, or a refusal.
            None if Body::counts(bytes) => match gateway.room(share, bytes) {
                None => {
                    let overloaded = RefusedCall::of(Class::Overloaded, gateway.contract.reasons());
                    return respond_refused(dialect, &overloaded).map(|text| Body::new(text, None, None, stall, ()));
                }
                hold => hold,
            },
            hold => hold,
        };
        response.map(|bytes| Body::new(bytes, None, hold, stall, ()))
    }

    async fn answer_of(
        self: Arc<Self>,
        request: Request<Incoming>,
        share: &AddressShare,
    ) -> (Response<Bytes>, Option<Shared>) {
        let (head, body) = request.into_parts();
        if let Some(page) = self.pages.find(&head) {
            return (page, None);
        }
        let path = head.uri.path();
        let Some(&index) = self.paths.get(path.strip_suffix('/').unwrap_or(path)) else {
            let answer =
                dialects::not_dispatched(dialects::of_unknown_path(path), &NotDispatched::Unknown(path.to_owned()));
            count("unknown", &answer, Duration::ZERO);
            return (respond(answer), None);
        };
        let route = &self.contract.routes()[index];
        if head.method == Method::OPTIONS {
            return (allowed(StatusCode::NO_CONTENT, route), None);
        }
        let trace = TraceContext::of(&head.headers, || false);
        let method = if head.method == route.verb { static_name(&route.verb) } else { "_OTHER" };
        let operation = Operation::Rest { method, route: Arc::clone(&route.path) };
        let call =
            Boundary { service: "gateway", operation, trace, edge_id: boundary::edge_id(&head.headers), lanes: None };
        let gateway = Arc::clone(&self);
        let (mut response, hold) = call
            .around(async move {
                let route = &gateway.contract.routes()[index];
                let span = if boundary::traced() { span_of(method, route) } else { Span::none() };
                trace.adopt(&span);
                Arc::clone(&gateway).route(index, (head, body), share, trace, &span).instrument(span.clone()).await
            })
            .await;
        if let Ok(id) = HeaderValue::from_str(&trace.trace_id()) {
            response.headers_mut().insert(TRACE_ID, id);
        }
        let sandbox = Sandbox::of_process().and_then(|sandbox| sandbox.local());
        if let Some(time) = sandbox.and_then(|time| HeaderValue::try_from(time).ok()) {
            response.headers_mut().insert(SANDBOX_TIME, time);
        }
        (response, hold)
    }

    async fn route(
        self: Arc<Self>,
        index: usize,
        (head, body): (Parts, Incoming),
        share: &AddressShare,
        trace: TraceContext,
        span: &Span,
    ) -> (Response<Bytes>, Option<Shared>) {
        let began = Instant::now();
        let _in_flight = InFlight::begin();
        let outcome = Arc::clone(&self).call(index, head, body, share, trace.onward(span)).await;
        let route = &self.contract.routes()[index];
        let (mut retry_after, mut cause, mut hold) = (None, None, None);
        // An answer that there is no room for is refused as one.
        let outcome = outcome.and_then(|answer| {
            if Body::counts(answer.body.len()) {
                hold = self.room(share, answer.body.len());
                return if hold.is_some() { Ok(answer) } else { Err(self.refused(Class::Overloaded)) };
            }
            Ok(answer)
        });
        let answer = match outcome {
            Ok(answer) => answer,
            Err(Outcome::Refused(refusal, why)) => {
                retry_after = refusal.retry_after;
                cause = why;
                dialects::refused(route.dialect, &refusal)
            }
            Err(Outcome::NotDispatched(not_dispatched)) => dialects::not_dispatched(route.dialect, &not_dispatched),
        };
        count(&route.name, &answer, began.elapsed());
        log(span, &answer, cause.as_deref());
        let not_allowed = answer.status == StatusCode::METHOD_NOT_ALLOWED;
        let mut response = respond(answer);
        if not_allowed {
            response.headers_mut().insert(ALLOW, allow(route));
        }
        if let Some(seconds) = retry_after.filter(|_| !response.status().is_success()) {
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        (response, hold)
    }

    async fn call(
        self: Arc<Self>,
        index: usize,
        head: Parts,
        mut body: Incoming,
        share: &AddressShare,
        trace: TraceContext,
    ) -> Result<Answer, Outcome> {
        let route = &self.contract.routes()[index];
        if head.method != route.verb {
            let (name, used, allowed) = (route.name.clone(), head.method, route.verb.clone());
            return Err(NotDispatched::WrongMethod { name, used, allowed }.into());
        }
        // This is checked before the body is read, because reading is most of the work. A place is taken only when the
        // body is there, or bodies that never come would take all places.
        if !self.shares.has_place(share) {
            return Err(self.refused(Class::Overloaded));
        }
        let body = if route.verb == Method::GET {
            ReadBody::none()
        } else {
            let gzip = is_gzipped(&head.headers)?;
            self.bodies.read(&mut body, gzip, share).await.map_err(|unread| match unread {
                Unread::NotDispatched(not_dispatched) => Outcome::NotDispatched(not_dispatched),
                Unread::NoRoom => self.refused(Class::Overloaded),
            })?
        };
        let Some(_place) = self.shares.call(share) else { return Err(self.refused(Class::Overloaded)) };
        let deadline = self.deadline(&head.headers)?;
        let edge_id = boundary::edge_id(&head.headers);
        let size = body.bytes.len();
        let gateway = Arc::clone(&self);
        let prepared = self.transcoded(size, share, move || {
            let route = &gateway.contract.routes()[index];
            // The body and its reserved memory are released at the end of this closure.
            let body = body;
            let mut prepared = dialects::prepare(gateway.contract.plans(), route, &head, &body.bytes)?;
            gateway.vouch(route, &mut prepared);
            Ok::<_, NotDispatched>(prepared)
        });
        let mut prepared = prepared.await?.map_err(Outcome::from)?;
        let unknown = std::mem::take(&mut prepared.unknown);
        let ignored = unknown.header();
        if unknown.count > 0 {
            counter!("gateway_unknown_keys_total", "route" => route.name.clone()).increment(unknown.count);
            if self.unknown_keys == OnUnknownKeys::Refuse {
                return Err(NotDispatched::UnknownKeys(unknown).into());
            }
        }
        if prepared.faults > 0 {
            let faults = u64::try_from(prepared.faults).unwrap_or(u64::MAX);
            counter!("gateway_transcoding_faults_total", "route" => route.name.clone()).increment(faults);
        }
        if let Some(id) = edge_id.and_then(|id| AsciiMetadataValue::try_from(&*id).ok()) {
            prepared.metadata.insert(boundary::EDGE_ID, id);
        }
        match &self.key {
            Some(key) => key.prove_trace(&mut prepared.metadata, &trace),
            // The service begins a trace of its own, which is linked to this one.
            None => trace.send(&mut prepared.metadata),
        }
        let reply = self.upstreams.call(route, prepared.metadata, prepared.message, deadline).await;
        let reply = reply.map_err(|status| {
            let refusal = RefusedCall::from_status(&status, self.contract.reasons());
            Outcome::Refused(Box::new(refusal), Some(cause_of(&status)))
        })?;
        let mut told = HeaderMap::new();
        for key in TOLD {
            let value = reply.metadata().get(key.as_str());
            if let Some(value) = value.and_then(|value| HeaderValue::from_bytes(value.as_encoded_bytes()).ok()) {
                told.insert(key, value);
            }
        }
        if let Some(keys) = ignored {
            told.insert(IGNORED_KEYS, keys);
        }
        let reply = reply.into_inner();
        // A reply that there is no room for is not transcoded first. The room is given back for the answer.
        let _room = match Body::counts(reply.len()) {
            true => Some(self.room(share, reply.len()).ok_or_else(|| self.refused(Class::Overloaded))?),
            false => None,
        };
        let gateway = Arc::clone(&self);
        let answer = self.transcoded(reply.len(), share, move || {
            dialects::success(gateway.contract.plans(), &gateway.contract.routes()[index], &reply)
        });
        let mut answer = answer.await?.map_err(|defect| {
            let refusal = RefusedCall::of(Class::Internal, self.contract.reasons());
            Outcome::Refused(Box::new(refusal), Some(format!("the reply breaks the contract: {defect}")))
        })?;
        answer.headers = told;
        Ok(answer)
    }

    /// Reserves memory for an answer.
    fn room(&self, share: &AddressShare, bytes: usize) -> Option<Shared> {
        Shared::take(&self.shares.answers, &share.answers, bytes as u64)
    }

    /// Transcodes a body or a reply: a short one here, a long one on a blocking thread. Callers of one address wait for each
    /// other with long ones, so that the others find a processor.
    async fn transcoded<T: Send + 'static>(
        &self,
        size: usize,
        share: &AddressShare,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Outcome> {
        if size < LARGE {
            return Ok(work());
        }
        let turn = share.transcodings.enter(self.limits.deadline).await;
        let turn = turn.ok_or_else(|| self.refused(Class::Overloaded))?;
        // The turn ends with the work, also if the client has gone meanwhile.
        let outcome = tokio::task::spawn_blocking(move || (work(), turn)).await;
        outcome.map(|(outcome, _)| outcome).map_err(|_| self.refused(Class::Internal))
    }

    /// Proves to the service that the signature states of a call were made here. Without a key there
    /// is no proof, and the service takes no states.
    fn vouch(&self, route: &Route, prepared: &mut Prepared) {
        if !prepared.metadata.contains_key(SIGNATURE_STATES) {
            return;
        }
        match &self.key {
            Some(key) => key.prove(route.grpc_path.path(), &mut prepared.metadata, &prepared.message),
            None => tracing::error!("COMMUNAL_GATEWAY_KEY is not set: a signed call will be refused"),
        }
    }

    /// The deadline of a call: the client's, if it is shorter than the configured one.
    ///
    /// # Errors
    /// Returns `NoMilliseconds` if the client's is anything else.
    fn deadline(&self, headers: &HeaderMap) -> Result<Duration, NotDispatched> {
        let Some(value) = headers.get(TIMEOUT) else { return Ok(self.limits.deadline) };
        let asked = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        match asked.and_then(|text| text.parse().ok()) {
            Some(asked) if asked > 0 => Ok(Duration::from_millis(asked).min(self.limits.deadline)),
            _ => Err(NotDispatched::NoMilliseconds(TIMEOUT)),
        }
    }

    fn refused(&self, class: Class) -> Outcome {
        Outcome::Refused(Box::new(RefusedCall::of(class, self.contract.reasons())), None)
    }

    /// The answer to a call in which something panicked.
    pub(crate) fn panicked(&self, dialect: Dialect) -> Response<Body> {
        tracing::error!("a call panicked");
        let refusal = RefusedCall::of(Class::Internal, self.contract.reasons());
        respond_refused(dialect, &refusal).map(|bytes| Body::new(bytes, None, None, self.limits.stall, ()))
    }
}

/// Returns whether a body is compressed by gzip.
///
/// # Errors
/// Returns `Encoded` if it is encoded in another way, or twice.
fn is_gzipped(headers: &HeaderMap) -> Result<bool, NotDispatched> {
    let values = headers.get_all(CONTENT_ENCODING).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
    let mut encodings = values.filter(|encoding| !encoding.eq_ignore_ascii_case("identity"));
    match (encodings.next(), encodings.next()) {
        (None, _) => Ok(false),
        (Some(encoding), None) if encoding.eq_ignore_ascii_case("gzip") => Ok(true),
        (Some(encoding), None) => Err(NotDispatched::Encoded(encoding.chars().take(LONGEST_ENCODING).collect())),
        (Some(first), Some(second)) => {
            Err(NotDispatched::Encoded(format!("{first}, {second}").chars().take(LONGEST_ENCODING).collect()))
        }
    }
}

/// The span of a request that is exported.
fn span_of(method: &'static str, route: &Route) -> Span {
    tracing::info_span!(
        "request",
        service = "gateway",
        http.request.method = method,
        http.route = &*route.path,
        otel.name = format!("{} {}", route.verb, route.path),
        otel.kind = "server",
        otel.status_code = Empty,
        http.response.status_code = Empty,
        communal.code = Empty,
    )
}

/// The name of a verb with which interfaces are documented.
fn static_name(verb: &Method) -> &'static str {
    if *verb == Method::GET { "GET" } else { "POST" }
}

/// Describes the metrics of the gateway.
pub(crate) fn describe_metrics() {
    describe_counter!("gateway_requests_total", "REST requests answered, by interface, HTTP status and envelope code");
    describe_histogram!("gateway_request_seconds", Unit::Seconds, "Time until a REST request is answered");
    describe_gauge!("gateway_in_flight", "REST requests being answered");
    describe_gauge!("gateway_replicas", "Replicas of a service by state");
    describe_counter!("gateway_redelivered_calls_total", "Calls repeated after a replica turned them away, by service");
    describe_counter!("gateway_unknown_keys_total", "Unknown keys in requests, by interface");
    describe_counter!("gateway_transcoding_faults_total", "Fields that could not be transcoded, by interface");
}

/// Counts a call while it runs, also if the client disconnects.
struct InFlight;

impl InFlight {
    fn begin() -> Self {
        gauge!("gateway_in_flight").increment(1.0);
        Self
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        gauge!("gateway_in_flight").decrement(1.0);
    }
}

/// Logs one line for a call: its status, and the cause if it failed on our side. A service that refused logs a line of
/// its own with the same trace.
fn log(span: &Span, answer: &Answer, cause: Option<&str>) {
    let (status, code) = (answer.status.as_u16(), answer.code.as_str());
    if answer.status.is_server_error() {
        tracing::error!(http.status = status, code, cause, "call failed");
    } else {
        tracing::debug!(http.status = status, code, cause, "call answered");
    }
    if !span.is_none() {
        span.record("http.response.status_code", status);
        span.record("communal.code", code);
        if answer.status.is_server_error() {
            span.record("otel.status_code", "ERROR");
        }
    }
}

/// The cause of a refusal for the log: the code and the chain of sources. The message names fields and is left out; the
/// service logs it.
fn cause_of(status: &Status) -> String {
    let mut text = format!("{:?}", status.code());
    let mut source = status.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

fn count(route: &str, answer: &Answer, took: Duration) {
    let (route, code) = (route.to_owned(), answer.code.clone());
    let status = answer.status.as_u16().to_string();
    counter!("gateway_requests_total", "route" => route.clone(), "code" => code, "status" => status).increment(1);
    histogram!("gateway_request_seconds", "route" => route).record(took);
}

fn respond_refused(dialect: Dialect, refusal: &RefusedCall) -> Response<Bytes> {
    let mut response = respond(dialects::refused(dialect, refusal));
    if let Some(seconds) = refusal.retry_after {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    response
}

fn respond(answer: Answer) -> Response<Bytes> {
    let mut response = Response::new(answer.body.into());
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    // An answer depends on the caller's credentials, not only on the URL.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.extend(answer.headers);
    response
}

fn allowed(status: StatusCode, route: &Route) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    response.headers_mut().insert(ALLOW, allow(route));
    response
}

fn allow(route: &Route) -> HeaderValue {
    HeaderValue::from_static(if route.verb == Method::GET { "GET, OPTIONS" } else { "POST, OPTIONS" })
}
