//! The steps of packages, for both kinds, and the methods of `PackageService`.

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
use prost::Message;
use sqlx::PgConnection;
use tonic::{Request, Response, Status};

use super::catalogue::{lacks_basic_fee, missing_prices};
use super::draft::Draft;
use super::kind::{PackageKind, PriceSource};
use super::lifecycle::{SaleStart, Step, cancelled, judge, sellable};
use super::prices;
use super::store::{self, Filter, PackageRow};
use crate::reasons::package_not_found;
use crate::reference::catalogue;
use crate::reference::catalogue_prices::{self, Part};
use crate::suppliers;
use crate::vocabulary::dates::day_number;
use crate::vocabulary::identifiers::{PackageId, StoreId};
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

/// A package of a request: its field and its identifier.
pub(super) type Named = (FieldPath, PackageId);

/// The steps of both kinds of package. Each is carried out on all packages of a request, or on none.
impl PackageRpc {
    /// Today, by the service's clock.
    pub(super) fn today(&self) -> NaiveDate {
        self.clock.today()
    }

    /// Drafts packages; guaranteed ones are offered in `stores`. `reply` gets their identifiers.
    pub(super) async fn add<M: Message, R: Message + Default>(
        &self,
        call: &Call,
        message: &M,
        drafts: &[(FieldPath, Draft)],
        stores: &[(FieldPath, StoreId)],
        reply: impl Fn(Vec<PackageId>) -> R + Send + Sync,
    ) -> Result<Response<R>, Status> {
        let written = write(&self.pool, call, message, async |tx| {
            stores_exist(tx, call, stores).await?;
            let offered: Vec<_> = stores.iter().map(|(_, store)| store.clone()).collect();
            let mut added = Vec::with_capacity(drafts.len());
            for (place, draft) in drafts {
                suppliers_exist(tx, call, place, draft).await?;
                let taken = on_constraint("package_live_name", || name_taken(place, draft));
                let package_id = store::add(tx, call, draft).await.map_err(taken)?;
                if !offered.is_empty() {
                    store::offer(tx, call, &package_id, &offered).await?;
                }
                added.push(package_id);
            }
            Ok(reply(added))
        });
        Ok(written.await?)
    }

    /// Replaces drafts.
    pub(super) async fn replace<M: Message, R: Message + Default>(
        &self,
        kind: PackageKind,
        call: &Call,
        message: &M,
        drafts: &[(FieldPath, PackageId, Draft)],
    ) -> Result<Response<R>, Status> {
        let named: Vec<_> = drafts.iter().map(|(place, id, _)| package_of(place, id.as_str())).collect();
        let reply = write(&self.pool, call, message, async |tx| {
            lock(tx, call, kind, Step::Edit, &named).await?;
            for (place, package_id, draft) in drafts {
                suppliers_exist(tx, call, place, draft).await?;
                let taken = on_constraint("package_live_name", || name_taken(place, draft));
                store::replace(tx, call, package_id, draft).await.map_err(taken)?;
            }
            Ok(R::default())
        });
        Ok(reply.await?)
    }

    /// Submits drafts for sale.
    pub(super) async fn submit<M: Message, R: Message + Default>(
        &self,
        kind: PackageKind,
        call: &Call,
        message: &M,
        named: &[Named],
    ) -> Result<Response<R>, Status> {
        let today = self.clock.today();
        let reply = write(&self.pool, call, message, async |tx| {
            let packages = lock(tx, call, kind, Step::Submit, named).await?;
            let on_day = |package: &PackageRow| package.start_date.map_or(today, |start| start.max(today));
            account_items_known(tx, named, &packages).await?;
            match kind.prices() {
                PriceSource::OwnRows => own_prices_complete(tx, call, named, &packages).await?,
                PriceSource::Catalogue => catalogue_complete(tx, call, named, &packages, on_day).await?,
            }
            store::submit(tx, call, &ids(&packages)).await?;
            Ok(R::default())
        });
        Ok(reply.await?)
    }

