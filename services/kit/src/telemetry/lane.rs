//! A channel's shares of what its calls wait for. They belong to the context of a call, so that whatever task does the
//! call's work counts against them.

use std::sync::Arc;
use std::time::Duration;

use metrics::Counter;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What the calls of one channel wait for, each in a queue of the channel's own.
#[derive(Debug)]
pub struct Lanes {
    /// Database connections.
    pub connections: Lane,
    /// Queries whose answers grow with all that a company has.
    pub large_queries: Lane,
}

/// One caller's share of a resource. A caller that uses all of its share waits in its own queue, so it does not delay
/// others.
#[derive(Debug)]
pub struct Lane {
    places: Arc<Semaphore>,
    reached: Counter,
}

impl Lane {
    /// Creates a lane with this many places; `reached` counts waits that ended without one.
    #[must_use]
    pub fn new(places: usize, reached: Counter) -> Self {
        reached.increment(0);
        Self { places: Arc::new(Semaphore::new(places.clamp(1, Semaphore::MAX_PERMITS))), reached }
    }

    /// Waits for a place; `None` if none is free in time.
    pub async fn enter(&self, patience: Duration) -> Option<OwnedSemaphorePermit> {
        let places = || Arc::clone(&self.places);
        if let Ok(place) = places().try_acquire_owned() {
            return Some(place);
        }
        match tokio::time::timeout(patience, places().acquire_owned()).await {
            Ok(Ok(place)) => Some(place),
            _ => {
                self.reached.increment(1);
                None
            }
        }
    }
}
