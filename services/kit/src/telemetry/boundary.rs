//! The call that a task carries out: what every line written meanwhile tells of it, and whether
//! its spans are exported.
//!
//! It is kept beside the task and not in a span. A span costs whenever it is opened, entered,
//! left and closed, which came to a fifth of the CPU of a small call; so there are spans only
//! where they are exported, and for those traces that are sampled.

use std::sync::Arc;

use tracing::{Instrument as _, Span};

use crate::telemetry::trace::TraceContext;

tokio::task_local! {
    static CURRENT: Boundary;
}

/// What is called.
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

/// See the module.
#[derive(Clone, Debug)]
pub struct Boundary {
    /// Which of the product's processes answers.
    pub service: &'static str,
    /// What is called.
    pub operation: Operation,
    /// The trace that the call belongs to.
    pub trace: TraceContext,
}

impl Boundary {
    /// Carries out `work` as this call.
    pub fn around<F: Future>(self, work: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self, work)
    }

    /// Does something at once as this call.
    pub fn during<T>(&self, work: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(self.clone(), work)
    }

    /// The call that this task carries out.
    #[must_use]
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Clone::clone).ok()
    }

    /// Gives each name and value that lines tell of the call.
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
    }
}

/// Whether what this task does is exported as spans. What belongs to no call is.
#[must_use]
pub fn traced() -> bool {
    super::exporting() && CURRENT.try_with(|call| call.trace.is_sampled()).unwrap_or(true)
}

/// Work that goes on in a task of its own and belongs to the call that this task carries out.
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
