//! A bill: its fee lines, each with the rule that made it, and the figures that are kept beside them.
//!
//! Rules are numbers and codes; their texts are made where they are shown.

use chrono::NaiveDate;
use communal_proto::billing::v1::{CalcFeeType, ChargeRuleType, ForRateValidType, ReadingsType};
use rust_decimal::Decimal;

use super::facts::Accumulators;
use crate::vocabulary::tariff::{Period, Season, Tier};

/// All fee lines of an account for one run.
#[derive(Clone, Debug, PartialEq)]
pub struct Bill {
    /// The fee kind that the customer owes: guaranteed or retail.
    pub kind: CalcFeeType,
    /// The lines: those of the customer's kind in their order, then those of delivery. A line number is a place in it, from 1.
    pub lines: Vec<FeeLine>,
    /// The sum of the lines of the customer's kind.
    pub total: Decimal,
    /// The sum of the lines of delivery.
    pub delivery_total: Decimal,
    /// The billed quantities.
    pub quantities: Quantities,
    /// The accumulators that the bill began with: those of the facts, or zero where the year or month is another.
    pub before: Accumulators,
    /// The accumulators after the bill is charged off.
    pub after: Accumulators,
    /// Peculiarities.
    pub warnings: Warnings,
}

impl Bill {
    /// The sum of the lines of a fee kind; zero for the kind that the package does not have.
    #[must_use]
    pub fn total_of(&self, kind: CalcFeeType) -> Decimal {
        match kind {
            CalcFeeType::Delivery => self.delivery_total,
            kind if kind == self.kind => self.total,
            _ => Decimal::ZERO,
        }
    }
}

/// A quantity times a price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeeLine {
    /// Fee kind.
    pub kind: CalcFeeType,
    /// Category item on which it is booked.
    pub category_item: i64,
    /// Surcharge item; 0 on every line that is no surcharge.
    pub surcharge_item: i64,
    /// Season.
    pub season: Season,
    /// Period of the day; the whole day on lines that are not of energy.
    pub period: Period,
    /// Tier; the first on lines that are not of energy.
    pub tier: Tier,
    /// First day of the price version; `None` on lines without a price row.
    pub start: Option<NaiveDate>,
    /// Number of the version in the catalogue: of the delivery prices on lines of delivery, else of the catalogue prices.
    /// `None` of a price that is not of the catalogue.
    pub version: Option<i64>,
    /// Quantity.
    pub quantity: Decimal,
    /// Unit price; of a power-factor line the signed ratio.
    pub price: Decimal,
    /// Fee, rounded half up to the cent.
    pub fee: Decimal,
    /// The rule that made the line.
    pub rule: LineRule,
}

/// The rule that made a line, with the figures that it was applied to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineRule {
    /// Energy: a part of the quantity in a tier and a period.
    Energy {
        /// The tier that the part fills; `None` without a ladder.
        part: Option<TierPart>,
        /// The split over tiers and periods; `None` if only one of them has a quantity.
        share: Option<Share>,
    },
    /// A surcharge on the whole energy quantity.
    Surcharge,
    /// A basic fee by capacity in kVA.
    Capacity {
        /// The capacity.
        capacity: Decimal,
        /// The part of the month.
        month: PartMonth,
    },
    /// A basic fee by demand in kW.
    Demand(Demand),
    /// A reward or penalty for the power factor.
    PowerFactor(PowerFactor),
    /// A charge by area.
    Area {
        /// Area in square metres.
        area: Decimal,
        /// Factor of the area.
        factor: Decimal,
        /// Ratio of vacant premises; 1 for those in use.
        vacancy_ratio: Decimal,
    },
    /// A charge by persons.
    Population {
        /// Persons.
        persons: u32,
    },
    /// Fixed, apportioned and divided fees.
    FixedFee {
        /// Fixed fee.
        fixed: Decimal,
        /// The account's part of the common fee, rounded.
        apportioned: Decimal,
        /// Divided fee.
        divided: Decimal,
    },
    /// A fee of a retro run.
    RetroFee,
    /// The line of a bill that has no other.
    Empty,
}

