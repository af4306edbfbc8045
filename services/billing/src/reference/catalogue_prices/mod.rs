//! Prices of the catalogue (分类项目单价): the main, attached and basic-fee prices of a network company, in versions.
//!
//! [`row`] reads the rows of requests, [`change`] plans what they do to the versions; both are pure.

pub mod change;
pub mod row;
pub mod rpc;
pub mod store;

use communal_proto::billing::v1::{BasicFeesType, LadderNumType, PurchaseSaleType};
use rust_decimal::Decimal;

use crate::vocabulary::lifetime::Lifetime;
use crate::vocabulary::tariff::{
    Dimensions, HeatBasis, Ladder, Period, PropertyBasis, Season, Shape, Tier, TierLimits, TimeOfUse, Utility, YesNo,
};

/// A part of the catalogue. A request concerns one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Main prices of energy: a matrix by season, period and tier.
    Main,
    /// Surcharges on the whole quantity.
    Attached,
    /// Basic fees by capacity or demand.
    BasicFee,
}

impl Part {
    /// The part as it stands in a column.
    #[must_use]
    pub fn stored(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Attached => "attached",
            Self::BasicFee => "basic_fee",
        }
    }
}

/// The codes by which a tariff is found: a package is priced by the rows that equal it in all of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tariff {
    /// Account item.
    pub account_item: String,
    /// Utility.
    pub utility: Utility,
    /// Direct supply, purchase or wholesale.
    pub supply_kind: PurchaseSaleType,
    /// Retail level; an opaque code.
    pub retail_grade: String,
    /// Grade of the property service; an opaque code.
    pub property_grade: String,
    /// Basis of the heat charge: area or metered heat, each a tariff of its own.
    pub heat_basis: HeatBasis,
    /// Basis of the property charge.
    pub property_basis: PropertyBasis,
    /// Kind of the basic fee.
    pub basic_fee_kind: BasicFeesType,
    /// Yes if priced by season.
    pub seasonal: YesNo,
    /// Number of periods of the day that are priced apart.
    pub time_of_use: TimeOfUse,
    /// Kind of the ladder.
    pub ladder: Ladder,
    /// Number of its tiers; one without a ladder.
    pub tiers: LadderNumType,
}

impl Tariff {
    /// A tariff whose codes are neutral.
    #[must_use]
    pub fn plain(account_item: &str, utility: Utility, supply_kind: PurchaseSaleType) -> Self {
        Self {
            account_item: account_item.to_owned(),
            utility,
            supply_kind,
            retail_grade: String::new(),
            property_grade: String::new(),
            heat_basis: HeatBasis::None,
            property_basis: PropertyBasis::Unspecified,
            basic_fee_kind: BasicFeesType::None,
            seasonal: YesNo::No,
            time_of_use: TimeOfUse::One,
            ladder: Ladder::None,
            tiers: LadderNumType::One,
        }
    }

    /// The tariff of one heat basis: that of an area has no time of use and no ladder.
    #[must_use]
    pub fn part(&self, heat_basis: HeatBasis) -> Self {
        let part = Self { heat_basis, ..self.clone() };
        match heat_basis {
            HeatBasis::Area => {
                Self { time_of_use: TimeOfUse::One, ladder: Ladder::None, tiers: LadderNumType::One, ..part }
            }
            _ => part,
        }
    }

    /// The tariff of its basic fee.
    #[must_use]
    pub fn basic_fee(&self) -> Self {
        let plain = Self::plain(&self.account_item, self.utility, self.supply_kind);
        Self { basic_fee_kind: self.basic_fee_kind, ..plain }
    }

    /// The matrix of its prices.
    #[must_use]
    pub fn shape(&self) -> Shape {
        Shape {
            account_item: self.account_item.clone(),
            utility: self.utility,
            agreement_price: YesNo::No,
            seasonal: self.seasonal == YesNo::Yes,
            heat_basis: self.heat_basis,
            property_basis: self.property_basis,
            time_of_use: self.time_of_use,
            ladder: self.ladder,
            tiers: self.tiers.into(),
        }
    }
}

/// The name of a price row, whose versions follow each other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// Tariff.
    pub tariff: Tariff,
    /// Season; flat without seasons.
    pub season: Season,
    /// Period of the day.
    pub period: Period,
    /// Tier.
    pub tier: Tier,
    /// The main item and the surcharge of an attached price.
    pub attached: Option<(i64, i64)>,
}

impl Key {
    /// The row of a tariff that is no matrix.
    #[must_use]
    pub fn single(tariff: Tariff, attached: Option<(i64, i64)>) -> Self {
        Self { tariff, season: Season::Flat, period: Period::Whole, tier: Tier::First, attached }
    }

    /// Its dimensions in the matrix of its tariff.
    #[must_use]
    pub fn dimensions(&self) -> Dimensions {
        self.tariff.shape().dimensions(self.season, self.period, self.tier)
    }
}

/// The values of a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionValues {
    /// Unit price, at its scale.
    pub price: Decimal,
    /// Unit of the price.
    pub unit: String,
    /// The quantities that its tier covers.
    pub limits: TierLimits,
}

/// A version of a price row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Its number in the storage; `None` before it is there.
    pub price_id: Option<i64>,
    /// The row.
    pub key: Key,
    /// The category item on which it is booked; of an attached price, the item that it is attached to.
    pub main_item: i64,
    /// Its price, unit and limits.
    pub values: VersionValues,
    /// The days in force; it always has a first one.
    pub span: Lifetime,
    /// True once a bill has used it.
    pub billed: bool,
}
