//! `saveFeeConfig` and `updateFeeConfig` without a cascade, each with a request id of its own: their round trips, and their
//! rate compared with the same statements and commits in pgbench.

use anyhow::{Context, ensure};
use bytes::Bytes;
use communal_proto::community::v1::{
    BillType, FeeFlag, FeeType, PaymentTiming, SaveFeeConfigRequest, UpdateFeeConfigRequest,
};
use prost::Message;

use super::{Round, Run, Watch, cpu_of, rates, rates_alone, round};
use crate::arithmetic::{Figure, Target};
use crate::capture::{Script, Statement};
use crate::grpc::{Client, Metadata, drive};
use crate::load::pgbench;
use crate::processor::Group;
use crate::report::Measurement;
use crate::stage::{COMMUNITY, CONNECTIONS, Service, Stage};

pub(super) const SAVE: &str = "/communal.community.v1.FeeItemService/SaveFeeConfig";
pub(super) const UPDATE: &str = "/communal.community.v1.FeeItemService/UpdateFeeConfig";
/// Items that are updated: many more than callers, so that two callers seldom update the same one.
const ITEMS: u64 = 1_000;
/// The identifier before the first item's: the service never draws one of these.
const FIRST: u64 = 930_000_000_000_000_000;
/// BEGIN, the claim of the request id, at most two statements of work, the recorded reply, and COMMIT.
const MOST_ROUND_TRIPS: Target = Target::AtMost(6.0);
const SPAN: (&str, &str) = ("2025-01-01 00:00:00", "2050-12-31 23:59:59");

/// The statement that makes items `1..=count`. An item's name is its identifier:
/// pgbench can then draw both at once.
pub(super) fn items(count: u64) -> String {
    format!(
        "INSERT INTO pay_fee_config (
             community_id, config_id, fee_type_cd, fee_name, fee_flag, start_time, end_time, computing_formula,
             square_price, additional_amount, bill_type, payment_cd, payment_cycle, deduct_from, pay_online, scale,
             decimal_place, units, state)
         SELECT '{COMMUNITY}', n::text, '888800010001', n::text, '1003006', '{}', '{}', '1001', 2.2, 0, '002',
             '1200', 1, 'Y', 'Y', '1', '2', '元', 'N'
         FROM generate_series({FIRST} + 1, {FIRST} + {count}) AS n",
        SPAN.0, SPAN.1
    )
}

/// The identifier of an item.
pub(super) fn item_id(number: u64) -> String {
    (FIRST + number).to_string()
}

pub(super) fn save_request(name: &str) -> Bytes {
    let request = SaveFeeConfigRequest {
        fee_type_cd: FeeType::Property.into(),
        fee_name: name.to_owned(),
        fee_flag: FeeFlag::Periodic.into(),
        start_time: SPAN.0.to_owned(),
        end_time: SPAN.1.to_owned(),
        computing_formula: "1001".to_owned(),
        square_price: "2.20".to_owned(),
        additional_amount: "0".to_owned(),
        community_id: COMMUNITY.to_owned(),
        bill_type: BillType::Monthly.into(),
        payment_cd: PaymentTiming::Prepaid.into(),
        payment_cycle: "1".to_owned(),
        ..SaveFeeConfigRequest::default()
    };
    request.encode_to_vec().into()
}

pub(super) fn update_message(item: &str) -> UpdateFeeConfigRequest {
    UpdateFeeConfigRequest {
        config_id: item.to_owned(),
        fee_type_cd: FeeType::Property.into(),
        fee_name: item.to_owned(),
        fee_flag: FeeFlag::Periodic.into(),
        start_time: SPAN.0.to_owned(),
        end_time: SPAN.1.to_owned(),
        computing_formula: "1001".to_owned(),
        square_price: "2.3".to_owned(),
        additional_amount: "0".to_owned(),
        community_id: COMMUNITY.to_owned(),
        bill_type: BillType::Monthly.into(),
        ..UpdateFeeConfigRequest::default()
    }
}

/// Runs one round of ours with the benchmark's own client, because every call is another one.
async fn ours_round(
    groups: &[&Group],
    service: &Service,
    path: &'static str,
    calls: u64,
    make: impl Fn(u64) -> (Metadata, Bytes) + Send + Sync + 'static,
) -> anyhow::Result<Round> {
    let watch = Watch::begin(groups);
    Ok(watch.end(drive(&service.process.address, path, CONNECTIONS, calls, make).await?))
}

async fn captured(
    stage: &Stage,
    service: &Service,
    path: &'static str,
    request_id: &str,
    message: Bytes,
) -> anyhow::Result<Vec<Statement>> {
    let client = Client::connect(&service.process.address).await?;
    let metadata = service.metadata_of(request_id);
    let call = async { client.call(path, &metadata, message).await.context("the captured call was refused") };
    let statements = stage.capture(&service.database, call).await?;
    let statements: Vec<_> = statements.into_iter().filter(|s| !s.text.contains("platform.channel")).collect();
    Ok(statements.into_iter().filter(|s| !s.text.contains("platform.operator")).collect())
}

