//! Which arrears a caller sees.
//!
//! The filter follows the document's words, "1-保底价只查用本公司电，3-市场价只查未用本公司电":
//! guaranteed price, only those who use *this company's* energy; market price, only those who
//! do *not*. They are written for a network company that looks at its books, where customers
//! of other retailers have their meters too. A retail company finds its own market-price
//! arrears without the filter.

use communal_proto::billing::v1::{ArrearsFilter, ChargePackType};
use communal_proto::contract::v1::FaultKind;
use communal_proto::{Coded, Fault};

/// Which arrears are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Only this store of the retail company.
    pub retail_store_id: Option<String>,
    /// Only this book.
    pub book_id: Option<String>,
    /// Only this kind of package, as the document means it.
    pub kind: Option<Kind>,
}

/// Kinds of package that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Guaranteed price, of those who use the caller's energy.
    Guaranteed,
    /// Market price, of those who do not use the caller's energy.
    Market,
}

impl Kind {
    /// Its number in the contract, as it is stored.
    #[must_use]
    pub fn number(self) -> i16 {
        match self {
            Self::Guaranteed => 1,
            Self::Market => 3,
        }
    }
}

/// What of a line decides whether it is seen.
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
    /// Kind of package, as it is stored.
    pub package_kind: i16,
}

impl Wanted {
    /// Reads a filter; what is left out does not filter.
    ///
    /// # Errors
    /// The kind "low income" cannot be asked for: the document offers only 1 and 3.
    pub fn read(filter: &ArrearsFilter) -> Result<Self, Fault> {
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let kind = match filter.package_kind() {
            ChargePackType::Unspecified => None,
            ChargePackType::Guaranteed => Some(Kind::Guaranteed),
            ChargePackType::Market => Some(Kind::Market),
            kind @ ChargePackType::LowIncome => {
                return Err(Fault {
                    field: "ACC_VOLPRICE_OWE.CHARGE_PACK_TYPE".into(),
                    kind: FaultKind::Code,
                    description: format!("is {}, but arrears can be asked for kinds 1 and 3 only", kind.code()),
                    text: "套餐类型只能为1（保底价）或3（市场价）".into(),
                });
            }
        };
        Ok(Self { retail_store_id: given(&filter.retail_store_id), book_id: given(&filter.book_id), kind })
    }

    /// Whether a caller who asks sees a line that is outstanding. The storage asks the same in
    /// SQL; a test holds the two together.
    #[must_use]
    pub fn sees(&self, caller: &str, line: Seen<'_>) -> bool {
        let own = line.retail_company_id == caller;
        let visible = own || line.network_company_id == caller;
        let kind = match self.kind {
            None => true,
            Some(Kind::Guaranteed) => line.package_kind == Kind::Guaranteed.number() && own,
            Some(Kind::Market) => line.package_kind == Kind::Market.number() && !own,
        };
        visible
            && kind
            && self.retail_store_id.as_deref().is_none_or(|id| id == line.retail_store_id)
            && self.book_id.as_deref().is_none_or(|id| id == line.book_id)
    }
}
