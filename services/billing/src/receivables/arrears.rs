//! The visibility of arrears.
//!
//! The filter follows the document's text, "1-保底价只查用本公司电，3-市场价只查未用本公司电":
//! guaranteed price, only customers who use *this company's* energy; market price, only those who do
//! *not*. The text is written for a network company that reads its books, where customers of other
//! retailers have their meters too. A retail company finds its own market-price arrears without the
//! filter.

use communal_proto::billing::v1::fields::{arrears_filter, query_user_arrearages_request};
use communal_proto::billing::v1::{ArrearsFilter, ChargePackType};
use communal_proto::contract::v1::FaultKind;
use communal_proto::{Coded, Fault};

/// The arrears that a caller asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Only this store of the retail company.
    pub retail_store_id: Option<String>,
    /// Only this book.
    pub book_id: Option<String>,
    /// Only this kind of package, as the document means it.
    pub kind: Option<Kind>,
}

/// The kinds of package that a caller can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Guaranteed price, of customers who use the caller's energy.
    Guaranteed,
    /// Market price, of customers who do not use the caller's energy.
    Market,
}

impl Kind {
    /// The kind in the contract.
    #[must_use]
    pub fn of_package(self) -> ChargePackType {
        match self {
            Self::Guaranteed => ChargePackType::Guaranteed,
            Self::Market => ChargePackType::Market,
        }
    }

    /// Returns true if the customers use the caller's energy, so that the caller is their retail company.
    #[must_use]
    pub fn is_own(self) -> bool {
        self == Self::Guaranteed
    }
}

/// The fields of a line that decide who sees it.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Network company.
    pub network_company_id: &'a str,
    /// Retail company.
    pub retail_company_id: &'a str,
    /// Store of the retail company.
    pub retail_store_id: &'a str,
    /// Book.
    pub book_id: &'a str,
    /// Kind of package.
    pub package_kind: ChargePackType,
}

impl Wanted {
    /// Reads a filter. A field that is left out does not narrow the answer.
    ///
    /// # Errors
    /// Returns a fault if the kind is "low income": the document offers only 1 and 3.
    pub fn read(filter: &ArrearsFilter) -> Result<Self, Fault> {
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let kind = match filter.package_kind() {
            ChargePackType::Unspecified => None,
            ChargePackType::Guaranteed => Some(Kind::Guaranteed),
            ChargePackType::Market => Some(Kind::Market),
            kind @ ChargePackType::LowIncome => {
                return Err(Fault {
                    field: query_user_arrearages_request::FILTER.then(arrears_filter::PACKAGE_KIND),
                    kind: FaultKind::Code,
                    description: format!("is {}, but arrears can be asked for kinds 1 and 3 only", kind.code()),
                    text: "套餐类型只能为1（保底价）或3（市场价）".into(),
                });
            }
        };
        Ok(Self { retail_store_id: given(&filter.retail_store_id), book_id: given(&filter.book_id), kind })
    }

    /// Returns true if the caller sees a line that is outstanding. The statement says the same in SQL; a
    /// test compares the two.
    #[must_use]
    pub fn sees(&self, caller: &str, line: Seen<'_>) -> bool {
        let own = line.retail_company_id == caller;
        let visible = own || line.network_company_id == caller;
        let of_kind = self.kind.is_none_or(|kind| line.package_kind == kind.of_package() && own == kind.is_own());
        visible
            && of_kind
            && self.retail_store_id.as_deref().is_none_or(|id| id == line.retail_store_id)
            && self.book_id.as_deref().is_none_or(|id| id == line.book_id)
    }
}
