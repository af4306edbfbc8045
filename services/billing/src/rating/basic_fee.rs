//! The basic fee of a two-part tariff: by capacity, or by demand beside an approved demand.

use communal_kit::money::round;
use communal_proto::billing::v1::{BasicFeesType, CalcFeeType};
use rust_decimal::Decimal;

use super::bill::{Demand, FeeLine, LineRule};
use super::energy::fee;
use super::error::RatingError;
use super::facts::BillFacts;
use super::rates::{Approval, Rates};
use crate::vocabulary::quantity::QUANTITY_SCALE;
use crate::vocabulary::tariff::{Period, Season, Tier};

/// The billed demand of a whole month: without an approved demand, the measured one; up to the approved demand × ratio, the
/// approved one, even if nothing was used; beyond it, that and the excess × factor, rounded once.
///
/// # Errors
/// Returns `NoApprovalRatio` if there is an approved demand and no ratio, and `OutOfRange` if the decimals cannot hold it.
pub fn billed_demand(measured: Decimal, approved: Decimal, approval: Option<Approval>) -> Result<Decimal, RatingError> {
    if approved.is_zero() {
        return Ok(measured);
    }
    let Approval { ratio, factor } = approval.ok_or(RatingError::NoApprovalRatio)?;
    let plain = approved.checked_mul(ratio).ok_or(RatingError::OutOfRange)?;
    if measured <= plain {
        return Ok(approved);
    }
    let beyond = measured.checked_sub(plain).and_then(|excess| excess.checked_mul(factor));
    let demand = beyond.and_then(|beyond| beyond.checked_add(plain)).ok_or(RatingError::OutOfRange)?;
    Ok(round(demand, QUANTITY_SCALE))
}

/// Adds the line of the basic fee, unless the package has none or nothing is billed.
pub(super) fn add_line(
    facts: &BillFacts<'_>,
    rates: &Rates,
    measured: Decimal,
    kind: CalcFeeType,
    season: Season,
    lines: &mut Vec<FeeLine>,
) -> Result<(), RatingError> {
    let parameters = &facts.parameters;
    let (quantity, rule) = match rates.basic_fee_kind {
        BasicFeesType::None | BasicFeesType::Unspecified => return Ok(()),
        BasicFeesType::Capacity => {
            let capacity = parameters.capacity;
            if capacity.is_zero() {
                return Ok(());
            }
            let month = parameters.supply.in_month(facts.account_month)?;
            (month.share(capacity)?, LineRule::Capacity { capacity, month })
        }
        BasicFeesType::Demand => {
            let approved = parameters.approved_demand;
            let month = parameters.supply.in_month(facts.account_month)?;
            let whole_month = billed_demand(measured, approved, rates.approval)?;
            let used = rates.approval.filter(|_| !approved.is_zero());
            let demand = Demand {
                measured,
                approved,
                over_approval_ratio: used.map_or(Decimal::ZERO, |approval| approval.ratio),
                approval_factor: used.map_or(Decimal::ZERO, |approval| approval.factor),
                whole_month,
                month,
            };
            (month.share(whole_month)?, LineRule::Demand(demand))
        }
    };
    if quantity.is_zero() {
        return Ok(());
    }
    let row = rates.basic_fee.ok_or(RatingError::NoBasicFeePrice(rates.basic_fee_kind))?;
    lines.push(FeeLine {
        kind,
        category_item: row.category_item,
        surcharge_item: 0,
        season,
        period: Period::Whole,
        tier: Tier::First,
        start: row.price.start,
        version: row.price.version,
        quantity,
        price: row.price.price,
        fee: fee(quantity, row.price.price)?,
        rule,
    });
    Ok(())
}
