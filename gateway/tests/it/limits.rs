//! Limits, and a graceful stop.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use communal_gateway::plan::Contract;
use communal_gateway::{Config, Drain, Limits};
use communal_proto::billing::v1::{UpdateSalePackagePriceRequest, UpdateSalePackagePriceResponse};
use futures::future::join_all;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Semaphore;

use crate::harness::{Received, Rig, SOON};

const PRICE: &str = "/Service/v1/UpdateSalePackagePrice/";

fn limited(limits: impl FnOnce(&mut Limits)) -> Config {
    let mut config = Config { drain: Drain { notice: Duration::from_millis(20), limit: SOON }, ..Config::default() };
    limits(&mut config.limits);
    config
}

/// A service that answers when the test allows it.
async fn held(config: Config) -> (Rig, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let rig = Rig::slow(Contract::load().unwrap(), config, move |_: Received| {
        let gate = Arc::clone(&opened);
        Box::pin(async move {
            gate.acquire().await.unwrap().forget();
            Ok(Bytes::new())
        })
    })
    .await;
    (rig, gate)
}

async fn until(mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < SOON, "did not happen");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn ten_megabytes_are_accepted_and_one_byte_more_is_not() {
    let rig = Rig::replying(UpdateSalePackagePriceResponse::default()).await;
    let limit = 10 * 1024 * 1024;
    let body = |bytes: usize| {
        let frame = r#"{"COM_SALES_PRICE":[{"PRICE_UNIT_NAME":"u"}],"X":""}"#.len();
        format!(r#"{{"COM_SALES_PRICE":[{{"PRICE_UNIT_NAME":"u"}}],"X":"{}"}}"#, "x".repeat(bytes - frame))
    };
    let reply = rig.post(PRICE, body(limit)).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(rig.call().message::<UpdateSalePackagePriceRequest>().rows[0].price_unit, "u");
    let reply = rig.post(PRICE, body(limit + 1)).await;
    assert_eq!((reply.status, &reply.text[..12]), (413, r#"{"CODE":413,"#));
    // The same holds if the length is not declared.
    let pieces = futures::stream::iter((0..11).map(|_| Ok::<_, std::io::Error>(Bytes::from(vec![b' '; 1024 * 1024]))));
    let stream =
        http_body_util::StreamBody::new(futures::StreamExt::map(pieces, |piece| piece.map(hyper::body::Frame::data)));
    let reply = rig.post(PRICE, reqwest::Body::wrap(stream)).await;
    assert_eq!(reply.status, 413);
    assert_eq!(rig.received().len(), 1);
}

#[tokio::test]
async fn calls_beyond_the_limit_are_asked_to_repeat_later() {
    let (rig, gate) = held(limited(|limits| limits.concurrent_calls = 2)).await;
    let calls = join_all((0..2).map(|_| rig.post(PRICE, "{}")));
    let refused = async {
        until(|| rig.received().len() == 2).await;
        let reply = rig.post(PRICE, "{}").await;
        gate.add_permits(2);
        reply
    };
    let (served, refused) = tokio::join!(calls, refused);
    assert_eq!((refused.status, refused.header("retry-after")), (429, "1"));
    assert!(refused.text.starts_with(r#"{"CODE":9001,"MESSAGE":""#));
    assert!(served.iter().all(|reply| reply.status == 200));
    // The memory is released, also if the client disconnected.
    let gone = rig.client.post(format!("{}{PRICE}", rig.url)).body("{}").timeout(Duration::from_millis(50)).send();
    assert!(gone.await.is_err());
    gate.add_permits(100);
    let replies = join_all((0..2).map(|_| rig.post(PRICE, "{}"))).await;
    assert!(replies.iter().all(|reply| reply.status == 200), "{replies:?}");
}

#[tokio::test]
async fn bodies_share_a_bounded_memory() {
    let (rig, gate) = held(limited(|limits| limits.body_memory_bytes = 64 * 1024)).await;
    // A client that declares more than it sends reserves only what it sent.
    let mut slow = tokio::net::TcpStream::connect(rig.addr).await.unwrap();
    let head = format!("POST {PRICE} HTTP/1.1\r\nhost: x\r\ncontent-length: 70000\r\n\r\n");
    slow.write_all(head.as_bytes()).await.unwrap();
    slow.write_all(&[b' '; 60_000]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let reply = rig.post(PRICE, format!("{{}}{}", " ".repeat(8_000))).await;
    assert_eq!(reply.status, 429, "{}", reply.text);
    drop(slow);
    gate.add_permits(1000);
    let began = Instant::now();
    while rig.post(PRICE, format!("{{}}{}", " ".repeat(8_000))).await.status != 200 {
        assert!(began.elapsed() < SOON);
    }
}

#[tokio::test]
async fn a_body_that_does_not_arrive_times_out() {
    let (rig, _gate) = held(limited(|limits| limits.body_time = Duration::from_millis(100))).await;
    let mut slow = tokio::net::TcpStream::connect(rig.addr).await.unwrap();
    slow.write_all(format!("POST {PRICE} HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n{{").as_bytes())
        .await
        .unwrap();
    let mut answer = String::new();
    tokio::time::timeout(SOON, slow.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains(r#"{"CODE":408,"#), "{answer}");
    // The same holds for a head.
    let mut slow = tokio::net::TcpStream::connect(rig.addr).await.unwrap();
    slow.write_all(b"POST / HTTP/1.1\r\nhost:").await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(SOON, slow.read_to_end(&mut answer)).await.unwrap().unwrap();
}

#[tokio::test]
async fn heads_are_limited() {
    let rig = Rig::replying(UpdateSalePackagePriceResponse::default()).await;
    let request = rig.client.post(format!("{}{PRICE}", rig.url)).header("x-big", "x".repeat(100_000)).body("{}");
    let status = request.send().await.map(|response| response.status().as_u16());
    assert!(!matches!(status, Ok(200)), "{status:?}");
    assert_eq!(rig.received().len(), 0);
}

#[tokio::test]
async fn a_deadline_is_sent_to_the_service_and_kept_by_the_gateway() {
    let (rig, _gate) = held(limited(|limits| limits.deadline = Duration::from_millis(300))).await;
    let began = Instant::now();
    let reply = rig.post(PRICE, "{}").await;
    assert_eq!((reply.status, reply.text.starts_with(r#"{"CODE":9003,"MESSAGE":""#)), (504, true), "{}", reply.text);
    assert!(began.elapsed() >= Duration::from_millis(290));
    assert!(rig.received()[0].header("grpc-timeout").is_some());
    // A caller can ask for a shorter deadline, not for a longer one.
    for (wish, at_most) in [("20", 250), ("99999", 2_000)] {
        let began = Instant::now();
        let request = rig.client.post(format!("{}{PRICE}", rig.url)).header("x-timeout-ms", wish).body("{}");
        assert_eq!(request.send().await.unwrap().status().as_u16(), 504);
        assert!(began.elapsed() < Duration::from_millis(at_most), "{wish}: {:?}", began.elapsed());
    }
}

#[tokio::test]
async fn calls_that_run_during_a_stop_are_answered() {
    let (mut rig, gate) = held(limited(|_| {})).await;
    let ready = |rig: &Rig| rig.client.get(format!("{}/readyz", rig.admin)).send();
    assert_eq!(ready(&rig).await.unwrap().status(), 200);
    let stop = rig.stop.take().unwrap();
    let ending = async {
        until(|| rig.received().len() == 1).await;
        stop.send(()).unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(tokio::net::TcpStream::connect(rig.addr).await.is_err(), "still accepting");
        assert_eq!(ready(&rig).await.unwrap().status(), 503);
        gate.add_permits(1);
    };
    let (reply, ()) = tokio::join!(rig.post(PRICE, "{}"), ending);
    assert_eq!(reply.status, 200);
    tokio::time::timeout(SOON, rig.ended).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn calls_ignored_keys_and_violations_are_counted() {
    let rig = Rig::replying(UpdateSalePackagePriceResponse::default()).await;
    rig.post(PRICE, json!({ "NONSENSE": 1, "MORE": [], "COM_SALES_PRICE": "x" }).to_string()).await;
    rig.get("/nowhere").await;
    let metrics = rig.client.get(format!("{}/metrics", rig.admin)).send().await.unwrap().text().await.unwrap();
    for name in [
        "gateway_requests_total",
        "gateway_request_seconds",
        "gateway_unknown_keys_total",
        "gateway_transcoding_faults_total",
    ] {
        let labelled = |line: &str| line.starts_with(name) && line.contains(r#"route="UpdateSalePackagePrice""#);
        assert!(metrics.lines().any(labelled), "{name} in {metrics}");
    }
    assert!(metrics.contains(r#"route="unknown""#) && !metrics.contains("nowhere"));
    assert!(metrics.contains("gateway_in_flight"));
}

#[tokio::test]
async fn answers_may_be_compressed() {
    let rig = Rig::replying(UpdateSalePackagePriceResponse::default()).await;
    let document =
        rig.client.get(format!("{}/openapi.json", rig.url)).header("accept-encoding", "gzip").send().await.unwrap();
    assert_eq!(document.headers()["content-encoding"], "gzip");
    let small = rig.client.post(format!("{}{PRICE}", rig.url)).header("accept-encoding", "gzip").body("{}").send();
    let small = small.await.unwrap();
    assert!(!small.headers().contains_key("content-encoding"));
    assert_eq!(small.json::<Value>().await.unwrap()["CODE"], 0);
}

/// A connection of HTTP/2 whose streams have this window.
async fn http2(rig: &Rig, window: u32) -> h2::client::SendRequest<Bytes> {
    let stream = tokio::net::TcpStream::connect(rig.addr).await.unwrap();
    let mut builder = h2::client::Builder::new();
    let (client, connection) = builder.initial_window_size(window).handshake(stream).await.unwrap();
    tokio::spawn(async move { drop(connection.await) });
    client.ready().await.unwrap()
}

fn price_head() -> http::Request<()> {
    http::Request::post(format!("http://x{PRICE}")).body(()).unwrap()
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed() {
    let config = limited(|limits| {
        limits.greeting = Duration::from_millis(200);
        limits.idle = Duration::from_millis(300);
    });
    let rig = Rig::new(Contract::load().unwrap(), config, |_| Ok(Bytes::new())).await;
    for greeting in [&b""[..], b"P", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut silent = tokio::net::TcpStream::connect(rig.addr).await.unwrap();
        silent.write_all(greeting).await.unwrap();
        tokio::time::timeout(SOON, silent.read_to_end(&mut Vec::new())).await.expect("closed").unwrap();
    }
    assert_eq!(rig.post(PRICE, "{}").await.status, 200);
}

#[tokio::test]
async fn bodies_that_do_not_come_take_no_calls_place() {
    let config = limited(|limits| {
        limits.concurrent_calls = 1;
        limits.address_bodies = 3;
        limits.body_window = Duration::from_millis(800);
    });
    let rig = Rig::new(Contract::load().unwrap(), config, |_| Ok(Bytes::new())).await;
    let mut client = http2(&rig, 65_535).await;
    let mut waiting = Vec::new();
    for _ in 0..2 {
        waiting.push(client.send_request(price_head(), false).unwrap());
        client = client.ready().await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(rig.post(PRICE, "{}").await.status, 200, "the one place is free");
    waiting.push(client.send_request(price_head(), false).unwrap());
    tokio::time::sleep(Duration::from_millis(100)).await;
    let refused = rig.post(PRICE, "{}").await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, "1"), "too many bodies of one address");
    for (answer, _body) in waiting {
        assert_eq!(tokio::time::timeout(SOON, answer).await.unwrap().unwrap().status(), 408);
    }
    assert_eq!(rig.post(PRICE, "{}").await.status, 200);
}

#[tokio::test]
async fn an_address_has_a_share_of_the_memory_for_bodies() {
    let rig = held(limited(|limits| limits.address_body_memory_bytes = 64 * 1024)).await.0;
    let reply = rig.post(PRICE, format!("{{}}{}", " ".repeat(70_000))).await;
    assert_eq!(reply.status, 429, "{}", reply.text);
    let metrics = rig.client.get(format!("{}/metrics", rig.admin)).send().await.unwrap().text().await.unwrap();
    let reached = metrics.lines().find(|line| line.contains(r#"limit="gateway_address_body_memory_bytes""#));
    assert!(reached.is_some_and(|line| !line.ends_with(" 0")), "{reached:?}");
}

#[tokio::test]
async fn an_answer_that_nobody_reads_is_thrown_away() {
    let config = limited(|limits| {
        limits.stall = Duration::from_millis(400);
        limits.address_answer_bytes = 2 * 1024 * 1024;
    });
    let large = UpdateSalePackagePriceResponse::default();
    let rig =
        Rig::new(Contract::load().unwrap(), config, move |_| Ok(prost::Message::encode_to_vec(&large).into())).await;
    let mut client = http2(&rig, 0).await;
    // The document is as large as any answer, and counts as one.
    let page = || http::Request::get("http://x/docs/swagger-ui-bundle.js").body(()).unwrap();
    let (first, _) = client.send_request(page(), true).unwrap();
    let mut first = tokio::time::timeout(SOON, first).await.unwrap().unwrap();
    assert_eq!(first.status(), 200);
    client = client.ready().await.unwrap();
    let (second, _) = client.send_request(page(), true).unwrap();
    assert_eq!(tokio::time::timeout(SOON, second).await.unwrap().unwrap().status(), 429);
    let error = tokio::time::timeout(SOON, first.body_mut().data()).await.unwrap().unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(h2::Reason::CANCEL), "{error:?}");
    let began = Instant::now();
    while rig.get("/docs/swagger-ui-bundle.js").await.status != 200 {
        assert!(began.elapsed() < SOON, "its bytes were not given back");
    }
}

#[tokio::test]
async fn silent_connections_do_not_stretch_a_stop() {
    let mut rig = Rig::new(Contract::load().unwrap(), limited(|_| {}), |_| Ok(Bytes::new())).await;
    let silent = tokio::net::TcpStream::connect(rig.addr).await.unwrap();
    let mut half = tokio::net::TcpStream::connect(rig.addr).await.unwrap();
    half.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    assert_eq!(rig.post(PRICE, "{}").await.status, 200);
    let began = Instant::now();
    rig.stop.take().unwrap().send(()).unwrap();
    rig.ended.await.unwrap().unwrap();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    drop((silent, half));
}
