//! Why billing refuses. The list is in the contract (`reasons.proto`); here each reason gets
//! its gRPC code, in one exhaustive match.

use communal_kit::refusal::{Reason as RefusalReason, Refusal};
pub use communal_proto::billing::v1::Reason;
use communal_proto::{Fault, FieldPath};
use tonic::Code;

/// The words for a package that does not exist and for one of another company: a caller never learns
/// which it was.
pub const PACKAGE_NOT_FOUND: &str = "套餐不存在";

/// A reason of the contract as the kit refuses with it.
#[derive(Clone, Copy, Debug)]
struct Listed(Reason);

impl RefusalReason for Listed {
    fn name(self) -> &'static str {
        self.0.as_str_name().trim_start_matches("REASON_")
    }

    fn domain(self) -> &'static str {
        "billing.communal"
    }

    fn code(self) -> Code {
        match self.0 {
            Reason::PackageNotFound | Reason::PriceNotFound | Reason::SupplierNotFound => Code::NotFound,
            Reason::PackageState | Reason::PricesIncomplete | Reason::BatchReused => Code::FailedPrecondition,
            Reason::PackageNameTaken | Reason::PriceExists | Reason::LineExists => Code::AlreadyExists,
            Reason::NotARetailCompany => Code::PermissionDenied,
            Reason::Unspecified => Code::Internal,
        }
    }
}

/// Refuses for a reason of billing.
pub fn refuse(reason: Reason, text: impl Into<String>) -> Refusal {
    Refusal::new(Listed(reason), text)
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
