//! Rating: quantities in, priced lines out. Pure arithmetic on decimals; it imports the vocabulary
//! and money alone.
//!
//! First the total is split over the tiers ([`tiers`]), then each tier's part is shared out over the
//! periods of the day ([`shares`]). Each printed line is rounded once, half up to the cent; a bill is
//! the sum of its printed lines.

pub mod shares;
pub mod tiers;

use std::collections::BTreeMap;

use communal_kit::money::{CENTS, round};
use rust_decimal::Decimal;

use crate::vocabulary::tariff::{Period, Tier, TierLimits};
use shares::share_out;
use tiers::split;

/// Why a quantity could not be rated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RatingError {
    /// The decimals cannot hold the result.
    #[error("the amount is out of range")]
    OutOfRange,
    /// No tier covers a part of the quantity.
    #[error("the tiers do not cover the quantity")]
    NotCovered,
    /// The periods' quantities add up to zero, so nothing can be shared out by them.
    #[error("there is no quantity to share out by period")]
    NoShares,
    /// No price for a period in a tier.
    #[error("no price for a period")]
    NoPrice,
}

/// The prices of one season: tiers with their limits, and the price of each period in each.
#[derive(Clone, Debug, Default)]
pub struct Rates {
    /// Limits by tier, from the first.
    pub tiers: Vec<TierLimits>,
    /// Unit price by tier and period.
    pub prices: BTreeMap<(Tier, Period), Decimal>,
}

/// A quantity that was used.
#[derive(Clone, Debug)]
pub struct Usage {
    /// Quantity used before it in the year or month that the ladder counts by.
    pub accumulated: Decimal,
    /// Quantity by period of the day. A negative one is a refund.
    pub by_period: Vec<(Period, Decimal)>,
}

/// One printed line of a bill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RatedLine {
    /// Tier.
    pub tier: Tier,
    /// Period of the day.
    pub period: Period,
    /// Quantity.
    pub quantity: Decimal,
    /// Unit price.
    pub price: Decimal,
    /// Quantity × price, rounded half up to the cent.
    pub fee: Decimal,
}

/// Rates what was used.
///
/// # Errors
/// Returns a [`RatingError`] if a tier or a price is missing, or an amount is out of range.
pub fn rate(rates: &Rates, usage: &Usage) -> Result<Vec<RatedLine>, RatingError> {
    let shares: Vec<_> = usage.by_period.iter().map(|(_, quantity)| *quantity).collect();
    let total = sum(&shares)?;
    let mut lines = Vec::new();
    for (tier, part) in (1..).zip(split(&rates.tiers, usage.accumulated, total)?) {
        if part.is_zero() {
            continue;
        }
        let tier = Tier::try_from(tier).map_err(|_| RatingError::NotCovered)?;
        for ((period, _), quantity) in usage.by_period.iter().zip(share_out(part, &shares)?) {
            if quantity.is_zero() {
                continue;
            }
            let price = *rates.prices.get(&(tier, *period)).ok_or(RatingError::NoPrice)?;
            let fee = quantity.checked_mul(price).ok_or(RatingError::OutOfRange)?;
            lines.push(RatedLine { tier, period: *period, quantity, price, fee: round(fee, CENTS) });
        }
    }
    Ok(lines)
}

fn sum(quantities: &[Decimal]) -> Result<Decimal, RatingError> {
    quantities.iter().try_fold(Decimal::ZERO, |sum, q| sum.checked_add(*q)).ok_or(RatingError::OutOfRange)
}
