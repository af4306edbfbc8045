//! The calls of `PackageService`.

use std::collections::{BTreeSet, HashMap};

use communal_kit::call::Call;
use communal_kit::clock::Clock;
use communal_kit::database::constraint;
use communal_kit::pool::Pool;
use communal_kit::refusal::Refusal;
use communal_kit::request::begin;
use communal_kit::write::retrying;
use communal_proto::billing::v1::package_service_server::PackageService;
use communal_proto::billing::v1::{
    AddSalePackageRequest, AddSalePackageResponse, ApplyPutOnSalesPackageRequest, ApplyPutOnSalesPackageResponse,
    CancelSalesPackageRequest, CancelSalesPackageResponse, PackStateType, PutOnSalePackageRequest,
    PutOnSalePackageResponse, QuerySalePackDetailsRequest, QuerySalePackDetailsResponse, QuerySalePackageRequest,
    QuerySalePackageResponse, SalePackage, SalePackageDetails, SalePackageId, StateType, TemporaryMonths,
    UpdateSalePackageRequest, UpdateSalePackageResponse,
};
use communal_proto::{Coded, Fault};
use sqlx::PgConnection;
use tonic::{Request, Response, Status};

use super::draft::Draft;
use super::lifecycle::{Step, sellable};
use super::prices;
use super::prices::matrix::gaps;
use super::store::{self, Filter, PackageRow, number};
use crate::reasons::{PACKAGE_NOT_FOUND, Reason, package_not_found, refuse};
use crate::suppliers;
use crate::vocabulary::dates::{day, day_number};
use crate::vocabulary::lifetime::Lifetime;
use crate::write::{Write, begin_write, finish_write};
use crate::{MOST_UNPAGED_ROWS, answer_too_large};

/// Serves packages.
#[derive(Clone, Debug)]
pub struct PackageRpc {
    pool: Pool,
    clock: Clock,
}

impl PackageRpc {
    /// Packages of this database.
    #[must_use]
    pub fn new(pool: Pool, clock: Clock) -> Self {
        Self { pool, clock }
    }

    async fn add(&self, call: &Call, message: &AddSalePackageRequest) -> Result<AddSalePackageResponse, Refusal> {
        let mut transaction = match begin_write(&self.pool, call, message).await? {
            Write::Answered(reply) => return Ok(reply),
            Write::New(transaction) => transaction,
        };
        let draft = Draft::from(&message.package.clone().unwrap_or_default());
        suppliers_exist(&mut transaction, call, &draft).await?;
        store::add(&mut transaction, call, &draft).await.map_err(|error| name_taken(error, &draft))?;
        finish_write(transaction, call, AddSalePackageResponse {}).await
    }

    async fn edit(
        &self,
        call: &Call,
        message: &UpdateSalePackageRequest,
    ) -> Result<UpdateSalePackageResponse, Refusal> {
        let mut transaction = match begin_write(&self.pool, call, message).await? {
            Write::Answered(reply) => return Ok(reply),
            Write::New(transaction) => transaction,
        };
        let changed = message.package.clone().unwrap_or_default();
        let package_id = changed.package_id.clone();
        let draft = Draft::from(&changed);
        lock_one(&mut transaction, call, &package_id, Step::Edit).await?;
        suppliers_exist(&mut transaction, call, &draft).await?;
        store::replace(&mut transaction, call, &package_id, &draft).await.map_err(|error| name_taken(error, &draft))?;
        finish_write(transaction, call, UpdateSalePackageResponse {}).await
    }

    async fn submit(
        &self,
        call: &Call,
        message: &ApplyPutOnSalesPackageRequest,
    ) -> Result<ApplyPutOnSalesPackageResponse, Refusal> {
        let mut transaction = match begin_write(&self.pool, call, message).await? {
            Write::Answered(reply) => return Ok(reply),
            Write::New(transaction) => transaction,
        };
        let packages = lock_all(&mut transaction, call, &message.packages, Step::Submit).await?;
        let ids: Vec<_> = packages.into_iter().map(|p| p.package_id).collect();
        let priced = prices::store::read(&mut *transaction, call, &ids).await?;
        let mut faults = Vec::new();
        for (index, named) in message.packages.iter().enumerate() {
            let Some(package) = priced.get(&named.package_id) else { continue };
            let rows: Vec<_> = package.rows.iter().map(|r| (r.dimensions.clone(), r.values.limits)).collect();
            let field = format!("COM_SALES_PACK[{index}].CHARGE_PACK_DID");
            let id = &named.package_id;
            faults.extend(gaps(&package.shape, &rows).iter().map(|gap| {
                Fault::rule(field.clone(), format!("{id} {}", gap.english()), format!("套餐{id}{}", gap.chinese()))
            }));
        }
        if !faults.is_empty() {
            return Err(refuse(Reason::PricesIncomplete, "套餐价格不完整").faults(faults));
        }
        store::move_to(&mut transaction, call, &ids, PackStateType::Submitted, Step::Submit).await?;
        finish_write(transaction, call, ApplyPutOnSalesPackageResponse {}).await
    }

