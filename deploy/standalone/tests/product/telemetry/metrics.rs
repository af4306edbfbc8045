//! Metrics that Prometheus can read and that the rules and dashboards name.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use communal_fixtures::credentials::billing;
use serde_json::Value;

use super::{MARK, Watched, arrears, fee_item, scratch};
use crate::harness::connect;
use crate::harness::process::free_port;

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
