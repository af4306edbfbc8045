//! The catalogue of the demo data: companies, stores, credentials, packages with their prices.

use std::collections::HashMap;

use anyhow::Context;
use chrono::NaiveDate;
use communal_kit::call::Call;
use communal_kit::call::Tenant;
use communal_kit::clock::Clock;
use communal_kit::database;
use communal_kit::identity::store::{self as identity, IdentityError, NewChannel};
use communal_kit::identity::{Proof, TenantKind};
use communal_kit::pool::Pool;
use communal_kit::secret::Secret;
use communal_kit::write::run_as;
use communal_proto::billing::v1::{
    BasicFeesType, ChargePackType, DeliveryPriceType, LadderNumType, PackStateType, Store, TransVoltageType,
};
use rust_decimal::Decimal;
use sqlx::PgConnection;

use crate::packages::draft::Draft;
use crate::packages::kind::PackageKind;
use crate::packages::prices::change::{Open, Plan};
use crate::packages::prices::row::Values;
use crate::packages::prices::store as prices;
use crate::packages::store::{self as packages, Filter};
use crate::rating::rates::{Rates, RowError, UnitPrice};
use crate::suppliers;
use crate::vocabulary::dates::day;
use crate::vocabulary::identifiers::PackageId;
use crate::vocabulary::lifetime::Lifetime;
use crate::vocabulary::quantity::UNIT_PRICE_SCALE;
use crate::vocabulary::tariff::{
    Dimensions, HeatBasis, Ladder, Period, PropertyBasis, Season, Shape, TierLimits, TimeOfUse, Utility, YesNo, periods,
};

/// The network company.
pub(super) const NETWORK: &str = "N000000000000001";
/// The retail companies.
pub(super) const RETAILERS: [&str; 2] = ["S000000000000001", "S000000000000002"];
/// The network company's store, after the two of each retail company.
pub(super) const NETWORK_STORE: &str = "H000000000000005";

/// The region of all stores.
const REGION: &str = "110101000000";
const CHANNEL: &str = "C000000000000001";
/// The channel that administers credentials.
const ADMINISTRATOR: &str = "demo-admin";
const KEY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const OPERATOR: &str = "R000000000000001";
const OPERATOR_NAME: &str = "演示操作员";

/// The category item of energy lines where no catalogue is asked.
const ENERGY_ITEM: i64 = 1;

/// The grade of delivery of all packages, by which their delivery prices are found.
pub(super) const DELIVERY_GRADE: &str = "1";

/// The day on which everything of the demo data begins.
pub(super) const START: i32 = 20_240_101;

/// A demo package and its prices.
#[derive(Debug)]
pub(super) struct DemoTariff {
    pub(super) name: &'static str,
    pub(super) account_item: &'static str,
    pub(super) utility: Utility,
    unit: &'static str,
    pub(super) ladder: Ladder,
    pub(super) time_of_use: TimeOfUse,
    /// Upper limits of all tiers but the last.
    steps: &'static [i64],
    /// Prices by tier, then by period, in millionths.
    prices: &'static [&'static [i64]],
    /// Least and most consumption of a household in a month.
    pub(super) usage: (u64, u64),
}

/// The five packages of each retail company: prices as published for Beijing, time of use as
/// for Shanghai.
pub(super) const TARIFFS: [DemoTariff; 5] = [
    DemoTariff {
        name: "居民阶梯电价（年阶梯）",
        account_item: "101001",
        utility: Utility::Electricity,
        unit: "元/千瓦时",
        ladder: Ladder::Year,
        time_of_use: TimeOfUse::One,
        steps: &[2880, 4800],
        prices: &[&[488_300], &[538_300], &[788_300]],
        usage: (140, 460),
    },
    DemoTariff {
        name: "居民阶梯电价（月阶梯）",
        account_item: "101002",
        utility: Utility::Electricity,
        unit: "元/千瓦时",
        ladder: Ladder::Month,
        time_of_use: TimeOfUse::One,
        steps: &[240, 400],
        prices: &[&[488_300], &[538_300], &[788_300]],
        usage: (120, 430),
    },
    DemoTariff {
        name: "居民峰谷电价",
        account_item: "101003",
        utility: Utility::Electricity,
        unit: "元/千瓦时",
        ladder: Ladder::None,
        time_of_use: TimeOfUse::Two,
        steps: &[],
        prices: &[&[617_000, 307_000]],
        usage: (150, 420),
    },
    DemoTariff {
        name: "居民阶梯水价",
        account_item: "201001",
        utility: Utility::Water,
        unit: "元/立方米",
        ladder: Ladder::Year,
        time_of_use: TimeOfUse::One,
        steps: &[180, 260],
        prices: &[&[5_000_000], &[7_000_000], &[9_000_000]],
        usage: (8, 26),
    },
    DemoTariff {
        name: "居民阶梯气价",
        account_item: "301001",
        utility: Utility::Gas,
        unit: "元/立方米",
        ladder: Ladder::Year,
        time_of_use: TimeOfUse::One,
        steps: &[350, 500],
        prices: &[&[2_610_000], &[2_830_000], &[4_230_000]],
        usage: (14, 48),
    },
];

