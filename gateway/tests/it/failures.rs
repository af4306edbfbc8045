//! Services that fail or break the contract, and traces.

use bytes::Bytes;
use communal_gateway::plan::Contract;
use communal_gateway::{Config, ServiceUrls};
use communal_proto::billing::v1::{QueryUserArrearagesResponse, ReceivableLine};
use prost::Message as _;
use serde_json::Value;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::harness::{Reply, Rig};

const ARREARS: &str = "/Service/v1/QueryUserArrearages/";

#[tokio::test]
async fn a_service_that_cannot_be_reached_is_503_in_both_dialects() {
    let nobody = ServiceUrls::of_address(([127, 0, 0, 1], 1).into());
    let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let config =
        Config { addr: any, admin_addr: any, billing_url: nobody.clone(), community_url: nobody, ..Config::default() };
    let rig = Rig::without_service(Contract::load().unwrap(), config, Default::default()).await;
    let reply = rig.post(ARREARS, "{}").await;
    assert_eq!((reply.status, reply.header("retry-after")), (503, "1"));
    assert!(reply.text.starts_with(r#"{"CODE":9002,"#), "{}", reply.text);
    let reply = rig.post("/app/feeConfig.saveFeeConfig", "{}").await;
    assert_eq!((reply.status, reply.text.starts_with(r#"{"code":"503","#)), (503, true), "{}", reply.text);
}

#[tokio::test]
async fn a_reply_that_breaks_the_contract_is_an_internal_error_and_never_broken_json() {
    let wrong = ReceivableLine { fee: "1.234".into(), ..Default::default() };
    for reply in [
        Bytes::from_static(b"\xff\xff"),
        QueryUserArrearagesResponse { lines: vec![wrong.encode_to_vec().into()] }.encode_to_vec().into(),
        Bytes::from_static(b"\x0a\x03\x0a\x01\xff"),
    ] {
        let rig = Rig::new(Contract::load().unwrap(), Config::default(), move |_| Ok(reply.clone())).await;
        let reply = rig.post(ARREARS, "{}").await;
        let envelope: Value = serde_json::from_str(&reply.text).unwrap();
        assert_eq!((reply.status, envelope["CODE"].as_i64()), (500, Some(9000)));
    }
}

#[tokio::test]
async fn a_refusal_may_name_a_hundred_fields() {
    let rig = Rig::refusing(|| {
        let mut details = ErrorDetails::new();
        details.set_error_info("FIELD_MALFORMED", "communal", []);
        for row in 0..100 {
            details
                .add_bad_request_violation(format!("COM_SALES_PRICE[{row}].CAT_ITEM_PRICE"), "is too long".repeat(10));
        }
        details.set_localized_message("zh-CN", "单价过长；".repeat(200));
        Status::with_error_details(Code::InvalidArgument, "x", details)
    })
    .await;
    let reply = rig.post(ARREARS, "{}").await;
    assert_eq!(
        (reply.status, reply.text.starts_with(r#"{"CODE":2002,"MESSAGE":"单价过长；"#)),
        (200, true),
        "{}",
        reply.text
    );
}

#[tokio::test]
async fn a_large_answer_is_served() {
    let line = ReceivableLine { node_id: "电".repeat(5), fee: "1".into(), ..Default::default() }.encode_to_vec();
    let rig = Rig::replying(QueryUserArrearagesResponse { lines: vec![line.into(); 10_000] }).await;
    let reply = rig.post(ARREARS, "{}").await;
    let envelope: Value = serde_json::from_str(&reply.text).unwrap();
    assert_eq!(envelope["DATA"]["ACC_VOLPRICE_OWE"].as_array().unwrap().len(), 10_000);
    assert!(reply.text.len() > 10_000_000);
}

#[tokio::test]
async fn a_trace_begins_here_and_the_caller_does_not_choose_its_id() {
    let rig = Rig::replying(QueryUserArrearagesResponse::default()).await;
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let request = rig.client.post(format!("{}{ARREARS}", rig.url)).body("{}");
    let reply = Reply::of(request.header("traceparent", format!("00-{trace}-b7ad6b7169203331-01"))).await;
    assert_ne!(reply.header("x-trace-id"), trace);
    let other = rig.post(ARREARS, "{}").await;
    assert_ne!(reply.header("x-trace-id"), other.header("x-trace-id"));
    for (call, reply) in rig.received().iter().zip([reply, other]) {
        assert!(call.header("traceparent").unwrap().contains(reply.header("x-trace-id")));
        assert_eq!(reply.header("x-trace-id").len(), 32);
    }
}

#[tokio::test]
async fn options_and_head_are_answered_without_a_call() {
    let rig = Rig::replying(QueryUserArrearagesResponse::default()).await;
    let send = |method: http::Method, path: &str| rig.client.request(method, format!("{}{path}", rig.url)).send();
    let reply = send(http::Method::OPTIONS, "/app/feeConfig.listFeeConfigs").await.unwrap();
    assert_eq!((reply.status().as_u16(), reply.headers()["allow"].to_str().unwrap()), (204, "GET, OPTIONS"));
    let reply = send(http::Method::HEAD, ARREARS).await.unwrap();
    assert_eq!(reply.status(), 405);
    assert_eq!(send(http::Method::HEAD, "/openapi.json").await.unwrap().status(), 200);
    assert_eq!(send(http::Method::DELETE, "/openapi.json").await.unwrap().status(), 405);
    assert_eq!(rig.received().len(), 0);
}
