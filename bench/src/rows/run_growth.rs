//! What a run costs as the company grows, and as its history does; and how long the total of all bills that are not charged off
//! takes to be told.

use std::time::Instant;

use anyhow::{Context, ensure};
use communal_proto::billing::v1::{
    CalculateFeesRequest, NormalRetroType, PageRequest, PointToCalculate, QueryUnChargeOffInfoRequest,
    QueryUnChargeOffInfoResponse,
};
use prost::Message;
use sqlx::PgPool;

use super::archive::account_id;
use super::run::{MONTH, Ran, ReadMonth, columns, execute};
use super::{Run, figure};
use crate::arithmetic::{Figure, Target};
use crate::grpc::Client;
use crate::load::percentiles;
use crate::report::Measurement;
use crate::stage::Stage;

const CALCULATE: &str = "/communal.billing.v1.CalculationService/CalculateFees";
const UNCHARGED: &str = "/communal.billing.v1.CalculationService/QueryUnChargeOffInfo";
/// The months before the one that is run.
const HISTORY: [i32; 2] = [2024, 2025];
/// The tables of a month's history.
const OF_A_MONTH: [&str; 5] = ["billing_point", "point_reading", "bill", "receivable_line", "ledger"];
/// The most accounts of the smaller company, which has the history.
const FEW: u64 = 20_000;
/// Calls of the query that tells the total.
const QUERIES: usize = 100;

/// Notes the rows that a run left, in files.
async fn note(pool: &PgPool, folder: &str) -> anyhow::Result<()> {
    for table in OF_A_MONTH {
        execute(
            pool,
            format!(
                "COPY (SELECT {} FROM {table}) TO '{folder}/bench_past_{table}.copy' (FORMAT binary)",
                columns(pool, table).await?
            ),
        )
        .await?;
    }
    Ok(())
}

/// Gives a database the history of two years: the rows that were noted, once for each month.
async fn live_through(stage: &Stage, folder: &str, database: &str) -> anyhow::Result<()> {
    let pool = stage.pool(database).await?;
    let months: Vec<i32> = HISTORY.iter().flat_map(|year| (1..=12).map(move |month| year * 100 + month)).collect();
    for month in &months {
        execute(&pool, format!("SELECT open_account_month({month})")).await?;
    }
    for table in OF_A_MONTH {
        let columns = columns(&pool, table).await?;
        execute(
            &pool,
            format!(
                "CREATE UNLOGGED TABLE past (LIKE {table}); COPY past ({columns}) FROM '{folder}/bench_past_{table}.copy' (FORMAT binary)"
            ),
        )
        .await?;
        for month in &months {
            // Serials of another month are others; what is not of a month stays as it is.
            let serial = |name: &str| format!("overlay({name} PLACING '{month}' FROM 2 FOR 6)");
            let values: Vec<_> = columns
                .split(", ")
                .map(|column| match column {
                    "account_month" => month.to_string(),
                    "charge_off_id" | "serial" => serial(column),
                    _ => column.to_owned(),
                })
                .collect();
            execute(&pool, format!("INSERT INTO {table} ({columns}) SELECT {} FROM past", values.join(", "))).await?;
        }
        execute(&pool, "DROP TABLE past".to_owned()).await?;
    }
    execute(&pool, format!("UPDATE balance SET entry = {}", months.len())).await?;
    // The month that is run stays without statistics.
    let past = OF_A_MONTH.iter().flat_map(|table| months.iter().map(move |month| format!("{table}_{month}")));
    execute(&pool, format!("VACUUM ANALYZE {}", past.collect::<Vec<_>>().join(", "))).await?;
    pool.close().await;
    Ok(())
}

