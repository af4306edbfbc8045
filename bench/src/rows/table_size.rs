//! Arrears in a growing table: settled lines must not slow down queries of open ones.

use anyhow::{Context, ensure};
use sqlx::{AssertSqlSafe, PgPool};

use super::arrears::{IMPORT, LINES, QUERY, import_messages, request};
use super::{Round, Run, Watch, cpu_of, rates};
use crate::arithmetic::{Figure, Target};
use crate::grpc::{Client, drive};
use crate::plot::Curve;
use crate::report::Measurement;
use crate::stage::{CONNECTIONS, Service, Stage};

/// One in this many lines is open, which is three percent.
const OPEN_ONE_IN: u64 = 33;

/// Bytes on disk for each line while the table is filled: the line, its indexes, and the log of both.
const BYTES_A_LINE: u64 = 1_600;
/// Connections that fill a table: one for each core of a small machine.
const FILLERS: u64 = 2;

/// Returns the statements that copy the template's lines into books of 200 open lines each; one in `open_one_in` is open, and
/// the others have a closing.
fn fill(numbers: std::ops::Range<u64>, open_one_in: u64) -> String {
    let book_lines = LINES * open_one_in;
    let (first, after) = (numbers.start, numbers.end);
    let copies = |condition: &str| {
        format!(
            "FROM (SELECT -1 - n AS number, 'B' || lpad((2 + n / {book_lines})::text, 15, '0') AS book_id,
                       (n / {open_one_in}) % {LINES} AS place
                   FROM generate_series({first}, {after} - 1) AS n WHERE {condition}) AS numbers
             JOIN (SELECT l.*, row_number() OVER (ORDER BY line_number) - 1 AS place
                   FROM receivable_line l WHERE batch_id = 'template') AS r USING (place)"
        )
    };
    format!(
        "INSERT INTO receivable_line (network_company_id, settlement_account_id, account_month, charge_off_id, line_number,
             retail_company_id, book_id, retail_store_id, package_kind, charge_off_date, levy_date, fee, importer_id,
             batch_id, issued, operator_id, channel_id, trace_id, written_at)
         SELECT r.network_company_id, r.settlement_account_id, r.account_month, r.charge_off_id, number,
             r.retail_company_id, numbers.book_id, r.retail_store_id, r.package_kind, r.charge_off_date, r.levy_date, r.fee,
             r.importer_id, 'fill', r.issued, r.operator_id, r.channel_id, r.trace_id, r.written_at
         {};
         INSERT INTO receivable_open (network_company_id, book_id, settlement_account_id, account_month, charge_off_id,
             line_number, retail_company_id, retail_store_id, package_kind, fee, levy_date, issued)
         SELECT r.network_company_id, numbers.book_id, r.settlement_account_id, r.account_month, r.charge_off_id, number,
             r.retail_company_id, r.retail_store_id, r.package_kind, r.fee, r.levy_date, r.issued
         {} ORDER BY number DESC;
         INSERT INTO receivable_closing (network_company_id, settlement_account_id, account_month, charge_off_id, line_number,
             paid_total, latest_paid, latest_paid_date, latest_payment_id, levy_date, settled_month, with_line, operator_id,
             channel_id, trace_id, written_at)
         SELECT r.network_company_id, r.settlement_account_id, r.account_month, r.charge_off_id, number, r.fee, r.fee,
             date '2025-06-30', '0000000000000001', r.levy_date, 202512, true, r.operator_id, r.channel_id, r.trace_id,
             r.written_at
         {}",
        copies("true"),
        copies(&format!("n % {open_one_in} = 0")),
        copies(&format!("n % {open_one_in} <> 0")),
    )
}

/// Fills the tables, in the order of their keys.
async fn fill_table(stage: &Stage, pool: &PgPool, rows: u64, open_one_in: u64) -> anyhow::Result<()> {
    let data: String = stage.setting("data_directory").await?;
    let needed = rows * BYTES_A_LINE;
    let free = nix::sys::statvfs::statvfs(data.as_str())?;
    #[allow(clippy::useless_conversion, reason = "other systems count blocks in 32 bits")]
    let free = u64::from(free.blocks_available()) * free.fragment_size();
    ensure!(free > needed, "{rows} lines need {} GB of disk, {} are free", needed >> 30, free >> 30);
    let share = rows.div_ceil(FILLERS);
    let parts = (0..FILLERS).map(|part| part * share..rows.min((part + 1) * share));
    let filling = parts.map(|numbers| async move {
        let count = numbers.end - numbers.start;
        let written = sqlx::raw_sql(AssertSqlSafe(fill(numbers, open_one_in))).execute(pool).await?.rows_affected();
        ensure!(written == 2 * count, "{written} rows of {count} lines");
        Ok(())
    });
    futures::future::try_join_all(filling).await?;
    sqlx::raw_sql("VACUUM ANALYZE").execute(pool).await?;
    sqlx::raw_sql("CHECKPOINT").execute(pool).await?;
    Ok(())
}

