//! The catalogue of the tests: items of electricity and water, and a price.

use communal_proto::billing::v1::*;

use super::{World, caller};

impl World {
    /// Registers the items that the tests name: 1001 and 1003 with the surcharge 1101 for electricity, 2001 for water.
    pub async fn register_items(&self, tenant: &'static str) {
        use NetworkType::{Electricity, Water};
        let item = |category_item, name: &str, utility: NetworkType, surcharge: YesNo| CategoryItem {
            category_item,
            name: name.into(),
            utility: utility.into(),
            surcharge: surcharge.into(),
            kind: String::new(),
        };
        let items = vec![
            item(1001, "电量电费", Electricity, YesNo::No),
            item(1003, "基本电费", Electricity, YesNo::No),
            item(1101, "可再生能源电价附加", Electricity, YesNo::Yes),
            item(2001, "自来水费", Water, YesNo::No),
        ];
        let mut catalogue = self.catalogue(caller(tenant));
        catalogue.register_category_items(RegisterCategoryItemsRequest { items }).await.unwrap();
        let item = |account_item: &str, utility: NetworkType, main_category_item| AccountItem {
            account_item: account_item.into(),
            name: "居民".into(),
            utility: utility.into(),
            main_category_item,
        };
        let items = vec![item("101001", Electricity, 1001), item("201001", Water, 2001)];
        catalogue.register_account_items(RegisterAccountItemsRequest { items }).await.unwrap();
    }

    /// Registers an account item with a main category item of its own.
    pub async fn register_item(&self, tenant: &'static str, code: &str, utility: NetworkType, number: i64) {
        let category = CategoryItem {
            category_item: number,
            name: format!("分类{number}"),
            utility: utility.into(),
            surcharge: YesNo::No.into(),
            kind: String::new(),
        };
        let item = AccountItem {
            account_item: code.into(),
            name: format!("科目{code}"),
            utility: utility.into(),
            main_category_item: number,
        };
        let mut catalogue = self.catalogue(caller(tenant));
        catalogue.register_category_items(RegisterCategoryItemsRequest { items: vec![category] }).await.unwrap();
        catalogue.register_account_items(RegisterAccountItemsRequest { items: vec![item] }).await.unwrap();
    }

    /// Adds main prices of the network company.
    pub async fn add_main_prices(&self, tenant: &'static str, prices: Vec<MainPrice>) {
        self.catalogue_prices(caller(tenant)).add_main_price(AddMainPriceRequest { prices }).await.unwrap();
    }
}

/// A main price of electricity without seasons, periods and tiers.
pub fn main_price() -> MainPrice {
    MainPrice {
        account_item: "101001".into(),
        main_category_item: 1001,
        surcharge_item: Some(0),
        price: "0.5".into(),
        price_unit: "元/千瓦时".into(),
        utility: NetworkType::Electricity.into(),
        supply_kind: PurchaseSaleType::Direct.into(),
        retail_level: "1".into(),
        basic_fee_kind: BasicFeesType::None.into(),
        seasonal: YesNo::No.into(),
        time_of_use: TimeFeesType::One.into(),
        ladder: LadderType::None.into(),
        start_date: 20_240_101,
        ..MainPrice::default()
    }
}
