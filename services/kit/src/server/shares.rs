//! The quotas of a service: in all, of each channel, and of each address until the channel is known.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use metrics::Counter;

use super::limits::{LIMITS, ServerLimits};
use crate::identity::ChannelShare;
use crate::limits::{self, Levels, Quota};
use crate::telemetry::lane::{Lane, Lanes};

/// The limits of requests that follow from the contract, in metrics.
const REQUESTS: &str = "requests";

/// The quotas of a service and the shares of its callers.
#[derive(Debug)]
pub(super) struct Shares {
    pub(super) calls: Arc<Quota>,
    pub(super) streams: Arc<Quota>,
    pub(super) watches: Arc<Quota>,
    pub(super) request_bytes: Arc<Quota>,
    pub(super) answer_bytes: Arc<Quota>,
    limits: ServerLimits,
    /// Database connections of one channel.
    channel_connections: usize,
    reached: Reached,
    /// Only existing channels have a share.
    channels: Mutex<HashMap<String, Arc<ChannelShare>>>,
}

/// The counters of refusals, one for all shares of a kind.
#[derive(Debug)]
struct Reached {
    calls: Counter,
    streams: Counter,
    connections: Counter,
    large_queries: Counter,
    request_bytes: Counter,
    answer_bytes: Counter,
    unproved: Counter,
    watches: Counter,
    connection_watches: Counter,
    requests: Counter,
}

/// The resources that callers of one address use.
#[derive(Debug)]
pub(super) struct AddressShare {
    pub(super) unproved: Arc<Quota>,
    pub(super) watches: Arc<Quota>,
}

impl Shares {
    /// The shares of a service that has so many database connections for calls.
    pub(super) fn new(service: &'static str, limits: ServerLimits, connections: usize) -> Self {
        let quota = |limit, most| Quota::new(service, limit, most);
        Self {
            calls: quota(&LIMITS.calls, limits.calls),
            streams: quota(&LIMITS.streams, limits.streams),
            watches: quota(&LIMITS.watches, limits.watches),
            request_bytes: quota(&LIMITS.request_bytes, limits.request_bytes),
            answer_bytes: quota(&LIMITS.answer_bytes, limits.answer_bytes),
            limits,
            channel_connections: (connections * limits.channel_connections.min(100)).div_ceil(100),
            reached: Reached {
                calls: LIMITS.channel_calls.reached(service),
                streams: LIMITS.channel_streams.reached(service),
                connections: LIMITS.channel_connections.reached(service),
                large_queries: LIMITS.channel_large_queries.reached(service),
                request_bytes: LIMITS.channel_request_bytes.reached(service),
                answer_bytes: LIMITS.channel_answer_bytes.reached(service),
                unproved: LIMITS.unproved_calls.reached(service),
                watches: LIMITS.address_watches.reached(service),
                connection_watches: LIMITS.connection_watches.reached(service),
                requests: limits::reached(service, REQUESTS),
            },
            channels: Mutex::default(),
        }
    }

    /// Returns the share of a channel. Callers keep it with the channel's record, so this does not run
    /// for each call.
    pub(super) fn of_channel(&self, channel_id: &str) -> Arc<ChannelShare> {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = channels.get(channel_id) {
            return Arc::clone(share);
        }
        let (limits, reached) = (&self.limits, &self.reached);
        let share = Arc::new(ChannelShare {
            calls: Quota::counted(limits.channel_calls, reached.calls.clone()),
            streams: Quota::counted(limits.channel_streams, reached.streams.clone()),
            lanes: Arc::new(Lanes {
                connections: Lane::new(self.channel_connections, reached.connections.clone()),
                large_queries: Lane::new(limits.channel_large_queries, reached.large_queries.clone()),
            }),
            request_bytes: Quota::counted(limits.channel_request_bytes, reached.request_bytes.clone()),
            answer_bytes: Quota::counted(limits.channel_answer_bytes, reached.answer_bytes.clone()),
        });
        channels.insert(channel_id.to_owned(), Arc::clone(&share));
        share
    }

    /// Counts a refusal on a connection that has too many open calls without credentials.
    pub(super) fn watched_too_much(&self) {
        self.reached.connection_watches.increment(1);
    }

    /// Counts a request that is larger, or has more rows, than the contract allows.
    pub(super) fn refused_by_contract(&self) {
        self.reached.requests.increment(1);
    }

    pub(super) fn of_address(&self) -> AddressShare {
        AddressShare {
            unproved: Quota::counted(self.limits.unproved_calls, self.reached.unproved.clone()),
            watches: Quota::counted(self.limits.address_watches, self.reached.watches.clone()),
        }
    }

    pub(super) fn levels(&self, service: &'static str, connections: &Arc<Quota>) -> Levels {
        Levels::new(
            service,
            vec![
                (&LIMITS.connections, Arc::clone(connections)),
                (&LIMITS.calls, Arc::clone(&self.calls)),
                (&LIMITS.streams, Arc::clone(&self.streams)),
                (&LIMITS.watches, Arc::clone(&self.watches)),
                (&LIMITS.request_bytes, Arc::clone(&self.request_bytes)),
                (&LIMITS.answer_bytes, Arc::clone(&self.answer_bytes)),
            ],
        )
    }
}
