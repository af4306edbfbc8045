//! The share of each address in what the gateway has: places for calls, memory for bodies and for answers.

use std::sync::Arc;

use communal_kit::limits::{Levels, Limit, Quota, Shared};
use communal_kit::telemetry::lane::Lane;

use crate::config::{LIMITS, Limits};

const SERVICE: &str = "gateway";

/// The resources that all callers share.
#[derive(Debug)]
pub(crate) struct Shares {
    pub(crate) calls: Arc<Quota>,
    pub(crate) bodies: Arc<Quota>,
    pub(crate) body_memory: Arc<Quota>,
    pub(crate) answers: Arc<Quota>,
}

/// The resources that the callers of one address use.
#[derive(Debug)]
pub(crate) struct AddressShare {
    pub(crate) calls: Arc<Quota>,
    pub(crate) bodies: Arc<Quota>,
    pub(crate) body_memory: Arc<Quota>,
    pub(crate) answers: Arc<Quota>,
    /// Large bodies and replies that are transcoded.
    pub(crate) transcodings: Lane,
}

fn quota(limit: &Limit, most: usize) -> Arc<Quota> {
    Quota::new(SERVICE, limit, most)
}

impl Shares {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            calls: quota(&LIMITS.concurrent_calls, limits.concurrent_calls),
            bodies: quota(&LIMITS.bodies, limits.bodies),
            body_memory: quota(&LIMITS.body_memory_bytes, limits.body_memory_bytes),
            answers: quota(&LIMITS.answer_bytes, limits.answer_bytes),
        }
    }

    /// Takes a place for a call.
    pub(crate) fn call(&self, share: &AddressShare) -> Option<Shared> {
        Shared::take(&self.calls, &share.calls, 1)
    }

    /// Returns whether another call is within the limit; a refusal is counted.
    pub(crate) fn has_place(&self, share: &AddressShare) -> bool {
        let full = [&share.calls, &self.calls].into_iter().find(|quota| !quota.has_room());
        full.inspect(|quota| quota.refuse()).is_none()
    }

    pub(crate) fn levels(&self, connections: &Arc<Quota>) -> Levels {
        Levels::new(
            SERVICE,
            vec![
                (&LIMITS.connections, Arc::clone(connections)),
                (&LIMITS.concurrent_calls, Arc::clone(&self.calls)),
                (&LIMITS.bodies, Arc::clone(&self.bodies)),
                (&LIMITS.body_memory_bytes, Arc::clone(&self.body_memory)),
                (&LIMITS.answer_bytes, Arc::clone(&self.answers)),
            ],
        )
    }
}

impl AddressShare {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            calls: quota(&LIMITS.address_calls, limits.address_calls),
            bodies: quota(&LIMITS.address_bodies, limits.address_bodies),
            body_memory: quota(&LIMITS.address_body_memory_bytes, limits.address_body_memory_bytes),
            answers: quota(&LIMITS.address_answer_bytes, limits.address_answer_bytes),
            transcodings: Lane::new(limits.address_transcodings, LIMITS.address_transcodings.reached(SERVICE)),
        }
    }
}
