//! Imported batches.

use communal_kit::call::Call;
use communal_kit::database::Statement as _;
use sqlx::{PgConnection, PgExecutor};

use crate::vocabulary::identifiers::BatchId;

/// An imported batch.
#[derive(Clone, Debug)]
pub struct Batch {
    /// SHA-256 of its lines.
    pub content_hash: Vec<u8>,
    /// Lines.
    pub lines: i64,
    /// Lines that were outstanding at the import.
    pub outstanding_lines: i64,
    /// It was imported by mistake and taken back.
    pub taken_back: bool,
}

/// Returns the batch of an identifier.
///
/// # Errors
/// Returns the database's error.
pub async fn batch(
    executor: impl PgExecutor<'_>,
    company_id: &str,
    batch_id: &BatchId,
) -> Result<Option<Batch>, sqlx::Error> {
    sqlx::query_as!(
        Batch,
        r#"SELECT content_hash, lines, outstanding_lines, EXISTS (
               SELECT FROM receivable_batch_taken_back t
               WHERE t.company_id = b.company_id AND t.batch_id = b.batch_id) AS "taken_back!"
           FROM receivable_batch b WHERE company_id = $1 AND batch_id = $2"#,
        company_id,
        batch_id.as_str(),
    )
    .fetch_optional(executor)
    .named("batch_read")
    .await
}

/// Reserves a batch for this transaction; returns false if another is importing it or taking it back.
///
/// # Errors
/// Returns the database's error.
pub async fn reserve_batch(
    connection: &mut PgConnection,
    company_id: &str,
    batch_id: &BatchId,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT pg_try_advisory_xact_lock(hashtextextended($1 || ' ' || $2, 1)) AS "reserved!""#,
        company_id,
        batch_id.as_str(),
    )
    .fetch_one(connection)
    .named("batch_reserve")
    .await
}

/// Records a batch as imported.
///
/// # Errors
/// Returns the database's error.
pub async fn record_batch(
    connection: &mut PgConnection,
    call: &Call,
    batch_id: &BatchId,
    batch: &Batch,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO receivable_batch (company_id, batch_id, content_hash, lines, outstanding_lines)
         VALUES ($1, $2, $3, $4, $5)",
        call.tenant.id,
        batch_id.as_str(),
        batch.content_hash,
        batch.lines,
        batch.outstanding_lines,
    )
    .execute(connection)
    .named("batch_record")
    .await?;
    Ok(())
}

/// Records a batch as taken back and removes its lines, but for those that something changed since; returns how
/// many are gone.
///
/// # Errors
/// Returns the database's error.
pub async fn take_back(connection: &mut PgConnection, call: &Call, batch_id: &BatchId) -> Result<i64, sqlx::Error> {
    sqlx::query!(
        "INSERT INTO receivable_batch_taken_back (company_id, batch_id) VALUES ($1, $2)",
        call.tenant.id,
        batch_id.as_str(),
    )
    .execute(&mut *connection)
    .named("batch_take_back")
    .await?;
    // A large batch may take longer than a statement usually may; the deadline of the call bounds it.
    sqlx::query!("SELECT set_config('statement_timeout', '0', true)")
        .fetch_one(&mut *connection)
        .named("batch_take_back_time")
        .await?;
    sqlx::query_scalar!(r#"SELECT take_back_lines($1, $2) AS "gone!""#, call.tenant.id, batch_id.as_str())
        .fetch_one(connection)
        .named("batch_lines_remove")
        .await
}
