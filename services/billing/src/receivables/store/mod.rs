//! The statements of receivable lines. Every query is bound by the calling company.

use std::collections::BTreeSet;

use bytes::{Bytes, BytesMut};
use chrono::NaiveDate;
use communal_kit::call::Call;
use communal_kit::database::Statement as _;
use communal_kit::pool::Pool;
use communal_proto::Coded as _;
use futures::TryStreamExt;
use futures::stream::BoxStream;
use prost::bytes::BufMut;
use rust_decimal::Decimal;
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{Encode, PgConnection, PgExecutor, Postgres, Row};

use super::arrears::{Kind, Wanted};
use super::line::{CheckedLine, Payments};
use super::references::{Asked, OfCompany, Registered};
use crate::vocabulary::dates::{AccountMonth, day};
use crate::vocabulary::identifiers::BatchId;
use crate::{packages, suppliers};

/// Arrears in their stable order. The caller may be the network company or the retail company of a
/// line: two disjoint branches, each of which reads its own index in the order of the answer, so that
/// they are merged and nothing is sorted. A test checks the plan.
///
/// `$book` narrows to one book, and `$order` leaves the book out then: to the planner a constant column
/// is no part of an order. A kind ($4) comes with whether its customers are the caller's own ($5).
///
/// `|| ''` hides a column's statistics: where there is one network company, the planner takes it that no line has
/// another, and would rather read and sort the whole table than walk the index to a limit it never reaches.
macro_rules! arrears_sql {
    ($columns:literal, $book:literal, $after:literal, $order:literal, $limit:literal) => {
        concat!(
            "SELECT issued, settled_month, levy_date, previous_paid_date, previous_payment_id,
                 nullif(paid_total, 0) AS paid_total, latest_paid, latest_paid_date, latest_payment_id",
            $columns,
            " FROM (
                 (SELECT * FROM receivable
                  WHERE NOT settled AND network_company_id = $1 AND ",
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
                 (SELECT * FROM receivable
                  WHERE NOT settled AND retail_company_id = $1 AND network_company_id || '' <> $1 AND ",
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
        "book_id, settlement_account_id, account_month, charge_off_id, line_key",
        "$6"
    ),
    arrears_sql!("", "book_id = $2", "", "settlement_account_id, account_month, charge_off_id, line_key", "$6"),
];

/// The statements behind [`portion`]. Parameters: caller, book, store, kind, own, and the key of the line
/// after which the portion begins.
const PORTION: [&str; 2] = [
    arrears_sql!(
        ", book_id, settlement_account_id, account_month, charge_off_id, line_key",
        "$2::text IS NULL",
        " AND (book_id, settlement_account_id, account_month, charge_off_id, line_key)
                    > ($6::text, $7::text, $8::integer, $9::text, $10::bytea)",
        "book_id, settlement_account_id, account_month, charge_off_id, line_key",
        "500"
    ),
    arrears_sql!(
        ", book_id, settlement_account_id, account_month, charge_off_id, line_key",
        "book_id = $2",
        " AND $6::text IS NOT NULL AND (settlement_account_id, account_month, charge_off_id, line_key)
                    > ($7::text, $8::integer, $9::text, $10::bytea)",
        "settlement_account_id, account_month, charge_off_id, line_key",
        "500"
    ),
];

/// Returns the statements of arrears with the types of their parameters, so that a test can explain them.
#[must_use]
pub fn arrears_statements() -> [(&'static str, &'static str); 4] {
    let ([all, book], [next_of_all, next_of_book]) = (ARREARS, PORTION);
    let (capped, portion) = (
        "text, text, text, text, boolean, bigint",
        "text, text, text, text, boolean, text, text, integer, text, bytea",
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
    line_key: Vec<u8>,
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
    let Place { book_id, settlement_account_id, account_month, charge_off_id, line_key } = after;
    let query = arrears_query(PORTION, caller, wanted)
        .bind(book_id)
        .bind(settlement_account_id)
        .bind(account_month)
        .bind(charge_off_id)
        .bind(line_key);
    let (lines, last) = all_encoded(query.fetch(executor)).named("arrears_portion").await?;
    let place = last.map(|row| place(&row)).transpose()?;
    Ok((lines, place))
}

/// Reads the columns that a portion has beside those of a line.
fn place(row: &PgRow) -> Result<Place, sqlx::Error> {
    Ok(Place {
        book_id: row.try_get(9)?,
        settlement_account_id: row.try_get(10)?,
        account_month: row.try_get(11)?,
        charge_off_id: row.try_get(12)?,
        line_key: row.try_get(13)?,
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
        settled_month: row.try_get_unchecked(1)?,
        levy_date: row.try_get_unchecked(2)?,
        previous_paid_date: row.try_get_unchecked(3)?,
        previous_payment_id: row.try_get_unchecked(4)?,
        paid_total: row.try_get_unchecked(5)?,
        latest_paid: row.try_get_unchecked(6)?,
        latest_paid_date: row.try_get_unchecked(7)?,
        latest_payment_id: row.try_get_unchecked(8)?,
    }
    .append(buffer);
    Ok(buffer.split().freeze())
}

/// Looks up names of lines: companies, stores and packages.
///
/// # Errors
/// Returns the database's error.
pub async fn registered(pool: &Pool, asked: &Asked) -> Result<Registered, sqlx::Error> {
    let split = |names: &BTreeSet<OfCompany>| -> (Vec<_>, Vec<_>) { names.iter().cloned().unzip() };
    let mut found = Registered::default();
    if !asked.companies.is_empty() {
        let ids: Vec<_> = asked.companies.iter().cloned().collect();
        found.companies = suppliers::store::kinds(pool, &ids).await?;
    }
    if !asked.stores.is_empty() {
        let (companies, stores) = split(&asked.stores);
        found.stores = suppliers::store::registered(pool, &companies, &stores).await?;
    }
    if !asked.packages.is_empty() {
        let (companies, packages) = split(&asked.packages);
        found.packages = packages::store::registered(pool, &companies, &packages).await?;
    }
    Ok(found)
}

/// An imported batch.
#[derive(Clone, Debug)]
pub struct Batch {
    /// SHA-256 of its lines.
    pub content_hash: Vec<u8>,
    /// Lines.
    pub lines: i64,
    /// Lines that were outstanding at the import.
    pub outstanding_lines: i64,
    /// It was imported by mistake and taken back.
    pub taken_back: bool,
}

/// Returns the batch of an identifier.
///
/// # Errors
/// Returns the database's error.
pub async fn batch(
    executor: impl PgExecutor<'_>,
    company_id: &str,
    batch_id: &BatchId,
) -> Result<Option<Batch>, sqlx::Error> {
    sqlx::query_as!(
        Batch,
        r#"SELECT content_hash, lines, outstanding_lines, EXISTS (
               SELECT FROM receivable_batch_taken_back t
               WHERE t.company_id = b.company_id AND t.batch_id = b.batch_id) AS "taken_back!"
           FROM receivable_batch b WHERE company_id = $1 AND batch_id = $2"#,
        company_id,
        batch_id.as_str(),
    )
    .fetch_optional(executor)
    .named("batch_read")
    .await
}

/// Reserves a batch for this transaction; returns false if another is importing it or taking it back.
///
/// # Errors
/// Returns the database's error.
pub async fn reserve_batch(
    connection: &mut PgConnection,
    company_id: &str,
    batch_id: &BatchId,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT pg_try_advisory_xact_lock(hashtextextended($1 || ' ' || $2, 1)) AS "reserved!""#,
        company_id,
        batch_id.as_str(),
    )
    .fetch_one(connection)
    .named("batch_reserve")
    .await
}

/// Records a batch as imported.
///
/// # Errors
/// Returns the database's error.
pub async fn record_batch(
    connection: &mut PgConnection,
    call: &Call,
    batch_id: &BatchId,
    batch: &Batch,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO receivable_batch (company_id, batch_id, content_hash, lines, outstanding_lines)
         VALUES ($1, $2, $3, $4, $5)",
        call.tenant.id,
        batch_id.as_str(),
        batch.content_hash,
        batch.lines,
        batch.outstanding_lines,
    )
    .execute(connection)
    .named("batch_record")
    .await?;
    Ok(())
}

/// Records a batch as taken back and removes its lines, but for those that something changed since; returns how
/// many are gone.
///
/// # Errors
/// Returns the database's error.
pub async fn take_back(connection: &mut PgConnection, call: &Call, batch_id: &BatchId) -> Result<i64, sqlx::Error> {
    sqlx::query!(
        "INSERT INTO receivable_batch_taken_back (company_id, batch_id) VALUES ($1, $2)",
        call.tenant.id,
        batch_id.as_str(),
    )
    .execute(&mut *connection)
    .named("batch_take_back")
    .await?;
    // A large batch may take longer than a statement usually may; the deadline of the call bounds it.
    sqlx::query!("SELECT set_config('statement_timeout', '0', true)")
        .fetch_one(&mut *connection)
        .named("batch_take_back_time")
        .await?;
    sqlx::query_scalar!(r#"SELECT take_back_lines($1, $2) AS "gone!""#, call.tenant.id, batch_id.as_str())
        .fetch_one(connection)
        .named("batch_lines_remove")
        .await
}

/// Returns the keys of lines that exist, of those that are given with their network companies. The company travels
/// with each key: a constant beside the keys would look selective to a planner without statistics.
///
/// # Errors
/// Returns the database's error.
pub async fn existing(
    executor: impl PgExecutor<'_>,
    network_company_ids: &[String],
    keys: &[Vec<u8>],
) -> Result<Vec<Vec<u8>>, sqlx::Error> {
    sqlx::query_scalar!(
        "SELECT k.line_key FROM unnest($1::text[], $2::bytea[]) AS own (network_company_id, line_key)
         JOIN receivable_key k ON k.network_company_id = own.network_company_id AND k.line_key = own.line_key",
        network_company_ids,
        keys,
    )
    .fetch_all(executor)
    .named("line_existing")
    .await
}

/// The columns that [`CopyBuffer`] writes, in its order. The actor comes from the defaults of the table.
const COPY: &str = "COPY receivable (network_company_id, retail_company_id, book_id, retail_store_id, package_kind, \
    settlement_account_id, account_month, charge_off_date, charge_off_id, line_key, fee, paid_total, latest_paid, \
    latest_paid_date, latest_payment_id, previous_paid_date, previous_payment_id, levy_date, settled_month, settled, \
    batch_id, importer_id, issued) FROM STDIN WITH (FORMAT binary)";
const COPY_COLUMNS: i16 = 23;

/// Lines in PostgreSQL's binary COPY format, encoded by the driver.
#[derive(Debug)]
pub struct CopyBuffer {
    bytes: PgArgumentBuffer,
    /// Number of lines in it.
    pub lines: usize,
}

impl Default for CopyBuffer {
    fn default() -> Self {
        let mut bytes = PgArgumentBuffer::default();
        bytes.extend_from_slice(b"PGCOPY\n\xff\r\n\0");
        // No flags, no header extension.
        bytes.extend_from_slice(&[0; 8]);
        Self { bytes, lines: 0 }
    }
}

impl CopyBuffer {
    /// Appends a line.
    ///
    /// # Errors
    /// Returns an error if a value has no binary form.
    pub fn push(&mut self, importer_id: &str, batch_id: &BatchId, checked: &CheckedLine) -> Result<(), BoxDynError> {
        let line = &checked.line;
        let text = |text: &'_ str| (!text.is_empty()).then(|| text.to_owned());
        self.bytes.extend_from_slice(&COPY_COLUMNS.to_be_bytes());
        self.put(line.network_company_id.as_str())?;
        self.put(line.retail_company_id.as_str())?;
        self.put(line.book_id.as_str())?;
        self.put(line.retail_store_id.as_str())?;
        self.put(line.package_kind().stored())?;
        self.put(line.settlement_account_id.as_str())?;
        self.put(line.account_month)?;
        self.put::<Option<NaiveDate>>(day(line.charge_off_date))?;
        self.put(line.charge_off_id.as_str())?;
        self.put(&checked.key[..])?;
        self.put(checked.fee)?;
        self.put(checked.paid_total)?;
        self.put::<Option<Decimal>>(checked.latest_paid)?;
        self.put::<Option<NaiveDate>>(day(line.latest_paid_date))?;
        self.put::<Option<String>>(text(&line.latest_payment_id))?;
        self.put::<Option<NaiveDate>>(day(line.previous_paid_date))?;
        self.put::<Option<String>>(text(&line.previous_payment_id))?;
        self.put::<Option<NaiveDate>>(day(line.penalty_from))?;
        self.put::<Option<i32>>(AccountMonth::read(line.settled_month).map(AccountMonth::number))?;
        self.put(checked.is_settled())?;
        self.put(batch_id.as_str())?;
        self.put(importer_id)?;
        self.put(checked.issued.as_slice())?;
        self.lines += 1;
        Ok(())
    }

    /// Appends a value with its length before it; NULL has the length -1 and no bytes.
    fn put<'q, T: Encode<'q, Postgres>>(&mut self, value: T) -> Result<(), BoxDynError> {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        let length = match value.encode_by_ref(&mut self.bytes)? {
            IsNull::Yes => -1,
            IsNull::No => i32::try_from(self.bytes.len() - at - 4)?,
        };
        if let Some(place) = self.bytes.get_mut(at..at + 4) {
            place.copy_from_slice(&length.to_be_bytes());
        }
        Ok(())
    }

    /// Sends the lines to the table.
    ///
    /// # Errors
    /// Returns the database's error; it violates a unique index if a line exists.
    pub async fn send(mut self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        self.bytes.extend_from_slice(&(-1_i16).to_be_bytes());
        let bytes = self.bytes;
        let copying = async {
            let mut copy = connection.copy_in_raw(COPY).await?;
            copy.send(bytes.as_slice()).await?;
            copy.finish().await.map(drop)
        };
        copying.named("line_copy").await
    }
}
