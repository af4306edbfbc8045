//! The reference data of the demo: catalogue, nodes, months of 2024 to 2026, seasons, ladder population, ratios, delivery prices.

use anyhow::Context;
use communal_kit::call::Call;
use communal_kit::clock::Clock;
use communal_kit::identity::TenantKind;
use communal_kit::pool::Pool;
use communal_kit::write::run_as;
use communal_proto::billing::v1::{
    AccountItem, CategoryItem, ChargeRuleType, DeliveryFeeType, DeliveryPriceType, ForRateValidType, LadderNumType,
    NewAdjustRatio, NewApprovalRatio, NewLadderPopulation, Node, RewardPunishType, SeasonMonth,
};
use rust_decimal::Decimal;
use sqlx::PgConnection;

use super::catalogue::{DELIVERY_GRADE, NETWORK, NETWORK_STORE, RETAILERS, START, demo_call, store_of};
use crate::reference::catalogue::store as items;
use crate::reference::delivery_prices::{Key, Version};
use crate::reference::month_controls::rules::NewMonth;
use crate::reference::month_controls::{Kind, Series, store as months};
use crate::reference::{adjust_ratios, approval_ratios, delivery_prices, ladder_populations, season_months};
use crate::suppliers;
use crate::vocabulary::dates::{AccountMonth, day};
use crate::vocabulary::quantity::UNIT_PRICE_SCALE;
use crate::vocabulary::tariff::{Ladder, Period, Season, Tier, TierLimits, TimeOfUse, Utility, YesNo};

/// The utilities that have months.
const UTILITIES: [Utility; 5] = [Utility::Electricity, Utility::Water, Utility::Gas, Utility::Heat, Utility::Property];

/// Years that have months.
const YEARS: std::ops::RangeInclusive<i32> = 2024..=2026;

/// A day that is far away.
const FAR: i32 = 20_991_231;

/// Ladder population: utility, base, increase of the limits by each person beyond it.
const POPULATIONS: [(Utility, i32, &str); 3] =
    [(Utility::Electricity, 4, "100"), (Utility::Water, 5, "30"), (Utility::Gas, 5, "150")];

/// Category items: number, name, utility, whether a surcharge, kind. The kinds are ours: 1 energy, 2 basic fee, 3 power
/// factor, 4 fixed fee, 5 area, 6 surcharge.
const CATEGORY_ITEMS: [(i64, &str, Utility, YesNo, &str); 13] = [
    (1001, "电量电费", Utility::Electricity, YesNo::No, "1"),
    (1002, "基本电费", Utility::Electricity, YesNo::No, "2"),
    (1003, "力调电费", Utility::Electricity, YesNo::No, "3"),
    (1004, "固定电费", Utility::Electricity, YesNo::No, "4"),
    (1101, "国家重大水利工程建设基金", Utility::Electricity, YesNo::Yes, "6"),
    (1102, "可再生能源电价附加", Utility::Electricity, YesNo::Yes, "6"),
    (2001, "自来水费", Utility::Water, YesNo::No, "1"),
    (2101, "水资源费", Utility::Water, YesNo::Yes, "6"),
    (2102, "污水处理费", Utility::Water, YesNo::Yes, "6"),
    (3001, "燃气费", Utility::Gas, YesNo::No, "1"),
    (4001, "热量费", Utility::Heat, YesNo::No, "1"),
    (4002, "供暖面积费", Utility::Heat, YesNo::No, "5"),
    (6001, "物业服务费", Utility::Property, YesNo::No, "5"),
];

/// Account items: code, name, utility, main category item.
const ACCOUNT_ITEMS: [(&str, &str, Utility, i64); 8] = [
    ("101001", "居民生活用电（年阶梯）", Utility::Electricity, 1001),
    ("101002", "居民生活用电（月阶梯）", Utility::Electricity, 1001),
    ("101003", "居民生活用电（峰谷）", Utility::Electricity, 1001),
    ("102001", "大工业用电", Utility::Electricity, 1001),
    ("201001", "居民生活用水", Utility::Water, 2001),
    ("301001", "居民生活用气", Utility::Gas, 3001),
    ("401001", "居民供暖", Utility::Heat, 4002),
    ("601001", "住宅物业服务", Utility::Property, 6001),
];

/// Network nodes: identifier, name, utility.
const NODES: [(&str, &str, Utility); 6] = [
    ("G000000000000001", "演示配电台区", Utility::Electricity),
    ("G000000000000002", "演示供水片区", Utility::Water),
    ("G000000000000003", "演示调压站", Utility::Gas),
    ("G000000000000004", "演示换热站", Utility::Heat),
    ("G000000000000005", "演示供冷站", Utility::Cooling),
    ("G000000000000006", "演示物业片区", Utility::Property),
];

