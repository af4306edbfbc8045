//! The statements of readings. Every query is bound by the company.
//!
//! Readings are entered under the locks of their open points (`points/store.rs`). The tenant travels with each key, in arrays;
//! kind and number are kept from becoming constants, as there.

use chrono::{DateTime, Utc};
use communal_kit::call::Call;
use communal_kit::database::Statement as _;
use communal_kit::database::stored::{Stored, decoded};
use communal_kit::paging::Page;
use communal_proto::Coded as _;
use communal_proto::billing::v1::NormalRetroType;
use futures::{StreamExt as _, TryStreamExt as _};
use prost::Message as _;
use sqlx::{PgConnection, PgExecutor};

use super::stored::Readings;
use crate::metering::points::snapshot::Snapshot;
use crate::metering::points::{PointColumns, PointKey, by_month};

/// A point with its readings.
#[derive(Clone, Debug)]
pub struct ReadPoint {
    /// Its key.
    pub key: PointKey,
    /// What it holds.
    pub snapshot: Snapshot,
    /// Its readings.
    pub readings: Readings,
    /// True if it has readings that are stored.
    pub is_read: bool,
}

/// A meter whose readings are entered.
#[derive(Clone, Debug)]
pub struct NamedMeter {
    /// The meter.
    pub meter_id: String,
    /// The account that it is on; `None` in the store room.
    pub settlement_account_id: Option<String>,
    /// True if the open normal point of the account is outdated.
    pub outdated: bool,
}

/// Returns those of the meters that the company has, each with its account.
///
/// # Errors
/// Returns the database's error.
pub async fn meters(tx: &mut PgConnection, call: &Call, ids: &[&str]) -> Result<Vec<NamedMeter>, sqlx::Error> {
    sqlx::query_as!(
        NamedMeter,
        r#"SELECT m.meter_id, m.settlement_account_id, o.settlement_account_id IS NOT NULL AS "outdated!"
           FROM (SELECT k.*, '1' AS kind FROM unnest($1::text[], $2::text[]) AS k (company_id, meter_id) OFFSET 0) AS own
           JOIN meter m ON m.company_id = own.company_id AND m.meter_id = own.meter_id
           LEFT JOIN point_open o ON o.company_id = own.company_id AND o.settlement_account_id = m.settlement_account_id
               AND o.kind = own.kind AND o.outdated"#,
        vec![call.tenant.id.as_str(); ids.len()] as _,
        ids as _,
    )
    .fetch_all(tx)
    .named("meter_to_read")
    .await
}

/// The readings of a point; none if nothing is stored.
fn read(stored: Option<&[u8]>) -> Result<Readings, sqlx::Error> {
    stored.map_or_else(|| Ok(Readings::default()), decoded)
}

/// Returns points of a month, of either kind, with their readings, those that there are. A month that is given once is one
/// partition; beside each key it would be looked for among all of them. It is no way to a key: a planner that may join as it
/// likes walks the whole month for a thousand of its points while it knows nothing of the month.
///
/// # Errors
/// Returns the database's error, and an error of decoding for a point that cannot be read.
async fn points_of_month(
    executor: impl PgExecutor<'_>,
    company_id: &str,
    account_month: i32,
    keys: &[&PointKey],
) -> Result<Vec<ReadPoint>, sqlx::Error> {
    let PointColumns { companies, accounts, months: _, kinds, numbers } =
        PointColumns::of(company_id, keys.iter().copied());
    let rows = sqlx::query!(
        r#"SELECT p.settlement_account_id, p.kind AS "kind: Stored<NormalRetroType>", p.number, p.snapshot,
               r.readings AS "readings?"
           FROM unnest($1::text[], $2::text[], $3::text[], $4::integer[])
               AS own (company_id, settlement_account_id, kind, number)
           CROSS JOIN LATERAL (
               SELECT b.settlement_account_id, b.kind, b.number, b.snapshot FROM billing_point b
               WHERE b.company_id = own.company_id AND b.settlement_account_id = own.settlement_account_id
                   AND b.account_month = $5 AND b.kind = own.kind AND b.number = own.number
               OFFSET 0) AS p
           LEFT JOIN LATERAL (
               SELECT b.readings FROM point_reading b
               WHERE b.company_id = own.company_id AND b.settlement_account_id = own.settlement_account_id
                   AND b.account_month = $5 AND b.kind = own.kind AND b.number = own.number
               OFFSET 0) AS r ON true"#,
        companies as _,
        accounts as _,
        kinds as _,
        &numbers,
        account_month,
    )
    .fetch(executor);
    // A point is decoded while PostgreSQL looks up the next ones.
    let points = rows.map(|row| {
        let row = row?;
        let (settlement_account_id, kind, number) = (row.settlement_account_id, row.kind.0, row.number);
        Ok(ReadPoint {
            key: PointKey { settlement_account_id, account_month, kind, number },
            snapshot: decoded(&row.snapshot)?,
            readings: read(row.readings.as_deref())?,
            is_read: row.readings.is_some(),
        })
    });
    points.try_collect().named("billing_point_by_key").await
}

