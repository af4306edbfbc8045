//! A calculation as it is kept: the lines with the rule behind each, and every figure beside them that charge-off, queries and
//! explanations need. Pure.
//!
//! The stored form follows the same rules as the snapshot of a point: a tag keeps its meaning for good, decimals are whole
//! numbers of their last digit. A code that is not known any more is an error and no default.

use chrono::NaiveDate;
use communal_kit::money::CENTS;
use communal_proto::billing::v1::{
    AbundanceType, CalcFeeType, ChargeRuleType, ForRateValidType, LadderLevelType, TimeSharingType,
};
use rust_decimal::Decimal;

use crate::metering::points::snapshot::{BeyondDigits, decimals, last_digits};
use crate::rating::bill::{
    Bill, Demand, FeeLine, LineRule, PartMonth, PowerFactor, Quantities, REGISTERS, Share, TierPart, Warnings,
};
use crate::rating::facts::Accumulators;
use crate::vocabulary::dates::{AccountMonth, day, day_number};
use crate::vocabulary::quantity::{QUANTITY_SCALE, RATIO_SCALE, UNIT_PRICE_SCALE};

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

fn quantity(value: Decimal) -> Result<i64, BeyondDigits> {
    last_digits(value, QUANTITY_SCALE)
}

fn ratio(value: Decimal) -> Result<i64, BeyondDigits> {
    last_digits(value, RATIO_SCALE)
}

fn cents(value: Decimal) -> Result<i64, BeyondDigits> {
    last_digits(value, CENTS)
}

fn of_quantity(number: i64) -> Decimal {
    Decimal::new(number, QUANTITY_SCALE)
}

fn of_ratio(number: i64) -> Decimal {
    Decimal::new(number, RATIO_SCALE)
}

fn code<E: TryFrom<i32>>(number: i32, name: &'static str) -> Result<E, Unreadable> {
    E::try_from(number).map_err(|_| Unreadable(name))
}

impl Calculation {
    /// Takes down a bill.
    ///
    /// # Errors
    /// Returns an error if a figure has more than 18 digits.
    pub fn of(bill: &Bill, terms: &Terms) -> Result<Self, BeyondDigits> {
        let Bill { kind, lines, total, delivery_total, quantities, before, after, warnings } = bill;
        let Quantities { registers, demand, active, additions, energy, power_factor } = quantities;
        let Warnings { total_register_gap, negative_power, no_delivery_price } = warnings;
        let Terms { calculated: (day, time), priced_on, temporary, temporary_months_used, accumulator_version } = terms;
        Ok(Self {
            calculated_on: day_number(Some(*day)),
            calculated_time: *time,
            priced_on: day_number(Some(*priced_on)),
            temporary: *temporary,
            temporary_months_used: *temporary_months_used,
            accumulator_version: *accumulator_version,
            before: Some(Accumulated::of(before)?),
            after: Some(Accumulated::of(after)?),
            kind: (*kind).into(),
            total: cents(*total)?,
            delivery_total: cents(*delivery_total)?,
            registers: registers.iter().map(|value| quantity(*value)).collect::<Result<_, _>>()?,
            demand: quantity(*demand)?,
            active: quantity(*active)?,
            additions: quantity(*additions)?,
            energy: quantity(*energy)?,
            power_factor: power_factor.map(ratio).transpose()?,
            total_register_gap: total_register_gap.map(quantity).transpose()?,
            negative_power: *negative_power,
            no_delivery_price: *no_delivery_price,
            lines: lines.iter().map(CalculatedLine::of).collect::<Result<_, _>>()?,
        })
    }

    /// The bill that was taken down.
    ///
    /// # Errors
    /// Returns an error that names a code or figure that is not known.
    pub fn bill(&self) -> Result<Bill, Unreadable> {
        let mut registers = [Decimal::ZERO; REGISTERS];
        if self.registers.len() != REGISTERS {
            return Err(Unreadable("registers"));
        }
        for (register, number) in registers.iter_mut().zip(&self.registers) {
            *register = of_quantity(*number);
        }
        Ok(Bill {
            kind: code(self.kind, "fee kind")?,
            lines: self.lines.iter().map(CalculatedLine::line).collect::<Result<_, _>>()?,
            total: self.total(),
            delivery_total: self.delivery_total(),
            quantities: Quantities {
                registers,
                demand: self.demand(),
                active: self.active(),
                additions: self.additions(),
                energy: self.energy(),
                power_factor: self.power_factor.map(of_ratio),
            },
            before: self.before.as_ref().ok_or(Unreadable("accumulators"))?.accumulators()?,
            after: self.after.as_ref().ok_or(Unreadable("accumulators"))?.accumulators()?,
            warnings: Warnings {
                total_register_gap: self.total_register_gap.map(of_quantity),
                negative_power: self.negative_power,
                no_delivery_price: self.no_delivery_price,
            },
        })
    }
}

