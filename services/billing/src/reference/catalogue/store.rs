//! The statements of the catalogue. Every query is bound by the company.
//!
//! Lock order: category items by number, then account items by code.

use communal_kit::call::Call;
use communal_kit::database::Statement as _;
use communal_kit::database::stored::Stored;
use communal_kit::paging::Page;
use communal_proto::Coded as _;
use communal_proto::billing::v1::{AccountItem, CategoryItem};
use sqlx::{PgConnection, PgExecutor};

use crate::reference::store::place_of;
use crate::vocabulary::tariff::{Utility, YesNo};

/// Registers a category item, or renames the one of this number. Returns false if that is of another utility, or is a
/// surcharge where this is none.
///
/// # Errors
/// Returns the database's error.
pub async fn register_category_item(
    tx: &mut PgConnection,
    call: &Call,
    item: &CategoryItem,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "INSERT INTO category_item AS known (company_id, category_item, name, utility, surcharge, kind)
         VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (company_id, category_item) DO UPDATE SET name = excluded.name, kind = excluded.kind
         WHERE known.utility = excluded.utility AND known.surcharge = excluded.surcharge",
        call.tenant.id,
        item.category_item,
        item.name,
        item.utility().stored(),
        item.surcharge().stored(),
        item.kind,
    );
    Ok(done.execute(tx).named("category_item_register").await?.rows_affected() == 1)
}

/// Registers an account item, or changes name and main category item of the one of this code. Returns false if that is
/// of another utility.
///
/// # Errors
/// Returns the database's error; the violated constraint is `account_item_main` if the main category item does not
/// exist, is of another utility, or is a surcharge.
pub async fn register_account_item(
    tx: &mut PgConnection,
    call: &Call,
    item: &AccountItem,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "INSERT INTO account_item AS known (company_id, account_item, name, utility, main_category_item)
         VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (company_id, account_item) DO UPDATE
         SET name = excluded.name, main_category_item = excluded.main_category_item
         WHERE known.utility = excluded.utility",
        call.tenant.id,
        item.account_item,
        item.name,
        item.utility().stored(),
        item.main_category_item,
    );
    Ok(done.execute(tx).named("account_item_register").await?.rows_affected() == 1)
}

/// Returns the main category items of account items, each given with its company and utility, where there is one.
///
/// # Errors
/// Returns the database's error.
pub async fn main_items(
    executor: impl PgExecutor<'_>,
    asked: &[(&str, &str, Utility)],
) -> Result<Vec<Option<i64>>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT own.place AS "place!", i.main_category_item
           FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY
               AS own (company_id, account_item, utility, place)
           JOIN account_item i ON i.company_id = own.company_id AND i.account_item = own.account_item
               AND i.utility = own.utility"#,
        asked.iter().map(|(company, ..)| *company).collect::<Vec<_>>() as _,
        asked.iter().map(|(_, item, _)| *item).collect::<Vec<_>>() as _,
        asked.iter().map(|(.., utility)| utility.stored()).collect::<Vec<_>>() as _,
    )
    .fetch_all(executor)
    .named("account_item_main")
    .await?;
    let mut items = vec![None; asked.len()];
    for row in rows {
        if let Some(item) = items.get_mut(place_of(row.place)) {
            *item = Some(row.main_category_item);
        }
    }
    Ok(items)
}

/// Returns the category items of a company by number, at most `limit`.
///
/// # Errors
/// Returns the database's error.
pub async fn list_category_items(
    executor: impl PgExecutor<'_>,
    company_id: &str,
    limit: i64,
) -> Result<Vec<CategoryItem>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT category_item, name, utility AS "utility: Stored<Utility>", surcharge AS "surcharge: Stored<YesNo>", kind
           FROM category_item WHERE company_id = $1 ORDER BY category_item LIMIT $2"#,
        company_id,
        limit,
    )
    .fetch_all(executor)
    .named("category_item_list")
    .await?;
    let items = rows.into_iter().map(|row| CategoryItem {
        category_item: row.category_item,
        name: row.name,
        utility: row.utility.0.into(),
        surcharge: row.surcharge.0.into(),
        kind: row.kind,
    });
    Ok(items.collect())
}

/// Returns the account items of a company by code, at most `limit`.
///
/// # Errors
/// Returns the database's error.
pub async fn list_account_items(
    executor: impl PgExecutor<'_>,
    company_id: &str,
    limit: i64,
) -> Result<Vec<AccountItem>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT account_item, name, utility AS "utility: Stored<Utility>", main_category_item
           FROM account_item WHERE company_id = $1 ORDER BY account_item LIMIT $2"#,
        company_id,
        limit,
    )
    .fetch_all(executor)
    .named("account_item_list")
    .await?;
    let items = rows.into_iter().map(|row| AccountItem {
        account_item: row.account_item,
        name: row.name,
        utility: row.utility.0.into(),
        main_category_item: row.main_category_item,
    });
    Ok(items.collect())
}

/// Returns a page of the category items of a company and utility by number, and how many there are.
///
/// # Errors
/// Returns the database's error.
pub async fn category_items_of(
    executor: impl PgExecutor<'_>,
    company_id: &str,
    utility: Utility,
    page: Page,
) -> Result<(Vec<CategoryItem>, i64), sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT category_item, name, utility AS "utility: Stored<Utility>", surcharge AS "surcharge: Stored<YesNo>", kind,
               place AS "place!", total AS "total!"
           FROM (SELECT *, count(*) OVER () AS total, row_number() OVER (ORDER BY category_item) AS place
                 FROM category_item WHERE company_id = $1 AND utility = $2) AS found
           WHERE place = 1 OR place BETWEEN $3 AND $4
           ORDER BY place"#,
        company_id,
        utility.stored(),
        page.first,
        page.last,
    )
    .fetch_all(executor)
    .named("category_item_page")
    .await?;
    let (rows, total) = page.cut(rows, |row| row.place, |row| row.total);
    let items = rows.into_iter().map(|row| CategoryItem {
        category_item: row.category_item,
        name: row.name,
        utility: row.utility.0.into(),
        surcharge: row.surcharge.0.into(),
        kind: row.kind,
    });
    Ok((items.collect(), total))
}