impl DemoTariff {
    /// The periods of the day that it prices apart.
    pub(super) fn periods(&self) -> &'static [Period] {
        periods(self.time_of_use)
    }

    /// The number of its tiers.
    pub(super) fn tiers(&self) -> LadderNumType {
        i32::try_from(self.prices.len()).ok().and_then(|n| LadderNumType::try_from(n).ok()).unwrap_or_default()
    }

    /// The voltage at which it is supplied; only electricity has one.
    pub(super) fn voltage(&self) -> TransVoltageType {
        match self.utility {
            Utility::Electricity => TransVoltageType::Below1kv,
            _ => TransVoltageType::Unspecified,
        }
    }

    /// The properties that its price rows follow from.
    fn shape(&self) -> Shape {
        Shape {
            account_item: self.account_item.to_owned(),
            utility: self.utility,
            agreement_price: YesNo::No,
            seasonal: false,
            heat_basis: HeatBasis::None,
            property_basis: PropertyBasis::Unspecified,
            time_of_use: self.time_of_use,
            ladder: self.ladder,
            tiers: self.tiers().into(),
        }
    }

    /// Its price rows: dimensions, limits and price.
    fn rows(&self) -> impl Iterator<Item = (Dimensions, TierLimits, Decimal)> {
        let shape = self.shape();
        let limits = |tier: usize| TierLimits {
            lower: tier.checked_sub(1).and_then(|before| self.steps.get(before)).copied().unwrap_or_default(),
            upper: self.steps.get(tier).copied().unwrap_or_default(),
        };
        let tiers = shape.tiers().zip(self.prices).enumerate();
        let rows = tiers.flat_map(move |(index, (tier, prices))| {
            let shape = shape.clone();
            self.periods().iter().zip(*prices).map(move |(period, price)| {
                let price = Decimal::new(*price, UNIT_PRICE_SCALE);
                (shape.dimensions(Season::Flat, *period, tier), limits(index), price)
            })
        });
        rows.collect::<Vec<_>>().into_iter()
    }

    /// The rates of its package.
    pub(super) fn rates(&self) -> Result<Rates, RowError> {
        let priced = |price| UnitPrice { price, start: day(START), version: None };
        let rows = self.rows().map(|(dimensions, limits, price)| (dimensions, limits, priced(price)));
        Rates::new(ChargePackType::Market, ENERGY_ITEM).with_rows(&self.shape(), rows)
    }

    fn draft(&self, retail_store_id: &str) -> Draft {
        Draft {
            kind: ChargePackType::Market,
            network_company_id: Some(NETWORK.into()),
            retail_store_id: Some(retail_store_id.into()),
            name: self.name.into(),
            remark: "演示数据".into(),
            account_item: self.account_item.into(),
            utility: self.utility,
            resident: YesNo::Yes,
            deviation: YesNo::No,
            seasonal: YesNo::No,
            agreement_price: YesNo::No,
            heat_basis: HeatBasis::None,
            property_basis: PropertyBasis::Unspecified,
            basic_fee_kind: BasicFeesType::None,
            time_of_use: self.time_of_use,
            ladder: self.ladder,
            tiers: self.tiers(),
            population: 5,
            may_cancel: YesNo::Yes,
            property_grade: String::new(),
            retail_voltage_grade: "1".into(),
            delivery_price_kind: DeliveryPriceType::Unspecified,
            by_power: YesNo::No,
            power_range: String::new(),
            delivery_grade: DELIVERY_GRADE.into(),
            voltage: self.voltage(),
            planned: Lifetime::default(),
        }
    }

    fn opens(&self, package_id: &PackageId) -> Vec<Open> {
        self.rows()
            .map(|(dimensions, limits, price)| Open {
                package_id: package_id.clone(),
                dimensions,
                values: Values { price, unit: self.unit.to_owned(), limits },
                start: None,
            })
            .collect()
    }
}

/// The call by which demo data of a company is written.
pub(super) fn demo_call(tenant_id: &str, kind: TenantKind, clock: &Clock) -> Call {
    let tenant = Tenant { id: tenant_id.to_owned(), kind };
    Call {
        operator_id: OPERATOR.to_owned(),
        operator_name: OPERATOR_NAME.to_owned(),
        channel_id: CHANNEL.to_owned(),
        ..Call::internal(tenant, "seed", clock.now())
    }
}

