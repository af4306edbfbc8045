//! Charges that are not metered: heat and cooling by area, property service by area or by persons.

use communal_kit::money::round;
use communal_proto::billing::v1::CalcFeeType;
use rust_decimal::Decimal;

use super::bill::{FeeLine, LineRule};
use super::energy::fee;
use super::error::RatingError;
use super::facts::Parameters;
use super::rates::{Rates, SpaceBasis};
use crate::vocabulary::quantity::QUANTITY_SCALE;
use crate::vocabulary::tariff::{Period, Season, Tier};

/// Adds the line of a charge by area or persons, unless the package has none or there is nothing to charge.
///
/// An area is multiplied by its factor and, while the premises are vacant, by the ratio for that; then it is rounded once.
/// Persons are those of the package.
pub(super) fn add_line(
    parameters: &Parameters,
    rates: &Rates,
    kind: CalcFeeType,
    season: Season,
    lines: &mut Vec<FeeLine>,
) -> Result<(), RatingError> {
    let Some(space) = &rates.space else { return Ok(()) };
    let (quantity, rule) = match space.basis {
        SpaceBasis::Population => (Decimal::from(rates.population), LineRule::Population { persons: rates.population }),
        SpaceBasis::Area => {
            let area = parameters.area;
            let factor = if parameters.area_factor.is_zero() { Decimal::ONE } else { parameters.area_factor };
            let vacancy_ratio = if parameters.supply.stopped { rates.vacancy_ratio } else { Decimal::ONE };
            let quantity = area.checked_mul(factor).and_then(|product| product.checked_mul(vacancy_ratio));
            let quantity = round(quantity.ok_or(RatingError::OutOfRange)?, QUANTITY_SCALE);
            (quantity, LineRule::Area { area, factor, vacancy_ratio })
        }
    };
    if quantity.is_zero() {
        return Ok(());
    }
    let price = space.price(season)?;
    lines.push(FeeLine {
        kind,
        category_item: rates.main_item,
        surcharge_item: 0,
        season,
        period: Period::Whole,
        tier: Tier::First,
        start: price.start,
        version: price.version,
        quantity,
        price: price.price,
        fee: fee(quantity, price.price)?,
        rule,
    });
    Ok(())
}
