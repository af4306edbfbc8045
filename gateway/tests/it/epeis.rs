//! The EPEIS dialect.

use bytes::Bytes;
use communal_gateway::plan::Contract;
use communal_gateway::{Config, OnUnknownKeys};
use communal_kit::gzip::gzip;
use communal_proto::billing::v1::{
    ChargePackType, QueryUserArrearagesRequest, QueryUserArrearagesResponse, ReceivableLine,
    UpdateSalePackagePriceRequest, UpdateSalePackagePriceResponse,
};
use communal_proto::contract::v1::FaultKind;
use prost::Message as _;
use serde_json::{Value, json};
use tonic::{Code, Status};

use crate::harness::{Reply, Rig, fixture, refusal};

const ARREARS: &str = "/Service/v1/QueryUserArrearages/";
const PRICE: &str = "/Service/v1/UpdateSalePackagePrice/";

#[tokio::test]
async fn credentials_go_into_metadata_and_blocks_into_the_message() {
    let rig = Rig::replying(QueryUserArrearagesResponse::default()).await;
    let body = r#"{
        "ACC_VOLPRICE_OWE": {"BOOK_AID": "B000000000000001", "CHARGE_PACK_TYPE": "1"},
        "SYS_HEAD": {"ACCOUNT_DID": "S000000000000001", "CHANNEL_DID": "C000000000000001",
                     "DYNAMIC_KEY": "0123456789abcdef", "REGISTER_DID": "R000000000000001", "MORE": 1}
    }"#;
    let request = rig.client.post(format!("{}{ARREARS}", rig.url)).header("idempotency-key", "order-7").body(body);
    let reply = Reply::of(request).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.text, r#"{"CODE":0,"MESSAGE":"成功","DATA":{"ACC_VOLPRICE_OWE":[]}}"#);
    assert_eq!(reply.header("content-type"), "application/json; charset=utf-8");
    let call = rig.call();
    assert_eq!(call.method, "/communal.billing.v1.ReceivableService/QueryUserArrearages");
    assert_eq!(call.header("x-channel-id"), Some("C000000000000001"));
    assert_eq!(call.header("x-channel-key"), Some("0123456789abcdef"));
    assert_eq!(call.header("x-operator-id"), Some("R000000000000001"));
    assert_eq!(call.header("x-tenant-id"), Some("S000000000000001"));
    assert_eq!(call.header("idempotency-key"), Some("order-7"));
    assert_eq!(call.faults(), []);
    let filter = call.message::<QueryUserArrearagesRequest>().filter.unwrap();
    assert_eq!((filter.book_id.as_str(), filter.retail_store_id.as_str()), ("B000000000000001", ""));
    assert_eq!(filter.package_kind(), ChargePackType::from_code("1"));
}

#[tokio::test]
async fn the_allowed_and_actual_age_of_an_answer_pass_in_headers() {
    let rig = Rig::replying(QueryUserArrearagesResponse::default()).await;
    let request = || rig.client.post(format!("{}{ARREARS}", rig.url)).body("{}");
    let reply = Reply::of(request().header("x-max-staleness-ms", "5000")).await;
    assert_eq!((reply.status, reply.header("x-data-staleness-ms")), (200, "5000"));
    let reply = Reply::of(request()).await;
    assert!(reply.status == 200 && !reply.headers.contains_key("x-data-staleness-ms"));
    let limits: Vec<_> = rig.received().iter().map(|r| r.header("x-max-staleness-ms").map(str::to_owned)).collect();
    assert_eq!(limits, [Some("5000".to_owned()), None]);
}

