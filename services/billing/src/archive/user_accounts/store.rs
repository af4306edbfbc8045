//! The statements of user accounts. Every query is bound by the company.
//!
//! Lock order: the customer, then its user accounts by identifier.

use std::collections::HashMap;

use communal_kit::call::Call;
use communal_kit::database::Statement as _;
use communal_proto::billing::v1::{AttestationType, ChangedUserAccount, NewUserAccount};
use communal_proto::{Coded as _, parse_decimal};
use rust_decimal::Decimal;
use sqlx::PgConnection;

/// Adds a user account. The customer itself uses it, until a settlement account says otherwise.
///
/// # Errors
/// Returns the database's error; it violates `user_account_place` if the customer has one of this name and address.
pub async fn add(tx: &mut PgConnection, call: &Call, new: &NewUserAccount) -> Result<String, sqlx::Error> {
    let number = |text: &str| parse_decimal(text).unwrap_or_default();
    sqlx::query_scalar!(
        "INSERT INTO user_account (company_id, customer_id, using_customer_id, name, region, address, map_name, longitude,
             latitude, resident, attestation, risk_balance, margin_balance, advance_limit)
         VALUES ($1, $2, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
         RETURNING user_account_id",
        call.tenant.id,
        new.customer_id,
        new.user_name,
        new.region_code,
        new.address,
        new.map_name,
        number(&new.longitude),
        number(&new.latitude),
        new.resident().stored(),
        AttestationType::None.stored(),
        number(&new.risk_balance),
        number(&new.margin_balance),
        number(&new.advance_limit),
    )
    .fetch_one(tx)
    .named("user_account_add")
    .await
}

/// Locks user accounts by identifier and returns the customers of those that the company has. Those of a forgotten customer have
/// lost their names, and are none any more.
///
/// # Errors
/// Returns the database's error.
pub async fn lock(tx: &mut PgConnection, call: &Call, ids: &[&str]) -> Result<HashMap<String, String>, sqlx::Error> {
    let rows = sqlx::query!(
        "SELECT u.user_account_id, u.customer_id
         FROM (SELECT k.* FROM unnest($1::text[], $2::text[]) AS k (company_id, user_account_id) OFFSET 0) AS own
         JOIN user_account u ON u.company_id = own.company_id AND u.user_account_id = own.user_account_id
             AND u.name <> ''
         ORDER BY u.user_account_id
         FOR UPDATE OF u",
        vec![call.tenant.id.as_str(); ids.len()] as _,
        ids as _,
    )
    .fetch_all(tx)
    .named("user_account_lock")
    .await?;
    Ok(rows.into_iter().map(|row| (row.user_account_id, row.customer_id)).collect())
}

/// Locks user accounts by identifier and returns the places, from 0, of those that the company does not have.
///
/// # Errors
/// Returns the database's error.
pub async fn unknown(tx: &mut PgConnection, call: &Call, ids: &[&str]) -> Result<Vec<i64>, sqlx::Error> {
    let known = lock(tx, call, ids).await?;
    Ok((0..).zip(ids).filter(|(_, id)| !known.contains_key(**id)).map(|(place, _)| place).collect())
}

/// Changes a user account and returns whether there is one, and its customer is not forgotten. A field that is not given stays.
///
/// # Errors
/// Returns the database's error.
pub async fn change(tx: &mut PgConnection, call: &Call, changed: &ChangedUserAccount) -> Result<bool, sqlx::Error> {
    let given = |text: &str| -> Option<Decimal> { parse_decimal(text) };
    let outcome = sqlx::query!(
        "UPDATE user_account SET resident = $3, attestation = $4, risk_balance = coalesce($5, risk_balance),
             margin_balance = coalesce($6, margin_balance), advance_limit = coalesce($7, advance_limit),
             map_name = coalesce(nullif($8, ''), map_name), longitude = coalesce($9, longitude),
             latitude = coalesce($10, latitude)
         WHERE company_id = $1 AND user_account_id = $2 AND name <> ''",
        call.tenant.id,
        changed.user_account_id,
        changed.resident().stored(),
        changed.user_attestation().stored(),
        given(&changed.risk_balance),
        given(&changed.margin_balance),
        given(&changed.advance_limit),
        changed.map_name,
        given(&changed.longitude),
        given(&changed.latitude),
    )
    .execute(tx)
    .named("user_account_change")
    .await?;
    Ok(outcome.rows_affected() > 0)
}
