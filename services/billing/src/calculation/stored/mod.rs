//! A calculation as it is kept: the lines with the rule behind each, and every figure beside them that charge-off, queries and
//! explanations need. Pure. `of_bill.rs` makes it of a bill, and a bill of it.
//!
//! The stored form follows the same rules as the snapshot of a point: a tag keeps its meaning for good, decimals are whole
//! numbers of their last digit. A code that is not known any more is an error and no default.

use chrono::NaiveDate;
use communal_kit::money::CENTS;
use communal_proto::billing::v1::{
    AbundanceType, CalcFeeType, ChargeRuleType, ForRateValidType, LadderLevelType, TimeSharingType,
};
use rust_decimal::Decimal;

use crate::metering::points::snapshot::decimals;
use crate::vocabulary::quantity::{QUANTITY_SCALE, UNIT_PRICE_SCALE};

mod of_bill;

/// What a calculation used besides what the bill itself says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The day of the calculation, and the time HHmmss.
    pub calculated: (NaiveDate, i32),
    /// The day whose prices are in force.
    pub priced_on: NaiveDate,
    /// True if the temporary package priced it.
    pub temporary: bool,
    /// The months in which the temporary package priced the account before.
    pub temporary_months_used: i32,
    /// The version of the accumulators that it began with.
    pub accumulator_version: i64,
}

/// A calculation that cannot be read: a code or a figure in it is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the calculation has no known {0}")]
pub struct Unreadable(&'static str);

/// A calculation. Days are numbers yyyyMMdd, 0 for none.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Calculation {
    /// The day of the calculation.
    #[prost(int32, tag = "1")]
    pub calculated_on: i32,
    /// Its time, HHmmss.
    #[prost(int32, tag = "2")]
    pub calculated_time: i32,
    /// The day whose prices are in force.
    #[prost(int32, tag = "3")]
    pub priced_on: i32,
    /// True if the temporary package priced it.
    #[prost(bool, tag = "4")]
    pub temporary: bool,
    /// The months in which the temporary package priced the account before.
    #[prost(int32, tag = "5")]
    pub temporary_months_used: i32,
    /// The version of the accumulators that it began with.
    #[prost(int64, tag = "6")]
    pub accumulator_version: i64,
    /// The accumulators that the bill began with: zero where the year or month was another.
    #[prost(message, optional, tag = "7")]
    pub before: Option<Accumulated>,
    /// The accumulators after its charge-off.
    #[prost(message, optional, tag = "8")]
    pub after: Option<Accumulated>,
    /// The fee kind that the customer owes.
    #[prost(enumeration = "CalcFeeType", tag = "9")]
    pub kind: i32,
    /// The sum of the lines of the customer's kind.
    #[prost(sint64, tag = "10")]
    pub total: i64,
    /// The sum of the lines of delivery.
    #[prost(sint64, tag = "11")]
    pub delivery_total: i64,
    /// The billed quantity of each register, by its code from 1.
    #[prost(sint64, repeated, tag = "12")]
    pub registers: Vec<i64>,
    /// Demand.
    #[prost(sint64, tag = "13")]
    pub demand: i64,
    /// Active quantity of the meter.
    #[prost(sint64, tag = "14")]
    pub active: i64,
    /// Fixed, apportioned and divided quantities together.
    #[prost(sint64, tag = "15")]
    pub additions: i64,
    /// The whole billed energy quantity.
    #[prost(sint64, tag = "16")]
    pub energy: i64,
    /// The power factor that was reached; none if none is required or it is not defined.
    #[prost(sint64, optional, tag = "17")]
    pub power_factor: Option<i64>,
    /// The total register less the sum of the periods, if that deserves a look.
    #[prost(sint64, optional, tag = "18")]
    pub total_register_gap: Option<i64>,
    /// True if active or reactive quantity is negative.
    #[prost(bool, tag = "19")]
    pub negative_power: bool,
    /// True if there is no delivery price for the quantity.
    #[prost(bool, tag = "20")]
    pub no_delivery_price: bool,
    /// The lines: those of the customer's kind, then those of delivery. A line number is a place in it, from 1.
    #[prost(message, repeated, tag = "21")]
    pub lines: Vec<CalculatedLine>,
}

