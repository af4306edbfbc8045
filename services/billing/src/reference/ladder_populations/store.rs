//! The statements of ladder population. Every query is bound by the company.

use communal_kit::call::Call;
use communal_kit::database::Statement as _;
use communal_kit::database::stored::Stored;
use communal_kit::money::at_scale;
use communal_kit::paging::Page;
use communal_proto::Coded as _;
use communal_proto::billing::v1::{LadderPopulation, LadderPopulationFilter, LadderPopulationKey, NewLadderPopulation};
use rust_decimal::Decimal;
use sqlx::{PgConnection, PgExecutor};

use crate::reference::store::{place_of, select_page};
use crate::vocabulary::quantity::{QUANTITY_SCALE, checked_decimal};
use crate::vocabulary::tariff::Utility;

/// Adds an increment. Returns false if the store and utility have it.
///
/// # Errors
/// Returns the database's error.
pub async fn add(tx: &mut PgConnection, call: &Call, new: &NewLadderPopulation) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "INSERT INTO ladder_population (company_id, store_id, utility, increment, base, increase)
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
        call.tenant.id,
        new.retail_store_id,
        new.utility().stored(),
        new.population_increment,
        new.population_base(),
        checked_decimal(&new.limit_increase),
    );
    Ok(done.execute(tx).named("ladder_population_add").await?.rows_affected() == 1)
}

/// Changes base and increase of an increment. Returns false if there is none.
///
/// # Errors
/// Returns the database's error.
pub async fn update(tx: &mut PgConnection, call: &Call, change: &LadderPopulation) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "UPDATE ladder_population SET base = $5, increase = $6
         WHERE company_id = $1 AND store_id = $2 AND utility = $3 AND increment = $4",
        call.tenant.id,
        change.retail_store_id,
        change.utility().stored(),
        change.population_increment,
        change.population_base(),
        checked_decimal(&change.limit_increase),
    );
    Ok(done.execute(tx).named("ladder_population_update").await?.rows_affected() == 1)
}

/// Deletes an increment. Returns false if there is none.
///
/// # Errors
/// Returns the database's error.
pub async fn delete(tx: &mut PgConnection, call: &Call, key: &LadderPopulationKey) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "DELETE FROM ladder_population WHERE company_id = $1 AND store_id = $2 AND utility = $3 AND increment = $4",
        call.tenant.id,
        key.retail_store_id,
        key.utility().stored(),
        key.population_increment,
    );
    Ok(done.execute(tx).named("ladder_population_delete").await?.rows_affected() == 1)
}

/// Returns a page of the company's increments, and how many there are.
///
/// # Errors
/// Returns the database's error.
pub async fn list(
    executor: impl PgExecutor<'_>,
    company_id: &str,
    filter: &LadderPopulationFilter,
    page: Page,
) -> Result<(Vec<LadderPopulation>, i64), sqlx::Error> {
    let rows = select_page!(
        page,
        r#"p.company_id, p.store_id, region_code, utility AS "utility: Stored<Utility>", base, increment, increase"#,
        "ladder_population p JOIN store USING (company_id, store_id)
         WHERE company_id = $3 AND ($4 IN ('', company_id)) AND ($5 IN ('', store_id)) AND ($6 IN ('', region_code))",
        "store_id, utility, increment",
        company_id,
        filter.retail_company_id,
        filter.retail_store_id,
        filter.region_code,
    )
    .fetch_all(executor)
    .named("ladder_population_list")
    .await?;
    let (rows, total) = page.cut(rows, |row| row.place, |row| row.total);
    let populations = rows.into_iter().map(|row| LadderPopulation {
        retail_company_id: row.company_id,
        retail_store_id: row.store_id,
        region_code: row.region_code,
        utility: row.utility.0.into(),
        population_base: Some(row.base),
        population_increment: row.increment,
        limit_increase: at_scale(row.increase, QUANTITY_SCALE),
    });
    Ok((populations.collect(), total))
}

/// An increment of a store and utility that was asked for.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)] // the columns of the table, documented there
pub struct Increment {
    /// The place of what it was asked by.
    pub place: usize,
    pub base: i32,
    pub increment: i32,
    pub increase: Decimal,
}

/// Returns the increments of stores and utilities, each given with its company.
///
/// # Errors
/// Returns the database's error.
pub async fn of_stores(
    executor: impl PgExecutor<'_>,
    asked: &[(&str, &str, Utility)],
) -> Result<Vec<Increment>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT own.place AS "place!", p.base, p.increment, p.increase
           FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS own (company_id, store_id, utility, place)
           JOIN ladder_population p ON p.company_id = own.company_id AND p.store_id = own.store_id
               AND p.utility = own.utility
           ORDER BY own.place, p.increment"#,
        asked.iter().map(|(company, ..)| *company).collect::<Vec<_>>() as _,
        asked.iter().map(|(_, store, _)| *store).collect::<Vec<_>>() as _,
        asked.iter().map(|(.., utility)| utility.stored()).collect::<Vec<_>>() as _,
    )
    .fetch_all(executor)
    .named("ladder_population_of_stores")
    .await?;
    let increments = rows.into_iter().map(|row| Increment {
        place: place_of(row.place),
        base: row.base,
        increment: row.increment,
        increase: row.increase,
    });
    Ok(increments.collect())
}
