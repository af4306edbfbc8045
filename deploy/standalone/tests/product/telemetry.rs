//! Telemetry of a running product: one trace from the REST request to each SQL statement, metrics that Prometheus can
//! read and that the rules and dashboards name, and log lines that contain nothing of a request except its trace id.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use communal_fixtures::credentials::billing::{self, RETAIL};
use communal_fixtures::credentials::community;
use communal_proto::community::v1::payer_object_service_client::PayerObjectServiceClient;
use communal_proto::community::v1::{PayerObject, PayerObjectType, RegisterPayerObjectsRequest};
use nix::sys::signal::Signal;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::{Value, json};

use crate::harness::process::{Process, free_port};
use crate::harness::{Databases, client, connect, operator_token, sys_head};
use crate::receiver::{self, Received, Span};

/// A text in requests that must not occur in any output of the product.
const MARK: &str = "MARKED";

/// A process whose spans, metrics and logs a test reads.
struct Watched {
    process: Process,
    databases: Databases,
    received: Received,
    output: PathBuf,
    http: reqwest::Client,
}

/// Creates a folder for this run and test.
fn scratch(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("telemetry-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

impl Watched {
    async fn start(name: &str) -> Self {
        Self::start_with(name, &[]).await
    }

    /// Starts the product with settings of its own.
    async fn start_with(name: &str, settings: &[(&str, &str)]) -> Self {
        let databases = Databases::create().await;
        let (collector, received) = receiver::receive(([127, 0, 0, 1], 0).into()).unwrap();
        let output = scratch(name).join("output");
        let file = std::fs::File::create(&output).unwrap();
        let process = Process::start(&databases, |command| {
            command
                .envs(settings.iter().copied())
                .env("COMMUNAL_DRAIN_NOTICE_MS", "10")
                .env("COMMUNAL_LOG_FORMAT", "json")
                .env(
                    "COMMUNAL_LOG",
                    "info,communal_kit=debug,communal_gateway=debug,communal_billing=debug,communal_community=debug",
                )
                .env("COMMUNAL_BILLING_VERIFY_CODES", "off")
                .env("COMMUNAL_OTLP_ENDPOINT", format!("http://{collector}"))
                .stdout(Stdio::from(file.try_clone().unwrap()))
                .stderr(Stdio::from(file));
        })
        .await;
        Self { process, databases, received, output, http: client() }
    }

    /// Stops the process as an operator does; at its end it exports the remaining spans.
    async fn stop(&mut self) {
        self.process.signal(Signal::SIGTERM);
        assert!(self.process.ended().await, "{}", self.lines());
    }

    /// Returns everything the process has logged.
    fn lines(&self) -> String {
        std::fs::read_to_string(&self.output).unwrap()
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.process.gateway)
    }

    /// Sends a request; returns its trace id and its body.
    async fn send(&self, request: reqwest::RequestBuilder) -> (String, String) {
        let response = request.send().await.unwrap();
        let trace = response.headers().get("x-trace-id").map(|id| id.to_str().unwrap().to_owned());
        (trace.unwrap_or_default(), response.text().await.unwrap())
    }

    fn epeis(&self, interface: &str, body: &Value) -> reqwest::RequestBuilder {
        self.http.post(self.url(&format!("/Service/v1/{interface}"))).body(body.to_string())
    }

    fn hc(&self, command: &str, body: &Value, transaction_id: &str) -> reqwest::RequestBuilder {
        self.http
            .post(self.url(&format!("/app/{command}")))
            .body(body.to_string())
            .header("app-id", community::APP)
            .header("transaction-id", transaction_id)
            .header("req-time", "20240301083000")
            .bearer_auth(operator_token())
    }
}

fn arrears(key: &str) -> Value {
    let mut body = json!({"SYS_HEAD": sys_head(RETAIL), "ACC_VOLPRICE_OWE": {"BOOK_AID": "B000000000000001"}});
    body["SYS_HEAD"]["DYNAMIC_KEY"] = key.into();
    body
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
        "ACC_CERT_INFO": marked(60), "ACC_CERT_TYPE": "1", "ACCOUNT_PASSWORD": marked(61), "CUSTOMER_NAME": marked(62),
        "MOBILE_PHONE_INFO": marked(63), "ADMIN_CODE_INFO": "110101000000", "ADDRESS": marked(64), "CUSTOMER_TYPE": "1",
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
        json!({"CERTIFICATES_INFO": marked(60)}),
        json!({"ACC_CERT_INFO": marked(60)}),
        json!({"MOBILE_PHONE_INFO": marked(63)}),
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

fn fee_item(name: &str) -> Value {
    json!({
        "feeTypeCd": "888800010001", "feeName": name, "feeFlag": "Y", "startTime": "2024-01-01",
        "endTime": "2050-01-01", "computingFormula": "面积*单价", "squarePrice": "2.5", "additionalAmount": 0,
        "communityId": "10001", "billType": "MONTHLY", "paymentCd": "PREPAID", "paymentCycle": "MONTH",
        "state": "ENABLED", "prepaymentPeriod": "15", "feeTypeCds": [], "configId": "",
    })
}

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

/// Returns the only span of this name in a trace.
fn one<'s>(spans: &'s [Span], name: &str) -> &'s Span {
    let found: Vec<_> = spans.iter().filter(|span| span.name == name).collect();
    let [span] = found.as_slice() else { panic!("{name}: {} of it in {spans:#?}", found.len()) };
    span
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_trace_leads_from_the_rest_request_to_each_statement() {
    let mut product = Watched::start("trace").await;
    let sent = "0af7651916cd43dd8448eb211c80319c";
    let read = product.epeis("QueryUserArrearages", &arrears(billing::KEY));
    let read = read.header("traceparent", format!("00-{sent}-b7ad6b7169203331-01"));
    let (of_read, body) = product.send(read).await;
    assert!(body.contains("ACC_VOLPRICE_OWE"), "{body}");
    assert_ne!(of_read, sent, "a caller does not choose the trace id");
    let (of_write, body) = product.send(product.hc("feeConfig.saveFeeConfig", &fee_item("物业费"), "t1")).await;
    assert!(body.contains(r#""code":"0""#), "{body}");
    // Long before the exporter would export by itself.
    product.stop().await;

    let spans = product.received.trace(&of_read);
    let request = one(&spans, "POST /Service/v1/QueryUserArrearages/");
    let call = one(&spans, "/communal.billing.v1.ReceivableService/QueryUserArrearages");
    let statement = one(&spans, "arrears_read");
    assert_eq!((request.parent_id.as_str(), &request.links), ("", &vec![sent.to_owned()]), "the caller's is linked");
    assert_eq!(call.parent_id, request.span_id);
    assert_eq!(statement.parent_id, call.span_id);
    assert_eq!((request.kind, call.kind, statement.kind), (SpanKind::Server, SpanKind::Server, SpanKind::Client));
    for (span, key, value) in [
        (request, "service", "gateway"),
        (request, "http.route", "/Service/v1/QueryUserArrearages/"),
        (request, "http.request.method", "POST"),
        (request, "http.response.status_code", "200"),
        (call, "service", "billing"),
        (call, "rpc.response.status_code", "Ok"),
        (statement, "db.system.name", "postgresql"),
        (statement, "db.operation.name", "arrears_read"),
        (statement, "db.response.returned_rows", "0"),
    ] {
        assert_eq!(span.attributes.get(key).map(String::as_str), Some(value), "{key} of {span:#?}");
    }

    let spans = product.received.trace(&of_write);
    let request = one(&spans, "POST /app/feeConfig.saveFeeConfig");
    let call = one(&spans, "/communal.community.v1.FeeItemService/SaveFeeConfig");
    let statement = one(&spans, "fee_item_insert");
    assert_eq!(request.parent_id, "", "a trace that began here has a root");
    assert_eq!(call.parent_id, request.span_id);
    assert_eq!(statement.parent_id, call.span_id);
    assert_eq!(call.attributes["service"], "community");
    assert_eq!(statement.attributes["db.response.affected_rows"], "1");
    // The lookup of the caller belongs to the call as well.
    assert_eq!(one(&spans, "operator_load").parent_id, call.span_id);

    // The change log has the trace that wrote it.
    let written = "SELECT trace_id FROM platform.change WHERE after ->> 'fee_name' = '物业费'";
    let written: String = sqlx::query_scalar(written).fetch_one(&product.databases.community.pool).await.unwrap();
    assert_eq!(written, of_write);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_callers_are_trusted_their_traces_are_continued() {
    let mut product = Watched::start_with("followed", &[("COMMUNAL_TRACE_CALLERS", "followed")]).await;
    let (sampled, unsampled) = ("0af7651916cd43dd8448eb211c80319c", "1af7651916cd43dd8448eb211c80319c");
    for (trace, flag) in [(sampled, "01"), (unsampled, "00")] {
        let call = product.epeis("QueryUserArrearages", &arrears(billing::KEY));
        let call = call.header("traceparent", format!("00-{trace}-b7ad6b7169203331-{flag}"));
        assert_eq!(product.send(call).await.0, trace);
    }
    product.stop().await;
    let spans = product.received.trace(sampled);
    assert_eq!(one(&spans, "POST /Service/v1/QueryUserArrearages/").parent_id, "b7ad6b7169203331");
    one(&spans, "arrears_read");
    assert_eq!(product.received.trace(unsampled).len(), 0, "a caller who does not sample is followed");
}

/// Returns the metrics that the rules and the dashboards name.
fn named_metrics() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../observability");
    let mut names = BTreeSet::new();
    for part in ["rules", "dashboards"] {
        for entry in std::fs::read_dir(folder.join(part)).unwrap() {
            let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
            for word in text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':')) {
                if (word.starts_with("communal_") || word.starts_with("gateway_")) && !word.ends_with('_') {
                    names.insert(word.to_owned());
                }
            }
        }
    }
    assert!(names.len() > 10, "{names:?}");
    names
}

/// Returns a program of Prometheus: the one that `./dev test` fetched, or the one in PATH.
fn prometheus(program: &str) -> Command {
    let folder = std::env::var("COMMUNAL_TEST_PROMETHEUS").unwrap_or_default();
    Command::new(if folder.is_empty() { PathBuf::from(program) } else { Path::new(&folder).join(program) })
}

/// A Prometheus that scrapes the product every second.
struct Scraping {
    child: Child,
    address: SocketAddr,
}

impl Scraping {
    fn start(product: &Watched) -> Self {
        let folder = scratch("prometheus");
        let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../observability/rules/*.yaml");
        let mut config = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [{rules:?}]\nscrape_configs:\n"
        );
        for (job, admin) in ["billing", "community", "gateway"].into_iter().zip(product.process.admin) {
            config.push_str(&format!("  - job_name: {job}\n    static_configs: [{{targets: [\"{admin}\"]}}]\n"));
        }
        std::fs::write(folder.join("prometheus.yaml"), config).unwrap();
        let address = free_port();
        let child = prometheus("prometheus")
            .arg(format!("--config.file={}", folder.join("prometheus.yaml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.join("output")).unwrap())
            .spawn()
            .expect("Prometheus is needed: ./dev test fetches it");
        Self { child, address }
    }

    async fn ask(&self, http: &reqwest::Client, path: &str) -> Option<Value> {
        let answer = http.get(format!("http://{}{path}", self.address)).send().await.ok()?;
        serde_json::from_str::<Value>(&answer.text().await.ok()?).ok().map(|json| json["data"].clone())
    }
}

impl Drop for Scraping {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prometheus_finds_every_metric_that_a_rule_or_dashboard_names() {
    let mut product = Watched::start("metrics").await;
    let mut odd = arrears(billing::KEY);
    odd["ACC_VOLPRICE_OWE"]["NOT_A_FIELD"] = 1.into();
    odd["ACC_VOLPRICE_OWE"]["CHARGE_PACK_TYPE"] = "no such code".into();
    for body in [arrears(billing::KEY), odd, arrears("wrong")] {
        product.send(product.epeis("QueryUserArrearages", &body)).await;
    }
    for _ in 0..2 {
        product.send(product.hc("feeConfig.saveFeeConfig", &fee_item("物业费"), "t1")).await;
    }
    // Stopped once, although the request is sent twice.
    let id: String = sqlx::query_scalar("SELECT config_id FROM pay_fee_config WHERE fee_name = '物业费'")
        .fetch_one(&product.databases.community.pool)
        .await
        .unwrap();
    for transaction in ["s1", "s2"] {
        let mut stop = fee_item("物业费");
        stop["configId"] = id.clone().into();
        stop["state"] = "NA".into();
        let (_, body) = product.send(product.hc("feeConfig.updateFeeConfig", &stop, transaction)).await;
        assert!(body.contains(r#""code":"0""#), "{body}");
    }
    // A caller can send any path; an unknown one must not become a label.
    let mut invented = tonic::client::Grpc::new(connect(product.process.billing).await);
    invented.ready().await.unwrap();
    let path = format!("/communal.billing.v1.{MARK}/Call").parse().unwrap();
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    invented.unary(tonic::Request::new(()), path, codec).await.unwrap_err();

    let scraping = Scraping::start(&product);
    let named = named_metrics();
    let mut missing = named.clone();
    let mut up = Value::Null;
    for _ in 0..60 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let found = scraping.ask(&product.http, "/api/v1/label/__name__/values").await.unwrap_or_default();
        for name in found.as_array().into_iter().flatten().filter_map(Value::as_str) {
            missing.remove(name);
        }
        up = scraping.ask(&product.http, "/api/v1/query?query=sum(up)").await.unwrap_or_default();
        if missing.is_empty() && up["result"][0]["value"][1] == "3" {
            break;
        }
    }
    assert!(missing.is_empty(), "named and not exported: {missing:?}");
    assert_eq!(up["result"][0]["value"][1], "3", "{up}");

    let text = product.http.get(format!("http://{}/metrics", product.process.admin[0])).send().await.unwrap();
    let text = text.text().await.unwrap();
    assert!(!text.contains(MARK), "{text}");
    for line in [
        r#"communal_refused_credentials_total{reason="CREDENTIALS_REFUSED"} 1"#,
        r#"communal_idempotent_replays_total{method="/communal.community.v1.FeeItemService/SaveFeeConfig"} 1"#,
        r#"communal_calls_total{method="/communal.billing.v1.ReceivableService/QueryUserArrearages",code="Ok"} 1"#,
        r#"communal_statement_seconds_count{statement="arrears_read"} 1"#,
        "communal_community_item_closures_total 1",
        "communal_calls_in_flight 0",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} in {text}");
    }
    assert!(text.contains("communal_database_acquire_seconds_bucket"), "{text}");
    lint(&text);
    product.stop().await;
}

/// Runs `promtool check metrics`, which checks names, units and help.
fn lint(text: &str) {
    let file = scratch("promtool").join("metrics");
    std::fs::write(&file, text).unwrap();
    let output = prometheus("promtool")
        .args(["check", "metrics"])
        .stdin(std::fs::File::open(file).unwrap())
        .output()
        .expect("promtool is needed: ./dev test fetches it");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
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
            request["CUS_ACCOUNT"][0]["ACC_CERT_INFO"] = marked(81).into();
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
    for secret in [MARK, billing::KEY, community::TOKEN_KEY, community::SEALING_KEY, &operator_token()[..40]] {
        let line = output.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret} was written");
        let told = |span: &Span| span.name.contains(secret) || span.attributes.values().any(|v| v.contains(secret));
        assert!(!product.received.all().iter().any(told), "{secret} is in a span");
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
        let told = |span: &Span| span.name.contains(text) || span.attributes.values().any(|v| v.contains(text));
        assert!(!spans.iter().any(told), "{text} is in a span");
    }
}
