//! Packages of the tests, and the calls that bring them into a state.

use communal_proto::billing::v1::*;

use super::{NETWORK, RETAIL, STORE, World, caller};

impl World {
    /// Drafts a package and returns its identifier.
    pub async fn draft(&self, package: NewSalePackage) -> String {
        let name = package.name.clone();
        let request = AddSalePackageRequest { package: Some(package) };
        self.packages(caller(RETAIL)).add_sale_package(request).await.unwrap();
        self.package_named(&name).await
    }

    pub async fn package_named(&self, name: &str) -> String {
        let reply = self.packages(caller(RETAIL)).query_sale_package(QuerySalePackageRequest::default()).await.unwrap();
        let mut packages = reply.into_inner().packages.into_iter();
        packages.find(|p| p.name == name).map(|p| p.package_id).expect("a package of this name")
    }

    pub async fn package(&self, package_id: &str) -> SalePackage {
        let reply = self.packages(caller(RETAIL)).query_sale_package(QuerySalePackageRequest::default()).await.unwrap();
        reply.into_inner().packages.into_iter().find(|p| p.package_id == package_id).expect("this package")
    }

    pub async fn add_prices(&self, rows: Vec<SalePackagePriceRow>) {
        let request = AddSalePackagePriceRequest { rows };
        self.prices(caller(RETAIL)).add_sale_package_price(request).await.unwrap();
    }

    pub async fn submit(&self, package_id: &str) {
        let request = ApplyPutOnSalesPackageRequest { packages: vec![named(package_id)] };
        self.packages(caller(RETAIL)).apply_put_on_sales_package(request).await.unwrap();
    }

    pub async fn put_on_sale(&self, package_id: &str, start_date: i32, stop_date: i32) {
        let package = Some(SalePackageStart { package_id: package_id.into(), start_date, stop_date });
        self.packages(caller(RETAIL)).put_on_sale_package(PutOnSalePackageRequest { package }).await.unwrap();
    }

    pub async fn cancel(&self, package_id: &str) {
        let request = CancelSalesPackageRequest { packages: vec![named(package_id)] };
        self.packages(caller(RETAIL)).cancel_sales_package(request).await.unwrap();
    }

    /// A laddered package with its three prices, on sale from today.
    pub async fn on_sale(&self, name: &str) -> String {
        let id = self.draft(laddered(name)).await;
        self.add_prices(ladder_rows(&id)).await;
        self.submit(&id).await;
        self.put_on_sale(&id, self.day(0), 0).await;
        id
    }

    /// The open rows of a package: price by tier, with their days.
    pub async fn open_prices(&self, package_id: &str) -> Vec<SalePackagePrice> {
        let request = QuerySalePackagePriceRequest {
            page: Some(PageRequest { page: 1, rows: 1000 }),
            package: Some(PackageOfPrices { package_id: package_id.into() }),
        };
        self.prices(caller(RETAIL)).query_sale_package_price(request).await.unwrap().into_inner().rows
    }

    pub async fn versions(&self, package_id: &str) -> Vec<SalePackageTag> {
        let request = QuerySalePackageTagsRequest { package: Some(PackageOfPrices { package_id: package_id.into() }) };
        self.prices(caller(RETAIL)).query_sale_package_tags(request).await.unwrap().into_inner().versions
    }
}

pub fn named(package_id: &str) -> SalePackageId {
    SalePackageId { package_id: package_id.into() }
}

/// An electricity package with a year ladder of three tiers.
pub fn laddered(name: &str) -> NewSalePackage {
    NewSalePackage {
        network_company_id: NETWORK.into(),
        retail_store_id: STORE.into(),
        name: name.into(),
        remark: "备注".into(),
        account_item: "101001".into(),
        utility: NetworkType::Electricity.into(),
        deviation: YesNo::No.into(),
        agreement_price: YesNo::No.into(),
        time_of_use: TimeFeesType::One.into(),
        ladder: LadderType::Year.into(),
        ladder_tiers: LadderNumType::Three.into(),
        may_cancel: YesNo::Yes.into(),
        retail_level: "1".into(),
        voltage: TransVoltageType::Below1kv.into(),
        ..Default::default()
    }
}

/// A price row of such a package.
pub fn row(package_id: &str, tier: i32, price: &str, lower: i64, upper: i64) -> SalePackagePriceRow {
    SalePackagePriceRow {
        package_id: package_id.into(),
        account_item: "101001".into(),
        utility: NetworkType::Electricity.into(),
        agreement_price: YesNo::No.into(),
        price: price.into(),
        price_unit: "元/千瓦时".into(),
        time_of_use: TimeFeesType::One.into(),
        ladder: LadderType::Year.into(),
        tier,
        lower_limit: lower,
        upper_limit: upper,
        ..Default::default()
    }
}

pub fn ladder_rows(package_id: &str) -> Vec<SalePackagePriceRow> {
    vec![
        row(package_id, 1, "0.4883", 0, 2880),
        row(package_id, 2, "0.5383", 2880, 4800),
        row(package_id, 3, "0.7883", 4800, 0),
    ]
}
