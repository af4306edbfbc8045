//! The rules of payer objects. Pure.

use std::collections::HashSet;

use communal_kit::refusal::Refusal;
use communal_proto::community::v1::PayerObject;
use communal_proto::{Checker, Fault};

use crate::reasons;
use crate::vocabulary::periods::{ChargedPeriod, Names};

/// The same object twice in one request says two things of it at once; each later row is
/// named.
pub fn check_repeats(objects: &[PayerObject], checker: &mut Checker) {
    let mut seen = HashSet::new();
    for (index, object) in objects.iter().enumerate() {
        if !object.payer_obj_id.is_empty() && !seen.insert(object.payer_obj_id.as_str()) {
            let field = format!("payerObjects[{index}].payerObjId");
            checker.push(Fault::rule(field, "is in the request more than once", "付费对象ID在请求中重复"));
        }
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_repeat_is_named() {
        let object = |id: &str| PayerObject { payer_obj_id: id.into(), ..PayerObject::default() };
        let mut checker = Checker::default();
        check_repeats(&[object("a"), object("b"), object("a"), object(""), object(""), object("b")], &mut checker);
        let fields: Vec<_> = checker.into_faults().into_iter().map(|f| f.field).collect();
        assert_eq!(fields, ["payerObjects[2].payerObjId", "payerObjects[5].payerObjId"]);
    }
}
