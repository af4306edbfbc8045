//! Batches in the database.

use chrono::{DateTime, Utc};
use communal_kit::call::Call;
use communal_kit::database::Statement as _;
use communal_kit::database::stored::Stored;
use communal_kit::paging::Page;
use communal_proto::Coded as _;
use communal_proto::community::v1::BatchState;
use sqlx::{FromRow, PgConnection, PgExecutor, Postgres, QueryBuilder};

use super::Batch;
use crate::fee_items::store::{filter, page_of};

/// Creates a batch and returns its identifier.
///
/// # Errors
/// Returns the database's error.
pub async fn create(connection: &mut PgConnection, call: &Call, remark: &str) -> Result<String, sqlx::Error> {
    sqlx::query_scalar!(
        "INSERT INTO pay_fee_batch (community_id, batch_id, remark)
         VALUES ($1, '95' || lpad(nextval('fee_batch_number')::text, 16, '0'), $2) RETURNING batch_id",
        call.tenant.id,
        remark,
    )
    .fetch_one(connection)
    .named("fee_batch_create")
    .await
}

/// Locks a batch. Locks: the batch; its fees and rules come after it.
///
/// # Errors
/// Returns the database's error.
pub async fn lock(connection: &mut PgConnection, call: &Call, batch_id: &str) -> Result<Option<Batch>, sqlx::Error> {
    sqlx::query_as!(
        Batch,
        r#"SELECT state AS "state: Stored<BatchState>", applicant_id
           FROM pay_fee_batch WHERE community_id = $1 AND batch_id = $2 FOR NO KEY UPDATE"#,
        call.tenant.id,
        batch_id,
    )
    .fetch_optional(connection)
    .named("fee_batch_lock")
    .await
}

/// Records that somebody asks to undo a locked batch.
///
/// # Errors
/// Returns the database's error.
pub async fn apply(
    connection: &mut PgConnection,
    call: &Call,
    batch_id: &str,
    remark: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE pay_fee_batch SET state = $3, remark = $4, msg = '', applicant_id = $5
         WHERE community_id = $1 AND batch_id = $2",
        call.tenant.id,
        batch_id,
        BatchState::UndoRequested.stored(),
        remark,
        call.operator_id,
    )
    .execute(connection)
    .named("fee_batch_apply")
    .await?;
    Ok(())
}

/// Records the decision on a locked batch.
///
/// # Errors
/// Returns the database's error.
pub async fn decide(
    connection: &mut PgConnection,
    call: &Call,
    batch_id: &str,
    state: BatchState,
    msg: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE pay_fee_batch SET state = $3, msg = $4 WHERE community_id = $1 AND batch_id = $2",
        call.tenant.id,
        batch_id,
        state.stored(),
        msg,
    )
    .execute(connection)
    .named("fee_batch_decide")
    .await?;
    Ok(())
}

/// Locks the fees of a batch, those of its rules among them, and returns how many have live payment
/// lines. Locks: the rules, then the fees, each by identifier.
///
/// # Errors
/// Returns the database's error.
pub async fn lock_contents(connection: &mut PgConnection, call: &Call, batch_id: &str) -> Result<i64, sqlx::Error> {
    sqlx::query!(
        "SELECT FROM pay_fee_rule WHERE community_id = $1 AND batch_id = $2 ORDER BY rule_id FOR UPDATE",
        call.tenant.id,
        batch_id,
    )
    .fetch_all(&mut *connection)
    .named("fee_batch_rules_lock")
    .await?;
    sqlx::query!(
        "SELECT FROM pay_fee WHERE community_id = $1 AND batch_id = $2 AND deleted_at IS NULL ORDER BY fee_id FOR UPDATE",
        call.tenant.id,
        batch_id,
    )
    .fetch_all(&mut *connection)
    .named("fee_batch_fees_lock")
    .await?;
    sqlx::query_scalar!(
        r#"SELECT count(DISTINCT d.fee_id) AS "paid!"
           FROM fee f JOIN pay_fee_detail d ON d.community_id = $1 AND d.fee_id = f.fee_id
           WHERE f.community_id = $1 AND f.batch_id = $2 AND d.state IN ('1400', '1000', '1200')"#,
        call.tenant.id,
        batch_id,
    )
    .fetch_one(connection)
    .named("fee_batch_paid")
    .await
}

/// Deletes the fees, readings and rules of a batch, which are locked.
///
/// # Errors
/// Returns the database's error.
pub async fn delete_contents(connection: &mut PgConnection, call: &Call, batch_id: &str) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "WITH fees AS (
             UPDATE pay_fee SET deleted_at = $3
             WHERE community_id = $1 AND batch_id = $2 AND deleted_at IS NULL RETURNING reading_id
         ), rules AS (
             UPDATE pay_fee_rule SET deleted_at = $3
             WHERE community_id = $1 AND batch_id = $2 AND deleted_at IS NULL
         )
         UPDATE meter_reading SET deleted_at = $3
         WHERE community_id = $1 AND reading_id IN (SELECT reading_id FROM fees) AND deleted_at IS NULL",
        call.tenant.id,
        batch_id,
        call.at,
    )
    .execute(connection)
    .named("fee_batch_contents_delete")
    .await?;
    Ok(())
}

/// A batch as it is listed.
#[derive(Debug, FromRow)]
pub struct BatchRow {
    /// Identifier.
    pub batch_id: String,
    /// Name of the operator who created it.
    pub operator_name: String,
    /// The instant of its creation.
    pub created_at: DateTime<Utc>,
    /// State.
    pub state: Stored<BatchState>,
    /// Remark.
    pub remark: String,
    /// Opinion of who decided.
    pub msg: String,
}

/// Reads a page of batches, newest first, and returns it with the number of batches in all.
///
/// # Errors
/// Returns the database's error.
pub async fn list(
    executor: impl PgExecutor<'_>,
    call: &Call,
    batch_id: &str,
    state: Option<BatchState>,
    page: Page,
) -> Result<(Vec<BatchRow>, i64), sqlx::Error> {
    let mut query = QueryBuilder::<Postgres>::new(
        "SELECT batch_id, operator_name, created_at, state, remark, msg, place, total
         FROM (SELECT *, row_number() OVER (ORDER BY created_at DESC, batch_id DESC) AS place,
                      count(*) OVER () AS total
               FROM pay_fee_batch WHERE community_id = ",
    );
    query.push_bind(call.tenant.id.clone());
    filter(&mut query, "batch_id = ", (!batch_id.is_empty()).then(|| batch_id.to_owned()), "");
    filter(&mut query, "state = ", state.map(Stored), "");
    query.push(") batch");
    page_of(executor, query, page, "fee_batch_list").await
}
