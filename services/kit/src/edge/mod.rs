//! The edge of a process: the connections of its clients, and the limits of idle ones.
//!
//! Both the services and the gateway accept connections here. Connections are limited in all and per
//! address. A connection that sends no first bytes, makes no call or takes no answer is closed, and an
//! idle one does not delay a shutdown. The resources of the callers of an address are counted with its
//! connections, so that each address has a share before credentials are known.

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

/// The pause after a connection could not be accepted, most likely because no file descriptor is free.
const PAUSE: Duration = Duration::from_millis(50);

/// The times for which connections may be idle.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// The longest time until the TLS handshake is complete and the first bytes of HTTP have arrived.
    pub greeting: Duration,
    /// The longest time without a call.
    pub idle: Duration,
    /// The longest time in which a client takes nothing of an answer.
    pub stall: Duration,
    /// The longest life of a connection, so that clients find new replicas; `None` for no limit.
    pub age: Option<Duration>,
}

/// The declared limits of an [`Edge`].
#[derive(Clone, Copy, Debug)]
pub struct EdgeLimits {
    /// The limit of all connections.
    pub connections: &'static Limit,
    /// The limit of the connections of one address.
    pub connections_per_address: &'static Limit,
    /// See [`Patience::greeting`].
    pub greeting: &'static Limit,
    /// See [`Patience::stall`].
    pub stall: &'static Limit,
}

/// The connections of a process. `S` is shared by the callers of an address.
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

/// The addresses that have connections.
type Addresses<S> = Arc<Mutex<HashMap<IpAddr, Arc<Address<S>>>>>;

/// The resources that callers of one address use.
#[derive(Debug)]
struct Address<S> {
    connections: Arc<Quota>,
    share: S,
}

/// A connection's part of the two limits of connections.
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
    /// Creates the edge of a service. `share` creates what the callers of an address share.
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

    /// Returns the times for which connections may be idle.
    #[must_use]
    pub fn patience(&self) -> &Patience {
        &self.patience
    }

    /// Returns the quota of all connections.
    #[must_use]
    pub fn connections(&self) -> &Arc<Quota> {
        &self.connections
    }

    /// Waits for the next connection within the limits. Connections beyond them are closed at once.
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

    /// Accepts connections until `stopping`, then waits until every connection has ended. Dropping this
    /// future drops the connections.
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
        // Connections of new clients are refused at once; they do not wait.
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

    /// Wraps the stream of a connection with the deadlines for first bytes and for writes.
    pub fn timed<T>(&self, stream: T) -> Timed<T> {
        Timed::new(stream, &self.patience, self.late_greetings.clone(), self.stalled.clone())
    }

    /// Returns the executor of the HTTP/2 streams of a connection.
    pub fn streams(&self, connection: &Arc<Connection<S>>) -> Streams<S> {
        Streams::new(Arc::clone(connection), self.stalled.clone())
    }

    /// Counts a connection whose first bytes came too late.
    pub fn greeted_late(&self) {
        self.late_greetings.increment(1);
    }
}

/// Updates the gauges every second, forever.
pub async fn keep_measuring(levels: Levels) {
    loop {
        levels.measure();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Returns the network of an IPv6 address. Whoever has one IPv6 address has at least a network of 64
/// bits.
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
