//! Arrears of one book over gRPC.

use anyhow::{Context, ensure};
use bytes::Bytes;
use communal_fixtures::receivables;
use communal_proto::billing::v1::{
    ArrearsFilter, ImportReceivableLinesRequest, QueryUserArrearagesRequest, QueryUserArrearagesResponse,
    ReceivableLine,
};
use prost::Message;
use sqlx::{AssertSqlSafe, Row};

use super::{Contestant, Run, cpu_of, enough, interleaved, rates, rates_alone, round};
use crate::arithmetic::{Figure, Target};
use crate::capture::Script;
use crate::columns::{COLUMN_TYPES, COLUMNS, copy_row};
use crate::grpc::Client;
use crate::lines::{book_id, line, total_cents};
use crate::load::{Repeated, open, percentiles, pgbench};
use crate::plot::Curve;
use crate::report::Measurement;
use crate::stage::{CONNECTIONS, Service, Stage};

/// The call.
pub(super) const QUERY: &str = "/communal.billing.v1.ReceivableService/QueryUserArrearages";
/// The call that imports lines.
pub(super) const IMPORT: &str = "/communal.billing.v1.ReceivableService/ImportReceivableLines";
/// Lines of the measured book.
pub(super) const LINES: u64 = 200;
/// The books; each has as many lines as its number.
pub(super) const BOOKS: [u64; 5] = [1, 100, LINES, 1_000, 5_000];

/// The encoded request for a book.
pub(super) fn request(book: u64) -> Bytes {
    let filter = ArrearsFilter { book_id: book_id(book), ..ArrearsFilter::default() };
    QueryUserArrearagesRequest { filter: Some(filter) }.encode_to_vec().into()
}

/// The messages of an import of whole books, which are given by number and lines.
pub(super) fn import_messages(batch_id: &str, books: impl Iterator<Item = (u64, u64)>) -> Vec<Bytes> {
    // The lines of a book name every package.
    let named: Vec<_> = (0..BOOKS[3]).map(|index| line(1, index)).collect();
    let first = ImportReceivableLinesRequest { batch: Some(receivables::batch(batch_id, &named)), lines: vec![] };
    let mut messages = vec![first.encode_to_vec().into()];
    let mut lines = Vec::new();
    let mut flush = |lines: &mut Vec<_>| {
        let message = ImportReceivableLinesRequest { batch: None, lines: std::mem::take(lines) };
        messages.push(message.encode_to_vec().into());
    };
    for (book, count) in books {
        for index in 0..count {
            lines.push(line(book, index));
            if lines.len() == 1_000 {
                flush(&mut lines);
            }
        }
    }
    flush(&mut lines);
    messages
}

/// Starts a billing service with the books.
pub(super) async fn with_books(stage: &Stage, database: &str) -> anyhow::Result<Service> {
    let service = stage.billing(database, &[]).await?;
    let client = Client::connect(&service.process.address).await?;
    let messages = import_messages("books", BOOKS.iter().map(|lines| (*lines, *lines)));
    client.send_stream(IMPORT, &service.metadata, messages).await.context("the books were refused")?;
    sqlx::raw_sql("VACUUM ANALYZE").execute(&service.pool).await?;
    Ok(service)
}

/// Checks that the answer has the lines of the book and their sum.
pub(super) async fn check(address: &str, service: &Service, book: u64) -> anyhow::Result<()> {
    let client = Client::connect(address).await?;
    let reply = client.call(QUERY, &service.metadata, request(book)).await?;
    let reply = QueryUserArrearagesResponse::decode(reply)?;
    let mut cents = 0;
    for line in &reply.lines {
        let line = ReceivableLine::decode(line.clone())?;
        ensure!(line.book_id == book_id(book), "a line of {}", line.book_id);
        cents += line.fee.replace('.', "").parse::<u64>()?;
    }
    ensure!(reply.lines.len() as u64 == book, "{address} answers {} lines instead of {book}", reply.lines.len());
    ensure!(cents == total_cents(book), "{address} answers {cents} cents instead of {}", total_cents(book));
    Ok(())
}

/// Makes the peer's table: the same lines in columns, with the same access path.
async fn struct_table(stage: &Stage, database: &str) -> anyhow::Result<()> {
    stage.create_database(database, None).await?;
    let columns: Vec<_> =
        COLUMNS.iter().zip(COLUMN_TYPES).map(|(name, kind)| format!("{name} {kind} NOT NULL")).collect();
    let table = format!(
        "CREATE TABLE arrears_line ({}, settled boolean NOT NULL DEFAULT false);
         CREATE INDEX arrears_line_by_retail ON arrears_line
             (retail_company_id, book_id, settlement_account_id, account_month, charge_off_id) WHERE NOT settled",
        columns.join(", ")
    );
    let pool = stage.pool(database).await?;
    sqlx::raw_sql(AssertSqlSafe(table)).execute(&pool).await?;
    let mut connection = pool.acquire().await?;
    let copy = format!("COPY arrears_line ({}) FROM STDIN", COLUMNS.join(", "));
    let mut copy = connection.copy_in_raw(&copy).await?;
    for lines in BOOKS {
        let rows: String = (0..lines).map(|index| copy_row(&line(lines, index)) + "\n").collect();
        copy.send(rows.as_bytes()).await?;
    }
    copy.finish().await?;
    sqlx::raw_sql("VACUUM ANALYZE").execute(&mut *connection).await?;
    Ok(())
}

