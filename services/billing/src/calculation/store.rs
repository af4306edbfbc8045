//! The statements of calculations. Every query is bound by the company, and the tenant travels with each key.
//!
//! Lock order: the account month, the settlement accounts by identifier, their open points by identifier (as in
//! `metering/points/store/mod.rs`). How many points are calculated is counted by the database beside them, so that a total needs no
//! scan; the page of a company is found by the counts of its books.

use std::collections::{BTreeSet, HashMap, HashSet};

use chrono::NaiveDate;
use communal_kit::call::Call;
use communal_kit::database::stored::{Stored, decoded};
use communal_kit::database::{Statement as _, look_up_by_keys};
use communal_kit::paging::Page;
use communal_proto::billing::v1::NormalRetroType;
use prost::Message as _;
use sqlx::{PgConnection, PgExecutor};

use super::facts::{PointFacts, temporary_months_used};
use super::stored::Calculation;
use crate::archive::accumulators::AccountAccumulators;
use crate::archive::{billable, settlement_accounts};
use crate::metering::points::snapshot::Snapshot;
use crate::metering::points::{self, PointColumns, PointKey};
use crate::metering::readings;
use crate::metering::readings::store::ReadPoint;
use crate::metering::readings::stored::Readings;
use crate::reference::month_controls::{self, Series};

/// A point that is not charged off, with everything that decides its bill but prices. It is locked.
#[derive(Clone, Debug)]
pub struct UnpricedPoint {
    /// Its key.
    pub key: PointKey,
    /// What it holds.
    pub snapshot: Snapshot,
    /// Its readings.
    pub readings: Readings,
    /// The accumulators of its account.
    pub accumulators: AccountAccumulators,
    /// The months in which its temporary package priced the account.
    pub temporary_months_used: i32,
    /// The account month that is open today.
    pub open_month: Option<i32>,
    /// True if it had a calculation when it was locked.
    pub calculated: bool,
}

impl UnpricedPoint {
    /// The facts of its bill.
    #[must_use]
    pub fn facts(&self) -> PointFacts<'_> {
        PointFacts {
            key: &self.key,
            snapshot: &self.snapshot,
            readings: &self.readings,
            accumulators: self.accumulators,
            temporary_months_used: self.temporary_months_used,
        }
    }
}

/// The accounts and points of a call, locked.
#[derive(Debug, Default)]
pub struct Found {
    /// The accounts that the company has.
    pub accounts: HashSet<String>,
    /// Their points that are not charged off.
    pub points: Points,
}

/// Points that are not charged off, by account and kind.
pub type Points = HashMap<(String, NormalRetroType), UnpricedPoint>;

/// Locks accounts with the points of them that are not charged off, makes outdated points again, and reads what is asked for.
///
/// # Errors
/// Returns the database's error, and an error of decoding for a point that cannot be read.
pub async fn lock(
    tx: &mut PgConnection,
    call: &Call,
    asked: &[(&str, NormalRetroType)],
    today: NaiveDate,
) -> Result<Found, sqlx::Error> {
    look_up_by_keys(tx).await?;
    let ids = accounts_of(asked);
    let mut months = billable::store::open_months(tx, call, &ids, today).await?;
    let accounts = settlement_accounts::store::lock_alone(tx, call, &ids).await?.into_iter().collect();
    let points = lock_points(tx, call, asked, today, &mut months).await?;
    Ok(Found { accounts, points })
}

/// The accounts of points, each once, by identifier.
fn accounts_of<'i>(asked: &[(&'i str, NormalRetroType)]) -> Vec<&'i str> {
    asked.iter().map(|(id, _)| *id).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Locks the points of locked accounts that are not charged off, makes outdated ones again, and reads what is asked for, in
