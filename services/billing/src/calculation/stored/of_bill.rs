//! A bill as a calculation, and back. Each field of one is named where the other is made, so that a new one does not compile
//! before it is kept.

use communal_kit::money::CENTS;
use rust_decimal::Decimal;

use super::{
    Accumulated, AreaFigures, CalculatedLine, Calculation, CapacityFigures, DemandFigures, EnergyFigures, Figures,
    FixedFeeFigures, MonthFigures, PowerFactorFigures, ShareFigures, Terms, TierPartFigures, Unreadable,
};
use crate::metering::points::snapshot::{BeyondDigits, last_digits};
use crate::rating::bill::{
    Bill, Demand, FeeLine, LineRule, PartMonth, PowerFactor, Quantities, REGISTERS, Share, TierPart, Warnings,
};
use crate::rating::facts::Accumulators;
use crate::vocabulary::dates::{AccountMonth, day, day_number};
use crate::vocabulary::quantity::{QUANTITY_SCALE, RATIO_SCALE, UNIT_PRICE_SCALE};

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
    use communal_proto::billing::v1::{CalcFeeType, ChargeRuleType, ForRateValidType};
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

    fn terms() -> Terms {
        Terms {
            calculated: (day(20_240_315).unwrap(), 235_959),
            priced_on: day(20_240_314).unwrap(),
            temporary: true,
            temporary_months_used: 2,
            accumulator_version: 5,
        }
    }

    #[test]
    fn a_bill_is_read_as_it_was_taken_down() {
        let terms = terms();
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
        let stored = Calculation::of(&bill(), &terms()).unwrap();
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
