//! Telemetry of a running product: its traces, its metrics, and what must stand in neither, nor in its log lines.

mod metrics;
mod personal_values;
mod traces;

use std::path::{Path, PathBuf};
use std::process::Stdio;

use communal_fixtures::credentials::billing::RETAIL;
use communal_fixtures::credentials::community;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::process::Process;
use crate::harness::{Databases, client, operator_token, sys_head};
use crate::receiver::{self, Received};

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

fn fee_item(name: &str) -> Value {
    json!({
        "feeTypeCd": "888800010001", "feeName": name, "feeFlag": "Y", "startTime": "2024-01-01",
        "endTime": "2050-01-01", "computingFormula": "面积*单价", "squarePrice": "2.5", "additionalAmount": 0,
        "communityId": "10001", "billType": "MONTHLY", "paymentCd": "PREPAID", "paymentCycle": "MONTH",
        "state": "ENABLED", "prepaymentPeriod": "15", "feeTypeCds": [], "configId": "",
    })
}
