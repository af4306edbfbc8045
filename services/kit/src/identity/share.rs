//! The share of one channel in a service that it calls.

use std::sync::Arc;

use crate::limits::Quota;

/// What one channel has in use.
#[derive(Debug)]
pub struct ChannelShare {
    /// Calls.
    pub calls: Arc<Quota>,
    /// Streams of answers.
    pub streams: Arc<Quota>,
    /// Bytes of requests that are arriving.
    pub request_bytes: Arc<Quota>,
    /// Bytes of answers that have not left yet.
    pub answer_bytes: Arc<Quota>,
}
