//! Arrears: what is outstanding, as it was billed and paid.

use bytes::{Bytes, BytesMut};
use communal_kit::database::Statement as _;
use communal_proto::Coded as _;
use futures::TryStreamExt;
use futures::stream::BoxStream;
use prost::bytes::BufMut;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{PgExecutor, Postgres, Row};

use crate::receivables::arrears::{Kind, Wanted};
use crate::receivables::line::Payments;

/// Arrears in their stable order. The caller may be the network company or the retail company of a
/// line: two disjoint branches, each of which reads its own index in the order of the answer, so that
/// they are merged and nothing is sorted. A test checks the plan.
///
/// `$book` narrows to one book, and `$order` leaves the book out then: to the planner a constant column
/// is no part of an order. A kind ($4) comes with whether its customers are the caller's own ($5).
///
/// A line of a network company that sells itself is in the first branch alone, and in the index of that one.
macro_rules! arrears_sql {
    ($columns:literal, $book:literal, $after:literal, $order:literal, $limit:literal) => {
        concat!(
            "SELECT issued, levy_date, previous_paid_date, previous_payment_id,
                 nullif(paid_total, 0) AS paid_total, latest_paid, latest_paid_date, latest_payment_id",
            $columns,
            " FROM (
                 (SELECT * FROM receivable_open WHERE network_company_id = $1 AND ",
            $book,
            $after,
            " AND ($3::text IS NULL OR retail_store_id = $3)
                    AND ($4::text IS NULL OR package_kind = $4 AND (retail_company_id = $1) = $5::boolean)
                  ORDER BY ",
            $order,
            " LIMIT ",
            $limit,
            ")
                 UNION ALL
                 (SELECT * FROM receivable_open
                  WHERE retail_company_id = $1 AND retail_company_id <> network_company_id AND ",
            $book,
            $after,
            " AND ($3::text IS NULL OR retail_store_id = $3)
                    AND ($4::text IS NULL OR package_kind = $4 AND $5::boolean)
                  ORDER BY ",
            $order,
            " LIMIT ",
            $limit,
            ")
             ) AS arrears
             ORDER BY ",
            $order,
            " LIMIT ",
            $limit
        )
    };
}

/// The statements behind [`arrears`], for all books and for one: the planner does not use an index for a
/// condition that may be absent. Parameters: caller, book, store, kind, own, limit.
const ARREARS: [&str; 2] = [
    arrears_sql!(
        "",
        "$2::text IS NULL",
        "",
        "book_id, settlement_account_id, account_month, charge_off_id, line_number",
        "$6"
    ),
    arrears_sql!("", "book_id = $2", "", "settlement_account_id, account_month, charge_off_id, line_number", "$6"),
];

/// The statements behind [`portion`]. Parameters: caller, book, store, kind, own, and the key of the line
/// after which the portion begins.
const PORTION: [&str; 2] = [
    arrears_sql!(
        ", book_id, settlement_account_id, account_month, charge_off_id, line_number",
        "$2::text IS NULL",
        " AND (book_id, settlement_account_id, account_month, charge_off_id, line_number)
                    > ($6::text, $7::text, $8::integer, $9::text, $10::bigint)",
        "book_id, settlement_account_id, account_month, charge_off_id, line_number",
        "500"
    ),
    arrears_sql!(
        ", book_id, settlement_account_id, account_month, charge_off_id, line_number",
        "book_id = $2",
        " AND $6::text IS NOT NULL AND (settlement_account_id, account_month, charge_off_id, line_number)
                    > ($7::text, $8::integer, $9::text, $10::bigint)",
        "settlement_account_id, account_month, charge_off_id, line_number",
        "500"
    ),
];

/// Returns the statements of arrears with the types of their parameters, so that a test can explain them.
#[must_use]
pub fn arrears_statements() -> [(&'static str, &'static str); 4] {
    let ([all, book], [next_of_all, next_of_book]) = (ARREARS, PORTION);
    let (capped, portion) = (
        "text, text, text, text, boolean, bigint",
        "text, text, text, text, boolean, text, text, integer, text, bigint",
    );
    [(all, capped), (book, capped), (next_of_all, portion), (next_of_book, portion)]
}

/// Binds what both kinds of statement have in common.
fn arrears_query<'q>(
    texts: [&'static str; 2],
    caller: &'q str,
    wanted: &'q Wanted,
) -> Query<'q, Postgres, PgArguments> {
    let [all, of_book] = texts;
    sqlx::query(if wanted.book_id.is_some() { of_book } else { all })
        .bind(caller)
        .bind(wanted.book_id.as_deref())
        .bind(wanted.retail_store_id.as_deref())
        .bind(wanted.kind.and_then(|kind| kind.of_package().stored()))
        .bind(wanted.kind.map(Kind::is_own))
}

