//! What one caller can take from the others, spoken in raw HTTP/2 where a client that follows the
//! rules would not do it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use communal_kit::pool::Lease;
use h2::client::SendRequest;
use http::Request;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::server::{ADMIN_KEY, CONNECTIONS, Service, credentials, eventually};

const LIST: &str = "/communal.identity.v1.IdentityService/ListChannels";
const ADD: &str = "/communal.identity.v1.IdentityService/AddChannel";
const SOON: Duration = Duration::from_secs(5);
/// A request without a field.
const EMPTY: &[u8] = &[0; 5];

/// A connection of HTTP/2 whose streams have this window.
async fn http2(address: SocketAddr, window: u32) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(address).await.unwrap();
    let mut builder = h2::client::Builder::new();
    let (client, connection) = builder.initial_window_size(window).handshake(stream).await.unwrap();
    tokio::spawn(async move { drop(connection.await) });
    client.ready().await.unwrap()
}

fn head(path: &str, channel: &str) -> Request<()> {
    let request = Request::post(format!("http://x{path}")).header("te", "trailers");
    let request = request.header("content-type", "application/grpc").header("grpc-timeout", "99999999H");
    request.header("x-channel-id", channel).header("x-channel-key", ADMIN_KEY).body(()).unwrap()
}

/// How a call that was sent, whole or not, was answered.
async fn code(answer: h2::client::ResponseFuture) -> Option<String> {
    let answer = tokio::time::timeout(SOON, answer).await.ok()?.unwrap();
    Some(answer.headers().get("grpc-status")?.to_str().unwrap().to_owned())
}

