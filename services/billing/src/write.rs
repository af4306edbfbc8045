//! How a call that changes something is carried out once: claim of the request id, work and
//! reply in one transaction.

use communal_kit::call::Call;
use communal_kit::database::Statement as _;
use communal_kit::idempotency::{Claim, claim, record};
use communal_kit::pool::{Pool, Transaction};
use communal_kit::refusal::Refusal;
use prost::Message;

/// A call that changes something.
pub(crate) enum Write<R> {
    /// It was carried out before and answered so.
    Answered(R),
    /// Its transaction is open.
    New(Transaction),
}

/// Opens the transaction of a call and claims its request id.
pub(crate) async fn begin_write<R: Message + Default>(
    pool: &Pool,
    call: &Call,
    message: &impl Message,
) -> Result<Write<R>, Refusal> {
    let mut transaction = pool.begin().named("begin").await?;
    match claim(&mut transaction, call, message).await? {
        Claim::New => Ok(Write::New(transaction)),
        Claim::Answered(reply) => Ok(Write::Answered(R::decode(reply).map_err(Refusal::internal)?)),
    }
}

/// Keeps the reply and commits.
pub(crate) async fn finish_write<R: Message>(
    mut transaction: Transaction,
    call: &Call,
    reply: R,
) -> Result<R, Refusal> {
    record(&mut transaction, call, &reply).await?;
    transaction.commit().named("commit").await?;
    Ok(reply)
}