/// Calculates all points of a month, and returns how long a page of the bills with the total of all takes, in milliseconds.
async fn total(stage: &Stage, month: &ReadMonth) -> anyhow::Result<f64> {
    let pool = month.copy(stage, "bench_growth_total").await?;
    let process = stage.serve("billing", "bench_growth_total")?;
    let client = Client::connect(&process.address).await?;
    for begin in (0..month.accounts).step_by(1_000) {
        let point = |number| PointToCalculate {
            settlement_account_id: account_id(number),
            run_kind: NormalRetroType::Normal.into(),
        };
        let points = (begin..month.accounts.min(begin + 1_000)).map(point).collect();
        let request = CalculateFeesRequest { points }.encode_to_vec();
        client.call(CALCULATE, &month.metadata, request.into()).await.context("points were not calculated")?;
    }
    let page = PageRequest { page: 1, rows: 20 };
    let request = QueryUnChargeOffInfoRequest { page: Some(page), filter: None }.encode_to_vec();
    let mut latencies = Vec::with_capacity(QUERIES);
    for _ in 0..QUERIES {
        let start = Instant::now();
        let reply = client.call(UNCHARGED, &month.metadata, request.clone().into()).await?;
        latencies.push(start.elapsed().as_secs_f64() * 1e3);
        let reply = QueryUnChargeOffInfoResponse::decode(reply)?;
        let told = reply.page.unwrap_or_default().total;
        ensure!(told == month.accounts as i64, "{told} of {} bills", month.accounts);
    }
    pool.close().await;
    let (_, p99) = percentiles(&latencies).context("no latencies")?;
    Ok(p99)
}

pub(super) async fn measure(run: Run<'_>) -> anyhow::Result<()> {
    let (stage, accounts) = (run.stage, run.extent.run_accounts);
    let folder = stage.setting("data_directory").await?;
    let few = ReadMonth::of(stage, "bench_growth_few", (accounts / 10).min(FEW)).await?;
    // Not counted: it meets a server that has done nothing yet.
    let (_, pool) = few.bill(stage, "bench_growth_first").await?;
    note(&pool, &folder).await?;
    pool.close().await;
    let old = few.another(stage, "bench_growth_old").await?;
    live_through(stage, &folder, old.database).await?;
    let many = ReadMonth::of(stage, "bench_growth_many", accounts).await?;

    let (mut of_few, mut of_old, mut of_many) = (vec![], vec![], vec![]);
    for _ in 0..run.extent.rounds.min(3) {
        for (month, database, runs) in [
            (&few, "bench_growth_run_few", &mut of_few),
            (&old, "bench_growth_run_old", &mut of_old),
            (&many, "bench_growth_run_many", &mut of_many),
        ] {
            let (ran, pool) = month.bill(stage, database).await?;
            runs.push(ran);
            pool.close().await;
        }
    }

    let cpu = |runs: &[Ran]| figure(runs.iter().map(|ran| ran.cpu[0] + ran.cpu[1]));
    let wall = |runs: &[Ran]| figure(runs.iter().map(|ran| 1e6 / ran.rate));
    for (what, runs) in [(format!("{accounts} accounts"), &of_many), ("24 months of history".to_owned(), &of_old)] {
        let limit = format!("{} accounts without history", few.accounts);
        run.report.measurements.extend([
            Measurement::alone("run-growth", format!("CPU an account, {what}"), "µs", cpu(runs), Target::AtMost(1.2))
                .to_limit(limit.clone(), cpu(&of_few)),
            Measurement::alone("run-growth", format!("time an account, {what}"), "µs", wall(runs), Target::AtMost(1.3))
                .to_limit(limit, wall(&of_few)),
        ]);
    }
    let memory = figure(of_many.iter().map(|ran| ran.memory));
    run.report.measurements.extend([
        Measurement::alone(
            "run-growth",
            format!("memory of the service, {accounts} accounts, at most"),
            "MB",
            memory,
            Target::AtMost(120.0),
        ),
        Measurement::alone(
            "run-growth",
            format!("p99 of a page of all bills of {accounts} accounts that are not charged off, with the total"),
            "ms",
            Figure::single(total(stage, &many).await?),
            Target::AtMost(20.0),
        ),
    ]);
    run.report.remarks.push(format!(
        "run-growth: {:.0} accounts/s of {accounts}, month {MONTH}",
        figure(of_many.iter().map(|ran| ran.rate)).median
    ));
    Ok(())
}