    /// Puts submitted packages on sale.
    pub(super) async fn put_on_sale<M: Message, R: Message + Default>(
        &self,
        kind: PackageKind,
        call: &Call,
        message: &M,
        starts: &[(FieldPath, SaleStart)],
    ) -> Result<Response<R>, Status> {
        let named: Vec<_> = starts.iter().map(|(place, s)| package_of(place, s.package_id.as_str())).collect();
        let first_days: HashMap<_, _> = starts.iter().map(|(_, s)| (s.package_id.as_str(), s.lifetime.start)).collect();
        let today = self.clock.today();
        let reply = write(&self.pool, call, message, async |tx| {
            let packages = lock(tx, call, kind, Step::PutOnSale, &named).await?;
            account_items_known(tx, &named, &packages).await?;
            if kind.prices() == PriceSource::Catalogue {
                let on_day = |p: &PackageRow| first_days.get(p.package_id.as_str()).copied().flatten().unwrap_or(today);
                catalogue_complete(tx, call, &named, &packages, on_day).await?;
            }
            for (_, SaleStart { package_id, lifetime }) in starts {
                store::put_on_sale(tx, call, package_id, *lifetime).await?;
                prices::store::start(tx, call, package_id, lifetime.start).await?;
            }
            Ok(R::default())
        });
        Ok(reply.await?)
    }

    /// Cancels packages.
    pub(super) async fn cancel<M: Message, R: Message + Default>(
        &self,
        kind: PackageKind,
        call: &Call,
        message: &M,
        named: &[Named],
    ) -> Result<Response<R>, Status> {
        let today = self.clock.today();
        let reply = write(&self.pool, call, message, async |tx| {
            let packages = lock(tx, call, kind, Step::Cancel, named).await?;
            let stop = |p: &PackageRow| cancelled(p.state.0, p.lifetime(), today).stop;
            let stops: Vec<_> = packages.iter().map(|p| (p.package_id.as_str().into(), stop(p))).collect();
            store::cancel(tx, call, &stops).await?;
            prices::store::end(tx, call, &ids(&packages), today).await?;
            Ok(R::default())
        });
        Ok(reply.await?)
    }

    /// Returns the packages of the calling company, oldest first.
    pub(super) async fn list(&self, call: &Call, filter: &Filter<'_>) -> Result<Vec<SalePackage>, Refusal> {
        let today = self.clock.today();
        let found = store::list(&self.pool, &call.tenant.id, filter, today, Cap::UNPAGED.limit()).await?;
        let found = Cap::UNPAGED.check(found, "请增加查询条件")?;
        Ok(found.into_iter().map(|row| listed(row, today)).collect())
    }
}

/// The package of a request by its place in it.
pub(super) fn package_of(place: &FieldPath, package_id: &str) -> Named {
    (place.clone().then(changed_sale_package::PACKAGE_ID), package_id.into())
}

#[tonic::async_trait]
impl PackageService for PackageRpc {
    async fn add_sale_package(
        &self,
        request: Request<AddSalePackageRequest>,
    ) -> Result<Response<AddSalePackageResponse>, Status> {
        let (call, message, draft) = begin(request)?.accept_with(|message, checker| {
            let draft = message.package.as_ref()?.into();
            Some((place(), without_contradiction(PackageKind::Retail, &place(), draft, checker)))
        })?;
        let reply = |added: Vec<PackageId>| AddSalePackageResponse {
            package_id: added.first().map(|id| id.as_str().to_owned()).unwrap_or_default(),
        };
        self.add(&call, &message, &[draft], &[], reply).await
    }

    async fn update_sale_package(
        &self,
        request: Request<UpdateSalePackageRequest>,
    ) -> Result<Response<UpdateSalePackageResponse>, Status> {
        let (call, message, draft) = begin(request)?.accept_with(|message, checker| {
            let package = message.package.as_ref()?;
            let draft = without_contradiction(PackageKind::Retail, &place(), package.into(), checker);
            Some((place(), package.package_id.as_str().into(), draft))
        })?;
        self.replace(PackageKind::Retail, &call, &message, &[draft]).await
    }

    async fn apply_put_on_sales_package(
        &self,
        request: Request<ApplyPutOnSalesPackageRequest>,
    ) -> Result<Response<ApplyPutOnSalesPackageResponse>, Status> {
        let (call, message) = begin(request)?.accept()?;
        self.submit(PackageKind::Retail, &call, &message, &named(&message.packages)).await
    }

    async fn put_on_sale_package(
        &self,
        request: Request<PutOnSalePackageRequest>,
    ) -> Result<Response<PutOnSalePackageResponse>, Status> {
        let today = self.clock.today();
        let (call, message, start) = begin(request)?.accept_with(|message, checker| {
            let start = SaleStart::from(message.package.as_ref()?);
            start.faults(&place(), today).into_iter().for_each(|fault| checker.push(fault));
            Some((place(), start))
        })?;
        self.put_on_sale(PackageKind::Retail, &call, &message, &[start]).await
    }

