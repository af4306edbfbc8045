//! The statements of month controls. Every query is bound by the company.
//!
//! Lock order: the months of a series, by an advisory lock, because the first month has no row yet; then a month's row.

use chrono::NaiveDate;
use communal_kit::call::Call;
use communal_kit::database::Statement as _;
use communal_kit::database::stored::Stored;
use communal_kit::paging::Page;
use communal_proto::Coded as _;
use communal_proto::billing::v1::{ChargeRuleType, MonthControlFilter};
use sqlx::{PgConnection, PgExecutor};

use super::rules::{Change, LatestMonth, Neighbourhood, NewMonth};
use super::{Kind, Series};
use crate::reference::store::{place_of, select_page};
use crate::vocabulary::dates::AccountMonth;
use crate::vocabulary::tariff::Utility;

/// Locks the months of a series until the transaction ends.
///
/// # Errors
/// Returns the database's error.
pub async fn lock(tx: &mut PgConnection, call: &Call, series: &Series) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "SELECT pg_advisory_xact_lock(
             hashtextextended(concat_ws(' ', $1::text, $2::text, $3::text, $4::text, $5::text), 3))",
        call.tenant.id,
        series.kind.stored(),
        series.network_company_id.as_str(),
        series.network_store_id.as_str(),
        series.utility.stored(),
    )
    .execute(tx)
    .named("month_control_lock")
    .await?;
    Ok(())
}

/// Returns the latest month of a locked series.
///
/// # Errors
/// Returns the database's error.
pub async fn latest(tx: &mut PgConnection, call: &Call, series: &Series) -> Result<Option<LatestMonth>, sqlx::Error> {
    sqlx::query_as!(
        LatestMonth,
        "SELECT account_month, stop_date FROM month_control
           WHERE company_id = $1 AND kind = $2 AND network_company_id = $3 AND network_store_id = $4 AND utility = $5
           ORDER BY account_month DESC LIMIT 1",
        call.tenant.id,
        series.kind.stored(),
        series.network_company_id.as_str(),
        series.network_store_id.as_str(),
        series.utility.stored(),
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
        "INSERT INTO month_control (company_id, kind, network_company_id, network_store_id, utility, account_month,
             part_month_rule, start_date, stop_date)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        call.tenant.id,
        new.series.kind.stored(),
        new.series.network_company_id.as_str(),
        new.series.network_store_id.as_str(),
        new.series.utility.stored(),
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

/// Locks a month of a locked series and returns it with the days that bound its window.
///
/// # Errors
/// Returns the database's error.
pub async fn lock_month(
    tx: &mut PgConnection,
    call: &Call,
    series: &Series,
    month: AccountMonth,
) -> Result<Option<Neighbourhood>, sqlx::Error> {
    sqlx::query_as!(
        Neighbourhood,
        "SELECT start_date, stop_date, first_use, last_use,
             (SELECT max(b.stop_date) FROM month_control b
              WHERE b.company_id = $1 AND b.kind = $2 AND b.network_company_id = $3 AND b.network_store_id = $4
                AND b.utility = $5 AND b.account_month < $6) AS stop_before,
             (SELECT min(a.start_date) FROM month_control a
              WHERE a.company_id = $1 AND a.kind = $2 AND a.network_company_id = $3 AND a.network_store_id = $4
                AND a.utility = $5 AND a.account_month > $6) AS start_after
         FROM month_control
         WHERE company_id = $1 AND kind = $2 AND network_company_id = $3 AND network_store_id = $4 AND utility = $5
           AND account_month = $6
         FOR UPDATE",
        call.tenant.id,
        series.kind.stored(),
        series.network_company_id.as_str(),
        series.network_store_id.as_str(),
        series.utility.stored(),
        month.number(),
    )
    .fetch_optional(tx)
    .named("month_control_lock_month")
    .await
}

/// Changes a locked month; what is left out stays.
///
/// # Errors
/// Returns the database's error.
pub async fn update(tx: &mut PgConnection, call: &Call, change: &Change) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE month_control SET part_month_rule = coalesce($7, part_month_rule),
             start_date = coalesce($8, start_date), stop_date = coalesce($9, stop_date)
         WHERE company_id = $1 AND kind = $2 AND network_company_id = $3 AND network_store_id = $4 AND utility = $5
           AND account_month = $6",
        call.tenant.id,
        change.series.kind.stored(),
        change.series.network_company_id.as_str(),
        change.series.network_store_id.as_str(),
        change.series.utility.stored(),
        change.month.number(),
        change.part_month_rule.stored(),
        change.start,
        change.stop,
    )
    .execute(tx)
    .named("month_control_update")
    .await?;
    Ok(())
}

/// Deletes a month of a locked series, unless something was created in it. Returns false then.
///
/// # Errors
/// Returns the database's error.
pub async fn delete(
    tx: &mut PgConnection,
    call: &Call,
    series: &Series,
    account_month: i32,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "DELETE FROM month_control
         WHERE company_id = $1 AND kind = $2 AND network_company_id = $3 AND network_store_id = $4 AND utility = $5
           AND account_month = $6 AND first_use IS NULL",
        call.tenant.id,
        series.kind.stored(),
        series.network_company_id.as_str(),
        series.network_store_id.as_str(),
        series.utility.stored(),
        account_month,
    );
    Ok(done.execute(tx).named("month_control_delete").await?.rows_affected() == 1)
}

