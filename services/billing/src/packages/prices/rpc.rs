//! The methods of `PackagePriceService`.

use std::collections::BTreeSet;

use communal_kit::call::Call;
use communal_kit::clock::Clock;
use communal_kit::database::stored::Stored;
use communal_kit::money::at_scale;
use communal_kit::objections::Objections;
use communal_kit::paging::{Cap, Page};
use communal_kit::pool::Pool;
use communal_kit::refusal::Refusal;
use communal_kit::request::begin;
use communal_kit::write::write;
use communal_proto::billing::v1::fields::{package_of_prices, query_sale_package_price_request};
use communal_proto::billing::v1::package_price_service_server::PackagePriceService;
use communal_proto::billing::v1::{
    AddSalePackagePriceRequest, AddSalePackagePriceResponse, PackageOfPrices, PriceChange,
    QuerySalePackagePriceRequest, QuerySalePackagePriceResponse, QuerySalePackageTagsRequest,
    QuerySalePackageTagsResponse, SalePackagePrice, SalePackagePriceRow, SalePackageTag, UpdateSalePackagePriceRequest,
    UpdateSalePackagePriceResponse,
};
use sqlx::PgConnection;
use tonic::{Request, Response, Status};

use super::change::{PricedPackage, PricedPackages, days_of_changes, plan_additions, plan_changes};
use super::store::{self, PriceRow};
use crate::packages;
use crate::packages::kind::PackageKind;
use crate::packages::store::PackageRow;
use crate::reasons::package_not_found;
use crate::vocabulary::dates::day_number;
use crate::vocabulary::identifiers::PackageId;
use crate::vocabulary::paging::AskedPage;
use crate::vocabulary::quantity::UNIT_PRICE_SCALE;

/// Serves prices.
#[derive(Clone, Debug)]
pub struct PriceRpc {
    pool: Pool,
    clock: Clock,
}

impl PriceRpc {
    /// Serves the prices of a database.
    #[must_use]
    pub fn new(pool: Pool, clock: Clock) -> Self {
        Self { pool, clock }
    }

    async fn package(&self, call: &Call, package: Option<PackageOfPrices>) -> Result<PackageRow, Refusal> {
        let package_id = package.unwrap_or_default().package_id.into();
        let found = packages::store::read(&self.pool, &call.tenant.id, &package_id).await?;
        let field = query_sale_package_price_request::PACKAGE.then(package_of_prices::PACKAGE_ID);
        found.filter(|package| PackageKind::Retail.includes(package.kind.0)).ok_or_else(|| package_not_found(field))
    }
}

#[tonic::async_trait]
impl PackagePriceService for PriceRpc {
    async fn add_sale_package_price(
        &self,
        request: Request<AddSalePackagePriceRequest>,
    ) -> Result<Response<AddSalePackagePriceResponse>, Status> {
        let (call, message) = begin(request)?.accept()?;
        let today = self.clock.today();
        let reply = write(&self.pool, &call, &message, async |tx| {
            let packages = lock(tx, &call, &message.rows).await?;
            let mut objections = Objections::default();
            let plan = plan_additions(&packages, &message.rows, today, &mut objections);
            objections.into_result()?;
            store::carry_out(tx, &call, &plan).await?;
            Ok(AddSalePackagePriceResponse {})
        });
        Ok(reply.await?)
    }

    async fn update_sale_package_price(
        &self,
        request: Request<UpdateSalePackagePriceRequest>,
    ) -> Result<Response<UpdateSalePackagePriceResponse>, Status> {
        let (call, message) = begin(request)?.accept()?;
        let today = self.clock.today();
        let reply = write(&self.pool, &call, &message, async |tx| {
            let packages = lock(tx, &call, &message.rows).await?;
            let mut objections = Objections::default();
            let plan = plan_changes(&packages, &message.rows, today, &mut objections);
            objections.into_result()?;
            store::carry_out(tx, &call, &plan).await?;
            let changes = days_of_changes(&plan).into_iter();
            let change = |(id, day): (PackageId, _)| PriceChange { package_id: id.into(), start_date: day_number(day) };
            Ok(UpdateSalePackagePriceResponse { changes: changes.map(change).collect() })
        });
        Ok(reply.await?)
    }