    async fn cancel_sales_package(
        &self,
        request: Request<CancelSalesPackageRequest>,
    ) -> Result<Response<CancelSalesPackageResponse>, Status> {
        let (call, message) = begin(request)?.accept()?;
        self.cancel(PackageKind::Retail, &call, &message, &named(&message.packages)).await
    }

    async fn query_sale_package(
        &self,
        request: Request<QuerySalePackageRequest>,
    ) -> Result<Response<QuerySalePackageResponse>, Status> {
        let (call, message) = begin(request)?.accept()?;
        let asked = message.filter.unwrap_or_default();
        let filter = Filter {
            kinds: PackageKind::Retail.codes(),
            account_item: Some(asked.account_item.as_str()).filter(|item| !item.is_empty()),
            state: asked.state(),
            utility: asked.utility(),
            name: Some(asked.name.as_str()).filter(|name| !name.is_empty()),
            sellable: (asked.enabled() != StateType::Unspecified).then(|| asked.enabled() == StateType::Enabled),
        };
        let packages = self.list(&call, &filter).await?;
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
        let found = found.filter(|package| PackageKind::Retail.includes(package.kind.0));
        let row = found.ok_or_else(|| package_not_found(field))?;
        Ok(Response::new(QuerySalePackDetailsResponse {
            // Temporary packages are made by no method yet; the documented block is there, empty.
            temporary_months: Some(TemporaryMonths { package_id: row.package_id.clone(), ..Default::default() }),
            packages: vec![detailed(row, self.clock.today())],
        }))
    }
}

/// The place of the one package in a request.
fn place() -> FieldPath {
    update_sale_package_request::PACKAGE.into()
}

/// The packages of a request, each with its field.
fn named(packages: &[SalePackageId]) -> Vec<Named> {
    let place = |row| apply_put_on_sales_package_request::PACKAGES.at(row);
    packages.iter().enumerate().map(|(row, p)| package_of(&place(row), &p.package_id)).collect()
}

/// Returns the draft; its contradictions go to the checker.
pub(super) fn without_contradiction(
    kind: PackageKind,
    place: &FieldPath,
    draft: Draft,
    checker: &mut Checker,
) -> Draft {
    draft.faults(kind, place).into_iter().for_each(|fault| checker.push(fault));
    draft
}

fn ids(packages: &[PackageRow]) -> Vec<PackageId> {
    packages.iter().map(|p| p.package_id.as_str().into()).collect()
}

/// Locks the packages of a request, and refuses if one is none of the kind or does not take the step.
async fn lock(
    tx: &mut PgConnection,
    call: &Call,
    kind: PackageKind,
    step: Step,
    named: &[Named],
) -> Result<Vec<PackageRow>, Refusal> {
    let ids: BTreeSet<_> = named.iter().map(|(_, id)| id.clone()).collect();
    let mut packages = store::lock(tx, call, &ids.into_iter().collect::<Vec<_>>()).await?;
    packages.retain(|package| kind.includes(package.kind.0));
    let states: HashMap<_, _> = packages.iter().map(|p| (p.package_id.as_str(), p.state.0)).collect();
    judge(step, named, &states).into_result()?;
    Ok(packages)
}

/// Refuses packages whose account item the network company has not registered for their utility: no line of theirs could be
/// booked. Account items are never deleted and keep their utility, so that what is on sale stays so.
async fn account_items_known(tx: &mut PgConnection, named: &[Named], packages: &[PackageRow]) -> Result<(), Refusal> {
    let named: Vec<_> = in_order(named, packages).collect();
    let asked: Vec<_> = named.iter().map(|(_, package)| package.booked_by()).collect();
    let known = catalogue::store::main_items(tx, &asked).await?;
    let mut objections = Objections::default();
    for ((field, package), _) in named.into_iter().zip(known).filter(|(_, main_item)| main_item.is_none()) {
        let PackageRow { package_id: id, account_item: item, network_company_id: network, .. } = package;
        let english = format!("{id} has account item {item}, which {network} has not registered for this utility");
        let chinese = format!("套餐{id}的会计科目{item}未在管网公司{network}的本类管网目录中登记");
        objections.push(Reason::AccountItemNotFound, Fault::rule(field.clone(), english, chinese));
    }
    objections.into_result()
}

/// Refuses packages whose own price rows are no complete matrix.
async fn own_prices_complete(
    tx: &mut PgConnection,
    call: &Call,
    named: &[Named],
    packages: &[PackageRow],
) -> Result<(), Refusal> {
    let rows = prices::store::open_rows(tx, call, &ids(packages)).await?;
    let mut objections = Objections::default();
    for (field, package) in in_order(named, packages) {
        let of_package = rows.iter().filter(|row| row.package_id.as_str() == package.package_id);
        let matrix: Vec<_> = of_package.map(|row| (row.dimensions.clone(), row.values.limits)).collect();
        object_to_gaps(field, package, gaps(&package.shape(), &matrix), &mut objections);
    }
    objections.into_result()
}

