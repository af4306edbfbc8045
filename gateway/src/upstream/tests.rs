//! Replicas that appear, stop, die and refuse, each a gRPC server on its own port. The calls of these tests are health
//! checks, because the health status of a replica identifies it.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex};

use communal_fixtures::tls::{Authority, Folder};
use communal_kit::tls::PemFiles;
use prost::Message as _;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::Code;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Certificate, Identity, ServerTlsConfig};
use tonic_health::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::service_replicas::Resolve;
use super::*;
use crate::service_urls::ServiceUrls;

/// The addresses that a name resolves to; tests change them.
type Addresses = Arc<Mutex<Vec<SocketAddr>>>;

fn upstream(addresses: &Addresses) -> Upstream {
    upstream_by(addresses, "http://billing:50051", None)
}

fn upstream_by(addresses: &Addresses, url: &str, tls: Option<&PemFiles>) -> Upstream {
    let addresses = Arc::clone(addresses);
    let resolve: Resolve = Arc::new(move |_| {
        let found = addresses.lock().unwrap().clone();
        Box::pin(async move { if found.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(found) } })
    });
    let urls: ServiceUrls = url.parse().unwrap();
    let transport = Transport::new(2, tls).unwrap();
    let replicas = ServiceReplicas::keep("billing", &urls, transport, resolve, Some(Duration::from_millis(50)));
    Upstream { service: "billing", replicas }
}

struct Server {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<()>,
}

/// A replica whose answer is its name.
async fn replica(address: &str, name: ServingStatus) -> Server {
    replica_with(address, name, None).await
}

async fn replica_with(address: &str, name: ServingStatus, tls: Option<ServerTlsConfig>) -> Server {
    let (health, service) = tonic_health::server::health_reporter();
    health.set_service_status("name", name).await;
    health.set_service_status("readiness", ServingStatus::Serving).await;
    let incoming = TcpIncoming::bind(address.parse().unwrap()).unwrap();
    let address = incoming.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let mut server = tonic::transport::Server::builder();
    if let Some(tls) = tls {
        server = server.tls_config(tls).unwrap();
    }
    let server = server.add_service(service);
    let serving = server.serve_with_incoming_shutdown(incoming, async move { drop(stopped.await) });
    Server { address, stop, ended: tokio::spawn(async move { serving.await.unwrap() }) }
}

impl Server {
    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.ended.await.unwrap();
    }
}

/// Makes a call; returns the name of the replica that answered.
async fn call(upstream: &Upstream) -> Result<i32, Status> {
    let path = PathAndQuery::from_static("/grpc.health.v1.Health/Check");
    let message = HealthCheckRequest { service: "name".into() }.encode_to_vec().into();
    let reply = upstream.call(&path, &MetadataMap::new(), &message, Duration::from_secs(10)).await?;
    Ok(HealthCheckResponse::decode(reply.into_inner()).unwrap().status)
}

async fn answering(upstream: &Upstream) -> BTreeSet<i32> {
    let mut names = BTreeSet::new();
    for _ in 0..20 {
        names.insert(call(upstream).await.unwrap());
    }
    names
}

async fn until_answering(upstream: &Upstream, names: &[i32]) {
    let names: BTreeSet<_> = names.iter().copied().collect();
    for _ in 0..200 {
        if answering(upstream).await == names {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{:?} instead of {names:?}", answering(upstream).await);
}

#[tokio::test]
async fn new_replicas_get_calls_and_vanished_ones_get_none() {
    let first = replica("127.0.0.1:0", ServingStatus::Unknown).await;
    let second = replica("127.0.0.1:0", ServingStatus::Serving).await;
    let addresses = Addresses::new(Mutex::new(vec![first.address]));
    let upstream = upstream(&addresses);
    assert_eq!(answering(&upstream).await, BTreeSet::from([0]));
    addresses.lock().unwrap().push(second.address);
    until_answering(&upstream, &[0, 1]).await;
    *addresses.lock().unwrap() = vec![second.address];
    until_answering(&upstream, &[1]).await;
    // A name that resolves to nothing for a moment ends nothing.
    addresses.lock().unwrap().clear();
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(answering(&upstream).await, BTreeSet::from([1]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_fails_while_replicas_are_replaced_one_by_one() {
    let mut servers = vec![
        replica("127.0.0.1:0", ServingStatus::Unknown).await,
        replica("127.0.0.1:0", ServingStatus::Serving).await,
    ];
    let addresses = Addresses::new(Mutex::new(servers.iter().map(|s| s.address).collect()));
    let upstream = Arc::new(upstream(&addresses));
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let (upstream, stop) = (Arc::clone(&upstream), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut calls = 0;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    call(&upstream).await.unwrap();
                    calls += 1;
                }
                calls
            })
        })
        .collect();
    for _ in 0..3 {
        for name in [ServingStatus::Unknown, ServingStatus::Serving] {
            let server = servers.remove(0);
            let address = server.address.to_string();
            server.stop().await;
            tokio::time::sleep(Duration::from_millis(50)).await;
            servers.push(replica(&address, name).await);
            until_answering(&upstream, &[0, 1]).await;
        }
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    for caller in callers {
        assert!(caller.await.unwrap() > 0);
    }
}

#[tokio::test]
async fn a_call_that_a_replica_accepted_is_never_repeated() {
    let hanging_up = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let good = replica("127.0.0.1:0", ServingStatus::Serving).await;
    let taken = Arc::new(Mutex::new(0));
    let addresses = Addresses::new(Mutex::new(vec![hanging_up.local_addr().unwrap(), good.address]));
    let counted = Arc::clone(&taken);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = hanging_up.accept().await {
            // Settings, and then the whole call: nothing more comes before an answer.
            use tokio::io::AsyncWriteExt as _;
            stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
            let mut received = vec![0; 4096];
            let mut size = 0;
            while size < 100 || !received[..size].windows(4).any(|w| w == b"name") {
                match stream.read(&mut received[size..]).await {
                    Ok(0) | Err(_) => break,
                    Ok(more) => size += more,
                }
            }
            *counted.lock().unwrap() += 1;
        }
    });
    let upstream = upstream(&addresses);
    let mut failed = 0;
    for _ in 0..6 {
        match call(&upstream).await {
            Ok(name) => assert_eq!(name, 1),
            Err(_) => failed += 1,
        }
    }
    assert!(failed > 0, "every other call was taken by the replica that hangs up");
    assert_eq!(failed, *taken.lock().unwrap(), "each taken call was told to its caller");
}

