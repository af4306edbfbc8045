//! Calls whose answers are compared byte for byte, as they are on the wire.

use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use communal_proto::raw_codec::RawCodec;
use http::uri::PathAndQuery;
use prost::Message;
use serde_json::Value;
use tonic::client::Grpc;
use tonic::metadata::MetadataMap;
use tonic::{Request, Status};

use crate::clients::Clients;
use crate::deployment::{Kind, Slot};

/// Longest wait for an answer.
const LIMIT: Duration = Duration::from_secs(20);

/// A call.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) name: &'static str,
    way: Way,
}

#[derive(Clone, Debug)]
enum Way {
    Rest { path: String, head: Vec<(&'static str, String)>, body: Option<String> },
    Grpc { kind: Kind, path: &'static str, head: MetadataMap, message: Bytes, streams: bool },
}

impl Call {
    /// A REST call with a body.
    pub(crate) fn post(name: &'static str, path: &str, head: &[(&'static str, String)], body: &Value) -> Self {
        let way = Way::Rest { path: path.to_owned(), head: head.to_vec(), body: Some(body.to_string()) };
        Self { name, way }
    }

    /// A REST call without a body.
    pub(crate) fn get(name: &'static str, path: String, head: &[(&'static str, String)]) -> Self {
        Self { name, way: Way::Rest { path, head: head.to_vec(), body: None } }
    }

    /// A gRPC call.
    pub(crate) fn grpc<M: Message>(
        name: &'static str,
        kind: Kind,
        path: &'static str,
        request: Result<Request<M>, Status>,
    ) -> anyhow::Result<Self> {
        let (head, _, message) = request?.into_parts();
        let message = message.encode_to_vec().into();
        Ok(Self { name, way: Way::Grpc { kind, path, head, message, streams: false } })
    }

    /// The same call with a stream as its answer.
    pub(crate) fn streaming(mut self) -> Self {
        if let Way::Grpc { streams, .. } = &mut self.way {
            *streams = true;
        }
        self
    }

    /// Makes the call and returns the bytes of its answer: over REST with the HTTP status before them, of a stream all
    /// messages one after the other.
    pub(crate) async fn make(&self, clients: &Clients, gateway: &Slot) -> anyhow::Result<Vec<u8>> {
        let answer = async {
            match &self.way {
                Way::Rest { path, head, body } => {
                    let url = format!("http://{}{path}", gateway.address);
                    let mut request = match body {
                        Some(body) => clients.http.post(url).body(body.clone()),
                        None => clients.http.get(url),
                    };
                    for (name, value) in head {
                        request = request.header(*name, value);
                    }
                    let response = request.send().await?;
                    let mut answer = format!("{}\n", response.status()).into_bytes();
                    answer.extend_from_slice(&response.bytes().await?);
                    Ok(answer)
                }
                Way::Grpc { kind, path, head, message, streams } => {
                    let mut client = Grpc::new(clients.channel(*kind)?).max_decoding_message_size(64 * 1024 * 1024);
                    client.ready().await?;
                    let request = Request::from_parts(head.clone(), tonic::Extensions::default(), message.clone());
                    let path = PathAndQuery::from_static(path);
                    if !streams {
                        return Ok(client.unary(request, path, RawCodec).await?.into_inner().to_vec());
                    }
                    let mut stream = client.server_streaming(request, path, RawCodec).await?.into_inner();
                    let mut answer = Vec::new();
                    while let Some(message) = stream.message().await? {
                        answer.extend_from_slice(&message);
                    }
                    Ok::<_, anyhow::Error>(answer)
                }
            }
        };
        tokio::time::timeout(LIMIT, answer)
            .await
            .with_context(|| format!("{}: no answer", self.name))?
            .context(self.name)
    }
}