/// account months that are in use already. Those of other series are added when a point needs them.
///
/// # Errors
/// Returns the database's error, and an error of decoding for a point that cannot be read.
pub async fn lock_points(
    tx: &mut PgConnection,
    call: &Call,
    asked: &[(&str, NormalRetroType)],
    today: NaiveDate,
    months: &mut HashMap<Series, Option<i32>>,
) -> Result<Points, sqlx::Error> {
    let ids = accounts_of(asked);
    let wanted: HashSet<_> = asked.iter().copied().collect();
    let mut open = points::store::lock_uncharged(tx, call, &ids).await?;
    open.retain(|point| wanted.contains(&(point.key.settlement_account_id.as_str(), point.key.kind)));
    let outdated = open.iter().filter(|point| point.outdated);
    let outdated: Vec<_> = outdated.map(|point| point.key.settlement_account_id.as_str()).collect();
    if !outdated.is_empty() {
        points::store::remake(tx, call, &outdated).await?;
    }
    let (keys, locked): (Vec<_>, Vec<_>) =
        open.into_iter().map(|point| (point.key, (point.accumulators, point.lines > 0))).unzip();
    let locked: HashMap<_, _> = keys.iter().zip(locked).collect();
    let company = &call.tenant.id;
    let of_keys = readings::store::points(&mut *tx, company, &keys).await?;
    let with_temporary = of_keys.iter().filter(|point| point.snapshot.temporary_package.is_some());
    let with_temporary: Vec<_> = with_temporary.map(|point| point.key.settlement_account_id.as_str()).collect();
    let temporary = billable::store::temporary_packages(&mut *tx, company, &with_temporary).await?;
    let mut points = HashMap::with_capacity(of_keys.len());
    for ReadPoint { key, snapshot, readings, is_read: _ } in of_keys {
        let series = snapshot.series();
        // An account that moved to another store keeps the month of its point until that is made again.
        if !months.contains_key(&series) {
            let month = month_controls::store::use_open(tx, call, &series, today).await?;
            months.insert(series.clone(), month);
        }
        let id = key.settlement_account_id.as_str();
        let (accumulators, calculated) = locked.get(&key).copied().ok_or(sqlx::Error::RowNotFound)?;
        let temporary_months_used = if snapshot.temporary_package.is_some() {
            temporary_months_used(&snapshot, temporary.get(id).ok_or(sqlx::Error::RowNotFound)?)
        } else {
            snapshot.temporary_months_used
        };
        let point = UnpricedPoint {
            temporary_months_used,
            open_month: months.get(&series).copied().flatten(),
            calculated,
            accumulators,
            snapshot,
            readings,
            key,
        };
        points.insert((point.key.settlement_account_id.clone(), point.key.kind), point);
    }
    Ok(points)
}

/// Writes the calculations of locked points, in the place of those before.
///
/// # Errors
/// Returns the database's error.
pub async fn write(
    tx: &mut PgConnection,
    call: &Call,
    calculations: &[(&PointKey, Calculation)],
) -> Result<(), sqlx::Error> {
    let PointColumns { companies, accounts, months, kinds, numbers } =
        PointColumns::of(&call.tenant.id, calculations.iter().map(|(key, _)| *key));
    sqlx::query!(
        "INSERT INTO point_calculation (company_id, settlement_account_id, account_month, kind, number, calculation)
         SELECT new.*
         FROM unnest($1::text[], $2::text[], $3::integer[], $4::text[], $5::integer[], $6::bytea[]) AS new
         ON CONFLICT (company_id, settlement_account_id, account_month, kind, number) DO UPDATE
         SET (calculation, operator_id, channel_id, trace_id, written_at)
           = (excluded.calculation, excluded.operator_id, excluded.channel_id, excluded.trace_id, excluded.written_at)",
        companies.as_slice() as _,
        accounts.as_slice() as _,
        &months,
        kinds.as_slice() as _,
        &numbers,
        &calculations.iter().map(|(_, calculation)| calculation.encode_to_vec()).collect::<Vec<_>>(),
    )
    .execute(&mut *tx)
    .named("point_calculation_write")
    .await?;
    let lines = |calculation: &Calculation| i32::try_from(calculation.lines.len()).unwrap_or(i32::MAX);
    sqlx::query!(
        "UPDATE point_open o SET lines = own.lines
         FROM unnest($1::text[], $2::text[], $3::text[], $4::integer[])
             AS own (company_id, settlement_account_id, kind, lines)
         WHERE o.company_id = own.company_id AND o.settlement_account_id = own.settlement_account_id
             AND o.kind = own.kind AND o.lines <> own.lines",
        companies as _,
        accounts as _,
        kinds as _,
        &calculations.iter().map(|(_, calculation)| lines(calculation)).collect::<Vec<_>>(),
    )
    .execute(tx)
    .named("point_open_calculated")
    .await?;
    Ok(())
}