/// Reports the round trips of a call, which are its captured statements with BEGIN and COMMIT.
fn round_trips(run: &mut Run<'_>, name: &str, statements: &[Statement]) {
    let trips = Figure::single(statements.len() as f64);
    let measure = format!("round trips to PostgreSQL, {name}");
    run.report.measurements.push(Measurement::alone("fee-items", measure, "", trips, MOST_ROUND_TRIPS));
}

/// Runs both contestants in turns: ours, and the bare statements in the same database.
async fn compare(
    run: &mut Run<'_>,
    service: &Service,
    name: &str,
    path: &'static str,
    script: &Script,
    make: impl Fn(u64, u64) -> (Metadata, Bytes) + Clone + Send + Sync + 'static,
) -> anyhow::Result<()> {
    let stage = run.stage;
    let groups = [&service.process.group, &stage.postgres];
    let trial = ours_round(&groups, service, path, 400, {
        let make = make.clone();
        move |n| make(0, n)
    })
    .await?;
    let calls = (trial.rate * run.extent.seconds).max(100.0) as u64;
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for number in 0..=run.extent.rounds as u64 {
        let make = make.clone();
        let found = ours_round(&groups, service, path, calls, move |n| make(number + 1, n)).await?;
        let limit = round(&[&stage.postgres], || {
            pgbench(stage, &service.database, script, CONNECTIONS, calls / u64::from(CONNECTIONS))
        })?;
        if number > 0 {
            ours.push(found);
            bare.push(limit);
        }
    }
    run.report.measurements.push(
        Measurement::alone("fee-items", format!("{name} with request id"), "/s", rates_alone(&ours), Target::Shown)
            .to_limit("bare statements in pgbench", rates(&bare)),
    );
    run.report.remarks.push(format!(
        "{name}: service {:.0} + PostgreSQL {:.0} µs a call; the bare statements cost PostgreSQL {:.0}; {:.0} calls a \
         second with the load generator on the same cores",
        cpu_of(&ours, &[0]).median,
        cpu_of(&ours, &[1]).median,
        cpu_of(&bare, &[0]).median,
        rates(&ours).median,
    ));
    Ok(())
}

pub(super) async fn measure(mut run: Run<'_>) -> anyhow::Result<()> {
    let stage = run.stage;
    let service = stage.community("bench_fee_items", &[&items(ITEMS)]).await?;
    // The first call of a process also reads the credentials.
    let client = Client::connect(&service.process.address).await?;
    client.call(SAVE, &service.metadata_of("first"), save_request("first")).await.context("the first call")?;

    // An id is spent once, whatever the method.
    let (of_save, of_update) = ("4711000000000000", "4711000000000001");
    let request_id = |id| (id, "request", "random(1000000000000000, 9000000000000000)");
    let name = "815000000000";
    let statements = captured(stage, &service, SAVE, of_save, save_request(name)).await?;
    round_trips(&mut run, "saveFeeConfig", &statements);
    let drawn = [request_id(of_save), (name, "name", "random(1000000000000000, 9000000000000000)")];
    let script = Script::of(&statements, &drawn)?;
    let metadata = service.metadata.clone();
    let make = move |round: u64, number: u64| {
        let mut metadata = metadata.clone();
        metadata.push(("idempotency-key".to_owned(), format!("save-{round}-{number}")));
        (metadata, save_request(&format!("物业费-{round}-{number}")))
    };
    compare(&mut run, &service, "saveFeeConfig", SAVE, &script, make).await?;

    let item = item_id(1);
    let statements = captured(stage, &service, UPDATE, of_update, update_message(&item).encode_to_vec().into()).await?;
    round_trips(&mut run, "updateFeeConfig", &statements);
    let any_item = format!("random({}, {})", FIRST + 1, FIRST + ITEMS);
    let script = Script::of(&statements, &[request_id(of_update), (&item, "item", &any_item)])?;
    let metadata = service.metadata.clone();
    let make = move |round: u64, number: u64| {
        let mut metadata = metadata.clone();
        metadata.push(("idempotency-key".to_owned(), format!("update-{round}-{number}")));
        // The factor has no divisor in common with the number of items, so all items are reached in a mixed order.
        let item = item_id(number * 7_919 % ITEMS + 1);
        (metadata, update_message(&item).encode_to_vec().into())
    };
    compare(&mut run, &service, "updateFeeConfig", UPDATE, &script, make).await?;

    let written: i64 = sqlx::query_scalar("SELECT count(*) FROM platform.change WHERE method <> 'bench'")
        .fetch_one(&service.pool)
        .await?;
    let answered: i64 =
        sqlx::query_scalar("SELECT count(*) FROM platform.answered_request").fetch_one(&service.pool).await?;
    ensure!(written == answered, "{written} changes, but {answered} answered requests");
    Ok(())
}
