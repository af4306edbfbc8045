//! A gRPC client for what h2load cannot send: streams, and calls that differ from one to the
//! next. Messages are encoded before the clock starts and replies are not decoded.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::Context;
use bytes::{Buf, BufMut, Bytes};
use http::uri::PathAndQuery;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::load::Load;

/// Messages as they are on the wire.
#[derive(Clone, Copy, Debug, Default)]
pub struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, source: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(source.copy_to_bytes(source.remaining())))
    }
}

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
    /// Nobody answers.
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

    /// One call.
    ///
    /// # Errors
    /// What the service refuses it with.
    pub async fn call(&self, path: &'static str, metadata: &Metadata, message: Bytes) -> Result<Bytes, Status> {
        let mut request = Request::new(message);
        write_metadata(request.metadata_mut(), metadata)?;
        let reply = self.ready().await?.unary(request, PathAndQuery::from_static(path), Raw).await?;
        Ok(reply.into_inner())
    }

    /// One call that sends a stream.
    ///
    /// # Errors
    /// What the service refuses it with.
    pub async fn send_stream(
        &self,
        path: &'static str,
        metadata: &Metadata,
        messages: Vec<Bytes>,
    ) -> Result<Bytes, Status> {
        let mut request = Request::new(tokio_stream::iter(messages));
        write_metadata(request.metadata_mut(), metadata)?;
        let reply = self.ready().await?.client_streaming(request, PathAndQuery::from_static(path), Raw).await?;
        Ok(reply.into_inner())
    }

    /// One call that is answered by a stream; gives each message to `take` and drops it.
    ///
    /// # Errors
    /// What the service refuses it with.
    pub async fn take_stream(
        &self,
        path: &'static str,
        metadata: &Metadata,
        message: Bytes,
        mut take: impl FnMut(Bytes),
    ) -> Result<(), Status> {
        let mut request = Request::new(message);
        write_metadata(request.metadata_mut(), metadata)?;
        let reply = self.ready().await?.server_streaming(request, PathAndQuery::from_static(path), Raw).await?;
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

/// Makes calls 0 to `calls` by `connections` callers, each waiting for its answer before it
/// sends the next, as the clients of pgbench do.
///
/// # Errors
/// The first refusal.
pub async fn drive(
    address: &str,
    path: &'static str,
    connections: u32,
    calls: u64,
    make: impl Fn(u64) -> (Metadata, Bytes) + Send + Sync + 'static,
) -> anyhow::Result<Load> {
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
    Ok(Load { operations: calls as f64, rate: calls as f64 / start.elapsed().as_secs_f64() })
}
