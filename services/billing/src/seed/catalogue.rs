//! Who and what the demo data has: companies, stores, credentials, packages with their prices.

use std::collections::HashMap;

use anyhow::Context;
use chrono::NaiveDate;
use communal_kit::call::Call;
use communal_kit::call::Tenant;
use communal_kit::clock::Clock;
use communal_kit::identity::store::{self as identity, IdentityError, NewChannel};
use communal_kit::identity::{Proof, TenantKind};
use communal_kit::pool::Pool;
use communal_kit::secret::Secret;
use communal_proto::billing::v1::{
    BasicFeesType, DeliveryPriceType, LadderNumType, PackStateType, Store, TransVoltageType,
};
use rust_decimal::Decimal;

use crate::packages::draft::Draft;
use crate::packages::lifecycle::Step;
use crate::packages::prices::change::{Open, Plan};
use crate::packages::prices::matrix::gaps;
use crate::packages::prices::row::Values;
use crate::packages::prices::store::{self as prices, Applied};
use crate::packages::store::{self as packages, Filter};
use crate::rating::Rates;
use crate::suppliers;
use crate::vocabulary::dates::day;
use crate::vocabulary::lifetime::Lifetime;
use crate::vocabulary::quantity::UNIT_PRICE_SCALE;
use crate::vocabulary::tariff::{
    Dimensions, HeatBasis, Ladder, Period, PropertyBasis, Season, Tier, TierLimits, TimeOfUse, Utility, YesNo, periods,
};

/// The network company.
pub(super) const NETWORK: &str = "N000000000000001";
/// The retail companies.
pub(super) const RETAILERS: [&str; 2] = ["S000000000000001", "S000000000000002"];
/// The network company's own store, after the two of each retail company.
pub(super) const NETWORK_STORE: &str = "H000000000000005";

const CHANNEL: &str = "C000000000000001";
const KEY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const OPERATOR: &str = "R000000000000001";

/// The day on which everything of the demo data begins.
pub(super) const START: i32 = 20_240_101;

/// What a demo package is and costs.
#[derive(Debug)]
pub(super) struct Tariff {
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
    /// What a household uses in a month, at least and at most.
    pub(super) usage: (u64, u64),
}

