//! A bill run over 60,000 rules, one bill each, compared with COPY of the same bills into the same table.

use std::time::Instant;

use anyhow::{Context, ensure};
use communal_fixtures::large_community::{ROOMS, items, owners, rooms, rules};
use communal_proto::community::v1::{RunBillRulesRequest, RunBillRulesResponse};
use prost::Message;
use sqlx::AssertSqlSafe;

use super::{Run, figure};
use crate::arithmetic::{Figure, Target};
use crate::grpc::Client;
use crate::report::Measurement;
use crate::stage::COMMUNITY;

const CALL: &str = "/communal.community.v1.BillRuleService/RunBillRules";
/// Rules: of three items for each room.
const RULES: u64 = 3 * ROOMS;

pub(super) async fn measure(run: Run<'_>) -> anyhow::Result<()> {
    let stage = run.stage;
    let (template, ran, copied) = ("bench_rules", "bench_rules_run", "bench_rules_copy");
    // All three items are prepaid each month.
    let monthly = "UPDATE pay_fee_config SET payment_cycle = 1, payment_cd = '1200'";
    let fill = [owners(COMMUNITY), rooms(COMMUNITY), items(COMMUNITY), monthly.to_owned(), rules(COMMUNITY)];
    let service = stage.community(template, &fill.each_ref().map(String::as_str)).await?;
    drop(service.process);
    service.pool.close().await;
    let file = format!("{}/bench_bills.copy", stage.setting("data_directory").await?);
    let request: bytes::Bytes = RunBillRulesRequest { community_id: COMMUNITY.to_owned() }.encode_to_vec().into();

    let (mut ours, mut limits, mut cpu, mut copy_cpu) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..run.extent.rounds.min(3) {
        stage.create_database(ran, Some(template)).await?;
        let process = stage.serve("community", ran)?;
        let pool = stage.pool(ran).await?;
        let client = Client::connect(&process.address).await?;
        sqlx::raw_sql("CHECKPOINT").execute(&pool).await?;
        let before = (process.group.read(), stage.postgres.read());
        let start = Instant::now();
        let mut last = RunBillRulesResponse::default();
        let mut unread = None;
        let answers = client.take_stream(CALL, &service.metadata, request.clone(), |state| {
            match RunBillRulesResponse::decode(state) {
                Ok(state) => last = state,
                Err(error) => unread = Some(error),
            }
        });
        answers.await.context("the run was refused")?;
        ours.push(RULES as f64 / start.elapsed().as_secs_f64());
        let used = process.group.since(&before.0) + stage.postgres.since(&before.1);
        cpu.push(used as f64 / 1e3 / RULES as f64);
        ensure!(unread.is_none(), "an answer cannot be read: {unread:?}");
        ensure!(last.bills == RULES as i64 && last.rules == RULES as i64, "{} of {RULES} bills", last.bills);
        let out = format!("COPY (SELECT * FROM pay_fee) TO '{file}' (FORMAT binary)");
        sqlx::raw_sql(AssertSqlSafe(out)).execute(&pool).await?;
        pool.close().await;
        drop(process);

        stage.create_database(copied, Some(template)).await?;
        let pool = stage.pool(copied).await?;
        sqlx::raw_sql("CHECKPOINT").execute(&pool).await?;
        let before = stage.postgres.read();
        let start = Instant::now();
        let copy = format!("COPY pay_fee FROM '{file}' (FORMAT binary)");
        let rows = sqlx::raw_sql(AssertSqlSafe(copy)).execute(&pool).await?.rows_affected();
        limits.push(RULES as f64 / start.elapsed().as_secs_f64());
        copy_cpu.push(stage.postgres.since(&before) as f64 / 1e3 / RULES as f64);
        ensure!(rows == RULES, "{rows} of {RULES} bills");
        pool.close().await;
    }
    run.report.measurements.push(
        Measurement::alone(
            "bill-rules",
            "run of 60,000 rules, one bill each",
            "/s",
            figure(ours.into_iter()),
            Target::AtLeast(0.4),
        )
        .to_limit("COPY of the bills", figure(limits.into_iter())),
    );
    let median = |values: Vec<f64>| Figure::of(&values).map_or(f64::NAN, |f| f.median);
    run.report.remarks.push(format!(
        "bill-rules: service + PostgreSQL {:.1} µs a rule, COPY {:.1} a bill",
        median(cpu),
        median(copy_cpu),
    ));
    Ok(())
}
