//! Stopping an item with many fees: its time, and the waiting time of other writers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use communal_proto::community::v1::ItemState;
use prost::Message;
use sqlx::{AssertSqlSafe, PgPool};

use super::fee_items::{UPDATE, item_id, items, update_message};
use super::{Run, figure};
use crate::arithmetic::{Figure, Target};
use crate::grpc::Client;
use crate::plot::Curve;
use crate::report::Measurement;
use crate::stage::{COMMUNITY, Service};

/// Fees of the measured item.
const FEES: u64 = 100_000;
/// The payer objects of these fees.
const OBJECTS: u64 = 1_000;

/// Statements that charge `count` fees by an item.
fn fees(item: u64, count: u64) -> String {
    format!(
        "INSERT INTO pay_fee (
             community_id, fee_id, config_id, payer_obj_id, payer_obj_type, state, epoch, start_time, end_time)
         SELECT '{COMMUNITY}', '{item}-' || lpad(n::text, 8, '0'), '{}', 'room' || n % {OBJECTS}, '3333', '2008001', 0,
             '2025-01-01', '2025-01-01'
         FROM generate_series(1, {count}) AS n",
        item_id(item)
    )
}

fn payer_objects() -> String {
    format!(
        "INSERT INTO payer_object (community_id, payer_obj_id, payer_obj_type, name, built_up_area, layer)
         SELECT '{COMMUNITY}', 'room' || n, '3333', '1栋' || n || '室', 89.5, 3
         FROM generate_series(0, {OBJECTS} - 1) AS n"
    )
}

/// Runs `work` beside another writer, which pays fees of the same item one by one; returns its longest wait.
async fn longest_wait<T>(
    pool: &PgPool,
    item: u64,
    count: u64,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<(T, Duration, Duration)> {
    let ended = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let (pool, ended) = (pool.clone(), ended.clone());
        let statement =
            "UPDATE pay_fee SET end_time = end_time + interval '1 month' WHERE community_id = $1 AND fee_id = $2";
        async move {
            let mut longest = Duration::ZERO;
            let mut number = 0;
            while !ended.load(Ordering::Relaxed) {
                number = (number + 7_919) % count;
                let start = Instant::now();
                let fee = format!("{item}-{:08}", number + 1);
                sqlx::query(statement).bind(COMMUNITY).bind(fee).execute(&pool).await?;
                longest = longest.max(start.elapsed());
            }
            Ok::<_, sqlx::Error>(longest)
        }
    });
    // The other writer reaches its steady rate first.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let start = Instant::now();
    let done = work.await;
    let took = start.elapsed();
    ended.store(true, Ordering::Relaxed);
    let longest = writer.await??;
    Ok((done?, took, longest))
}

async fn open_fees(pool: &PgPool, item: u64) -> anyhow::Result<i64> {
    let count = sqlx::query_scalar("SELECT count(*) FROM fee WHERE community_id = $1 AND config_id = $2 AND is_open");
    Ok(count.bind(COMMUNITY).bind(item_id(item)).fetch_one(pool).await?)
}

/// Stops the item by a call; returns its time and the longest wait of the other writer.
async fn stop(service: &Service, item: u64, count: u64) -> anyhow::Result<(Duration, Duration)> {
    ensure!(open_fees(&service.pool, item).await? == count as i64, "the fees are not open");
    let mut message = update_message(&item_id(item));
    message.state = ItemState::Stopped.into();
    let client = Client::connect(&service.process.address).await?;
    let metadata = service.metadata_of(&format!("stop-{item}"));
    let call =
        async { client.call(UPDATE, &metadata, message.encode_to_vec().into()).await.context("stopping was refused") };
    let (_, took, waited) = longest_wait(&service.pool, item, count, call).await?;
    ensure!(open_fees(&service.pool, item).await? == 0, "fees stayed open");
    Ok((took, waited))
}

/// Runs the bare UPDATE of the same number of fees; returns the same times.
async fn bare(service: &Service, item: u64, count: u64) -> anyhow::Result<(Duration, Duration)> {
    let statement = "UPDATE pay_fee SET state = '2009001', ended_at = now()
                     WHERE community_id = $1 AND config_id = $2 AND state <> '2009001'";
    let update = async {
        let done = sqlx::query(statement).bind(COMMUNITY).bind(item_id(item)).execute(&service.pool).await?;
        ensure!(done.rows_affected() == count, "{} fees were ended", done.rows_affected());
        Ok(())
    };
    let (_, took, waited) = longest_wait(&service.pool, item, count, update).await?;
    Ok((took, waited))
}

pub(super) async fn measure(run: Run<'_>) -> anyhow::Result<()> {
    let rounds = run.extent.rounds.min(3) as u64;
    let sizes: [(u64, u64); 3] = [(FEES, rounds), (10_000, 2), (1_000, 2)];
    // Each round stops an item of its own and updates the fees of another item.
    let count: u64 = sizes.iter().map(|(_, rounds)| rounds * 2).sum();
    let service = run.stage.community("bench_cascade", &[&items(count + 1), &payer_objects()]).await?;
    let mut item = 0;
    let mut found = Vec::new();
    for (fees_each, rounds) in sizes {
        let (mut ours, mut waits) = (Vec::new(), Vec::new());
        let (mut limit, mut limit_waits) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            for number in [item + 1, item + 2] {
                sqlx::raw_sql(AssertSqlSafe(fees(number, fees_each))).execute(&service.pool).await?;
            }
            sqlx::raw_sql("VACUUM ANALYZE pay_fee").execute(&service.pool).await?;
            let (took, waited) = stop(&service, item + 1, fees_each).await?;
            ours.push(took.as_secs_f64() * 1e3);
            waits.push(waited.as_secs_f64() * 1e3);
            let (took, waited) = bare(&service, item + 2, fees_each).await?;
            limit.push(took.as_secs_f64() * 1e3);
            limit_waits.push(waited.as_secs_f64() * 1e3);
            item += 2;
        }
        let worst = |waits: Vec<f64>| Figure::single(waits.into_iter().fold(0.0, f64::max));
        found.push((fees_each, figure(ours.into_iter()), figure(limit.into_iter()), worst(waits), worst(limit_waits)));
    }
    let Some((_, ours, limit, waited, limit_waited)) = found.first() else { anyhow::bail!("nothing was measured") };
    let lines = &mut run.report.measurements;
    lines.push(
        Measurement::alone("cascade", "NA on an item with 100,000 fees", "ms", *ours, Target::AtMost(1.5))
            .to_limit("one bare UPDATE", *limit),
    );
    lines.push(Measurement::alone("cascade", "longest wait of another writer", "ms", *waited, Target::AtMost(100.0)));
    run.report
        .remarks
        .push(format!("cascade: while the bare UPDATE runs, another writer waits up to {:.0} ms", limit_waited.median));
    let curve = |pick: fn(&(u64, Figure, Figure, Figure, Figure)) -> f64| {
        found.iter().rev().map(|f| (f.0 as f64, pick(f))).collect::<Vec<_>>()
    };
    run.report.curves.push(Curve {
        file: "cascade".into(),
        title: "Stopping an item".into(),
        across: "fees of the item".into(),
        up: "time, ms".into(),
        series: vec![
            ("communal".into(), curve(|f| f.1.median)),
            ("one bare UPDATE".into(), curve(|f| f.2.median)),
            ("wait beside communal".into(), curve(|f| f.3.median)),
            ("wait beside the UPDATE".into(), curve(|f| f.4.median)),
        ],
    });
    Ok(())
}
