//! Nothing of a request stands in log lines, spans and metrics except its trace id, and nobody's name or phone in the change
//! log.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use communal_fixtures::certificates::credit_code;
use communal_fixtures::credentials::billing::{self, RETAIL};
use communal_fixtures::credentials::community;
use communal_proto::community::v1::payer_object_service_client::PayerObjectServiceClient;
use communal_proto::community::v1::{PayerObject, PayerObjectType, RegisterPayerObjectsRequest};
use serde_json::{Value, json};

use super::{MARK, Watched, arrears, fee_item};
use crate::harness::{connect, operator_token, sys_head};
use crate::receiver::Span;

/// Returns whether a span has a text in its name or in a value.
fn names(span: &Span, text: &str) -> bool {
    span.name.contains(text) || span.attributes.values().any(|value| value.contains(text))
}

/// The documented interfaces of EPEIS with a request each, in which every text is marked.
fn marked_requests() -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto/contracts/epeis");
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let files = files.filter(|file| file.extension().is_some_and(|kind| kind == "json"));
    files.map(|file| (file.file_stem().unwrap().to_str().unwrap().to_owned(), marked_request(&file))).collect()
}

/// A request in which every text of a contract is marked.
fn marked_request(contract: &Path) -> Value {
    let contract: Value = serde_json::from_str(&std::fs::read_to_string(contract).unwrap()).unwrap();
    let mut request = json!({"SYS_HEAD": sys_head(RETAIL)});
    for (name, block) in contract["request"].as_object().unwrap().iter().filter(|(name, _)| *name != "SYS_HEAD") {
        let fields = block["fields"].as_array().unwrap().iter();
        let value = |field: &Value| if field["type"] == "String" { json!(format!("{MARK}50")) } else { json!(1) };
        let row: Value = fields.map(|f| (f["name"].as_str().unwrap().to_owned(), value(f))).collect();
        request[name] = if block["kind"] == "array" { json!([row]) } else { row };
    }
    request
}

/// Requests that bring a person with every personal field marked into the archive, and look for them: those that add come
/// twice, so that the second is refused with the value in its hands.
fn marked_person() -> Vec<(&'static str, Value)> {
    let marked = |n: u32| format!("{MARK}{n}");
    let page = json!({"PAGE_NO": 1, "PAGE_ROWS": 10});
    let customer = json!([{
        "ACC_CERT_INFO": credit_code(&marked(60)), "ACC_CERT_TYPE": "2", "ACCOUNT_PASSWORD": marked(61), "CUSTOMER_NAME": marked(62),
        "MOBILE_PHONE_INFO": PHONE, "ADMIN_CODE_INFO": "110101000000", "ADDRESS": marked(64), "CUSTOMER_TYPE": "1",
        "TAX_NUMBER_INFO": marked(65), "TELEPHONE_INFO": marked(66), "BANK_ACCOUNT_INFO": marked(67),
        "BANK_NAME": marked(68), "EMAIL_INFO": marked(69), "VERIFY_CODE": marked(70),
    }]);
    let user_account = json!({
        "CUSTOMER_DID": "K500000000000000", "USER_NAME": marked(71), "ADMIN_CODE_INFO": "110101000000",
        "ADDRESS": marked(72), "MAP_NAME": marked(73), "RESIDENT_YESNO": "2",
    });
    let application = json!([{
        "BUS_CATEG_TYPE": "1", "USER_ACCOUNT_AID": "D500000000000000", "NETWORK_TYPE": "1", "SETTLEMENT_NAME": marked(74),
        "ADDRESS": marked(75),
    }]);
    let account = json!({
        "SETTLEMENT_AID": "A500000000000000", "SETTLEMENT_NAME": marked(76), "ADDRESS": marked(77), "CONTROL_TYPE": "1",
        "INDUSTRY_CODE_INFO": "T0000", "INDUSTRY_TYPE": "3", "RESIDENT_YESNO": "2", "CITY_YESNO": "2", "ARMY_YESNO": "1",
        "TEMPORARY_YESNO": "1", "PUBLIC_USE_YESNO": "1", "TALLY_CYCLE": 12, "BUS_CATEG_TYPE": "1",
        "REMARK_INS": marked(78),
    });
    let point = json!({
        "ADDRESS": marked(79), "BOOK_AID": "B1", "NODE_AID": "L1", "NETWORK_TYPE": "1", "METER_YESNO": "1",
        "NET_STORES_AID": "H1", "ASSESS_YESNO": "1", "STOP_EMPTY_YESNO": "1", "MAIN_PACK_DID": "P1", "BUS_CATEG_TYPE": "1",
    });
    let mut changed = account.clone();
    for (field, value) in [
        ("CUSTOMER_DID", json!("K500000000000000")),
        ("USER_CUS_DID", json!("K500000000000000")),
        ("USER_ACCOUNT_AID", json!("D500000000000000")),
        ("SETTLE_ATTESTATION_TYPE", json!("3")),
        ("CONNECT_MODE_TYPE", json!("1")),
        ("SIGN_CONTRACT_YESNO", json!("2")),
        ("CONTRACT_NUM", json!(marked(80))),
        ("CON_DEADLINE_DATE", json!(20_991_231)),
    ] {
        changed[field] = value;
    }
    let add = [
        ("SupCreateCustomerAccount", json!({"CUS_ACCOUNT": customer})),
        ("CreateUserAccount", json!({"USER_ACCOUNT": user_account})),
        ("SupApplyBusiness", json!({"SETTLE_ACCOUNT": application})),
        ("UserSettleVerify", json!({"SETTLE_ACCOUNT": account, "SETTLE_METERAGE": point})),
        ("UpdateSettleAccountInformation", json!({"SETTLE_ACCOUNT": changed})),
    ];
    let mut requests: Vec<_> = add.iter().flat_map(|request| [request.clone(), request.clone()]).collect();
    for person in [
        json!({"CERTIFICATES_INFO": credit_code(&marked(60))}),
        json!({"ACC_CERT_INFO": credit_code(&marked(60))}),
        json!({"MOBILE_PHONE_INFO": PHONE}),
        json!({"CUSTOMER_NAME": marked(62)}),
        json!({"ADDRESS": marked(72)}),
    ] {
        for (query, block) in [
            ("QueryUnverifiedUserAndSettles", "CUS_ACCOUNT"),
            ("QueryVerifiedUserAndSettles", "CUS_ACCOUNT"),
            ("QuerySettleAccounts", "INOUT_SETTLE_ACCOUNT"),
        ] {
            requests.push((query, json!({block: person.clone(), "SYS_PAGE": page})));
        }
    }
    requests
}