/// Starts a service with one imported book, the template, and copies of its lines.
pub(super) async fn with_lines(stage: &Stage, database: &str, rows: u64, open_one_in: u64) -> anyhow::Result<Service> {
    let service = stage.billing(database, &[]).await?;
    let client = Client::connect(&service.process.address).await?;
    let messages = import_messages("template", std::iter::once((1, LINES)));
    client.send_stream(IMPORT, &service.metadata, messages).await.context("the template was refused")?;
    fill_table(stage, &service.pool, rows, open_one_in).await?;
    Ok(service)
}

async fn round_of(stage: &Stage, service: &Service, books: u64, calls: u64, seed: u64) -> anyhow::Result<Round> {
    let groups = [&service.process.group, &stage.postgres];
    let watch = Watch::begin(&groups);
    let metadata = service.metadata.clone();
    let make = move |number: u64| {
        let book = 2 + (number.wrapping_mul(7_919) + seed) % books;
        (metadata.clone(), request(book))
    };
    Ok(watch.end(drive(&service.process.address, QUERY, CONNECTIONS, calls, make).await?))
}

pub(super) async fn measure(run: Run<'_>) -> anyhow::Result<()> {
    let stage = run.stage;
    let rows = run.extent.table_rows;
    let sizes = [rows / 10, rows];
    let mut services = Vec::new();
    for (database, rows) in ["bench_table_small", "bench_table_large"].into_iter().zip(sizes) {
        services.push(with_lines(stage, database, rows, OPEN_ONE_IN).await?);
    }
    // Only full books are queried, each at least once.
    let books = sizes.map(|rows| (rows / (LINES * OPEN_ONE_IN)).max(1));
    for (service, books) in services.iter().zip(books) {
        let client = Client::connect(&service.process.address).await?;
        for book in [2, 1 + books] {
            let reply = client.call(QUERY, &service.metadata, request(book)).await?;
            let reply: communal_proto::billing::v1::QueryUserArrearagesResponse = prost::Message::decode(reply)?;
            ensure!(reply.lines.len() as u64 == LINES, "{} lines in book {book}", reply.lines.len());
        }
    }
    let trial = round_of(stage, &services[0], books[0], 200, 0).await?;
    let calls = (trial.rate * run.extent.seconds).max(100.0) as u64;
    let mut found = [Vec::new(), Vec::new()];
    for number in 0..=run.extent.rounds as u64 {
        for ((service, books), rounds) in services.iter().zip(books).zip(&mut found) {
            let round = round_of(stage, service, books, calls, number).await?;
            if number > 0 {
                rounds.push(round);
            }
        }
    }
    let cost = |rounds: &[Round]| cpu_of(rounds, &[0, 1]).scaled(1.0 / LINES as f64);
    let name = |rows: u64| format!("{rows} lines in the table");
    run.report.measurements.push(
        Measurement::alone(
            "table-size",
            format!("CPU a line, any book, {}", name(sizes[1])),
            "µs",
            cost(&found[1]),
            Target::AtMost(1.3),
        )
        .to_limit(name(sizes[0]), cost(&found[0])),
    );
    let time =
        |rounds: &[Round]| Figure { median: f64::from(CONNECTIONS) * 1e3 / rates(rounds).median, ..rates(rounds) };
    run.report.measurements.push(
        Measurement::alone(
            "table-size",
            format!("time of a call, any book, {}", name(sizes[1])),
            "ms",
            time(&found[1]),
            Target::AtMost(1.3),
        )
        .to_limit(name(sizes[0]), time(&found[0])),
    );
    run.report.curves.push(Curve {
        file: "table-size".into(),
        title: "Arrears of 200 lines while the table grows".into(),
        across: "lines in the table, 3 % of them open".into(),
        up: "CPU of service + PostgreSQL a line, µs".into(),
        series: vec![(
            "communal".into(),
            sizes.iter().zip(&found).map(|(rows, rounds)| (*rows as f64, cost(rounds).median)).collect(),
        )],
    });
    // The databases are large, and the next rows need the disk.
    for service in services {
        let database = service.database.clone();
        drop(service);
        stage.administer(&format!("DROP DATABASE {database} WITH (FORCE)")).await?;
    }
    Ok(())
}