/// Returns points, each given by its key, with their readings, those that there are.
///
/// # Errors
/// Returns the database's error, and an error of decoding for a point that cannot be read.
pub async fn points(
    connection: &mut PgConnection,
    company_id: &str,
    keys: &[PointKey],
) -> Result<Vec<ReadPoint>, sqlx::Error> {
    let mut points = Vec::with_capacity(keys.len());
    for (month, keys) in by_month(keys) {
        points.extend(points_of_month(&mut *connection, company_id, month, &keys).await?);
    }
    Ok(points)
}

/// Writes the readings of locked points: as new rows, or in the place of those that are stored.
///
/// # Errors
/// Returns the database's error.
pub async fn write(tx: &mut PgConnection, call: &Call, points: &[&ReadPoint]) -> Result<(), sqlx::Error> {
    let (stored, new): (Vec<_>, Vec<_>) = points.iter().copied().partition(|point| point.is_read);
    if !new.is_empty() {
        insert(tx, call, &new).await?;
    }
    if !stored.is_empty() {
        replace(tx, call, &stored).await?;
    }
    Ok(())
}

/// What is written of points, as columns of their rows.
struct ReadColumns<'p> {
    accounts: Vec<&'p str>,
    months: Vec<i32>,
    meters: Vec<&'p str>,
    registers: Vec<i32>,
    complete: Vec<bool>,
    readings: Vec<Vec<u8>>,
}

impl<'p> ReadColumns<'p> {
    fn of(points: &[&'p ReadPoint]) -> Self {
        Self {
            accounts: points.iter().map(|p| p.key.settlement_account_id.as_str()).collect(),
            months: points.iter().map(|p| p.key.account_month).collect(),
            meters: points.iter().map(|p| p.snapshot.meter_id()).collect(),
            registers: points.iter().map(|p| p.readings.count()).collect(),
            complete: points.iter().map(|p| p.readings.are_complete(&p.snapshot)).collect(),
            readings: points.iter().map(|p| p.readings.encode_to_vec()).collect(),
        }
    }
}

/// Inserts readings. The actor is asked for once, and not for each row as the defaults of the columns would.
async fn insert(tx: &mut PgConnection, call: &Call, points: &[&ReadPoint]) -> Result<(), sqlx::Error> {
    let columns = ReadColumns::of(points);
    sqlx::query!(
        "INSERT INTO point_reading (company_id, settlement_account_id, account_month, kind, number, meter_id, registers,
             complete, readings, operator_id, channel_id, trace_id, written_at)
         SELECT $1, settlement_account_id, account_month, $2, 0, meter_id, registers, complete, readings,
             (SELECT platform.actor('operator_id')), (SELECT platform.actor('channel_id')),
             (SELECT platform.actor('trace_id')), (SELECT platform.instant())
         FROM unnest($3::text[], $4::integer[], $5::text[], $6::integer[], $7::boolean[], $8::bytea[])
             AS new (settlement_account_id, account_month, meter_id, registers, complete, readings)",
        call.tenant.id,
        NormalRetroType::Normal.stored(),
        columns.accounts as _,
        &columns.months,
        columns.meters as _,
        &columns.registers,
        &columns.complete,
        &columns.readings,
    )
    .execute(tx)
    .named("point_reading_insert")
    .await?;
    Ok(())
}

async fn replace(tx: &mut PgConnection, call: &Call, points: &[&ReadPoint]) -> Result<(), sqlx::Error> {
    let columns = ReadColumns::of(points);
    sqlx::query!(
        "UPDATE point_reading r SET meter_id = own.meter_id, registers = own.registers, complete = own.complete,
             readings = own.readings, operator_id = platform.actor('operator_id'),
             channel_id = platform.actor('channel_id'), trace_id = platform.actor('trace_id'),
             written_at = platform.instant()
         FROM (SELECT k.*, '1' AS kind, 0 AS number
               FROM unnest($1::text[], $2::text[], $3::integer[], $4::text[], $5::integer[], $6::boolean[], $7::bytea[])
                   AS k (company_id, settlement_account_id, account_month, meter_id, registers, complete, readings)
               OFFSET 0) AS own
         WHERE r.company_id = own.company_id AND r.settlement_account_id = own.settlement_account_id
             AND r.account_month = own.account_month AND r.kind = own.kind AND r.number = own.number",
        vec![call.tenant.id.as_str(); points.len()] as _,
        columns.accounts as _,
        &columns.months,
        columns.meters as _,
        &columns.registers,
        &columns.complete,
        &columns.readings,
    )
    .execute(tx)
    .named("point_reading_replace")
    .await?;
    Ok(())
}