/// Returns the calculations of points, those that there are.
///
/// # Errors
/// Returns the database's error, and an error of decoding for a calculation that cannot be read.
pub async fn read(
    executor: impl PgExecutor<'_>,
    company_id: &str,
    keys: &[PointKey],
) -> Result<Vec<(PointKey, Calculation)>, sqlx::Error> {
    let PointColumns { companies, accounts, months, kinds, numbers } = PointColumns::of(company_id, keys);
    let rows = sqlx::query!(
        r#"SELECT c.settlement_account_id, c.account_month, c.kind AS "kind: Stored<NormalRetroType>", c.number,
               c.calculation
           FROM unnest($1::text[], $2::text[], $3::integer[], $4::text[], $5::integer[])
               AS own (company_id, settlement_account_id, account_month, kind, number)
           JOIN point_calculation c ON c.company_id = own.company_id
               AND c.settlement_account_id = own.settlement_account_id AND c.account_month = own.account_month
               AND c.kind = own.kind AND c.number = own.number"#,
        companies as _,
        accounts as _,
        &months,
        kinds as _,
        &numbers,
    )
    .fetch_all(executor)
    .named("point_calculation_read")
    .await?;
    let calculation = |row: (PointKey, Vec<u8>)| Ok((row.0, decoded(&row.1)?));
    let keyed = rows.into_iter().map(|row| {
        let key = PointKey {
            settlement_account_id: row.settlement_account_id,
            account_month: row.account_month,
            kind: row.kind.0,
            number: row.number,
        };
        (key, row.calculation)
    });
    keyed.map(calculation).collect()
}

/// A point with its calculation.
#[derive(Clone, Debug)]
pub struct CalculatedPoint {
    /// Its key.
    pub key: PointKey,
    /// What it holds.
    pub snapshot: Snapshot,
    /// Its calculation.
    pub calculation: Calculation,
}

/// A row of a point with its calculation.
struct CalculatedRow {
    settlement_account_id: String,
    account_month: i32,
    kind: Stored<NormalRetroType>,
    number: i32,
    snapshot: Vec<u8>,
    calculation: Vec<u8>,
}

impl CalculatedRow {
    fn point(self) -> Result<CalculatedPoint, sqlx::Error> {
        let Self { settlement_account_id, account_month, kind: Stored(kind), number, snapshot, calculation } = self;
        Ok(CalculatedPoint {
            key: PointKey { settlement_account_id, account_month, kind, number },
            snapshot: decoded(&snapshot)?,
            calculation: decoded(&calculation)?,
        })
    }
}

/// A row of a page of points, which tells the total. One without a point tells nothing else.
struct PlacedRow {
    total: i64,
    /// The place of the point, or what is before it.
    place: Option<i64>,
    settlement_account_id: Option<String>,
    account_month: Option<i32>,
    kind: Option<Stored<NormalRetroType>>,
    number: Option<i32>,
    snapshot: Option<Vec<u8>>,
    calculation: Option<Vec<u8>>,
}

impl PlacedRow {
    fn calculated(self) -> Option<(CalculatedRow, i64)> {
        let row = CalculatedRow {
            settlement_account_id: self.settlement_account_id?,
            account_month: self.account_month?,
            kind: self.kind?,
            number: self.number?,
            snapshot: self.snapshot?,
            calculation: self.calculation?,
        };
        Some((row, self.place?))
    }
}

