//! The reference data of the demo: catalogue, nodes, months, seasons, ladder population, ratios, delivery prices.

use communal_kit::call::Call;
use communal_kit::clock::Clock;
use communal_kit::identity::TenantKind;
use communal_kit::pool::Pool;
use communal_kit::write::run_as;
use communal_proto::billing::v1::{AccountItem, CategoryItem, Node};
use sqlx::PgConnection;

use super::catalogue::{NETWORK, NETWORK_STORE, RETAILERS, demo_call};
use crate::reference::catalogue::store as items;
use crate::suppliers;
use crate::vocabulary::tariff::{Utility, YesNo};

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

/// Registers the reference data of all companies; what is there already stays.
pub(super) async fn register(pool: &Pool, clock: &Clock) -> anyhow::Result<()> {
    let retailers = RETAILERS.map(|id| (id, TenantKind::RetailCompany));
    for (id, kind) in std::iter::once((NETWORK, TenantKind::NetworkCompany)).chain(retailers) {
        let call = demo_call(id, kind, clock);
        run_as(pool, &call, async |tx| Ok(register_catalogue(tx, &call).await?)).await?;
    }
    let call = demo_call(NETWORK, TenantKind::NetworkCompany, clock);
    run_as(pool, &call, async |tx| Ok(register_nodes(tx, &call).await?)).await?;
    Ok(())
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
