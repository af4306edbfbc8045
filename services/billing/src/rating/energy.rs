//! Energy lines: a quantity by period of the day, over the tiers of a ladder, at the prices of a matrix.

use communal_kit::money::{CENTS, round};
use communal_proto::billing::v1::CalcFeeType;
use rust_decimal::Decimal;

use super::bill::{FeeLine, LineRule, Share, TierPart};
use super::error::RatingError;
use super::hundredths::Hundredths;
use super::ladder::{Tiers, WalkedPart, walk};
use super::rates::{MOST_TIERS, PriceMatrix};
use super::shares::{ByPeriod, cross, sum};
use crate::vocabulary::tariff::{Ladder, Period, Season, Tier};

/// What all energy lines of a bill have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct LineTerms {
    /// Fee kind.
    pub(super) kind: CalcFeeType,
    /// Category item.
    pub(super) category_item: i64,
    /// Season.
    pub(super) season: Season,
    /// The accumulator by which the ladder counts.
    pub(super) accumulated: Hundredths,
    /// What persons add to every finite limit.
    pub(super) increase: Hundredths,
}

/// Adds the lines of a quantity by period.
///
/// Without a ladder each period is a line, whatever its sign. With one, the negative periods together walk down from the
/// accumulator first, then the positive ones together walk up from there; either group is shared out by itself.
pub(super) fn add_lines(
    matrix: &PriceMatrix,
    terms: &LineTerms,
    by_period: &ByPeriod,
    lines: &mut Vec<FeeLine>,
) -> Result<(), RatingError> {
    if matrix.ladder() == Ladder::None {
        for (period, quantity) in matrix.periods().iter().zip(by_period) {
            let rule = LineRule::Energy { part: None, share: None };
            add_line(matrix, terms, (*period, Tier::First), *quantity, rule, lines)?;
        }
        return Ok(());
    }
    let tiers = Tiers::of(matrix, terms.season, terms.increase)?;
    let mut accumulated = terms.accumulated;
    for negative in [true, false] {
        let group =
            by_period.map(|quantity| if quantity.is_negative() == negative { quantity } else { Hundredths::ZERO });
        let whole = sum(&group).ok_or(RatingError::OutOfRange)?;
        if whole.is_zero() {
            continue;
        }
        let parts = walk(&tiers, accumulated, whole)?;
        add_group(matrix, terms, &group, whole, &parts, lines)?;
        accumulated = accumulated.plus(whole).ok_or(RatingError::OutOfRange)?;
    }
    Ok(())
}

fn add_group(
    matrix: &PriceMatrix,
    terms: &LineTerms,
    group: &ByPeriod,
    whole: Hundredths,
    parts: &[Option<WalkedPart>; MOST_TIERS],
    lines: &mut Vec<FeeLine>,
) -> Result<(), RatingError> {
    let is_one_tier = matches!(parts, [Some(_), None, ..]);
    let is_one_period = group.iter().filter(|quantity| !quantity.is_zero()).count() == 1;
    let cells = if is_one_tier || is_one_period {
        None
    } else {
        let by_tier = parts.map(|part| part.map_or(Hundredths::ZERO, |part| part.quantity));
        Some(cross(&by_tier, group).ok_or(RatingError::OutOfRange)?)
    };
    for (row, part) in parts.iter().enumerate() {
        let Some(part) = part else { break };
        let tier_part = TierPart {
            lower: part.limited.lower.decimal(),
            upper: part.limited.upper.map(Hundredths::decimal),
            from: part.from.decimal(),
            to: part.to.decimal(),
        };
        for (column, (period, of_period)) in matrix.periods().iter().zip(group).enumerate() {
            let (quantity, share) = match &cells {
                Some(cells) => {
                    let cell = cells.get(row).and_then(|of_tier| of_tier.get(column)).copied().unwrap_or_default();
                    let share = Share {
                        of_tier: part.quantity.decimal(),
                        of_period: of_period.decimal(),
                        whole: whole.decimal(),
                    };
                    (cell, Some(share))
                }
                None if of_period.is_zero() => continue,
                None if is_one_tier => (*of_period, None),
                None => (part.quantity, None),
            };
            let rule = LineRule::Energy { part: Some(tier_part), share };
            add_line(matrix, terms, (*period, part.limited.tier), quantity, rule, lines)?;
        }
    }
    Ok(())
}

/// Adds a line, unless its quantity is zero.
fn add_line(
    matrix: &PriceMatrix,
    terms: &LineTerms,
    (period, tier): (Period, Tier),
    quantity: Hundredths,
    rule: LineRule,
    lines: &mut Vec<FeeLine>,
) -> Result<(), RatingError> {
    if quantity.is_zero() {
        return Ok(());
    }
    let price = matrix.price(terms.season, period, tier)?;
    let quantity = quantity.decimal();
    lines.push(FeeLine {
        kind: terms.kind,
        category_item: terms.category_item,
        surcharge_item: 0,
        season: terms.season,
        period,
        tier,
        start: price.start,
        version: price.version,
        quantity,
        price: price.price,
        fee: fee(quantity, price.price)?,
        rule,
    });
    Ok(())
}

/// Quantity × price, rounded half up to the cent.
pub(super) fn fee(quantity: Decimal, price: Decimal) -> Result<Decimal, RatingError> {
    let exact = quantity.checked_mul(price).ok_or(RatingError::OutOfRange)?;
    Ok(round(exact, CENTS))
}