async fn is_closed_within(stream: &mut TcpStream, limit: Duration) -> bool {
    let closed = async { while matches!(stream.read(&mut [0; 1024]).await, Ok(read) if read > 0) {} };
    tokio::time::timeout(limit, closed).await.is_ok()
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed() {
    let service = Service::within(|limits| {
        limits.greeting = Duration::from_millis(200);
        limits.idle = Duration::from_millis(300);
    })
    .await;
    for greeting in [&b""[..], b"P", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut stream = TcpStream::connect(service.address).await.unwrap();
        stream.write_all(greeting).await.unwrap();
        assert!(is_closed_within(&mut stream, SOON).await, "{greeting:?}");
    }
    let metrics = service.http("/metrics").await;
    assert!(metrics.contains(r#"communal_limit_reached_total{service="kit",limit="greeting_ms"}"#), "{metrics}");
}

#[tokio::test]
async fn an_address_has_a_share_of_the_connections() {
    let service = Service::within(|limits| limits.connections_per_address = 2).await;
    let first = service.channel().await;
    let mut streams = Vec::new();
    for _ in 0..2 {
        streams.push(TcpStream::connect(service.address).await.unwrap());
    }
    assert!(is_closed_within(&mut streams[1], SOON).await, "a third is closed at once");
    drop((first, streams));
    eventually(|| async { service.list(&credentials("admin", ADMIN_KEY)).await.is_ok() }).await;
}

#[tokio::test]
async fn heads_without_bodies_take_one_channels_share_and_not_for_long() {
    let service = Service::within(|limits| {
        limits.channel_calls = 2;
        limits.request_window = Duration::from_millis(700);
    })
    .await;
    let mut client = http2(service.address, 65_535).await;
    let (mut answers, mut bodies) = (Vec::new(), Vec::new());
    for _ in 0..6 {
        let (answer, body) = client.send_request(head(LIST, "admin"), false).unwrap();
        answers.push(answer);
        bodies.push(body);
        client = client.ready().await.unwrap();
    }
    for answer in answers.split_off(2) {
        assert_eq!(code(answer).await.as_deref(), Some("8"), "beyond the channel's share");
    }
    // It may not call this, which it is told since there is a place for it.
    let other = service.list(&credentials("plain", ADMIN_KEY)).await.unwrap_err();
    assert_eq!(other.code(), Code::PermissionDenied);
    for answer in answers {
        assert_eq!(code(answer).await.as_deref(), Some("4"), "no body came");
    }
    assert!(service.list(&credentials("admin", ADMIN_KEY)).await.is_ok());
}

#[tokio::test]
async fn requests_that_arrive_share_a_bounded_memory() {
    let service = Service::within(|limits| {
        limits.request_bytes = 64 * 1024;
        limits.channel_request_bytes = 32 * 1024;
    })
    .await;
    let client = http2(service.address, 65_535).await;
    let (answer, mut body) = client.clone().send_request(head(ADD, "admin"), false).unwrap();
    let mut message = vec![0, 0, 16, 0, 0];
    message.resize(40_000, 0);
    body.send_data(message.into(), false).unwrap();
    assert_eq!(code(answer).await.as_deref(), Some("8"));
    assert!(service.list(&credentials("admin", ADMIN_KEY)).await.is_ok(), "it was given back");
}

#[tokio::test]
async fn what_rows_take_in_memory_counts_as_long_as_their_call() {
    let service = Service::within(|limits| limits.channel_request_bytes = 16 * 1024).await;
    // 1,000 empty texts are 2,000 bytes on the wire.
    let rows = |count: usize| {
        let message = [0x2a, 0].repeat(count);
        let mut body = vec![0];
        body.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
        body.extend(message);
        body
    };
    let client = http2(service.address, 65_535).await;
    for (count, expected) in [(500, "3"), (1_000, "8"), (500, "3"), (1_001, "3")] {
        let (answer, mut body) = client.clone().send_request(head(ADD, "admin"), false).unwrap();
        body.send_data(rows(count).into(), true).unwrap();
        assert_eq!(code(answer).await.as_deref(), Some(expected), "{count}");
    }
    let metrics = service.http("/metrics").await;
    assert!(metrics.contains(r#"communal_limit_reached_total{service="kit",limit="requests"} 1"#), "{metrics}");
}

#[tokio::test]
async fn an_answer_that_nobody_reads_is_thrown_away() {
    let service = Service::within(|limits| limits.stall = Duration::from_millis(300)).await;
    let client = http2(service.address, 0).await;
    let (answer, mut body) = client.clone().send_request(head(LIST, "admin"), false).unwrap();
    body.send_data(Bytes::from_static(EMPTY), true).unwrap();
    let mut answer = tokio::time::timeout(SOON, answer).await.unwrap().unwrap().into_body();
    let error = tokio::time::timeout(SOON, answer.data()).await.unwrap().unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(h2::Reason::CANCEL), "{error:?}");
    // The connection's other calls go on.
    let (next, mut body) = client.clone().send_request(head(LIST, "nobody"), false).unwrap();
    body.send_data(Bytes::from_static(EMPTY), true).unwrap();
    assert_eq!(code(next).await.as_deref(), Some("16"));
}

#[tokio::test]
async fn streams_without_credentials_are_few_on_a_connection() {
    let service = Service::within(|limits| limits.connection_watches = 3).await;
    let channel = service.channel().await;
    let watch = || {
        let mut client = HealthClient::new(channel.clone());
        async move { client.watch(HealthCheckRequest { service: String::new() }).await }
    };
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(watch().await.unwrap());
    }
    assert_eq!(watch().await.unwrap_err().code(), Code::ResourceExhausted);
    assert_eq!(service.health("readiness").await, 1, "another connection is answered");
    drop(open);
    eventually(|| async { watch().await.is_ok() }).await;
}

#[tokio::test]
async fn a_stream_of_answers_has_an_end() {
    let service = Service::within(|limits| limits.longest_stream = Duration::from_millis(300)).await;
    let mut client = HealthClient::new(service.channel().await);
    let mut news = client.watch(HealthCheckRequest { service: String::new() }).await.unwrap().into_inner();
    news.message().await.unwrap().unwrap();
    let end = tokio::time::timeout(SOON, news.message()).await.unwrap().unwrap_err();
    assert_eq!(end.code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn silent_connections_do_not_stretch_a_stop() {
    let mut service = Service::within(|_| {}).await;
    let silent = TcpStream::connect(service.address).await.unwrap();
    let mut half = TcpStream::connect(service.address).await.unwrap();
    half.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    let mut watching = HealthClient::new(service.channel().await);
    let news = watching.watch(HealthCheckRequest { service: String::new() }).await.unwrap();
    let began = Instant::now();
    service.stop.take().unwrap().send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(15), service.serving).await.unwrap().unwrap().unwrap();
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    drop((silent, half, news));
}

#[tokio::test]
async fn a_service_whose_connections_are_never_released_is_not_ready() {
    let service = Service::start().await;
    let ready = || async { service.http("/readyz").await.starts_with("HTTP/1.1 200") };
    eventually(ready).await;
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS {
        held.push(service.pool.lease().await.unwrap());
    }
    tokio::time::sleep(Duration::from_secs(9)).await;
    eventually(|| async { !ready().await }).await;
    held.into_iter().for_each(Lease::done);
    eventually(ready).await;
}
