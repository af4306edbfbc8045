//! An import of receivable lines over gRPC, compared with COPY of the same rows into the same table.

use std::time::Instant;

use anyhow::{Context, ensure};
use communal_proto::billing::v1::ImportReceivableLinesResponse;
use prost::Message;
use sqlx::AssertSqlSafe;

use super::arrears::{IMPORT, import_messages};
use super::{Run, figure};
use crate::arithmetic::{Figure, Target};
use crate::grpc::Client;
use crate::report::Measurement;

/// Lines of a book.
const BOOK: u64 = 200;

pub(super) async fn measure(run: Run<'_>) -> anyhow::Result<()> {
    let (stage, lines) = (run.stage, run.extent.import_lines);
    let service = stage.billing("bench_import", &[]).await?;
    stage.create_database("bench_copy", None).await?;
    stage.run("billing", "bench_copy", &["migrate"])?;
    let copy_pool = stage.pool("bench_copy").await?;
    let file = format!("{}/bench_receivable.copy", stage.setting("data_directory").await?);

    // The messages are encoded before the clock starts, because the sender is not measured.
    let books = (1..=lines.div_ceil(BOOK)).map(|book| (book, BOOK.min(lines - (book - 1) * BOOK)));
    let mut messages = import_messages("first", books);
    let client = Client::connect(&service.process.address).await?;
    let (mut ours, mut limits, mut cpu, mut copy_cpu) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..run.extent.rounds.min(3) {
        sqlx::raw_sql("TRUNCATE receivable, receivable_key, receivable_batch CASCADE").execute(&service.pool).await?;
        sqlx::raw_sql("TRUNCATE receivable, receivable_key").execute(&copy_pool).await?;
        messages[0] = import_messages(&format!("batch-{round}"), std::iter::empty()).swap_remove(0);
        sqlx::raw_sql("CHECKPOINT").execute(&service.pool).await?;
        let before = (service.process.group.read(), stage.postgres.read());
        let start = Instant::now();
        let reply = client.send_stream(IMPORT, &service.metadata, messages.clone()).await;
        let reply = ImportReceivableLinesResponse::decode(reply.context("the import was refused")?)?;
        ours.push(lines as f64 / start.elapsed().as_secs_f64());
        ensure!(reply.lines == lines as i64 && !reply.replayed, "{} of {lines} lines", reply.lines);
        let used = service.process.group.since(&before.0) + stage.postgres.since(&before.1);
        cpu.push(used as f64 / 1e3 / lines as f64);

        let out = format!("COPY (SELECT * FROM receivable) TO '{file}' (FORMAT binary)");
        sqlx::raw_sql(AssertSqlSafe(out)).execute(&service.pool).await?;
        sqlx::raw_sql("CHECKPOINT").execute(&service.pool).await?;
        let before = stage.postgres.read();
        let start = Instant::now();
        let copy = format!("COPY receivable FROM '{file}' (FORMAT binary)");
        let copied = sqlx::raw_sql(AssertSqlSafe(copy)).execute(&copy_pool).await?.rows_affected();
        limits.push(lines as f64 / start.elapsed().as_secs_f64());
        ensure!(copied == lines, "{copied} of {lines} lines");
        copy_cpu.push(stage.postgres.since(&before) as f64 / 1e3 / lines as f64);
    }
    let resident = service.process.group.resident()? as f64 / 1e6;
    run.report.measurements.push(
        Measurement::alone(
            "import",
            format!("import of {lines} lines"),
            "lines/s",
            figure(ours.into_iter()),
            Target::AtLeast(0.6),
        )
        .to_limit("COPY from a file", figure(limits.into_iter())),
    );
    let median = |values: Vec<f64>| Figure::of(&values).map_or(f64::NAN, |f| f.median);
    run.report.remarks.push(format!(
        "import: service + PostgreSQL {:.1} µs a line, COPY {:.1}; service resident afterwards {resident:.0} MB, peak \
         {:.0} MB",
        median(cpu),
        median(copy_cpu),
        service.process.group.peak_resident()? as f64 / 1e6,
    ));
    Ok(())
}
