//! What a price matrix must look like and what a quantity costs by it. Pure arithmetic on
//! decimals: no clock, no storage, no transport.
//!
//! A package's prices are a matrix of season × period of the day × tier. A tier covers the
//! quantities (lower, upper]; tiers touch each other, the first begins at 0 and the last has
//! no end (upper 0). Each printed line is rounded once, half up to the cent; a bill is the
//! sum of its printed lines.

use std::collections::{BTreeMap, BTreeSet};

use communal_kit::money::{CENTS, round};
use communal_proto::Coded;
use communal_proto::billing::v1::{
    AbundanceType, GarbChargeType, HeatChargeType, LadderLevelType, LadderType, NetworkType, TimeFeesType,
    TimeSharingType, YesNo,
};
use rust_decimal::Decimal;

/// What of a package decides which prices it must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Tariff class.
    pub account_item: String,
    /// Utility.
    pub utility: NetworkType,
    /// Whether the price was agreed with the customer.
    pub agreement: YesNo,
    /// Whether priced by season.
    pub seasonal: bool,
    /// Basis of the heat charge.
    pub heat: HeatChargeType,
    /// Basis of the property and garbage charge.
    pub property: GarbChargeType,
    /// How many periods of the day are priced apart.
    pub time_of_use: TimeFeesType,
    /// Whether tiers count by year or by month.
    pub ladder: LadderType,
    /// How many tiers there are; 1 without a ladder.
    pub tiers: i32,
}

/// The nine dimensions that name a price row within its package.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Dimensions {
    /// Tariff class.
    pub account_item: String,
    /// Whether the price was agreed with the customer.
    pub agreement: YesNo,
    /// Season; flat where the package has none.
    pub season: AbundanceType,
    /// Basis of the heat charge.
    pub heat: HeatChargeType,
    /// Basis of the property and garbage charge.
    pub property: GarbChargeType,
    /// How many periods of the day are priced apart.
    pub time_of_use: TimeFeesType,
    /// Period of the day; the whole day where the package has none.
    pub period: TimeSharingType,
    /// Whether tiers count by year or by month.
    pub ladder: LadderType,
    /// Tier; the first where the package has no ladder.
    pub tier: LadderLevelType,
}

/// The quantities a tier covers: (lower, upper], without end where upper is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Units below the tier.
    pub lower: i64,
    /// Last unit of the tier; 0 for no end.
    pub upper: i64,
}

impl Limits {
    /// Whether the tier covers anything.
    #[must_use]
    pub fn are_forward(self) -> bool {
        self.upper == 0 || self.lower < self.upper
    }
}

/// The seasons a package is priced by.
#[must_use]
pub fn seasons(seasonal: bool) -> &'static [AbundanceType] {
    if seasonal {
        &[AbundanceType::Abundant, AbundanceType::Flat, AbundanceType::Withered]
    } else {
        &[AbundanceType::Flat]
    }
}

/// The periods of the day that a kind of time of use prices apart.
#[must_use]
pub fn periods(kind: TimeFeesType) -> &'static [TimeSharingType] {
    use TimeSharingType::{DeepValley, Flat, Peak, Sharp, Valley, Whole};
    match kind {
        TimeFeesType::One | TimeFeesType::Unspecified => &[Whole],
        TimeFeesType::Two => &[Peak, Valley],
        TimeFeesType::Three => &[Peak, Flat, Valley],
        TimeFeesType::Four => &[Peak, Flat, Valley, Sharp],
        TimeFeesType::Five => &[Peak, Flat, Valley, Sharp, DeepValley],
    }
}

/// The tiers of a package, from the first.
pub fn tiers(count: i32) -> impl Iterator<Item = LadderLevelType> {
    (1..=count.max(1)).filter_map(|tier| LadderLevelType::try_from(tier).ok())
}

/// What a price matrix lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gap {
    /// No row for these dimensions.
    Missing(Dimensions),
    /// A row whose season, period or tier the package does not have any more.
    Stray(Dimensions),
    /// A tier that does not begin where the one before ends: its lower limit should be this.
    Lower(Dimensions, i64),
    /// The last tier has an end, or one before it has none.
    Upper(Dimensions),
}

impl Gap {
    /// The row concerned.
    #[must_use]
    pub fn dimensions(&self) -> &Dimensions {
        match self {
            Self::Missing(d) | Self::Stray(d) | Self::Lower(d, _) | Self::Upper(d) => d,
        }
    }