#[tokio::test]
async fn a_key_that_the_interface_does_not_have_is_named_or_refused() {
    let body = r#"{"ACC_VOLPRICE_OWE": {"BOOK_ID": "B000000000000001"}}"#;
    let rig = Rig::replying(QueryUserArrearagesResponse::default()).await;
    let reply = rig.post(ARREARS, body).await;
    assert_eq!((reply.status, reply.header("x-ignored-keys")), (200, "ACC_VOLPRICE_OWE.BOOK_ID"));
    let config = Config { unknown_keys: OnUnknownKeys::Refuse, ..Config::default() };
    let rig = Rig::new(Contract::load().unwrap(), config, |_| Ok(Bytes::new())).await;
    let reply = rig.post(ARREARS, body).await;
    assert_eq!((reply.status, reply.header("x-reason")), (400, "KEYS_UNKNOWN"));
    assert_eq!(reply.text, r#"{"CODE":400,"MESSAGE":"请求中有接口未定义的字段：ACC_VOLPRICE_OWE.BOOK_ID","DATA":{}}"#);
    assert_eq!(rig.received().len(), 0);
}

#[tokio::test]
async fn a_header_with_two_values_is_refused_as_what_it_is() {
    let rig = Rig::replying(QueryUserArrearagesResponse::default()).await;
    let post = || rig.client.post(format!("{}{ARREARS}", rig.url)).body("{}");
    let keys = Reply::of(post().header("idempotency-key", "1").header("idempotency-key", "2")).await;
    assert_eq!((keys.status, keys.header("x-reason")), (400, "REQUEST_ID_INVALID"), "{}", keys.text);
    let ages = Reply::of(post().header("x-max-staleness-ms", "1").header("x-max-staleness-ms", "2")).await;
    assert_eq!((ages.status, ages.header("x-reason")), (401, "CREDENTIAL_CONTRADICTS"), "{}", ages.text);
    assert_eq!(rig.received().len(), 0);
}

#[tokio::test]
async fn a_body_may_be_gzipped_and_another_encoding_is_told_by_name() {
    let rig = Rig::replying(QueryUserArrearagesResponse::default()).await;
    let post = |encoding: &str, body: Vec<u8>| {
        let request = rig.client.post(format!("{}{ARREARS}", rig.url)).header("content-encoding", encoding);
        Reply::of(request.body(body))
    };
    let body =
        br#"{"ACC_VOLPRICE_OWE": {"BOOK_AID": "B000000000000001", "RET_STORES_AID": "E000000000000000000000001"}}"#;
    assert_eq!(post("gzip", gzip(body).unwrap()).await.status, 200);
    assert_eq!(post("identity", body.to_vec()).await.status, 200);
    let received = rig.received();
    assert_eq!(received.len(), 2);
    assert!(!received[0].message.is_empty());
    assert_eq!(received[0].message, received[1].message);
    for encoding in ["br", "gzip, gzip", "deflate"] {
        let reply = post(encoding, body.to_vec()).await;
        assert_eq!((reply.status, reply.header("x-reason")), (415, "BODY_ENCODED"));
        assert!(reply.text.contains(&format!("content-encoding：{encoding}")), "{}", reply.text);
    }
    let reply = post("gzip", body.to_vec()).await;
    assert_eq!((reply.status, reply.header("x-reason")), (400, "BODY_MALFORMED"), "{}", reply.text);
    assert!(reply.text.contains("gzip"), "{}", reply.text);
    // A bomb of 200 MB in 200 KB.
    let reply = post("gzip", gzip(&vec![b' '; 200 << 20]).unwrap()).await;
    assert_eq!((reply.status, reply.header("x-reason")), (413, "BODY_TOO_LARGE"));
    assert_eq!(rig.received().len(), 2);
}

#[tokio::test]
async fn a_deadline_that_is_no_number_is_refused_by_name() {
    let rig = Rig::replying(QueryUserArrearagesResponse::default()).await;
    let send = |asked: &'static str| {
        let request = rig.client.post(format!("{}{ARREARS}", rig.url)).body("{}");
        Reply::of(request.header("x-timeout-ms", asked))
    };
    for asked in ["", "0", "-1", "1s", "1.5", "99999999999999999999"] {
        let reply = send(asked).await;
        assert_eq!((reply.status, reply.header("x-reason")), (400, "TIMEOUT_MALFORMED"), "{asked}");
        assert!(reply.text.contains("x-timeout-ms"), "{}", reply.text);
    }
    assert_eq!(send("5000").await.status, 200);
}

