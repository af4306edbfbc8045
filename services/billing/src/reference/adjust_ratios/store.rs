//! The statements of adjust ratios. Every query is bound by the company.

use chrono::NaiveDate;
use communal_kit::call::Call;
use communal_kit::database::Statement as _;
use communal_kit::database::stored::Stored;
use communal_kit::dates::to_number;
use communal_kit::money::at_scale;
use communal_kit::paging::Page;
use communal_proto::Coded as _;
use communal_proto::billing::v1::{
    AdjustRatio, AdjustRatioFilter, AdjustRatioKey, ForRateValidType, NewAdjustRatio, RewardPunishType,
};
use rust_decimal::Decimal;
use sqlx::{PgConnection, PgExecutor};

use crate::reference::store::{place_of, select_page};
use crate::vocabulary::dates::day;
use crate::vocabulary::quantity::checked_decimal;

/// Adds a ratio. Returns false if the standard and power factor have one on some of its days.
///
/// # Errors
/// Returns the database's error.
pub async fn add(tx: &mut PgConnection, call: &Call, new: &NewAdjustRatio) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "INSERT INTO adjust_ratio (company_id, store_id, standard, power_factor, direction, ratio, start_date, stop_date)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
        call.tenant.id,
        new.retail_store_id,
        new.power_factor_standard().stored(),
        checked_decimal(&new.power_factor),
        new.adjust_direction().stored(),
        checked_decimal(&new.adjust_ratio),
        day(new.start_date),
        day(new.stop_date),
    );
    Ok(done.execute(tx).named("adjust_ratio_add").await?.rows_affected() == 1)
}

/// Changes a ratio; what is left out stays. Returns false if there is none.
///
/// # Errors
/// Returns the database's error; the violated constraint is `adjust_ratio_category_item` if the company has no such main
/// item of electricity, and `adjust_ratio_days_apart` if the ratio would run into the next one.
pub async fn update(tx: &mut PgConnection, call: &Call, change: &AdjustRatio) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "UPDATE adjust_ratio SET ratio = $6, direction = coalesce($7, direction),
             category_item = coalesce(nullif($8::bigint, 0), category_item), stop_date = coalesce($9, stop_date)
         WHERE company_id = $1 AND store_id = $2 AND standard = $3 AND power_factor = $4 AND start_date = $5",
        call.tenant.id,
        change.retail_store_id,
        change.power_factor_standard().stored(),
        checked_decimal(&change.power_factor),
        day(change.start_date),
        checked_decimal(&change.adjust_ratio),
        change.adjust_direction().stored(),
        change.main_category_item,
        day(change.stop_date),
    );
    Ok(done.execute(tx).named("adjust_ratio_update").await?.rows_affected() == 1)
}

/// Deletes a ratio. Returns false if there is none.
///
/// # Errors
/// Returns the database's error.
pub async fn delete(tx: &mut PgConnection, call: &Call, key: &AdjustRatioKey) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "DELETE FROM adjust_ratio
         WHERE company_id = $1 AND store_id = $2 AND standard = $3 AND power_factor = $4 AND start_date = $5",
        call.tenant.id,
        key.retail_store_id,
        key.power_factor_standard().stored(),
        checked_decimal(&key.power_factor),
        day(key.start_date),
    );
    Ok(done.execute(tx).named("adjust_ratio_delete").await?.rows_affected() == 1)
}

/// Returns a page of the company's ratios, and how many there are.
///
/// # Errors
/// Returns the database's error.
pub async fn list(
    executor: impl PgExecutor<'_>,
    company_id: &str,
    filter: &AdjustRatioFilter,
    page: Page,
) -> Result<(Vec<AdjustRatio>, i64), sqlx::Error> {
    let rows = select_page!(
        page,
        r#"company_id, store_id, standard AS "standard: Stored<ForRateValidType>", power_factor, category_item,
           direction AS "direction: Stored<RewardPunishType>", ratio, start_date, stop_date"#,
        "adjust_ratio
         WHERE company_id = $3 AND ($4 IN ('', company_id)) AND ($5 IN ('', store_id))
           AND ($6::text IS NULL OR standard = $6)",
        "store_id, standard, power_factor, start_date",
        company_id,
        filter.retail_company_id,
        filter.retail_store_id,
        filter.power_factor_standard().stored(),
    )
    .fetch_all(executor)
    .named("adjust_ratio_list")
    .await?;
    let (rows, total) = page.cut(rows, |row| row.place, |row| row.total);
    let ratios = rows.into_iter().map(|row| AdjustRatio {
        retail_company_id: row.company_id,
        retail_store_id: row.store_id,
        power_factor_standard: row.standard.0.into(),
        power_factor: at_scale(row.power_factor, 4),
        main_category_item: row.category_item.unwrap_or_default(),
        adjust_direction: row.direction.0.into(),
        adjust_ratio: at_scale(row.ratio, 6),
        start_date: to_number(row.start_date),
        stop_date: to_number(row.stop_date),
    });
    Ok((ratios.collect(), total))
}

/// A ratio that is in force on a day.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)] // the columns of the table, documented there
pub struct RatioInForce {
    /// The place of what it was asked by.
    pub place: usize,
    pub standard: ForRateValidType,
    pub power_factor: Decimal,
    pub direction: RewardPunishType,
    pub ratio: Decimal,
    pub category_item: Option<i64>,
    pub start: NaiveDate,
}

/// Returns the ratios of stores that are in force, each store given with its company and a day.
///
/// # Errors
/// Returns the database's error.
pub async fn in_force_at(
    executor: impl PgExecutor<'_>,
    asked: &[(&str, &str, NaiveDate)],
) -> Result<Vec<RatioInForce>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT own.place AS "place!", r.standard AS "standard: Stored<ForRateValidType>", r.power_factor,
               r.direction AS "direction: Stored<RewardPunishType>", r.ratio, r.category_item, r.start_date
           FROM unnest($1::text[], $2::text[], $3::date[]) WITH ORDINALITY AS own (company_id, store_id, day, place)
           JOIN adjust_ratio r ON r.company_id = own.company_id AND r.store_id = own.store_id
               AND r.start_date <= own.day AND r.stop_date > own.day
           ORDER BY own.place, r.standard, r.power_factor"#,
        asked.iter().map(|(company, ..)| *company).collect::<Vec<_>>() as _,
        asked.iter().map(|(_, store, _)| *store).collect::<Vec<_>>() as _,
        &asked.iter().map(|(.., day)| *day).collect::<Vec<_>>(),
    )
    .fetch_all(executor)
    .named("adjust_ratio_in_force_at")
    .await?;
    let ratios = rows.into_iter().map(|row| RatioInForce {
        place: place_of(row.place),
        standard: row.standard.0,
        power_factor: row.power_factor,
        direction: row.direction.0,
        ratio: row.ratio,
        category_item: row.category_item,
        start: row.start_date,
    });
    Ok(ratios.collect())
}
