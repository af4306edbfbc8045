//! Delivery prices (配送价) of a network company: what it asks for transport, in versions.

use chrono::NaiveDate;
use communal_proto::billing::v1::{DeliveryFeeType, DeliveryPriceType, LadderNumType};
use rust_decimal::Decimal;

use crate::vocabulary::lifetime::Lifetime;
use crate::vocabulary::tariff::{
    Dimensions, HeatBasis, Ladder, Period, PropertyBasis, Season, Tier, TierLimits, TimeOfUse, Utility, YesNo, or,
};

pub mod rpc;
pub mod rules;
pub mod store;

/// The name of a price, whose versions follow each other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// Account item.
    pub account_item: String,
    /// Utility.
    pub utility: Utility,
    /// For guaranteed or for market packages.
    pub kind: DeliveryPriceType,
    /// Delivery grade; an opaque code.
    pub delivery_grade: String,
    /// Power range; an opaque code, empty if the price is for every power.
    pub power_range: String,
    /// Number of periods of the day that are priced apart.
    pub time_of_use: TimeOfUse,
    /// Period of the day.
    pub period: Period,
    /// Kind of the ladder.
    pub ladder: Ladder,
    /// Number of its tiers; one without a ladder.
    pub tiers: LadderNumType,
    /// Tier.
    pub tier: Tier,
    /// Season; unspecified if the price is for every season.
    pub season: Season,
}

impl Key {
    /// What the prices of one tariff share.
    #[must_use]
    pub fn tariff(&self) -> (&str, Utility, DeliveryPriceType, &str, &str) {
        (&self.account_item, self.utility, self.kind, &self.delivery_grade, &self.power_range)
    }

    /// Its dimensions in the matrix of its tariff.
    #[must_use]
    pub fn dimensions(&self) -> Dimensions {
        Dimensions {
            account_item: self.account_item.clone(),
            agreement_price: YesNo::No,
            season: or(self.season, Season::Flat),
            heat_basis: HeatBasis::None,
            property_basis: PropertyBasis::Unspecified,
            time_of_use: self.time_of_use,
            period: self.period,
            ladder: self.ladder,
            tier: self.tier,
        }
    }
}

/// A version of a price.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The price.
    pub key: Key,
    /// Unit price, at its scale.
    pub price: Decimal,
    /// Unit of the price.
    pub unit: String,
    /// The quantities that its tier covers.
    pub limits: TierLimits,
    /// The share of energy lost in the lines; stored and shown.
    pub loss_rate: Option<Decimal>,
    /// Single-part or two-part; stored and shown.
    pub fee_kind: DeliveryFeeType,
    /// Yes if the price was agreed; stored and shown.
    pub agreement_price: YesNo,
    /// First day in force.
    pub start: NaiveDate,
    /// First day no longer in force.
    pub stop: Option<NaiveDate>,
}

impl Version {
    /// The days in force.
    #[must_use]
    pub fn days(&self) -> Lifetime {
        Lifetime { start: Some(self.start), stop: self.stop }
    }
}
