//! The statements of receivable lines. Every query is bound by the calling company.

use bytes::{Bytes, BytesMut};
use chrono::NaiveDate;
use communal_kit::call::Call;
use communal_kit::database::Statement as _;
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
use super::line::{CheckedLine, LineKey, Payments};
use crate::vocabulary::dates::{AccountMonth, day};
use crate::vocabulary::identifiers::BatchId;

/// Arrears in their stable order. The caller may be the network company or the retail company of a
/// line: two disjoint branches, each of which reads its own index in the order of the answer, so that
/// they are merged and nothing is sorted. A test checks the plan.
///
/// `$book` narrows to one book, and `$order` leaves the book out then: to the planner a constant column
/// is no part of an order. A kind ($4) comes with whether its customers are the caller's own ($6).
macro_rules! arrears_sql {
    ($before:literal, $book:literal, $order:literal) => {
        concat!(
            $before,
            "SELECT issued, settled_month, levy_date, previous_paid_date, previous_payment_id,
                 nullif(paid_total, 0) AS paid_total, latest_paid, latest_paid_date, latest_payment_id
             FROM (
                 (SELECT * FROM receivable
                  WHERE NOT settled AND network_company_id = $1 AND ",
            $book,
            " AND ($3::text IS NULL OR retail_store_id = $3)
                    AND ($4::text IS NULL OR package_kind = $4 AND (retail_company_id = $1) = $6)
                  ORDER BY ",
            $order,
            " LIMIT $5)
                 UNION ALL
                 (SELECT * FROM receivable
                  WHERE NOT settled AND retail_company_id = $1 AND network_company_id <> $1 AND ",
            $book,
            " AND ($3::text IS NULL OR retail_store_id = $3)
                    AND ($4::text IS NULL OR package_kind = $4 AND $6)
                  ORDER BY ",
            $order,
            " LIMIT $5)
             ) AS arrears
             ORDER BY ",
            $order,
            " LIMIT $5"
        )
    };
    ($before:literal) => {
        [
            arrears_sql!(
                $before,
                "$2::text IS NULL",
                "book_id, settlement_account_id, account_month, charge_off_id, line_key"
            ),
            arrears_sql!($before, "book_id = $2", "settlement_account_id, account_month, charge_off_id, line_key"),
        ]
    };
}

/// Binds the statement for all books or the one for one book: the planner does not use an index for a
/// condition that may be absent.
fn arrears_query<'q>(
    texts: [&'static str; 2],
    caller: &'q str,
    wanted: &'q Wanted,
    limit: Option<i64>,
) -> Query<'q, Postgres, PgArguments> {
    let [all, of_book] = texts;
    sqlx::query(if wanted.book_id.is_some() { of_book } else { all })
        .bind(caller)
        .bind(wanted.book_id.as_deref())
        .bind(wanted.retail_store_id.as_deref())
        .bind(wanted.kind.and_then(|kind| kind.of_package().stored()))
        .bind(limit)
        .bind(wanted.kind.map(Kind::is_own))
}

/// Returns the statements behind [`arrears`], for all books and for one, so that a test can explain them.
/// Parameters: caller, book, store, kind, limit, own.
#[must_use]
pub fn arrears_statements() -> [&'static str; 2] {
    arrears_sql!("")
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
    let rows = arrears_query(arrears_statements(), caller, wanted, Some(limit)).fetch(executor);
    all_encoded(rows).named("arrears_read").await
}

/// Opens a cursor over the arrears that a caller sees. It lives as long as the transaction.
///
/// # Errors
/// Returns the database's error.
pub async fn open_cursor(connection: &mut PgConnection, caller: &str, wanted: &Wanted) -> Result<(), sqlx::Error> {
    let texts = arrears_sql!("DECLARE arrears NO SCROLL CURSOR FOR ");
    arrears_query(texts, caller, wanted, None).execute(connection).named("arrears_cursor").await?;
    Ok(())
}

/// Returns the next lines of the cursor, encoded; none at its end.
///
/// # Errors
/// Returns the database's error.
pub async fn next_portion(connection: &mut PgConnection) -> Result<Vec<Bytes>, sqlx::Error> {
    all_encoded(sqlx::query("FETCH 500 FROM arrears").fetch(connection)).named("arrears_fetch").await
}

async fn all_encoded(mut rows: BoxStream<'_, Result<PgRow, sqlx::Error>>) -> Result<Vec<Bytes>, sqlx::Error> {
    let mut lines = Vec::new();
    let mut buffer = BytesMut::new();
    while let Some(row) = rows.try_next().await? {
        lines.push(encoded(&row, &mut buffer)?);
    }
    Ok(lines)
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

/// An imported batch.
#[derive(Clone, Debug)]
pub struct Batch {
    /// SHA-256 of its lines.
    pub content_hash: Vec<u8>,
    /// Lines.
    pub lines: i64,
    /// Lines that were outstanding at the import.
    pub outstanding_lines: i64,
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
        "SELECT content_hash, lines, outstanding_lines FROM receivable_batch
         WHERE company_id = $1 AND batch_id = $2",
        company_id,
        batch_id.as_str(),
    )
    .fetch_optional(executor)
    .named("batch_read")
    .await
}

/// Reserves a batch for this transaction; returns false if another is importing it.
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

/// Returns true if a line is open and settled at once, which no index prevents. Locks the network
/// companies, in the order of their identifiers, against other imports until this transaction ends, so
/// that none can add the other half of such a line after the check.
///
/// # Errors
/// Returns the database's error.
pub async fn any_line_twice(
    connection: &mut PgConnection,
    network_company_ids: &[String],
) -> Result<bool, sqlx::Error> {
    for id in network_company_ids {
        sqlx::query!("SELECT pg_advisory_xact_lock(hashtextextended($1, 2))", id)
            .execute(&mut *connection)
            .named("line_lock")
            .await?;
    }
    // LIMIT keeps this a lookup for each open line, of which there are few.
    sqlx::query_scalar!(
        r#"SELECT EXISTS (
               SELECT FROM receivable_open o CROSS JOIN LATERAL (
                   SELECT FROM receivable_settled s
                   WHERE s.network_company_id = o.network_company_id AND s.line_key = o.line_key LIMIT 1) AS twin
               WHERE o.network_company_id = ANY($1)) AS "exists!""#,
        network_company_ids,
    )
    .fetch_one(connection)
    .named("line_twice")
    .await
}

/// Returns the keys of lines that exist.
///
/// # Errors
/// Returns the database's error.
pub async fn existing(
    executor: impl PgExecutor<'_>,
    network_company_ids: &[String],
    keys: &[Vec<u8>],
) -> Result<Vec<Vec<u8>>, sqlx::Error> {
    sqlx::query_scalar!(
        "SELECT line_key FROM receivable WHERE network_company_id = ANY($1) AND line_key = ANY($2)",
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
    batch_id, issued) FROM STDIN WITH (FORMAT binary)";
const COPY_COLUMNS: i16 = 22;

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
    pub fn push(&mut self, batch_id: &BatchId, checked: &CheckedLine) -> Result<(), BoxDynError> {
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

/// Returns keys as a statement takes them.
#[must_use]
pub fn key_column<'a>(keys: impl IntoIterator<Item = &'a LineKey>) -> Vec<Vec<u8>> {
    keys.into_iter().map(|key| key.to_vec()).collect()
}
