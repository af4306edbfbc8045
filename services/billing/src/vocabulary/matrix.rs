//! The rules of a complete price matrix. Prices of packages and of the catalogue are such.
//!
//! A package's prices are a matrix of season × period of the day × tier, all of its own account item. A charge by
//! area and metered heat has two such matrices, one for each basis. Tiers touch each other, the first begins at 0 and the last has
//! no end (upper limit 0); the tiers of all periods of a season have the same limits, because one quantity climbs
//! them.

use std::collections::{BTreeMap, BTreeSet};

use communal_proto::billing::v1::fields::sale_package_price_row as fields;
use communal_proto::{Coded, FieldName};

use super::tariff::{Dimensions, Period, Season, Shape, TierLimits};

/// A fault of a price matrix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gap {
    /// No row for these dimensions.
    Missing(Dimensions),
    /// A row of another account item than the package's.
    ForeignItem(Dimensions),
    /// A row whose season, basis, period or tier the package does not have any more.
    Stray(Dimensions),
    /// A tier that does not begin where the one before ends: its lower limit should be this.
    Lower(Dimensions, i64),
    /// The last tier has an end, or one before it has none.
    Upper(Dimensions),
    /// A tier with other limits than in the first period of the season, which are these.
    Uneven(Dimensions, TierLimits),
}

impl Gap {
    /// The row concerned.
    #[must_use]
    pub fn dimensions(&self) -> &Dimensions {
        match self {
            Self::Missing(d)
            | Self::ForeignItem(d)
            | Self::Stray(d)
            | Self::Lower(d, _)
            | Self::Upper(d)
            | Self::Uneven(d, _) => d,
        }
    }

    /// Describes it for developers.
    #[must_use]
    pub fn english(&self) -> String {
        let d = self.dimensions();
        let place = format!("season {}, period {}, tier {}", d.season.code(), d.period.code(), d.tier.code());
        match self {
            Self::Missing(_) => format!("has no price for heat basis {}, {place}", d.heat_basis.code()),
            Self::ForeignItem(_) => format!("has a price of account item {}, which is not its own", d.account_item),
            Self::Stray(_) => {
                format!("has a price for heat basis {}, {place} that does not fit it", d.heat_basis.code())
            }
            Self::Lower(_, expected) => {
                format!("has a gap or overlap before {place}: its lower limit is not {expected}")
            }
            Self::Upper(_) => format!("has a wrong upper limit at {place}: only the last tier is without end (0)"),
            Self::Uneven(_, TierLimits { lower, upper }) => {
                format!("has other limits at {place} than in another period of the season ({lower} to {upper})")
            }
        }
    }

    /// Describes it for people.
    #[must_use]
    pub fn chinese(&self) -> String {
        let d = self.dimensions();
        let heat = match self.dimensions().heat_basis.title() {
            "" | "不计费" => String::new(),
            title => format!("按{title}、"),
        };
        let place = format!("{heat}{}季、{}时段、{}", d.season.title(), d.period.title(), d.tier.title());
        match self {
            Self::Missing(_) => format!("缺少{place}的价格"),
            Self::ForeignItem(_) => format!("存在其他会计科目（{}）的价格", d.account_item),
            Self::Stray(_) => format!("{place}的价格与套餐不符"),
            Self::Lower(_, expected) => format!("{place}的阶梯下限值应为{expected}"),
            Self::Upper(_) => format!("{place}的阶梯上限值不正确，仅最高阶梯为0（无上限）"),
            Self::Uneven(_, TierLimits { lower, upper }) => {
                format!("{place}的阶梯限值应与同季其他时段一致（{lower}至{upper}）")
            }
        }
    }
}

/// The tiers of one season and period, from the first.
pub type Column = Vec<(Dimensions, TierLimits)>;

