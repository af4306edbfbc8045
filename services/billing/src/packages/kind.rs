//! The two kinds of package, and all in which they differ. Everything else (draft, life cycle, matrix, store) is one.
//!
//! |                  | retail package (零售套餐)       | guaranteed package (保底套餐)            |
//! | ---------------- | ------------------------------- | ---------------------------------------- |
//! | company          | a retail company                | the network company itself               |
//! | documented kinds | 3 market                        | 1 guaranteed, 2 low-income               |
//! | stores           | one, which sells it             | those of the network company that offer it |
//! | prices           | rows of its own (`prices/`)     | the catalogue's (`catalogue_prices`)     |
//! | prices are whole | when it is submitted            | on the day of submission or planned start, and on the first day of sale |
//! | account item     | registered by the network company for the utility, when it is submitted and put on sale | the same |
//! | basic fee        | the network company's catalogue, looked up by each bill | the catalogue's, whole with the other prices |
//! | methods          | `PackageService`, one a call    | `GuaranteedPackageService`, many a call  |
//!
//! The catalogue that prices a retail package's basic fee belongs to another company, which may open or close a price on any
//! day. So its sale does not wait for that price: a bill without it is refused.

use communal_proto::billing::v1::ChargePackType;

/// A kind of package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackageKind {
    /// A retail company's.
    Retail,
    /// The network company's own.
    Guaranteed,
}

/// The source of a package's prices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PriceSource {
    /// Price rows of the package. They do not change once it is submitted, but by a new version.
    OwnRows,
    /// The catalogue of the network company, whose prices come and go by themselves.
    Catalogue,
}

impl PackageKind {
    /// The documented kinds.
    #[must_use]
    pub fn codes(self) -> &'static [ChargePackType] {
        match self {
            Self::Retail => &[ChargePackType::Market],
            Self::Guaranteed => &[ChargePackType::Guaranteed, ChargePackType::LowIncome],
        }
    }

    /// Returns true if a package of a documented kind is of this kind.
    #[must_use]
    pub fn includes(self, code: ChargePackType) -> bool {
        self.codes().contains(&code)
    }

    /// The source of its prices.
    #[must_use]
    pub fn prices(self) -> PriceSource {
        match self {
            Self::Retail => PriceSource::OwnRows,
            Self::Guaranteed => PriceSource::Catalogue,
        }
    }
}
