//! A gRPC client for calls that h2load cannot make: streams, and calls of which each is another one. Messages are encoded
//! before the clock starts and replies are not decoded.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::Context;
use bytes::Bytes;
use communal_proto::raw_codec::RawCodec;
use http::uri::PathAndQuery;
use tonic::client::Grpc;
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::arithmetic::Throughput;

/// Metadata of a call.
pub type Metadata = Vec<(String, String)>;

/// A connection to a service.
#[derive(Clone, Debug)]
pub struct Client {
    channel: Channel,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// Returns an error if nothing listens there.
    pub async fn connect(address: &str) -> anyhow::Result<Self> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?
            .initial_connection_window_size(8 << 20)
            .initial_stream_window_size(4 << 20);
        let channel = endpoint.connect().await.with_context(|| format!("{address} does not answer"))?;
        Ok(Self { channel })
    }

    async fn ready(&self) -> Result<Grpc<Channel>, Status> {
        let mut grpc = Grpc::new(self.channel.clone()).max_decoding_message_size(64 << 20);
        grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        Ok(grpc)
    }

    /// Makes a call.
    ///
    /// # Errors
    /// Returns the refusal of the service.
    pub async fn call(&self, path: &'static str, metadata: &Metadata, message: Bytes) -> Result<Bytes, Status> {
        let mut request = Request::new(message);
        write_metadata(request.metadata_mut(), metadata)?;
        let reply = self.ready().await?.unary(request, PathAndQuery::from_static(path), RawCodec).await?;
        Ok(reply.into_inner())
    }

    /// Makes a call that sends a stream.
    ///
    /// # Errors
    /// Returns the refusal of the service.
    pub async fn send_stream(
        &self,
        path: &'static str,
        metadata: &Metadata,
        messages: Vec<Bytes>,
    ) -> Result<Bytes, Status> {
        let mut request = Request::new(tokio_stream::iter(messages));
        write_metadata(request.metadata_mut(), metadata)?;
        let reply = self.ready().await?.client_streaming(request, PathAndQuery::from_static(path), RawCodec).await?;
        Ok(reply.into_inner())
    }

    /// Makes a call that is answered by a stream, and passes each message to `take`.
    ///
    /// # Errors
    /// Returns the refusal of the service.
    pub async fn take_stream(
        &self,
        path: &'static str,
        metadata: &Metadata,
        message: Bytes,
        mut take: impl FnMut(Bytes),
    ) -> Result<(), Status> {
        let mut request = Request::new(message);
        write_metadata(request.metadata_mut(), metadata)?;
        let reply = self.ready().await?.server_streaming(request, PathAndQuery::from_static(path), RawCodec).await?;
        let mut stream = reply.into_inner();
        while let Some(message) = stream.message().await? {
            take(message);
        }
        Ok(())
    }
}

fn write_metadata(map: &mut tonic::metadata::MetadataMap, metadata: &Metadata) -> Result<(), Status> {
    for (key, value) in metadata {
        let invalid = || Status::invalid_argument(format!("{key} cannot be sent"));
        let key = AsciiMetadataKey::from_bytes(key.as_bytes()).map_err(|_| invalid())?;
        map.insert(key, AsciiMetadataValue::try_from(value.as_str()).map_err(|_| invalid())?);
    }
    Ok(())
}

/// Makes calls 0 to `calls` with `connections` callers. Each waits for its answer before it sends the next call, as the
/// clients of pgbench do.
///
/// # Errors
/// Returns the first refusal.
pub async fn drive(
    address: &str,
    path: &'static str,
    connections: u32,
    calls: u64,
    make: impl Fn(u64) -> (Metadata, Bytes) + Send + Sync + 'static,
) -> anyhow::Result<Throughput> {
    let (next, make) = (Arc::new(AtomicU64::new(0)), Arc::new(make));
    let mut callers = Vec::new();
    for _ in 0..connections {
        callers.push(Client::connect(address).await?);
    }
    let start = Instant::now();
    let tasks: Vec<_> = callers
        .into_iter()
        .map(|client| {
            let (next, make) = (next.clone(), make.clone());
            tokio::spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= calls {
                        return Ok::<(), Status>(());
                    }
                    let (metadata, message) = make(number);
                    client.call(path, &metadata, message).await?;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await?.with_context(|| format!("{path} was refused"))?;
    }
    Ok(Throughput { operations: calls as f64, rate: calls as f64 / start.elapsed().as_secs_f64() })
}