    async fn put_on_sale(
        &self,
        call: &Call,
        message: &PutOnSalePackageRequest,
    ) -> Result<PutOnSalePackageResponse, Refusal> {
        let mut transaction = match begin_write(&self.pool, call, message).await? {
            Write::Answered(reply) => return Ok(reply),
            Write::New(transaction) => transaction,
        };
        let start = message.package.clone().unwrap_or_default();
        lock_one(&mut transaction, call, &start.package_id, Step::PutOnSale).await?;
        let lifetime = Lifetime { start: day(start.start_date), stop: day(start.stop_date) };
        store::put_on_sale(&mut transaction, call, &start.package_id, lifetime).await?;
        finish_write(transaction, call, PutOnSalePackageResponse {}).await
    }

    async fn cancel(
        &self,
        call: &Call,
        message: &CancelSalesPackageRequest,
    ) -> Result<CancelSalesPackageResponse, Refusal> {
        let mut transaction = match begin_write(&self.pool, call, message).await? {
            Write::Answered(reply) => return Ok(reply),
            Write::New(transaction) => transaction,
        };
        for package in lock_all(&mut transaction, call, &message.packages, Step::Cancel).await? {
            store::cancel(&mut transaction, call, &package, self.clock.today()).await?;
        }
        finish_write(transaction, call, CancelSalesPackageResponse {}).await
    }

    /// Faults of the dates on which a package goes on sale, as far as they are dates at all.
    fn start_faults(&self, message: &PutOnSalePackageRequest) -> Vec<Fault> {
        let named = message.package.clone().unwrap_or_default();
        let lifetime = Lifetime { start: day(named.start_date), stop: day(named.stop_date) };
        let mut faults = Vec::new();
        if lifetime.start.is_some_and(|start| start < self.clock.today()) {
            faults.push(Fault::rule("COM_SALES_PACK.STARTUP_DATE", "is before today", "启用日期不能早于今天"));
        }
        if !lifetime.is_forward() {
            let field = "COM_SALES_PACK.OUTAGE_DATE";
            faults.push(Fault::rule(field, "is not after the start date", "停用日期应晚于启用日期"));
        }
        faults
    }
}

/// Refuses a network company or store that the caller cannot name, each by its field.
async fn suppliers_exist(connection: &mut PgConnection, call: &Call, draft: &Draft) -> Result<(), Refusal> {
    let known = suppliers::store::known(connection, call, &draft.network_company_id, &draft.retail_store_id).await?;
    let mut faults = Vec::new();
    if !known.network_company {
        faults.push(Fault::rule("COM_SALES_PACK.NETWORK_CO_DID", "is no network company", "管网公司不存在"));
    }
    if !known.store {
        let field = "COM_SALES_PACK.RET_STORES_AID";
        faults.push(Fault::rule(field, "is no store of the calling company", "销售公司营业网点不存在"));
    }
    if faults.is_empty() {
        Ok(())
    } else {
        Err(refuse(Reason::SupplierNotFound, "管网公司或营业网点不存在").faults(faults))
    }
}

fn name_taken(error: sqlx::Error, draft: &Draft) -> Refusal {
    if constraint(&error) == Some("sales_package_live_name") {
        let words = format!("套餐名称“{}”已存在", draft.name);
        let fault =
            Fault::rule("COM_SALES_PACK.CHARGE_PACK_NAME", "is taken by another package of the company", words.clone());
        refuse(Reason::PackageNameTaken, words).fault(fault)
    } else {
        error.into()
    }
}

async fn lock_one(
    connection: &mut PgConnection,
    call: &Call,
    package_id: &str,
    step: Step,
) -> Result<PackageRow, Refusal> {
    let field = "COM_SALES_PACK.CHARGE_PACK_DID";
    let found = store::lock(connection, call, &[package_id.to_owned()]).await?;
    let package = found.into_iter().next().ok_or_else(|| package_not_found(field))?;
    match unfit(&package, step, field) {
        Some(fault) => Err(refuse(Reason::PackageState, "套餐当前状态不允许此操作").fault(fault)),
        None => Ok(package),
    }
}