/// The store of a retail company's book: each store has half of the books.
pub(super) fn store_of(retailer: usize, half: usize) -> String {
    format!("H{:015}", retailer * 2 + half + 1)
}

/// Registers companies, stores and credentials; those that exist stay.
pub(super) async fn register(pool: &Pool, clock: &Clock) -> anyhow::Result<()> {
    let mut transaction = pool.begin().await?;
    identity::register_tenant(&mut transaction, NETWORK, TenantKind::NetworkCompany, "演示管网公司").await?;
    for (number, id) in (1..).zip(RETAILERS) {
        let name = format!("演示销售公司{number}");
        identity::register_tenant(&mut transaction, id, TenantKind::RetailCompany, &name).await?;
    }
    let tenant_ids: Vec<_> = std::iter::once(NETWORK).chain(RETAILERS).map(str::to_owned).collect();
    for (channel_id, name, admin) in [(CHANNEL, "演示渠道", false), (ADMINISTRATOR, "演示管理员", true)] {
        let channel = NewChannel {
            channel_id,
            name,
            proof: Proof::Key,
            admin,
            tenant_ids: if admin { &[] } else { &tenant_ids },
            methods: &[],
            key: Some(Secret::new(KEY)),
            valid_for: None,
        };
        match identity::add_channel(&mut transaction, &channel, None, clock.machine()).await {
            Ok(_) | Err(IdentityError::ChannelExists(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    identity::register_operator(&mut transaction, OPERATOR, OPERATOR_NAME, &tenant_ids).await?;
    database::note_demo_data(&mut transaction).await?;
    transaction.commit().await?;
    clock.admit_sandbox();

    for (retailer, id) in RETAILERS.iter().enumerate() {
        let stores: Vec<_> = (0..2)
            .map(|half| Store {
                store_id: store_of(retailer, half),
                name: format!("演示营业厅{}", retailer * 2 + half + 1),
                region_code: REGION.into(),
            })
            .collect();
        register_stores(pool, &demo_call(id, TenantKind::RetailCompany, clock), &stores).await?;
    }
    let own =
        Store { store_id: NETWORK_STORE.into(), name: "演示管网营业厅".into(), region_code: REGION.into() };
    register_stores(pool, &demo_call(NETWORK, TenantKind::NetworkCompany, clock), &[own]).await
}

async fn register_stores(pool: &Pool, call: &Call, stores: &[Store]) -> anyhow::Result<()> {
    Ok(run_as(pool, call, async |tx| Ok(suppliers::store::register(tx, call, stores).await?)).await?)
}

/// Puts the packages of a retail company on sale and returns their identifiers, in the order of
/// [`TARIFFS`]. Those that are there already stay.
pub(super) async fn sell_packages(
    pool: &Pool,
    clock: &Clock,
    retailer: usize,
    id: &str,
) -> anyhow::Result<Vec<PackageId>> {
    let call = demo_call(id, TenantKind::RetailCompany, clock);
    let start = day(START).context("the demo's first day")?;
    let on_sale = Filter { kinds: PackageKind::Retail.codes(), state: PackStateType::OnSale, ..Filter::default() };
    let known = packages::list(pool, id, &on_sale, start, i64::MAX).await?;
    let known: HashMap<_, _> = known.into_iter().map(|p| (p.name, p.package_id)).collect();
    let mut ids = Vec::new();
    for tariff in &TARIFFS {
        let package_id = match known.get(tariff.name) {
            Some(package_id) => package_id.as_str().into(),
            None => {
                let draft = tariff.draft(&store_of(retailer, 0));
                run_as(pool, &call, async |tx| Ok(sell(tx, &call, tariff, &draft, start).await?)).await?
            }
        };
        ids.push(package_id);
    }
    Ok(ids)
}

/// Takes a package through its life up to the sale, as the calls do.
async fn sell(
    tx: &mut PgConnection,
    call: &Call,
    tariff: &DemoTariff,
    draft: &Draft,
    start: NaiveDate,
) -> Result<PackageId, sqlx::Error> {
    let package_id = packages::add(tx, call, draft).await?;
    let plan = Plan { opens: tariff.opens(&package_id), ..Plan::default() };
    prices::carry_out(tx, call, &plan).await?;
    packages::submit(tx, call, std::slice::from_ref(&package_id)).await?;
    packages::put_on_sale(tx, call, &package_id, Lifetime { start: Some(start), stop: None }).await?;
    prices::start(tx, call, &package_id, Some(start)).await?;
    Ok(package_id)
}

/// The first day of the demo data.
pub(super) fn first_day() -> Option<NaiveDate> {
    day(START)
}
