//! The network company's own tariffs of the demo data: catalogue prices, and the guaranteed packages that they price.
//!
//! Prices as published for Beijing, those of large industry illustrative.

use std::collections::HashMap;

use anyhow::Context;
use chrono::NaiveDate;
use communal_kit::call::Call;
use communal_kit::clock::Clock;
use communal_kit::identity::TenantKind;
use communal_kit::pool::Pool;
use communal_kit::write::run_as;
use communal_proto::billing::v1::{
    BasicFeesType, ChargePackType, DeliveryPriceType, LadderNumType, PackStateType, PurchaseSaleType, TransVoltageType,
};
use rust_decimal::Decimal;
use sqlx::PgConnection;

use super::catalogue::{DELIVERY_GRADE, NETWORK, NETWORK_STORE, demo_call, first_day};
use crate::packages::draft::Draft;
use crate::packages::kind::PackageKind;
use crate::packages::store::{self as packages, Filter};
use crate::reference::catalogue_prices::change::VersionPlan;
use crate::reference::catalogue_prices::store as prices;
use crate::reference::catalogue_prices::{Key, Part, Tariff, Version, VersionValues};
use crate::vocabulary::identifiers::PackageId;
use crate::vocabulary::lifetime::Lifetime;
use crate::vocabulary::quantity::UNIT_PRICE_SCALE;
use crate::vocabulary::tariff::{
    HeatBasis, Ladder, Period, PropertyBasis, Season, Tier, TierLimits, TimeOfUse, Utility, YesNo,
};

/// A guaranteed package and the main prices of its tariff.
#[derive(Debug)]
struct Guaranteed {
    name: &'static str,
    account_item: &'static str,
    main_item: i64,
    utility: Utility,
    resident: YesNo,
    retail_grade: &'static str,
    voltage: TransVoltageType,
    basic_fee_kind: BasicFeesType,
    time_of_use: TimeOfUse,
    ladder: Ladder,
    tiers: LadderNumType,
    unit: &'static str,
    /// Prices by position, in millionths, with the limits of the tier.
    prices: &'static [(Period, Tier, i64, i64, i64)],
}

/// The packages. Customers of the demo's bills have the first one.
const PACKAGES: [Guaranteed; 3] = [
    Guaranteed {
        name: "居民保底电价（月阶梯）",
        account_item: "101002",
        main_item: 1001,
        utility: Utility::Electricity,
        resident: YesNo::Yes,
        retail_grade: "1",
        voltage: TransVoltageType::Below1kv,
        basic_fee_kind: BasicFeesType::None,
        time_of_use: TimeOfUse::One,
        ladder: Ladder::Month,
        tiers: LadderNumType::Three,
        unit: "元/千瓦时",
        prices: &[
            (Period::Whole, Tier::First, 488_300, 0, 240),
            (Period::Whole, Tier::Second, 538_300, 240, 400),
            (Period::Whole, Tier::Third, 788_300, 400, 0),
        ],
    },
    Guaranteed {
        name: "大工业保底电价（两部制、四时段）",
        account_item: "102001",
        main_item: 1001,
        utility: Utility::Electricity,
        resident: YesNo::No,
        retail_grade: "2",
        voltage: TransVoltageType::Kv10,
        basic_fee_kind: BasicFeesType::Demand,
        time_of_use: TimeOfUse::Four,
        ladder: Ladder::None,
        tiers: LadderNumType::One,
        unit: "元/千瓦时",
        prices: &[
            (Period::Sharp, Tier::First, 1_050_000, 0, 0),
            (Period::Peak, Tier::First, 950_000, 0, 0),
            (Period::Flat, Tier::First, 650_000, 0, 0),
            (Period::Valley, Tier::First, 360_000, 0, 0),
        ],
    },
    Guaranteed {
        name: "居民保底水价",
        account_item: "201001",
        main_item: 2001,
        utility: Utility::Water,
        resident: YesNo::Yes,
        retail_grade: "1",
        voltage: TransVoltageType::Below1kv,
        basic_fee_kind: BasicFeesType::None,
        time_of_use: TimeOfUse::One,
        ladder: Ladder::Year,
        tiers: LadderNumType::Three,
        unit: "元/立方米",
        prices: &[
            (Period::Whole, Tier::First, 2_070_000, 0, 180),
            (Period::Whole, Tier::Second, 4_070_000, 180, 260),
            (Period::Whole, Tier::Third, 6_070_000, 260, 0),
        ],
    },
];

/// Attached prices: account item, utility, main item, surcharge, price in millionths, unit.
const ATTACHED: [(&str, Utility, i64, i64, i64, &str); 4] = [
    ("102001", Utility::Electricity, 1001, 1101, 1_969, "元/千瓦时"),
    ("102001", Utility::Electricity, 1001, 1102, 19_000, "元/千瓦时"),
    ("201001", Utility::Water, 2001, 2101, 1_570_000, "元/立方米"),
    ("201001", Utility::Water, 2001, 2102, 1_360_000, "元/立方米"),
];

/// Basic-fee prices of large industry: kind, price in millionths, unit.
const BASIC_FEES: [(BasicFeesType, i64, &str); 2] =
    [(BasicFeesType::Capacity, 32_000_000, "元/千伏安"), (BasicFeesType::Demand, 48_000_000, "元/千瓦")];
/// The category item of the basic fee.
const BASIC_FEE_ITEM: i64 = 1002;

