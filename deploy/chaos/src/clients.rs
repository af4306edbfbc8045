//! Clients, and their behaviour when a process goes away.
//!
//! REST clients behave like a load balancer in front of the gateways: they probe each gateway's `/readyz` ten times a
//! second, send to the ready ones in turn, and try another one only if no connection could be made. gRPC clients have
//! connections to each replica, use them in turn, and repeat a call at another replica only if it certainly was not
//! delivered (refused connection, GOAWAY before the call), as gRPC's own libraries do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context;
use chrono::Utc;
use communal_fixtures::credentials::billing::{self, NETWORK, RETAIL, STORE};
use communal_fixtures::credentials::community::{self, APP, HOME};
use communal_fixtures::{fee_items, packages, receivables};
use communal_kit::delivery::undelivered;
use communal_proto::Coded;
use communal_proto::billing::v1::catalogue_service_client::CatalogueServiceClient;
use communal_proto::billing::v1::receivable_service_client::ReceivableServiceClient;
use communal_proto::billing::v1::supplier_service_client::SupplierServiceClient;
use communal_proto::billing::v1::{
    ArrearsFilter, QueryUserArrearagesRequest, ReceivableLine, RegisterStoresRequest, Store,
};
use communal_proto::community::v1::fee_item_service_client::FeeItemServiceClient;
use communal_proto::community::v1::{BillType, FeeFlag, FeeType, Formula, UpdateFeeConfigRequest};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use crate::deployment::{Databases, Kind, Slot, readiness};

/// The account item of the packages, which [`Clients::account_item`] registers.
pub(crate) const ACCOUNT_ITEM: &str = "1122.01";

/// The answer that a client of either kind got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The call succeeded.
    Done,
    /// RESOURCE_EXHAUSTED or 429, with the delay after which the call may be repeated.
    Overloaded(Option<Duration>),
    /// UNAVAILABLE or 503: the change may have been made or not.
    Unavailable(String),
    /// A broken connection or an exceeded deadline: the change may have been made or not.
    Unknown(String),
    /// Any other answer.
    Refused(String),
}

/// A gateway and its readiness, as a load balancer has it.
#[derive(Debug)]
struct Backend {
    address: SocketAddr,
    ready: Arc<AtomicBool>,
    watcher: JoinHandle<()>,
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.watcher.abort();
    }
}

/// Clients of all processes of a deployment.
#[derive(Debug)]
pub(crate) struct Clients {
    pub(crate) http: reqwest::Client,
    gateways: Vec<Backend>,
    billing: Vec<Channel>,
    community: Vec<Channel>,
    turn: AtomicUsize,
    token: String,
    deadline: Duration,
    redelivered: AtomicUsize,
    numbers: AtomicUsize,
}

/// A fee item that one client changes.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) name: String,
    pub(crate) id: String,
}

/// The protocol of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Rest,
    Grpc,
}

impl Clients {
    /// Clients of these processes.
    pub(crate) fn new(slots: &[&Slot], connections: usize, deadline: Duration) -> anyhow::Result<Self> {
        let of = |kind| slots.iter().filter(move |s| s.kind == kind);
        let channels = |kind| -> anyhow::Result<Vec<Channel>> {
            let mut channels = Vec::new();
            for _ in 0..connections {
                for slot in of(kind) {
                    let endpoint = Endpoint::from_shared(format!("http://{}", slot.address))?;
                    channels.push(endpoint.connect_timeout(Duration::from_secs(2)).tcp_nodelay(true).connect_lazy());
                }
            }
            Ok(channels)
        };
        let gateways = of(Kind::Gateway).map(|slot| watched(slot.address, slot.admin)).collect();
        Ok(Self {
            http: reqwest::Client::builder().no_proxy().connect_timeout(Duration::from_secs(2)).build()?,
            gateways,
            billing: channels(Kind::Billing)?,
            community: channels(Kind::Community)?,
            turn: AtomicUsize::new(0),
            token: community::token(community::OPERATOR, Utc::now()),
            deadline,
            redelivered: AtomicUsize::new(0),
            numbers: AtomicUsize::new(1),
        })
    }

