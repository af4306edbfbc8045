//! What creating fees and creating bill rules have in common, in the database: the locked
//! item, the request id, the payer objects.

use bytes::Bytes;
use chrono::NaiveDateTime;
use communal_kit::call::Call;
use communal_kit::database::Statement as _;
use communal_kit::idempotency::{self, Claim};
use communal_kit::refusal::Refusal;
use communal_proto::Fault;
use prost::Message;
use sqlx::PgConnection;

use super::{Charge, Names, beyond};
use crate::reasons;

/// What became of a request to create.
#[derive(Debug)]
pub enum Admission {
    /// It was carried out before and answered so.
    Answered(Bytes),
    /// Its rows may be written; the item is locked until the transaction ends.
    New(Columns),
}

/// The rows to write, by column.
#[derive(Debug)]
pub struct Columns {
    /// How often the item was stopped so far.
    pub epoch: i32,
    /// What is charged.
    pub objects: Vec<String>,
    /// Codes of what that is.
    pub types: Vec<String>,
    /// Start of each row.
    pub starts: Vec<NaiveDateTime>,
    /// Stop of each row.
    pub stops: Vec<Option<NaiveDateTime>>,
}

/// Locks the item, claims the request id, and finds out whether the rows may be charged.
/// Locks: the item (share), then the request id.
///
/// # Errors
/// `FEE_ITEM_NOT_FOUND`, `FEE_ITEM_STOPPED`, `PAYER_OBJECT_NOT_FOUND`, `REQUEST_ID_REUSED`;
/// faults of rows that start after the item's end.
pub async fn admit(
    connection: &mut PgConnection,
    call: &Call,
    request: &impl Message,
    config_id: &str,
    charges: &[Charge],
    names: Names,
) -> Result<Admission, Refusal> {
    let item = lock_item(connection, call, config_id).await?;
    // Before anything about the item is judged: it may have changed since the answer.
    if let Claim::Answered(reply) = idempotency::claim(connection, call, request).await? {
        return Ok(Admission::Answered(reply));
    }
    let item = item.ok_or_else(reasons::item_not_found)?;
    if item.stopped {
        return Err(reasons::item_is_stopped());
    }
    let faults = beyond(charges, item.end_time, names);
    if !faults.is_empty() {
        return Err(Refusal::for_faults(faults));
    }
    let objects: Vec<String> = charges.iter().map(|c| c.payer_obj_id.clone()).collect();
    let types = payer_types(connection, call, &objects, names).await?;
    let starts = charges.iter().map(|c| c.start).collect();
    let stops = charges.iter().map(|c| c.stop).collect();
    Ok(Admission::New(Columns { epoch: item.closures, objects, types, starts, stops }))
}

/// An item locked against change.
struct LockedItem {
    closures: i32,
    stopped: bool,
    end_time: NaiveDateTime,
}

/// Locks a live item in share mode: others may create by it at the same time, and nobody can
/// stop, change or delete it before this transaction ends.
async fn lock_item(connection: &mut PgConnection, call: &Call, config_id: &str) -> Result<Option<LockedItem>, Refusal> {
    let item = sqlx::query_as!(
        LockedItem,
        "SELECT closures, stopped, end_time FROM pay_fee_config
         WHERE community_id = $1 AND config_id = $2 AND deleted_at IS NULL FOR SHARE",
        call.tenant.id,
        config_id,
    )
    .fetch_optional(connection)
    .named("fee_item_share_lock")
    .await?;
    Ok(item)
}

/// The types of the charged objects, in the order of the rows; every row whose object the
/// community does not have is named.
async fn payer_types(
    connection: &mut PgConnection,
    call: &Call,
    ids: &[String],
    names: Names,
) -> Result<Vec<String>, Refusal> {
    let found = sqlx::query_scalar!(
        r#"SELECT o.payer_obj_type AS "payer_obj_type?"
           FROM unnest($2::text[]) WITH ORDINALITY AS asked (payer_obj_id, place)
           LEFT JOIN payer_object o ON o.community_id = $1 AND o.payer_obj_id = asked.payer_obj_id
           ORDER BY place"#,
        call.tenant.id,
        ids,
    )
    .fetch_all(connection)
    .named("payer_object_types")
    .await?;
    let unknown: Vec<Fault> = found
        .iter()
        .enumerate()
        .zip(ids)
        .filter(|((_, payer_type), _)| payer_type.is_none())
        .map(|((index, _), id)| {
            let field = format!("{}[{index}].payerObjId", names.rows);
            Fault::rule(field, "is no payer object of the community", format!("付费对象{id}不存在"))
        })
        .collect();
    if unknown.is_empty() {
        Ok(found.into_iter().flatten().collect())
    } else {
        Err(reasons::payer_objects_not_found(unknown))
    }
}
