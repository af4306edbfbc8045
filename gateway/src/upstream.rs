//! Calls to the services: encoded messages out, encoded messages back.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use http::uri::PathAndQuery;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::config::Config;
use crate::plan::{Owner, Route};

/// Largest reply: as much as the services send.
const LARGEST_REPLY: usize = 64 * 1024 * 1024;
/// A refusal can name a hundred fields in its trailers.
const LARGEST_TRAILERS: u32 = 256 * 1024;

/// The services.
#[derive(Debug)]
pub(crate) struct Upstreams {
    billing: Upstream,
    community: Upstream,
}

impl Upstreams {
    /// Connections are opened by the first call that needs them, and again when they break.
    pub(crate) fn new(config: &Config) -> Self {
        let upstream = |owner| Upstream::new(config, owner);
        Self { billing: upstream(Owner::Billing), community: upstream(Owner::Community) }
    }

    /// Calls the method of a route.
    pub(crate) async fn call(
        &self,
        route: &Route,
        metadata: MetadataMap,
        message: Bytes,
        deadline: Duration,
    ) -> Result<Bytes, Status> {
        let upstream = match route.owner {
            Owner::Billing => &self.billing,
            Owner::Community => &self.community,
        };
        let mut request = Request::from_parts(metadata, tonic::Extensions::default(), message);
        request.set_timeout(deadline);
        let path = route.grpc_path.clone();
        match tokio::time::timeout(deadline, upstream.call(request, path)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Status::deadline_exceeded("the service took too long")),
        }
    }
}

/// One service, by several connections in turn: a single one is served by one thread and is
/// held up by a large reply.
#[derive(Debug)]
struct Upstream {
    channels: Vec<Channel>,
    next: AtomicUsize,
}

impl Upstream {
    fn new(config: &Config, owner: Owner) -> Self {
        let endpoint = Endpoint::from(config.url(owner).clone())
            .tcp_nodelay(true)
            .connect_timeout(Duration::from_secs(2))
            .tcp_keepalive(Some(Duration::from_secs(30)))
            .http2_keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(10))
            .http2_max_header_list_size(LARGEST_TRAILERS);
        let channels = (0..config.limits.channels.max(1)).map(|_| endpoint.connect_lazy()).collect();
        Self { channels, next: AtomicUsize::new(0) }
    }

    async fn call(&self, request: Request<Bytes>, path: PathAndQuery) -> Result<Bytes, Status> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.channels.len();
        let mut client = Grpc::new(self.channels[turn].clone()).max_decoding_message_size(LARGEST_REPLY);
        client.ready().await.map_err(|error| Status::from_error(error.into()))?;
        Ok(client.unary(request, path, Encoded).await?.into_inner())
    }
}

/// Messages that stay encoded.
#[derive(Clone, Copy, Debug, Default)]
struct Encoded;

impl Codec for Encoded {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self::Encoder {
        Self
    }

    fn decoder(&mut self) -> Self::Decoder {
        Self
    }
}

impl Encoder for Encoded {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(message);
        Ok(())
    }
}

impl Decoder for Encoded {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(message.copy_to_bytes(message.remaining())))
    }
}
