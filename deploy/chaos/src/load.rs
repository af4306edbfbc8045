//! Clients: what they call, how they behave when a process goes away, and what they count.
//!
//! REST clients do what a load balancer in front of the gateways does: ask each gateway's
//! `/readyz` ten times a second, send to the ready ones in turn, and try another one only
//! where no connection could be made. gRPC clients hold a connection to each replica, take
//! them in turn, and make a call again elsewhere only where it certainly was not delivered
//! (refused connection, GOAWAY before the call), as gRPC's own libraries do.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use communal_kit::delivery::undelivered;
use communal_proto::billing::v1::receivable_service_client::ReceivableServiceClient;
use communal_proto::billing::v1::supplier_service_client::SupplierServiceClient;
use communal_proto::billing::v1::{ArrearsFilter, QueryUserArrearagesRequest, RegisterStoresRequest, Store};
use communal_proto::community::v1::fee_item_service_client::FeeItemServiceClient;
use communal_proto::community::v1::{
    BillType, FeeFlag, FeeType, PaymentTiming, SaveFeeConfigRequest, UpdateFeeConfigRequest,
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use crate::stage::{
    APP, CHANNEL, COMMUNITY, Databases, KEY, NETWORK, OPERATOR, RETAIL, STORE, Slot, is_ready, operator_token,
};

/// What a client of either kind was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It is done.
    Done,
    /// Too much at once: RESOURCE_EXHAUSTED or 429, and when to come back.
    Overloaded(Option<Duration>),
    /// UNAVAILABLE or 503: it may have been done or not.
    Unavailable(String),
    /// The connection or the time ended: it may have been done or not.
    Unknown(String),
    /// Anything else.
    Refused(String),
}

/// One gateway as a load balancer sees it.
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

/// Everything that can be called.
#[derive(Debug)]
pub(crate) struct Clients {
    http: reqwest::Client,
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
    name: String,
    id: String,
}

/// How a call travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    Rest,
    Grpc,
}

