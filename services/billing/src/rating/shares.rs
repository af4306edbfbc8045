//! The shares of a quantity by period of the day.

use rust_decimal::Decimal;

use super::{RatingError, sum};
use crate::vocabulary::quantity::QUANTITY_SCALE;

/// Shares a quantity out in proportion to `shares`, at the scale of quantities. The hundredths that
/// are left go to the largest remainders, the earlier one first. The parts add up to the whole.
///
/// # Errors
/// Returns `NoShares` if the shares add up to zero, and `OutOfRange` if the decimals cannot hold a
/// product.
pub fn share_out(whole: Decimal, shares: &[Decimal]) -> Result<Vec<Decimal>, RatingError> {
    let total = sum(shares)?;
    if total.is_zero() {
        return Err(RatingError::NoShares);
    }
    let mut parts = Vec::with_capacity(shares.len());
    let mut remainders = Vec::with_capacity(shares.len());
    let mut left = whole;
    for (index, share) in shares.iter().enumerate() {
        let exact = whole.checked_mul(*share).and_then(|p| p.checked_div(total)).ok_or(RatingError::OutOfRange)?;
        let part = exact.trunc_with_scale(QUANTITY_SCALE);
        left = left.checked_sub(part).ok_or(RatingError::OutOfRange)?;
        remainders.push((exact.checked_sub(part).ok_or(RatingError::OutOfRange)?.abs(), index));
        parts.push(part);
    }
    remainders.sort_by(|(a, i), (b, j)| b.cmp(a).then(i.cmp(j)));
    let hundredth = Decimal::new(1, QUANTITY_SCALE);
    let step = if left.is_sign_negative() { -hundredth } else { hundredth };
    // A rest finer than a hundredth (the whole may have one) goes to the last part that gets any.
    for (_, index) in remainders {
        if left.is_zero() {
            break;
        }
        let given = if left.abs() < hundredth { left } else { step };
        if let Some(part) = parts.get_mut(index) {
            *part = part.checked_add(given).ok_or(RatingError::OutOfRange)?;
        }
        left = left.checked_sub(given).ok_or(RatingError::OutOfRange)?;
    }
    Ok(parts)
}
