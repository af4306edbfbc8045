//! Billed quantities: what each register counted, what is added to it, and how it spreads over the periods of the day.

use communal_kit::money::round;
use communal_proto::billing::v1::{BasicFeesType, EnergyFlowType, ForRateValidType, NormalRetroType, ReadingsType};
use rust_decimal::Decimal;

use super::bill::{Quantities, REGISTERS, Warnings, place};
use super::error::{NeededFact, RatingError};
use super::facts::{BillFacts, RegisterFacts};
use super::hundredths::Hundredths;
use super::rates::{MOST_PERIODS, Rates};
use super::shares::{ByPeriod, spread, sum};
use crate::vocabulary::movement::{Miscount, register_of};
use crate::vocabulary::quantity::QUANTITY_SCALE;
use crate::vocabulary::tariff::{Period, TimeOfUse, periods};

/// What one register counted and what of it is billed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegisterQuantity {
    /// What the meter counted (THE_METER_CONS).
    pub metered: Decimal,
    /// The billed quantity (THE_CHARGE_CONS), rounded once: counted − reduced + old + added.
    pub billed: Decimal,
}

impl RegisterFacts {
    /// The quantity of the register; that of the demand register is zero.
    ///
    /// # Errors
    /// Returns `Movement` if the readings contradict the movement, and `OutOfRange` if the decimals cannot hold the quantity.
    pub fn quantity(&self) -> Result<RegisterQuantity, RatingError> {
        let counted = self.counted()?;
        Ok(RegisterQuantity { metered: round(counted, QUANTITY_SCALE), billed: self.billed(counted)? })
    }

    /// What the meter counted, unrounded.
    fn counted(&self) -> Result<Decimal, RatingError> {
        match &self.movement {
            Some(movement) if self.register != ReadingsType::Demand => {
                movement.counted().map_err(|miscount| match miscount {
                    Miscount::Contradiction => RatingError::Movement { register: self.register, turn: movement.turn },
                    Miscount::OutOfRange => RatingError::OutOfRange,
                })
            }
            _ => Ok(Decimal::ZERO),
        }
    }

    /// The billed quantity, rounded once.
    fn billed(&self, counted: Decimal) -> Result<Decimal, RatingError> {
        if self.register == ReadingsType::Demand {
            return Ok(Decimal::ZERO);
        }
        let billed = counted.checked_sub(self.reduced).and_then(|q| q.checked_add(self.old));
        let billed = billed.and_then(|q| q.checked_add(self.added)).ok_or(RatingError::OutOfRange)?;
        Ok(if billed.scale() > QUANTITY_SCALE { round(billed, QUANTITY_SCALE) } else { billed })
    }

    /// The demand that the register shows: reading × multiplier, whatever the last reading was. Of a meter that was taken off
    /// for good, the demand that it measured.
    ///
    /// # Errors
    /// Returns `OutOfRange` if the decimals cannot hold it.
    pub fn demand(&self, demand_multiplier: Decimal) -> Result<Decimal, RatingError> {
        let Some(movement) = &self.movement else { return Ok(self.old) };
        let multiplier = if demand_multiplier.is_zero() { movement.multiplier } else { demand_multiplier };
        let demand = movement.this.checked_mul(multiplier).ok_or(RatingError::OutOfRange)?;
        Ok(round(demand, QUANTITY_SCALE))
    }
}

/// The quantities of a bill and how they spread over the periods of the package.
#[derive(Debug)]
pub(super) struct Billed {
    pub(super) quantities: Quantities,
    /// The billed energy quantity by period: all additions included.
    pub(super) by_period: ByPeriod,
    /// The sum over the periods.
    pub(super) energy: Hundredths,
}

