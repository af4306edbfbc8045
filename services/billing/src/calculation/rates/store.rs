//! Reads the rates of keys: the keys of all points of a call or of a chunk of a run at once, in one statement for each kind of
//! reference data, however many accounts share them.

use std::collections::{BTreeSet, HashMap};

use sqlx::PgConnection;

use super::{PriceKey, PricedBy, RatesByKey, Sources, Unpriced, delivery_kind, rates};
use crate::packages;
use crate::packages::store::PackageRow;
use crate::reference::delivery_prices::store::TariffOnDay;
use crate::reference::month_controls::{Kind, Series};
use crate::reference::{
    adjust_ratios, approval_ratios, catalogue, catalogue_prices, delivery_prices, ladder_populations, month_controls,
    season_months,
};
use crate::vocabulary::tariff::Season;
use crate::vocabulary::vacancy::VacancyRatios;

/// Returns what the keys lead to, for points of a company.
///
/// # Errors
/// Returns the database's error; `RowNotFound` if there is no such package, which its account's meter point prevents.
pub async fn load(
    connection: &mut PgConnection,
    company_id: &str,
    keys: &BTreeSet<PriceKey>,
    vacancy: &VacancyRatios,
) -> Result<RatesByKey, sqlx::Error> {
    let named: BTreeSet<_> = keys.iter().map(|k| (k.retail_company_id.as_str(), k.package_id.as_str())).collect();
    let (companies, ids): (Vec<_>, Vec<_>) = named.into_iter().unzip();
    let packages: HashMap<_, _> = packages::store::read_all(&mut *connection, &companies, &ids)
        .await?
        .into_iter()
        .map(|package| ((package.retail_company_id.clone(), package.package_id.clone()), package))
        .collect();
    let mut found = RatesByKey::with_capacity(keys.len());
    let mut asked = Vec::with_capacity(keys.len());
    for key in keys {
        let package = packages.get(&(key.retail_company_id.clone(), key.package_id.clone()));
        let package = package.ok_or(sqlx::Error::RowNotFound)?;
        if package.lifetime().covers(key.day) {
            asked.push((key, package));
        } else {
            found.insert(key.clone(), Err(Unpriced::PackageNotInForce(key.day)));
        }
    }
    if !asked.is_empty() {
        read(connection, company_id, &asked, vacancy, &mut found).await?;
    }
    Ok(found)
}

/// The store whose pricing data counts: the package's, or the account's network store for a guaranteed package.
fn store_of<'k>((key, package): &'k (&PriceKey, &PackageRow)) -> (&'k str, &'k str) {
    (&package.retail_company_id, package.retail_store_id.as_deref().unwrap_or(&key.network_store_id))
}

async fn read(
    connection: &mut PgConnection,
    company_id: &str,
    asked: &[(&PriceKey, &PackageRow)],
    vacancy: &VacancyRatios,
    found: &mut RatesByKey,
) -> Result<(), sqlx::Error> {
    let days: Vec<_> = asked.iter().map(|(key, _)| key.day).collect();
    let of_item: Vec<_> = asked.iter().map(|(_, package)| package.booked_by()).collect();
    let of_item_on_day: Vec<_> =
        of_item.iter().zip(&days).map(|((company, item, _), day)| (*company, *item, *day)).collect();
    let stores: Vec<_> = asked.iter().map(store_of).collect();
    let of_store: Vec<_> =
        stores.iter().zip(asked).map(|((company, store), (key, _))| (*company, *store, key.utility)).collect();
    let of_store_on_day: Vec<_> =
        stores.iter().zip(&days).map(|((company, store), day)| (*company, *store, *day)).collect();
    let of_months: Vec<_> = of_store
        .iter()
        .zip(asked)
        .map(|((company, store, utility), (key, _))| (*company, *store, *utility, key.account_month))
        .collect();
    let own: Vec<_> =
        asked.iter().map(|(key, _)| (key.retail_company_id.as_str(), key.package_id.as_str(), key.day)).collect();
    let tariffs: Vec<_> = asked
        .iter()
        .map(|(key, package)| TariffOnDay {
            company_id: &package.network_company_id,
            account_item: &package.account_item,
            utility: key.utility,
            kind: delivery_kind(package),
            delivery_grade: &package.delivery_grade,
            power_range: &package.power_range,
            day: key.day,
        })
        .collect();
    let series: Vec<_> = asked
        .iter()
        .map(|(key, _)| {
            let series = Series::of(Kind::Account, &key.network_company_id, &key.network_store_id, key.utility);
            (series, key.account_month)
        })
        .collect();

    let own_prices = packages::prices::store::in_force(&mut *connection, &own).await?;
    let main_items = catalogue::store::main_items(&mut *connection, &of_item).await?;
    let of_catalogue = catalogue_prices::store::in_force_at(&mut *connection, &of_item_on_day).await?;
    let of_delivery = delivery_prices::store::in_force_at(&mut *connection, &tariffs).await?;
    let populations = ladder_populations::store::of_stores(&mut *connection, &of_store).await?;
    let approvals = approval_ratios::store::of_stores(&mut *connection, &of_store).await?;
    let adjust = adjust_ratios::store::in_force_at(&mut *connection, &of_store_on_day).await?;
    let seasons = season_months::store::of_months(&mut *connection, &of_months).await?;
    let rules = month_controls::store::part_month_rules(&mut *connection, company_id, &series).await?;

    for (place, (key, package)) in asked.iter().enumerate() {
        let sources = Sources {
            package,
            main_item: main_items.get(place).copied().flatten(),
            own_prices: own_prices.iter().filter(|row| row.place == place).collect(),
            catalogue: of_catalogue
                .iter()
                .filter(|(of, ..)| *of == place)
                .map(|(_, part, version)| (*part, version))
                .collect(),
            delivery: of_delivery.iter().filter(|row| row.place == place).collect(),
            population: populations.iter().filter(|row| row.place == place).collect(),
            approval: approvals.get(place).copied().flatten(),
            adjust_ratios: adjust.iter().filter(|row| row.place == place).collect(),
            vacancy_ratio: vacancy.of(key.utility),
        };
        let priced = rates(&sources).map(|rates| PricedBy {
            rates,
            season: seasons.get(place).copied().flatten().unwrap_or(Season::Flat),
            part_month_rule: rules.get(place).copied().flatten().unwrap_or_default(),
        });
        found.insert((*key).clone(), priced);
    }
    Ok(())
}
