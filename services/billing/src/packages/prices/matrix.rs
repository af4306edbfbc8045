//! The rules of a complete price matrix.
//!
//! A package's prices are a matrix of season × period of the day × tier. Tiers touch each other, the
//! first begins at 0 and the last has no end (upper limit 0).

use std::collections::{BTreeMap, BTreeSet};

use communal_proto::Coded;

use crate::vocabulary::tariff::{Dimensions, HeatBasis, PropertyBasis, Shape, TierLimits};

/// A fault of a price matrix.
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

    /// Describes it for developers.
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

    /// Describes it for people.
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
/// Account item, heat basis and property basis may take several values in one package (a heat price
/// by area beside one by metered heat); each combination that occurs is a matrix of its own, and the
/// package's own account item must be among them.
#[must_use]
pub fn gaps(shape: &Shape, rows: &[(Dimensions, TierLimits)]) -> Vec<Gap> {
    let by_key: BTreeMap<&Dimensions, TierLimits> = rows.iter().map(|(d, limits)| (d, *limits)).collect();
    let mut matrices: BTreeSet<(String, HeatBasis, PropertyBasis)> =
        rows.iter().map(|(d, _)| (d.account_item.clone(), d.heat_basis, d.property_basis)).collect();
    if !matrices.iter().any(|(item, ..)| *item == shape.account_item) {
        matrices.insert((shape.account_item.clone(), shape.heat_basis_of_rows(), shape.property_basis));
    }
    let mut gaps = Vec::new();
    let mut expected = BTreeSet::new();
    for (account_item, heat_basis, property_basis) in matrices {
        for &season in shape.seasons() {
            for &period in shape.periods() {
                let column: Vec<_> = shape
                    .tiers()
                    .map(|tier| Dimensions {
                        account_item: account_item.clone(),
                        agreement_price: shape.agreement_price,
                        season,
                        heat_basis,
                        property_basis,
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

/// The places where the tiers of one season and period, given from the first, do not touch.
#[must_use]
pub fn tier_gaps(column: &[(Dimensions, TierLimits)]) -> Vec<Gap> {
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
