//! A gateway in front of a service of the test: the service answers every gRPC method as the test says, and keeps the
//! calls that it received.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use communal_gateway::plan::Contract;
use communal_gateway::{Config, ServiceUrls, bind_contract};
use communal_proto::contract::v1::{FaultKind, TranscodingFaults};
use communal_proto::raw_codec::RawCodec;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::sync::oneshot;
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// A call that the service received.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) method: String,
    pub(crate) metadata: MetadataMap,
    pub(crate) message: Bytes,
}

impl Received {
    pub(crate) fn header(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn message<M: Message + Default>(&self) -> M {
        M::decode(self.message.clone()).unwrap()
    }

    pub(crate) fn faults(&self) -> Vec<(String, FaultKind)> {
        let Some(value) = self.metadata.get_bin("x-transcoding-faults-bin") else { return Vec::new() };
        let faults = TranscodingFaults::decode(value.to_bytes().unwrap()).unwrap();
        faults.faults.into_iter().map(|fault| (fault.field.clone(), fault.kind())).collect()
    }

    pub(crate) fn signature_states(&self) -> Vec<Vec<u8>> {
        let values = self.metadata.get_all_bin("x-signature-states-bin").iter();
        values.map(|value| value.to_bytes().unwrap().to_vec()).collect()
    }
}

pub(crate) type Outcome = Pin<Box<dyn Future<Output = Result<Bytes, Status>> + Send>>;
type Answer = Arc<dyn Fn(Received) -> Outcome + Send + Sync>;

/// A gateway, its service and a client.
pub(crate) struct Rig {
    pub(crate) url: String,
    pub(crate) addr: SocketAddr,
    pub(crate) admin: String,
    pub(crate) client: reqwest::Client,
    received: Arc<Mutex<Vec<Received>>>,
    pub(crate) stop: Option<oneshot::Sender<()>>,
    pub(crate) ended: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl Rig {
    /// The service answers every call with this message.
    pub(crate) async fn replying(reply: impl Message) -> Self {
        let reply = Bytes::from(reply.encode_to_vec());
        Self::new(Contract::load().unwrap(), Config::default(), move |_| Ok(reply.clone())).await
    }

    /// The service refuses every call.
    pub(crate) async fn refusing(status: impl Fn() -> Status + Send + Sync + 'static) -> Self {
        Self::new(Contract::load().unwrap(), Config::default(), move |_| Err(status())).await
    }

    /// The service answers each call as a function says.
    pub(crate) async fn new(
        contract: Contract,
        config: Config,
        answer: impl Fn(Received) -> Result<Bytes, Status> + Send + Sync + 'static,
    ) -> Self {
        let answer = Arc::new(answer);
        Self::slow(contract, config, move |received| {
            let answer = Arc::clone(&answer);
            Box::pin(async move { answer(received) })
        })
        .await
    }

    /// The service answers when the future of the test ends.
    pub(crate) async fn slow(
        contract: Contract,
        config: Config,
        answer: impl Fn(Received) -> Outcome + Send + Sync + 'static,
    ) -> Self {
        let received = Arc::new(Mutex::new(Vec::new()));
        let service = serve(Arc::clone(&received), Arc::new(answer)).await;
        let url = ServiceUrls::of_address(service);
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let config = Config { addr: any, admin_addr: any, billing_url: url.clone(), community_url: url, ..config };
        Self::without_service(contract, config, received).await
    }

    /// A gateway whose service the test runs itself, or not at all.
    pub(crate) async fn without_service(
        contract: Contract,
        config: Config,
        received: Arc<Mutex<Vec<Received>>>,
    ) -> Self {
        let bound = bind_contract(contract, config).await.unwrap();
        let (addr, admin) = (bound.addr, bound.admin_addr);
        let (stop, stopped) = oneshot::channel();
        let ended = tokio::spawn(bound.serve(async move { drop(stopped.await) }));
        Self {
            url: format!("http://{addr}"),
            addr,
            admin: format!("http://{admin}"),
            client: reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap(),
            received,
            stop: Some(stop),
            ended,
        }
    }

    /// The calls that the service received.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// The only call that the service received.
    pub(crate) fn call(&self) -> Received {
        let mut received = self.received();
        assert_eq!(received.len(), 1, "{received:?}");
        received.remove(0)
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> Reply {
        Reply::of(self.client.post(format!("{}{path}", self.url)).body(body)).await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        Reply::of(self.client.get(format!("{}{path}", self.url))).await
    }
}

/// The answer that the client received.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) text: String,
}

impl Reply {
    pub(crate) async fn of(request: reqwest::RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Self { status, headers, text: response.text().await.unwrap() }
    }

    pub(crate) fn header(&self, key: &str) -> &str {
        self.headers.get(key).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }
}

/// A refusal in the form that the services give it.
pub(crate) fn refusal(code: Code, domain: &str, reason: &str, words: &str) -> Status {
    let mut details = ErrorDetails::new();
    details.set_error_info(reason, domain, []).set_localized_message("zh-CN", words);
    Status::with_error_details(code, "refused", details)
}

async fn serve(received: Arc<Mutex<Vec<Received>>>, answer: Answer) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            let (received, answer) = (Arc::clone(&received), Arc::clone(&answer));
            let service = service_fn(move |request: http::Request<Incoming>| {
                let method = request.uri().path().to_owned();
                let handler = Handler { method, received: Arc::clone(&received), answer: Arc::clone(&answer) };
                async move {
                    let mut grpc = tonic::server::Grpc::new(RawCodec).max_decoding_message_size(64 << 20);
                    Ok::<_, Infallible>(grpc.unary(handler, request).await)
                }
            });
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
        }
    });
    addr
}

struct Handler {
    method: String,
    received: Arc<Mutex<Vec<Received>>>,
    answer: Answer,
}

impl tonic::server::UnaryService<Bytes> for Handler {
    type Response = Bytes;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Bytes>, Status>> + Send>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let (metadata, _, message) = request.into_parts();
        let received = Received { method: self.method.clone(), metadata, message };
        self.received.lock().unwrap().push(received.clone());
        let limit = received.metadata.get("x-max-staleness-ms").cloned();
        let replayed = received.metadata.get("idempotency-key").is_some_and(|key| key == "replayed");
        let answer = (self.answer)(received);
        Box::pin(async move {
            let mut response = Response::new(answer.await?);
            // The answer is exactly as old as the caller allows.
            if let Some(limit) = limit {
                response.metadata_mut().insert("x-data-staleness-ms", limit);
            }
            if replayed {
                response.metadata_mut().insert("idempotent-replayed", "true".parse().unwrap());
            }
            Ok(response)
        })
    }
}

/// The contract of the fixture, with every shape there is.
pub(crate) fn fixture() -> Contract {
    let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut compiler = protox::Compiler::new([here.join("tests/contract"), here.join("../proto")]).unwrap();
    compiler.include_imports(true).include_source_info(true);
    compiler.open_files(["communal/billing/v9/shapes.proto"]).unwrap();
    Contract::compile(&compiler.encode_file_descriptor_set()).unwrap()
}

/// The longest wait for anything that should happen soon.
pub(crate) const SOON: Duration = Duration::from_secs(10);