impl Guaranteed {
    fn tariff(&self) -> Tariff {
        Tariff {
            retail_grade: self.retail_grade.to_owned(),
            basic_fee_kind: self.basic_fee_kind,
            time_of_use: self.time_of_use,
            ladder: self.ladder,
            tiers: self.tiers,
            ..Tariff::plain(self.account_item, self.utility, PurchaseSaleType::Direct)
        }
    }

    fn main_prices(&self, start: NaiveDate) -> impl Iterator<Item = Version> {
        self.prices.iter().map(move |(period, tier, price, lower, upper)| {
            let (season, tariff) = (Season::Flat, self.tariff());
            let key = Key { tariff, season, period: *period, tier: *tier, attached: None };
            let limits = TierLimits { lower: *lower, upper: *upper };
            version(key, self.main_item, *price, self.unit, limits, start)
        })
    }

    fn draft(&self) -> Draft {
        Draft {
            kind: ChargePackType::Guaranteed,
            network_company_id: None,
            retail_store_id: None,
            name: self.name.into(),
            remark: "演示数据".into(),
            account_item: self.account_item.into(),
            utility: self.utility,
            resident: self.resident,
            deviation: YesNo::No,
            seasonal: YesNo::No,
            agreement_price: YesNo::No,
            heat_basis: HeatBasis::None,
            property_basis: PropertyBasis::Unspecified,
            basic_fee_kind: self.basic_fee_kind,
            time_of_use: self.time_of_use,
            ladder: self.ladder,
            tiers: self.tiers,
            population: if self.resident == YesNo::Yes { 5 } else { 0 },
            may_cancel: YesNo::Unspecified,
            property_grade: String::new(),
            retail_voltage_grade: self.retail_grade.into(),
            delivery_price_kind: DeliveryPriceType::Unspecified,
            by_power: YesNo::No,
            power_range: String::new(),
            delivery_grade: DELIVERY_GRADE.into(),
            voltage: self.voltage,
            planned: Lifetime::default(),
        }
    }
}

fn version(key: Key, main_item: i64, price: i64, unit: &str, limits: TierLimits, start: NaiveDate) -> Version {
    let values = VersionValues { price: Decimal::new(price, UNIT_PRICE_SCALE), unit: unit.to_owned(), limits };
    let span = Lifetime { start: Some(start), stop: None };
    Version { price_id: None, key, main_item, values, span, billed: false }
}

/// Fills the network company's catalogue with prices and puts its packages on sale; returns the package of the demo's
/// bills. What is there already stays.
pub(super) async fn sell(pool: &Pool, clock: &Clock) -> anyhow::Result<PackageId> {
    let call = demo_call(NETWORK, TenantKind::NetworkCompany, clock);
    let start = first_day().context("the demo's first day")?;
    if prices::list(pool, NETWORK, Part::Main, &prices::VersionFilter::default(), 1).await?.is_empty() {
        run_as(pool, &call, async |tx| Ok(add_prices(tx, &call, start).await?)).await?;
    }
    let on_sale = Filter { kinds: PackageKind::Guaranteed.codes(), state: PackStateType::OnSale, ..Filter::default() };
    let known = packages::list(pool, NETWORK, &on_sale, start, i64::MAX).await?;
    let known: HashMap<_, _> = known.into_iter().map(|p| (p.name, PackageId::from(p.package_id))).collect();
    let mut billed = None;
    for package in &PACKAGES {
        let package_id = match known.get(package.name) {
            Some(package_id) => package_id.clone(),
            None => run_as(pool, &call, async |tx| Ok(put_on_sale(tx, &call, package, start).await?)).await?,
        };
        billed.get_or_insert(package_id);
    }
    billed.context("a guaranteed package")
}

async fn add_prices(tx: &mut PgConnection, call: &Call, start: NaiveDate) -> Result<(), sqlx::Error> {
    prices::lock(tx, call).await?;
    let main = PACKAGES.iter().flat_map(|package| package.main_prices(start)).collect();
    let whole = TierLimits::default();
    let attached = ATTACHED.iter().map(|(account_item, utility, main_item, surcharge, price, unit)| {
        let tariff = Tariff::plain(account_item, *utility, PurchaseSaleType::Direct);
        let key = Key::single(tariff, Some((*main_item, *surcharge)));
        version(key, *main_item, *price, unit, whole, start)
    });
    let basic_fees = BASIC_FEES.iter().map(|(basic_fee_kind, price, unit)| {
        let plain = Tariff::plain("102001", Utility::Electricity, PurchaseSaleType::Direct);
        let key = Key::single(Tariff { basic_fee_kind: *basic_fee_kind, ..plain }, None);
        version(key, BASIC_FEE_ITEM, *price, unit, whole, start)
    });
    let parts = [(Part::Main, main), (Part::Attached, attached.collect()), (Part::BasicFee, basic_fees.collect())];
    for (part, opened) in parts {
        prices::carry_out(tx, call, part, &VersionPlan { opened, ..VersionPlan::default() }).await?;
    }
    Ok(())
}

/// Takes a package through its life up to the sale, as the calls do.
async fn put_on_sale(
    tx: &mut PgConnection,
    call: &Call,
    package: &Guaranteed,
    start: NaiveDate,
) -> Result<PackageId, sqlx::Error> {
    let package_id = packages::add(tx, call, &package.draft()).await?;
    packages::offer(tx, call, &package_id, &[NETWORK_STORE.into()]).await?;
    packages::submit(tx, call, std::slice::from_ref(&package_id)).await?;
    packages::put_on_sale(tx, call, &package_id, Lifetime { start: Some(start), stop: None }).await?;
    Ok(package_id)
}
