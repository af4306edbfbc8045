//! The edge of a process: connections of clients, and what they cost while nothing comes.
//!
//! Both the services and the gateway accept connections here. Connections are bounded in all and
//! per address; one that does not greet, makes no call, or takes no answer is closed; and none
//! that is idle stretches a stop. What a caller of one address has in use is counted beside its
//! connections, so that there is a share before credentials are known.

mod answer;
mod arriving;
mod connection;
mod io;
mod streams;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::Counter;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::limits::{Hold, Levels, Limit, Quota};

pub use answer::{Answer, PIECE};
pub use arriving::{Late, Progress};
pub use connection::{Connection, Open, drive};
pub use io::Timed;
pub use streams::{Streams, cut_off_at};

/// Pause after a connection could not be accepted: there is no file descriptor left, most likely.
const PAUSE: Duration = Duration::from_millis(50);

/// How long connections may do nothing.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Longest time for the greeting: the TLS handshake, and the first bytes of HTTP.
    pub greeting: Duration,
    /// Longest time without a call.
    pub idle: Duration,
    /// Longest time in which nothing of an answer is taken.
    pub stall: Duration,
    /// How long a connection lives, so that clients notice new replicas; `None`: no bound.
    pub age: Option<Duration>,
}

/// The limits that an [`Edge`] counts by, as declared.
#[derive(Clone, Copy, Debug)]
pub struct EdgeLimits {
    /// Connections in all.
    pub connections: &'static Limit,
    /// Connections of one address.
    pub connections_per_address: &'static Limit,
    /// See [`Patience::greeting`].
    pub greeting: &'static Limit,
    /// See [`Patience::stall`].
    pub stall: &'static Limit,
}

/// See the module. `S` is what callers of one address share.
pub struct Edge<S> {
    connections: Arc<Quota>,
    most_per_address: usize,
    refused_per_address: Counter,
    patience: Patience,
    late_greetings: Counter,
    stalled: Counter,
    addresses: Addresses<S>,
    share: Box<dyn Fn() -> S + Send + Sync>,
}

impl<S> std::fmt::Debug for Edge<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Edge").field("connections", &self.connections).finish_non_exhaustive()
    }
}

/// What is known of the addresses that have connections.
type Addresses<S> = Arc<Mutex<HashMap<IpAddr, Arc<Address<S>>>>>;

/// What callers of one address have in use.
#[derive(Debug)]
struct Address<S> {
    connections: Arc<Quota>,
    share: S,
}

/// A connection's place among all and among those of its address.
struct Place<S> {
    key: IpAddr,
    address: Arc<Address<S>>,
    addresses: Addresses<S>,
    of_address: Option<Hold>,
    _of_all: Hold,
}

impl<S> std::fmt::Debug for Place<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Place").field("key", &self.key).finish_non_exhaustive()
    }
}

impl<S> Drop for Place<S> {
    fn drop(&mut self) {
        let mut addresses = lock(&self.addresses);
        drop(self.of_address.take());
        if self.address.connections.used() == 0 {
            addresses.remove(&self.key);
        }
    }
}

