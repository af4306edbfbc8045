//! Calls to the services: encoded messages out, encoded messages back.
//!
//! Calls are spread over the replicas of a service. A call that certainly did not reach the service is tried again, on
//! another replica if there is one. Any other failure may have happened after the service did its work, and is returned
//! to the client.

mod service_replicas;
mod transport;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use communal_kit::delivery::{Undelivered, undelivered};
use communal_kit::server::MOST_REPLY;
use http::uri::PathAndQuery;
use metrics::counter;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

use crate::config::Config;
use crate::plan::{Owner, Route};
use service_replicas::ServiceReplicas;
use transport::Transport;

/// Largest reply that is taken; the services are told.
const LARGEST_REPLY: usize = 64 * 1024 * 1024;
/// The most service replicas that are tried for a call that none of them accepts.
const MOST_REPLICAS_TRIED: usize = 4;

/// The services.
#[derive(Debug)]
pub(crate) struct Upstreams {
    billing: Upstream,
    community: Upstream,
}

impl Upstreams {
    /// The configured services. A connection is opened by the first call that needs it, and again after it broke.
    ///
    /// # Errors
    /// Returns an error if the certificates cannot be used.
    pub(crate) fn new(config: &Config) -> anyhow::Result<Self> {
        let upstream = |owner| Upstream::new(config, owner);
        Ok(Self { billing: upstream(Owner::Billing)?, community: upstream(Owner::Community)? })
    }

    /// Calls the method of a route.
    pub(crate) async fn call(
        &self,
        route: &Route,
        metadata: MetadataMap,
        message: Bytes,
        deadline: Duration,
    ) -> Result<Response<Bytes>, Status> {
        let upstream = match route.owner {
            Owner::Billing => &self.billing,
            Owner::Community => &self.community,
        };
        upstream.call(&route.grpc_path, &metadata, &message, deadline).await
    }
}

/// One service.
#[derive(Debug)]
struct Upstream {
    service: &'static str,
    replicas: ServiceReplicas,
}

impl Upstream {
    fn new(config: &Config, owner: Owner) -> anyhow::Result<Self> {
        let (service, urls) = match owner {
            Owner::Billing => ("billing", &config.billing_url),
            Owner::Community => ("community", &config.community_url),
        };
        let transport = Transport::new(config.channels, urls.tls().then_some(&config.tls))?;
        Ok(Self {
            service,
            replicas: ServiceReplicas::keep(service, urls, transport, service_replicas::by_system(), None),
        })
    }

    async fn call(
        &self,
        path: &PathAndQuery,
        metadata: &MetadataMap,
        message: &Bytes,
        deadline: Duration,
    ) -> Result<Response<Bytes>, Status> {
        match tokio::time::timeout(deadline, self.deliver(path, metadata, message, deadline)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Status::deadline_exceeded("the service took too long")),
        }
    }

    async fn deliver(
        &self,
        path: &PathAndQuery,
        metadata: &MetadataMap,
        message: &Bytes,
        deadline: Duration,
    ) -> Result<Response<Bytes>, Status> {
        let began = Instant::now();
        let (mut tried, mut unreachable): (Vec<SocketAddr>, Vec<SocketAddr>) = Default::default();
        let mut last = None;
        for attempt in 0..MOST_REPLICAS_TRIED {
            let known = self.replicas.known().await?;
            // A replica that turned a call away is stopping or wants a new connection; it is tried again only if there
            // is no other.
            let untried = self.replicas.pick(&known, &tried);
            let Some(replica) = untried.or_else(|| self.replicas.pick(&known, &unreachable)) else { break };
            if attempt > 0 {
                counter!("gateway_redelivered_calls_total", "service" => self.service).increment(1);
            }
            let mut request = Request::from_parts(metadata.clone(), tonic::Extensions::default(), message.clone());
            request.metadata_mut().insert(MOST_REPLY, LARGEST_REPLY.into());
            request.set_timeout(whole_milliseconds(deadline.saturating_sub(began.elapsed())));
            let status = match replica.call(request, path.clone()).await {
                Ok(reply) => return Ok(reply),
                Err(status) => status,
            };
            tried.push(replica.address);
            match undelivered(&status) {
                None => return Err(status),
                Some(Undelivered::Unreachable) => {
                    self.replicas.unreachable(replica);
                    unreachable.push(replica.address);
                }
                Some(Undelivered::TurnedAway) => {}
            }
            tracing::debug!(service = self.service, replica.address = %replica.address, error = %status, "a call was not delivered");
            last = Some(status);
        }
        // tonic has several codes for this; to the client they mean the same.
        let message = last.map_or_else(|| "there is no replica".to_owned(), |status| status.message().to_owned());
        Err(Status::unavailable(message))
    }
}

/// The remaining time in whole milliseconds: most calls have the same value, which the connection's header compression
/// then knows already.
fn whole_milliseconds(left: Duration) -> Duration {
    left - Duration::from_nanos(u64::from(left.subsec_nanos() % 1_000_000))
}

#[cfg(test)]
mod tests;