decimals!(Calculation {
    /// The sum of the lines of the customer's kind.
    total: CENTS,
    /// The sum of the lines of delivery.
    delivery_total: CENTS,
    /// Demand.
    demand: QUANTITY_SCALE,
    /// Active quantity of the meter.
    active: QUANTITY_SCALE,
    /// Fixed, apportioned and divided quantities together.
    additions: QUANTITY_SCALE,
    /// The whole billed energy quantity.
    energy: QUANTITY_SCALE,
});

/// Accumulators.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Accumulated {
    /// The month, yyyyMM; its year is that of the year's quantity. 0 before the first bill.
    #[prost(int32, tag = "1")]
    pub month: i32,
    /// Quantity billed in the year.
    #[prost(sint64, tag = "2")]
    pub of_year: i64,
    /// Quantity billed in the month.
    #[prost(sint64, tag = "3")]
    pub of_month: i64,
}

decimals!(Accumulated {
    /// Quantity billed in the year.
    of_year: QUANTITY_SCALE,
    /// Quantity billed in the month.
    of_month: QUANTITY_SCALE,
});

/// A fee line.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CalculatedLine {
    /// Fee kind.
    #[prost(enumeration = "CalcFeeType", tag = "1")]
    pub kind: i32,
    /// Category item.
    #[prost(int64, tag = "2")]
    pub category_item: i64,
    /// Surcharge item.
    #[prost(int64, tag = "3")]
    pub surcharge_item: i64,
    /// Season.
    #[prost(enumeration = "AbundanceType", tag = "4")]
    pub season: i32,
    /// Period of the day.
    #[prost(enumeration = "TimeSharingType", tag = "5")]
    pub period: i32,
    /// Tier.
    #[prost(enumeration = "LadderLevelType", tag = "6")]
    pub tier: i32,
    /// First day of the price version.
    #[prost(int32, tag = "7")]
    pub start: i32,
    /// Number of the version of a price of the catalogue.
    #[prost(int64, optional, tag = "8")]
    pub version: Option<i64>,
    /// Quantity.
    #[prost(sint64, tag = "9")]
    pub quantity: i64,
    /// Unit price.
    #[prost(sint64, tag = "10")]
    pub price: i64,
    /// Fee.
    #[prost(sint64, tag = "11")]
    pub fee: i64,
    /// The rule that made the line.
    #[prost(oneof = "Figures", tags = "12, 13, 14, 15, 16, 17, 18, 19, 20, 21")]
    pub figures: Option<Figures>,
}

decimals!(CalculatedLine {
    /// Quantity.
    quantity: QUANTITY_SCALE,
    /// Unit price.
    price: UNIT_PRICE_SCALE,
    /// Fee.
    fee: CENTS,
});

/// A rule with its figures, as `rating::LineRule` has them.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Figures {
    /// Energy.
    #[prost(message, tag = "12")]
    Energy(EnergyFigures),
    /// A surcharge.
    #[prost(message, tag = "13")]
    Surcharge(()),
    /// A basic fee by capacity.
    #[prost(message, tag = "14")]
    Capacity(CapacityFigures),
    /// A basic fee by demand.
    #[prost(message, tag = "15")]
    Demand(DemandFigures),
    /// A reward or penalty for the power factor.
    #[prost(message, tag = "16")]
    PowerFactor(PowerFactorFigures),
    /// A charge by area.
    #[prost(message, tag = "17")]
    Area(AreaFigures),
    /// A charge by so many persons.
    #[prost(uint32, tag = "18")]
    Population(u32),
    /// Fixed, apportioned and divided fees.
    #[prost(message, tag = "19")]
    FixedFee(FixedFeeFigures),
    /// A fee of a retro run.
    #[prost(message, tag = "20")]
    RetroFee(()),
    /// The line of a bill that has no other.
    #[prost(message, tag = "21")]
    Empty(()),
}

/// The tier and the shares behind an energy line.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct EnergyFigures {
    /// The part of a tier; none without a ladder.
    #[prost(message, optional, tag = "1")]
    pub part: Option<TierPartFigures>,
    /// The shares of tier and period; none if only one of them has a quantity.
    #[prost(message, optional, tag = "2")]
    pub share: Option<ShareFigures>,
}

