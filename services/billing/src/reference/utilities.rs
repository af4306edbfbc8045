//! Data that only some utilities have.

use communal_proto::contract::v1::FaultKind;
use communal_proto::{Checker, Fault, FieldPath};

use crate::vocabulary::tariff::Utility;

/// Objects to a utility that has no such data. One that was not given is the field rules' business.
pub(super) fn require_one_of(utilities: &[Utility], given: Utility, field: FieldPath, checker: &mut Checker) {
    if given != Utility::Unspecified && !utilities.contains(&given) {
        let fault = Fault::rule(field, "has no such data", "服务类型不在规定的代码范围内");
        checker.push(Fault { kind: FaultKind::Code, ..fault });
    }
}
