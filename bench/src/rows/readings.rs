//! Readings of a month over gRPC, compared with COPY of the rows that they become into the same table.

use std::time::Instant;

use anyhow::{Context, ensure};
use bytes::Bytes;
use communal_fixtures::credentials::billing::NETWORK;
use communal_proto::billing::v1::{
    AccountToBill, AddExpendMonthControlRequest, ChargeRuleType, CreateBillingInfoRequest, EnergyFlowType,
    MonthControl, NetworkType, NormalRetroType, ReadMetersRequest, ReadMetersResponse, ReadingsType, RegisterReading,
};
use prost::Message;
use sqlx::AssertSqlSafe;

use super::archive::{NETWORK_STORE, account_id, import, last_reading, messages, meter_id, with_reference_data};
use super::{Run, figure};
use crate::arithmetic::{Figure, Target};
use crate::grpc::Client;
use crate::report::Measurement;
use crate::stage::{ACTOR, Service};

const OPEN_MONTH: &str = "/communal.billing.v1.MonthControlService/AddExpendMonthControl";
const CREATE: &str = "/communal.billing.v1.BillingPointService/CreateBillingInfo";
const READ: &str = "/communal.billing.v1.ReadingService/ReadMeters";
/// Readings in a message, and accounts in a call.
const A_MESSAGE: u64 = 1_000;

/// Opens an account month.
pub(super) async fn open_month(service: &Service, client: &Client, account_month: i32) -> anyhow::Result<()> {
    let month = MonthControl {
        network_company_id: NETWORK.into(),
        network_store_id: NETWORK_STORE.into(),
        utility: NetworkType::Water.into(),
        account_month,
        part_month_rule: ChargeRuleType::ByDays.into(),
        start_date: 20_260_101,
        stop_date: 20_990_101,
    };
    let month = AddExpendMonthControlRequest { month: Some(month) };
    let opened = client
        .call(OPEN_MONTH, &service.metadata_of(&format!("month-{account_month}")), month.encode_to_vec().into())
        .await;
    opened.context("the month was refused")?;
    Ok(())
}

/// Makes the billing points of all accounts.
pub(super) async fn create_points(service: &Service, client: &Client, accounts: u64) -> anyhow::Result<()> {
    for begin in (0..accounts).step_by(A_MESSAGE as usize) {
        let chunk = (begin..accounts.min(begin + A_MESSAGE))
            .map(|number| AccountToBill { settlement_account_id: account_id(number) });
        let request = CreateBillingInfoRequest { accounts: chunk.collect() };
        let metadata = service.metadata_of(&format!("points-{begin}"));
        client.call(CREATE, &metadata, request.encode_to_vec().into()).await.context("points were refused")?;
    }
    Ok(())
}

/// The messages of a month's readings, encoded before the clock starts: each account consumed a quantity and up to 19 more.
pub(super) fn readings(accounts: u64, quantity: u64) -> Vec<Bytes> {
    let reading = |number: u64| RegisterReading {
        meter_id: meter_id(number),
        run_kind: NormalRetroType::Normal.into(),
        energy_flow: EnergyFlowType::Forward.into(),
        register: ReadingsType::Total.into(),
        reading: (last_reading(number) + quantity + number % 20).to_string(),
        turn: 0,
    };
    let message = |begin: u64| ReadMetersRequest {
        readings: (begin..accounts.min(begin + A_MESSAGE)).map(reading).collect(),
        ..ReadMetersRequest::default()
    };
    (0..accounts).step_by(A_MESSAGE as usize).map(|begin| message(begin).encode_to_vec().into()).collect()
}

/// Enters the readings of a month, and returns the readings a second.
pub(super) async fn enter(
    service: &Service,
    client: &Client,
    accounts: u64,
    messages: Vec<Bytes>,
) -> anyhow::Result<f64> {
    let start = Instant::now();
    let reply = client.send_stream(READ, &service.metadata, messages).await;
    let reply = ReadMetersResponse::decode(reply.context("the readings were refused")?)?;
    let rate = accounts as f64 / start.elapsed().as_secs_f64();
    ensure!(reply.readings == accounts as i64 && reply.faults.is_empty(), "{} of {accounts}", reply.readings);
    Ok(rate)
}

pub(super) async fn measure(run: Run<'_>) -> anyhow::Result<()> {
    let (stage, accounts) = (run.stage, run.extent.archive_accounts / 2);
    let service = with_reference_data(stage, "bench_readings").await?;
    import(&service, &messages("archive", accounts), accounts).await?;
    let client = Client::connect(&service.process.address).await?;
    open_month(&service, &client, 202_601).await?;
    create_points(&service, &client, accounts).await?;
    sqlx::raw_sql("VACUUM ANALYZE").execute(&service.pool).await?;
    let file = format!("{}/bench_point_reading.copy", stage.setting("data_directory").await?);

    let messages = readings(accounts, 10);
    let (mut ours, mut limits, mut cpu, mut copy_cpu) = (vec![], vec![], vec![], vec![]);
    for round in 0..=run.extent.rounds.min(3) {
        sqlx::raw_sql("TRUNCATE point_reading; CHECKPOINT").execute(&service.pool).await?;
        let before = (service.process.group.read(), stage.postgres.read());
        let rate = enter(&service, &client, accounts, messages.clone()).await?;
        let used = service.process.group.since(&before.0) + stage.postgres.since(&before.1);

        let out = format!("COPY (SELECT * FROM point_reading) TO '{file}' (FORMAT binary)");
        sqlx::raw_sql(AssertSqlSafe(out)).execute(&service.pool).await?;
        sqlx::raw_sql("TRUNCATE point_reading; CHECKPOINT").execute(&service.pool).await?;
        let before = stage.postgres.read();
        let start = Instant::now();
        let copy = format!("BEGIN; {ACTOR}; COPY point_reading FROM '{file}' (FORMAT binary); COMMIT");
        sqlx::raw_sql(AssertSqlSafe(copy)).execute(&service.pool).await?;
        let limit = accounts as f64 / start.elapsed().as_secs_f64();
        let copy_used = stage.postgres.since(&before);
        let copied: i64 = sqlx::query_scalar("SELECT count(*) FROM point_reading").fetch_one(&service.pool).await?;
        ensure!(copied == accounts as i64, "{copied} of {accounts} readings");
        // The first round is a warm-up.
        if round > 0 {
            ours.push(rate);
            limits.push(limit);
            cpu.push(used as f64 / 1e3 / accounts as f64);
            copy_cpu.push(copy_used as f64 / 1e3 / accounts as f64);
        }
    }
    run.report.measurements.push(
        Measurement::alone(
            "readings",
            format!("readings of {accounts} accounts by ReadMeters"),
            "readings/s",
            figure(ours.into_iter()),
            Target::AtLeast(0.5),
        )
        .to_limit("COPY of the same rows from a file", figure(limits.into_iter())),
    );
    let median = |values: Vec<f64>| Figure::of(&values).map_or(f64::NAN, |f| f.median);
    run.report.remarks.push(format!(
        "readings: service + PostgreSQL {:.1} µs a reading, COPY {:.1}",
        median(cpu),
        median(copy_cpu),
    ));
    Ok(())
}
