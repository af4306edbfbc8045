//! The share of one channel in a service.

use std::sync::Arc;

use crate::limits::Quota;
use crate::telemetry::lane::Lanes;

/// The resources that one channel uses.
#[derive(Debug)]
pub struct ChannelShare {
    /// Calls in progress.
    pub calls: Arc<Quota>,
    /// Open streams of answers.
    pub streams: Arc<Quota>,
    /// Database connections, and queries of everything.
    pub lanes: Arc<Lanes>,
    /// Bytes of requests that are arriving or carried out.
    pub request_bytes: Arc<Quota>,
    /// Bytes of answers that have not been sent completely.
    pub answer_bytes: Arc<Quota>,
}
