//! Real processes, ended in the middle of their work: by SIGTERM, and by kill -9. A call that
//! was running has either happened whole or left nothing.

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::harness::{self, KEY, NETWORK, Product, RETAIL};
use communal_proto::billing::v1::receivable_service_client::ReceivableServiceClient;
use communal_proto::billing::v1::{ImportBatch, ImportReceivableLinesRequest, ReceivableLine};
use communal_proto::community::v1 as community;
use communal_proto::community::v1::bill_rule_service_client::BillRuleServiceClient;
use communal_proto::community::v1::fee_item_service_client::FeeItemServiceClient;
use communal_proto::community::v1::fee_service_client::FeeServiceClient;
use communal_proto::community::v1::payer_object_service_client::PayerObjectServiceClient;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;
use tonic::transport::Channel;

/// A `communal serve` on databases that outlive it.
struct Process {
    child: Child,
    billing: SocketAddr,
    community: SocketAddr,
}

fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

impl Process {
    async fn start(databases: &Databases) -> Self {
        let [billing, billing_admin, community, community_admin, gateway, gateway_admin] =
            std::array::from_fn(|_| free_port());
        let child = Command::new(env!("CARGO_BIN_EXE_communal"))
            .arg("serve")
            .env("COMMUNAL_BILLING_DATABASE_URL", &databases.billing.url)
            .env("COMMUNAL_COMMUNITY_DATABASE_URL", &databases.community.url)
            .env("COMMUNAL_BILLING_ADDR", billing.to_string())
            .env("COMMUNAL_BILLING_ADMIN_ADDR", billing_admin.to_string())
            .env("COMMUNAL_COMMUNITY_ADDR", community.to_string())
            .env("COMMUNAL_COMMUNITY_ADMIN_ADDR", community_admin.to_string())
            .env("COMMUNAL_GATEWAY_ADDR", gateway.to_string())
            .env("COMMUNAL_GATEWAY_ADMIN_ADDR", gateway_admin.to_string())
            .env("COMMUNAL_TOKEN_KEY", harness::TOKEN_KEY)
            .env("COMMUNAL_SEALING_KEY", harness::SEALING_KEY)
            .env("COMMUNAL_DRAIN_NOTICE_MS", "50")
            .env("COMMUNAL_DRAIN_LIMIT_MS", "3000")
            .env("COMMUNAL_LOG", "warn")
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let process = Self { child, billing, community };
        process.until_ready(billing_admin).await;
        process.until_ready(community_admin).await;
        process
    }

