//! An import of receivable lines over gRPC, compared with COPY of the same rows into the same tables.

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
/// The tables that an import writes.
const TABLES: [&str; 3] = ["receivable_line", "receivable_open", "receivable_closing"];

pub(super) async fn measure(run: Run<'_>) -> anyhow::Result<()> {
    let (stage, lines) = (run.stage, run.extent.import_lines);
    let service = stage.billing("bench_import", &[]).await?;
    stage.create_database("bench_copy", None).await?;
    stage.run("billing", "bench_copy", &["migrate"])?;
    let copy_pool = stage.pool("bench_copy").await?;
    // The partitions of the year of the lines, which the import makes itself.
    let months = "SELECT open_line_months(ARRAY(SELECT generate_series(202501, 202512)))";
    sqlx::raw_sql(months).execute(&copy_pool).await?;
    let folder: String = stage.setting("data_directory").await?;
    let file = |table: &str| format!("{folder}/bench_{table}.copy");
    let truncate = format!("TRUNCATE {}", TABLES.join(", "));

    // The messages are encoded before the clock starts, because the sender is not measured.
    let books = (1..=lines.div_ceil(BOOK)).map(|book| (book, BOOK.min(lines - (book - 1) * BOOK)));
    let mut messages = import_messages("first", books);
    let client = Client::connect(&service.process.address).await?;
    let (mut ours, mut limits, mut cpu, mut copy_cpu) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..run.extent.rounds.min(3) {
        let truncate_service = format!("{truncate}, receivable_batch CASCADE");
        sqlx::raw_sql(AssertSqlSafe(truncate_service)).execute(&service.pool).await?;
        sqlx::raw_sql(AssertSqlSafe(truncate.clone())).execute(&copy_pool).await?;
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

        for table in TABLES {
            let out = format!("COPY (SELECT * FROM {table}) TO '{}' (FORMAT binary)", file(table));
            sqlx::raw_sql(AssertSqlSafe(out)).execute(&service.pool).await?;
        }
        sqlx::raw_sql("CHECKPOINT").execute(&service.pool).await?;
        let before = stage.postgres.read();
        let start = Instant::now();
        let mut transaction = copy_pool.begin().await?;
        for table in TABLES {
            let copy = format!("COPY {table} FROM '{}' (FORMAT binary)", file(table));
            let copied = sqlx::raw_sql(AssertSqlSafe(copy)).execute(&mut *transaction).await?.rows_affected();
            ensure!(table != TABLES[0] || copied == lines, "{copied} of {lines} lines");
        }
        transaction.commit().await?;
        limits.push(lines as f64 / start.elapsed().as_secs_f64());
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