    /// For developers.
    #[must_use]
    pub fn english(&self) -> String {
        let d = self.dimensions();
        let place = format!("season {}, period {}, tier {}", d.season.code(), d.period.code(), d.tier.code());
        match self {
            Self::Missing(_) => format!("has no price for {place}"),
            Self::Stray(_) => format!("has a price for {place} that does not fit it"),
            Self::Lower(_, expected) => {
                format!("has a gap or overlap before {place}: its lower limit is not {expected}")
            }
            Self::Upper(_) => format!("has a wrong upper limit at {place}: only the last tier is without end (0)"),
        }
    }

    /// For people.
    #[must_use]
    pub fn chinese(&self) -> String {
        let d = self.dimensions();
        let place = format!("{}季、{}时段、{}", d.season.title(), d.period.title(), d.tier.title());
        match self {
            Self::Missing(_) => format!("缺少{place}的价格"),
            Self::Stray(_) => format!("{place}的价格与套餐不符"),
            Self::Lower(_, expected) => format!("{place}的阶梯下限值应为{expected}"),
            Self::Upper(_) => format!("{place}的阶梯上限值不正确，仅最高阶梯为0（无上限）"),
        }
    }
}

/// Everything that is missing from a package's prices; empty when they are complete.
///
/// Account item, heat basis and property basis may take several values in one package (a heat
/// price by area beside one by metered heat); each combination that occurs is a matrix of its
/// own, and the package's own account item must be among them.
#[must_use]
pub fn gaps(shape: &Shape, rows: &[(Dimensions, Limits)]) -> Vec<Gap> {
    let by_key: BTreeMap<&Dimensions, Limits> = rows.iter().map(|(d, limits)| (d, *limits)).collect();
    let mut matrices: BTreeSet<(String, HeatChargeType, GarbChargeType)> =
        rows.iter().map(|(d, _)| (d.account_item.clone(), d.heat, d.property)).collect();
    if !matrices.iter().any(|(item, ..)| *item == shape.account_item) {
        matrices.insert((shape.account_item.clone(), neutral_heat(shape.heat), shape.property));
    }
    let mut gaps = Vec::new();
    let mut expected = BTreeSet::new();
    for (account_item, heat, property) in matrices {
        for &season in seasons(shape.seasonal) {
            for &period in periods(shape.time_of_use) {
                let column: Vec<_> = tiers(shape.tiers)
                    .map(|tier| Dimensions {
                        account_item: account_item.clone(),
                        agreement: shape.agreement,
                        season,
                        heat,
                        property,
                        time_of_use: shape.time_of_use,
                        period,
                        ladder: shape.ladder,
                        tier,
                    })
                    .collect();
                let found: Vec<_> = column.iter().map(|d| (d.clone(), by_key.get(d).copied())).collect();
                gaps.extend(found.iter().filter(|(_, l)| l.is_none()).map(|(d, _)| Gap::Missing(d.clone())));
                let found: Option<Vec<_>> = found.into_iter().map(|(d, limits)| Some((d, limits?))).collect();
                if let Some(found) = found {
                    gaps.extend(tier_gaps(&found));
                }
                expected.extend(column);
            }
        }
    }
    gaps.extend(rows.iter().filter(|(d, _)| !expected.contains(d)).map(|(d, _)| Gap::Stray(d.clone())));
    gaps
}

/// Where the tiers of one season and period, given from the first, do not touch.
#[must_use]
pub fn tier_gaps(column: &[(Dimensions, Limits)]) -> Vec<Gap> {
    let mut gaps = Vec::new();
    let mut expected = 0;
    for (index, (dimensions, limits)) in column.iter().enumerate() {
        if limits.lower != expected {
            gaps.push(Gap::Lower(dimensions.clone(), expected));
        }
        let is_last = index + 1 == column.len();
        if is_last != (limits.upper == 0) || !limits.are_forward() {
            gaps.push(Gap::Upper(dimensions.clone()));
        }
        expected = limits.upper;
    }
    gaps
}

/// The heat basis of a row that names none: the package's, or no heat charge.
#[must_use]
pub fn neutral_heat(heat: HeatChargeType) -> HeatChargeType {
    if heat == HeatChargeType::Unspecified { HeatChargeType::None } else { heat }
}

/// Why a quantity could not be priced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TariffError {
    /// The decimals do not hold the result.
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

