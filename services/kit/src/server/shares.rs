//! Who has how much of the service in use: in all, per channel, and per address while it is not
//! known which channel calls.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use metrics::Counter;

use super::limits::{LIMITS, ServerLimits};
use crate::identity::ChannelShare;
use crate::limits::{Levels, Quota};

/// What a service shares out.
#[derive(Debug)]
pub(super) struct Shares {
    pub(super) calls: Arc<Quota>,
    pub(super) streams: Arc<Quota>,
    pub(super) watches: Arc<Quota>,
    pub(super) request_bytes: Arc<Quota>,
    pub(super) answer_bytes: Arc<Quota>,
    limits: ServerLimits,
    reached: Reached,
    /// Only channels that exist get a share.
    channels: Mutex<HashMap<String, Arc<ChannelShare>>>,
}

/// Refusals of all shares of a kind are counted together.
#[derive(Debug)]
struct Reached {
    calls: Counter,
    streams: Counter,
    request_bytes: Counter,
    answer_bytes: Counter,
    unproved: Counter,
    watches: Counter,
    connection_watches: Counter,
}

/// What callers of one address have in use.
#[derive(Debug)]
pub(super) struct AddressShare {
    pub(super) unproved: Arc<Quota>,
    pub(super) watches: Arc<Quota>,
}

impl Shares {
    pub(super) fn new(service: &'static str, limits: ServerLimits) -> Self {
        let quota = |limit, most| Quota::new(service, limit, most);
        Self {
            calls: quota(&LIMITS.calls, limits.calls),
            streams: quota(&LIMITS.streams, limits.streams),
            watches: quota(&LIMITS.watches, limits.watches),
            request_bytes: quota(&LIMITS.request_bytes, limits.request_bytes),
            answer_bytes: quota(&LIMITS.answer_bytes, limits.answer_bytes),
            limits,
            reached: Reached {
                calls: LIMITS.channel_calls.reached(service),
                streams: LIMITS.channel_streams.reached(service),
                request_bytes: LIMITS.channel_request_bytes.reached(service),
                answer_bytes: LIMITS.channel_answer_bytes.reached(service),
                unproved: LIMITS.unproved_calls.reached(service),
                watches: LIMITS.address_watches.reached(service),
                connection_watches: LIMITS.connection_watches.reached(service),
            },
            channels: Mutex::default(),
        }
    }

    /// The share of a channel. Callers keep it beside the channel's record, so that this is not
    /// asked with each call.
    pub(super) fn of_channel(&self, channel_id: &str) -> Arc<ChannelShare> {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = channels.get(channel_id) {
            return Arc::clone(share);
        }
        let (limits, reached) = (&self.limits, &self.reached);
        let share = Arc::new(ChannelShare {
            calls: Quota::counted(limits.channel_calls, reached.calls.clone()),
            streams: Quota::counted(limits.channel_streams, reached.streams.clone()),
            request_bytes: Quota::counted(limits.channel_request_bytes, reached.request_bytes.clone()),
            answer_bytes: Quota::counted(limits.channel_answer_bytes, reached.answer_bytes.clone()),
        });
        channels.insert(channel_id.to_owned(), Arc::clone(&share));
        share
    }

    /// Counts a refusal on a connection that has too many calls without credentials open.
    pub(super) fn watched_too_much(&self) {
        self.reached.connection_watches.increment(1);
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