/// The five packages of each retail company: prices as published for Beijing, time of use as
/// for Shanghai.
pub(super) const TARIFFS: [Tariff; 5] = [
    Tariff {
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
    Tariff {
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
    Tariff {
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
    Tariff {
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
    Tariff {
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

impl Tariff {
    /// The periods of the day it prices apart.
    pub(super) fn periods(&self) -> &'static [Period] {
        periods(self.time_of_use)
    }

    /// How many tiers it has.
    pub(super) fn tiers(&self) -> LadderNumType {
        i32::try_from(self.prices.len()).ok().and_then(|n| LadderNumType::try_from(n).ok()).unwrap_or_default()
    }

    /// Its ladder and prices.
    pub(super) fn rates(&self) -> Rates {
        let mut rates = Rates::default();
        let mut lower = 0;
        for (index, row) in self.prices.iter().enumerate() {
            let upper = self.steps.get(index).copied().unwrap_or_default();
            rates.tiers.push(TierLimits { lower, upper });
            lower = upper;
            let tier = (1..).nth(index).and_then(|tier| Tier::try_from(tier).ok()).unwrap_or_default();
            for (period, price) in self.periods().iter().zip(*row) {
                rates.prices.insert((tier, *period), Decimal::new(*price, UNIT_PRICE_SCALE));
            }
        }
        rates
    }

    fn draft(&self, retail_store_id: &str) -> Draft {
        Draft {
            network_company_id: NETWORK.into(),
            retail_store_id: retail_store_id.into(),
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
            delivery_grade: String::new(),
            voltage: TransVoltageType::Below1kv,
            planned: Lifetime::default(),
        }
    }

    fn opens(&self, package_id: &str) -> Vec<Open> {
        let rates = self.rates();
        rates
            .prices
            .iter()
            .map(|((tier, period), price)| Open {
                package_id: package_id.to_owned(),
                dimensions: Dimensions {
                    account_item: self.account_item.to_owned(),
                    agreement_price: YesNo::No,
                    season: Season::Flat,
                    heat_basis: HeatBasis::None,
                    property_basis: PropertyBasis::Unspecified,
                    time_of_use: self.time_of_use,
                    period: *period,
                    ladder: self.ladder,
                    tier: *tier,
                },
                values: Values {
                    price: *price,
                    unit: self.unit.to_owned(),
                    limits: usize::try_from(*tier as i32 - 1)
                        .ok()
                        .and_then(|index| rates.tiers.get(index).copied())
                        .unwrap_or_default(),
                },
                start: None,
            })
            .collect()
    }
}

/// In whose name the demo data is written.
pub(super) fn demo_call(tenant_id: &str, kind: TenantKind) -> Call {
    Call {
        tenant: Tenant { id: tenant_id.to_owned(), kind },
        operator_id: OPERATOR.to_owned(),
        operator_name: "演示操作员".to_owned(),
        channel_id: CHANNEL.to_owned(),
        request_id: None,
        trace_id: "demo".to_owned(),
        method: "seed".to_owned(),
        at: chrono::Utc::now(),
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
    for (retailer, id) in RETAILERS.iter().enumerate() {
        let stores: Vec<_> = (0..2)
            .map(|half| Store {
                store_id: store_of(retailer, half),
                name: format!("演示营业厅{}", retailer * 2 + half + 1),
            })
            .collect();
        suppliers::store::register(&mut transaction, &demo_call(id, TenantKind::RetailCompany), &stores).await?;
    }
    let own = Store { store_id: NETWORK_STORE.into(), name: "演示管网营业厅".into() };
    suppliers::store::register(&mut transaction, &demo_call(NETWORK, TenantKind::NetworkCompany), &[own]).await?;
    let tenant_ids: Vec<_> = std::iter::once(NETWORK).chain(RETAILERS).map(str::to_owned).collect();
    let channel = NewChannel {
        channel_id: CHANNEL,
        name: "演示渠道",
        proof: Proof::Key,
        admin: false,
        tenant_ids: &tenant_ids,
        methods: &[],
        key: Some(Secret::new(KEY)),
        valid_for: None,
    };
    match identity::add_channel(&mut transaction, &channel, None, clock.now()).await {
        Ok(_) | Err(IdentityError::ChannelExists(_)) => {}
        Err(error) => return Err(error.into()),
    }
    identity::register_operator(&mut transaction, OPERATOR, "演示操作员", &tenant_ids).await?;
    transaction.commit().await?;
    Ok(())
}

/// Puts the packages of a retail company on sale and returns their identifiers, in the order of
/// [`TARIFFS`]. Those that are there already stay.
pub(super) async fn sell_packages(pool: &Pool, retailer: usize, id: &str) -> anyhow::Result<Vec<String>> {
    let call = demo_call(id, TenantKind::RetailCompany);
    let start = day(START).context("the demo's first day")?;
    let mut transaction = pool.begin().await?;
    let known: HashMap<_, _> = packages::list(&mut *transaction, id, &Filter::default(), start, i64::MAX)
        .await?
        .into_iter()
        .filter(|p| p.state() == PackStateType::OnSale)
        .map(|p| (p.name, p.package_id))
        .collect();
    let mut ids = Vec::new();
    for tariff in &TARIFFS {
        if let Some(package_id) = known.get(tariff.name) {
            ids.push(package_id.clone());
            continue;
        }
        let package_id = packages::add(&mut transaction, &call, &tariff.draft(&store_of(retailer, 0))).await?;
        let named = [package_id.clone()];
        let priced = prices::read(&mut *transaction, &call, &named).await?;
        let plan = Plan { opens: tariff.opens(&package_id), ..Plan::default() };
        let applied = prices::apply(&mut *transaction, &call, Step::AddPrices, &priced, &plan, None).await?;
        anyhow::ensure!(applied == Applied::Done, "the prices of {package_id} were not written: {applied:?}");
        let priced = prices::read(&mut *transaction, &call, &named).await?;
        let priced = priced.get(&package_id).context("the package that was just added")?;
        let rows: Vec<_> = priced.rows.iter().map(|r| (r.dimensions.clone(), r.values.limits)).collect();
        anyhow::ensure!(gaps(&priced.shape, &rows).is_empty(), "the prices of {} are not complete", tariff.name);
        packages::move_to(&mut transaction, &call, &named, PackStateType::Submitted, Step::Submit).await?;
        packages::put_on_sale(&mut transaction, &call, &package_id, Lifetime { start: Some(start), stop: None })
            .await?;
        ids.push(package_id);
    }
    transaction.commit().await?;
    Ok(ids)
}

/// The first day of the demo, for what is billed by it.
pub(super) fn first_day() -> Option<NaiveDate> {
    day(START)
}