    async fn until_ready(&self, admin: SocketAddr) {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        for _ in 0..200 {
            let answer = http.get(format!("http://{admin}/readyz")).send().await;
            if answer.is_ok_and(|a| a.status().is_success()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("not ready in 10 s");
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    /// Waits for the end; whether it was a good one.
    async fn ended(mut self) -> bool {
        tokio::task::spawn_blocking(move || self.child.wait().unwrap().success()).await.unwrap()
    }
}

struct Databases {
    billing: communal_kit::test_support::TestDatabase,
    community: communal_kit::test_support::TestDatabase,
}

impl Databases {
    async fn create() -> Self {
        let (billing, community) = Product::databases().await;
        Self { billing, community }
    }

    async fn lines(&self) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM receivable").fetch_one(&self.billing.pool).await.unwrap()
    }
}

async fn connect(address: SocketAddr) -> Channel {
    Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

fn billing_call<M>(message: M) -> Request<M> {
    let mut request = Request::new(message);
    for (key, value) in [
        ("x-channel-id", "C000000000000001"),
        ("x-channel-key", KEY),
        ("x-operator-id", "R000000000000001"),
        ("x-tenant-id", RETAIL),
    ] {
        request.metadata_mut().insert(key, value.parse().unwrap());
    }
    request
}

fn community_call<M>(message: M) -> Request<M> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("x-channel-id", "micro-community".parse().unwrap());
    let token = format!("Bearer {}", harness::operator_token());
    request.metadata_mut().insert("authorization", token.parse().unwrap());
    request
}

fn lines(from: usize, count: usize) -> Vec<ReceivableLine> {
    (from..from + count)
        .map(|n| ReceivableLine {
            network_company_id: NETWORK.into(),
            retail_company_id: RETAIL.into(),
            retail_store_id: "H000000000000001".into(),
            package_id: "P000000000000001".into(),
            book_id: "B000000000000001".into(),
            utility: 2,
            settlement_account_id: format!("A{n:015}"),
            run_kind: 1,
            customer_id: format!("K{n:015}"),
            account_item: "1122".into(),
            category_item: 1,
            account_month: 202_401,
            quantity: "100.00".into(),
            unit_price: "0.488300".into(),
            fee: "48.83".into(),
            package_kind: 3,
            charge_off_date: 20_240_201,
            charge_off_id: "O000000000000001".into(),
            ..Default::default()
        })
        .collect()
}

/// An import of `chunks` × 500 lines under way; half of them have been sent.
async fn import_half(
    process: &Process,
    chunks: usize,
) -> (mpsc::Sender<ImportReceivableLinesRequest>, tokio::task::JoinHandle<Result<i64, tonic::Status>>) {
    let (sender, receiver) = mpsc::channel(1);
    let mut client = ReceivableServiceClient::new(connect(process.billing).await);
    let importing = tokio::spawn(async move {
        let request = billing_call(ReceiverStream::new(receiver));
        client.import_receivable_lines(request).await.map(|reply| reply.into_inner().lines)
    });
    let batch = Some(ImportBatch { batch_id: "batch-1".into() });
    sender.send(ImportReceivableLinesRequest { batch, lines: vec![] }).await.unwrap();
    for chunk in 0..chunks / 2 {
        let message = ImportReceivableLinesRequest { batch: None, lines: lines(chunk * 500, 500) };
        sender.send(message).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    (sender, importing)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_lets_a_running_import_end_and_drops_one_that_does_not() {
    let databases = Databases::create().await;
    let process = Process::start(&databases).await;
    let (sender, importing) = import_half(&process, 8).await;
    process.signal(Signal::SIGTERM);
    tokio::time::sleep(Duration::from_millis(200)).await;
    for chunk in 4..8 {
        let message = ImportReceivableLinesRequest { batch: None, lines: lines(chunk * 500, 500) };
        sender.send(message).await.unwrap();
    }
    drop(sender);
    assert_eq!(importing.await.unwrap().unwrap(), 4_000);
    assert!(process.ended().await);
    assert_eq!(databases.lines().await, 4_000);

    // One whose sender never comes to an end is dropped with the drain, whole.
    sqlx::query("TRUNCATE receivable, receivable_batch").execute(&databases.billing.pool).await.unwrap();
    let process = Process::start(&databases).await;
    let (sender, importing) = import_half(&process, 8).await;
    process.signal(Signal::SIGTERM);
    importing.await.unwrap().unwrap_err();
    process.ended().await;
    drop(sender);
    assert_eq!(databases.lines().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_leaves_nothing_of_an_import_and_the_same_batch_goes_in_afterwards() {
    let databases = Databases::create().await;
    let process = Process::start(&databases).await;
    let (sender, importing) = import_half(&process, 8).await;
    process.signal(Signal::SIGKILL);
    importing.await.unwrap().unwrap_err();
    drop(sender);
    process.ended().await;

    let process = Process::start(&databases).await;
    assert_eq!(databases.lines().await, 0);
    let (sender, importing) = import_half(&process, 8).await;
    drop(sender);
    assert_eq!(importing.await.unwrap().unwrap(), 2_000);
    process.signal(Signal::SIGTERM);
    assert!(process.ended().await);
    assert_eq!(databases.lines().await, 2_000);
}

const FEES: usize = 2_000;

/// An item with open fees and a rule; its identifier.
async fn item_with_fees(process: &Process) -> String {
    let channel = connect(process.community).await;
    let rooms = (0..FEES).map(|n| community::PayerObject {
        payer_obj_id: format!("room-{n}"),
        payer_obj_type: 1,
        name: format!("{n}室"),
        built_up_area: "100.00".into(),
        ..Default::default()
    });
    let request =
        community::RegisterPayerObjectsRequest { community_id: "10001".into(), payer_objects: rooms.collect() };
    PayerObjectServiceClient::new(channel.clone()).register_payer_objects(community_call(request)).await.unwrap();
    let save = community::SaveFeeConfigRequest {
        fee_type_cd: community::FeeType::Property.into(),
        fee_name: "物业费".into(),
        fee_flag: community::FeeFlag::Periodic.into(),
        start_time: "2024-01-01".into(),
        end_time: "2050-12-31".into(),
        computing_formula: "1001".into(),
        square_price: "2.5".into(),
        additional_amount: "0".into(),
        community_id: "10001".into(),
        bill_type: community::BillType::Monthly.into(),
        payment_cd: community::PaymentTiming::Prepaid.into(),
        payment_cycle: "1".into(),
        ..Default::default()
    };
    let mut items = FeeItemServiceClient::new(channel.clone());
    items.save_fee_config(community_call(save)).await.unwrap();
    let list =
        community::ListFeeConfigsRequest { community_id: "10001".into(), page: 1, row: 10, ..Default::default() };
    let listed = items.list_fee_configs(community_call(list)).await.unwrap().into_inner();
    let config_id = listed.fee_configs[0].config_id.clone();
    let fees = (0..FEES).map(|n| community::NewFee {
        payer_obj_id: format!("room-{n}"),
        start_time: "2024-01-01".into(),
        deadline_time: String::new(),
    });
    let request = community::CreateFeesRequest {
        community_id: "10001".into(),
        config_id: config_id.clone(),
        fees: fees.collect(),
    };
    FeeServiceClient::new(channel.clone()).create_fees(community_call(request)).await.unwrap();
    let rules = vec![community::NewBillRule {
        payer_obj_id: "room-0".into(),
        start_time: "2024-01-01".into(),
        max_time: String::new(),
    }];
    let request =
        community::CreateBillRulesRequest { community_id: "10001".into(), config_id: config_id.clone(), rules };
    BillRuleServiceClient::new(channel).create_bill_rules(community_call(request)).await.unwrap();
    config_id
}

async fn stop_item(address: SocketAddr, config_id: String) -> Result<(), tonic::Status> {
    let request = community::UpdateFeeConfigRequest {
        config_id,
        fee_type_cd: community::FeeType::Property.into(),
        fee_name: "物业费".into(),
        fee_flag: community::FeeFlag::Periodic.into(),
        start_time: "2024-01-01".into(),
        end_time: "2050-12-31".into(),
        computing_formula: "1001".into(),
        square_price: "2.5".into(),
        additional_amount: "0".into(),
        community_id: "10001".into(),
        bill_type: community::BillType::Monthly.into(),
        state: community::ItemState::Stopped.into(),
        ..Default::default()
    };
    FeeItemServiceClient::new(connect(address).await).update_fee_config(community_call(request)).await.map(drop)
}

/// Open fees and rules, as a client sees them.
async fn open(process: &Process, config_id: &str) -> (usize, usize) {
    let channel = connect(process.community).await;
    let mut fees = 0;
    let mut page_token = String::new();
    loop {
        let request = community::ListFeesRequest {
            community_id: "10001".into(),
            config_id: config_id.into(),
            state: community::FeeState::Charging.into(),
            page_size: 1000,
            page_token,
            ..Default::default()
        };
        let page =
            FeeServiceClient::new(channel.clone()).list_fees(community_call(request)).await.unwrap().into_inner();
        fees += page.fees.len();
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let request = community::ListBillRulesRequest {
        community_id: "10001".into(),
        config_id: config_id.into(),
        state: community::FeeState::Charging.into(),
        ..Default::default()
    };
    let rules = BillRuleServiceClient::new(channel).list_bill_rules(community_call(request)).await.unwrap();
    (fees, rules.into_inner().rules.len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_item_that_is_being_stopped_when_the_process_dies_is_stopped_whole_or_not_at_all() {
    let databases = Databases::create().await;
    let mut process = Process::start(&databases).await;
    let config_id = item_with_fees(&process).await;
    assert_eq!(open(&process, &config_id).await, (FEES, 1));
    for (signal, delay_ms) in [(Signal::SIGKILL, 0), (Signal::SIGKILL, 2), (Signal::SIGKILL, 6), (Signal::SIGTERM, 1)] {
        let stopping = tokio::spawn(stop_item(process.community, config_id.clone()));
        tokio::time::sleep(Duration::from_millis(delay_ms)).await;
        process.signal(signal);
        let answered = stopping.await.unwrap().is_ok();
        process.ended().await;
        process = Process::start(&databases).await;
        let left = open(&process, &config_id).await;
        assert!(left == (FEES, 1) || left == (0, 0), "half-done: {left:?}");
        assert!(!answered || left == (0, 0), "an answered call was lost");
    }
    stop_item(process.community, config_id.clone()).await.unwrap();
    assert_eq!(open(&process, &config_id).await, (0, 0));
    process.signal(Signal::SIGTERM);
    assert!(process.ended().await);
}
