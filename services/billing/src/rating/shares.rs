//! Shares of a quantity in whole hundredths that keep their sums.
//!
//! [`spread`] keeps one margin: the parts add up to the whole. [`cross`] keeps both: a quantity is split over tiers and over
//! periods at once, and rows and columns add up. In either, a part is its exact share rounded down or up (strictly less than a
//! hundredth away), and a share that is exact stays.

use super::hundredths::Hundredths;
use super::rates::{MOST_PERIODS, MOST_TIERS};

/// One quantity for each period of a package, in the order of its periods.
pub type ByPeriod = [Hundredths; MOST_PERIODS];
/// One quantity for each tier that is reached, in the order of the walk.
pub type ByTier = [Hundredths; MOST_TIERS];

/// The sum of quantities; `None` if it is out of range.
#[must_use]
pub fn sum(quantities: &[Hundredths]) -> Option<Hundredths> {
    quantities.iter().try_fold(Hundredths::ZERO, |sum, quantity| sum.plus(*quantity))
}

/// Spreads a quantity over periods in proportion to the magnitude of their weights. The hundredths that are left go to the
/// largest remainders, the earlier one first. `None` if all weights are zero or a product is out of range.
#[must_use]
pub fn spread(whole: Hundredths, weights: &ByPeriod) -> Option<ByPeriod> {
    let magnitude = |weight: &Hundredths| i128::from(weight.number()).abs();
    let total: i128 = weights.iter().map(magnitude).sum();
    if total == 0 {
        return None;
    }
    let mut parts = [Hundredths::ZERO; MOST_PERIODS];
    let mut remainders = [0_i128; MOST_PERIODS];
    let mut left = whole;
    for ((part, remainder), weight) in parts.iter_mut().zip(&mut remainders).zip(weights) {
        let exact = i128::from(whole.number()).checked_mul(magnitude(weight))?;
        *part = Hundredths::new(i64::try_from(exact.div_euclid(total)).ok()?);
        *remainder = exact.rem_euclid(total);
        left = left.minus(*part)?;
    }
    for _ in 0..left.number() {
        let largest = parts.iter_mut().zip(&mut remainders).reduce(|a, b| if *b.1 > *a.1 { b } else { a });
        let (part, remainder) = largest?;
        *part = part.plus(Hundredths::new(1))?;
        *remainder = 0;
    }
    Some(parts)
}

/// Splits a quantity over tiers and periods at once, in proportion to both. Tiers and periods have the same sum, and all
/// have its sign or are zero. `None` if they do not, or a product is out of range.
///
/// The exact shares, less their whole hundredths, are a flow from tiers to periods through cells of at most one hundredth. So
/// there is a flow of whole hundredths with the same sums; each hundredth of a tier seeks its period along an augmenting path.
#[must_use]
pub fn cross(tiers: &ByTier, periods: &ByPeriod) -> Option<[ByPeriod; MOST_TIERS]> {
    let whole = sum(tiers)?;
    if whole != sum(periods)? || tiers.iter().chain(periods).any(|part| is_against(*part, whole)) {
        return None;
    }
    let sign = whole.number().signum();
    let whole = i128::from(whole.number().checked_abs()?);
    let mut cells = Cells::default();
    let mut left_of_period = [0_i64; MOST_PERIODS];
    let mut left_of_tier = [0_i64; MOST_TIERS];
    for (left, period) in left_of_period.iter_mut().zip(periods) {
        *left = period.number().checked_abs()?;
    }
    for (((down, remainder), tier), left) in
        cells.down.iter_mut().zip(&mut cells.remainder).zip(tiers).zip(&mut left_of_tier)
    {
        *left = tier.number().checked_abs()?;
        let of_tier = i128::from(*left);
        for (((down, remainder), period), left_of_period) in
            down.iter_mut().zip(remainder.iter_mut()).zip(periods).zip(&mut left_of_period)
        {
            let exact = of_tier.checked_mul(i128::from(period.number().checked_abs()?))?;
            if exact == 0 {
                continue;
            }
            *down = i64::try_from(exact / whole).ok()?;
            *remainder = exact % whole;
            *left -= *down;
            *left_of_period -= *down;
        }
    }
    for (tier, left) in left_of_tier.iter().enumerate() {
        for _ in 0..*left {
            cells.place(tier, &mut left_of_period, &mut [false; MOST_PERIODS]).then_some(())?;
        }
    }
    let mut parts = [[Hundredths::ZERO; MOST_PERIODS]; MOST_TIERS];
    for ((parts, down), up) in parts.iter_mut().zip(&cells.down).zip(&cells.up) {
        for ((part, down), up) in parts.iter_mut().zip(down).zip(up) {
            *part = Hundredths::new(sign.checked_mul(down.checked_add(i64::from(*up))?)?);
        }
    }
    Some(parts)
}

fn is_against(part: Hundredths, whole: Hundredths) -> bool {
    !part.is_zero() && part.is_negative() != whole.is_negative()
}

/// The cells of a split: each is its exact share rounded down, and one more where it is rounded up.
#[derive(Default)]
struct Cells {
    down: [[i64; MOST_PERIODS]; MOST_TIERS],
    remainder: [[i128; MOST_PERIODS]; MOST_TIERS],
    up: [[bool; MOST_PERIODS]; MOST_TIERS],
}

impl Cells {
    /// Rounds one more cell of a tier up, if need be by moving another tier to another period. Returns false if no period is
    /// left for it.
    fn place(
        &mut self,
        tier: usize,
        left_of_period: &mut [i64; MOST_PERIODS],
        tried: &mut [bool; MOST_PERIODS],
    ) -> bool {
        while let Some(period) = self.largest_remainder(tier, tried) {
            if let Some(tried) = tried.get_mut(period) {
                *tried = true;
            }
            let has_room = left_of_period.get(period).is_some_and(|left| *left > 0);
            if has_room {
                if let Some(left) = left_of_period.get_mut(period) {
                    *left -= 1;
                }
                self.round(tier, period, true);
                return true;
            }
            for other in 0..MOST_TIERS {
                if other != tier && self.is_up(other, period) && self.place(other, left_of_period, tried) {
                    self.round(other, period, false);
                    self.round(tier, period, true);
                    return true;
                }
            }
        }
        false
    }

    /// The period of the largest remainder that a tier does not round up yet and that was not tried.
    fn largest_remainder(&self, tier: usize, tried: &[bool; MOST_PERIODS]) -> Option<usize> {
        let remainders = self.remainder.get(tier)?.iter().zip(self.up.get(tier)?).zip(tried).enumerate();
        let open = remainders.filter(|(_, ((remainder, up), tried))| **remainder > 0 && !**up && !**tried);
        // Of equal remainders the earlier one.
        open.reduce(|a, b| if b.1.0.0 > a.1.0.0 { b } else { a }).map(|(period, _)| period)
    }

    fn is_up(&self, tier: usize, period: usize) -> bool {
        self.up.get(tier).and_then(|of_tier| of_tier.get(period)).is_some_and(|up| *up)
    }

    fn round(&mut self, tier: usize, period: usize, up: bool) {
        if let Some(cell) = self.up.get_mut(tier).and_then(|of_tier| of_tier.get_mut(period)) {
            *cell = up;
        }
    }
}