/// Delivery prices: account item, utility, unit, price in millionths.
const DELIVERY_PRICES: [(&str, Utility, &str, i64); 6] = [
    ("101001", Utility::Electricity, "元/千瓦时", 195_600),
    ("101002", Utility::Electricity, "元/千瓦时", 195_600),
    ("101003", Utility::Electricity, "元/千瓦时", 195_600),
    ("102001", Utility::Electricity, "元/千瓦时", 128_400),
    ("201001", Utility::Water, "元/立方米", 1_200_000),
    ("301001", Utility::Gas, "元/立方米", 560_000),
];

/// A price of both kinds, from the demo's first day, whatever the period, tier and season.
fn delivery_prices_of((item, utility, unit, price): (&str, Utility, &str, i64)) -> Option<[Version; 2]> {
    let start = day(START)?;
    Some([DeliveryPriceType::Guaranteed, DeliveryPriceType::Market].map(|kind| Version {
        key: Key {
            account_item: item.to_owned(),
            utility,
            kind,
            delivery_grade: DELIVERY_GRADE.to_owned(),
            power_range: String::new(),
            time_of_use: TimeOfUse::One,
            period: Period::Whole,
            ladder: Ladder::None,
            tiers: LadderNumType::One,
            tier: Tier::First,
            season: Season::Unspecified,
        },
        price: Decimal::new(price, UNIT_PRICE_SCALE),
        unit: unit.to_owned(),
        limits: TierLimits::default(),
        loss_rate: None,
        fee_kind: DeliveryFeeType::SinglePart,
        agreement_price: YesNo::No,
        start,
        stop: None,
    }))
}

/// Registers the reference data of all companies; what is there already stays.
pub(super) async fn register(pool: &Pool, clock: &Clock) -> anyhow::Result<()> {
    let retailers = RETAILERS.into_iter().enumerate();
    let retailers = retailers.map(|(number, id)| (id, TenantKind::RetailCompany, store_of(number, 0)));
    let network = (NETWORK, TenantKind::NetworkCompany, NETWORK_STORE.to_owned());
    let months = all_months().context("the demo's months")?;
    for (id, kind, store) in std::iter::once(network).chain(retailers) {
        let call = demo_call(id, kind, clock);
        run_as(pool, &call, async |tx| {
            register_catalogue(tx, &call).await?;
            open_months(tx, &call, &months).await?;
            Ok(set_parameters(tx, &call, &store).await?)
        })
        .await?;
    }
    let call = demo_call(NETWORK, TenantKind::NetworkCompany, clock);
    let prices: Vec<_> = DELIVERY_PRICES.into_iter().filter_map(delivery_prices_of).flatten().collect();
    run_as(pool, &call, async |tx| {
        register_nodes(tx, &call).await?;
        for price in &prices {
            delivery_prices::store::add(tx, &call, price).await?;
        }
        Ok(())
    })
    .await?;
    Ok(())
}

/// The months of both kinds and all utilities, in their order; each is open from its first to its last day.
fn all_months() -> Option<Vec<NewMonth>> {
    let mut all = Vec::new();
    for utility in UTILITIES {
        for (kind, rule) in [(Kind::Account, ChargeRuleType::ByDays), (Kind::Settle, ChargeRuleType::Unspecified)] {
            for (year, month) in YEARS.flat_map(|year| (1..=12).map(move |month| (year, month))) {
                let next = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
                all.push(NewMonth {
                    series: Series::of(kind, NETWORK, NETWORK_STORE, utility),
                    month: AccountMonth::read(year * 100 + month)?,
                    part_month_rule: rule,
                    start: day(year * 10_000 + month * 100 + 1)?,
                    stop: day(next.0 * 10_000 + next.1 * 100 + 1)?,
                });
            }
        }
    }
    Some(all)
}

async fn open_months(tx: &mut PgConnection, call: &Call, all: &[NewMonth]) -> Result<(), sqlx::Error> {
    for series in all.chunk_by(|one, next| one.series == next.series) {
        let Some(first) = series.first() else { continue };
        let latest = months::latest(tx, call, &first.series).await?.map_or(0, |latest| latest.account_month);
        for month in series.iter().filter(|month| month.month.number() > latest) {
            months::add(tx, call, month).await?;
        }
    }
    Ok(())
}

