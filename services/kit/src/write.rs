//! Writes: a call that changes something is carried out once for each request id, in one transaction
//! with an actor.
//!
//! Every write has the same form. The transaction begins, one statement claims the request id and
//! announces the actor, the work is done, the reply is recorded, the transaction commits. After the
//! commit only the reply is sent. Locks are taken in one order: the request id first, then rows in the
//! order that the service documents.
//!
//! ```no_run
//! # use communal_kit::{call::Call, pool::Pool, refusal::Refusal, write::write};
//! # use communal_proto::billing::v1::{RegisterStoresRequest, RegisterStoresResponse};
//! # async fn register(pool: &Pool, call: &Call, message: &RegisterStoresRequest) -> Result<(), Refusal> {
//! let reply = write(pool, call, message, async |transaction| {
//!     sqlx::query("SELECT 1").execute(transaction).await?;
//!     Ok(RegisterStoresResponse {})
//! })
//! .await?;
//! # Ok(()) }
//! ```

use std::time::Duration;

use futures::future::BoxFuture;
use prost::Message;
use sqlx::PgConnection;
use tonic::Response;
use tonic::metadata::MetadataValue;

use crate::call::Call;
use crate::database::Statement as _;
use crate::idempotency::{self, Claim};
use crate::pool::Pool;
use crate::refusal::Refusal;

/// The most attempts at a transaction that the database rolls back to resolve a conflict.
const MOST_ATTEMPTS: u32 = 3;

/// The work of a write: an async closure over the transaction's connection, whose future is `Send`.
/// Every such closure implements it; callers do not name it.
///
/// `impl AsyncFn(&mut PgConnection)` alone cannot say that the future is `Send` for each lifetime of
/// the connection, and a handler must be.
pub trait Work<'t, T>: Fn(&'t mut PgConnection) -> Self::Running {
    /// The future of the work.
    type Running: Future<Output = Result<T, Refusal>> + Send;
}

impl<'t, T, W, F> Work<'t, T> for W
where
    W: Fn(&'t mut PgConnection) -> F,
    F: Future<Output = Result<T, Refusal>> + Send,
{
    type Running = F;
}

/// Calls the closure through its trait, which guarantees that the future is `Send`.
fn started<'t, T, W: Work<'t, T>>(work: &W, connection: &'t mut PgConnection) -> W::Running {
    work(connection)
}

/// Runs a write once for each request id, in one transaction. A repeated request gets the recorded
/// reply, with the metadata `idempotent-replayed`, and changes nothing. If the database rolls the transaction back to resolve a conflict (40001,
/// 40P01), it is tried again, up to three times in all, so `work` must have no effect
/// outside the transaction.
///
/// # Errors
/// Returns `REQUEST_ID_INVALID` if the request id has not the form of one, `REQUEST_ID_REUSED` if the request id was used for another request, the refusal of `work`,
/// and `CONFLICT` if the last attempt was rolled back as well.
pub fn write<'a, M, R, W>(
    pool: &'a Pool,
    call: &'a Call,
    message: &M,
    work: W,
) -> BoxFuture<'a, Result<Response<R>, Refusal>>
where
    M: Message,
    R: Message + Default + 'a,
    W: AsyncFn(&mut PgConnection) -> Result<R, Refusal> + for<'t> Work<'t, R> + Send + Sync + 'a,
{
    let key = call.request_key(message);
    Box::pin(async move {
        let key = key?;
        retrying(|| async {
            let mut transaction = pool.begin().named("begin").await?;
            let claim = match &key {
                Some(key) => idempotency::claim(&mut transaction, call, key).await?,
                None => announce(&mut transaction, call).await.map(|()| Claim::New)?,
            };
            if let Claim::Answered(reply) = claim {
                transaction.rollback().named("rollback").await?;
                let mut reply = R::decode(reply).map(Response::new).map_err(Refusal::internal)?;
                reply.metadata_mut().insert(idempotency::REPLAYED, MetadataValue::from_static("true"));
                return Ok(reply);
            }
            let reply = started(&work, &mut transaction).await?;
            if let Some(key) = &key {
                idempotency::record(&mut transaction, call, key, &reply).await?;
            }
            transaction.commit().named("commit").await?;
            Ok(Response::new(reply))
        })
        .await
    })
}

/// Runs a write without a request id or a recorded reply, for commands and demo data. Otherwise it is
/// like [`write()`].
///
/// # Errors
/// Returns the refusal of `work`, and `CONFLICT` if the last attempt was rolled back.
pub fn run_as<'a, T, W>(pool: &'a Pool, call: &'a Call, work: W) -> BoxFuture<'a, Result<T, Refusal>>
where
    T: Send + 'a,
    W: AsyncFn(&mut PgConnection) -> Result<T, Refusal> + for<'t> Work<'t, T> + Send + Sync + 'a,
{
    Box::pin(async move {
        retrying(|| async {
            let mut transaction = pool.begin().named("begin").await?;
            announce(&mut transaction, call).await?;
            let outcome = started(&work, &mut transaction).await?;
            transaction.commit().named("commit").await?;
            Ok(outcome)
        })
        .await
    })
}

/// Announces the actor to a transaction that was opened by other means, such as one that an import
/// keeps open while its stream arrives.
///
/// # Errors
/// Returns the database's error.
pub async fn announce(connection: &mut PgConnection, call: &Call) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "SELECT platform.announce($1, $2, $3, $4, $5, $6)",
        call.operator_id,
        call.operator_name,
        call.channel_id,
        call.trace_id,
        call.method,
        call.at,
    )
    .fetch_one(connection)
    .named("actor_announce")
    .await?;
    Ok(())
}

/// Runs `attempt`, which must be a whole transaction, again if the database rolled it back (40001,
/// 40P01).
async fn retrying<T, F: Future<Output = Result<T, Refusal>>>(mut attempt: impl FnMut() -> F) -> Result<T, Refusal> {
    let mut attempts = 1;
    loop {
        match attempt().await {
            Err(refusal) if refusal.is_retryable() && attempts < MOST_ATTEMPTS => {
                metrics::counter!("communal_transaction_retries_total").increment(1);
                tokio::time::sleep(Duration::from_millis(rand::random_range(1..=10) * u64::from(attempts))).await;
                attempts += 1;
            }
            outcome => return outcome,
        }
    }
}
