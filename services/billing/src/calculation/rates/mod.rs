//! The rates of billing points: what prices, ratios and rules apply to a package on a day in an account month, put together from
//! packages and reference data. Pure; [`store`] reads them.
//!
//! Pricing data belongs to the company that prices: ratios, seasons and population are those of the package's retail company
//! and its store (of a guaranteed package, the network company and the account's network store); prices of the catalogue and of
//! delivery are those of the package's network company.

use std::collections::HashMap;
use std::num::NonZeroU32;

use chrono::NaiveDate;
use communal_proto::billing::v1::{
    BasicFeesType, ChargePackType, ChargeRuleType, DeliveryPriceType, Reason, RewardPunishType,
};
use rust_decimal::Decimal;

use crate::packages::prices::store::VersionInForce as PackageVersion;
use crate::packages::store::PackageRow;
use crate::rating::hundredths::Hundredths;
use crate::rating::rates::{
    AdjustRow, Approval, ItemPrice, PopulationRow, PriceMatrix, RowError, SurchargePrice, UnitPrice,
};
use crate::rating::{Rates, RatingError};
use crate::reference::adjust_ratios::store::RatioInForce;
use crate::reference::catalogue_prices::{Part, Tariff, Version};
use crate::reference::delivery_prices::store::VersionInForce as DeliveryVersion;
use crate::reference::ladder_populations::store::Increment;
use crate::vocabulary::tariff::{HeatBasis, Season, Utility};

pub mod store;

/// What a point is priced by: the same for all points of a package that are priced on one day in one account month.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PriceKey {
    /// The retail company of the package.
    pub retail_company_id: String,
    /// The package.
    pub package_id: String,
    /// The network company of the account.
    pub network_company_id: String,
    /// Its store.
    pub network_store_id: String,
    /// Utility.
    pub utility: Utility,
    /// The account month.
    pub account_month: i32,
    /// The day whose prices are in force.
    pub day: NaiveDate,
}

/// What a key leads to.
#[derive(Clone, Debug)]
pub struct PricedBy {
    /// The rates of the package.
    pub rates: Rates,
    /// The season of the account month; flat if none is set.
    pub season: Season,
    /// The part-month rule of the account month.
    pub part_month_rule: ChargeRuleType,
}

/// The rates of keys; a key whose package cannot price has the reason for it.
pub type RatesByKey = HashMap<PriceKey, Result<PricedBy, Unpriced>>;

/// Why a package cannot price, whatever an account used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unpriced {
    /// The package is not in force on the day: it ended, was cancelled, or has not begun.
    #[error("the package is not in force on {0}")]
    PackageNotInForce(NaiveDate),
    /// The account item of the package has no main category item.
    #[error("the account item of the package is not in the catalogue of its network company")]
    NoMainItem,
    /// The price rows contradict each other or the package.
    #[error("the prices do not fit the package: {0}")]
    Rows(#[from] RowError),
    /// The rating of what was used.
    #[error(transparent)]
    Rating(#[from] RatingError),
}

impl Unpriced {
    /// The reason for which an account is refused.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::PackageNotInForce(_) => Reason::PackageNotInForce,
            Self::NoMainItem | Self::Rows(_) => Reason::NotPriced,
            Self::Rating(error) => error.reason(),
        }
    }

    /// Describes it for people.
    #[must_use]
    pub fn chinese(&self) -> String {
        match self {
            Self::PackageNotInForce(day) => format!("计费套餐在{}未生效或已停用", day.format("%Y%m%d")),
            Self::NoMainItem => "套餐的会计科目没有主分类项目".into(),
            Self::Rows(_) => "价格与套餐不符".into(),
            Self::Rating(error) => error.chinese(),
        }
    }
}

/// What was read of a key.
#[derive(Debug)]
pub(in crate::calculation) struct Sources<'s> {
    pub(in crate::calculation) package: &'s PackageRow,
    pub(in crate::calculation) main_item: Option<i64>,
    pub(in crate::calculation) own_prices: Vec<&'s PackageVersion>,
    pub(in crate::calculation) catalogue: Vec<(Part, &'s Version)>,
    pub(in crate::calculation) delivery: Vec<&'s DeliveryVersion>,
    pub(in crate::calculation) population: Vec<&'s Increment>,
    pub(in crate::calculation) approval: Option<(Decimal, Decimal)>,
    pub(in crate::calculation) adjust_ratios: Vec<&'s RatioInForce>,
    pub(in crate::calculation) vacancy_ratio: Decimal,
}

/// The kind of delivery price that a package asks for: its own, else that of its kind.
#[must_use]
pub fn delivery_kind(package: &PackageRow) -> DeliveryPriceType {
    match (package.delivery_price_kind, package.kind.0) {
        (Some(kind), _) => kind.0,
        (None, ChargePackType::Market) => DeliveryPriceType::Market,
        (None, _) => DeliveryPriceType::Guaranteed,
    }
}

