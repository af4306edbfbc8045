//! The power factor: what the meter reached, and the reward or penalty for it.

use communal_kit::money::{CENTS, round};
use communal_proto::billing::v1::{CalcFeeType, ForRateValidType, ReadingsType};
use rust_decimal::Decimal;

use super::bill::{FeeLine, LineRule, PowerFactor, Quantities, Warnings};
use super::error::RatingError;
use super::hundredths::Hundredths;
use super::rates::Rates;
use crate::vocabulary::tariff::{Period, Season, Tier};

/// A power factor as it is rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// This one, half up at two places.
    Factor(Decimal),
    /// None: nothing flowed.
    Nothing,
    /// None: a quantity is negative.
    Negative,
}

/// The power factor P ÷ √(P² + Q²), rounded half up to 0.01 of the exact root. It is found by comparing squares, so that no root
/// is rounded. `None` if a square is out of range.
#[must_use]
pub fn reached(active: Hundredths, reactive: Hundredths) -> Option<Reached> {
    if active.is_negative() || reactive.is_negative() {
        return Some(Reached::Negative);
    }
    if active.is_zero() && reactive.is_zero() {
        return Some(Reached::Nothing);
    }
    let square = |quantity: Hundredths| i128::from(quantity.number()).checked_mul(i128::from(quantity.number()));
    let of_active = square(active)?;
    let of_both = of_active.checked_add(square(reactive)?)?;
    // The factor is at least n hundredths, rounded, where P ÷ √(P² + Q²) ≥ (2n − 1) ÷ 200.
    let scaled = of_active.checked_mul(40_000)?;
    let (mut low, mut high) = (0_i64, 100_i64);
    while low < high {
        let middle = (low + high + 1) / 2;
        let bound = i128::from(2 * middle - 1);
        if scaled >= of_both.checked_mul(bound * bound)? {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    Some(Reached::Factor(Decimal::new(low, 2)))
}

/// Adds the line of the power factor, whose ratio is applied to `base`: the energy lines of the customer's kind and the basic fee.
/// There is none if no power factor is required, it is not defined, or the ratio or the base is zero.
pub(super) fn add_line(
    standard: ForRateValidType,
    rates: &Rates,
    quantities: &mut Quantities,
    base: Decimal,
    (kind, season): (CalcFeeType, Season),
    warnings: &mut Warnings,
    lines: &mut Vec<FeeLine>,
) -> Result<(), RatingError> {
    if matches!(standard, ForRateValidType::Unspecified | ForRateValidType::None) {
        return Ok(());
    }
    let (active, reactive) = (quantities.active, quantities.of(ReadingsType::Reactive));
    let both = Hundredths::exactly(active).zip(Hundredths::exactly(reactive));
    let factor = match both.and_then(|(active, reactive)| reached(active, reactive)).ok_or(RatingError::OutOfRange)? {
        Reached::Nothing => return Ok(()),
        Reached::Negative => {
            warnings.negative_power = true;
            return Ok(());
        }
        Reached::Factor(factor) => factor,
    };
    quantities.power_factor = Some(factor);
    let table = rates.adjust_ratios.iter().filter(|row| row.standard == standard && row.power_factor <= factor);
    let row = table.reduce(|a, b| if b.power_factor > a.power_factor { b } else { a });
    let row = row.ok_or(RatingError::NoAdjustRatio { standard, power_factor: factor })?;
    if row.ratio.is_zero() || base.is_zero() {
        return Ok(());
    }
    let fee = base.checked_mul(row.ratio).ok_or(RatingError::OutOfRange)?;
    let figures = PowerFactor { standard, active, reactive, reached: factor, row: row.power_factor, base };
    lines.push(FeeLine {
        kind,
        category_item: row.category_item.unwrap_or(rates.main_item),
        surcharge_item: 0,
        season,
        period: Period::Whole,
        tier: Tier::First,
        start: row.start,
        version: None,
        quantity: Decimal::ZERO,
        price: row.ratio,
        fee: round(fee, CENTS),
        rule: LineRule::PowerFactor(figures),
    });
    Ok(())
}