/// Returns the arrears that a caller sees, encoded, at most `limit`.
///
/// # Errors
/// Returns the database's error.
pub async fn arrears(
    executor: impl PgExecutor<'_>,
    caller: &str,
    wanted: &Wanted,
    limit: i64,
) -> Result<Vec<Bytes>, sqlx::Error> {
    let rows = arrears_query(ARREARS, caller, wanted).bind(limit).fetch(executor);
    Ok(all_encoded(rows).named("arrears_read").await?.0)
}

/// The place of a line in the order of arrears. No payment changes it.
#[derive(Clone, Debug, Default)]
pub struct Place {
    book_id: String,
    settlement_account_id: String,
    account_month: i32,
    charge_off_id: String,
    line_number: i64,
}

/// Returns the next arrears that a caller sees, encoded, after a place, and the place of the last of them. The
/// default place is before every line; an empty portion is the end.
///
/// # Errors
/// Returns the database's error.
pub async fn portion(
    executor: impl PgExecutor<'_>,
    caller: &str,
    wanted: &Wanted,
    after: &Place,
) -> Result<(Vec<Bytes>, Option<Place>), sqlx::Error> {
    let Place { book_id, settlement_account_id, account_month, charge_off_id, line_number } = after;
    let query = arrears_query(PORTION, caller, wanted)
        .bind(book_id)
        .bind(settlement_account_id)
        .bind(account_month)
        .bind(charge_off_id)
        .bind(line_number);
    let (lines, last) = all_encoded(query.fetch(executor)).named("arrears_portion").await?;
    let place = last.map(|row| place(&row)).transpose()?;
    Ok((lines, place))
}

/// Reads the columns that a portion has beside those of a line.
fn place(row: &PgRow) -> Result<Place, sqlx::Error> {
    Ok(Place {
        book_id: row.try_get(8)?,
        settlement_account_id: row.try_get(9)?,
        account_month: row.try_get(10)?,
        charge_off_id: row.try_get(11)?,
        line_number: row.try_get(12)?,
    })
}

/// Returns the lines of all rows, and the last row.
async fn all_encoded(
    mut rows: BoxStream<'_, Result<PgRow, sqlx::Error>>,
) -> Result<(Vec<Bytes>, Option<PgRow>), sqlx::Error> {
    let mut lines = Vec::new();
    let mut buffer = BytesMut::new();
    let mut last = None;
    while let Some(row) = rows.try_next().await? {
        lines.push(encoded(&row, &mut buffer)?);
        last = Some(row);
    }
    Ok((lines, last))
}

/// Encodes a line: the bytes as billed, followed by the fields that payments change.
///
/// This is the hot path of the service. Columns are read by index and unchecked: only rows of the
/// statement above come here, and its types are those of the migration. Rows share buffers, so that a
/// line costs no allocation of its own.
fn encoded(row: &PgRow, buffer: &mut BytesMut) -> Result<Bytes, sqlx::Error> {
    let issued: &[u8] = row.try_get_unchecked(0)?;
    if buffer.capacity() < issued.len() {
        buffer.reserve(64 * 1024);
    }
    buffer.put_slice(issued);
    Payments {
        levy_date: row.try_get_unchecked(1)?,
        previous_paid_date: row.try_get_unchecked(2)?,
        previous_payment_id: row.try_get_unchecked(3)?,
        paid_total: row.try_get_unchecked(4)?,
        latest_paid: row.try_get_unchecked(5)?,
        latest_paid_date: row.try_get_unchecked(6)?,
        latest_payment_id: row.try_get_unchecked(7)?,
    }
    .append(buffer);
    Ok(buffer.split().freeze())
}
