//! The HC dialect.

use bytes::Bytes;
use communal_gateway::Config;
use communal_gateway::plan::Contract;
use communal_kit::identity::vouching::{PROOF, SIGNATURE_STATES};
use communal_kit::identity::{GatewayKeys, signature};
use communal_kit::secret::Secret;
use communal_proto::community::v1::{
    FeeConfig, ListFeeConfigsRequest, ListFeeConfigsResponse, SaveFeeConfigRequest, UpdateFeeConfigRequest,
    UpdateFeeConfigResponse,
};
use communal_proto::contract::v1::FaultKind;
use prost::Message as _;
use serde_json::{Value, json};
use tonic::Code;

use crate::harness::{Reply, Rig, fixture, refusal};

const UPDATE: &str = "/app/feeConfig.updateFeeConfig";
const LIST: &str = "/app/feeConfig.listFeeConfigs";

#[tokio::test]
async fn headers_go_into_metadata_and_the_body_into_the_message() {
    let rig = Rig::replying(UpdateFeeConfigResponse::default()).await;
    let request = rig
        .client
        .post(format!("{}{UPDATE}", rig.url))
        .header("APP-ID", "micro-community")
        .header("transaction_id", "100000000020231201143456123456")
        .header("REQ-TIME", "20231201143456")
        .header("SIGN", "")
        .header("Authorization", "Bearer a.b.c")
        .header("USER-ID", "-1")
        .body(r#"{"configId":123456,"squarePrice":"2.5","additionalAmount":10.0,"billType":"MONTHLY","state":"","prepaymentPeriod":"","nonsense":{}}"#);
    let reply = Reply::of(request).await;
    assert_eq!((reply.status, reply.text.as_str()), (200, r#"{"code":"0","msg":"成功","data":null}"#));
    let call = rig.call();
    assert_eq!(call.method, "/communal.community.v1.FeeItemService/UpdateFeeConfig");
    assert_eq!(call.header("x-channel-id"), Some("micro-community"));
    assert_eq!(call.header("idempotency-key"), Some("100000000020231201143456123456"));
    assert_eq!(call.header("x-request-time"), Some("20231201143456"));
    assert_eq!(call.header("authorization"), Some("Bearer a.b.c"));
    assert_eq!((call.header("x-signature"), call.signature_states()), (None, vec![]));
    assert_eq!(call.faults(), []);
    let message: UpdateFeeConfigRequest = call.message();
    assert_eq!((message.config_id.as_str(), message.square_price.as_str()), ("123456", "2.5"));
    assert_eq!(message.additional_amount, "10.0");
    assert_eq!(communal_proto::Coded::code(message.bill_type()), "002");
    // An empty value clears the field; an absent one leaves it unchanged.
    assert_eq!(message.prepayment_period.as_deref(), Some(""));
}

#[tokio::test]
async fn the_cookie_of_the_web_page_is_a_token_where_no_foreign_page_can_send_it() {
    let rig = Rig::replying(ListFeeConfigsResponse::default()).await;
    let get = |query: &str, headers: &[(&str, &str)]| {
        let mut request = rig.client.get(format!("{}{LIST}?page=1&row=10&communityId=1{query}", rig.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Reply::of(request)
    };
    let (app, id, cookie) = (("app-id", "a"), ("transaction-id", "1"), ("cookie", "x=1; _java110_token_=a.b.c; y=2"));
    let in_url = "&app-id=a&transaction-id=1";
    for (query, headers, token) in [
        ("", vec![app, id, cookie], Some("Bearer a.b.c")),
        ("", vec![app, id, cookie, ("authorization", "Bearer d.e.f")], Some("Bearer d.e.f")),
        (in_url, vec![cookie], None),
        ("&transaction-id=1", vec![app, cookie], None),
        ("", vec![app, id, ("cookie", "_java110_token_x=a")], None),
    ] {
        assert_eq!(get(query, &headers).await.status, 200);
        let received = rig.received();
        assert_eq!(received.last().unwrap().header("authorization"), token, "{query} {headers:?}");
    }
    let before = rig.received().len();
    let reply = get("", &[app, id, cookie, ("cookie", "_java110_token_=other")]).await;
    assert_eq!((reply.status, reply.header("x-reason")), (401, "CREDENTIAL_CONTRADICTS"));
    assert_eq!(rig.received().len(), before);
}

#[tokio::test]
async fn a_page_of_zero_is_told_as_what_it_is() {
    let rig = Rig::replying(ListFeeConfigsResponse::default()).await;
    for (page, kind) in [("0", FaultKind::Range), ("x", FaultKind::Type)] {
        let request = rig.client.get(format!("{}{LIST}?page={page}&row=10&communityId=1", rig.url));
        Reply::of(request.header("app-id", "a").header("transaction-id", "1")).await;
        assert_eq!(rig.received().last().unwrap().faults(), [("page".to_owned(), kind)], "{page}");
    }
    Reply::of(rig.client.get(format!("{}{LIST}?page=&row=10&communityId=1", rig.url))).await;
    assert_eq!(rig.received().last().unwrap().faults(), [], "nothing is missing, which the service says");
}

#[tokio::test]
async fn an_interface_has_four_paths() {
    let rig = Rig::replying(UpdateFeeConfigResponse::default()).await;
    let body = r#"{"configId":"1"}"#;
    for path in [
        UPDATE,
        "/app/feeConfig/updateFeeConfig",
        "/feeConfig.updateFeeConfig",
        "/feeConfig/updateFeeConfig",
        "/app/feeConfig/updateFeeConfig/",
    ] {
        let reply = rig.post(path, body).await;
        assert_eq!((reply.status, reply.text.as_str()), (200, r#"{"code":"0","msg":"成功","data":null}"#), "{path}");
    }
    assert_eq!(rig.received().len(), 5);
}

#[tokio::test]
async fn a_query_is_decoded_and_each_parameter_may_occur_once() {
    let row = FeeConfig { config_id: "9".into(), square_price: "2.5".into(), ..Default::default() };
    let rig =
        Rig::replying(ListFeeConfigsResponse { fee_configs: vec![row], records: 1, total: 1, ..Default::default() })
            .await;
    let reply = rig
        .get("/app/feeConfig/listFeeConfigs?page=1&row=10&communityId=10001&feeName=%E7%89%A9+%2B&state=&feeFlag=Y&page=2&x=1&app_id=demo-app&TRANSACTION-ID=7")
        .await;
    let call = rig.call();
    let message: ListFeeConfigsRequest = call.message();
    assert_eq!(
        (message.page, message.row, message.community_id.as_str(), message.fee_name.as_str()),
        (1, 10, "10001", "物 +")
    );
    assert_eq!(communal_proto::Coded::code(message.fee_flag()), "1003006");
    assert_eq!(call.faults(), [("page".into(), FaultKind::Repeated)]);
    assert_eq!((call.header("x-channel-id"), call.header("idempotency-key")), (Some("demo-app"), Some("7")));
    // The legacy list stands beside code and msg, in documented order, without optional fields.
    assert!(
        reply
            .text
            .starts_with(r#"{"code":"0","msg":"成功","feeConfigs":[{"configId":"9","feeTypeCd":"","feeTypeCdName":"""#),
        "{}",
        reply.text
    );
    assert!(reply.text.contains(r#""computingFormulaName":"","squarePrice":"2.5","additionalAmount":"""#));
    assert!(reply.text.ends_with(r#""statusCd":""}],"page":0,"records":1,"rows":0,"total":1}"#));
}

#[tokio::test]
async fn a_parameter_that_is_not_a_number_is_named() {
    let rig = Rig::replying(ListFeeConfigsResponse::default()).await;
    rig.get(&format!("{LIST}?page=one&row=99999999999&communityId=1")).await;
    assert_eq!(rig.call().faults(), [("page".into(), FaultKind::Type), ("row".into(), FaultKind::Range)]);
}

#[tokio::test]
async fn signatures_of_the_documents_vectors_can_be_checked_by_the_service() {
    let (request, time, app) = ("100000000020231201143456123456", "20231201143456", "micro-community");
    let secret = Secret::new("SECRET123");
    let rig = Rig::replying(ListFeeConfigsResponse::default()).await;
    let signed = |builder: reqwest::RequestBuilder, sign: &str| {
        builder.header("app-id", app).header("transaction-id", request).header("req-time", time).header("sign", sign)
    };
    let post = rig.client.post(format!("{}{UPDATE}", rig.url)).body(r#"{"configId":"123456","communityId":"10001"}"#);
    Reply::of(signed(post, "927865e40dd5e23f37423c0927bd6ece")).await;
    let get = || rig.client.get(format!("{}{LIST}?page=1&row=10&communityId=10001", rig.url));
    Reply::of(signed(get(), "a6ba3918eb843422f31666f4f1bbc4b7")).await;
    Reply::of(signed(get(), "954eae7270d6349fee0c30d807746f75")).await;
    let escaped = rig.client.get(format!("{}{LIST}?page=1&feeName=%E7%89%A9", rig.url));
    Reply::of(signed(escaped, "x")).await;
    // A signature in a parameter was made over the other parameters.
    Reply::of(
        rig.client
            .get(format!("{}{LIST}?page=1&row=10&communityId=10001&sign=954eae7270d6349fee0c30d807746f75", rig.url))
            .header("app-id", app)
            .header("transaction-id", request)
            .header("req-time", time),
    )
    .await;
    let calls = rig.received();
    for (call, states) in [(&calls[0], 1), (&calls[1], 2), (&calls[2], 2), (&calls[4], 2)] {
        assert_eq!(call.signature_states().len(), states);
        assert!(signature::matches(call.header("x-signature").unwrap(), &call.signature_states(), &secret));
        assert!(!signature::matches(
            call.header("x-signature").unwrap(),
            &call.signature_states(),
            &Secret::new("other")
        ));
    }
    let forms = calls[3].signature_states();
    for payload in ["page=1&feeName=%E7%89%A9", "?page=1&feeName=%E7%89%A9", "page=1&feeName=物", "?page=1&feeName=物"]
    {
        assert!(forms.contains(&signature::state(request, time, app, payload.as_bytes())), "{payload}");
    }
    assert_eq!(forms.len(), 4);
}

#[tokio::test]
async fn only_a_gateway_with_a_key_vouches_and_only_for_states() {
    let key = GatewayKeys::generate();
    let rig = |key: Option<GatewayKeys>| {
        let reply = Bytes::from(ListFeeConfigsResponse::default().encode_to_vec());
        Rig::new(Contract::load().unwrap(), Config { key, ..Config::default() }, move |_| Ok(reply.clone()))
    };
    let send = async |rig: &Rig, sign: bool| {
        let request =
            rig.client.get(format!("{}{LIST}?page=1&communityId=10001", rig.url)).header("app-id", "demo-app");
        // Neither the states nor the proof of a client go on.
        let request = request.header(PROOF, "AAAA").header(SIGNATURE_STATES, "AAAA");
        Reply::of(if sign { request.header("sign", "0") } else { request }).await;
        rig.received().pop().unwrap()
    };
    let (with, without) = (rig(Some(key.clone())).await, rig(None).await);
    let vouched = send(&with, true).await;
    let mut again = vouched.metadata.clone();
    key.prove(&vouched.method, &mut again, &vouched.message);
    assert_eq!(vouched.metadata.get_all_bin(PROOF).iter().count(), 1);
    assert_eq!(vouched.metadata.get_bin(PROOF), again.get_bin(PROOF), "of the call as it arrives");
    for (call, states) in [(send(&with, false).await, 0), (send(&without, true).await, 2)] {
        assert_eq!((call.signature_states().len(), call.metadata.get_bin(PROOF)), (states, None));
    }
    // The trace of every call is proved.
    assert!(key.proves_trace(send(&with, false).await.metadata.as_ref()));
    assert!(!key.proves_trace(send(&without, false).await.metadata.as_ref()));
}

#[tokio::test]
async fn a_credential_with_two_values_is_refused_wherever_they_stand() {
    let rig = Rig::replying(ListFeeConfigsResponse::default()).await;
    let get = |query: &str| rig.client.get(format!("{}{LIST}?communityId=1{query}", rig.url));
    for (name, request) in [
        ("app-id", get("").header("app-id", "micro-community").header("app-id", "nobody")),
        ("app-id", get("").header("app-id", "micro-community").header("app_id", "nobody")),
        ("app-id", get("&app-id=nobody").header("app-id", "micro-community")),
        ("app-id", get("&app_id=nobody&app-id=micro-community")),
        ("transaction-id", get("&transaction_id=2").header("transaction-id", "1")),
        ("req-time", get("&REQ_TIME=20231201143456").header("req-time", "20231201143457")),
        ("sign", get("&sign=1").header("sign", "2")),
        ("authorization", get("").header("authorization", "Bearer a").header("authorization", "Bearer b")),
    ] {
        let reply = Reply::of(request).await;
        let message = format!("鉴权失败：{name} 出现多次且取值不同");
        assert_eq!((reply.status, reply.text), (401, format!(r#"{{"code":"401","msg":"{message}","data":null}}"#)));
    }
    let other = get("").header("transaction-id", "1").header("idempotency-key", "2");
    let reply = Reply::of(other).await;
    assert_eq!((reply.status, reply.header("x-reason")), (400, "REQUEST_ID_INVALID"), "{}", reply.text);
    assert_eq!(rig.received().len(), 0);
    // The same value twice is one value, and an empty one is none.
    let twice = get("&app_id=demo-app&transaction-id=").header("app-id", "demo-app").header("app_id", "demo-app");
    Reply::of(twice.header("transaction-id", "7")).await;
    let call = rig.call();
    assert_eq!((call.header("x-channel-id"), call.header("idempotency-key")), (Some("demo-app"), Some("7")));
}

#[tokio::test]
async fn refusals_are_http_200_with_404_and_authentication_is_401() {
    for (code, reason, status, expected) in [
        (Code::InvalidArgument, "FIELD_MISSING", 200, "404"),
        (Code::FailedPrecondition, "FEE_ITEM_IN_USE", 200, "404"),
        (Code::PermissionDenied, "TENANT_REFUSED", 200, "404"),
        (Code::Unauthenticated, "CREDENTIALS_REFUSED", 401, "401"),
        (Code::Unauthenticated, "OPERATOR_REFUSED", 401, "1401"),
        (Code::ResourceExhausted, "OVERLOADED", 429, "429"),
        (Code::Unavailable, "UNAVAILABLE", 503, "503"),
        (Code::DeadlineExceeded, "DEADLINE_EXCEEDED", 504, "504"),
        (Code::Internal, "INTERNAL", 500, "500"),
    ] {
        let rig = Rig::refusing(move || refusal(code, "community.communal", reason, "必填，请填写收费项目")).await;
        let reply = rig.post(UPDATE, "{}").await;
        let envelope = format!(r#"{{"code":"{expected}","msg":"必填，请填写收费项目","data":null}}"#);
        assert_eq!((reply.status, reply.text), (status, envelope), "{reason}");
    }
}

#[tokio::test]
async fn wrong_methods_and_unknown_codes_have_the_documented_texts() {
    let rig = Rig::replying(UpdateFeeConfigResponse::default()).await;
    let reply = rig.get(&format!("{UPDATE}?configId=1")).await;
    let text = "服务【feeConfig.updateFeeConfig】调用方式不对请检查,当前请求方式为：GET";
    assert_eq!((reply.status, reply.text), (200, format!(r#"{{"code":"404","msg":"{text}","data":null}}"#)));
    let reply = rig.post(LIST, "{}").await;
    assert!(reply.text.contains("当前请求方式为：POST"));
    let reply = rig.post("/app/feeConfig.noSuchThing", "{}").await;
    let text = "鉴权失败：AppId 没有权限访问 serviceCode = feeConfig.noSuchThing";
    assert_eq!((reply.status, reply.text), (404, format!(r#"{{"code":"404","msg":"{text}","data":null}}"#)));
    let reply = rig.get(&format!("/app/{}", "x".repeat(5_000))).await;
    assert!(reply.status == 404 && reply.text.len() < 400);
    assert_eq!(rig.received().len(), 0);
}

#[tokio::test]
async fn a_body_that_is_no_json_is_400_in_the_envelope() {
    let rig = Rig::replying(UpdateFeeConfigResponse::default()).await;
    for body in ["{", "[]", "configId=1", "{\"feeName\":\"\\udc00\"}"] {
        let reply = rig.post(UPDATE, body).await;
        let envelope: Value = serde_json::from_str(&reply.text).unwrap();
        assert_eq!((reply.status, &envelope["code"], &envelope["data"]), (400, &json!("400"), &Value::Null), "{body}");
    }
    assert_eq!(rig.received().len(), 0);
}

#[tokio::test]
async fn a_missing_body_is_an_empty_message() {
    let rig = Rig::replying(UpdateFeeConfigResponse::default()).await;
    rig.post("/app/feeConfig.saveFeeConfig", "").await;
    assert_eq!(rig.call().message::<SaveFeeConfigRequest>(), SaveFeeConfigRequest::default());
}

#[tokio::test]
async fn booleans_and_blocks_in_place_of_texts_are_named() {
    let rig = Rig::replying(UpdateFeeConfigResponse::default()).await;
    rig.post(UPDATE, r#"{"configId":true,"feeName":{},"squarePrice":[1],"feeFlag":"never","additionalAmount":"1,5","feeTypeCd":1001}"#).await;
    let call = rig.call();
    assert_eq!(
        call.faults(),
        [
            ("configId".into(), FaultKind::Type),
            ("feeName".into(), FaultKind::Type),
            ("squarePrice".into(), FaultKind::Type),
            ("feeFlag".into(), FaultKind::Code),
            ("additionalAmount".into(), FaultKind::Type)
        ]
    );
    // A code may be a number.
    assert_eq!(communal_proto::Coded::code(call.message::<UpdateFeeConfigRequest>().fee_type_cd()), "888800010001");
}

#[tokio::test]
async fn headers_that_are_too_large_to_be_credentials_are_refused() {
    let rig = Rig::replying(UpdateFeeConfigResponse::default()).await;
    let post = |value: &str| rig.client.post(format!("{}{UPDATE}", rig.url)).header("app-id", value).body("{}");
    let reply = Reply::of(post(&"x".repeat(8_000))).await;
    assert_eq!((reply.status, rig.received().len()), (431, 0));
    let reply = Reply::of(post("应用")).await;
    assert_eq!((reply.status, rig.call().header("x-channel-id")), (200, Some("%E5%BA%94%E7%94%A8")));
}

#[tokio::test]
async fn the_largest_credentials_and_violations_fit_into_the_headers_of_a_call() {
    let rig = Rig::new(fixture(), Config::default(), |_| Ok(Bytes::new())).await;
    let row = json!({ "NAME": true, "PRICE": "x", "LEAVES": vec![json!({"COUNT": "x"}); 100] });
    let body = json!({ "ROWS": vec![row; 5] }).to_string();
    let token = format!("Bearer {}", "x".repeat(4_800));
    let request = rig.client.post(format!("{}/app/shape.echo", rig.url)).header("authorization", token).body(body);
    let reply = Reply::of(request).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(rig.call().faults().len(), 200);
}

#[tokio::test]
async fn any_shape_comes_back_beside_code_and_msg() {
    let rig = Rig::new(fixture(), Config::default(), |received| Ok(Bytes::from(received.message.to_vec()))).await;
    let reply = rig.get("/app/shape.query?TEXT=a%00b&MONEY=2.5&OPTIONAL_TEXT=&OPTIONAL_LARGE=&LARGE=-9223372036854775808&COLOUR=BLUE").await;
    let empty =
        r#""ROW":{"NAME":"","PRICE":0.000000,"LEAVES":[]},"ROWS":[],"TEXTS":[],"NUMBERS":[],"COLOURS":[],"PRICES":[]}"#;
    let own = r#""TEXT":"a\u0000b","OPTIONAL_TEXT":"","MONEY":2.50,"WHOLE":0,"SMALL":0,"LARGE":-9223372036854775808,"COLOUR":"02""#;
    assert_eq!(reply.text, format!(r#"{{"code":"0","msg":"成功",{own},{empty}"#));
}
