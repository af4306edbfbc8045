//! Suppliers (商户): network and retail companies and their stores. The company itself is a
//! tenant, which the kit keeps; here are the stores.

pub mod rpc;
pub mod store;

use communal_kit::call::Call;
use communal_kit::identity::TenantKind;
use communal_kit::refusal::Refusal;

use crate::reasons::{Reason, refuse};

/// Packages and their prices are written by retail companies alone.
///
/// # Errors
/// `NOT_A_RETAIL_COMPANY`.
pub fn require_retail_company(call: &Call) -> Result<(), Refusal> {
    if call.tenant.kind == TenantKind::RetailCompany {
        Ok(())
    } else {
        Err(refuse(Reason::NotARetailCompany, "仅销售公司可以维护零售套餐"))
    }
}