/// Captures the statement that the service runs for a book.
async fn bare_statement(stage: &Stage, service: &Service, book: u64) -> anyhow::Result<Script> {
    let client = Client::connect(&service.process.address).await?;
    let call = async { Ok(client.call(QUERY, &service.metadata, request(book)).await?) };
    let statements = stage.capture(&service.database, call).await?;
    let statements: Vec<_> = statements.into_iter().filter(|s| s.text.contains("receivable")).collect();
    ensure!(statements.len() == 1, "arrears took {} statements", statements.len());
    let script = Script::of(&statements, &[])?;
    // The statement itself must find the lines that the service answers.
    let mut text = statements[0].text.clone();
    for (number, parameter) in statements[0].parameters.iter().enumerate().rev() {
        let value = parameter.as_ref().map_or("NULL".to_owned(), |p| format!("'{}'", p.replace('\'', "''")));
        text = text.replace(&format!("${}", number + 1), &value);
    }
    let count = sqlx::query(AssertSqlSafe(format!("SELECT count(*) FROM ({text}) AS arrears")));
    let found: i64 = count.fetch_one(&service.pool).await?.try_get(0)?;
    ensure!(u64::try_from(found)? == book, "the bare statement finds {found} lines instead of {book}");
    Ok(script)
}

pub(super) async fn measure(run: Run<'_>) -> anyhow::Result<()> {
    let Run { stage, extent, report } = run;
    let service = with_books(stage, "bench_arrears").await?;
    struct_table(stage, "bench_struct").await?;
    let peer = stage.peer(&stage.places.programs.join("struct-peer"), "struct-peer", &stage.url("bench_struct"))?;
    for book in BOOKS {
        check(&service.process.address, &service, book).await?;
        check(&peer.address, &service, book).await?;
    }
    let script = bare_statement(stage, &service, LINES).await?;

    let load = |address: &str, book| Repeated::grpc(stage, address, QUERY, &service.metadata, &request(book));
    let (ours, theirs) = (load(&service.process.address, LINES)?, load(&peer.address, LINES)?);
    let calls = enough(&extent, || ours.closed(CONNECTIONS, 300))?;
    let groups = [&service.process.group, &stage.postgres];
    let peer_groups = [&peer.group, &stage.postgres];
    let bare_database = service.database.clone();
    let mut contestants: Vec<Contestant<'_>> = vec![
        Box::new(|| round(&groups, || ours.closed(CONNECTIONS, calls))),
        Box::new(|| {
            let transactions = calls / u64::from(CONNECTIONS);
            round(&[&stage.postgres], || pgbench(stage, &bare_database, &script, CONNECTIONS, transactions))
        }),
        Box::new(|| round(&peer_groups, || theirs.closed(CONNECTIONS, calls / 3))),
    ];
    let found = interleaved(extent.rounds, &mut contestants)?;
    drop(contestants);

    let a_line = 1.0 / LINES as f64;
    let cost = cpu_of(&found[0], &[0, 1]).scaled(a_line);
    let peer_cost = cpu_of(&found[2], &[0, 1]).scaled(a_line);
    report.measurements.push(Measurement::alone(
        "arrears",
        "service + PostgreSQL CPU a line, 200 lines",
        "µs",
        cost,
        Target::AtMost(3.0),
    ));
    report.measurements.push(
        Measurement::alone(
            "arrears",
            "calls, 200 lines, same connections",
            "/s",
            rates_alone(&found[0]),
            Target::AtLeast(0.7),
        )
        .to_limit("pgbench -M prepared", rates(&found[1])),
    );
    report.measurements.push(
        Measurement::alone("arrears", "service + PostgreSQL CPU a line", "µs", cost, Target::AtLeast(3.0))
            .ahead_of("struct of 61 columns", peer_cost),
    );
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(Client::connect(&service.process.address).await?);
    }
    let latencies = open(rates(&found[0]).median / 2.0, extent.seconds, |number| {
        let (client, metadata) = (clients[number as usize % clients.len()].clone(), service.metadata.clone());
        async move { Ok(client.call(QUERY, &metadata, request(LINES)).await.map(drop)?) }
    })
    .await?;
    let (p50, p99) = percentiles(&latencies).context("no latencies")?;
    report.remarks.push(format!(
        "arrears, 200 lines: service {:.2} + PostgreSQL {:.2} µs a line (the bare statement costs PostgreSQL {:.2}); \
         {:.0} calls a second with the load generator on the same cores; at half the ceiling p50 {p50:.2} ms, p99 {p99:.2} ms",
        cpu_of(&found[0], &[0]).median * a_line,
        cpu_of(&found[0], &[1]).median * a_line,
        cpu_of(&found[1], &[0]).median * a_line,
        rates(&found[0]).median,
    ));

    // The growth with the size of the book.
    let mut curves = [Vec::new(), Vec::new()];
    for lines in [100, 1_000, 5_000] {
        let loads = [load(&service.process.address, lines)?, load(&peer.address, lines)?];
        let calls = (extent.seconds * 300_000.0 / lines as f64) as u64;
        let mut contestants: Vec<Contestant<'_>> = vec![
            Box::new(|| round(&groups, || loads[0].closed(CONNECTIONS, calls))),
            Box::new(|| round(&peer_groups, || loads[1].closed(CONNECTIONS, calls / 3))),
        ];
        let found = interleaved(2, &mut contestants)?;
        for (curve, rounds) in curves.iter_mut().zip(&found) {
            curve.push((lines as f64, cpu_of(rounds, &[0, 1]).median));
        }
    }
    let [ours, theirs] = curves;
    for (lines, cost) in &ours {
        report.remarks.push(format!("arrears of {lines} lines: {:.2} µs a line", Figure::single(cost / lines).median));
    }
    report.curves.push(Curve {
        file: "arrears".into(),
        title: "Arrears of one book over gRPC".into(),
        across: "lines in the answer".into(),
        up: "CPU of service + PostgreSQL a call, µs".into(),
        series: vec![("communal".into(), ours), ("struct of 61 columns".into(), theirs)],
    });
    Ok(())
}