impl Clients {
    /// Clients of these processes.
    pub(crate) fn new(slots: &[&Slot], connections: usize, deadline: Duration) -> anyhow::Result<Self> {
        use crate::stage::Kind;
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
            token: operator_token()?,
            deadline,
            redelivered: AtomicUsize::new(0),
            numbers: AtomicUsize::new(1),
        })
    }

    /// Calls that were made again elsewhere, since they had certainly not been delivered.
    pub(crate) fn redelivered(&self) -> usize {
        self.redelivered.load(Ordering::Relaxed)
    }

    /// A number that no call had before.
    pub(crate) fn number(&self) -> usize {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Creates the items that clients change.
    pub(crate) async fn items(&self, databases: &Databases, count: usize) -> anyhow::Result<Vec<Item>> {
        let pool = databases.pool("community")?;
        let mut items = Vec::new();
        for number in 0..count {
            let name = format!("费用项{number}");
            let message = SaveFeeConfigRequest {
                fee_type_cd: FeeType::Property.into(),
                fee_name: name.clone(),
                fee_flag: FeeFlag::Periodic.into(),
                start_time: "2024-01-01".into(),
                end_time: "2050-12-31".into(),
                computing_formula: "1001".into(),
                // No update sets this one.
                square_price: "0.5".into(),
                additional_amount: "0".into(),
                community_id: COMMUNITY.into(),
                bill_type: BillType::Monthly.into(),
                payment_cd: PaymentTiming::Prepaid.into(),
                payment_cycle: "1".into(),
                ..SaveFeeConfigRequest::default()
            };
            let channel = self.community.first().context("no community service")?.clone();
            let request = self.of_community(message, &format!("1{number:029}"))?;
            FeeItemServiceClient::new(channel).save_fee_config(request).await?;
            let id = sqlx::query_scalar("SELECT config_id FROM pay_fee_config WHERE fee_name = $1")
                .bind(&name)
                .fetch_one(&pool)
                .await?;
            items.push(Item { name, id });
        }
        Ok(items)
    }

    /// Registers the store that packages belong to.
    pub(crate) async fn store(&self) -> anyhow::Result<()> {
        let stores = vec![Store { store_id: STORE.into(), name: "营业厅".into() }];
        let channel = self.billing.first().context("no billing service")?.clone();
        SupplierServiceClient::new(channel).register_stores(self.of_billing(RegisterStoresRequest { stores })?).await?;
        Ok(())
    }

    /// Sets the price of an item to a number that is used once. The same request id makes it
    /// the same call.
    pub(crate) async fn update(&self, door: Door, item: &Item, number: usize) -> Answer {
        let request_id = format!("2{}{number:011}", item.id);
        match door {
            Door::Rest => {
                let body = json!({
                    "configId": item.id, "feeTypeCd": FeeType::Property.code_text(), "feeName": item.name,
                    "feeFlag": FeeFlag::Periodic.code_text(), "startTime": "2024-01-01", "endTime": "2050-12-31",
                    "computingFormula": "1001", "squarePrice": number.to_string(), "additionalAmount": "0",
                    "communityId": COMMUNITY, "billType": BillType::Monthly.code_text(),
                });
                let headers = [
                    ("app-id", APP.to_owned()),
                    ("transaction-id", request_id),
                    ("req-time", "20240301083000".to_owned()),
                    ("authorization", format!("Bearer {}", self.token)),
                ];
                self.post("/app/feeConfig.updateFeeConfig", &headers, &body).await
            }
            Door::Grpc => {
                let message = UpdateFeeConfigRequest {
                    config_id: item.id.clone(),
                    fee_type_cd: FeeType::Property.into(),
                    fee_name: item.name.clone(),
                    fee_flag: FeeFlag::Periodic.into(),
                    start_time: "2024-01-01".into(),
                    end_time: "2050-12-31".into(),
                    computing_formula: "1001".into(),
                    square_price: number.to_string(),
                    additional_amount: "0".into(),
                    community_id: COMMUNITY.into(),
                    bill_type: BillType::Monthly.into(),
                    ..UpdateFeeConfigRequest::default()
                };
                self.deliver(&self.community, |channel| {
                    let request = self.of_community(message.clone(), &request_id);
                    async move { FeeItemServiceClient::new(channel).update_fee_config(request?).await.map(drop) }
                })
                .await
            }
        }
    }

    /// Drafts a package. EPEIS has no request ids: the name is the key, so making the call
    /// again answers that it is taken.
    pub(crate) async fn add_package(&self, name: &str, again: bool) -> Answer {
        let body = json!({
            "SYS_HEAD": sys_head(),
            "COM_SALES_PACK": {
                "NETWORK_CO_DID": NETWORK, "RET_STORES_AID": STORE, "CHARGE_PACK_NAME": name, "PACK_REMARK": "演练",
                "ACCOUNT_ITEM_INFO": "1122.01", "NETWORK_TYPE": "2", "COMP_DEVIATION_YESNO": "1",
                "AGREE_PRICE_YESNO": "1", "TIME_FEES_TYPE": "1", "LADDER_TYPE": "2", "LADDER_NUM_TYPE": "3",
                "ALLOW_CANCELL_YESNO": "2", "RETAIL_VOLTAGE_GRADE_TYPE": "1", "TRANS_VOLTAGE_TYPE": "9",
            },
        });
        match self.post("/Service/v1/AddSalePackage/", &[], &body).await {
            Answer::Refused(told) if again && told.contains("3003") => Answer::Done,
            answer => answer,
        }
    }

    /// What a book of customers owes.
    pub(crate) async fn arrears(&self, door: Door) -> Answer {
        match door {
            Door::Rest => {
                let body = json!({"SYS_HEAD": sys_head(), "ACC_VOLPRICE_OWE": {"BOOK_AID": "B000000000000001"}});
                self.post("/Service/v1/QueryUserArrearages/", &[], &body).await
            }
            Door::Grpc => {
                let query = ArrearsFilter { book_id: "B000000000000001".into(), ..ArrearsFilter::default() };
                let message = QueryUserArrearagesRequest { filter: Some(query) };
                self.deliver(&self.billing, |channel| {
                    let request = self.of_billing(message.clone());
                    async move { ReceivableServiceClient::new(channel).query_user_arrearages(request?).await.map(drop) }
                })
                .await
            }
        }
    }

    async fn post(&self, path: &str, headers: &[(&str, String)], body: &Value) -> Answer {
        let mut told = "no gateway is ready".to_owned();
        for attempt in 0..3 {
            let ready: Vec<_> = self.gateways.iter().filter(|g| g.ready.load(Ordering::Relaxed)).collect();
            let Some(gateway) = ready.get(self.turn.fetch_add(1, Ordering::Relaxed) % ready.len().max(1)) else {
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
                    told = format!("{error:?}");
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
        Answer::Unknown(told)
    }

    async fn deliver<F: Future<Output = Result<(), Status>>>(
        &self,
        channels: &[Channel],
        call: impl Fn(Channel) -> F,
    ) -> Answer {
        let mut last = None;
        for attempt in 0..3 {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed) % channels.len().max(1);
            let Some(channel) = channels.get(turn) else { break };
            let Err(status) = call(channel.clone()).await else { return Answer::Done };
            if undelivered(&status).is_none() {
                return told(&status);
            }
            self.redelivered.fetch_add(usize::from(attempt < 2), Ordering::Relaxed);
            last = Some(status);
        }
        Answer::Unavailable(format!("no replica took the call: {last:?}"))
    }

    fn of_community<M>(&self, message: M, request_id: &str) -> Result<Request<M>, Status> {
        let token = format!("Bearer {}", self.token);
        self.request(message, &[("x-channel-id", APP), ("authorization", &token), ("x-request-id", request_id)])
    }

    fn of_billing<M>(&self, message: M) -> Result<Request<M>, Status> {
        let head =
            [("x-channel-id", CHANNEL), ("x-channel-key", KEY), ("x-operator-id", OPERATOR), ("x-tenant-id", RETAIL)];
        self.request(message, &head)
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

/// The documented code of an enum value.
trait CodeText {
    fn code_text(self) -> &'static str;
}

impl<T: communal_proto::Coded> CodeText for T {
    fn code_text(self) -> &'static str {
        self.code()
    }
}

fn watched(address: SocketAddr, admin: SocketAddr) -> Backend {
    let ready = Arc::new(AtomicBool::new(true));
    let told = Arc::clone(&ready);
    let watcher = tokio::spawn(async move {
        loop {
            told.store(is_ready(admin).await, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    Backend { address, ready, watcher }
}

fn sys_head() -> Value {
    json!({"CHANNEL_DID": CHANNEL, "DYNAMIC_KEY": KEY, "REGISTER_DID": OPERATOR, "ACCOUNT_DID": RETAIL})
}

fn is_success(text: &str) -> bool {
    let Ok(envelope) = serde_json::from_str::<Value>(text) else { return false };
    envelope["CODE"] == 0 || envelope["code"] == "0"
}

fn told(status: &Status) -> Answer {
    let text = format!("{:?} {}", status.code(), status.message());
    match status.code() {
        Code::ResourceExhausted => {
            Answer::Overloaded(status.get_error_details().retry_info().and_then(|retry| retry.retry_delay))
        }
        Code::Unavailable => Answer::Unavailable(text),
        Code::DeadlineExceeded | Code::Cancelled | Code::Unknown => Answer::Unknown(text),
        _ => Answer::Refused(text),
    }
}

/// What a client counted.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Times of the answers, by what they were.
    pub(crate) done: Vec<Duration>,
    pub(crate) overloaded: Vec<Duration>,
    pub(crate) unavailable: Vec<Duration>,
    pub(crate) unknown: Vec<Duration>,
    pub(crate) refused: Vec<Duration>,
    /// Refusals for overload that do not say when to come back.
    pub(crate) unguided: usize,
    /// Calls that were acknowledged only after they were made again.
    pub(crate) replayed: Vec<Key>,
    /// What is stored by the answers: exactly this, once each.
    pub(crate) acknowledged: Vec<Key>,
    /// Some of what was told.
    pub(crate) told: Vec<String>,
}

/// A write that can be found in the database: what it changed, and the value.
pub(crate) type Key = (String, String);

impl Tally {
    pub(crate) fn count(&mut self, answer: &Answer, took: Duration) {
        let told = match answer {
            Answer::Done => {
                self.done.push(took);
                return;
            }
            Answer::Overloaded(wait) => {
                self.overloaded.push(took);
                self.unguided += usize::from(wait.is_none());
                return;
            }
            Answer::Unavailable(told) => {
                self.unavailable.push(took);
                told
            }
            Answer::Unknown(told) => {
                self.unknown.push(took);
                told
            }
            Answer::Refused(told) => {
                self.refused.push(took);
                told
            }
        };
        if self.told.len() < 3 && !self.told.contains(told) {
            self.told.push(told.chars().take(300).collect());
        }
    }

    /// Answers of any kind.
    pub(crate) fn calls(&self) -> usize {
        self.done.len() + self.overloaded.len() + self.failed()
    }

    /// Answers that are neither «done» nor «come back later».
    pub(crate) fn failed(&self) -> usize {
        self.unavailable.len() + self.unknown.len() + self.refused.len()
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.done.extend(other.done);
        self.overloaded.extend(other.overloaded);
        self.unavailable.extend(other.unavailable);
        self.unknown.extend(other.unknown);
        self.refused.extend(other.refused);
        self.unguided += other.unguided;
        self.replayed.extend(other.replayed);
        self.acknowledged.extend(other.acknowledged);
        self.told.extend(other.told);
        self.told.truncate(6);
    }
}

/// The time that a share of the answers did not exceed; `None` without answers.
pub(crate) fn percentile(times: &[Duration], percent: usize) -> Option<Duration> {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted.get((sorted.len() * percent / 100).min(sorted.len().checked_sub(1)?)).copied()
}

/// Tallies by kind of call.
pub(crate) type Tallies = BTreeMap<&'static str, Tally>;

/// Clients at work.
#[derive(Debug)]
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    workers: Vec<(&'static str, JoinHandle<Tally>)>,
}

/// Pause between the calls of a client: there are other things on this machine.
const PAUSE: Duration = Duration::from_millis(4);
/// Pause before a call of unknown outcome is made again.
const AGAIN: Duration = Duration::from_millis(100);
/// Pause of a refused client: a quarter of what RetryInfo asks for.
const IMPATIENCE: Duration = Duration::from_millis(250);
/// After this time a call is not made again any more.
const PATIENCE: Duration = Duration::from_secs(30);

impl Load {
    pub(crate) fn new() -> Self {
        Self { stop: Arc::default(), workers: Vec::new() }
    }

    /// Clients that change one item each. With `replay` a call whose outcome is not known is
    /// made again, under the same request id, until it is.
    pub(crate) fn updates(
        &mut self,
        kind: &'static str,
        clients: &Arc<Clients>,
        door: Door,
        items: &[Item],
        replay: bool,
    ) {
        for item in items {
            let (clients, item) = (Arc::clone(clients), item.clone());
            self.worker(kind, replay, &Arc::clone(&clients), move |number, _again| {
                let (clients, item) = (Arc::clone(&clients), item.clone());
                async move {
                    let key = (item.id.clone(), number.to_string());
                    (clients.update(door, &item, number).await, Some(key))
                }
            });
        }
    }

    /// Clients that draft packages.
    pub(crate) fn packages(&mut self, kind: &'static str, clients: &Arc<Clients>, count: usize, replay: bool) {
        for worker in 0..count {
            let clients = Arc::clone(clients);
            self.worker(kind, replay, &Arc::clone(&clients), move |number, again| {
                let clients = Arc::clone(&clients);
                async move {
                    let name = format!("套餐{worker}-{number}");
                    let answer = clients.add_package(&name, again).await;
                    (answer, Some(("package".to_owned(), name)))
                }
            });
        }
    }

    /// Clients that ask for arrears.
    pub(crate) fn reads(&mut self, kind: &'static str, clients: &Arc<Clients>, door: Door, count: usize) {
        for _ in 0..count {
            let clients = Arc::clone(clients);
            self.worker(kind, false, &Arc::clone(&clients), move |_, _| {
                let clients = Arc::clone(&clients);
                async move { (clients.arrears(door).await, None) }
            });
        }
    }

    fn worker<F: Future<Output = (Answer, Option<Key>)> + Send>(
        &mut self,
        kind: &'static str,
        replay: bool,
        clients: &Arc<Clients>,
        call: impl Fn(usize, bool) -> F + Send + Sync + 'static,
    ) {
        let (stop, clients) = (Arc::clone(&self.stop), Arc::clone(clients));
        let worker = tokio::spawn(async move {
            let mut tally = Tally::default();
            while !stop.load(Ordering::Relaxed) {
                let (first, number) = (Instant::now(), clients.number());
                let mut pause = PAUSE;
                let mut again = false;
                loop {
                    let began = Instant::now();
                    let (answer, key) = call(number, again).await;
                    tally.count(&answer, began.elapsed());
                    if matches!(answer, Answer::Overloaded(_)) {
                        pause = IMPATIENCE;
                    }
                    let open = matches!(answer, Answer::Unavailable(_) | Answer::Unknown(_));
                    if answer == Answer::Done
                        && let Some(key) = key
                    {
                        if again {
                            tally.replayed.push(key.clone());
                        }
                        tally.acknowledged.push(key);
                    }
                    if !(open && replay) || first.elapsed() > PATIENCE {
                        break;
                    }
                    again = true;
                    tokio::time::sleep(AGAIN).await;
                }
                tokio::time::sleep(pause).await;
            }
            tally
        });
        self.workers.push((kind, worker));
    }

    /// Lets every client finish its call and gathers what they counted.
    pub(crate) async fn end(self) -> anyhow::Result<Tallies> {
        self.stop.store(true, Ordering::Relaxed);
        let mut tallies = Tallies::new();
        for (kind, worker) in self.workers {
            tallies.entry(kind).or_default().add(worker.await?);
        }
        Ok(tallies)
    }
}

/// What the databases say of acknowledged writes.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// Acknowledged, and not there.
    pub(crate) lost: usize,
    /// There more than once.
    pub(crate) doubled: usize,
    /// Acknowledged writes.
    pub(crate) acknowledged: usize,
}

/// Compares what was acknowledged with what is stored: the history of items has one image for
/// each change, and packages are rows.
pub(crate) async fn verdict(databases: &Databases, tallies: &Tallies) -> anyhow::Result<Verdict> {
    let mut stored: HashMap<Key, i64> = HashMap::new();
    let images: Vec<(String, String, i64)> = sqlx::query_as(
        "SELECT config_id, trim_scale(square_price)::text, count(*) FROM fee_item_image
         WHERE operate = 'ADD' GROUP BY 1, 2",
    )
    .fetch_all(&databases.pool("community")?)
    .await?;
    stored.extend(images.into_iter().map(|(item, price, count)| ((item, price), count)));
    let packages: Vec<(String, i64)> = sqlx::query_as("SELECT name, count(*) FROM sales_package GROUP BY 1")
        .fetch_all(&databases.pool("billing")?)
        .await?;
    stored.extend(packages.into_iter().map(|(name, count)| (("package".to_owned(), name), count)));
    let acknowledged: Vec<_> = tallies.values().flat_map(|tally| &tally.acknowledged).collect();
    Ok(Verdict {
        lost: acknowledged.iter().filter(|key| !stored.contains_key(**key)).count(),
        doubled: stored.values().filter(|count| **count > 1).count(),
        acknowledged: acknowledged.len(),
    })
}
