//! The methods of `PackageService`.

use std::collections::{BTreeSet, HashMap};

use chrono::NaiveDate;
use communal_kit::call::Call;
use communal_kit::clock::Clock;
use communal_kit::database::on_constraint;
use communal_kit::database::stored::Stored;
use communal_kit::objections::Objections;
use communal_kit::paging::Cap;
use communal_kit::pool::Pool;
use communal_kit::refusal::Refusal;
use communal_kit::request::begin;
use communal_kit::write::write;
use communal_proto::billing::v1::fields::{
    apply_put_on_sales_package_request, changed_sale_package, query_sale_pack_details_request, sale_package_id,
    update_sale_package_request,
};
use communal_proto::billing::v1::package_service_server::PackageService;
use communal_proto::billing::v1::{
    AddSalePackageRequest, AddSalePackageResponse, ApplyPutOnSalesPackageRequest, ApplyPutOnSalesPackageResponse,
    CancelSalesPackageRequest, CancelSalesPackageResponse, PutOnSalePackageRequest, PutOnSalePackageResponse,
    QuerySalePackDetailsRequest, QuerySalePackDetailsResponse, QuerySalePackageRequest, QuerySalePackageResponse,
    Reason, SalePackage, SalePackageDetails, SalePackageId, StateType, TemporaryMonths, UpdateSalePackageRequest,
    UpdateSalePackageResponse,
};
use communal_proto::contract::v1::Reason as Common;
use communal_proto::{Checker, Fault, FieldPath};
use sqlx::PgConnection;
use tonic::{Request, Response, Status};

use super::draft::Draft;
use super::lifecycle::{SaleStart, Step, cancelled, judge, sellable};
use super::prices;
use super::store::{self, Filter, PackageRow};
use crate::reasons::package_not_found;
use crate::suppliers;
use crate::vocabulary::dates::day_number;
use crate::vocabulary::identifiers::PackageId;
use crate::vocabulary::lifetime::Lifetime;
use crate::vocabulary::matrix::{Gap, gaps};

/// Serves packages.
#[derive(Clone, Debug)]
pub struct PackageRpc {
    pool: Pool,
    clock: Clock,
}

impl PackageRpc {
    /// Serves the packages of a database.
    #[must_use]
    pub fn new(pool: Pool, clock: Clock) -> Self {
        Self { pool, clock }
    }
}

#[tonic::async_trait]
impl PackageService for PackageRpc {
    async fn add_sale_package(
        &self,
        request: Request<AddSalePackageRequest>,
    ) -> Result<Response<AddSalePackageResponse>, Status> {
        let (call, message, draft) = begin(request)?
            .accept_with(|message, checker| Some(without_contradiction(message.package.as_ref()?.into(), checker)))?;
        let reply = write(&self.pool, &call, &message, async |tx| {
            suppliers_exist(tx, &call, &draft).await?;
            store::add(tx, &call, &draft).await.map_err(on_constraint("package_live_name", || name_taken(&draft)))?;
            Ok(AddSalePackageResponse {})
        });
        Ok(reply.await?)
    }

    async fn update_sale_package(
        &self,
        request: Request<UpdateSalePackageRequest>,
    ) -> Result<Response<UpdateSalePackageResponse>, Status> {
        let (call, message, (package_id, draft)) = begin(request)?.accept_with(|message, checker| {
            let package = message.package.as_ref()?;
            Some((PackageId::from(package.package_id.as_str()), without_contradiction(package.into(), checker)))
        })?;
        let reply = write(&self.pool, &call, &message, async |tx| {
            lock(tx, &call, Step::Edit, &one(&package_id)).await?;
            suppliers_exist(tx, &call, &draft).await?;
            store::replace(tx, &call, &package_id, &draft)
                .await
                .map_err(on_constraint("package_live_name", || name_taken(&draft)))?;
            Ok(UpdateSalePackageResponse {})
        });
        Ok(reply.await?)
    }