#[tokio::test]
async fn a_repeated_write_is_told_and_the_id_of_a_proxy_goes_on() {
    let rig = Rig::replying(QueryUserArrearagesResponse::default()).await;
    let send = async |key: &str, edge: &str| {
        let request = rig.client.post(format!("{}{ARREARS}", rig.url)).body("{}");
        let reply = Reply::of(request.header("idempotency-key", key).header("x-request-id", edge)).await;
        let told = reply.headers.get("idempotent-replayed").map(|value| value.to_str().unwrap().to_owned());
        (told, rig.received().pop().unwrap().header("x-request-id").map(str::to_owned))
    };
    let edge = "4a6e4d1c-7a4f-9f4e-8b0e-2f5d3c1b0a99";
    assert_eq!(send("first", edge).await, (None, Some(edge.to_owned())));
    assert_eq!(send("replayed", edge).await.0, Some("true".to_owned()));
    // What is no plain id is of no use to anybody who reads the log.
    assert_eq!(send("first", "a b=c").await.1, None);
}

trait FromCode: Sized {
    fn from_code(code: &str) -> Self;
}

impl<C: communal_proto::Coded> FromCode for C {
    fn from_code(code: &str) -> Self {
        <C as communal_proto::Coded>::from_code(code).unwrap()
    }
}

