//! The rules of payer objects: which of them may be charged.

use communal_kit::database::stored::Stored;
use communal_kit::refusal::Refusal;
use communal_proto::Fault;
use communal_proto::community::v1::{PayerObjectType, Reason};

use crate::vocabulary::spans::{ChargedSpan, RowFields};

/// Returns the types of the payer objects of charged spans, in their order.
///
/// # Errors
/// Returns `PAYER_OBJECT_NOT_FOUND` if the community does not have one of them. Each row with
/// such an object is named.
pub fn known(
    types: Vec<Option<Stored<PayerObjectType>>>,
    spans: &[ChargedSpan],
    fields: RowFields,
) -> Result<Vec<Stored<PayerObjectType>>, Refusal> {
    let mut unknown = Vec::new();
    for (index, (_, span)) in types.iter().zip(spans).enumerate().filter(|(_, (object_type, _))| object_type.is_none())
    {
        let text = format!("付费对象{}不存在", span.payer_obj_id);
        let field = fields.at(index, fields.payer_obj_id);
        unknown.push(Fault::rule(field, "is no payer object of the community", text));
    }
    match unknown.first() {
        None => Ok(types.into_iter().flatten().collect()),
        Some(first) => Err(Refusal::new(Reason::PayerObjectNotFound, first.text.clone()).faults(unknown)),
    }
}
