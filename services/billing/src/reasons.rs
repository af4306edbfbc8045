//! Refusals that several nouns share. The reasons themselves are declared in the contract
//! (`reasons.proto`).

use communal_kit::refusal::Refusal;
use communal_proto::billing::v1::Reason;
use communal_proto::{Fault, FieldPath, Reason as _};

/// Returns the fault of a field that names a package which the tenant does not have. It is the same for
/// a package of another company, so that a caller cannot learn which packages others have.
#[must_use]
pub fn unknown_package(field: impl Into<FieldPath>) -> Fault {
    Fault::rule(field, "is no package of the calling company", Reason::PackageNotFound.text())
}

/// Returns the refusal of a package that the tenant does not have.
#[must_use]
pub fn package_not_found(field: impl Into<FieldPath>) -> Refusal {
    Refusal::of(Reason::PackageNotFound).fault(unknown_package(field))
}
