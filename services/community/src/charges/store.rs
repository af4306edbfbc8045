//! The item and the payer objects of new fees and bill rules, in the database.

use chrono::NaiveDateTime;
use communal_kit::call::Call;
use communal_kit::database::Statement as _;
use communal_kit::refusal::Refusal;
use communal_proto::Fault;
use sqlx::PgConnection;

use super::{Charge, Names, beyond};
use crate::reasons;

/// An item locked against change.
#[derive(Debug)]
pub struct LockedItem {
    /// How often it was stopped so far.
    pub closures: i32,
    stopped: bool,
    end_time: NaiveDateTime,
}

impl LockedItem {
    /// Whether these rows may be charged by the item.
    ///
    /// # Errors
    /// `FEE_ITEM_STOPPED`; faults of rows that start after its end.
    pub fn admit(&self, charges: &[Charge], names: Names) -> Result<(), Refusal> {
        if self.stopped {
            return Err(reasons::item_is_stopped());
        }
        let faults = beyond(charges, self.end_time, names);
        if faults.is_empty() { Ok(()) } else { Err(Refusal::for_faults(faults)) }
    }
}

/// Locks a live item in share mode: others may create by it at the same time, and nobody can
/// stop, change or delete it before this transaction ends.
///
/// # Errors
/// Storage faults.
pub async fn lock_item(
    connection: &mut PgConnection,
    call: &Call,
    config_id: &str,
) -> Result<Option<LockedItem>, Refusal> {
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

/// The types of the charged objects, in the order of the rows.
///
/// # Errors
/// `PAYER_OBJECT_NOT_FOUND`, naming every row whose object the community does not have.
pub async fn payer_types(
    connection: &mut PgConnection,
    call: &Call,
    charges: &[Charge],
    names: Names,
) -> Result<Vec<String>, Refusal> {
    let ids: Vec<&str> = charges.iter().map(|c| c.payer_obj_id.as_str()).collect();
    let found = sqlx::query_scalar!(
        r#"SELECT o.payer_obj_type AS "payer_obj_type?"
           FROM unnest($2::text[]) WITH ORDINALITY AS asked (payer_obj_id, place)
           LEFT JOIN payer_object o ON o.community_id = $1 AND o.payer_obj_id = asked.payer_obj_id
           ORDER BY place"#,
        call.tenant.id,
        &ids as &[&str],
    )
    .fetch_all(connection)
    .named("payer_object_types")
    .await?;
    let unknown: Vec<Fault> = found
        .iter()
        .enumerate()
        .zip(&ids)
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
