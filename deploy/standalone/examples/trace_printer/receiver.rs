//! An OTLP receiver that keeps the spans that it receives. The tests use it as well.
#![allow(dead_code, unreachable_pub)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1 as otlp;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// A received span.
#[derive(Clone, Debug)]
pub struct Span {
    pub name: String,
    pub trace_id: String,
    pub span_id: String,
    /// Empty for a root.
    pub parent_id: String,
    pub kind: otlp::span::SpanKind,
    pub failed: bool,
    /// The trace ids of the spans that it is linked to.
    pub links: Vec<String>,
    pub begin_ns: u64,
    pub end_ns: u64,
    pub attributes: BTreeMap<String, String>,
}

impl Span {
    fn of(span: otlp::Span) -> Self {
        Self {
            kind: span.kind(),
            failed: span.status.as_ref().is_some_and(|s| s.code() == otlp::status::StatusCode::Error),
            links: span.links.iter().map(|link| hex(&link.trace_id)).collect(),
            name: span.name,
            trace_id: hex(&span.trace_id),
            span_id: hex(&span.span_id),
            parent_id: hex(&span.parent_span_id),
            begin_ns: span.start_time_unix_nano,
            end_ns: span.end_time_unix_nano,
            attributes: span
                .attributes
                .into_iter()
                .map(|pair| (pair.key, pair.value.and_then(|v| v.value).map(text).unwrap_or_default()))
                .collect(),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn text(value: Value) -> String {
    match value {
        Value::StringValue(text) => text,
        Value::IntValue(number) => number.to_string(),
        Value::BoolValue(flag) => flag.to_string(),
        Value::DoubleValue(number) => number.to_string(),
        other => format!("{other:?}"),
    }
}

/// The spans received so far.
#[derive(Clone, Debug, Default)]
pub struct Received(Arc<Mutex<Vec<Span>>>);

impl Received {
    /// Returns all spans.
    pub fn all(&self) -> Vec<Span> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the spans of one trace, ordered by their start.
    pub fn trace(&self, trace_id: &str) -> Vec<Span> {
        let mut spans = self.all();
        spans.retain(|span| span.trace_id == trace_id);
        spans.sort_by_key(|span| (span.begin_ns, u64::MAX - span.end_ns));
        spans
    }
}

#[tonic::async_trait]
impl TraceService for Received {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let resources = request.into_inner().resource_spans.into_iter();
        let spans = resources.flat_map(|r| r.scope_spans).flat_map(|s| s.spans).map(Span::of);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(spans);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// Receives for as long as the runtime lives; returns the address and the spans.
pub fn receive(address: SocketAddr) -> anyhow::Result<(SocketAddr, Received)> {
    let incoming =
        TcpIncoming::bind(address).map_err(|error| anyhow::anyhow!("cannot listen on {address}: {error}"))?;
    let address = incoming.local_addr()?;
    let received = Received::default();
    let service = TraceServiceServer::new(received.clone());
    tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
    Ok((address, received))
}