/// The points of a page with their places, and the total.
fn placed(rows: Vec<PlacedRow>) -> Result<(Vec<(CalculatedPoint, i64)>, i64), sqlx::Error> {
    let total = rows.first().map_or(0, |row| row.total);
    let rows = rows.into_iter().filter_map(PlacedRow::calculated);
    let points = rows.map(|(row, place)| Ok((row.point()?, place))).collect::<Result<_, sqlx::Error>>()?;
    Ok((points, total))
}

/// Returns the calculated points of an account that are not charged off, normal before retro; in a book, if one is given.
///
/// # Errors
/// Returns the database's error, and an error of decoding for a point that cannot be read.
pub async fn of_account(
    executor: impl PgExecutor<'_>,
    company_id: &str,
    settlement_account_id: &str,
    book_id: &str,
) -> Result<Vec<CalculatedPoint>, sqlx::Error> {
    let rows = sqlx::query_as!(
        CalculatedRow,
        r#"SELECT o.settlement_account_id, o.account_month, o.kind AS "kind: Stored<NormalRetroType>", o.number, p.snapshot,
               c.calculation
           FROM point_open o
           JOIN billing_point p ON p.company_id = o.company_id AND p.settlement_account_id = o.settlement_account_id
               AND p.account_month = o.account_month AND p.kind = o.kind AND p.number = o.number
           JOIN point_calculation c ON c.company_id = o.company_id
               AND c.settlement_account_id = o.settlement_account_id AND c.account_month = o.account_month
               AND c.kind = o.kind AND c.number = o.number
           WHERE o.company_id = $1 AND o.settlement_account_id = $2 AND $3 IN ('', o.book_id) AND o.lines > 0
           ORDER BY o.kind"#,
        company_id,
        settlement_account_id,
        book_id,
    )
    .fetch_all(executor)
    .named("point_calculation_of_account")
    .await?;
    rows.into_iter().map(CalculatedRow::point).collect()
}

/// Returns a page of the calculated points of a company that are not charged off, or of one book of it, by book, account and
/// kind, and how many there are.
///
/// # Errors
/// Returns the database's error, and an error of decoding for a point that cannot be read.
pub async fn page(
    executor: impl PgExecutor<'_>,
    company_id: &str,
    book_id: &str,
    page: Page,
) -> Result<(Vec<CalculatedPoint>, i64), sqlx::Error> {
    let rows = sqlx::query_as!(
        PlacedRow,
        r#"WITH book AS MATERIALIZED (
               SELECT company_id, book_id, points,
                   (sum(points) OVER (ORDER BY book_id) - points)::bigint AS before
               FROM (SELECT company_id, book_id, sum(points)::bigint AS points FROM calculated_points
                     WHERE company_id = $3 AND $4 IN ('', book_id) GROUP BY company_id, book_id) AS counted),
           placed AS (
               SELECT o.company_id, o.settlement_account_id, o.account_month, o.kind, o.number,
                   b.before + row_number() OVER (PARTITION BY o.book_id ORDER BY o.settlement_account_id, o.kind) AS place
               FROM book b
               JOIN point_open o ON o.company_id = b.company_id AND o.book_id = b.book_id AND o.lines > 0
               WHERE b.before < $2 AND b.before + b.points >= $1)
           SELECT t.total AS "total!", n.place AS "place?", n.settlement_account_id AS "settlement_account_id?",
               n.account_month AS "account_month?", n.kind AS "kind?: Stored<NormalRetroType>", n.number AS "number?",
               p.snapshot AS "snapshot?", c.calculation AS "calculation?"
           FROM (SELECT coalesce(sum(points), 0)::bigint AS total FROM book) AS t
           LEFT JOIN (placed n
               JOIN billing_point p ON p.company_id = n.company_id AND p.settlement_account_id = n.settlement_account_id
                   AND p.account_month = n.account_month AND p.kind = n.kind AND p.number = n.number
               JOIN point_calculation c ON c.company_id = n.company_id
                   AND c.settlement_account_id = n.settlement_account_id AND c.account_month = n.account_month
                   AND c.kind = n.kind AND c.number = n.number) ON n.place BETWEEN $1 AND $2
           ORDER BY n.place"#,
        page.first,
        page.last,
        company_id,
        book_id,
    )
    .fetch_all(executor)
    .named("point_calculation_page")
    .await?;
    let (points, total) = placed(rows)?;
    Ok((points.into_iter().map(|(point, _)| point).collect(), total))
}