    async fn apply_put_on_sales_package(
        &self,
        request: Request<ApplyPutOnSalesPackageRequest>,
    ) -> Result<Response<ApplyPutOnSalesPackageResponse>, Status> {
        let (call, message) = begin(request)?.accept()?;
        let named = named(&message.packages);
        let reply = write(&self.pool, &call, &message, async |tx| {
            let packages = lock(tx, &call, Step::Submit, &named).await?;
            let ids = ids(&packages);
            prices_complete(tx, &call, &named, &packages).await?;
            store::submit(tx, &call, &ids).await?;
            Ok(ApplyPutOnSalesPackageResponse {})
        });
        Ok(reply.await?)
    }

    async fn put_on_sale_package(
        &self,
        request: Request<PutOnSalePackageRequest>,
    ) -> Result<Response<PutOnSalePackageResponse>, Status> {
        let today = self.clock.today();
        let (call, message, start) = begin(request)?.accept_with(|message, checker| {
            let start = SaleStart::from(message.package.as_ref()?);
            start.faults(today).into_iter().for_each(|fault| checker.push(fault));
            Some(start)
        })?;
        let SaleStart { package_id, lifetime } = start;
        let reply = write(&self.pool, &call, &message, async |tx| {
            lock(tx, &call, Step::PutOnSale, &one(&package_id)).await?;
            store::put_on_sale(tx, &call, &package_id, lifetime).await?;
            prices::store::start(tx, &call, &package_id, lifetime.start).await?;
            Ok(PutOnSalePackageResponse {})
        });
        Ok(reply.await?)
    }

    async fn cancel_sales_package(
        &self,
        request: Request<CancelSalesPackageRequest>,
    ) -> Result<Response<CancelSalesPackageResponse>, Status> {
        let (call, message) = begin(request)?.accept()?;
        let (named, today) = (named(&message.packages), self.clock.today());
        let reply = write(&self.pool, &call, &message, async |tx| {
            let packages = lock(tx, &call, Step::Cancel, &named).await?;
            let stop = |p: &PackageRow| cancelled(p.state.0, p.lifetime(), today).stop;
            let stops: Vec<_> = packages.iter().map(|p| (p.package_id.as_str().into(), stop(p))).collect();
            store::cancel(tx, &call, &stops).await?;
            prices::store::end(tx, &call, &ids(&packages), today).await?;
            Ok(CancelSalesPackageResponse {})
        });
        Ok(reply.await?)
    }

    async fn query_sale_package(
        &self,
        request: Request<QuerySalePackageRequest>,
    ) -> Result<Response<QuerySalePackageResponse>, Status> {
        let (call, message) = begin(request)?.accept()?;
        let asked = message.filter.unwrap_or_default();
        let filter = Filter {
            account_item: Some(asked.account_item.as_str()).filter(|item| !item.is_empty()),
            state: asked.state(),
            utility: asked.utility(),
            sellable: (asked.enabled() != StateType::Unspecified).then(|| asked.enabled() == StateType::Enabled),
        };
        let today = self.clock.today();
        let found = store::list(&self.pool, &call.tenant.id, &filter, today, Cap::UNPAGED.limit())
            .await
            .map_err(Refusal::from)?;
        let found = Cap::UNPAGED.check(found, "请增加查询条件")?;
        let packages = found.into_iter().map(|row| listed(row, today)).collect();
        Ok(Response::new(QuerySalePackageResponse { packages }))
    }

    async fn query_sale_pack_details(
        &self,
        request: Request<QuerySalePackDetailsRequest>,
    ) -> Result<Response<QuerySalePackDetailsResponse>, Status> {
        let (call, message) = begin(request)?.accept()?;
        let package_id = message.package.unwrap_or_default().package_id.into();
        let found = store::read(&self.pool, &call.tenant.id, &package_id).await.map_err(Refusal::from)?;
        let field = query_sale_pack_details_request::PACKAGE.then(sale_package_id::PACKAGE_ID);
        let row = found.ok_or_else(|| package_not_found(field))?;
        Ok(Response::new(QuerySalePackDetailsResponse {
            // Temporary packages are made by no method yet; the documented block is there, empty.
            temporary_months: Some(TemporaryMonths { package_id: row.package_id.clone(), ..Default::default() }),
            packages: vec![detailed(row, self.clock.today())],
        }))
    }
}