/// Computes the quantities of a bill.
pub(super) fn billed(facts: &BillFacts<'_>, rates: &Rates, warnings: &mut Warnings) -> Result<Billed, RatingError> {
    let is_retro = facts.run_kind == NormalRetroType::Retro;
    let mut quantities = Quantities::default();
    let seen = read_registers(facts, is_retro, &mut quantities)?;
    let needed = |register: ReadingsType| {
        let is_missing = facts.metered && !is_retro && !place(register).and_then(|p| seen.get(p)).is_some_and(|s| *s);
        if is_missing { Err(RatingError::NoRegister(register)) } else { Ok(()) }
    };
    if rates.basic_fee_kind == BasicFeesType::Demand {
        needed(ReadingsType::Demand)?;
    }
    let parameters = &facts.parameters;
    if !matches!(parameters.power_factor_standard, ForRateValidType::Unspecified | ForRateValidType::None) {
        needed(ReadingsType::Reactive)?;
    }
    let apportioned = rounded_product(parameters.apportioned_quantity, parameters.apportion_ratio)?;
    if !is_retro {
        let additions = parameters.fixed_quantity.checked_add(apportioned);
        let additions = additions.and_then(|sum| sum.checked_add(parameters.divided_quantity));
        quantities.additions = additions.ok_or(RatingError::OutOfRange)?;
    }
    let Some(matrix) = &rates.energy else {
        if !quantities.additions.is_zero() {
            return Err(RatingError::NoMeteredPrice);
        }
        quantities.active = quantities.of(ReadingsType::Total);
        return Ok(Billed { quantities, by_period: [Hundredths::ZERO; MOST_PERIODS], energy: Hundredths::ZERO });
    };
    let mut by_period = [Hundredths::ZERO; MOST_PERIODS];
    for (of_period, period) in by_period.iter_mut().zip(matrix.periods()) {
        let register = register_of(*period);
        needed(register)?;
        *of_period = Hundredths::exactly(quantities.of(register)).ok_or(RatingError::OutOfRange)?;
    }
    let metered = sum(&by_period).ok_or(RatingError::OutOfRange)?;
    quantities.active = metered.decimal();
    if matrix.time_of_use() != TimeOfUse::One && place(ReadingsType::Total).and_then(|p| seen.get(p)) == Some(&true) {
        warn_of_gap(facts, &quantities, warnings)?;
    }
    let mut energy = metered;
    if !quantities.additions.is_zero() {
        let additions = Hundredths::exactly(quantities.additions).ok_or(RatingError::OutOfRange)?;
        add_to_periods(additions, matrix.time_of_use(), &mut by_period).ok_or(RatingError::OutOfRange)?;
        energy = energy.plus(additions).ok_or(RatingError::OutOfRange)?;
    }
    quantities.energy = energy.decimal();
    Ok(Billed { quantities, by_period, energy })
}

/// Reads the forward registers into the quantities. Returns which of them there are, by code from 1.
fn read_registers(
    facts: &BillFacts<'_>,
    is_retro: bool,
    quantities: &mut Quantities,
) -> Result<[bool; REGISTERS], RatingError> {
    let mut seen = [false; REGISTERS];
    for facts_of in facts.registers {
        match facts_of.flow {
            EnergyFlowType::Forward => {}
            EnergyFlowType::Reverse => continue,
            EnergyFlowType::Unspecified => return Err(RatingError::NotGiven(NeededFact::EnergyFlow)),
        }
        let register = facts_of.register;
        let slot = place(register).and_then(|p| Some((seen.get_mut(p)?, quantities.registers.get_mut(p)?)));
        let (seen, quantity) = slot.ok_or(RatingError::NotGiven(NeededFact::Register))?;
        if std::mem::replace(seen, true) {
            return Err(RatingError::RegisterTwice(register));
        }
        if is_retro && matches!(register, ReadingsType::Reactive | ReadingsType::Demand) {
            return Err(RatingError::NotInRetro(register));
        }
        if register == ReadingsType::Demand {
            quantities.demand = facts_of.demand(facts.parameters.demand_multiplier)?;
        } else {
            *quantity = facts_of.billed(facts_of.counted()?)?;
        }
    }
    Ok(seen)
}

/// Warns if the total register is off the sum of the periods by more than one unit of the register.
fn warn_of_gap(facts: &BillFacts<'_>, quantities: &Quantities, warnings: &mut Warnings) -> Result<(), RatingError> {
    let gap = quantities.of(ReadingsType::Total).checked_sub(quantities.active).ok_or(RatingError::OutOfRange)?;
    let of_total = facts.registers.iter().find(|r| r.register == ReadingsType::Total);
    let unit = of_total.and_then(|total| total.movement).map_or(Decimal::ONE, |movement| movement.multiplier);
    if gap.abs() > unit {
        warnings.total_register_gap = Some(gap);
    }
    Ok(())
}

/// Spreads fixed and apportioned quantities over the periods in proportion to the magnitude of their registers. If no
/// register counted anything, all of it goes to the flat period, else to the first one. `None` if a sum is out of range.
fn add_to_periods(additions: Hundredths, time_of_use: TimeOfUse, by_period: &mut ByPeriod) -> Option<()> {
    let periods = periods(time_of_use);
    let parts = if by_period.iter().all(|quantity| quantity.is_zero()) {
        let place = periods.iter().position(|period| *period == Period::Flat).unwrap_or_default();
        let mut parts = [Hundredths::ZERO; MOST_PERIODS];
        *parts.get_mut(place)? = additions;
        parts
    } else {
        spread(additions, by_period)?
    };
    for (quantity, part) in by_period.iter_mut().zip(parts) {
        *quantity = quantity.plus(part)?;
    }
    Some(())
}

/// A product that is rounded to the scale of quantities and of money, which is the same.
pub(super) fn rounded_product(value: Decimal, ratio: Decimal) -> Result<Decimal, RatingError> {
    if value.is_zero() || ratio.is_zero() {
        return Ok(Decimal::ZERO);
    }
    let product = value.checked_mul(ratio).ok_or(RatingError::OutOfRange)?;
    Ok(round(product, QUANTITY_SCALE))
}
