//! The statements of open points: their locks, and what is discarded while a point is open.

use std::collections::HashMap;

use communal_kit::call::Call;
use communal_kit::database::Statement as _;
use communal_kit::database::errors::broken;
use communal_kit::database::stored::Stored;
use communal_proto::Coded as _;
use communal_proto::billing::v1::NormalRetroType;
use rust_decimal::Decimal;
use sqlx::{PgConnection, PgExecutor};

use super::super::PointKey;
use crate::archive::accumulators::AccountAccumulators;

/// An open normal point, locked.
#[derive(Clone, Debug)]
pub struct OpenPoint {
    /// The account.
    pub settlement_account_id: String,
    /// The account month.
    pub account_month: i32,
    /// The book.
    pub book_id: String,
    /// The meter that the account has now.
    pub meter_id: Option<String>,
    /// True if the meter or the customer changed since it was made.
    pub outdated: bool,
    /// The fee lines of its calculation; 0 if it is not calculated.
    pub lines: i32,
}

impl OpenPoint {
    /// Its key.
    #[must_use]
    pub fn key(&self) -> PointKey {
        PointKey::normal(&self.settlement_account_id, self.account_month)
    }
}

/// Locks the open normal points of accounts and returns them, by account.
///
/// # Errors
/// Returns the database's error.
pub async fn lock_open(tx: &mut PgConnection, call: &Call, ids: &[&str]) -> Result<Vec<OpenPoint>, sqlx::Error> {
    sqlx::query_as!(
        OpenPoint,
        "SELECT o.settlement_account_id, o.account_month, o.book_id, o.meter_id, o.outdated, o.lines
         FROM (SELECT k.*, '1' AS kind, 0 AS number
               FROM unnest($1::text[], $2::text[])
                   AS k (company_id, settlement_account_id)
               OFFSET 0) AS own
         JOIN point_open o ON o.company_id = own.company_id AND o.settlement_account_id = own.settlement_account_id
             AND o.kind = own.kind
         ORDER BY o.settlement_account_id
         FOR UPDATE OF o",
        vec![call.tenant.id.as_str(); ids.len()] as _,
        ids as _,
    )
    .fetch_all(tx)
    .named("point_open_lock")
    .await
}

/// A point that is not charged off.
#[derive(Clone, Debug)]
pub struct UnchargedPoint {
    /// Its key.
    pub key: PointKey,
    /// The book.
    pub book_id: String,
    /// True if the meter or the customer changed since it was made.
    pub outdated: bool,
    /// The fee lines of its calculation; 0 if it is not calculated.
    pub lines: i32,
    /// The accumulators of the account.
    pub accumulators: AccountAccumulators,
}

/// A row of [`lock_uncharged`].
struct LockedRow {
    settlement_account_id: String,
    account_month: i32,
    kind: Stored<NormalRetroType>,
    number: i32,
    book_id: String,
    outdated: bool,
    lines: i32,
    billed_month: Option<i32>,
    year_quantity: Option<Decimal>,
    month_quantity: Option<Decimal>,
    version: Option<i64>,
}

/// Locks the points of accounts that are not charged off, normal and retro, and returns them by account and kind. Accumulators
/// are as they stay only if the accounts are locked already.
///
/// # Errors
/// Returns the database's error.
pub async fn lock_uncharged(
    tx: &mut PgConnection,
    call: &Call,
    ids: &[&str],
) -> Result<Vec<UnchargedPoint>, sqlx::Error> {
    let rows = sqlx::query_as!(
        LockedRow,
        r#"SELECT o.settlement_account_id, o.account_month, o.kind AS "kind: Stored<NormalRetroType>", o.number, o.book_id,
               o.outdated, o.lines, a.account_month AS "billed_month?", a.year_quantity AS "year_quantity?",
               a.month_quantity AS "month_quantity?", a.version AS "version?"
           FROM unnest($1::text[], $2::text[]) AS own (company_id, settlement_account_id)
           JOIN point_open o ON o.company_id = own.company_id AND o.settlement_account_id = own.settlement_account_id
           LEFT JOIN account_accumulator a ON a.company_id = own.company_id
               AND a.settlement_account_id = own.settlement_account_id
           ORDER BY o.settlement_account_id, o.kind
           FOR UPDATE OF o"#,
        vec![call.tenant.id.as_str(); ids.len()] as _,
        ids as _,
    )
    .fetch_all(tx)
    .named("point_uncharged_lock")
    .await?;
    let point = |row: LockedRow| {
        let version = row.version.ok_or_else(|| broken("an account has no accumulators"))?;
        Ok(UnchargedPoint {
            key: PointKey {
                settlement_account_id: row.settlement_account_id,
                account_month: row.account_month,
                kind: row.kind.0,
                number: row.number,
            },
            book_id: row.book_id,
            outdated: row.outdated,
            lines: row.lines,
            accumulators: AccountAccumulators {
                account_month: row.billed_month,
                year_quantity: row.year_quantity.unwrap_or_default(),
                month_quantity: row.month_quantity.unwrap_or_default(),
                version,
            },
        })
    };
    rows.into_iter().map(point).collect()
}