/// Returns the draft; its contradictions go to the checker.
fn without_contradiction(draft: Draft, checker: &mut Checker) -> Draft {
    draft.faults().into_iter().for_each(|fault| checker.push(fault));
    draft
}

/// The one package of a request, with its field.
fn one(package_id: &PackageId) -> [(FieldPath, PackageId); 1] {
    let field = update_sale_package_request::PACKAGE.then(changed_sale_package::PACKAGE_ID);
    [(field, package_id.clone())]
}

/// The packages of a request, each with its field.
fn named(packages: &[SalePackageId]) -> Vec<(FieldPath, PackageId)> {
    let field = |row| apply_put_on_sales_package_request::PACKAGES.at(row).then(sale_package_id::PACKAGE_ID);
    packages.iter().enumerate().map(|(row, p)| (field(row), p.package_id.as_str().into())).collect()
}

fn ids(packages: &[PackageRow]) -> Vec<PackageId> {
    packages.iter().map(|p| p.package_id.as_str().into()).collect()
}

/// Locks the packages of a request, and refuses if one does not exist or does not take the step.
async fn lock(
    tx: &mut PgConnection,
    call: &Call,
    step: Step,
    named: &[(FieldPath, PackageId)],
) -> Result<Vec<PackageRow>, Refusal> {
    let ids: BTreeSet<_> = named.iter().map(|(_, id)| id.clone()).collect();
    let packages = store::lock(tx, call, &ids.into_iter().collect::<Vec<_>>()).await?;
    let states: HashMap<_, _> = packages.iter().map(|p| (p.package_id.as_str(), p.state.0)).collect();
    judge(step, named, &states).into_result()?;
    Ok(packages)
}

/// Refuses packages whose price matrix is not complete.
async fn prices_complete(
    tx: &mut PgConnection,
    call: &Call,
    named: &[(FieldPath, PackageId)],
    packages: &[PackageRow],
) -> Result<(), Refusal> {
    let rows = prices::store::open_rows(tx, call, &ids(packages)).await?;
    let shapes: HashMap<_, _> = packages.iter().map(|p| (p.package_id.as_str(), p.shape())).collect();
    let mut objections = Objections::default();
    for (field, id) in named {
        let Some(shape) = shapes.get(id.as_str()) else { continue };
        let of_package = rows.iter().filter(|row| row.package_id == *id);
        let matrix: Vec<_> = of_package.map(|row| (row.dimensions.clone(), row.values.limits)).collect();
        for gap in gaps(shape, &matrix) {
            let (english, chinese) = (format!("{id} {}", gap.english()), format!("套餐{id}{}", gap.chinese()));
            let fault = Fault::rule(field.clone(), english, chinese);
            match gap {
                Gap::ForeignItem(_) => objections.push(Common::FieldMalformed, fault),
                _ => objections.push(Reason::PricesIncomplete, fault),
            }
        }
    }
    objections.into_result()
}

/// Refuses a network company or store that the tenant cannot name, each by its field.
async fn suppliers_exist(tx: &mut PgConnection, call: &Call, draft: &Draft) -> Result<(), Refusal> {
    let known = suppliers::store::known(tx, call, &draft.network_company_id, &draft.retail_store_id).await?;
    let mut objections = Objections::default();
    let mut object = |field, english, chinese| {
        let field = update_sale_package_request::PACKAGE.then(field);
        objections.push(Reason::SupplierNotFound, Fault::rule(field, english, chinese));
    };
    if !known.network_company {
        object(changed_sale_package::NETWORK_COMPANY_ID, "is no network company", "管网公司不存在");
    }
    if !known.store {
        let english = "is no store of the calling company";
        object(changed_sale_package::RETAIL_STORE_ID, english, "销售公司营业网点不存在");
    }
    objections.into_result()
}

