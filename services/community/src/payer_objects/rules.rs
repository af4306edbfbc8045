//! The rules of payer objects. Pure.

use communal_kit::refusal::Refusal;
use communal_proto::Fault;

use crate::reasons;
use crate::vocabulary::periods::{ChargedPeriod, Names};

/// The types of the payer objects of charged periods, in their order.
///
/// # Errors
/// Returns `PAYER_OBJECT_NOT_FOUND` if the community does not have one of them; each row with
/// such an object is named.
pub fn known(types: Vec<Option<String>>, periods: &[ChargedPeriod], names: Names) -> Result<Vec<String>, Refusal> {
    let unknown: Vec<Fault> = types
        .iter()
        .zip(periods)
        .enumerate()
        .filter(|(_, (payer_type, _))| payer_type.is_none())
        .map(|(index, (_, period))| {
            let field = format!("{}[{index}].payerObjId", names.rows);
            let text = format!("付费对象{}不存在", period.payer_obj_id);
            Fault::rule(field, "is no payer object of the community", text)
        })
        .collect();
    if unknown.is_empty() {
        Ok(types.into_iter().flatten().collect())
    } else {
        Err(reasons::payer_objects_not_found(unknown))
    }
}
