//! The statements of month controls. Every query is bound by the company.
//!
//! Lock order: the months of a store and utility, by an advisory lock, because the first month has no row yet.

use chrono::NaiveDate;
use communal_kit::call::Call;
use communal_kit::database::Statement as _;
use communal_kit::database::stored::Stored;
use communal_kit::paging::Page;
use communal_proto::Coded as _;
use communal_proto::billing::v1::{ChargeRuleType, MonthControlFilter};
use sqlx::{PgConnection, PgExecutor};

use super::rules::{LatestMonth, NewMonth};
use crate::vocabulary::tariff::Utility;

/// Locks the months of a store and utility until the transaction ends, and returns the latest.
///
/// # Errors
/// Returns the database's error.
pub async fn lock_latest(
    tx: &mut PgConnection,
    call: &Call,
    new: &NewMonth,
) -> Result<Option<LatestMonth>, sqlx::Error> {
    sqlx::query!(
        "SELECT pg_advisory_xact_lock(hashtextextended(concat_ws(' ', $1::text, $2::text, $3::text, $4::text), 3))",
        call.tenant.id,
        new.network_company_id.as_str(),
        new.network_store_id.as_str(),
        new.utility.stored(),
    )
    .execute(&mut *tx)
    .named("month_control_lock")
    .await?;
    sqlx::query_as!(
        LatestMonth,
        "SELECT account_month, stop_date FROM month_control
         WHERE company_id = $1 AND network_company_id = $2 AND network_store_id = $3 AND utility = $4
         ORDER BY account_month DESC LIMIT 1",
        call.tenant.id,
        new.network_company_id.as_str(),
        new.network_store_id.as_str(),
        new.utility.stored(),
    )
    .fetch_optional(tx)
    .named("month_control_latest")
    .await
}

/// Adds a month.
///
/// # Errors
/// Returns the database's error.
pub async fn add(tx: &mut PgConnection, call: &Call, new: &NewMonth) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO month_control (company_id, network_company_id, network_store_id, utility, account_month,
             part_month_rule, start_date, stop_date)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        call.tenant.id,
        new.network_company_id.as_str(),
        new.network_store_id.as_str(),
        new.utility.stored(),
        new.month.number(),
        new.part_month_rule.stored(),
        new.start,
        new.stop,
    )
    .execute(tx)
    .named("month_control_add")
    .await?;
    Ok(())
}

/// A month control as it is stored.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // the fields of the contract, documented there
pub struct MonthControlRow {
    pub network_company_id: String,
    pub network_store_id: String,
    pub utility: Stored<Utility>,
    pub account_month: i32,
    pub part_month_rule: Stored<ChargeRuleType>,
    pub start_date: NaiveDate,
    pub stop_date: NaiveDate,
    pub place: i64,
    pub total: i64,
}

/// Returns a page of the company's month controls, and how many there are.
///
/// # Errors
/// Returns the database's error.
pub async fn list(
    executor: impl PgExecutor<'_>,
    company_id: &str,
    filter: &MonthControlFilter,
    page: Page,
) -> Result<(Vec<MonthControlRow>, i64), sqlx::Error> {
    let rows = sqlx::query_as!(
        MonthControlRow,
        r#"SELECT network_company_id, network_store_id, utility AS "utility: Stored<Utility>", account_month,
               part_month_rule AS "part_month_rule: Stored<ChargeRuleType>", start_date, stop_date,
               place AS "place!", total AS "total!"
           FROM (SELECT *, count(*) OVER () AS total, row_number() OVER (
                     ORDER BY network_company_id, network_store_id, utility, account_month DESC) AS place
                 FROM month_control
                 WHERE company_id = $1 AND ($2 = '' OR network_company_id = $2) AND ($3 = '' OR network_store_id = $3)
                   AND ($4::text IS NULL OR part_month_rule = $4)) AS found
           WHERE place = 1 OR place BETWEEN $5 AND $6
           ORDER BY place"#,
        company_id,
        filter.network_company_id,
        filter.network_store_id,
        filter.part_month_rule().stored(),
        page.first,
        page.last,
    )
    .fetch_all(executor)
    .named("month_control_list")
    .await?;
    Ok(page.cut(rows, |row| row.place, |row| row.total))
}
