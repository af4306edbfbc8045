//! The call that the current task carries out. Every log line of the task names it, and it decides
//! whether spans are exported.
//!
//! The call is a task-local value and not a span. Opening, entering, leaving and closing a span cost a
//! fifth of the CPU time of a small call; therefore spans exist only for sampled traces that are
//! exported.

use std::sync::Arc;

use http::HeaderMap;
use tracing::{Instrument as _, Span};

use crate::telemetry::lane::Lanes;
use crate::telemetry::trace::TraceContext;

tokio::task_local! {
    static CURRENT: Boundary;
}

/// The header in which proxies give a request an id, in HTTP and in gRPC metadata.
pub const EDGE_ID: &str = "x-request-id";
/// The longest id of a proxy that log lines repeat.
const LONGEST_EDGE_ID: usize = 64;

/// Returns the id that a proxy gave a request, if it is short and of letters, digits and hyphens alone. A
/// log line does not repeat any other text that a caller may have sent.
#[must_use]
pub fn edge_id(headers: &HeaderMap) -> Option<Arc<str>> {
    let id = headers.get(EDGE_ID)?.to_str().ok()?;
    let plain = id.len() <= LONGEST_EDGE_ID && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    plain.then(|| id.into())
}

/// The method or interface that is called.
#[derive(Clone, Debug)]
pub enum Operation {
    /// A gRPC method by its path.
    Rpc(&'static str),
    /// An interface over HTTP.
    Rest {
        /// HTTP method.
        method: &'static str,
        /// The documented path.
        route: Arc<str>,
    },
}

/// The current call: service, operation and trace.
#[derive(Clone, Debug)]
pub struct Boundary {
    /// The name of the process that answers, as logs and traces show it.
    pub service: &'static str,
    /// The method or interface that is called.
    pub operation: Operation,
    /// The trace that the call belongs to.
    pub trace: TraceContext,
    /// The id that a proxy gave the request, for log lines.
    pub edge_id: Option<Arc<str>>,
    /// What the caller's calls wait for, once it is known who calls.
    pub lanes: Option<Arc<Lanes>>,
}

impl Boundary {
    /// Runs `work` as part of this call.
    pub fn around<F: Future>(self, work: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self, work)
    }

    /// Runs synchronous `work` as part of this call.
    pub fn during<T>(&self, work: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(self.clone(), work)
    }

    /// Returns the call that the current task carries out.
    #[must_use]
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Clone::clone).ok()
    }

    /// Returns what the caller of this task's call waits for.
    #[must_use]
    pub fn current_lanes() -> Option<Arc<Lanes>> {
        CURRENT.try_with(|call| call.lanes.clone()).ok().flatten()
    }

    /// Passes each name and value of the call that log lines show to `each`.
    pub(super) fn fields(&self, mut each: impl FnMut(&'static str, &str)) {
        each("service", self.service);
        match &self.operation {
            Operation::Rpc(path) => each("rpc.method", path),
            Operation::Rest { method, route } => {
                each("http.request.method", method);
                each("http.route", route);
            }
        }
        each("trace.id", &self.trace.trace_id());
        if let Some(caller) = self.trace.linked_trace_id() {
            each("trace.caller", &caller);
        }
        if let Some(edge_id) = &self.edge_id {
            each("http.request.id", edge_id);
        }
    }
}

/// Returns whether the current task exports spans. A task outside of any call does if the process
/// exports spans.
#[must_use]
pub fn traced() -> bool {
    super::exporting() && CURRENT.try_with(|call| call.trace.is_sampled()).unwrap_or(true)
}

/// Makes `work`, which will run in another task, part of the current call.
pub fn belonging<F: Future>(work: F) -> impl Future<Output = F::Output> {
    let (call, span) = (Boundary::current(), Span::current());
    async move {
        match call {
            Some(call) => call.around(work).await,
            None => work.await,
        }
    }
    .instrument(span)
}