impl Accumulated {
    fn of(accumulators: &Accumulators) -> Result<Self, BeyondDigits> {
        let Accumulators { last, year, month } = accumulators;
        let of_month = quantity(*month)?;
        Ok(Self { month: last.map_or(0, AccountMonth::number), of_year: quantity(*year)?, of_month })
    }

    fn accumulators(&self) -> Result<Accumulators, Unreadable> {
        let last = match self.month {
            0 => None,
            number => Some(AccountMonth::read(number).ok_or(Unreadable("account month"))?),
        };
        Ok(Accumulators { last, year: self.of_year(), month: self.of_month() })
    }
}

impl CalculatedLine {
    fn of(line: &FeeLine) -> Result<Self, BeyondDigits> {
        Ok(Self {
            kind: line.kind.into(),
            category_item: line.category_item,
            surcharge_item: line.surcharge_item,
            season: line.season.into(),
            period: line.period.into(),
            tier: line.tier.into(),
            start: day_number(line.start),
            version: line.version,
            quantity: quantity(line.quantity)?,
            price: last_digits(line.price, UNIT_PRICE_SCALE)?,
            fee: cents(line.fee)?,
            figures: Some(Figures::of(&line.rule)?),
        })
    }

    /// The fee line.
    ///
    /// # Errors
    /// Returns an error that names a code or figure that is not known.
    pub fn line(&self) -> Result<FeeLine, Unreadable> {
        Ok(FeeLine {
            kind: code(self.kind, "fee kind")?,
            category_item: self.category_item,
            surcharge_item: self.surcharge_item,
            season: code(self.season, "season")?,
            period: code(self.period, "period")?,
            tier: code(self.tier, "tier")?,
            start: match self.start {
                0 => None,
                number => Some(day(number).ok_or(Unreadable("first day"))?),
            },
            version: self.version,
            quantity: self.quantity(),
            price: self.price(),
            fee: self.fee(),
            rule: self.figures.as_ref().ok_or(Unreadable("rule"))?.rule()?,
        })
    }
}

impl Figures {
    fn of(rule: &LineRule) -> Result<Self, BeyondDigits> {
        Ok(match rule {
            LineRule::Energy { part, share } => Self::Energy(EnergyFigures {
                part: part.as_ref().map(TierPartFigures::of).transpose()?,
                share: share.as_ref().map(ShareFigures::of).transpose()?,
            }),
            LineRule::Surcharge => Self::Surcharge(()),
            LineRule::Capacity { capacity, month } => {
                Self::Capacity(CapacityFigures { capacity: quantity(*capacity)?, month: Some(MonthFigures::of(month)) })
            }
            LineRule::Demand(demand) => Self::Demand(DemandFigures {
                measured: quantity(demand.measured)?,
                approved: quantity(demand.approved)?,
                over_approval_ratio: ratio(demand.over_approval_ratio)?,
                approval_factor: ratio(demand.approval_factor)?,
                whole_month: quantity(demand.whole_month)?,
                month: Some(MonthFigures::of(&demand.month)),
            }),
            LineRule::PowerFactor(figures) => Self::PowerFactor(PowerFactorFigures {
                standard: figures.standard.into(),
                active: quantity(figures.active)?,
                reactive: quantity(figures.reactive)?,
                reached: ratio(figures.reached)?,
                row: ratio(figures.row)?,
                base: cents(figures.base)?,
            }),
            LineRule::Area { area, factor, vacancy_ratio } => Self::Area(AreaFigures {
                area: quantity(*area)?,
                factor: ratio(*factor)?,
                vacancy_ratio: ratio(*vacancy_ratio)?,
            }),
            LineRule::Population { persons } => Self::Population(*persons),
            LineRule::FixedFee { fixed, apportioned, divided } => Self::FixedFee(FixedFeeFigures {
                fixed: cents(*fixed)?,
                apportioned: cents(*apportioned)?,
                divided: cents(*divided)?,
            }),
            LineRule::RetroFee => Self::RetroFee(()),
            LineRule::Empty => Self::Empty(()),
        })
    }

