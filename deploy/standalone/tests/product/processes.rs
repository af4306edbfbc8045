//! Processes that are ended during their work by SIGTERM and by kill -9. A running call has then either happened
//! completely or left nothing.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use communal_fixtures::credentials::billing::{self, RETAIL};
use communal_fixtures::credentials::community::{self as credentials, HOME};
use communal_fixtures::{fee_items, receivables};
use communal_kit::database::note_demo_data;
use communal_proto::billing::v1::ImportReceivableLinesRequest;
use communal_proto::billing::v1::receivable_service_client::ReceivableServiceClient;
use communal_proto::community::v1 as pb;
use communal_proto::community::v1::bill_rule_service_client::BillRuleServiceClient;
use communal_proto::community::v1::fee_item_service_client::FeeItemServiceClient;
use communal_proto::community::v1::fee_service_client::FeeServiceClient;
use communal_proto::community::v1::payer_object_service_client::PayerObjectServiceClient;
use nix::sys::signal::Signal;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::harness::process::Process;
use crate::harness::{Databases, connect};

/// Starts a process that stops soon after SIGTERM.
async fn start(databases: &Databases) -> Process {
    Process::start(databases, |command| {
        command
            .env("COMMUNAL_DRAIN_NOTICE_MS", "50")
            .env("COMMUNAL_DRAIN_LIMIT_MS", "3000")
            .env("COMMUNAL_LOG", "warn")
            .stdout(Stdio::null());
    })
    .await
}

/// Returns the number of stored receivable lines.
async fn stored_lines(databases: &Databases) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM receivable_line").fetch_one(&databases.billing.pool).await.unwrap()
}

/// Returns a message with 500 lines; each chunk has lines of its own.
fn chunk(number: u32) -> ImportReceivableLinesRequest {
    let lines = (number * 500..(number + 1) * 500).map(|account| receivables::line(account, 202_401)).collect();
    ImportReceivableLinesRequest { batch: None, lines }
}

