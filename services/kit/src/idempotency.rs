//! Claims of request ids: a repeated request is carried out once and gets the same reply each time.
//!
//! The row (tenant, channel, request id, method, request hash, reply) is written in the transaction of the
//! change itself, so neither exists without the other. If two equal requests arrive at the same time,
//! the second waits at the row's primary key and then reads the first's reply. [`crate::write::write`]
//! is the only caller.
//!
//! The id comes as `idempotency-key`; an HC client sends it as `transaction-id`. A query reads no id. The
//! `x-request-id` of a proxy is another thing: it may be renewed with each attempt, or shared by all calls of
//! a trace, and says nothing about what is the same request.
//!
//! A channel can use an id once in a tenant, whatever the method: a signature of HC covers neither path nor verb, so the
//! signed body of an update could otherwise be replayed as a delete of the same item.

use std::time::Duration;

use bytes::Bytes;
use communal_proto::canonical;
use communal_proto::contract::v1::Reason as Common;
use prost::Message;
use sha2::{Digest, Sha256};
use sqlx::{PgConnection, PgPool};

use crate::call::Call;
use crate::database::Statement as _;
use crate::refusal::Refusal;

/// The longest request id, in characters; the documented ones have 32.
const LONGEST: usize = 64;
/// The metadata of a reply that was recorded: the request had been carried out before.
pub const REPLAYED: &str = "idempotent-replayed";

/// A request id with the hash of the request that it identifies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequestKey {
    /// The id, chosen by the caller.
    request_id: String,
    /// SHA-256 of the canonical form of the request.
    hash: [u8; 32],
}

impl Call {
    /// Returns the key of this call, or `None` if the caller sent no request id.
    ///
    /// # Errors
    /// Returns `REQUEST_ID_INVALID` if the id is too long, or is not of visible characters.
    pub(crate) fn request_key(&self, message: &impl Message) -> Result<Option<RequestKey>, Refusal> {
        let Some(request_id) = self.request_id.clone() else { return Ok(None) };
        if request_id.len() > LONGEST || !request_id.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Refusal::new(
                Common::RequestIdInvalid,
                format!("请求流水号（idempotency-key）应为1至{LONGEST}个可见的ASCII字符"),
            ));
        }
        let encoded = message.encode_to_vec();
        let known = communal_proto::request_of(&self.method);
        let form = known.and_then(|request| canonical::form(request.message, &encoded).ok());
        Ok(Some(RequestKey { request_id, hash: Sha256::digest(form.as_deref().unwrap_or(&encoded)).into() }))
    }
}

/// The outcome of a claim.
#[derive(Debug)]
pub(crate) enum Claim {
    /// The request is new.
    New,
    /// The request was answered before, with this reply.
    Answered(Bytes),
}

/// Claims a request id and announces the actor, in one statement inside the transaction that carries
/// the request out. Waits if an equal request is being carried out in another transaction.
///
/// # Errors
/// Returns `REQUEST_ID_REUSED` if the id was used for another request or method.
pub(crate) async fn claim(connection: &mut PgConnection, call: &Call, key: &RequestKey) -> Result<Claim, Refusal> {
    let claimed = sqlx::query!(
        "WITH actor AS MATERIALIZED (SELECT platform.announce($6, $8, $5, $7, $2, $9))
         INSERT INTO platform.answered_request
             (tenant_id, method, request_id, request_hash, reply, channel_id, operator_id, trace_id)
         SELECT $1, $2, $3, $4, '', $5, $6, $7 FROM actor ON CONFLICT DO NOTHING",
        call.tenant.id,
        call.method,
        key.request_id,
        &key.hash[..],
        call.channel_id,
        call.operator_id,
        call.trace_id,
        call.operator_name,
        call.at,
    )
    .execute(&mut *connection)
    .named("request_claim")
    .await?;
    if claimed.rows_affected() == 1 {
        return Ok(Claim::New);
    }
    answered(connection, call, key).await.map(Claim::Answered)
}

/// Records the reply of a claimed request. An empty reply needs no statement, because the claim has
/// written it already.
///
/// # Errors
/// Returns the database's error.
pub(crate) async fn record(
    connection: &mut PgConnection,
    call: &Call,
    key: &RequestKey,
    reply: &impl Message,
) -> Result<(), sqlx::Error> {
    let bytes = reply.encode_to_vec();
    if bytes.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "UPDATE platform.answered_request SET reply = $4
         WHERE tenant_id = $1 AND channel_id = $2 AND request_id = $3",
        call.tenant.id,
        call.channel_id,
        key.request_id,
        bytes,
    )
    .execute(connection)
    .named("request_reply")
    .await?;
    Ok(())
}

/// Returns the recorded reply of the request.
async fn answered(connection: &mut PgConnection, call: &Call, key: &RequestKey) -> Result<Bytes, Refusal> {
    let row = sqlx::query!(
        "SELECT method, request_hash, reply FROM platform.answered_request
         WHERE tenant_id = $1 AND channel_id = $2 AND request_id = $3",
        call.tenant.id,
        call.channel_id,
        key.request_id,
    )
    .fetch_optional(connection)
    .named("request_answered")
    .await?;
    match row {
        Some(row) if row.method == call.method && row.request_hash == key.hash => {
            metrics::counter!("communal_idempotent_replays_total", "method" => call.method.clone()).increment(1);
            Ok(row.reply.into())
        }
        Some(_) => Err(Refusal::new(Common::RequestIdReused, "请求流水号已被其他请求使用")),
        // The first of two equal requests was rolled back after the second had read its row.
        None => Err(Refusal::new(Common::Conflict, "数据正被其他请求修改，请重试")),
    }
}

/// The time for which a reply is kept. A caller that got no reply for longer than this looks up what
/// became of its request instead of sending it again.
pub const KEPT_FOR: Duration = Duration::from_hours(30 * 24);

/// Deletes replies that are older than [`KEPT_FOR`], in small batches, so that no statement holds many
/// locks. Returns their number.
///
/// # Errors
/// Returns the database's error.
pub async fn forget_old(pool: &PgPool) -> Result<u64, sqlx::Error> {
    const BATCH: i64 = 1_000;
    let mut forgotten = 0;
    loop {
        let done = sqlx::query!(
            "DELETE FROM platform.answered_request WHERE (tenant_id, channel_id, request_id) IN
                 (SELECT tenant_id, channel_id, request_id FROM platform.answered_request
                  WHERE answered_at < now() - make_interval(secs => $1) ORDER BY answered_at LIMIT $2
                  FOR UPDATE SKIP LOCKED)",
            KEPT_FOR.as_secs_f64(),
            BATCH,
        )
        .execute(pool)
        .named("request_forget")
        .await?;
        forgotten += done.rows_affected();
        if done.rows_affected() < BATCH.unsigned_abs() {
            return Ok(forgotten);
        }
    }
}