/// Splits a quantity over tiers, given what was used before it in the year or month. A negative
/// quantity (a refund) walks the ladder down again. The parts always add up to the whole.
///
/// # Errors
/// Where the tiers leave a part of it uncovered.
pub fn split(tiers: &[Limits], accumulated: Decimal, quantity: Decimal) -> Result<Vec<Decimal>, TariffError> {
    let end = accumulated.checked_add(quantity).ok_or(TariffError::OutOfRange)?;
    let (from, to) = if quantity.is_sign_negative() { (end, accumulated) } else { (accumulated, end) };
    let mut parts = Vec::with_capacity(tiers.len());
    let mut covered = Decimal::ZERO;
    for (index, tier) in tiers.iter().enumerate() {
        // What was refunded beyond zero had the price of the first tier.
        let low = if index == 0 { from } else { from.max(Decimal::from(tier.lower)) };
        let high = if tier.upper == 0 { to } else { to.min(Decimal::from(tier.upper)) };
        let part = high.checked_sub(low).ok_or(TariffError::OutOfRange)?.max(Decimal::ZERO);
        covered = covered.checked_add(part).ok_or(TariffError::OutOfRange)?;
        parts.push(if quantity.is_sign_negative() { -part } else { part });
    }
    if covered == quantity.abs() { Ok(parts) } else { Err(TariffError::NotCovered) }
}

/// Shares a quantity out in proportion to `shares`, to two places; the hundredths that are left
/// go to the largest remainders, the earlier one first. The parts add up to the whole.
///
/// # Errors
/// Where the shares add up to zero.
pub fn share_out(whole: Decimal, shares: &[Decimal]) -> Result<Vec<Decimal>, TariffError> {
    let sum = shares.iter().try_fold(Decimal::ZERO, |sum, s| sum.checked_add(*s)).ok_or(TariffError::OutOfRange)?;
    if sum.is_zero() {
        return Err(TariffError::NoShares);
    }
    let mut parts = Vec::with_capacity(shares.len());
    let mut remainders = Vec::with_capacity(shares.len());
    let mut left = whole;
    for (index, share) in shares.iter().enumerate() {
        let exact = whole.checked_mul(*share).and_then(|p| p.checked_div(sum)).ok_or(TariffError::OutOfRange)?;
        let part = exact.trunc_with_scale(CENTS);
        left = left.checked_sub(part).ok_or(TariffError::OutOfRange)?;
        remainders.push((exact.checked_sub(part).ok_or(TariffError::OutOfRange)?.abs(), index));
        parts.push(part);
    }
    remainders.sort_by(|(a, i), (b, j)| b.cmp(a).then(i.cmp(j)));
    let step = if left.is_sign_negative() { -Decimal::new(1, CENTS) } else { Decimal::new(1, CENTS) };
    // What is finer than a hundredth (the whole itself may be) stays with the last one served.
    for (_, index) in remainders {
        if left.is_zero() {
            break;
        }
        let given = if left.abs() < step.abs() { left } else { step };
        if let Some(part) = parts.get_mut(index) {
            *part = part.checked_add(given).ok_or(TariffError::OutOfRange)?;
        }
        left = left.checked_sub(given).ok_or(TariffError::OutOfRange)?;
    }
    Ok(parts)
}

/// One printed line of a bill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PricedPart {
    /// Tier.
    pub tier: LadderLevelType,
    /// Period of the day.
    pub period: TimeSharingType,
    /// Quantity.
    pub quantity: Decimal,
    /// Unit price.
    pub price: Decimal,
    /// Quantity × price, rounded half up to the cent.
    pub fee: Decimal,
}

/// The prices of one season: tiers with their limits, and the price of each period in each.
#[derive(Clone, Debug, Default)]
pub struct Rates {
    /// Limits by tier, from the first.
    pub tiers: Vec<Limits>,
    /// Price by tier (from the first) and period.
    pub prices: BTreeMap<(LadderLevelType, TimeSharingType), Decimal>,
}

/// Prices what was used by period, given what was used before in the year or month: first the
/// total is split over the tiers, then each tier's part is shared out over the periods.
///
/// # Errors
/// Where a tier or a price is missing, or an amount is out of range.
pub fn price(
    rates: &Rates,
    accumulated: Decimal,
    used: &[(TimeSharingType, Decimal)],
) -> Result<Vec<PricedPart>, TariffError> {
    let shares: Vec<_> = used.iter().map(|(_, quantity)| *quantity).collect();
    let total = shares.iter().try_fold(Decimal::ZERO, |sum, q| sum.checked_add(*q)).ok_or(TariffError::OutOfRange)?;
    let mut lines = Vec::new();
    for (tier, part) in (1..).zip(split(&rates.tiers, accumulated, total)?) {
        if part.is_zero() {
            continue;
        }
        let tier = LadderLevelType::try_from(tier).map_err(|_| TariffError::NotCovered)?;
        for ((period, _), quantity) in used.iter().zip(share_out(part, &shares)?) {
            if quantity.is_zero() {
                continue;
            }
            let price = *rates.prices.get(&(tier, *period)).ok_or(TariffError::NoPrice)?;
            let fee = quantity.checked_mul(price).ok_or(TariffError::OutOfRange)?;
            lines.push(PricedPart { tier, period: *period, quantity, price, fee: round(fee, CENTS) });
        }
    }
    Ok(lines)
}