/// Returns the calculated points of a company that are not charged off, or of one book of it, whose registers are on a page of
/// registers, each with the number of registers before it, and how many there are: by book, account and kind.
///
/// # Errors
/// Returns the database's error, and an error of decoding for a point that cannot be read.
pub async fn register_page(
    executor: impl PgExecutor<'_>,
    company_id: &str,
    book_id: &str,
    page: Page,
) -> Result<(Vec<(CalculatedPoint, i64)>, i64), sqlx::Error> {
    let rows = sqlx::query_as!(
        PlacedRow,
        r#"WITH book AS MATERIALIZED (
               SELECT company_id, book_id, registers,
                   (sum(registers) OVER (ORDER BY book_id) - registers)::bigint AS before
               FROM (SELECT company_id, book_id, sum(registers)::bigint AS registers FROM calculated_points
                     WHERE company_id = $3 AND $4 IN ('', book_id) GROUP BY company_id, book_id) AS counted),
           placed AS (
               SELECT o.company_id, o.settlement_account_id, o.account_month, o.kind, o.number, o.registers,
                   (b.before + sum(o.registers) OVER (PARTITION BY o.book_id ORDER BY o.settlement_account_id, o.kind)
                       - o.registers)::bigint AS before
               FROM book b
               JOIN point_open o ON o.company_id = b.company_id AND o.book_id = b.book_id AND o.lines > 0
                   AND o.registers > 0
               WHERE b.before < $2 AND b.before + b.registers >= $1)
           SELECT t.total AS "total!", n.before AS "place?", n.settlement_account_id AS "settlement_account_id?",
               n.account_month AS "account_month?", n.kind AS "kind?: Stored<NormalRetroType>", n.number AS "number?",
               p.snapshot AS "snapshot?", c.calculation AS "calculation?"
           FROM (SELECT coalesce(sum(registers), 0)::bigint AS total FROM book) AS t
           LEFT JOIN (placed n
               JOIN billing_point p ON p.company_id = n.company_id AND p.settlement_account_id = n.settlement_account_id
                   AND p.account_month = n.account_month AND p.kind = n.kind AND p.number = n.number
               JOIN point_calculation c ON c.company_id = n.company_id
                   AND c.settlement_account_id = n.settlement_account_id AND c.account_month = n.account_month
                   AND c.kind = n.kind AND c.number = n.number) ON n.before < $2 AND n.before + n.registers >= $1
           ORDER BY n.before"#,
        page.first,
        page.last,
        company_id,
        book_id,
    )
    .fetch_all(executor)
    .named("point_calculation_register_page")
    .await?;
    placed(rows)
}

/// Returns how many fee lines of a company, or of one book of it, are not charged off.
///
/// # Errors
/// Returns the database's error.
pub async fn line_total(executor: impl PgExecutor<'_>, company_id: &str, book_id: &str) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT coalesce(sum(lines), 0)::bigint AS "lines!" FROM calculated_points
           WHERE company_id = $1 AND $2 IN ('', book_id)"#,
        company_id,
        book_id,
    )
    .fetch_one(executor)
    .named("point_calculation_line_total")
    .await
}

/// A point that can be calculated.
#[derive(Clone, Debug)]
pub struct CalculablePoint {
    /// Its account.
    pub settlement_account_id: String,
    /// Normal or retro.
    pub kind: NormalRetroType,
    /// What it holds.
    pub snapshot: Snapshot,
    /// True if it is made again before it is calculated.
    pub outdated: bool,
}

