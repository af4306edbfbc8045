//! The statements of approval ratios. Every query is bound by the company.

use communal_kit::call::Call;
use communal_kit::database::Statement as _;
use communal_kit::database::stored::Stored;
use communal_kit::money::at_scale;
use communal_kit::paging::Page;
use communal_proto::Coded as _;
use communal_proto::billing::v1::{ApprovalRatio, ApprovalRatioFilter, ApprovalRatioKey, NewApprovalRatio};
use rust_decimal::Decimal;
use sqlx::{PgConnection, PgExecutor};

use crate::reference::store::{place_of, select_page};
use crate::vocabulary::quantity::checked_decimal;
use crate::vocabulary::tariff::Utility;

/// Adds a ratio. Returns false if the store and utility have one.
///
/// # Errors
/// Returns the database's error.
pub async fn add(tx: &mut PgConnection, call: &Call, new: &NewApprovalRatio) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "INSERT INTO approval_ratio (company_id, store_id, utility, over_approval_ratio, approval_factor)
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
        call.tenant.id,
        new.retail_store_id,
        new.utility().stored(),
        checked_decimal(&new.over_approval_ratio),
        checked_decimal(&new.approval_factor),
    );
    Ok(done.execute(tx).named("approval_ratio_add").await?.rows_affected() == 1)
}

/// Changes the ratio of a store and utility. Returns false if there is none.
///
/// # Errors
/// Returns the database's error.
pub async fn update(tx: &mut PgConnection, call: &Call, change: &ApprovalRatio) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "UPDATE approval_ratio SET over_approval_ratio = $4, approval_factor = $5
         WHERE company_id = $1 AND store_id = $2 AND utility = $3",
        call.tenant.id,
        change.retail_store_id,
        change.utility().stored(),
        checked_decimal(&change.over_approval_ratio),
        checked_decimal(&change.approval_factor),
    );
    Ok(done.execute(tx).named("approval_ratio_update").await?.rows_affected() == 1)
}

/// Deletes the ratio of a store and utility. Returns false if there is none, or another.
///
/// # Errors
/// Returns the database's error.
pub async fn delete(tx: &mut PgConnection, call: &Call, key: &ApprovalRatioKey) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "DELETE FROM approval_ratio
         WHERE company_id = $1 AND store_id = $2 AND utility = $3 AND over_approval_ratio = $4",
        call.tenant.id,
        key.retail_store_id,
        key.utility().stored(),
        checked_decimal(&key.over_approval_ratio),
    );
    Ok(done.execute(tx).named("approval_ratio_delete").await?.rows_affected() == 1)
}

/// Returns a page of the company's ratios, and how many there are.
///
/// # Errors
/// Returns the database's error.
pub async fn list(
    executor: impl PgExecutor<'_>,
    company_id: &str,
    filter: &ApprovalRatioFilter,
    page: Page,
) -> Result<(Vec<ApprovalRatio>, i64), sqlx::Error> {
    let rows = select_page!(
        page,
        r#"r.company_id, r.store_id, region_code, utility AS "utility: Stored<Utility>", over_approval_ratio,
           approval_factor"#,
        "approval_ratio r JOIN store USING (company_id, store_id)
         WHERE company_id = $3 AND ($4 IN ('', company_id)) AND ($5 IN ('', store_id)) AND ($6 IN ('', region_code))",
        "store_id, utility",
        company_id,
        filter.retail_company_id,
        filter.retail_store_id,
        filter.region_code,
    )
    .fetch_all(executor)
    .named("approval_ratio_list")
    .await?;
    let (rows, total) = page.cut(rows, |row| row.place, |row| row.total);
    let ratios = rows.into_iter().map(|row| ApprovalRatio {
        retail_company_id: row.company_id,
        retail_store_id: row.store_id,
        region_code: row.region_code,
        utility: row.utility.0.into(),
        over_approval_ratio: at_scale(row.over_approval_ratio, 4),
        approval_factor: at_scale(row.approval_factor, 4),
    });
    Ok((ratios.collect(), total))
}

/// Returns the approved ratio and factor of stores and utilities, each given with its company, where they are set.
///
/// # Errors
/// Returns the database's error.
pub async fn of_stores(
    executor: impl PgExecutor<'_>,
    asked: &[(&str, &str, Utility)],
) -> Result<Vec<Option<(Decimal, Decimal)>>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT own.place AS "place!", r.over_approval_ratio, r.approval_factor
           FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS own (company_id, store_id, utility, place)
           JOIN approval_ratio r ON r.company_id = own.company_id AND r.store_id = own.store_id
               AND r.utility = own.utility"#,
        asked.iter().map(|(company, ..)| *company).collect::<Vec<_>>() as _,
        asked.iter().map(|(_, store, _)| *store).collect::<Vec<_>>() as _,
        asked.iter().map(|(.., utility)| utility.stored()).collect::<Vec<_>>() as _,
    )
    .fetch_all(executor)
    .named("approval_ratio_of_stores")
    .await?;
    let mut ratios = vec![None; asked.len()];
    for row in rows {
        if let Some(ratio) = ratios.get_mut(place_of(row.place)) {
            *ratio = Some((row.over_approval_ratio, row.approval_factor));
        }
    }
    Ok(ratios)
}