    fn rule(&self) -> Result<LineRule, Unreadable> {
        let of_cents = |number| Decimal::new(number, CENTS);
        Ok(match self {
            Self::Energy(energy) => LineRule::Energy {
                part: energy.part.as_ref().map(TierPartFigures::part),
                share: energy.share.as_ref().map(ShareFigures::share),
            },
            Self::Surcharge(()) => LineRule::Surcharge,
            Self::Capacity(figures) => LineRule::Capacity {
                capacity: of_quantity(figures.capacity),
                month: MonthFigures::read(figures.month)?,
            },
            Self::Demand(figures) => LineRule::Demand(Demand {
                measured: of_quantity(figures.measured),
                approved: of_quantity(figures.approved),
                over_approval_ratio: of_ratio(figures.over_approval_ratio),
                approval_factor: of_ratio(figures.approval_factor),
                whole_month: of_quantity(figures.whole_month),
                month: MonthFigures::read(figures.month)?,
            }),
            Self::PowerFactor(figures) => LineRule::PowerFactor(PowerFactor {
                standard: code(figures.standard, "power-factor standard")?,
                active: of_quantity(figures.active),
                reactive: of_quantity(figures.reactive),
                reached: of_ratio(figures.reached),
                row: of_ratio(figures.row),
                base: of_cents(figures.base),
            }),
            Self::Area(figures) => LineRule::Area {
                area: of_quantity(figures.area),
                factor: of_ratio(figures.factor),
                vacancy_ratio: of_ratio(figures.vacancy_ratio),
            },
            Self::Population(persons) => LineRule::Population { persons: *persons },
            Self::FixedFee(figures) => LineRule::FixedFee {
                fixed: of_cents(figures.fixed),
                apportioned: of_cents(figures.apportioned),
                divided: of_cents(figures.divided),
            },
            Self::RetroFee(()) => LineRule::RetroFee,
            Self::Empty(()) => LineRule::Empty,
        })
    }
}

impl TierPartFigures {
    fn of(part: &TierPart) -> Result<Self, BeyondDigits> {
        let upper = part.upper.map(quantity).transpose()?;
        Ok(Self { lower: quantity(part.lower)?, upper, from: quantity(part.from)?, to: quantity(part.to)? })
    }

    fn part(&self) -> TierPart {
        TierPart {
            lower: of_quantity(self.lower),
            upper: self.upper.map(of_quantity),
            from: of_quantity(self.from),
            to: of_quantity(self.to),
        }
    }
}

impl ShareFigures {
    fn of(share: &Share) -> Result<Self, BeyondDigits> {
        let Share { of_tier, of_period, whole } = share;
        Ok(Self { of_tier: quantity(*of_tier)?, of_period: quantity(*of_period)?, whole: quantity(*whole)? })
    }

    fn share(&self) -> Share {
        Share {
            of_tier: of_quantity(self.of_tier),
            of_period: of_quantity(self.of_period),
            whole: of_quantity(self.whole),
        }
    }
}

impl MonthFigures {
    fn of(month: &PartMonth) -> Self {
        Self { supplied: month.supplied, days: month.days, rule: month.rule.into() }
    }