/// An open point of a page of registers.
#[derive(Clone, Debug)]
pub struct PagedPoint {
    /// The account.
    pub settlement_account_id: String,
    /// What it holds.
    pub snapshot: Snapshot,
    /// Its readings.
    pub readings: Readings,
    /// When it was calculated.
    pub calculated_at: Option<DateTime<Utc>>,
    /// True if it has to be made again.
    pub outdated: bool,
    /// The number of registers of the points before it.
    pub before: i64,
}

/// A row of a page of registers.
#[derive(Debug)]
struct PagedRow {
    settlement_account_id: String,
    snapshot: Vec<u8>,
    readings: Option<Vec<u8>>,
    calculated_at: Option<DateTime<Utc>>,
    outdated: bool,
    registers: i64,
    before: i64,
    total: i64,
}

/// Selects the open points of a book whose registers are on a page, by reading order, meter and account, with the number
/// of registers before each and of all. The first point comes in any case: it tells the total. The expression is the
/// number of registers of a point `o`.
macro_rules! select_paged {
    ($from:tt, $registers:tt, $page:expr, $($argument:expr),* $(,)?) => {
        sqlx::query_as!(
            PagedRow,
            r#"SELECT n.settlement_account_id AS "settlement_account_id!", p.snapshot, r.readings AS "readings?",
                   c.written_at AS "calculated_at?", n.outdated AS "outdated!", n.registers AS "registers!",
                   n.before AS "before!", n.total AS "total!"
               FROM (SELECT o.company_id, o.settlement_account_id, o.account_month, o.kind, o.number, o.outdated,
                         row_number() OVER w AS place, "#
                + $registers
                + "::bigint AS registers, (sum("
                + $registers
                + ") OVER w - "
                + $registers
                + ")::bigint AS before, (sum("
                + $registers
                + r#") OVER ())::bigint AS total
                     FROM point_open o "#
                + $from
                + r#" WHERE o.company_id = $3 AND o.book_id = $4 AND o.kind = '1' AND "#
                + $registers
                + r#" > 0 AND ($5 = '' OR o.meter_id = $5)
                     WINDOW w AS (ORDER BY o.reading_order, o.meter_id, o.settlement_account_id)) AS n
               JOIN billing_point p ON p.company_id = n.company_id AND p.settlement_account_id = n.settlement_account_id
                   AND p.account_month = n.account_month AND p.kind = n.kind AND p.number = n.number
               LEFT JOIN point_reading r ON r.company_id = n.company_id
                   AND r.settlement_account_id = n.settlement_account_id AND r.account_month = n.account_month
                   AND r.kind = n.kind AND r.number = n.number
               LEFT JOIN point_calculation c ON c.company_id = n.company_id
                   AND c.settlement_account_id = n.settlement_account_id AND c.account_month = n.account_month
                   AND c.kind = n.kind AND c.number = n.number
               WHERE n.place = 1 OR (n.before < $2 AND n.before + n.registers >= $1)
               ORDER BY n.before"#,
            $page.first,
            $page.last,
            $($argument),*
        )
    };
}

/// Returns the open points of a book whose registers, read or not, are on a page, and how many registers there are.
///
/// # Errors
/// Returns the database's error, and an error of decoding for a point that cannot be read.
pub async fn pending(
    executor: impl PgExecutor<'_>,
    company_id: &str,
    book_id: &str,
    page: Page,
) -> Result<(Vec<PagedPoint>, i64), sqlx::Error> {
    let rows = select_paged!("", "o.registers", page, company_id, book_id, "").fetch_all(executor);
    paged(rows.named("point_pending").await?, page)
}

/// Returns the open points of a book, or of a meter of it, whose registers that are read are on a page, and how many such
/// registers there are.
///
/// # Errors
/// Returns the database's error, and an error of decoding for a point that cannot be read.
pub async fn measured(
    executor: impl PgExecutor<'_>,
    company_id: &str,
    book_id: &str,
    meter_id: &str,
    page: Page,
) -> Result<(Vec<PagedPoint>, i64), sqlx::Error> {
    let rows = select_paged!(
        "JOIN point_reading m ON m.company_id = o.company_id AND m.settlement_account_id = o.settlement_account_id
             AND m.account_month = o.account_month AND m.kind = o.kind AND m.number = o.number",
        "m.registers",
        page,
        company_id,
        book_id,
        meter_id,
    )
    .fetch_all(executor);
    paged(rows.named("point_measured").await?, page)
}

fn paged(rows: Vec<PagedRow>, page: Page) -> Result<(Vec<PagedPoint>, i64), sqlx::Error> {
    let total = rows.first().map_or(0, |row| row.total);
    // The first point may be of another page.
    let on_page = rows.into_iter().filter(|row| row.before + row.registers >= page.first);
    let point = |row: PagedRow| {
        Ok(PagedPoint {
            settlement_account_id: row.settlement_account_id,
            snapshot: decoded(&row.snapshot)?,
            readings: read(row.readings.as_deref())?,
            calculated_at: row.calculated_at,
            outdated: row.outdated,
            before: row.before,
        })
    };
    Ok((on_page.map(point).collect::<Result<_, sqlx::Error>>()?, total))
}
