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

/// Returns the refusal of a store that the company does not have.
#[must_use]
pub fn store_not_found(field: impl Into<FieldPath>) -> Refusal {
    let fault = Fault::rule(field, "is no store of the company", "营业网点不存在");
    Refusal::of(Reason::SupplierNotFound).fault(fault)
}

/// Returns the refusal of an identifier that another utility or kind has.
#[must_use]
pub fn identifier_taken(field: impl Into<FieldPath>) -> Refusal {
    let reason = Reason::IdentifierTaken;
    Refusal::of(reason).fault(Fault::rule(field, "is taken by another utility or kind", reason.text()))
}

/// Returns the refusal of a category item that the company's catalogue does not have.
#[must_use]
pub fn category_item_not_found(field: impl Into<FieldPath>) -> Refusal {
    let reason = Reason::CategoryItemNotFound;
    Refusal::of(reason).fault(Fault::rule(field, "is no such category item of the company", reason.text()))
}

/// Returns the fault of a record of reference data that exists.
#[must_use]
pub fn existing_record(field: impl Into<FieldPath>) -> Fault {
    Fault::rule(field, "exists", Reason::RecordExists.text())
}

/// Returns the refusal of a record of reference data that exists.
#[must_use]
pub fn record_exists(field: impl Into<FieldPath>) -> Refusal {
    Refusal::of(Reason::RecordExists).fault(existing_record(field))
}

/// Returns the refusal of a record of reference data that the company does not have.
#[must_use]
pub fn record_not_found(field: impl Into<FieldPath>) -> Refusal {
    let reason = Reason::RecordNotFound;
    Refusal::of(reason).fault(Fault::rule(field, "is no record of the calling company", reason.text()))
}