/// Starts an import of `chunks` × 500 lines, and sends half of them.
async fn import_half(
    process: &Process,
    chunks: u32,
) -> (mpsc::Sender<ImportReceivableLinesRequest>, tokio::task::JoinHandle<Result<i64, tonic::Status>>) {
    let (sender, receiver) = mpsc::channel(1);
    let mut client = ReceivableServiceClient::new(connect(process.billing).await);
    let importing = tokio::spawn(async move {
        let request = billing::request(RETAIL, ReceiverStream::new(receiver));
        client.import_receivable_lines(request).await.map(|reply| reply.into_inner().lines)
    });
    let batch = Some(receivables::batch("batch-1", &chunk(0).lines));
    sender.send(ImportReceivableLinesRequest { batch, lines: vec![] }).await.unwrap();
    for number in 0..chunks / 2 {
        sender.send(chunk(number)).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    (sender, importing)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_lets_a_running_import_end_and_drops_one_that_does_not() {
    let databases = Databases::create().await;
    let mut process = start(&databases).await;
    let (sender, importing) = import_half(&process, 8).await;
    process.signal(Signal::SIGTERM);
    tokio::time::sleep(Duration::from_millis(200)).await;
    for number in 4..8 {
        sender.send(chunk(number)).await.unwrap();
    }
    drop(sender);
    assert_eq!(importing.await.unwrap().unwrap(), 4_000);
    assert!(process.ended().await);
    assert_eq!(stored_lines(&databases).await, 4_000);

    // An import whose sender never ends is dropped completely at the end of the drain.
    sqlx::query("TRUNCATE receivable_line, receivable_open, receivable_closing, receivable_batch CASCADE")
        .execute(&databases.billing.pool)
        .await
        .unwrap();
    let mut process = start(&databases).await;
    let (sender, importing) = import_half(&process, 8).await;
    process.signal(Signal::SIGTERM);
    importing.await.unwrap().unwrap_err();
    process.ended().await;
    drop(sender);
    assert_eq!(stored_lines(&databases).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_leaves_nothing_of_an_import_and_the_same_batch_goes_in_afterwards() {
    let databases = Databases::create().await;
    let mut process = start(&databases).await;
    let (sender, importing) = import_half(&process, 8).await;
    process.signal(Signal::SIGKILL);
    importing.await.unwrap().unwrap_err();
    drop(sender);
    process.ended().await;

    let mut process = start(&databases).await;
    assert_eq!(stored_lines(&databases).await, 0);
    let (sender, importing) = import_half(&process, 8).await;
    drop(sender);
    assert_eq!(importing.await.unwrap().unwrap(), 2_000);
    process.signal(Signal::SIGTERM);
    assert!(process.ended().await);
    assert_eq!(stored_lines(&databases).await, 2_000);
}

const FEES: usize = 2_000;
const ITEM: &str = "物业费";

/// Creates an item with open fees and a rule; returns its identifier.
async fn item_with_fees(process: &Process) -> String {
    let channel = connect(process.community).await;
    let rooms = (0..FEES).map(|n| fee_items::room(&format!("room-{n}")));
    let request = pb::RegisterPayerObjectsRequest { community_id: HOME.into(), payer_objects: rooms.collect() };
    PayerObjectServiceClient::new(channel.clone()).register_payer_objects(credentials::request(request)).await.unwrap();
    let save = fee_items::save(HOME, ITEM);
    let mut items = FeeItemServiceClient::new(channel.clone());
    items.save_fee_config(credentials::request(save)).await.unwrap();
    let list = pb::ListFeeConfigsRequest { community_id: HOME.into(), page: 1, row: 10, ..Default::default() };
    let listed = items.list_fee_configs(credentials::request(list)).await.unwrap().into_inner();
    let config_id = listed.fee_configs[0].config_id.clone();
    let fees = (0..FEES).map(|n| pb::NewFee {
        payer_obj_id: format!("room-{n}"),
        start_time: "2024-01-01".into(),
        deadline_time: String::new(),
    });
    let request = pb::CreateFeesRequest {
        community_id: HOME.into(),
        config_id: config_id.clone(),
        fees: fees.collect(),
        ..Default::default()
    };
    FeeServiceClient::new(channel.clone()).create_fees(credentials::request(request)).await.unwrap();
    let rules = vec![pb::NewBillRule {
        payer_obj_id: "room-0".into(),
        // From the same day on, it would be the same charge.
        start_time: "2024-01-02".into(),
        max_time: String::new(),
    }];
    let request = pb::CreateBillRulesRequest {
        community_id: HOME.into(),
        config_id: config_id.clone(),
        rules,
        ..Default::default()
    };
    BillRuleServiceClient::new(channel).create_bill_rules(credentials::request(request)).await.unwrap();
    config_id
}

async fn stop_item(address: SocketAddr, config_id: String) -> Result<(), tonic::Status> {
    let request = fee_items::stop(HOME, &config_id, ITEM);
    FeeItemServiceClient::new(connect(address).await).update_fee_config(credentials::request(request)).await.map(drop)
}

/// Returns the numbers of open fees and rules, as a client sees them.
async fn open(process: &Process, config_id: &str) -> (usize, usize) {
    let channel = connect(process.community).await;
    let mut fees = 0;
    let mut page_token = String::new();
    loop {
        let request = pb::ListFeesRequest {
            community_id: HOME.into(),
            config_id: config_id.into(),
            state: pb::FeeState::Charging.into(),
            page_size: 1000,
            page_token,
            ..Default::default()
        };
        let page =
            FeeServiceClient::new(channel.clone()).list_fees(credentials::request(request)).await.unwrap().into_inner();
        fees += page.fees.len();
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let request = pb::ListBillRulesRequest {
        community_id: HOME.into(),
        config_id: config_id.into(),
        state: pb::FeeState::Charging.into(),
        ..Default::default()
    };
    let rules = BillRuleServiceClient::new(channel).list_bill_rules(credentials::request(request)).await.unwrap();
    (fees, rules.into_inner().rules.len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_item_that_is_being_stopped_when_the_process_dies_is_stopped_whole_or_not_at_all() {
    let databases = Databases::create().await;
    let mut process = start(&databases).await;
    let config_id = item_with_fees(&process).await;
    assert_eq!(open(&process, &config_id).await, (FEES, 1));
    for (signal, delay_ms) in [(Signal::SIGKILL, 0), (Signal::SIGKILL, 2), (Signal::SIGKILL, 6), (Signal::SIGTERM, 1)] {
        let stopping = tokio::spawn(stop_item(process.community, config_id.clone()));
        tokio::time::sleep(Duration::from_millis(delay_ms)).await;
        process.signal(signal);
        let answered = stopping.await.unwrap().is_ok();
        process.ended().await;
        process = start(&databases).await;
        let left = open(&process, &config_id).await;
        assert!(left == (FEES, 1) || left == (0, 0), "half-done: {left:?}");
        assert!(!answered || left == (0, 0), "an answered call was lost");
    }
    stop_item(process.community, config_id.clone()).await.unwrap();
    assert_eq!(open(&process, &config_id).await, (0, 0));
    process.signal(Signal::SIGTERM);
    assert!(process.ended().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sandbox_clock_moves_business_time_and_only_that_of_demo_data() {
    let databases = Databases::create().await;
    let folder = std::env::temp_dir().join(format!("communal-clock-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("clock");
    std::fs::write(&file, format!("{}\n", 40 * 86_400)).unwrap();
    let configure = |command: &mut Command| {
        command.env("COMMUNAL_SANDBOX_CLOCK", &file).env("COMMUNAL_LOG", "warn").stdout(Stdio::null());
    };
    let process = Process::spawn(&databases, configure);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!process.billing_is_ready().await, "real accounts are never billed in a time that is not theirs");
    drop(process);

    for database in [&databases.billing, &databases.community] {
        note_demo_data(&mut database.pool.acquire().await.unwrap()).await.unwrap();
    }
    let process = Process::start(&databases, configure).await;
    let mut items = FeeItemServiceClient::new(connect(process.community).await);
    items.save_fee_config(credentials::request(fee_items::save(HOME, "item"))).await.unwrap();
    let ahead: f64 =
        sqlx::query_scalar("SELECT extract(epoch FROM max(changed_at) - now())::float8 / 86400 FROM platform.change")
            .fetch_one(&databases.community.pool)
            .await
            .unwrap();
    assert!((39.9..40.1).contains(&ahead), "the record of the change is {ahead} days ahead");
    std::fs::remove_dir_all(folder).unwrap();
}
