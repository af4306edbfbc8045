//! The statements of accumulators. Every query is bound by the company, and the tenant travels with each key.
//!
//! They are read and changed under the lock of their account.

use std::collections::HashMap;

use communal_kit::database::Statement as _;
use rust_decimal::Decimal;
use sqlx::{PgConnection, PgExecutor};

use super::AccountAccumulators;

/// Gives new accounts their accumulators: what each was billed before it was brought along, and the month up to which.
///
/// # Errors
/// Returns the database's error.
pub async fn begin(
    tx: &mut PgConnection,
    company_id: &str,
    accounts: &[(&str, Option<i32>, Decimal, Decimal)],
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO account_accumulator (company_id, settlement_account_id, account_month, year_quantity, month_quantity)
         SELECT $1, new.*
         FROM unnest($2::text[], $3::integer[], $4::numeric[], $5::numeric[]) AS new",
        company_id,
        accounts.iter().map(|(id, ..)| *id).collect::<Vec<_>>() as _,
        accounts.iter().map(|(_, month, ..)| *month).collect::<Vec<_>>() as _,
        &accounts.iter().map(|(.., year, _)| *year).collect::<Vec<_>>(),
        &accounts.iter().map(|(.., month)| *month).collect::<Vec<_>>(),
    )
    .execute(tx)
    .named("accumulator_begin")
    .await?;
    Ok(())
}

/// Returns the accumulators of accounts.
///
/// # Errors
/// Returns the database's error.
pub async fn read(
    executor: impl PgExecutor<'_>,
    company_id: &str,
    ids: &[&str],
) -> Result<HashMap<String, AccountAccumulators>, sqlx::Error> {
    let rows = sqlx::query!(
        "SELECT a.settlement_account_id, a.account_month, a.year_quantity, a.month_quantity, a.version
         FROM unnest($1::text[], $2::text[]) AS own (company_id, settlement_account_id)
         JOIN account_accumulator a ON a.company_id = own.company_id
             AND a.settlement_account_id = own.settlement_account_id",
        vec![company_id; ids.len()] as _,
        ids as _,
    )
    .fetch_all(executor)
    .named("accumulator_read")
    .await?;
    let accumulators = rows.into_iter().map(|row| {
        let of_account = AccountAccumulators {
            account_month: row.account_month,
            year_quantity: row.year_quantity,
            month_quantity: row.month_quantity,
            version: row.version,
        };
        (row.settlement_account_id, of_account)
    });
    Ok(accumulators.collect())
}

/// Moves the accumulators of accounts, each given with the version that it was computed from, which it raises. Returns how
/// many were still of that version.
///
/// # Errors
/// Returns the database's error.
pub async fn move_on(
    tx: &mut PgConnection,
    company_id: &str,
    accounts: &[(&str, AccountAccumulators)],
) -> Result<u64, sqlx::Error> {
    let done = sqlx::query!(
        "UPDATE account_accumulator a
         SET account_month = own.account_month, year_quantity = own.year_quantity, month_quantity = own.month_quantity,
             version = a.version + 1
         FROM unnest($1::text[], $2::text[], $3::integer[], $4::numeric[], $5::numeric[], $6::bigint[])
             AS own (company_id, settlement_account_id, account_month, year_quantity, month_quantity, version)
         WHERE a.company_id = own.company_id AND a.settlement_account_id = own.settlement_account_id
             AND a.version = own.version",
        vec![company_id; accounts.len()] as _,
        accounts.iter().map(|(id, _)| *id).collect::<Vec<_>>() as _,
        accounts.iter().map(|(_, of_account)| of_account.account_month).collect::<Vec<_>>() as _,
        &accounts.iter().map(|(_, of_account)| of_account.year_quantity).collect::<Vec<_>>(),
        &accounts.iter().map(|(_, of_account)| of_account.month_quantity).collect::<Vec<_>>(),
        &accounts.iter().map(|(_, of_account)| of_account.version).collect::<Vec<_>>(),
    )
    .execute(tx)
    .named("accumulator_move_on")
    .await?;
    Ok(done.rows_affected())
}