/// Locks all packages of a request; names each that does not exist, does not fit or comes twice.
async fn lock_all(
    connection: &mut PgConnection,
    call: &Call,
    named: &[SalePackageId],
    step: Step,
) -> Result<Vec<PackageRow>, Refusal> {
    let ids: BTreeSet<_> = named.iter().map(|n| n.package_id.clone()).collect();
    let ids: Vec<_> = ids.into_iter().collect();
    let packages = store::lock(connection, call, &ids).await?;
    let by_id: HashMap<_, _> = packages.iter().map(|p| (p.package_id.as_str(), p)).collect();
    let mut first_reason = None;
    let mut faults = Vec::new();
    for (index, name) in named.iter().enumerate() {
        let field = format!("COM_SALES_PACK[{index}].CHARGE_PACK_DID");
        let (reason, fault) = match by_id.get(name.package_id.as_str()) {
            None => {
                let english = "is no package of the calling company";
                (Reason::PackageNotFound, Fault::rule(field, english, PACKAGE_NOT_FOUND))
            }
            Some(package) => match unfit(package, step, &field) {
                Some(fault) => (Reason::PackageState, fault),
                None => continue,
            },
        };
        first_reason.get_or_insert(reason);
        faults.push(fault);
    }
    match first_reason {
        Some(reason) => Err(refuse(reason, "套餐不存在或当前状态不允许此操作").faults(faults)),
        None => Ok(packages),
    }
}

fn unfit(package: &PackageRow, step: Step, field: &str) -> Option<Fault> {
    let state = package.state();
    (!step.fits(state)).then(|| {
        let chinese = format!("套餐当前状态为{}，不能{}", state.title(), step.title());
        Fault::rule(field, format!("is in state {}, which does not take this", state.code()), chinese)
    })
}

#[tonic::async_trait]
impl PackageService for PackageRpc {
    async fn add_sale_package(
        &self,
        request: Request<AddSalePackageRequest>,
    ) -> Result<Response<AddSalePackageResponse>, Status> {
        let mut begun = begin(request)?;
        if let Some(package) = &begun.message.package {
            Draft::from(package).faults().into_iter().for_each(|fault| begun.checker.push(fault));
        }
        let (call, message) = begun.accept()?;
        Ok(Response::new(retrying(|| self.add(&call, &message)).await?))
    }

    async fn update_sale_package(
        &self,
        request: Request<UpdateSalePackageRequest>,
    ) -> Result<Response<UpdateSalePackageResponse>, Status> {
        let mut begun = begin(request)?;
        if let Some(package) = &begun.message.package {
            Draft::from(package).faults().into_iter().for_each(|fault| begun.checker.push(fault));
        }
        let (call, message) = begun.accept()?;
        Ok(Response::new(retrying(|| self.edit(&call, &message)).await?))
    }

    async fn apply_put_on_sales_package(
        &self,
        request: Request<ApplyPutOnSalesPackageRequest>,
    ) -> Result<Response<ApplyPutOnSalesPackageResponse>, Status> {
        let (call, message) = begin(request)?.accept()?;
        Ok(Response::new(retrying(|| self.submit(&call, &message)).await?))
    }

    async fn put_on_sale_package(
        &self,
        request: Request<PutOnSalePackageRequest>,
    ) -> Result<Response<PutOnSalePackageResponse>, Status> {
        let mut begun = begin(request)?;
        self.start_faults(&begun.message).into_iter().for_each(|fault| begun.checker.push(fault));
        let (call, message) = begun.accept()?;
        Ok(Response::new(retrying(|| self.put_on_sale(&call, &message)).await?))
    }

    async fn cancel_sales_package(
        &self,
        request: Request<CancelSalesPackageRequest>,
    ) -> Result<Response<CancelSalesPackageResponse>, Status> {
        let (call, message) = begin(request)?.accept()?;
        Ok(Response::new(retrying(|| self.cancel(&call, &message)).await?))
    }

