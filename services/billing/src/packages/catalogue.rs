//! The rules of a package that the catalogue prices: which of its prices are missing.

use communal_proto::billing::v1::BasicFeesType;

use crate::reference::catalogue_prices::{Tariff, Version};
use crate::vocabulary::matrix::{Gap, gaps};
use crate::vocabulary::tariff::Shape;

/// Returns the gaps in the matrix of a package. `versions` are main prices in force on a day; those of other tariffs
/// do not count.
#[must_use]
pub fn missing_prices(shape: &Shape, tariff: &Tariff, versions: &[Version]) -> Vec<Gap> {
    let parts: Vec<_> = shape.heat_bases().iter().map(|basis| (shape.part(*basis), tariff.part(*basis))).collect();
    let priced = versions.iter().filter_map(|Version { key, values, .. }| {
        let (part, _) = parts.iter().find(|(_, tariff)| *tariff == key.tariff)?;
        Some((part.dimensions(key.season, key.period, key.tier), values.limits))
    });
    gaps(shape, &priced.collect::<Vec<_>>())
}

/// Returns true if a package has a basic fee without a price. `versions` are basic-fee prices in force on a day.
#[must_use]
pub fn lacks_basic_fee(tariff: &Tariff, versions: &[Version]) -> bool {
    let has_one = matches!(tariff.basic_fee_kind, BasicFeesType::Capacity | BasicFeesType::Demand);
    has_one && !versions.iter().any(|version| version.key.tariff == tariff.basic_fee())
}
