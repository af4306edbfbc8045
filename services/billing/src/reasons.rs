//! Why billing refuses. The list is in the contract (`reasons.proto`); here each reason gets
//! its gRPC code, in one exhaustive match.

use communal_kit::refusal::{Reason as RefusalReason, Refusal};
pub use communal_proto::billing::v1::Reason;
use communal_proto::contract::v1::Reason as Common;
use communal_proto::{Fault, FieldPath};
use tonic::Code;

use crate::packages::NOT_FOUND;
use crate::prices::{Grounds, Objection};

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

/// Refuses for price rows: the first one gives the reason, all are named.
#[must_use]
pub fn refuse_rows(objections: Vec<Objection>) -> Refusal {
    let refusal = match objections.first().map(|o| o.grounds) {
        Some(Grounds::UnknownPackage) => refuse(Reason::PackageNotFound, NOT_FOUND),
        Some(Grounds::PackageState) => refuse(Reason::PackageState, "套餐当前状态不允许此操作"),
        Some(Grounds::Exists) => refuse(Reason::PriceExists, "价格已存在"),
        Some(Grounds::Unknown) => refuse(Reason::PriceNotFound, "价格不存在"),
        Some(Grounds::Incomplete) => refuse(Reason::PricesIncomplete, "价格不完整"),
        Some(Grounds::Field) | None => Refusal::new(Common::FieldMalformed, "价格不符合套餐"),
    };
    refusal.faults(objections.into_iter().map(|o| o.fault).collect())
}

/// Refuses a package that the caller does not have.
#[must_use]
pub fn package_not_found(field: impl Into<FieldPath>) -> Refusal {
    refuse(Reason::PackageNotFound, NOT_FOUND).fault(Fault::rule(
        field,
        "is no package of the calling company",
        NOT_FOUND,
    ))
}