#[tokio::test]
async fn a_call_that_goaway_overtakes_between_its_head_and_its_body_is_made_again() {
    /// The type of a frame that begins a stream, and the bytes before its payload.
    const HEADERS: u8 = 1;
    const FRAME_HEAD: usize = 9;
    const PREFACE: usize = 24;
    let stopping = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let good = replica("127.0.0.1:0", ServingStatus::Serving).await;
    let addresses = Addresses::new(Mutex::new(vec![stopping.local_addr().unwrap(), good.address]));
    let overtaken = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&overtaken);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = stopping.accept().await {
            use tokio::io::AsyncWriteExt as _;
            stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
            let (mut received, mut at) = (Vec::new(), PREFACE);
            'head: loop {
                while let Some(head) = received.get(at..at + FRAME_HEAD) {
                    let head: &[u8] = head;
                    if head[3] == HEADERS {
                        break 'head;
                    }
                    at += FRAME_HEAD + usize::from(head[1]) * 256 + usize::from(head[2]);
                }
                if stream.read_buf(&mut received).await.unwrap() == 0 {
                    break;
                }
            }
            // GOAWAY: no stream was or will be processed; no error.
            stream.write_all(&[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).await.unwrap();
            *counted.lock().unwrap() += 1;
            // The body may still come, and is read by nobody.
            drop(stream);
        }
    });
    let upstream = upstream(&addresses);
    let path = PathAndQuery::from_static("/grpc.health.v1.Health/Check");
    let large = Bytes::from(vec![0x12; 3 << 20]);
    for _ in 0..20 {
        assert_eq!(call(&upstream).await.unwrap(), 1);
        // A body that is still being sent; the other replica says what it thinks of it.
        let sent = upstream.call(&path, &MetadataMap::new(), &large, Duration::from_secs(5)).await;
        assert_ne!(sent.unwrap_err().code(), Code::Unavailable);
    }
    assert!(*overtaken.lock().unwrap() > 0);
}

#[tokio::test]
async fn without_a_replica_a_call_fails_immediately_as_unavailable() {
    let nobody: Vec<SocketAddr> = ["127.0.0.1:1", "127.0.0.2:1"].map(|a| a.parse().unwrap()).into();
    let upstream = upstream(&Addresses::new(Mutex::new(nobody)));
    let began = Instant::now();
    assert_eq!(call(&upstream).await.unwrap_err().code(), Code::Unavailable);
    assert!(began.elapsed() < Duration::from_secs(2));
}

/// The certificate that a service presents, and the authority of the clients that it accepts.
fn server_tls(authority: &Authority) -> ServerTlsConfig {
    let (certificate, key) = authority.issue("billing");
    ServerTlsConfig::new()
        .identity(Identity::from_pem(certificate, key))
        .client_ca_root(Certificate::from_pem(authority.certificate()))
}

#[tokio::test]
async fn services_are_called_over_mutual_tls_with_files_that_are_renewed() {
    let folder = Folder::create();
    let (old, new) = (Authority::generate(), Authority::generate());
    folder.write("billing", &old, &old);
    let file = |name| Some(folder.file(name));
    let files = PemFiles { certificate: file("tls.crt"), key: file("tls.key"), authorities: file("ca.crt") };
    let first = replica_with("127.0.0.1:0", ServingStatus::Unknown, Some(server_tls(&old))).await;
    let addresses = Addresses::new(Mutex::new(vec![first.address]));
    let secure = upstream_by(&addresses, "https://billing:50051", Some(&files));
    assert_eq!(call(&secure).await.unwrap(), 0);

    let nameless = PemFiles { certificate: None, key: None, ..files.clone() };
    let refused = upstream_by(&addresses, "https://billing:50051", Some(&nameless));
    assert!(call(&refused).await.is_err(), "a gateway without a certificate is refused");
    let stranger = upstream_by(&addresses, "https://community:50052", Some(&files));
    assert!(call(&stranger).await.is_err(), "another service's certificate is not accepted");

    folder.write("billing", &new, &new);
    let second = replica_with("127.0.0.1:0", ServingStatus::Serving, Some(server_tls(&new))).await;
    *addresses.lock().unwrap() = vec![second.address];
    for _ in 0..100 {
        if call(&secure).await.is_ok_and(|name| name == 1) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert_eq!(call(&secure).await.unwrap(), 1, "the renewed files are used without a restart");
}