fn name_taken(draft: &Draft) -> Refusal {
    let text = format!("套餐名称“{}”已存在", draft.name);
    let field = update_sale_package_request::PACKAGE.then(changed_sale_package::NAME);
    let fault = Fault::rule(field, "is taken by another package of the company", text.clone());
    Refusal::new(Reason::PackageNameTaken, text).fault(fault)
}

fn listed(row: PackageRow, today: NaiveDate) -> SalePackage {
    let PackageRow {
        retail_company_id,
        package_id,
        network_company_id,
        retail_store_id,
        kind: Stored(kind),
        supply_kind: Stored(supply_kind),
        name,
        remark,
        account_item,
        utility: Stored(utility),
        resident: Stored(resident),
        deviation,
        seasonal,
        agreement_price: Stored(agreement_price),
        heat_basis,
        property_basis,
        basic_fee_kind,
        time_of_use: Stored(time_of_use),
        ladder: Stored(ladder),
        tiers,
        population,
        may_cancel,
        property_grade,
        retail_voltage_grade,
        delivery_price_kind: _,
        by_power,
        power_range,
        delivery_grade,
        voltage,
        state: Stored(state),
        start_date: start,
        stop_date: stop,
    } = row;
    SalePackage {
        network_company_id,
        retail_company_id,
        retail_store_id,
        package_id,
        package_kind: kind.into(),
        name,
        remark,
        account_item,
        retail_level: retail_voltage_grade,
        utility: utility.into(),
        supply_kind: supply_kind.into(),
        resident: resident.into(),
        deviation: Stored::given(deviation).into(),
        seasonal: Stored::given(seasonal).into(),
        agreement_price: agreement_price.into(),
        heat_basis: Stored::given(heat_basis).into(),
        property_basis: Stored::given(property_basis).into(),
        basic_fee_kind: Stored::given(basic_fee_kind).into(),
        time_of_use: time_of_use.into(),
        ladder: ladder.into(),
        ladder_tiers: Stored::given(tiers).into(),
        state: state.into(),
        enabled: sellable(state, Lifetime { start, stop }, today).into(),
        may_cancel: Stored::given(may_cancel).into(),
        population,
        by_power: Stored::given(by_power).into(),
        power_range,
        property_grade,
        delivery_level: delivery_grade,
        voltage: Stored::given(voltage).into(),
        start_date: day_number(start),
        stop_date: day_number(stop),
    }
}

/// The documented detail view lacks the store and the basic fee.
fn detailed(row: PackageRow, today: NaiveDate) -> SalePackageDetails {
    let SalePackage {
        network_company_id,
        retail_company_id,
        retail_store_id: _,
        package_id,
        package_kind,
        name,
        remark,
        account_item,
        retail_level,
        utility,
        supply_kind,
        resident,
        deviation,
        seasonal,
        agreement_price,
        heat_basis,
        property_basis,
        basic_fee_kind: _,
        time_of_use,
        ladder,
        ladder_tiers,
        state,
        enabled,
        may_cancel,
        population,
        by_power,
        power_range,
        property_grade,
        delivery_level,
        voltage,
        start_date,
        stop_date,
    } = listed(row, today);
    SalePackageDetails {
        network_company_id,
        retail_company_id,
        package_id,
        package_kind,
        name,
        remark,
        account_item,
        retail_level,
        utility,
        supply_kind,
        resident,
        deviation,
        seasonal,
        agreement_price,
        heat_basis,
        property_basis,
        time_of_use,
        ladder,
        ladder_tiers,
        state,
        enabled,
        may_cancel,
        population,
        by_power,
        power_range,
        property_grade,
        delivery_level,
        voltage,
        start_date,
        stop_date,
    }
}
