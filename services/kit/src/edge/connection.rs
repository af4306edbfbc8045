//! A connection from its acceptance until it is closed.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper_util::server::graceful::GracefulConnection;
use tokio::sync::watch;
use tokio::time::Instant;
use tower::BoxError;

use super::{Patience, Place};

/// The interval at which a connection is checked.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The longest time until a connection without calls is closed after GOAWAY. A client that follows the
/// protocol answers within a round trip.
const GOAWAY_LIMIT: Duration = Duration::from_secs(1);

/// An accepted connection. `S` is shared by the callers of its address.
#[derive(Debug)]
pub struct Connection<S> {
    /// The number of open calls.
    open: AtomicU64,
    /// The number of open calls that only wait for events, so that a shutdown need not wait for them.
    watching: AtomicU64,
    /// The number of calls so far.
    begun: AtomicU64,
    place: Place<S>,
}

impl<S> Connection<S> {
    pub(super) fn new(place: Place<S>) -> Self {
        Self { open: AtomicU64::new(0), watching: AtomicU64::new(0), begun: AtomicU64::new(0), place }
    }

    /// Returns what the callers of the connection's address share.
    #[must_use]
    pub fn share(&self) -> &S {
        &self.place.address.share
    }

    /// Counts a call as open.
    pub fn begin(self: &Arc<Self>) -> Open<S> {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
        Open { connection: Arc::clone(self), watching: false }
    }

    /// Counts an open call as one that only waits for events, unless there are `most` of these already.
    #[must_use]
    pub fn watch(self: &Arc<Self>, most: u64) -> Option<Open<S>> {
        if self.watching.fetch_add(1, Ordering::Relaxed) >= most {
            self.watching.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Open { connection: Arc::clone(self), watching: true })
    }

    fn is_quiet(&self) -> bool {
        self.open.load(Ordering::Relaxed) <= self.watching.load(Ordering::Relaxed)
    }
}

/// An open call; dropping it ends it.
#[derive(Debug)]
pub struct Open<S> {
    connection: Arc<Connection<S>>,
    watching: bool,
}

impl<S> Drop for Open<S> {
    fn drop(&mut self) {
        let count = if self.watching { &self.connection.watching } else { &self.connection.open };
        count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Serves a connection until it ends, is idle for too long, is too old, or the process stops. In the
/// last three cases the client gets GOAWAY and open calls end; a client that does not answer is not
/// waited for.
pub async fn drive<S, C: GracefulConnection>(
    serving: C,
    connection: &Connection<S>,
    patience: &Patience,
    mut stopping: watch::Receiver<bool>,
) where
    C::Error: Into<BoxError>,
{
    let mut serving = pin!(serving);
    let accepted = Instant::now();
    let (mut begun, mut idle_since) = (0, accepted);
    let (mut told, mut quiet_since) = (false, accepted);
    let look = CHECK_INTERVAL
        .min(patience.idle / 2)
        .min(patience.age.map_or(CHECK_INTERVAL, |age| age / 2))
        .max(Duration::from_millis(5));
    loop {
        tokio::select! {
            ended = serving.as_mut() => {
                if let Err(error) = ended {
                    let error: BoxError = error.into();
                    tracing::debug!(error = %error, "connection broke");
                }
                return;
            }
            _ = stopping.wait_for(|stopping| *stopping), if !told => {
                told = true;
                quiet_since = Instant::now();
                serving.as_mut().graceful_shutdown();
            }
            () = tokio::time::sleep(look) => {}
        }
        let now = Instant::now();
        if !connection.is_quiet() {
            (idle_since, quiet_since) = (now, now);
        } else if told && now - quiet_since >= GOAWAY_LIMIT {
            return;
        }
        let ever = connection.begun.load(Ordering::Relaxed);
        if ever != begun {
            (begun, idle_since) = (ever, now);
        }
        let too_old = patience.age.is_some_and(|age| now - accepted >= age);
        if !told && (too_old || now - idle_since >= patience.idle) {
            told = true;
            quiet_since = now;
            serving.as_mut().graceful_shutdown();
        }
    }
}