    fn read(month: Option<Self>) -> Result<PartMonth, Unreadable> {
        let Self { supplied, days, rule } = month.ok_or(Unreadable("part of the month"))?;
        Ok(PartMonth { supplied, days, rule: code(rule, "part-month rule")? })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use prost::Message as _;

    use super::*;
    use crate::vocabulary::tariff::{Period, Season, Tier};

    fn decimal(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    fn line(rule: LineRule) -> FeeLine {
        FeeLine {
            kind: CalcFeeType::Retail,
            category_item: 9_999_999_999,
            surcharge_item: 101,
            season: Season::Withered,
            period: Period::DeepValley,
            tier: Tier::Fifth,
            start: day(20_240_301),
            version: Some(7),
            quantity: decimal("-120.50"),
            price: decimal("-0.007500"),
            fee: decimal("-99999999999999.99"),
            rule,
        }
    }

    fn bill() -> Bill {
        let month = PartMonth { supplied: 10, days: 31, rule: ChargeRuleType::ByDays };
        let part = TierPart {
            lower: decimal("2880"),
            upper: Some(decimal("4800")),
            from: decimal("3000"),
            to: decimal("2880"),
        };
        let share = Share { of_tier: decimal("180"), of_period: decimal("120"), whole: decimal("300") };
        let rules = [
            LineRule::Energy { part: None, share: None },
            LineRule::Energy { part: Some(TierPart { upper: None, ..part }), share: Some(share) },
            LineRule::Energy { part: Some(part), share: None },
            LineRule::Surcharge,
            LineRule::Capacity { capacity: decimal("1250"), month },
            LineRule::Demand(Demand {
                measured: decimal("1200"),
                approved: decimal("1000"),
                over_approval_ratio: decimal("1.05"),
                approval_factor: decimal("2"),
                whole_month: decimal("1350"),
                month: PartMonth { rule: ChargeRuleType::Unspecified, ..month },
            }),
            LineRule::PowerFactor(PowerFactor {
                standard: ForRateValidType::P90,
                active: decimal("120000"),
                reactive: decimal("72000"),
                reached: decimal("0.86"),
                row: decimal("0.8575"),
                base: decimal("142800"),
            }),
            LineRule::Area { area: decimal("90"), factor: decimal("1.1234"), vacancy_ratio: decimal("0.6") },
            LineRule::Population { persons: 6 },
            LineRule::FixedFee { fixed: decimal("3"), apportioned: decimal("5"), divided: decimal("-1.25") },
            LineRule::RetroFee,
            LineRule::Empty,
        ];
        let mut lines: Vec<_> = rules.into_iter().map(line).collect();
        lines.push(FeeLine { start: None, version: None, ..line(LineRule::Empty) });
        let of_month = AccountMonth::read(202_403);
        Bill {
            kind: CalcFeeType::Retail,
            lines,
            total: decimal("157.49"),
            delivery_total: decimal("19.56"),
            quantities: Quantities {
                registers: [1, 2, 3, 4, 5, 6, 7, 0].map(Decimal::from),
                demand: decimal("1200.25"),
                active: decimal("299"),
                additions: decimal("-1.5"),
                energy: decimal("297.50"),
                power_factor: Some(decimal("0.86")),
            },
            before: Accumulators { last: None, year: decimal("2800"), month: Decimal::ZERO },
            after: Accumulators { last: of_month, year: decimal("3100"), month: decimal("300") },
            warnings: Warnings {
                total_register_gap: Some(decimal("-2")),
                negative_power: true,
                no_delivery_price: true,
            },
        }
    }

    #[test]
    fn a_bill_is_read_as_it_was_taken_down() {
        let terms = Terms {
            calculated: (day(20_240_315).unwrap(), 235_959),
            priced_on: day(20_240_314).unwrap(),
            temporary: true,
            temporary_months_used: 2,
            accumulator_version: 5,
        };
        let stored = Calculation::of(&bill(), &terms).unwrap().encode_to_vec();
        let read = Calculation::decode(stored.as_slice()).unwrap();
        assert_eq!(read.bill().unwrap(), bill());
        assert_eq!((read.calculated_on, read.calculated_time, read.priced_on), (20_240_315, 235_959, 20_240_314));
        assert_eq!((read.temporary, read.temporary_months_used, read.accumulator_version), (true, 2, 5));
        let plain = Bill { quantities: Quantities::default(), warnings: Warnings::default(), ..bill() };
        assert_eq!(Calculation::of(&plain, &terms).unwrap().bill().unwrap(), plain, "what is not there stays absent");
    }

    #[test]
    fn what_is_not_known_is_an_error_and_no_default() {
        let terms = Terms {
            calculated: (day(20_240_315).unwrap(), 0),
            priced_on: day(20_240_315).unwrap(),
            temporary: false,
            temporary_months_used: 0,
            accumulator_version: 0,
        };
        let stored = Calculation::of(&bill(), &terms).unwrap();
        let broken = |change: fn(&mut Calculation)| {
            let mut stored = stored.clone();
            change(&mut stored);
            stored.bill().unwrap_err()
        };
        assert_eq!(broken(|c| c.kind = 99), Unreadable("fee kind"));
        assert_eq!(broken(|c| c.lines[0].period = 99), Unreadable("period"));
        assert_eq!(broken(|c| c.lines[0].figures = None), Unreadable("rule"));
        assert_eq!(broken(|c| c.lines[0].start = 20_240_230), Unreadable("first day"));
        assert_eq!(broken(|c| c.before = None), Unreadable("accumulators"));
        assert_eq!(broken(|c| c.registers.truncate(1)), Unreadable("registers"));
    }

    #[test]
    fn a_figure_beyond_its_digits_is_not_cut() {
        let mut bill = bill();
        bill.total = decimal("99999999999999999999.99");
        let terms = Terms {
            calculated: (day(20_240_315).unwrap(), 0),
            priced_on: day(20_240_315).unwrap(),
            temporary: false,
            temporary_months_used: 0,
            accumulator_version: 0,
        };
        assert_eq!(Calculation::of(&bill, &terms), Err(BeyondDigits));
    }
}
