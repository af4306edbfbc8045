//! Objections to rows of a request, where the database knows which rows they are. Pure.

use communal_kit::objections::Objections;
use communal_proto::billing::v1::Reason;
use communal_proto::{Fault, FieldName, Reason as _};

/// Objects to rows of a block, by their places from 0, for one reason that lies in one field.
#[must_use]
pub fn at_rows(reason: Reason, places: &[i64], block: FieldName, field: FieldName, english: &str) -> Objections {
    let mut objections = Objections::default();
    for place in places.iter().filter_map(|place| usize::try_from(*place).ok()) {
        objections.push(reason, Fault::rule(block.at(place).then(field), english, reason.text()));
    }
    objections
}
