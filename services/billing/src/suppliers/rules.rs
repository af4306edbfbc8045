//! The rules of stores and nodes. Pure.

use communal_kit::objections::Objections;
use communal_proto::billing::v1::Reason;
use communal_proto::{Fault, FieldName};

/// An identifier of a request that another company has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elsewhere {
    /// The place of the identifier in the request, from 0.
    pub place: i64,
    /// The company that has it.
    pub company_id: String,
}

/// Objects to rows of a block whose identifier another company has. The company is not named: it is nothing to the caller.
#[must_use]
pub fn elsewhere(found: &[Elsewhere], block: FieldName, field: FieldName) -> Objections {
    let mut objections = Objections::default();
    for row in found.iter().filter_map(|of| usize::try_from(of.place).ok()) {
        let fault = Fault::rule(block.at(row).then(field), "is of another company", "编号已属于其他公司");
        objections.push(Reason::IdentifierTaken, fault);
    }
    objections
}