#[tokio::test]
async fn the_slash_at_the_end_and_the_content_type_do_not_matter() {
    let rig = Rig::replying(UpdateSalePackagePriceResponse::default()).await;
    for path in [PRICE, PRICE.trim_end_matches('/')] {
        let reply = rig.post(path, "\u{feff}{}").await;
        assert_eq!((reply.status, reply.text.as_str()), (200, r#"{"CODE":0,"MESSAGE":"成功","DATA":{}}"#));
    }
    assert_eq!(rig.received().len(), 2);
}

#[tokio::test]
async fn credentials_that_cannot_be_real_are_named_and_not_sent() {
    let rig = Rig::replying(UpdateSalePackagePriceResponse::default()).await;
    let head = json!({"CHANNEL_DID": "C0000000000000012", "DYNAMIC_KEY": 5, "REGISTER_DID": null, "ACCOUNT_DID": ""});
    rig.post(PRICE, json!({ "SYS_HEAD": head }).to_string()).await;
    let call = rig.call();
    for key in ["x-channel-id", "x-channel-key", "x-operator-id", "x-tenant-id"] {
        assert_eq!(call.header(key), None, "{key}");
    }
    let faults = [("SYS_HEAD.CHANNEL_DID".into(), FaultKind::Length), ("SYS_HEAD.DYNAMIC_KEY".into(), FaultKind::Type)];
    assert_eq!(call.faults(), faults);
}

#[tokio::test]
async fn credentials_that_are_not_visible_ascii_are_encoded_and_equal_no_real_ones() {
    let rig = Rig::replying(UpdateSalePackagePriceResponse::default()).await;
    let head = json!({"CHANNEL_DID": " C1", "DYNAMIC_KEY": "密钥", "REGISTER_DID": "R1\r\nx-tenant-id: T", "ACCOUNT_DID": "S%20"});
    rig.post(PRICE, json!({ "SYS_HEAD": head }).to_string()).await;
    let call = rig.call();
    assert_eq!(call.header("x-channel-id"), Some("%20C1"));
    assert_eq!(call.header("x-channel-key"), Some("%E5%AF%86%E9%92%A5"));
    // A text longer than 16 characters is named instead, and no text can smuggle in another header.
    assert_eq!(call.header("x-operator-id"), None);
    assert_eq!(call.header("x-tenant-id"), Some("S%20"));
}

#[tokio::test]
async fn invalid_fields_are_left_out_and_named_by_row() {
    let rig = Rig::replying(UpdateSalePackagePriceResponse::default()).await;
    let row = |price: Value| json!({"CHARGE_PACK_DID": "P1", "CAT_ITEM_PRICE": price, "NETWORK_TYPE": "2"});
    let mut rows = vec![row(json!(1)); 18];
    rows[17] = row(json!("0.4883"));
    rows[3]["NETWORK_TYPE"] = json!("99");
    rig.post(PRICE, json!({ "COM_SALES_PRICE": rows }).to_string()).await;
    let call = rig.call();
    assert_eq!(
        call.faults(),
        [
            ("COM_SALES_PRICE[3].NETWORK_TYPE".into(), FaultKind::Code),
            ("COM_SALES_PRICE[17].CAT_ITEM_PRICE".into(), FaultKind::Type)
        ]
    );
    let message: UpdateSalePackagePriceRequest = call.message();
    assert_eq!(message.rows.len(), 18);
    assert_eq!((message.rows[0].price.as_str(), message.rows[17].price.as_str()), ("1", ""));
}

#[tokio::test]
async fn many_violations_fit_into_the_metadata() {
    let rig = Rig::replying(UpdateSalePackagePriceResponse::default()).await;
    let body = json!({ "COM_SALES_PRICE": vec![json!({"LADDER_UPPER_LIMIT": "x", "CAT_ITEM_PRICE": {}}); 1000] });
    let reply = rig.post(PRICE, body.to_string()).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let faults = rig.call().faults();
    assert!((120..=200).contains(&faults.len()), "{}", faults.len());
    assert_eq!(faults[1], ("COM_SALES_PRICE[0].CAT_ITEM_PRICE".into(), FaultKind::Type));
}

#[tokio::test]
async fn an_answer_has_every_key_in_documented_order_in_any_order_of_the_bytes() {
    let issued = ReceivableLine { node_id: "N1".into(), fee: "12.5".into(), settled_month: 0, ..Default::default() };
    let changed =
        ReceivableLine { paid_total: "2".into(), settled_month: 202_401, fee: String::new(), ..Default::default() };
    let line = [issued.encode_to_vec(), changed.encode_to_vec()].concat();
    let rig = Rig::replying(QueryUserArrearagesResponse { lines: vec![line.into(); 3] }).await;
    let reply = rig.post(ARREARS, "{}").await;
    assert!(reply.text.starts_with(
        r#"{"CODE":0,"MESSAGE":"成功","DATA":{"ACC_VOLPRICE_OWE":[{"NODE_AID":"N1","NETWORK_CO_DID":"","#
    ));
    assert!(
        reply.text.contains(
            r#""SETTLE_ACCOUNT_MONTH":202401,"THE_CHARGE_CONS":0.00,"CHARGE_PRICE":0.000000,"CALC_FEE":12.50,"#
        )
    );
    assert!(
        reply.text.ends_with(
            r#""ACCU_PAID_IN_FEE":2.00,"THE_PAID_IN_FEE":0.00,"THE_PAID_IN_DATE":0,"THE_PAID_IN_SID":""}]}}"#
        )
    );
}

#[tokio::test]
async fn refusals_are_http_200_with_the_code_of_their_reason() {
    for (code, domain, reason, expected) in [
        (Code::InvalidArgument, "communal", "FIELD_MISSING", 2001),
        (Code::Unauthenticated, "communal", "CREDENTIALS_REFUSED", 1002),
        (Code::PermissionDenied, "communal", "TENANT_REFUSED", 1005),
        (Code::FailedPrecondition, "billing.communal", "PACKAGE_STATE", 3002),
        (Code::ResourceExhausted, "communal", "ANSWER_TOO_LARGE", 2004),
    ] {
        let rig = Rig::refusing(move || refusal(code, domain, reason, "套餐\"状态\"\n不符")).await;
        let reply = rig.post(PRICE, "{}").await;
        let envelope = format!(r#"{{"CODE":{expected},"MESSAGE":"套餐\"状态\"\n不符","DATA":{{}}}}"#);
        assert_eq!((reply.status, reply.text), (200, envelope), "{reason}");
    }
}

#[tokio::test]
async fn a_failed_call_has_an_http_status_of_its_own() {
    for (code, reason, status, expected) in [
        (Code::ResourceExhausted, "OVERLOADED", 429, 9001),
        (Code::Unavailable, "UNAVAILABLE", 503, 9002),
        (Code::DeadlineExceeded, "DEADLINE_EXCEEDED", 504, 9003),
        (Code::Internal, "INTERNAL", 500, 9000),
        (Code::ResourceExhausted, "", 429, 9001),
        (Code::Unavailable, "", 503, 9002),
        (Code::Cancelled, "", 504, 9003),
        (Code::Unknown, "", 500, 9000),
        (Code::InvalidArgument, "NEVER_HEARD_OF", 500, 9000),
    ] {
        let rig = Rig::refusing(move || match reason {
            "" => Status::new(code, "relation \"secret\" does not exist"),
            reason => refusal(code, "communal", reason, "稍后"),
        })
        .await;
        let reply = rig.post(PRICE, "{}").await;
        let envelope: Value = serde_json::from_str(&reply.text).unwrap();
        assert_eq!((reply.status, &envelope["CODE"]), (status, &json!(expected)), "{code:?} {reason}");
        assert!(!reply.text.contains("secret"));
        assert_eq!(reply.headers.contains_key("retry-after"), matches!(status, 429 | 503));
    }
}

#[tokio::test]
async fn an_invalid_request_is_refused_in_the_envelope_and_does_not_reach_the_service() {
    let rig = Rig::replying(UpdateSalePackagePriceResponse::default()).await;
    let deep = format!("{{\"x\":{}", "[".repeat(1_000_000));
    for (body, status) in [
        ("", 400),
        ("{", 400),
        ("[]", 400),
        ("{} {}", 400),
        (r#"{"COM_SALES_PRICE":[{"CHARGE_PACK_DID":"\ud800"}]}"#, 400),
        (deep.as_str(), 400),
    ] {
        let reply = rig.post(PRICE, body.to_owned()).await;
        let envelope: Value = serde_json::from_str(&reply.text).unwrap();
        assert_eq!((reply.status, &envelope["CODE"], &envelope["DATA"]), (status, &json!(status), &json!({})));
    }
    let reply = rig.post("/Service/v1/NoSuchThing/", "{}").await;
    assert_eq!(
        (reply.status, reply.text.as_str()),
        (404, r#"{"CODE":404,"MESSAGE":"接口不存在：/Service/v1/NoSuchThing/","DATA":{}}"#)
    );
    let reply = rig.get(PRICE).await;
    assert_eq!((reply.status, reply.header("allow")), (405, "POST, OPTIONS"));
    assert!(reply.text.starts_with(r#"{"CODE":405,"#));
    assert_eq!(rig.received().len(), 0);
}

#[tokio::test]
async fn any_shape_comes_back_as_it_was_sent() {
    let rig = Rig::new(fixture(), Config::default(), |received| Ok(Bytes::from(received.message.to_vec()))).await;
    let body = r#"{"TEXT":"电\"\\\u0000","OPTIONAL_TEXT":"","MONEY":99999999999999.99,"WHOLE":7,"SMALL":-1,"LARGE":9223372036854775807,"OPTIONAL_LARGE":0,"COLOUR":"02","ROW":{"NAME":"a","PRICE":0.000001,"LEAVES":[{"COUNT":0}]},"ROWS":[{"NAME":"","PRICE":0.000000,"LEAVES":[]}],"TEXTS":["","x"],"NUMBERS":[0,-5],"COLOURS":["01"],"PRICES":[2.5]}"#;
    let reply = rig.post("/Service/v1/Echo", body).await;
    assert_eq!(reply.text, format!(r#"{{"CODE":0,"MESSAGE":"成功","DATA":{body}}}"#));
}
