//! Packages of the tests, and the calls that bring them into a state.

pub use communal_fixtures::packages::{ladder_rows, laddered, row};
use communal_proto::billing::v1::*;

use super::{NETWORK, RETAIL, World, caller};

impl World {
    /// Drafts a package whose account item is registered, and returns its identifier.
    pub async fn draft(&self, package: NewSalePackage) -> String {
        self.register_items(NETWORK).await;
        let name = package.name.clone();
        let request = AddSalePackageRequest { package: Some(package) };
        let added = self.packages(caller(RETAIL)).add_sale_package(request).await.unwrap().into_inner().package_id;
        assert_eq!(added, self.package_named(&name).await);
        added
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