/// Returns open normal points that are read, by book and account, from a book and account on: all of them, or those of one
/// book.
///
/// # Errors
/// Returns the database's error.
pub async fn open_from(
    executor: impl PgExecutor<'_>,
    company_id: &str,
    book_id: &str,
    (from_book, from_account): (&str, &str),
    limit: i64,
) -> Result<Vec<OpenPoint>, sqlx::Error> {
    let of_company = sqlx::query_as!(
        OpenPoint,
        "SELECT settlement_account_id, account_month, book_id, meter_id, outdated, lines FROM point_open
         WHERE company_id = $1 AND (book_id, settlement_account_id) >= ($2, $3) AND kind = '1' AND registers > 0
         ORDER BY book_id, settlement_account_id LIMIT $4",
        company_id,
        from_book,
        from_account,
        limit,
    );
    let of_book = sqlx::query_as!(
        OpenPoint,
        "SELECT settlement_account_id, account_month, book_id, meter_id, outdated, lines FROM point_open
         WHERE company_id = $1 AND book_id = $2 AND settlement_account_id >= $3 AND kind = '1' AND registers > 0
         ORDER BY settlement_account_id LIMIT $4",
        company_id,
        book_id,
        from_account,
        limit,
    );
    if book_id.is_empty() {
        of_company.fetch_all(executor).named("point_open_from").await
    } else {
        of_book.fetch_all(executor).named("point_open_of_book").await
    }
}

/// Discards the open retro point of an account with its calculation. Returns false if there is none.
///
/// # Errors
/// Returns the database's error.
pub async fn discard_retro(tx: &mut PgConnection, call: &Call, id: &str) -> Result<bool, sqlx::Error> {
    let open = sqlx::query!(
        "DELETE FROM point_open WHERE company_id = $1 AND settlement_account_id = $2 AND kind = $3
         RETURNING account_month, number",
        call.tenant.id,
        id,
        NormalRetroType::Retro.stored(),
    )
    .fetch_optional(&mut *tx)
    .named("point_open_discard")
    .await?;
    let Some(open) = open else { return Ok(false) };
    sqlx::query!(
        "DELETE FROM point_calculation
         WHERE company_id = $1 AND settlement_account_id = $2 AND account_month = $3 AND kind = $4 AND number = $5",
        call.tenant.id,
        id,
        open.account_month,
        NormalRetroType::Retro.stored(),
        open.number,
    )
    .execute(&mut *tx)
    .named("point_calculation_discard_retro")
    .await?;
    sqlx::query!(
        "DELETE FROM billing_point
         WHERE company_id = $1 AND settlement_account_id = $2 AND account_month = $3 AND kind = $4 AND number = $5",
        call.tenant.id,
        id,
        open.account_month,
        NormalRetroType::Retro.stored(),
        open.number,
    )
    .execute(tx)
    .named("billing_point_discard")
    .await?;
    Ok(true)
}

/// Locks the open normal points of accounts and returns their account months.
pub(super) async fn open_months(
    tx: &mut PgConnection,
    call: &Call,
    ids: &[&str],
) -> Result<HashMap<String, i32>, sqlx::Error> {
    let points = lock_open(tx, call, ids).await?;
    Ok(points.into_iter().map(|point| (point.settlement_account_id, point.account_month)).collect())
}

/// Discards the calculations of locked normal points that are not charged off.
///
/// # Errors
/// Returns the database's error.
pub async fn discard_calculations(
    tx: &mut PgConnection,
    call: &Call,
    settlement_account_ids: &[&str],
    account_months: &[i32],
) -> Result<(), sqlx::Error> {
    if settlement_account_ids.is_empty() {
        return Ok(());
    }
    let companies = vec![call.tenant.id.as_str(); settlement_account_ids.len()];
    sqlx::query!(
        "DELETE FROM point_calculation c
         USING (SELECT k.*, '1' AS kind, 0 AS number
               FROM unnest($1::text[], $2::text[], $3::integer[])
                   AS k (company_id, settlement_account_id, account_month)
               OFFSET 0) AS own
         WHERE c.company_id = own.company_id AND c.settlement_account_id = own.settlement_account_id
             AND c.account_month = own.account_month AND c.kind = own.kind AND c.number = own.number",
        companies.as_slice() as _,
        settlement_account_ids as _,
        account_months,
    )
    .execute(&mut *tx)
    .named("point_calculation_discard")
    .await?;
    sqlx::query!(
        "UPDATE point_open o SET lines = 0
         FROM (SELECT k.*, '1' AS kind, 0 AS number
               FROM unnest($1::text[], $2::text[])
                   AS k (company_id, settlement_account_id)
               OFFSET 0) AS own
         WHERE o.company_id = own.company_id AND o.settlement_account_id = own.settlement_account_id
             AND o.kind = own.kind AND o.lines > 0",
        companies as _,
        settlement_account_ids as _,
    )
    .execute(tx)
    .named("point_open_uncalculated")
    .await?;
    Ok(())
}