    /// The number of calls that were repeated at another process because they had certainly not been delivered.
    pub(crate) fn redelivered(&self) -> usize {
        self.redelivered.load(Ordering::Relaxed)
    }

    /// A number that no other call has.
    pub(crate) fn number(&self) -> usize {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Creates the items that clients change.
    pub(crate) async fn items(&self, databases: &Databases, count: usize) -> anyhow::Result<Vec<Item>> {
        let pool = databases.pool("community")?;
        let mut items = Vec::new();
        for number in 0..count {
            let name = format!("费用项{number}");
            let request = self.of_community(fee_items::save(HOME, &name), &format!("1{number:029}"))?;
            FeeItemServiceClient::new(self.channel(Kind::Community)?).save_fee_config(request).await?;
            let id = item_id(&pool, HOME, &name).await?;
            items.push(Item { name, id });
        }
        Ok(items)
    }

    /// Registers the store of a retail company's packages.
    pub(crate) async fn store(&self, company: &str) -> anyhow::Result<()> {
        let stores =
            vec![Store { store_id: STORE.into(), name: "营业厅".into(), region_code: "110101000000".into() }];
        let request = self.of_billing(RegisterStoresRequest { stores }, company)?;
        SupplierServiceClient::new(self.channel(Kind::Billing)?).register_stores(request).await?;
        Ok(())
    }

    /// Registers the account item of the packages with the network company.
    pub(crate) async fn account_item(&self) -> anyhow::Result<()> {
        let (categories, items) = packages::electricity_item(ACCOUNT_ITEM);
        let mut client = CatalogueServiceClient::new(self.channel(Kind::Billing)?);
        client.register_category_items(self.of_billing(categories, NETWORK)?).await?;
        client.register_account_items(self.of_billing(items, NETWORK)?).await?;
        Ok(())
    }

    /// A connection to a service.
    pub(crate) fn channel(&self, kind: Kind) -> anyhow::Result<Channel> {
        let channels = if kind == Kind::Billing { &self.billing } else { &self.community };
        Ok(channels.first().with_context(|| format!("no {} service", kind.name()))?.clone())
    }

    /// Sets the price of an item to a number that is used once. The same number has the same request id.
    pub(crate) async fn update(&self, protocol: Protocol, item: &Item, number: usize) -> Answer {
        let request_id = format!("2{}{number:011}", item.id);
        match protocol {
            Protocol::Rest => {
                let body = item_update_json(HOME, item, &number.to_string(), "");
                self.post("/app/feeConfig.updateFeeConfig", &self.hc_head(&request_id), &body).await
            }
            Protocol::Grpc => {
                let message = UpdateFeeConfigRequest {
                    square_price: number.to_string(),
                    ..fee_items::update(HOME, &item.id, &item.name)
                };
                self.deliver(&self.community, |channel| {
                    let request = self.of_community(message.clone(), &request_id);
                    async move { FeeItemServiceClient::new(channel).update_fee_config(request?).await.map(drop) }
                })
                .await
            }
        }
    }

    /// Drafts a package. EPEIS clients send no request ids, so the name is the key: a repeated call is refused because the
    /// name is taken.
    pub(crate) async fn add_package(&self, name: &str, again: bool) -> Answer {
        let body = json!({"SYS_HEAD": sys_head(RETAIL), "COM_SALES_PACK": new_package_json(name)});
        match self.post("/Service/v1/AddSalePackage/", &[], &body).await {
            Answer::Refused(detail) if again && detail.contains("3003") => Answer::Done,
            answer => answer,
        }
    }

    /// Queries the arrears of a book.
    pub(crate) async fn arrears(&self, protocol: Protocol) -> Answer {
        match protocol {
            Protocol::Rest => {
                let body = json!({"SYS_HEAD": sys_head(RETAIL), "ACC_VOLPRICE_OWE": {"BOOK_AID": "B000000000000001"}});
                self.post("/Service/v1/QueryUserArrearages/", &[], &body).await
            }
            Protocol::Grpc => {
                let query = ArrearsFilter { book_id: "B000000000000001".into(), ..ArrearsFilter::default() };
                let message = QueryUserArrearagesRequest { filter: Some(query) };
                self.deliver(&self.billing, |channel| {
                    let request = self.of_billing(message.clone(), RETAIL);
                    async move { ReceivableServiceClient::new(channel).query_user_arrearages(request?).await.map(drop) }
                })
                .await
            }
        }
    }

    /// Imports a batch of lines; a repeated batch gets the same answer.
    pub(crate) async fn import(&self, batch_id: &str, lines: &[ReceivableLine]) -> Answer {
        let messages = receivables::import(batch_id, lines, lines.len());
        self.deliver(&self.billing, |channel| {
            let request = self.of_billing(tonic::codegen::tokio_stream::iter(messages.clone()), RETAIL);
            async move { ReceivableServiceClient::new(channel).import_receivable_lines(request?).await.map(drop) }
        })
        .await
    }

    async fn post(&self, path: &str, headers: &[(&str, String)], body: &Value) -> Answer {
        let mut detail = "no gateway is ready".to_owned();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        for attempt in 0..3 {
            let ready: Vec<_> = self.gateways.iter().filter(|g| g.ready.load(Ordering::Relaxed)).collect();
            let Some(gateway) = ready.get((turn + attempt) % ready.len().max(1)) else {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let mut request = self.http.post(format!("http://{}{path}", gateway.address)).body(body.to_string());
            request = request.header("x-timeout-ms", self.deadline.as_millis().to_string());
            for (name, value) in headers {
                request = request.header(*name, value);
            }
            let response = match request.timeout(self.deadline + Duration::from_secs(2)).send().await {
                Ok(response) => response,
                Err(error) if error.is_connect() => {
                    self.redelivered.fetch_add(usize::from(attempt < 2), Ordering::Relaxed);
                    detail = format!("{error:?}");
                    continue;
                }
                Err(error) => return Answer::Unknown(format!("{error:?}")),
            };
            let status = response.status().as_u16();
            let wait = response.headers().get("retry-after").and_then(|v| v.to_str().ok()?.parse().ok());
            let text = match response.text().await {
                Ok(text) => text,
                Err(error) => return Answer::Unknown(format!("{error:?}")),
            };
            return match status {
                200 if is_success(&text) => Answer::Done,
                429 => Answer::Overloaded(wait.map(Duration::from_secs)),
                503 => Answer::Unavailable(text),
                504 => Answer::Unknown(text),
                _ => Answer::Refused(format!("{status} {text}")),
            };
        }
        Answer::Unknown(detail)
    }

    async fn deliver<F: Future<Output = Result<(), Status>>>(
        &self,
        channels: &[Channel],
        call: impl Fn(Channel) -> F,
    ) -> Answer {
        let mut last = None;
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        for attempt in 0..3 {
            let Some(channel) = channels.get((turn + attempt) % channels.len().max(1)) else { break };
            let Err(status) = call(channel.clone()).await else { return Answer::Done };
            if undelivered(&status).is_none() {
                return answer_of(&status);
            }
            self.redelivered.fetch_add(usize::from(attempt < 2), Ordering::Relaxed);
            last = Some(status);
        }
        Answer::Unavailable(format!("no replica accepted the call: {last:?}"))
    }

    /// Headers of an HC call.
    pub(crate) fn hc_head(&self, request_id: &str) -> [(&'static str, String); 4] {
        [
            ("app-id", APP.to_owned()),
            ("transaction-id", request_id.to_owned()),
            ("req-time", "20240301083000".to_owned()),
            ("authorization", format!("Bearer {}", self.token)),
        ]
    }

    /// A gRPC call of the operator to community.
    pub(crate) fn of_community<M>(&self, message: M, request_id: &str) -> Result<Request<M>, Status> {
        let token = format!("Bearer {}", self.token);
        self.request(message, &[("x-channel-id", APP), ("authorization", &token), ("idempotency-key", request_id)])
    }

    /// A gRPC call of a company to billing.
    pub(crate) fn of_billing<M>(&self, message: M, company: &str) -> Result<Request<M>, Status> {
        self.request(message, &billing::metadata(company))
    }

    fn request<M>(&self, message: M, metadata: &[(&'static str, &str)]) -> Result<Request<M>, Status> {
        let mut request = Request::new(message);
        for (name, value) in metadata {
            let value = value.parse().map_err(|_| Status::invalid_argument(*name))?;
            request.metadata_mut().insert(*name, value);
        }
        request.set_timeout(self.deadline);
        Ok(request)
    }
}

fn watched(address: SocketAddr, admin: SocketAddr) -> Backend {
    let ready = Arc::new(AtomicBool::new(true));
    let published = Arc::clone(&ready);
    let watcher = tokio::spawn(async move {
        loop {
            // A probe without an answer in time says nothing.
            if let Some(ready) = readiness(admin, Duration::from_secs(1)).await {
                published.store(ready, Ordering::Relaxed);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    Backend { address, ready, watcher }
}

/// Credentials of an EPEIS call.
pub(crate) fn sys_head(company: &str) -> Value {
    json!({"CHANNEL_DID": billing::CHANNEL, "DYNAMIC_KEY": billing::KEY, "REGISTER_DID": billing::OPERATOR, "ACCOUNT_DID": company})
}

/// A package to draft.
pub(crate) fn new_package_json(name: &str) -> Value {
    json!({
        "NETWORK_CO_DID": NETWORK, "RET_STORES_AID": STORE, "CHARGE_PACK_NAME": name, "PACK_REMARK": "演练",
        "ACCOUNT_ITEM_INFO": ACCOUNT_ITEM, "NETWORK_TYPE": "2", "COMP_DEVIATION_YESNO": "1",
        "AGREE_PRICE_YESNO": "1", "TIME_FEES_TYPE": "1", "LADDER_TYPE": "2", "LADDER_NUM_TYPE": "3",
        "ALLOW_CANCELL_YESNO": "2", "RETAIL_VOLTAGE_GRADE_TYPE": "1", "TRANS_VOLTAGE_TYPE": "9",
    })
}

/// A change of an item's price, and of its state if one is given: the same change as [`fee_items::update`].
pub(crate) fn item_update_json(community: &str, item: &Item, price: &str, state: &str) -> Value {
    json!({
        "configId": item.id, "feeTypeCd": FeeType::Property.code(), "feeName": item.name,
        "feeFlag": FeeFlag::Periodic.code(), "startTime": "2024-01-01", "endTime": "2050-12-31",
        "computingFormula": Formula::BuiltUpArea.code(), "squarePrice": price, "additionalAmount": "100",
        "communityId": community, "billType": BillType::Monthly.code(), "state": state,
    })
}

/// Looks up the identifier of an item; the call that creates it does not return it.
pub(crate) async fn item_id(pool: &sqlx::PgPool, community: &str, name: &str) -> anyhow::Result<String> {
    let id = sqlx::query_scalar("SELECT config_id FROM pay_fee_config WHERE community_id = $1 AND fee_name = $2");
    Ok(id.bind(community).bind(name).fetch_one(pool).await?)
}

fn is_success(text: &str) -> bool {
    let Ok(envelope) = serde_json::from_str::<Value>(text) else { return false };
    envelope["CODE"] == 0 || envelope["code"] == "0"
}

pub(crate) fn answer_of(status: &Status) -> Answer {
    let mut text = format!("{:?} {}", status.code(), status.message());
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    match status.code() {
        Code::ResourceExhausted => {
            Answer::Overloaded(status.get_error_details().retry_info().and_then(|retry| retry.retry_delay))
        }
        Code::Unavailable => Answer::Unavailable(text),
        Code::DeadlineExceeded | Code::Cancelled | Code::Unknown => Answer::Unknown(text),
        _ => Answer::Refused(text),
    }
}
