//! One call that charges 10,000 rooms, compared with COPY of the same fees into the same table.

use std::time::Instant;

use anyhow::{Context, ensure};
use communal_fixtures::large_community::{item_id, items, owners, room_id, rooms};
use communal_proto::community::v1::RoomCreatePayFeeRequest;
use prost::Message;
use sqlx::AssertSqlSafe;

use super::{Run, figure};
use crate::arithmetic::{Figure, Target};
use crate::grpc::Client;
use crate::report::Measurement;
use crate::stage::COMMUNITY;

const CALL: &str = "/communal.community.v1.ChargingService/RoomCreatePayFee";
/// Fees of the batch.
const FEES: u64 = 10_000;

pub(super) async fn measure(run: Run<'_>) -> anyhow::Result<()> {
    let stage = run.stage;
    let (database, copied) = ("bench_batch", "bench_batch_copy");
    let fill = [owners(COMMUNITY), rooms(COMMUNITY), items(COMMUNITY)];
    let service = stage.community(database, &fill.each_ref().map(String::as_str)).await?;
    drop(service.process);
    service.pool.close().await;
    stage.create_database(copied, Some(database)).await?;
    let process = stage.serve("community", database)?;
    let (pool, copy_pool) = (stage.pool(database).await?, stage.pool(copied).await?);
    let file = format!("{}/bench_fees.copy", stage.setting("data_directory").await?);
    let batch_file = format!("{}/bench_batches.copy", stage.setting("data_directory").await?);
    let request = RoomCreatePayFeeRequest {
        community_id: COMMUNITY.to_owned(),
        config_id: item_id(1),
        start_time: "2025-01-01".to_owned(),
        room_ids: (0..FEES).map(room_id).collect(),
        ..RoomCreatePayFeeRequest::default()
    };
    let request: bytes::Bytes = request.encode_to_vec().into();
    let client = Client::connect(&process.address).await?;

    let (mut ours, mut limits, mut cpu, mut copy_cpu) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..=run.extent.rounds {
        for pool in [&pool, &copy_pool] {
            sqlx::raw_sql("TRUNCATE pay_fee, pay_fee_batch CASCADE").execute(pool).await?;
        }
        sqlx::raw_sql("CHECKPOINT").execute(&pool).await?;
        let mut metadata = service.metadata.clone();
        metadata.push(("idempotency-key".to_owned(), format!("batch-{round}")));
        let before = (process.group.read(), stage.postgres.read());
        let start = Instant::now();
        client.call(CALL, &metadata, request.clone()).await.context("the batch was refused")?;
        let rate = FEES as f64 / start.elapsed().as_secs_f64();
        let used = process.group.since(&before.0) + stage.postgres.since(&before.1);
        let made: i64 = sqlx::query_scalar("SELECT count(*) FROM fee WHERE is_open").fetch_one(&pool).await?;
        ensure!(made == FEES as i64, "{made} of {FEES} fees");

        for (table, file) in [("pay_fee_batch", &batch_file), ("pay_fee", &file)] {
            let out = format!("COPY (SELECT * FROM {table}) TO '{file}' (FORMAT binary)");
            sqlx::raw_sql(AssertSqlSafe(out)).execute(&pool).await?;
        }
        let batch = format!("COPY pay_fee_batch FROM '{batch_file}' (FORMAT binary)");
        sqlx::raw_sql(AssertSqlSafe(batch)).execute(&copy_pool).await?;
        sqlx::raw_sql("CHECKPOINT").execute(&pool).await?;
        let before = stage.postgres.read();
        let start = Instant::now();
        let copy = format!("COPY pay_fee FROM '{file}' (FORMAT binary)");
        let rows = sqlx::raw_sql(AssertSqlSafe(copy)).execute(&copy_pool).await?.rows_affected();
        let limit = FEES as f64 / start.elapsed().as_secs_f64();
        ensure!(rows == FEES, "{rows} of {FEES} fees");
        if round > 0 {
            ours.push(rate);
            limits.push(limit);
            cpu.push(used as f64 / 1e3 / FEES as f64);
            copy_cpu.push(stage.postgres.since(&before) as f64 / 1e3 / FEES as f64);
        }
    }
    run.report.measurements.push(
        Measurement::alone(
            "fee-batch",
            "fees of a batch of 10,000 rooms",
            "/s",
            figure(ours.into_iter()),
            Target::AtLeast(0.4),
        )
        .to_limit("COPY of the fees", figure(limits.into_iter())),
    );
    let median = |values: Vec<f64>| Figure::of(&values).map_or(f64::NAN, |f| f.median);
    run.report.remarks.push(format!(
        "fee-batch: service + PostgreSQL {:.1} µs a fee, COPY {:.1}",
        median(cpu),
        median(copy_cpu),
    ));
    Ok(())
}