/// Refuses packages of which the catalogue lacks a price on a day.
async fn catalogue_complete(
    tx: &mut PgConnection,
    call: &Call,
    named: &[Named],
    packages: &[PackageRow],
    on_day: impl Fn(&PackageRow) -> NaiveDate,
) -> Result<(), Refusal> {
    let mut objections = Objections::default();
    for (field, package) in in_order(named, packages) {
        let (day, tariff, item) = (on_day(package), package.tariff(), [package.account_item.as_str()]);
        let company = &call.tenant.id;
        let main = catalogue_prices::store::in_force(&mut *tx, company, Part::Main, &item, day).await?;
        object_to_gaps(field, package, missing_prices(&package.shape(), &tariff, &main), &mut objections);
        let basic_fees = catalogue_prices::store::in_force(&mut *tx, company, Part::BasicFee, &item, day).await?;
        if lacks_basic_fee(&tariff, &basic_fees) {
            let (id, english) = (&package.package_id, "has no price of its basic fee");
            let fault = Fault::rule(field.clone(), format!("{id} {english}"), format!("套餐{id}缺少基本费单价"));
            objections.push(Reason::PricesIncomplete, fault);
        }
    }
    objections.into_result()
}

/// The packages in the order of the request, each with its field.
fn in_order<'a>(
    named: &'a [Named],
    packages: &'a [PackageRow],
) -> impl Iterator<Item = (&'a FieldPath, &'a PackageRow)> {
    let by_id: HashMap<_, _> = packages.iter().map(|package| (package.package_id.as_str(), package)).collect();
    named.iter().filter_map(move |(field, id)| Some((field, *by_id.get(id.as_str())?)))
}

fn object_to_gaps(field: &FieldPath, package: &PackageRow, gaps: Vec<Gap>, objections: &mut Objections) {
    let id = &package.package_id;
    for gap in gaps {
        let (english, chinese) = (format!("{id} {}", gap.english()), format!("套餐{id}{}", gap.chinese()));
        let fault = Fault::rule(field.clone(), english, chinese);
        match gap {
            Gap::ForeignItem(_) => objections.push(Common::FieldMalformed, fault),
            _ => objections.push(Reason::PricesIncomplete, fault),
        }
    }
}

/// Refuses a network company or store that the tenant cannot name, each by its field. A guaranteed package names
/// neither.
async fn suppliers_exist(tx: &mut PgConnection, call: &Call, place: &FieldPath, draft: &Draft) -> Result<(), Refusal> {
    let (Some(network_company_id), Some(retail_store_id)) = (&draft.network_company_id, &draft.retail_store_id) else {
        return Ok(());
    };
    let known = suppliers::store::known(tx, call, network_company_id, retail_store_id).await?;
    let mut objections = Objections::default();
    let mut object = |field, english, chinese| {
        objections.push(Reason::SupplierNotFound, Fault::rule(place.clone().then(field), english, chinese));
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

/// Refuses stores that are none of the calling company.
async fn stores_exist(tx: &mut PgConnection, call: &Call, stores: &[(FieldPath, StoreId)]) -> Result<(), Refusal> {
    if stores.is_empty() {
        return Ok(());
    }
    let ids: Vec<_> = stores.iter().map(|(_, store)| store.as_str()).collect();
    let mut objections = Objections::default();
    for place in suppliers::store::unknown(tx, call, &ids).await? {
        let Some((field, _)) = usize::try_from(place).ok().and_then(|place| stores.get(place)) else { continue };
        let fault = Fault::rule(field.clone(), "is no store of the calling company", "管网公司营业网点不存在");
        objections.push(Reason::SupplierNotFound, fault);
    }
    objections.into_result()
}

fn name_taken(place: &FieldPath, draft: &Draft) -> Refusal {
    let text = format!("套餐名称“{}”已存在", draft.name);
    let field = place.clone().then(changed_sale_package::NAME);
    let fault = Fault::rule(field, "is taken by another package of the company", text.clone());
    Refusal::new(Reason::PackageNameTaken, text).fault(fault)
}

/// The documented view of a package in a list. That of a guaranteed package has some of its fields.
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
        retail_store_id: retail_store_id.unwrap_or_default(),
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