    async fn query_sale_package(
        &self,
        request: Request<QuerySalePackageRequest>,
    ) -> Result<Response<QuerySalePackageResponse>, Status> {
        let (call, message) = begin(request)?.accept()?;
        let named = message.filter.unwrap_or_default();
        let given = |code: i32| (code != 0).then(|| number(code));
        let filter = Filter {
            package_id: None,
            account_item: Some(named.account_item.as_str()).filter(|item| !item.is_empty()),
            state: given(named.state),
            utility: given(named.utility),
            sellable: (named.enabled() != StateType::Unspecified).then(|| named.enabled() == StateType::Enabled),
        };
        let today = self.clock.today();
        let found = store::list(&self.pool, &call.tenant.id, &filter, today, MOST_UNPAGED_ROWS.saturating_add(1))
            .await
            .map_err(Refusal::from)?;
        if i64::try_from(found.len()).is_ok_and(|n| n > MOST_UNPAGED_ROWS) {
            return Err(answer_too_large(MOST_UNPAGED_ROWS, "请增加查询条件").into());
        }
        let packages = found.into_iter().map(|row| listed(row, today)).collect();
        Ok(Response::new(QuerySalePackageResponse { packages }))
    }

    async fn query_sale_pack_details(
        &self,
        request: Request<QuerySalePackDetailsRequest>,
    ) -> Result<Response<QuerySalePackDetailsResponse>, Status> {
        let (call, message) = begin(request)?.accept()?;
        let named = message.package.unwrap_or_default();
        let today = self.clock.today();
        let filter = Filter { package_id: Some(&named.package_id), ..Filter::default() };
        let found = store::list(&self.pool, &call.tenant.id, &filter, today, 1).await.map_err(Refusal::from)?;
        let row = found.into_iter().next().ok_or_else(|| package_not_found("COM_SALES_PACK.CHARGE_PACK_DID"))?;
        Ok(Response::new(QuerySalePackDetailsResponse {
            // Temporary packages are made by no call yet; the documented block is there, empty.
            temporary_months: Some(TemporaryMonths { package_id: row.package_id.clone(), ..Default::default() }),
            packages: vec![detailed(row, today)],
        }))
    }
}

fn listed(row: PackageRow, today: chrono::NaiveDate) -> SalePackage {
    SalePackage {
        enabled: sellable(row.state(), row.lifetime(), today).into(),
        start_date: day_number(row.start_date),
        stop_date: day_number(row.stop_date),
        network_company_id: row.network_company_id,
        retail_company_id: row.retail_company_id,
        retail_store_id: row.retail_store_id,
        package_id: row.package_id,
        package_kind: row.package_kind.into(),
        name: row.name,
        remark: row.remark,
        account_item: row.account_item,
        retail_level: row.retail_level,
        utility: row.utility.into(),
        supply_kind: row.supply_kind.into(),
        resident: row.resident.into(),
        deviation: row.deviation.into(),
        seasonal: row.seasonal.into(),
        agreement_price: row.agreement_price.into(),
        heat_basis: row.heat_basis.into(),
        property_basis: row.property_basis.into(),
        basic_fee_kind: row.basic_fee_kind.into(),
        time_of_use: row.time_of_use.into(),
        ladder: row.ladder.into(),
        ladder_tiers: row.ladder_tiers.into(),
        state: row.state.into(),
        may_cancel: row.may_cancel.into(),
        population: row.population,
        by_power: row.by_power.into(),
        power_range: row.power_range,
        property_grade: row.property_grade,
        delivery_level: row.delivery_level,
        voltage: row.voltage.into(),
    }
}

/// The documented detail view lacks the store and the basic fee.
fn detailed(row: PackageRow, today: chrono::NaiveDate) -> SalePackageDetails {
    let package = listed(row, today);
    SalePackageDetails {
        network_company_id: package.network_company_id,
        retail_company_id: package.retail_company_id,
        package_id: package.package_id,
        package_kind: package.package_kind,
        name: package.name,
        remark: package.remark,
        account_item: package.account_item,
        retail_level: package.retail_level,
        utility: package.utility,
        supply_kind: package.supply_kind,
        resident: package.resident,
        deviation: package.deviation,
        seasonal: package.seasonal,
        agreement_price: package.agreement_price,
        heat_basis: package.heat_basis,
        property_basis: package.property_basis,
        time_of_use: package.time_of_use,
        ladder: package.ladder,
        ladder_tiers: package.ladder_tiers,
        state: package.state,
        enabled: package.enabled,
        may_cancel: package.may_cancel,
        population: package.population,
        by_power: package.by_power,
        power_range: package.power_range,
        property_grade: package.property_grade,
        delivery_level: package.delivery_level,
        voltage: package.voltage,
        start_date: package.start_date,
        stop_date: package.stop_date,
    }
}
