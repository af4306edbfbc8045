//! `UpdateSalePackagePrice` of rows on sale: every row is closed and opened anew.

use anyhow::{Context, ensure};
use prost::Message;

use super::arrears::{QUERY, request as arrears_request};
use super::{Run, figure};
use crate::arithmetic::{Figure, Target};
use crate::capture::{Script, Statement};
use crate::grpc::Client;
use crate::load::pgbench;
use crate::plot::Curve;
use crate::report::Measurement;
use crate::tariffs::{packages_on_sale, request};

const CALL: &str = "/communal.billing.v1.PackagePriceService/UpdateSalePackagePrice";
/// Price rows of the measured request.
const ROWS: u64 = 500;
/// Calls in a round.
const CALLS: u64 = 10;

/// The cost of a request of one size, in milliseconds a call.
struct Found {
    ours: Figure,
    bare: Figure,
    round_trips: usize,
}

async fn of_size(run: &Run<'_>, rows: u64, rounds: usize) -> anyhow::Result<Found> {
    let stage = run.stage;
    let (database, bare) = ("bench_prices", "bench_prices_bare");
    let [packages, prices] = packages_on_sale(rows);
    let commit = "CREATE TABLE bench_commit (number bigint)";
    let service = stage.billing(database, &[&packages, &prices, commit]).await?;
    // The statements find the same state as the call from which they are captured.
    drop(service.process);
    service.pool.close().await;
    stage.create_database(bare, Some(database)).await?;
    let process = stage.serve("billing", database)?;
    let client = Client::connect(&process.address).await?;
    let pool = stage.pool(database).await?;
    let metadata = |id: &str| {
        let mut metadata = service.metadata.clone();
        metadata.push(("idempotency-key".to_owned(), id.to_owned()));
        metadata
    };
    // The first call of a process also reads the credentials.
    client.call(QUERY, &service.metadata, arrears_request(0)).await?;

    let mut number = 1;
    let call = async {
        client.call(CALL, &metadata("captured"), request(rows, number).encode_to_vec().into()).await?;
        Ok(())
    };
    let all = stage.capture(database, call).await?;
    // The claim of the request id is part of the call, the statements of the readiness check are not.
    let of_call = |s: &Statement, words: &[&str]| words.iter().any(|word| s.text.contains(word));
    let round_trips = all.iter().filter(|s| of_call(s, &["package", "answered_request", "BEGIN", "COMMIT"])).count();
    let statements: Vec<_> = all.into_iter().filter(|s| of_call(s, &["package", "answered_request"])).collect();
    let changed: i64 =
        sqlx::query_scalar("SELECT count(*) FROM package_price WHERE stop_date IS NOT NULL").fetch_one(&pool).await?;
    ensure!(u64::try_from(changed)? >= rows, "only {changed} of {rows} rows were closed");

    // The statements are rolled back, so that they find the same state again. The commit after them flushes what they
    // wrote to the log, like the commit of a call.
    let mut bare_script = Script::of(&statements, &[])?;
    bare_script.text = format!("BEGIN;\n{}ROLLBACK;\nINSERT INTO bench_commit VALUES (1);\n", bare_script.text);
    let (mut ours, mut limits) = (Vec::new(), Vec::new());
    for round in 0..=rounds {
        let messages: Vec<_> = (0..CALLS).map(|n| request(rows, number + 1 + n).encode_to_vec().into()).collect();
        number += CALLS;
        let start = std::time::Instant::now();
        for (n, message) in messages.into_iter().enumerate() {
            let metadata = metadata(&format!("{round}-{n}"));
            client.call(CALL, &metadata, message).await.context("the change was refused")?;
        }
        let took = start.elapsed().as_secs_f64() * 1e3 / CALLS as f64;
        let load = pgbench(stage, bare, &bare_script, 1, CALLS)?;
        if round > 0 {
            ours.push(took);
            limits.push(1e3 / load.rate);
        }
        // Both leave dead rows, which must not slow down the next round.
        for database in [database, bare] {
            let pool = stage.pool(database).await?;
            sqlx::raw_sql("VACUUM ANALYZE package_price").execute(&pool).await?;
            pool.close().await;
        }
    }
    pool.close().await;
    Ok(Found { ours: figure(ours.into_iter()), bare: figure(limits.into_iter()), round_trips })
}

pub(super) async fn measure(run: Run<'_>) -> anyhow::Result<()> {
    let rounds = run.extent.rounds;
    let found = of_size(&run, ROWS, rounds).await?;
    let mut series = [Vec::new(), Vec::new()];
    for rows in [10, 100, 1_000] {
        let found = of_size(&run, rows, 2).await?;
        series[0].push((rows as f64, found.ours.median));
        series[1].push((rows as f64, found.bare.median));
    }
    let lines = &mut run.report.measurements;
    let trips = Figure::single(found.round_trips as f64);
    lines.push(Measurement::alone("prices", "round trips to PostgreSQL, 500 rows", "", trips, Target::AtMost(8.0)));
    lines.push(
        Measurement::alone("prices", "time of a call, 500 rows on sale", "ms", found.ours, Target::AtMost(1.5))
            .to_limit("bare statements", found.bare),
    );
    let [ours, bare] = series;
    run.report.curves.push(Curve {
        file: "prices".into(),
        title: "Change of prices on sale".into(),
        across: "rows in the request".into(),
        up: "time of a call, ms".into(),
        series: vec![("communal".into(), ours), ("bare statements".into(), bare)],
    });
    Ok(())
}