/// Returns the month of a series that is open on a day, and notes that something is created in it. Whatever belongs to
/// a month is created in the transaction that calls this; the month then neither is deleted nor moved off the day. The
/// note of a day is written once, so that calls of one day do not wait for each other.
///
/// # Errors
/// Returns the database's error.
pub async fn use_open(
    tx: &mut PgConnection,
    call: &Call,
    series: &Series,
    day: NaiveDate,
) -> Result<Option<i32>, sqlx::Error> {
    let found = sqlx::query!(
        r#"SELECT account_month, coalesce($6 BETWEEN first_use AND last_use, false) AS "noted!" FROM month_control
           WHERE company_id = $1 AND kind = $2 AND network_company_id = $3 AND network_store_id = $4 AND utility = $5
             AND start_date <= $6 AND $6 < stop_date
           FOR KEY SHARE"#,
        call.tenant.id,
        series.kind.stored(),
        series.network_company_id.as_str(),
        series.network_store_id.as_str(),
        series.utility.stored(),
        day,
    )
    .fetch_optional(&mut *tx)
    .named("month_control_open")
    .await?;
    let Some(month) = found else { return Ok(None) };
    if month.noted {
        return Ok(Some(month.account_month));
    }
    let noted = sqlx::query_scalar!(
        "UPDATE month_control SET first_use = least(first_use, $7), last_use = greatest(last_use, $7)
         WHERE company_id = $1 AND kind = $2 AND network_company_id = $3 AND network_store_id = $4 AND utility = $5
           AND account_month = $6 AND start_date <= $7 AND $7 < stop_date
         RETURNING account_month",
        call.tenant.id,
        series.kind.stored(),
        series.network_company_id.as_str(),
        series.network_store_id.as_str(),
        series.utility.stored(),
        month.account_month,
        day,
    );
    noted.fetch_optional(tx).named("month_control_note_use").await
}

/// A month control as it is stored.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // the fields of the contract, documented there
pub struct MonthControlRow {
    pub network_company_id: String,
    pub network_store_id: String,
    pub utility: Utility,
    pub account_month: i32,
    pub part_month_rule: ChargeRuleType,
    pub start_date: NaiveDate,
    pub stop_date: NaiveDate,
}

/// Returns a page of the company's month controls of a kind, and how many there are.
///
/// # Errors
/// Returns the database's error.
pub async fn list(
    executor: impl PgExecutor<'_>,
    company_id: &str,
    kind: Kind,
    filter: &MonthControlFilter,
    page: Page,
) -> Result<(Vec<MonthControlRow>, i64), sqlx::Error> {
    let rows = select_page!(
        page,
        r#"network_company_id, network_store_id, utility AS "utility: Stored<Utility>", account_month,
           part_month_rule AS "part_month_rule: Stored<ChargeRuleType>", start_date, stop_date"#,
        "month_control
         WHERE company_id = $3 AND kind = $4 AND ($5 IN ('', network_company_id)) AND ($6 IN ('', network_store_id))
           AND ($7::text IS NULL OR part_month_rule = $7)",
        "network_company_id, network_store_id, utility, account_month DESC",
        company_id,
        kind.stored(),
        filter.network_company_id,
        filter.network_store_id,
        filter.part_month_rule().stored(),
    )
    .fetch_all(executor)
    .named("month_control_list")
    .await?;
    let (rows, total) = page.cut(rows, |row| row.place, |row| row.total);
    let months = rows.into_iter().map(|row| MonthControlRow {
        network_company_id: row.network_company_id,
        network_store_id: row.network_store_id,
        utility: row.utility.0,
        account_month: row.account_month,
        part_month_rule: Stored::given(row.part_month_rule),
        start_date: row.start_date,
        stop_date: row.stop_date,
    });
    Ok((months.collect(), total))
}

/// Returns the part-month rules of account months, each given with its series, where the company has the month.
///
/// # Errors
/// Returns the database's error.
pub async fn part_month_rules(
    executor: impl PgExecutor<'_>,
    company_id: &str,
    asked: &[(Series, i32)],
) -> Result<Vec<Option<ChargeRuleType>>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT own.place AS "place!", m.part_month_rule AS "rule: Stored<ChargeRuleType>"
           FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::integer[]) WITH ORDINALITY
               AS own (company_id, kind, network_company_id, network_store_id, utility, account_month, place)
           JOIN month_control m ON m.company_id = own.company_id AND m.kind = own.kind
               AND m.network_company_id = own.network_company_id AND m.network_store_id = own.network_store_id
               AND m.utility = own.utility AND m.account_month = own.account_month"#,
        vec![company_id; asked.len()] as _,
        asked.iter().map(|(series, _)| series.kind.stored()).collect::<Vec<_>>() as _,
        asked.iter().map(|(series, _)| series.network_company_id.as_str()).collect::<Vec<_>>() as _,
        asked.iter().map(|(series, _)| series.network_store_id.as_str()).collect::<Vec<_>>() as _,
        asked.iter().map(|(series, _)| series.utility.stored()).collect::<Vec<_>>() as _,
        &asked.iter().map(|(_, month)| *month).collect::<Vec<_>>(),
    )
    .fetch_all(executor)
    .named("month_control_rules")
    .await?;
    let mut rules = vec![None; asked.len()];
    for row in rows {
        if let Some(rule) = rules.get_mut(place_of(row.place)) {
            *rule = Some(Stored::given(row.rule));
        }
    }
    Ok(rules)
}