/// Returns a page of the points of a book, or of an account in it, that are not charged off and can be calculated, those that
/// are calculated left out, by account and kind, and how many there are.
///
/// # Errors
/// Returns the database's error, and an error of decoding for a point that cannot be read.
pub async fn calculable(
    executor: impl PgExecutor<'_>,
    company_id: &str,
    book_id: &str,
    settlement_account_id: &str,
    page: Page,
) -> Result<(Vec<CalculablePoint>, i64), sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT n.settlement_account_id AS "settlement_account_id!", n.kind AS "kind!: Stored<NormalRetroType>",
               n.outdated AS "outdated!", n.place AS "place!", n.total AS "total!", p.snapshot
           FROM (SELECT o.company_id, o.settlement_account_id, o.account_month, o.kind, o.number, o.outdated,
                     count(*) OVER () AS total, row_number() OVER (ORDER BY o.settlement_account_id, o.kind) AS place
                 FROM point_open o
                 LEFT JOIN point_reading r ON r.company_id = o.company_id
                     AND r.settlement_account_id = o.settlement_account_id AND r.account_month = o.account_month
                     AND r.kind = o.kind AND r.number = o.number
                 WHERE o.company_id = $3 AND o.book_id = $4 AND $5 IN ('', o.settlement_account_id) AND o.lines = 0
                     AND (o.kind = '2' OR o.registers = 0 OR r.complete)) AS n
           JOIN billing_point p ON p.company_id = n.company_id AND p.settlement_account_id = n.settlement_account_id
               AND p.account_month = n.account_month AND p.kind = n.kind AND p.number = n.number
           WHERE n.place = 1 OR n.place BETWEEN $1 AND $2
           ORDER BY n.place"#,
        page.first,
        page.last,
        company_id,
        book_id,
        settlement_account_id,
    )
    .fetch_all(executor)
    .named("point_calculable")
    .await?;
    let (rows, total) = page.cut(rows, |row| row.place, |row| row.total);
    let point = |row: (String, NormalRetroType, Vec<u8>, bool)| {
        let (settlement_account_id, kind, snapshot, outdated) = row;
        Ok(CalculablePoint { settlement_account_id, kind, snapshot: decoded(&snapshot)?, outdated })
    };
    let points = rows.into_iter().map(|row| (row.settlement_account_id, row.kind.0, row.snapshot, row.outdated));
    Ok((points.map(point).collect::<Result<_, sqlx::Error>>()?, total))
}

/// A point that is not charged off, with its calculation if it has one.
#[derive(Clone, Debug)]
pub struct OpenDetail {
    /// What it holds.
    pub snapshot: Snapshot,
    /// Its calculation.
    pub calculation: Option<Calculation>,
    /// True if it is made again before it is calculated.
    pub outdated: bool,
}

/// Returns the point of an account that is not charged off; `None` if it has none of the kind.
///
/// # Errors
/// Returns the database's error, and an error of decoding for a point that cannot be read.
pub async fn detail(
    executor: impl PgExecutor<'_>,
    company_id: &str,
    settlement_account_id: &str,
    kind: NormalRetroType,
) -> Result<Option<OpenDetail>, sqlx::Error> {
    let row = sqlx::query!(
        r#"SELECT o.outdated, p.snapshot, c.calculation AS "calculation?"
           FROM point_open o
           JOIN billing_point p ON p.company_id = o.company_id AND p.settlement_account_id = o.settlement_account_id
               AND p.account_month = o.account_month AND p.kind = o.kind AND p.number = o.number
           LEFT JOIN point_calculation c ON c.company_id = o.company_id
               AND c.settlement_account_id = o.settlement_account_id AND c.account_month = o.account_month
               AND c.kind = o.kind AND c.number = o.number
           WHERE o.company_id = $1 AND o.settlement_account_id = $2 AND o.kind = $3"#,
        company_id,
        settlement_account_id,
        communal_proto::Coded::stored(kind),
    )
    .fetch_optional(executor)
    .named("point_open_detail")
    .await?;
    let Some(row) = row else { return Ok(None) };
    let calculation = row.calculation.as_deref().map(decoded).transpose()?;
    Ok(Some(OpenDetail { snapshot: decoded(&row.snapshot)?, calculation, outdated: row.outdated }))
}
