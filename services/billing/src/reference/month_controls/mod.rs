//! Month controls: the account months (出账月份控制) and the settle months (结账月份控制) of a store and utility, each with
//! the days on which it is open.

use communal_proto::FieldName;
use communal_proto::billing::v1::fields::{
    add_expend_month_control_request, add_settle_month_control_request, month_control, settle_month_control,
};

use crate::vocabulary::identifiers::{CompanyId, StoreId};
use crate::vocabulary::tariff::Utility;

pub mod rpc;
pub mod rules;
pub mod store;

/// The two kinds of month.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Account months, which bills belong to.
    Account,
    /// Settle months, in which lines are closed.
    Settle,
}

impl Kind {
    /// The kind in its column.
    #[must_use]
    pub fn stored(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Settle => "settle",
        }
    }

    /// The block of its requests.
    #[must_use]
    pub fn block(self) -> FieldName {
        match self {
            Self::Account => add_expend_month_control_request::MONTH,
            Self::Settle => add_settle_month_control_request::MONTH,
        }
    }

    /// The field of its month.
    #[must_use]
    pub fn month(self) -> FieldName {
        match self {
            Self::Account => month_control::ACCOUNT_MONTH,
            Self::Settle => settle_month_control::SETTLED_MONTH,
        }
    }
}

/// The months of one kind of a store and utility: they follow each other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Series {
    /// Kind.
    pub kind: Kind,
    /// The network company.
    pub network_company_id: CompanyId,
    /// Its store.
    pub network_store_id: StoreId,
    /// Utility.
    pub utility: Utility,
}

impl Series {
    /// The series that a request names.
    #[must_use]
    pub fn of(kind: Kind, network_company_id: &str, network_store_id: &str, utility: Utility) -> Self {
        let (network_company_id, network_store_id) = (network_company_id.into(), network_store_id.into());
        Self { kind, network_company_id, network_store_id, utility }
    }
}
