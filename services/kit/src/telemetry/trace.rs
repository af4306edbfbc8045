//! W3C trace context: the trace id of a request across REST, gRPC and SQL.
//!
//! Every request has a trace id. It stands in each log line and in each row that the request writes, and
//! is sent to the next process. The first of our processes that a request meets generates it, because
//! a caller that chose it could give a write the trace id of another. The caller's own trace is linked
//! instead: log lines name it as `trace.caller`, and exported spans have a link to it. Where every caller
//! is trusted, `COMMUNAL_TRACE_CALLERS=followed` continues the caller's trace.

use std::cell::Cell;

use http::{HeaderMap, HeaderName};
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use opentelemetry_sdk::trace::IdGenerator;
use tonic::metadata::{MetadataMap, MetadataValue};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::telemetry::{follows_callers, samples};

/// The header of W3C trace context, in HTTP and in gRPC metadata.
pub const TRACEPARENT: &str = "traceparent";
/// The header of every answer that has the trace id, in HTTP and in gRPC metadata.
pub const TRACE_ID: HeaderName = HeaderName::from_static("x-trace-id");

/// The position of a request in its trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: u128,
    span_id: u64,
    sampled: bool,
    remote: bool,
    /// The trace and span of a caller whose trace is linked and not continued.
    linked: Option<(u128, u64)>,
}

impl TraceContext {
    /// Reads the context of a request. The caller's is continued if it is `trusted`, or if callers are
    /// followed everywhere; otherwise a new trace begins that is linked to it.
    #[must_use]
    pub fn of(headers: &HeaderMap, trusted: impl FnOnce() -> bool) -> Self {
        let sent = headers.get(TRACEPARENT).and_then(|h| h.to_str().ok()).and_then(Self::parse);
        match sent {
            None => Self::root(),
            Some(sent) if follows_callers() || trusted() => sent,
            Some(sent) => Self { linked: Some((sent.trace_id, sent.span_id)), ..Self::root() },
        }
    }

    /// Begins a new trace.
    #[must_use]
    pub fn root() -> Self {
        // Zero is not a valid identifier.
        let (trace_id, span_id) = (rand::random::<u128>() | 1, rand::random::<u64>() | 1);
        Self { trace_id, span_id, sampled: samples(trace_id), remote: false, linked: None }
    }

    /// Parses `00-<32 hex>-<16 hex>-<2 hex>`.
    ///
    /// ```
    /// use communal_kit::telemetry::trace::TraceContext;
    /// let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    /// assert_eq!(TraceContext::parse(text).unwrap().to_string(), text);
    /// assert_eq!(TraceContext::parse("00-00000000000000000000000000000000-b7ad6b7169203331-01"), None);
    /// ```
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        // Later versions may have more parts, version 00 may not.
        if version == "00" && parts.next().is_some() {
            return None;
        }
        let hex = |part: &str, length: usize| {
            part.len() == length && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        if !(hex(version, 2) && version != "ff" && hex(trace, 32) && hex(span, 16) && hex(flags, 2)) {
            return None;
        }
        let trace_id = u128::from_str_radix(trace, 16).ok().filter(|id| *id != 0)?;
        let span_id = u64::from_str_radix(span, 16).ok().filter(|id| *id != 0)?;
        let sampled = u8::from_str_radix(flags, 16).ok()? & 1 == 1;
        Some(Self { trace_id, span_id, sampled, remote: true, linked: None })
    }

    /// Adds the context to the metadata of a call to the next process.
    pub fn send(&self, metadata: &mut MetadataMap) {
        if let Ok(mut value) = MetadataValue::try_from(self.to_string()) {
            // Every call has another value. As a sensitive header it takes no place in the connection's table of
            // compressed headers, from which it would drive those that come with every call.
            value.set_sensitive(true);
            metadata.insert(TRACEPARENT, value);
        }
    }

    /// Returns whether the trace is exported by the processes that export.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.sampled
    }

    /// Returns the trace id as 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> String {
        format!("{:032x}", self.trace_id)
    }

    /// Returns the trace id of a caller whose trace is linked and not continued.
    #[must_use]
    pub fn linked_trace_id(&self) -> Option<String> {
        self.linked.map(|(trace_id, _)| format!("{trace_id:032x}"))
    }

    /// Makes `span` a child of this context, or the root of the trace if the trace began here. Does
    /// nothing if `span` is disabled.
    pub fn adopt(&self, span: &Span) {
        if span.is_none() {
            return;
        }
        if let Some((trace_id, span_id)) = self.linked {
            let (trace_id, span_id) = (TraceId::from(trace_id), SpanId::from(span_id));
            span.add_link(SpanContext::new(trace_id, span_id, TraceFlags::default(), true, TraceState::default()));
        }
        if !self.remote {
            // The exporter generates the ids of a root span when it builds it. It takes this trace id,
            // which the log lines and the stored rows have as well.
            NEXT_TRACE.set(Some(self.trace_id));
            span.context();
            NEXT_TRACE.set(None);
            return;
        }
        let flags = if self.sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
        let parent = SpanContext::new(
            TraceId::from(self.trace_id),
            SpanId::from(self.span_id),
            flags,
            true,
            TraceState::default(),
        );
        // Fails only if no exporter is installed; then there is no parent to set.
        let _ = span.set_parent(opentelemetry::Context::new().with_remote_span_context(parent));
    }

    /// Returns the context for the next process: that of the exported span if there is one, otherwise
    /// this context itself.
    #[must_use]
    pub fn onward(&self, span: &Span) -> Self {
        if span.is_none() {
            return *self;
        }
        let context = span.context();
        let current = context.span().span_context().clone();
        if current.is_valid() {
            Self {
                trace_id: u128::from_be_bytes(current.trace_id().to_bytes()),
                span_id: u64::from_be_bytes(current.span_id().to_bytes()),
                sampled: current.is_sampled(),
                remote: self.remote,
                linked: self.linked,
            }
        } else {
            *self
        }
    }
}

impl std::fmt::Display for TraceContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, u8::from(self.sampled))
    }
}

thread_local! {
    /// The trace id of the root span that is being built on this thread.
    static NEXT_TRACE: Cell<Option<u128>> = const { Cell::new(None) };
}

/// Generates the ids of exported spans; [`TraceContext::adopt`] sets the trace id of a root.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identifiers;

impl IdGenerator for Identifiers {
    fn new_trace_id(&self) -> TraceId {
        TraceId::from(NEXT_TRACE.take().unwrap_or_else(|| rand::random::<u128>() | 1))
    }

    fn new_span_id(&self) -> SpanId {
        SpanId::from(rand::random::<u64>() | 1)
    }
}
