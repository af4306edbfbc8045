//! The statements of season months. Every query is bound by the company.

use chrono::NaiveDate;
use communal_kit::call::Call;
use communal_kit::database::Statement as _;
use communal_kit::database::stored::Stored;
use communal_proto::Coded as _;
use communal_proto::billing::v1::{SeasonMonth, SeasonMonthFilter};
use sqlx::{PgConnection, PgExecutor};

use crate::reference::store::place_of;
use crate::vocabulary::tariff::{Season, Utility};

/// Sets the season of a month. Returns false if the month has one.
///
/// # Errors
/// Returns the database's error.
pub async fn add(tx: &mut PgConnection, call: &Call, new: &SeasonMonth) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "INSERT INTO season_month (company_id, store_id, utility, account_month, season)
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
        call.tenant.id,
        new.retail_store_id,
        new.utility().stored(),
        new.season_month,
        new.season().stored(),
    );
    Ok(done.execute(tx).named("season_month_add").await?.rows_affected() == 1)
}

/// Deletes a season month. Returns false if there is none of this season.
///
/// # Errors
/// Returns the database's error.
pub async fn delete(tx: &mut PgConnection, call: &Call, month: &SeasonMonth) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "DELETE FROM season_month
         WHERE company_id = $1 AND store_id = $2 AND utility = $3 AND account_month = $4 AND season = $5",
        call.tenant.id,
        month.retail_store_id,
        month.utility().stored(),
        month.season_month,
        month.season().stored(),
    );
    Ok(done.execute(tx).named("season_month_delete").await?.rows_affected() == 1)
}

/// Returns the company's season months, at most `limit`.
///
/// # Errors
/// Returns the database's error.
pub async fn list(
    executor: impl PgExecutor<'_>,
    company_id: &str,
    filter: &SeasonMonthFilter,
    limit: i64,
) -> Result<Vec<SeasonMonth>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT company_id, store_id, utility AS "utility: Stored<Utility>", account_month,
               season AS "season: Stored<Season>"
           FROM season_month
           WHERE company_id = $1 AND company_id = $2 AND ($3 IN ('', store_id))
             AND ($4::text IS NULL OR utility = $4) AND ($5::text IS NULL OR season = $5)
           ORDER BY store_id, utility, account_month LIMIT $6"#,
        company_id,
        filter.retail_company_id,
        filter.retail_store_id,
        filter.utility().stored(),
        filter.season().stored(),
        limit,
    )
    .fetch_all(executor)
    .named("season_month_list")
    .await?;
    let months = rows.into_iter().map(|row| SeasonMonth {
        retail_company_id: row.company_id,
        retail_store_id: row.store_id,
        utility: row.utility.0.into(),
        season: row.season.0.into(),
        season_month: row.account_month,
    });
    Ok(months.collect())
}

/// Returns the latest account month that a company has open on a day.
///
/// # Errors
/// Returns the database's error.
pub async fn latest_open_month(
    executor: impl PgExecutor<'_>,
    company_id: &str,
    utility: Utility,
    day: NaiveDate,
) -> Result<Option<i32>, sqlx::Error> {
    sqlx::query_scalar!(
        "SELECT max(account_month) FROM month_control
         WHERE company_id = $1 AND kind = 'account' AND ($2::text IS NULL OR utility = $2)
           AND start_date <= $3 AND $3 < stop_date",
        company_id,
        utility.stored(),
        day,
    )
    .fetch_one(executor)
    .named("month_control_latest_open")
    .await
}

/// Returns the seasons of account months of stores and utilities, each given with its company, where one is set.
///
/// # Errors
/// Returns the database's error.
pub async fn of_months(
    executor: impl PgExecutor<'_>,
    asked: &[(&str, &str, Utility, i32)],
) -> Result<Vec<Option<Season>>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT own.place AS "place!", m.season AS "season: Stored<Season>"
           FROM unnest($1::text[], $2::text[], $3::text[], $4::integer[]) WITH ORDINALITY
               AS own (company_id, store_id, utility, account_month, place)
           JOIN season_month m ON m.company_id = own.company_id AND m.store_id = own.store_id
               AND m.utility = own.utility AND m.account_month = own.account_month"#,
        asked.iter().map(|(company, ..)| *company).collect::<Vec<_>>() as _,
        asked.iter().map(|(_, store, ..)| *store).collect::<Vec<_>>() as _,
        asked.iter().map(|(_, _, utility, _)| utility.stored()).collect::<Vec<_>>() as _,
        &asked.iter().map(|(.., month)| *month).collect::<Vec<_>>(),
    )
    .fetch_all(executor)
    .named("season_month_of")
    .await?;
    let mut seasons = vec![None; asked.len()];
    for row in rows {
        if let Some(season) = seasons.get_mut(place_of(row.place)) {
            *season = Some(row.season.0);
        }
    }
    Ok(seasons)
}