/// The phone of that person, which occurs in nothing else.
const PHONE: &str = "13977700073";

/// An owner of the home community, and what must be written nowhere but where owners and fees are kept.
struct Owner {
    name: &'static str,
    phone: &'static str,
    plate: &'static str,
}

/// Names and phones that occur in nothing else.
const OWNERS: [Owner; 2] = [
    Owner { name: "欧阳标记", phone: "13977700071", plate: "京A标记71" },
    Owner { name: "司徒标记", phone: "13977700072", plate: "京A标记72" },
];

/// Registers a room and a car of an owner over gRPC.
async fn register_owner(product: &Watched, owner: &Owner) {
    let object = |id: &str, kind: PayerObjectType, name: &str| PayerObject {
        payer_obj_id: id.into(),
        payer_obj_type: kind.into(),
        name: name.into(),
        built_up_area: "60".into(),
        owner_id: "O1".into(),
        owner_name: owner.name.into(),
        owner_tel: owner.phone.into(),
        ..PayerObject::default()
    };
    let objects = vec![object("R1", PayerObjectType::Room, "1-2-101"), object("C1", PayerObjectType::Car, owner.plate)];
    let message = RegisterPayerObjectsRequest { community_id: community::HOME.into(), payer_objects: objects };
    let mut request = tonic::Request::new(message);
    request.metadata_mut().insert("x-channel-id", community::APP.parse().unwrap());
    request.metadata_mut().insert("authorization", format!("Bearer {}", operator_token()).parse().unwrap());
    let mut client = PayerObjectServiceClient::new(connect(product.process.community).await);
    client.register_payer_objects(request).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_a_request_stands_in_lines_or_spans() {
    let mut product = Watched::start("lines").await;
    let marked = |n: usize| format!("{MARK}{n}");
    let mut known = Vec::new();
    // Headers of every kind, the documented ones among them.
    let headers = product.hc("feeConfig.saveFeeConfig", &fee_item("x"), &marked(1));
    let headers = headers
        .header("app-id", marked(2))
        .header("sign", marked(3))
        .header("user-agent", marked(4))
        .header("traceparent", marked(5))
        .header("x-anything", marked(6))
        .bearer_auth(marked(7));
    known.push(product.send(headers).await.0);
    // Credentials in the body.
    for key in ["CHANNEL_DID", "DYNAMIC_KEY", "REGISTER_DID", "ACCOUNT_DID"] {
        let mut body = arrears(billing::KEY);
        body["SYS_HEAD"][key] = marked(8).into();
        known.push(product.send(product.epeis("QueryUserArrearages", &body)).await.0);
    }
    // Names, also one that is taken, and values that are refused.
    for _ in 0..2 {
        known.push(product.send(product.hc("feeConfig.saveFeeConfig", &fee_item(&marked(9)), "a")).await.0);
        known.push(product.send(product.hc("feeConfig.saveFeeConfig", &fee_item(&marked(9)), "b")).await.0);
    }
    for (key, value) in [
        ("squarePrice", marked(10)),
        ("startTime", marked(11)),
        ("feeFlag", marked(12)),
        ("communityId", marked(13)),
        ("feeName", format!("{}\u{0}", marked(14))),
    ] {
        let mut body = fee_item(&marked(15));
        body[key] = value.into();
        known.push(product.send(product.hc("feeConfig.saveFeeConfig", &body, "c")).await.0);
    }
    // Requests without JSON, without an interface, without a method.
    let broken = product.http.post(product.url("/Service/v1/QueryUserArrearages"));
    known.push(product.send(broken.body(format!("{{\"{MARK}16\": \"{MARK}17"))).await.0);
    product.send(product.http.get(product.url(&format!("/{MARK}18?phone={MARK}19")))).await;
    let wrong = product.http.get(product.url(&format!("/app/feeConfig.saveFeeConfig?feeName={MARK}20")));
    known.push(product.send(wrong).await.0);
    // Every text of every documented interface.
    for (interface, request) in marked_requests() {
        product.send(product.epeis(&interface, &request)).await;
    }
    // A person in the archive, and the database refusing one with the values in its hands.
    let billing = &product.databases.billing.pool;
    let (mut found, mut answers) = (0, Vec::new());
    for (interface, mut request) in marked_person() {
        request["SYS_HEAD"] = sys_head(RETAIL);
        let (_, body) = product.send(product.epeis(interface, &request)).await;
        found += usize::from(interface.starts_with("Query") && body.contains(MARK));
        answers.push(body);
    }
    let taken = answers.iter().filter(|body| body.contains(r#""CODE":3003"#)).count();
    assert!(found >= 10 && taken >= 3, "{found} found, {taken} taken: {answers:#?}");
    sqlx::raw_sql(
        "CREATE FUNCTION quote_them() RETURNS trigger LANGUAGE plpgsql AS
         $$ BEGIN RAISE EXCEPTION 'no % here', row_to_json(NEW); END $$;
         CREATE TRIGGER quoting BEFORE INSERT ON customer FOR EACH ROW EXECUTE FUNCTION quote_them();
         CREATE TRIGGER quoting BEFORE INSERT ON user_account FOR EACH ROW EXECUTE FUNCTION quote_them();
         CREATE TRIGGER quoting BEFORE UPDATE ON settlement_account FOR EACH ROW EXECUTE FUNCTION quote_them()",
    )
    .execute(billing)
    .await
    .unwrap();
    for (interface, mut request) in marked_person() {
        request["SYS_HEAD"] = sys_head(RETAIL);
        // Another certificate and another place, so that the statement is reached.
        if interface == "SupCreateCustomerAccount" {
            request["CUS_ACCOUNT"][0]["ACC_CERT_INFO"] = credit_code(&marked(81)).into();
        } else if interface == "CreateUserAccount" {
            request["USER_ACCOUNT"]["USER_NAME"] = marked(82).into();
        }
        let (_, body) = product.send(product.epeis(interface, &request)).await;
        let fails = ["SupCreateCustomerAccount", "CreateUserAccount", "UpdateSettleAccountInformation"];
        assert!(!fails.contains(&interface) || body.contains(r#""CODE":9000"#), "{interface}: {body}");
    }
    for admin in product.process.admin {
        let metrics = product.http.get(format!("http://{admin}/metrics")).send().await.unwrap();
        assert!(!metrics.text().await.unwrap().contains(MARK));
    }
    // Storage that fails, with the value in its hands.
    sqlx::query("ALTER TABLE pay_fee_config RENAME TO gone").execute(&product.databases.community.pool).await.unwrap();
    let (failed, body) = product.send(product.hc("feeConfig.saveFeeConfig", &fee_item(&marked(21)), "d")).await;
    assert!(!body.contains("gone") && !body.contains("pay_fee_config"), "{body}");
    sqlx::query(
        "CREATE FUNCTION quote_it() RETURNS trigger LANGUAGE plpgsql AS
         $$ BEGIN RAISE EXCEPTION 'no % here', NEW.fee_name; END $$",
    )
    .execute(&product.databases.community.pool)
    .await
    .unwrap();
    sqlx::raw_sql("ALTER TABLE gone RENAME TO pay_fee_config; CREATE TRIGGER quoting BEFORE INSERT ON pay_fee_config FOR EACH ROW EXECUTE FUNCTION quote_it()")
        .execute(&product.databases.community.pool)
        .await
        .unwrap();
    let (quoted, _) = product.send(product.hc("feeConfig.saveFeeConfig", &fee_item(&marked(22)), "e")).await;
    product.databases.billing.pool.close().await;
    product.stop().await;

    let output = product.lines();
    for secret in [MARK, PHONE, billing::KEY, community::TOKEN_KEY, community::SEALING_KEY, &operator_token()[..40]] {
        let line = output.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret} was written");
        assert!(!product.received.all().iter().any(|span| names(span, secret)), "{secret} is in a span");
    }
    let lines: Vec<Value> = output.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let of = |trace: &str| -> Vec<&Value> { lines.iter().filter(|l| l["span"]["trace.id"] == trace).collect() };
    for trace in known {
        assert_eq!(trace.len(), 32);
        assert!(!of(&trace).is_empty(), "a refused call has a line with its trace");
    }
    // One line for the failed call, with the cause, and one for the request.
    for (trace, cause) in [(failed, "PostgreSQL says 42P01"), (quoted, "PostgreSQL says P0001")] {
        let failures: Vec<_> = of(&trace).into_iter().filter(|l| l["message"] == "call failed").collect();
        assert_eq!(failures.len(), 2, "{failures:#?}");
        assert_eq!(failures[0]["level"], "ERROR");
        assert_eq!(failures[0]["span"]["service"], "community");
        assert!(failures[0]["refusal.cause"].as_str().unwrap().contains(cause), "{failures:#?}");
        assert_eq!(failures[1]["span"]["service"], "gateway");
    }
    let loose: Vec<_> = lines
        .iter()
        .filter(|l| l["message"].as_str().unwrap_or_default().starts_with("call "))
        .filter(|l| l["span"]["trace.id"].as_str().is_none_or(|id| id.len() != 32))
        .collect();
    assert!(loose.is_empty(), "lines of a call without its trace: {loose:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_is_named_in_no_line_span_metric_or_change_log() {
    let mut product = Watched::start("owners").await;
    let pool = product.databases.community.pool.clone();
    let home = community::HOME;
    let (ok, refused) = (r#""code":"0""#, r#""code":"404""#);
    let sent = AtomicU32::new(0);
    let post = async |command: &str, body: Value, expected: &str| {
        let mut body = body;
        body["communityId"] = home.into();
        let transaction = format!("owners-{}", sent.fetch_add(1, Ordering::Relaxed));
        let (_, answer) = product.send(product.hc(command, &body, &transaction)).await;
        assert!(answer.contains(expected), "{command} {body}: {answer}");
        answer
    };
    let get = async |path: &str| {
        let request = product.http.get(product.url(&format!("{path}&communityId={home}&page=1&row=10")));
        let request = request.header("app-id", community::APP).header("transaction-id", "owners-read");
        let (_, answer) =
            product.send(request.header("req-time", "20240301083000").bearer_auth(operator_token())).await;
        answer
    };
    register_owner(&product, &OWNERS[0]).await;
    post("feeConfig.saveFeeConfig", fee_item("物业费"), ok).await;
    let item: String = sqlx::query_scalar("SELECT config_id FROM pay_fee_config").fetch_one(&pool).await.unwrap();
    let charge =
        |room: &str| json!({"locationObjId": room, "configId": item, "startTime": "2024-01-01", "endTime": ""});
    post("fee.saveRoomCreateFee", charge("R1"), ok).await;
    post("fee.saveRoomCreateFee", charge(OWNERS[0].name), refused).await;
    let car = json!({"locationTypeCd": "2000", "locationObjId": "C1", "configId": item, "startTime": "2024-01-01"});
    post("fee.saveParkingSpaceCreateFee", car, ok).await;
    // A new owner: the fees keep the one of their day.
    register_owner(&product, &OWNERS[1]).await;
    let again = json!({"locationObjId": "R1", "configId": item, "startTime": "2024-02-01", "endTime": ""});
    post("fee.saveRoomCreateFee", again, ok).await;

    // Read by name, as the page searches.
    for owner in &OWNERS {
        for path in ["/app/fee.listFee?ownerName", "/app/reportOweFee/queryReportOweFee?ownerName"] {
            let found = get(&format!("{path}={}", owner.name)).await;
            assert!(found.contains(owner.name) && found.contains(owner.phone), "{found}");
        }
        // No room has such a number: a refusal that quotes it would be written.
        assert!(get(&format!("/app/fee.listFee?roomNum={0}-{0}-{0}", owner.name)).await.contains(refused));
        assert!(get(&format!("/app/feeApi/listOweFees?payObjId={}&row=99999999", owner.phone)).await.contains("code"));
    }
    // Each change that leaves an image.
    let fees = "SELECT fee_id FROM pay_fee ORDER BY fee_id";
    let fees: Vec<String> = sqlx::query_scalar(fees).fetch_all(&pool).await.unwrap();
    let moved =
        json!({"feeId": fees[0], "startTime": "2024-01-02", "endTime": "2024-01-02", "maxEndTime": "2049-12-31"});
    post("fee.updateFee", moved, ok).await;
    post("fee.finishFee", json!({"feeId": fees[0]}), ok).await;
    post("fee.deleteFee", json!({"feeId": fees[1]}), ok).await;
    post("fee.deleteFee", json!({"feeId": fees[2]}), ok).await;
    // A name that is changed where it stands, as erasing it would.
    let mut changing = pool.begin().await.unwrap();
    let actor = "SELECT platform.announce('o', '', 'c', 't', 'm', now())";
    sqlx::query(actor).execute(&mut *changing).await.unwrap();
    sqlx::query("UPDATE pay_fee SET owner_name = '', owner_tel = '' WHERE fee_id = $1")
        .bind(&fees[0])
        .execute(&mut *changing)
        .await
        .unwrap();
    changing.commit().await.unwrap();
    // Storage that fails with the owner in its hands.
    sqlx::raw_sql(
        "CREATE FUNCTION quote_owner() RETURNS trigger LANGUAGE plpgsql AS
         $$ BEGIN RAISE EXCEPTION 'no % here', NEW.owner_name || NEW.owner_tel; END $$;
         CREATE TRIGGER quoting BEFORE INSERT ON pay_fee FOR EACH ROW EXECUTE FUNCTION quote_owner()",
    )
    .execute(&pool)
    .await
    .unwrap();
    let failing = json!({"locationObjId": "R1", "configId": item, "startTime": "2024-03-01", "endTime": ""});
    post("fee.saveRoomCreateFee", failing, r#""code":"#).await;
    let metrics = product.http.get(format!("http://{}/metrics", product.process.admin[0])).send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    assert!(metrics.contains("communal_statement_seconds"));
    let log = "SELECT coalesce(string_agg(to_jsonb(c)::text, ' '), '') FROM platform.change c WHERE noun = 'fee'";
    let log: String = sqlx::query_scalar(log).fetch_one(&pool).await.unwrap();
    assert!(log.contains(r#""personal": ["owner_name", "owner_tel"]"#) && log.contains(r#""waived""#), "{log}");
    product.stop().await;

    let output = product.lines();
    let spans = product.received.all();
    for text in OWNERS.iter().flat_map(|owner| [owner.name, owner.phone, owner.plate, "标记"]) {
        assert!(!log.contains(text), "{text} is in the change log: {log}");
        assert!(!metrics.contains(text), "{text} is in a metric");
        assert_eq!(output.lines().find(|line| line.contains(text)), None, "{text} was written");
        assert!(!spans.iter().any(|span| names(span, text)), "{text} is in a span");
    }
}