/// The part of a tier.
#[derive(Clone, Copy, PartialEq, prost::Message)]
#[allow(missing_docs)] // the figures of `rating::bill::TierPart`, documented there
pub struct TierPartFigures {
    #[prost(sint64, tag = "1")]
    pub lower: i64,
    #[prost(sint64, optional, tag = "2")]
    pub upper: Option<i64>,
    #[prost(sint64, tag = "3")]
    pub from: i64,
    #[prost(sint64, tag = "4")]
    pub to: i64,
}

/// The share of a line.
#[derive(Clone, Copy, PartialEq, prost::Message)]
#[allow(missing_docs)] // the figures of `rating::bill::Share`, documented there
pub struct ShareFigures {
    #[prost(sint64, tag = "1")]
    pub of_tier: i64,
    #[prost(sint64, tag = "2")]
    pub of_period: i64,
    #[prost(sint64, tag = "3")]
    pub whole: i64,
}

/// The part of a month.
#[derive(Clone, Copy, PartialEq, prost::Message)]
#[allow(missing_docs)] // the figures of `rating::bill::PartMonth`, documented there
pub struct MonthFigures {
    #[prost(uint32, tag = "1")]
    pub supplied: u32,
    #[prost(uint32, tag = "2")]
    pub days: u32,
    #[prost(enumeration = "ChargeRuleType", tag = "3")]
    pub rule: i32,
}

/// A basic fee by capacity.
#[derive(Clone, Copy, PartialEq, prost::Message)]
#[allow(missing_docs)] // the figures of `rating::LineRule::Capacity`, documented there
pub struct CapacityFigures {
    #[prost(sint64, tag = "1")]
    pub capacity: i64,
    #[prost(message, optional, tag = "2")]
    pub month: Option<MonthFigures>,
}

/// A basic fee by demand.
#[derive(Clone, Copy, PartialEq, prost::Message)]
#[allow(missing_docs)] // the figures of `rating::bill::Demand`, documented there
pub struct DemandFigures {
    #[prost(sint64, tag = "1")]
    pub measured: i64,
    #[prost(sint64, tag = "2")]
    pub approved: i64,
    #[prost(sint64, tag = "3")]
    pub over_approval_ratio: i64,
    #[prost(sint64, tag = "4")]
    pub approval_factor: i64,
    #[prost(sint64, tag = "5")]
    pub whole_month: i64,
    #[prost(message, optional, tag = "6")]
    pub month: Option<MonthFigures>,
}

/// A reward or penalty for the power factor.
#[derive(Clone, Copy, PartialEq, prost::Message)]
#[allow(missing_docs)] // the figures of `rating::bill::PowerFactor`, documented there
pub struct PowerFactorFigures {
    #[prost(enumeration = "ForRateValidType", tag = "1")]
    pub standard: i32,
    #[prost(sint64, tag = "2")]
    pub active: i64,
    #[prost(sint64, tag = "3")]
    pub reactive: i64,
    #[prost(sint64, tag = "4")]
    pub reached: i64,
    #[prost(sint64, tag = "5")]
    pub row: i64,
    #[prost(sint64, tag = "6")]
    pub base: i64,
}

/// A charge by area.
#[derive(Clone, Copy, PartialEq, prost::Message)]
#[allow(missing_docs)] // the figures of `rating::LineRule::Area`, documented there
pub struct AreaFigures {
    #[prost(sint64, tag = "1")]
    pub area: i64,
    #[prost(sint64, tag = "2")]
    pub factor: i64,
    #[prost(sint64, tag = "3")]
    pub vacancy_ratio: i64,
}

/// Fixed, apportioned and divided fees.
#[derive(Clone, Copy, PartialEq, prost::Message)]
#[allow(missing_docs)] // the figures of `rating::LineRule::FixedFee`, documented there
pub struct FixedFeeFigures {
    #[prost(sint64, tag = "1")]
    pub fixed: i64,
    #[prost(sint64, tag = "2")]
    pub apportioned: i64,
    #[prost(sint64, tag = "3")]
    pub divided: i64,
}
