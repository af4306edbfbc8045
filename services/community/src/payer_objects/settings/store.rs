//! Settings in the database.

use communal_kit::call::Call;
use communal_kit::database::Statement as _;
use sqlx::{PgConnection, PgExecutor};

use super::Settings;

/// Reads the settings of a community.
///
/// # Errors
/// Returns the database's error.
pub async fn read(executor: impl PgExecutor<'_>, call: &Call) -> Result<Settings, sqlx::Error> {
    let found = sqlx::query_as!(
        Settings,
        "SELECT pay_fee_month, pay_fee_month_cycle, allow_duplicate_fee, batch_self_approval
         FROM community_setting WHERE community_id = $1",
        call.tenant.id,
    );
    Ok(found.fetch_optional(executor).named("setting_read").await?.unwrap_or_default())
}

/// Locks the settings of a community in share mode and reads them: they cannot change before the
/// transaction ends.
///
/// # Errors
/// Returns the database's error.
pub async fn lock_shared(connection: &mut PgConnection, call: &Call) -> Result<Settings, sqlx::Error> {
    let found = sqlx::query_as!(
        Settings,
        "SELECT pay_fee_month, pay_fee_month_cycle, allow_duplicate_fee, batch_self_approval
         FROM community_setting WHERE community_id = $1 FOR SHARE",
        call.tenant.id,
    );
    Ok(found.fetch_optional(connection).named("setting_share_lock").await?.unwrap_or_default())
}

/// Locks the settings of a community for a change and reads them. The first lock makes their row.
///
/// # Errors
/// Returns the database's error.
pub async fn lock(connection: &mut PgConnection, call: &Call) -> Result<Settings, sqlx::Error> {
    sqlx::query!("INSERT INTO community_setting (community_id) VALUES ($1) ON CONFLICT DO NOTHING", call.tenant.id)
        .execute(&mut *connection)
        .named("setting_make")
        .await?;
    sqlx::query_as!(
        Settings,
        "SELECT pay_fee_month, pay_fee_month_cycle, allow_duplicate_fee, batch_self_approval
         FROM community_setting WHERE community_id = $1 FOR UPDATE",
        call.tenant.id,
    )
    .fetch_one(connection)
    .named("setting_lock")
    .await
}

/// Changes the settings, whose row is locked.
///
/// # Errors
/// Returns the database's error.
pub async fn update(connection: &mut PgConnection, call: &Call, settings: Settings) -> Result<(), sqlx::Error> {
    let Settings { pay_fee_month, pay_fee_month_cycle, allow_duplicate_fee, batch_self_approval } = settings;
    sqlx::query!(
        "UPDATE community_setting
         SET pay_fee_month = $2, pay_fee_month_cycle = $3, allow_duplicate_fee = $4, batch_self_approval = $5
         WHERE community_id = $1",
        call.tenant.id,
        pay_fee_month,
        pay_fee_month_cycle,
        allow_duplicate_fee,
        batch_self_approval,
    )
    .execute(connection)
    .named("setting_update")
    .await?;
    Ok(())
}