/// Puts the rates of a package together that is in force.
pub(in crate::calculation) fn rates(sources: &Sources<'_>) -> Result<Rates, Unpriced> {
    let Sources { package, main_item, .. } = sources;
    let tariff = package.tariff();
    let mut rates = Rates::new(package.kind.0, main_item.ok_or(Unpriced::NoMainItem)?);
    rates.take_shape(&package.shape());
    match package.kind.0 {
        ChargePackType::Market => {
            let own = sources.own_prices.iter().filter(|row| row.dimensions.account_item == package.account_item);
            for row in own {
                let price = UnitPrice { price: row.price, start: row.start, version: None };
                rates.add_row(&row.dimensions, row.limits, price)?;
            }
        }
        _ => take_main_prices(&mut rates, package, &tariff, &sources.catalogue)?,
    }
    rates.basic_fee_kind = tariff.basic_fee_kind;
    let of_basic_fee = tariff.basic_fee();
    let basic_fee = sources.catalogue.iter().find(|(part, version)| {
        *part == Part::BasicFee && tariff.basic_fee_kind != BasicFeesType::None && version.key.tariff == of_basic_fee
    });
    rates.basic_fee =
        basic_fee.map(|(_, version)| ItemPrice { category_item: version.main_item, price: unit_price(version) });
    rates.approval = sources.approval.map(|(ratio, factor)| Approval { ratio, factor });
    rates.adjust_ratios = sources.adjust_ratios.iter().map(|row| adjust_row(row)).collect();
    rates.population_rows = sources
        .population
        .iter()
        .map(|row| population_row(row))
        .collect::<Option<_>>()
        .ok_or(RatingError::OutOfRange)?;
    rates.population = u32::try_from(package.population).map_err(|_| RatingError::OutOfRange)?;
    rates.vacancy_ratio = sources.vacancy_ratio;
    rates.delivery = delivery(&sources.delivery)?;
    Ok(rates)
}

/// Takes the main and attached prices of a guaranteed package, which the catalogue has.
fn take_main_prices(
    rates: &mut Rates,
    package: &PackageRow,
    tariff: &Tariff,
    catalogue: &[(Part, &Version)],
) -> Result<(), Unpriced> {
    let shape = package.shape();
    let metered = rates.energy.is_some();
    for basis in shape.heat_bases() {
        let (part, of_part) = (shape.part(*basis), tariff.part(*basis));
        let rows = catalogue.iter().filter(|(kind, version)| *kind == Part::Main && version.key.tariff == of_part);
        for (_, version) in rows {
            let dimensions = part.dimensions(version.key.season, version.key.period, version.key.tier);
            rates.add_row(&dimensions, version.values.limits, unit_price(version))?;
            // A set of codes has one main item.
            if metered && (rates.space.is_none() || *basis != HeatBasis::Area) {
                rates.energy_item = Some(version.main_item);
            }
        }
    }
    let plain = Tariff::plain(&tariff.account_item, tariff.utility, tariff.supply_kind);
    let attached_to = rates.energy_item.unwrap_or(rates.main_item);
    let attached = catalogue.iter().filter(|(kind, version)| {
        *kind == Part::Attached && version.key.tariff == plain && version.main_item == attached_to
    });
    rates.surcharges = attached
        .filter_map(|(_, version)| {
            let (category_item, surcharge_item) = version.key.attached?;
            Some(SurchargePrice { category_item, surcharge_item, price: unit_price(version) })
        })
        .collect();
    rates.surcharges.sort_by_key(|surcharge| surcharge.surcharge_item);
    Ok(())
}

fn unit_price(version: &Version) -> UnitPrice {
    UnitPrice { price: version.values.price, start: version.span.start, version: version.price_id }
}

fn adjust_row(row: &RatioInForce) -> AdjustRow {
    AdjustRow {
        standard: row.standard,
        power_factor: row.power_factor,
        ratio: if row.direction == RewardPunishType::Reward { -row.ratio } else { row.ratio },
        category_item: row.category_item,
        start: Some(row.start),
    }
}

fn population_row(row: &Increment) -> Option<PopulationRow> {
    Some(PopulationRow {
        base: u32::try_from(row.base).ok()?,
        increment: NonZeroU32::new(u32::try_from(row.increment).ok()?)?,
        increase: Hundredths::exactly(row.increase)?,
    })
}

/// The delivery prices of a tariff; a tariff is split in one way on a day.
fn delivery(rows: &[&DeliveryVersion]) -> Result<Option<PriceMatrix>, RowError> {
    let Some(first) = rows.first() else { return Ok(None) };
    let mut matrix = PriceMatrix::new(first.time_of_use, first.ladder);
    for row in rows {
        let price = UnitPrice { price: row.price, start: Some(row.start), version: Some(row.price_id) };
        match row.season {
            Season::Unspecified => matrix.set_in_every_season(row.period, row.tier, row.limits, price)?,
            season => matrix.set(season, row.period, row.tier, row.limits, price)?,
        }
    }
    Ok(Some(matrix))
}
