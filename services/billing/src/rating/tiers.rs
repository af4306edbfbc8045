//! The split of a quantity over the tiers of a ladder.

use rust_decimal::Decimal;

use super::RatingError;
use crate::vocabulary::tariff::TierLimits;

/// Splits a quantity over tiers, given what was used before it in the year or month. A negative
/// quantity (a refund) walks the ladder down again. The parts always add up to the whole.
///
/// # Errors
/// Returns `NotCovered` if the tiers leave a part of the quantity uncovered, and `OutOfRange` if the
/// decimals cannot hold a sum.
pub fn split(tiers: &[TierLimits], accumulated: Decimal, quantity: Decimal) -> Result<Vec<Decimal>, RatingError> {
    let end = accumulated.checked_add(quantity).ok_or(RatingError::OutOfRange)?;
    let (from, to) = if quantity.is_sign_negative() { (end, accumulated) } else { (accumulated, end) };
    let mut parts = Vec::with_capacity(tiers.len());
    let mut covered = Decimal::ZERO;
    for (index, tier) in tiers.iter().enumerate() {
        // A refund beyond zero has the price of the first tier.
        let low = if index == 0 { from } else { from.max(Decimal::from(tier.lower)) };
        let high = if tier.upper == 0 { to } else { to.min(Decimal::from(tier.upper)) };
        let part = high.checked_sub(low).ok_or(RatingError::OutOfRange)?.max(Decimal::ZERO);
        covered = covered.checked_add(part).ok_or(RatingError::OutOfRange)?;
        parts.push(if quantity.is_sign_negative() { -part } else { part });
    }
    if covered == quantity.abs() { Ok(parts) } else { Err(RatingError::NotCovered) }
}