/// Everything that is wrong with a package's prices; empty when they are complete.
#[must_use]
pub fn gaps(shape: &Shape, rows: &[(Dimensions, TierLimits)]) -> Vec<Gap> {
    let by_key: BTreeMap<&Dimensions, TierLimits> = rows.iter().map(|(d, limits)| (d, *limits)).collect();
    let mut gaps = Vec::new();
    let mut expected = BTreeSet::new();
    for &heat_basis in shape.heat_bases() {
        let part = shape.part(heat_basis);
        for &season in part.seasons() {
            let mut columns = Vec::new();
            for &period in part.periods() {
                let column: Vec<_> = part.tiers().map(|tier| part.dimensions(season, period, tier)).collect();
                let found: Vec<_> = column.iter().map(|d| (d.clone(), by_key.get(d).copied())).collect();
                gaps.extend(found.iter().filter(|(_, l)| l.is_none()).map(|(d, _)| Gap::Missing(d.clone())));
                columns.extend(found.into_iter().map(|(d, limits)| Some((d, limits?))).collect::<Option<Column>>());
                expected.extend(column);
            }
            gaps.extend(limit_gaps(&columns));
        }
    }
    gaps.extend(rows.iter().filter(|(d, _)| !expected.contains(d)).map(|(d, _)| match d {
        d if d.account_item == shape.account_item => Gap::Stray(d.clone()),
        d => Gap::ForeignItem(d.clone()),
    }));
    gaps
}

/// The faults of the limits of one season: tiers that do not touch, and periods whose limits differ.
#[must_use]
pub fn limit_gaps(periods: &[Column]) -> Vec<Gap> {
    let mut gaps: Vec<_> = periods.iter().flat_map(|column| tier_gaps(column)).collect();
    if let Some((first, others)) = periods.split_first() {
        for column in others {
            let pairs = column.iter().zip(first);
            let uneven = pairs.filter(|((_, limits), (_, of_first))| limits != of_first);
            gaps.extend(uneven.map(|((dimensions, _), (_, of_first))| Gap::Uneven(dimensions.clone(), *of_first)));
        }
    }
    gaps
}

/// The places where the tiers of one season and period do not touch.
fn tier_gaps(column: &[(Dimensions, TierLimits)]) -> Vec<Gap> {
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

/// Returns the faults of the tiers of a tariff that concern a requested row, each with this row and its field. `rows` are
/// in force on one day. Tiers that are not all there yet are not judged.
#[must_use]
pub fn ladder_gaps(
    tiers: usize,
    rows: impl IntoIterator<Item = (Dimensions, TierLimits)>,
    requested: &[(Dimensions, usize)],
) -> Vec<(usize, FieldName, Gap)> {
    let mut seasons: BTreeMap<Season, BTreeMap<Period, Column>> = BTreeMap::new();
    for (dimensions, limits) in rows {
        let periods = seasons.entry(dimensions.season).or_default();
        periods.entry(dimensions.period).or_default().push((dimensions, limits));
    }
    let mut found = Vec::new();
    for (season, mut periods) in seasons {
        periods.retain(|_, column| column.len() == tiers);
        periods.values_mut().for_each(|column| column.sort_by_key(|(dimensions, _)| dimensions.tier));
        let of_season: Vec<_> = requested.iter().filter(|(d, _)| d.season == season).cloned().collect();
        for gap in limit_gaps(&periods.into_values().collect::<Vec<_>>()) {
            if let Some((row, field)) = at_a_requested_row(&gap, &of_season) {
                found.push((row, field, gap));
            }
        }
    }
    found
}

/// Returns the row and field of a gap within a season: at its own tier if the request names it, else at the nearest one that it
/// names. Limits of two periods that differ may be named in either; nothing if the request names neither.
#[must_use]
pub fn at_a_requested_row(gap: &Gap, requested: &[(Dimensions, usize)]) -> Option<(usize, FieldName)> {
    let of_gap = gap.dimensions();
    let distance = |d: &Dimensions| (d.period != of_gap.period, (d.tier as i32 - of_gap.tier as i32).abs());
    let concerned = requested.iter().filter(|(d, _)| matches!(gap, Gap::Uneven(..)) || d.period == of_gap.period);
    let (nearest, index) = concerned.min_by_key(|(d, _)| distance(d))?;
    let field = match gap {
        Gap::Lower(..) if nearest.tier >= of_gap.tier => fields::LOWER_LIMIT,
        _ => fields::UPPER_LIMIT,
    };
    Some((*index, field))
}