/// The part of a tier that a quantity fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TierPart {
    /// The lower limit of the tier, population included.
    pub lower: Decimal,
    /// The upper limit of the tier, population included; `None` for no end.
    pub upper: Option<Decimal>,
    /// The accumulator before the part.
    pub from: Decimal,
    /// The accumulator after it; lower than `from` where a refund walks the ladder down.
    pub to: Decimal,
}

/// The exact share of a line is `of_tier` × `of_period` ÷ `whole`; its quantity is that share, rounded down or up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Quantity of the tier in all periods.
    pub of_tier: Decimal,
    /// Quantity of the period in all tiers.
    pub of_period: Decimal,
    /// Quantity of all tiers and periods.
    pub whole: Decimal,
}

/// The part of the account month in which the account was supplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartMonth {
    /// Days with supply.
    pub supplied: u32,
    /// Days of the month.
    pub days: u32,
    /// The part-month rule. It has no effect if all days are supplied, or none is.
    pub rule: ChargeRuleType,
}

/// The figures of a basic fee by demand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// Measured demand.
    pub measured: Decimal,
    /// Approved demand; 0 if there is none.
    pub approved: Decimal,
    /// The ratio of the approved demand beyond which the factor counts; 0 without an approved demand.
    pub over_approval_ratio: Decimal,
    /// The factor of the demand beyond it; 0 without an approved demand.
    pub approval_factor: Decimal,
    /// Billed demand of a whole month.
    pub whole_month: Decimal,
    /// The part of the month.
    pub month: PartMonth,
}

/// The figures of a power-factor line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PowerFactor {
    /// The standard.
    pub standard: ForRateValidType,
    /// Active quantity.
    pub active: Decimal,
    /// Reactive quantity.
    pub reactive: Decimal,
    /// The power factor that was reached, half up at two places.
    pub reached: Decimal,
    /// The power factor of the row of the table.
    pub row: Decimal,
    /// The fees that the ratio is applied to.
    pub base: Decimal,
}

/// The quantities of a bill.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quantities {
    /// Billed quantity of each register (METER_CONS0 to 5, and reactive), by its code from 1; that of demand is 0.
    pub registers: [Decimal; REGISTERS],
    /// Demand (METER_DEMAND).
    pub demand: Decimal,
    /// Active quantity of the meter (FOR_RAT_ACTIVE_POW): without fixed and apportioned quantities.
    pub active: Decimal,
    /// Fixed, apportioned and divided quantities together.
    pub additions: Decimal,
    /// The whole billed energy quantity (METER_TOTAL_CONS). By it the accumulators grow.
    pub energy: Decimal,
    /// The power factor that was reached; `None` if none is required or it is not defined.
    pub power_factor: Option<Decimal>,
}

/// The number of registers that have a code.
pub const REGISTERS: usize = 8;

impl Quantities {
    /// The billed quantity of a register.
    #[must_use]
    pub fn of(&self, register: ReadingsType) -> Decimal {
        place(register).and_then(|place| self.registers.get(place)).copied().unwrap_or_default()
    }
}

/// The place of a register in a list by code.
pub(super) fn place(register: ReadingsType) -> Option<usize> {
    usize::try_from(i32::from(register)).ok()?.checked_sub(1)
}

/// Peculiarities of a bill that somebody should look at. They do not change an amount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Warnings {
    /// The total register less the sum of the periods, if they differ by more than one unit of the register. The periods are
    /// billed.
    pub total_register_gap: Option<Decimal>,
    /// Active or reactive quantity is negative, so there is no power factor.
    pub negative_power: bool,
    /// There is no delivery price for the quantity.
    pub no_delivery_price: bool,
}