fn lock<S>(addresses: &Addresses<S>) -> MutexGuard<'_, HashMap<IpAddr, Arc<Address<S>>>> {
    addresses.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S: Send + Sync + 'static> Edge<S> {
    /// Creates the edge of a service. `share` makes what callers of an address share.
    #[must_use]
    pub fn new(
        service: &'static str,
        limits: EdgeLimits,
        (connections, per_address): (usize, usize),
        patience: Patience,
        share: impl Fn() -> S + Send + Sync + 'static,
    ) -> Self {
        Self {
            connections: Quota::new(service, limits.connections, connections),
            most_per_address: per_address,
            refused_per_address: limits.connections_per_address.reached(service),
            patience,
            late_greetings: limits.greeting.reached(service),
            stalled: limits.stall.reached(service),
            addresses: Arc::default(),
            share: Box::new(share),
        }
    }

    /// How long connections may do nothing.
    #[must_use]
    pub fn patience(&self) -> &Patience {
        &self.patience
    }

    /// The quota of connections in all.
    #[must_use]
    pub fn connections(&self) -> &Arc<Quota> {
        &self.connections
    }

    /// Waits for the next connection that there is room for. Others are closed at once.
    async fn accept(&self, listener: &TcpListener) -> (TcpStream, Arc<Connection<S>>) {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    if let Some(place) = self.place(peer.ip()) {
                        // Without it a small answer waits for the client's delayed acknowledgement.
                        let _ = stream.set_nodelay(true);
                        return (stream, Arc::new(Connection::new(place)));
                    }
                }
                Err(error) => {
                    tracing::warn!(error = %error, "cannot accept a connection");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Accepts until it is stopping, then waits until every connection has ended. Dropping this drops
    /// the connections.
    pub async fn serve<F>(
        &self,
        listener: TcpListener,
        stopping: watch::Receiver<bool>,
        handle: impl Fn(TcpStream, Arc<Connection<S>>, watch::Receiver<bool>) -> F,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut connections = JoinSet::new();
        let mut stop = stopping.clone();
        loop {
            tokio::select! {
                (stream, connection) = self.accept(&listener) => {
                    connections.spawn(handle(stream, connection, stopping.clone()));
                }
                Some(_) = connections.join_next() => {}
                _ = stop.wait_for(|stopping| *stopping) => break,
            }
        }
        // New clients are told that nobody listens, and do not wait.
        drop(listener);
        while connections.join_next().await.is_some() {}
    }

    fn place(&self, peer: IpAddr) -> Option<Place<S>> {
        let of_all = self.connections.take(1)?;
        let key = of_one_caller(peer);
        let mut addresses = lock(&self.addresses);
        let address = addresses.entry(key).or_insert_with(|| {
            let connections = Quota::counted(self.most_per_address, self.refused_per_address.clone());
            Arc::new(Address { connections, share: (self.share)() })
        });
        let address = Arc::clone(address);
        let of_address = Some(address.connections.take(1)?);
        drop(addresses);
        Some(Place { key, address, addresses: Arc::clone(&self.addresses), of_address, _of_all: of_all })
    }

    /// Bytes of a connection within its times for greeting and for taking answers.
    pub fn timed<T>(&self, stream: T) -> Timed<T> {
        Timed::new(stream, &self.patience, self.late_greetings.clone(), self.stalled.clone())
    }

    /// Carries out the HTTP/2 streams of a connection.
    pub fn streams(&self, connection: &Arc<Connection<S>>) -> Streams<S> {
        Streams::new(Arc::clone(connection), self.stalled.clone())
    }

    /// Counts a greeting that did not come in time.
    pub fn greeted_late(&self) {
        self.late_greetings.increment(1);
    }
}

/// Measures levels every second until aborted.
pub async fn keep_measuring(levels: Levels) {
    loop {
        levels.measure();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Who has one address of IPv6 has a network of them, of 64 bits at least.
fn of_one_caller(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_network_of_addresses_is_one_caller() {
        let key = |text: &str| of_one_caller(text.parse().unwrap()).to_string();
        assert_eq!(key("2001:db8:1:2:3:4:5:6"), key("2001:db8:1:2::9"));
        assert_ne!(key("2001:db8:1:3::9"), key("2001:db8:1:2::9"));
        assert_eq!(key("::ffff:10.0.0.1"), "10.0.0.1");
    }

    #[test]
    fn connections_are_bounded_in_all_and_per_address_and_forgotten_when_they_end() {
        static LIMIT: Limit = Limit::count("connections", 3, "", "");
        let limits =
            EdgeLimits { connections: &LIMIT, connections_per_address: &LIMIT, greeting: &LIMIT, stall: &LIMIT };
        let second = Duration::from_secs(1);
        let patience = Patience { greeting: second, idle: second, stall: second, age: None };
        let edge = Edge::new("kit", limits, (3, 2), patience, || ());
        let place = |last: u8| edge.place(IpAddr::from([10, 0, 0, last]));
        let (first, second) = (place(1).unwrap(), place(1).unwrap());
        assert!(place(1).is_none(), "more than its share");
        let other = place(2).unwrap();
        assert!(place(3).is_none(), "more than there are");
        drop((first, other));
        assert_eq!(lock(&edge.addresses).len(), 1);
        drop(second);
        assert!(lock(&edge.addresses).is_empty() && edge.connections.used() == 0);
    }
}