    async fn query_sale_package_price(
        &self,
        request: Request<QuerySalePackagePriceRequest>,
    ) -> Result<Response<QuerySalePackagePriceResponse>, Status> {
        let (call, message) = begin(request)?.accept()?;
        let package = self.package(&call, message.package).await?;
        let asked = AskedPage::read(message.page);
        let (found, total) =
            store::list_open(&self.pool, &call.tenant.id, &[package.package_id.as_str().into()], asked.page)
                .await
                .map_err(Refusal::from)?;
        Ok(Response::new(QuerySalePackagePriceResponse {
            page: asked.reply(total),
            rows: found.into_iter().map(|row| open_price(&package, row)).collect(),
        }))
    }

    async fn query_sale_package_tags(
        &self,
        request: Request<QuerySalePackageTagsRequest>,
    ) -> Result<Response<QuerySalePackageTagsResponse>, Status> {
        let (call, message) = begin(request)?.accept()?;
        let package = self.package(&call, message.package).await?;
        let all = Page::all(Cap::UNPAGED);
        let (found, total) =
            store::list_versions(&self.pool, &call.tenant.id, &package.package_id.as_str().into(), all)
                .await
                .map_err(Refusal::from)?;
        Cap::UNPAGED.check_total(total, "请使用分页查询QuerySalePackagePrice")?;
        let versions = found.into_iter().map(|row| version(&package, row)).collect();
        Ok(Response::new(QuerySalePackageTagsResponse { versions }))
    }
}

/// Locks the packages of the rows, each once and by identifier, and reads their open rows.
async fn lock(tx: &mut PgConnection, call: &Call, rows: &[SalePackagePriceRow]) -> Result<PricedPackages, sqlx::Error> {
    let ids: BTreeSet<PackageId> = rows.iter().map(|row| row.package_id.as_str().into()).collect();
    let ids: Vec<_> = ids.into_iter().collect();
    let locked = packages::store::lock(tx, call, &ids).await?;
    let priced = |package: PackageRow| {
        let (state, lifetime, shape) = (package.state.0, package.lifetime(), package.shape());
        (package.package_id.into(), PricedPackage { state, lifetime, shape, rows: Vec::new() })
    };
    let of_retail = locked.into_iter().filter(|package| PackageKind::Retail.includes(package.kind.0));
    let mut packages: PricedPackages = of_retail.map(priced).collect();
    for row in store::open_rows(tx, call, &ids).await? {
        if let Some(package) = packages.get_mut(row.package_id.as_str()) {
            package.rows.push(row);
        }
    }
    Ok(packages)
}

fn open_price(package: &PackageRow, row: PriceRow) -> SalePackagePrice {
    let PriceRow {
        package_id,
        price_id: _,
        account_item,
        agreement_price: Stored(agreement_price),
        season: Stored(season),
        heat_basis: Stored(heat_basis),
        property_basis,
        time_of_use: Stored(time_of_use),
        period: Stored(period),
        ladder: Stored(ladder),
        tier: Stored(tier),
        price,
        price_unit,
        lower_limit,
        upper_limit,
        start_date,
        stop_date,
        place: _,
        total: _,
    } = row;
    SalePackagePrice {
        retail_company_id: package.retail_company_id.clone(),
        package_id,
        utility: package.utility.0.into(),
        account_item,
        agreement_price: agreement_price.into(),
        price: at_scale(price, UNIT_PRICE_SCALE),
        price_unit,
        heat_basis: heat_basis.into(),
        property_basis: Stored::given(property_basis).into(),
        season: season.into(),
        time_of_use: time_of_use.into(),
        period: period.into(),
        ladder: ladder.into(),
        tier: tier.into(),
        upper_limit,
        lower_limit,
        start_date: day_number(start_date),
        stop_date: day_number(stop_date),
    }
}

/// The documented version of a price row lacks the price itself.
fn version(package: &PackageRow, row: PriceRow) -> SalePackageTag {
    let SalePackagePrice {
        retail_company_id,
        package_id,
        utility,
        account_item,
        agreement_price,
        price: _,
        price_unit,
        heat_basis,
        property_basis,
        season,
        time_of_use,
        period,
        ladder,
        tier,
        upper_limit: _,
        lower_limit: _,
        start_date,
        stop_date,
    } = open_price(package, row);
    SalePackageTag {
        package_id,
        network_company_id: package.network_company_id.clone(),
        retail_company_id,
        account_item,
        price_unit,
        utility,
        supply_kind: package.supply_kind.0.into(),
        resident: package.resident.0.into(),
        heat_basis,
        property_basis,
        agreement_price,
        time_of_use,
        ladder,
        ladder_tiers: Stored::given(package.tiers).into(),
        season,
        period,
        tier,
        start_date,
        stop_date,
    }
}