/// Seasons, ladder population and ratios of a company's store.
async fn set_parameters(tx: &mut PgConnection, call: &Call, store: &str) -> Result<(), sqlx::Error> {
    for (year, month) in YEARS.flat_map(|year| (1..=12).map(move |month| (year, month))) {
        let season = match month {
            6..=10 => Season::Abundant,
            5 | 11 => Season::Flat,
            _ => Season::Withered,
        };
        let season = SeasonMonth {
            retail_company_id: call.tenant.id.clone(),
            retail_store_id: store.to_owned(),
            utility: Utility::Electricity.into(),
            season: season.into(),
            season_month: year * 100 + month,
        };
        season_months::store::add(tx, call, &season).await?;
    }
    for (utility, base, increase) in POPULATIONS {
        let population = NewLadderPopulation {
            retail_store_id: store.to_owned(),
            utility: utility.into(),
            population_base: Some(base),
            population_increment: 1,
            limit_increase: increase.to_owned(),
        };
        ladder_populations::store::add(tx, call, &population).await?;
    }
    let approval = NewApprovalRatio {
        retail_company_id: call.tenant.id.clone(),
        retail_store_id: store.to_owned(),
        utility: Utility::Electricity.into(),
        over_approval_ratio: "1.05".to_owned(),
        approval_factor: "2".to_owned(),
    };
    approval_ratios::store::add(tx, call, &approval).await?;
    for (standard, hundredths) in
        [(ForRateValidType::P80, 80), (ForRateValidType::P85, 85), (ForRateValidType::P90, 90)]
    {
        for (power_factor, signed) in national_table(hundredths) {
            let direction =
                if signed.is_sign_negative() { RewardPunishType::Reward } else { RewardPunishType::Penalty };
            let ratio = NewAdjustRatio {
                retail_store_id: store.to_owned(),
                power_factor_standard: standard.into(),
                power_factor: Decimal::new(power_factor, 2).to_string(),
                adjust_direction: direction.into(),
                adjust_ratio: signed.abs().to_string(),
                start_date: START,
                stop_date: FAR,
            };
            adjust_ratios::store::add(tx, call, &ratio).await?;
        }
    }
    Ok(())
}

/// The national table of 1983 for a standard: each power factor in hundredths with its ratio, negative for a reward.
///
/// Below the standard each hundredth costs 0.5 %, after twenty of them 1 %, after five more 2 %. Above it each hundredth
/// brings 0.1 % up to 0.90 and 0.15 % beyond, until the table ends: at 0.92, 0.94 or 0.95.
fn national_table(standard: i64) -> Vec<(i64, Decimal)> {
    let end = match standard {
        80 => 92,
        85 => 94,
        _ => 95,
    };
    let basis_points = |power_factor: i64| match standard - power_factor {
        below @ 0..=20 => 50 * below,
        below @ 21..=25 => 1_000 + 100 * (below - 20),
        below if below > 25 => 1_500 + 200 * (below - 25),
        _ => -(10 * (power_factor.min(90) - standard) + 15 * (power_factor - 90).max(0)),
    };
    (0..=end).map(|power_factor| (power_factor, Decimal::new(basis_points(power_factor), 4))).collect()
}

async fn register_catalogue(tx: &mut PgConnection, call: &Call) -> Result<(), sqlx::Error> {
    for (category_item, name, utility, surcharge, kind) in CATEGORY_ITEMS {
        let (utility, surcharge) = (utility.into(), surcharge.into());
        let item = CategoryItem { category_item, name: name.into(), utility, surcharge, kind: kind.into() };
        items::register_category_item(tx, call, &item).await?;
    }
    for (code, name, utility, main_category_item) in ACCOUNT_ITEMS {
        let (account_item, name) = (code.into(), name.into());
        let item = AccountItem { account_item, name, utility: utility.into(), main_category_item };
        items::register_account_item(tx, call, &item).await?;
    }
    Ok(())
}

async fn register_nodes(tx: &mut PgConnection, call: &Call) -> Result<(), sqlx::Error> {
    for (id, name, utility) in NODES {
        let (node_id, store_id) = (id.into(), NETWORK_STORE.into());
        suppliers::store::register_node(
            tx,
            call,
            &Node { node_id, name: name.into(), store_id, utility: utility.into() },
        )
        .await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_national_table_has_its_known_rows() {
        let ratio = |standard: i64, power_factor: i64| {
            let table = national_table(standard);
            table.into_iter().rev().find(|(least, _)| *least <= power_factor).map(|(_, ratio)| ratio)
        };
        for (standard, power_factor, per_mille_tenths) in [
            (90, 90, 0),
            (90, 86, 200),
            (90, 70, 1_000),
            (90, 65, 1_500),
            (90, 64, 1_700),
            (90, 94, -60),
            (90, 100, -75),
            (85, 84, 50),
            (85, 90, -50),
            (85, 99, -110),
            (80, 60, 1_000),
            (80, 90, -100),
            (80, 92, -130),
        ] {
            assert_eq!(
                ratio(standard, power_factor),
                Some(Decimal::new(per_mille_tenths, 4)),
                "{standard} {power_factor}"
            );
        }
    }
}
