//! The ladder: which accumulator counts, how persons raise the limits, and the walk of a quantity over the tiers.

use super::error::RatingError;
use super::facts::Accumulators;
use super::hundredths::Hundredths;
use super::rates::{MOST_TIERS, PopulationRow, PriceMatrix};
use crate::vocabulary::dates::AccountMonth;
use crate::vocabulary::tariff::{Ladder, Season, Tier};

impl Accumulators {
    /// The accumulators with which a bill of a month begins: what belongs to another year or month is zero.
    #[must_use]
    pub fn at(self, month: AccountMonth) -> Self {
        let of_year = self.last.is_some_and(|last| last.year() == month.year());
        let of_month = self.last == Some(month);
        Self {
            last: Some(month),
            year: if of_year { self.year } else { Self::NONE.year },
            month: if of_month { self.month } else { Self::NONE.month },
        }
    }

    /// The quantity by which a ladder of a kind counts.
    #[must_use]
    pub fn of(self, ladder: Ladder) -> rust_decimal::Decimal {
        match ladder {
            Ladder::Year => self.year,
            Ladder::Month => self.month,
            Ladder::None | Ladder::Unspecified => Self::NONE.year,
        }
    }
}

/// What persons add to every finite limit: for each row, as many increases as there are whole increments above its base.
/// `None` if it is out of range. A number of 0 is not known and adds nothing.
#[must_use]
pub fn population_increase(persons: u32, rows: &[PopulationRow]) -> Option<Hundredths> {
    rows.iter().try_fold(Hundredths::ZERO, |sum, row| {
        let steps = persons.saturating_sub(row.base) / row.increment.get();
        sum.plus(Hundredths::new(row.increase.number().checked_mul(i64::from(steps))?))
    })
}

/// A tier with its limits, population included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitedTier {
    /// The tier.
    pub tier: Tier,
    /// Its lower limit: the upper one of the tier before.
    pub lower: Hundredths,
    /// Its upper limit; `None` for no end.
    pub upper: Option<Hundredths>,
}

/// The tiers of a season with persons' increase. An increased limit is never below the limit before it, nor below zero.
#[derive(Clone, Copy, Debug)]
pub struct Tiers {
    limited: [Option<LimitedTier>; MOST_TIERS],
}

impl Tiers {
    /// The tiers of a price matrix for a season.
    ///
    /// # Errors
    /// Returns `NoLimits` if no tier is without end, and `OutOfRange` if the decimals cannot hold a limit.
    pub fn of(matrix: &PriceMatrix, season: Season, increase: Hundredths) -> Result<Self, RatingError> {
        let mut tiers = Self { limited: [None; MOST_TIERS] };
        let mut lower = Hundredths::ZERO;
        let mut next = Tier::First;
        for (limited, (limits, code)) in tiers.limited.iter_mut().zip(matrix.limits(season).zip(1..)) {
            let tier = Tier::try_from(code).map_err(|_| RatingError::NoLimits { season, tier: next })?;
            if limits.upper == 0 {
                *limited = Some(LimitedTier { tier, lower, upper: None });
                return Ok(tiers);
            }
            let upper = Hundredths::of_units(limits.upper).and_then(|limit| limit.plus(increase));
            let upper = upper.ok_or(RatingError::OutOfRange)?.max(lower);
            *limited = Some(LimitedTier { tier, lower, upper: Some(upper) });
            lower = upper;
            next = Tier::try_from(code + 1).unwrap_or(tier);
        }
        Err(RatingError::NoLimits { season, tier: next })
    }

    fn ascending(&self) -> impl DoubleEndedIterator<Item = &LimitedTier> {
        self.limited.iter().flatten()
    }
}

/// The part of a quantity in one tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalkedPart {
    /// The tier.
    pub limited: LimitedTier,
    /// The accumulator before the part.
    pub from: Hundredths,
    /// The accumulator after it.
    pub to: Hundredths,
    /// Its quantity: `to` less `from`.
    pub quantity: Hundredths,
}

/// Walks a quantity over the tiers from an accumulator on: a positive one up, a negative one (a refund) down. What lies below
/// zero has the price of the first tier. The parts are in the order of the walk and add up to the quantity; tiers that it does
/// not touch have none.
///
/// # Errors
/// Returns `OutOfRange` if the decimals cannot hold a sum.
pub fn walk(
    tiers: &Tiers,
    accumulated: Hundredths,
    quantity: Hundredths,
) -> Result<[Option<WalkedPart>; MOST_TIERS], RatingError> {
    let end = accumulated.plus(quantity).ok_or(RatingError::OutOfRange)?;
    let mut parts = [None; MOST_TIERS];
    let mut free = parts.iter_mut();
    let mut position = accumulated;
    if quantity.is_negative() {
        for limited in tiers.ascending().rev() {
            // The first tier has no lower end here.
            let lowest = if limited.tier == Tier::First { end } else { end.max(limited.lower) };
            if position > lowest {
                put(&mut free, *limited, position, lowest)?;
                position = lowest;
            }
        }
    } else {
        for limited in tiers.ascending() {
            let highest = limited.upper.map_or(end, |upper| end.min(upper));
            if position < highest {
                put(&mut free, *limited, position, highest)?;
                position = highest;
            }
        }
    }
    Ok(parts)
}

/// Puts a part into the next free place. There is one for each tier.
fn put<'p>(
    free: &mut impl Iterator<Item = &'p mut Option<WalkedPart>>,
    limited: LimitedTier,
    from: Hundredths,
    to: Hundredths,
) -> Result<(), RatingError> {
    let quantity = to.minus(from).ok_or(RatingError::OutOfRange)?;
    if let Some(free) = free.next() {
        *free = Some(WalkedPart { limited, from, to, quantity });
    }
    Ok(())
}
