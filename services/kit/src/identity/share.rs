//! The share of one channel in a service.

use std::sync::Arc;

use crate::limits::Quota;

/// The resources that one channel uses.
#[derive(Debug)]
pub struct ChannelShare {
    /// Calls in progress.
    pub calls: Arc<Quota>,
    /// Open streams of answers.
    pub streams: Arc<Quota>,
    /// Bytes of requests that are being received.
    pub request_bytes: Arc<Quota>,
    /// Bytes of answers that have not been sent completely.
    pub answer_bytes: Arc<Quota>,
}
