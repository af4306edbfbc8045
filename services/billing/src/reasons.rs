//! Why billing refuses. The list is in the contract (`reasons.proto`); here each reason gets
//! its gRPC code, in one exhaustive match.

use communal_kit::refusal::Refusal;
pub use communal_proto::billing::v1::Reason;
use communal_proto::{Fault, FieldPath};

/// The words for a package that does not exist and for one of another company: a caller never learns
/// which it was.
pub const PACKAGE_NOT_FOUND: &str = "套餐不存在";

/// Refuses for a reason of billing.
pub fn refuse(reason: Reason, text: impl Into<String>) -> Refusal {
    Refusal::new(reason, text)
}

/// Refuses a package that the caller does not have.
#[must_use]
pub fn package_not_found(field: impl Into<FieldPath>) -> Refusal {
    refuse(Reason::PackageNotFound, PACKAGE_NOT_FOUND).fault(Fault::rule(
        field,
        "is no package of the calling company",
        PACKAGE_NOT_FOUND,
    ))
}
