//! The calls of `PackagePriceService`.

use std::collections::BTreeSet;

use bytes::Bytes;
use communal_kit::call::Call;
use communal_kit::clock::Clock;
use communal_kit::idempotency::{RequestKey, answered};
use communal_kit::money::at_scale;
use communal_kit::pool::Pool;
use communal_kit::refusal::Refusal;
use communal_kit::request::begin;
use communal_kit::write::retrying;
use communal_proto::billing::v1::package_price_service_server::PackagePriceService;
use communal_proto::billing::v1::{
    AddSalePackagePriceRequest, AddSalePackagePriceResponse, NextYesNo, PageReply, QuerySalePackagePriceRequest,
    QuerySalePackagePriceResponse, QuerySalePackageTagsRequest, QuerySalePackageTagsResponse, SalePackagePrice,
    SalePackagePriceRow, SalePackageTag, UpdateSalePackagePriceRequest, UpdateSalePackagePriceResponse,
};
use prost::Message;
use tonic::{Request, Response, Status};

use super::change::{plan_additions, plan_changes};
use super::row::refuse_rows;
use super::store::{self, Applied, PriceRow};
use crate::packages;
use crate::packages::lifecycle::Step;
use crate::packages::store::PackageRow;
use crate::reasons::package_not_found;
use crate::vocabulary::dates::day_number;
use crate::vocabulary::quantity::UNIT_PRICE_SCALE;
use crate::write::{Write, begin_write, finish_write};
use crate::{MOST_UNPAGED_ROWS, answer_too_large};

/// Serves prices.
#[derive(Clone, Debug)]
pub struct PriceRpc {
    pool: Pool,
    clock: Clock,
}

impl PriceRpc {
    /// Prices of this database.
    #[must_use]
    pub fn new(pool: Pool, clock: Clock) -> Self {
        Self { pool, clock }
    }

    async fn add(
        &self,
        call: &Call,
        message: &AddSalePackagePriceRequest,
    ) -> Result<AddSalePackagePriceResponse, Refusal> {
        let mut transaction = match begin_write(&self.pool, call, message).await? {
            Write::Answered(reply) => return Ok(reply),
            Write::New(transaction) => transaction,
        };
        let package_ids = package_ids(&message.rows);
        packages::store::lock(&mut transaction, call, &package_ids).await?;
        let priced = store::read(&mut *transaction, call, &package_ids).await?;
        let plan = plan_additions(&priced, &message.rows, self.clock.today()).map_err(refuse_rows)?;
        // The request id was claimed when the transaction began.
        must_be_done(store::apply(&mut *transaction, call, Step::AddPrices, &priced, &plan, None).await?)?;
        finish_write(transaction, call, AddSalePackagePriceResponse {}).await
    }

    /// Reads, plans and writes in two statements. When another call wrote to one of the packages
    /// in between, once more with the packages locked.
    async fn change(
        &self,
        call: &Call,
        message: &UpdateSalePackagePriceRequest,
    ) -> Result<UpdateSalePackagePriceResponse, Refusal> {
        let package_ids = package_ids(&message.rows);
        let key = call.request_key(message);
        let priced = store::read(&self.pool, call, &package_ids).await?;
        let plan = match plan_changes(&priced, &message.rows, self.clock.today()) {
            Ok(plan) => plan,
            // What cannot be carried out now may have been carried out before.
            Err(objections) => return self.answer_again(call, key.as_ref(), refuse_rows(objections)).await,
        };
        if plan.is_empty() && key.is_none() {
            return Ok(UpdateSalePackagePriceResponse {});
        }
        let applied = store::apply(&self.pool, call, Step::ChangePrices, &priced, &plan, key.as_ref()).await?;
        match (applied, key) {
            (Applied::Done, _) => Ok(UpdateSalePackagePriceResponse {}),
            (Applied::AnsweredBefore, Some(key)) => reply(answered(&self.pool, call, &key).await?),
            (Applied::AnsweredBefore | Applied::Stale, _) => {
                metrics::counter!("communal_billing_price_changes_replanned_total").increment(1);
                retrying(|| self.change_locked(call, message)).await
            }
        }
    }

    async fn change_locked(
        &self,
        call: &Call,
        message: &UpdateSalePackagePriceRequest,
    ) -> Result<UpdateSalePackagePriceResponse, Refusal> {
        let mut transaction = match begin_write(&self.pool, call, message).await? {
            Write::Answered(reply) => return Ok(reply),
            Write::New(transaction) => transaction,
        };
        let package_ids = package_ids(&message.rows);
        packages::store::lock(&mut transaction, call, &package_ids).await?;
        let priced = store::read(&mut *transaction, call, &package_ids).await?;
        let plan = plan_changes(&priced, &message.rows, self.clock.today()).map_err(refuse_rows)?;
        must_be_done(store::apply(&mut *transaction, call, Step::ChangePrices, &priced, &plan, None).await?)?;
        finish_write(transaction, call, UpdateSalePackagePriceResponse {}).await
    }

    async fn answer_again(
        &self,
        call: &Call,
        key: Option<&RequestKey>,
        refusal: Refusal,
    ) -> Result<UpdateSalePackagePriceResponse, Refusal> {
        let Some(key) = key else { return Err(refusal) };
        match answered(&self.pool, call, key).await {
            Ok(bytes) => reply(bytes),
            // Not answered before: the request is simply at fault.
            Err(unknown) if unknown.is_retryable() => Err(refusal),
            Err(reused) => Err(reused),
        }
    }

    async fn package(&self, call: &Call, package_id: &str) -> Result<PackageRow, Refusal> {
        let filter = packages::store::Filter { package_id: Some(package_id), ..Default::default() };
        let found = packages::store::list(&self.pool, &call.tenant.id, &filter, self.clock.today(), 1).await?;
        found.into_iter().next().ok_or_else(|| package_not_found("COM_SALES_PACK.CHARGE_PACK_DID"))
    }
}

fn reply(bytes: Bytes) -> Result<UpdateSalePackagePriceResponse, Refusal> {
    UpdateSalePackagePriceResponse::decode(bytes).map_err(Refusal::internal)
}

/// The packages were locked before they were read, so their versions cannot have moved.
fn must_be_done(applied: Applied) -> Result<(), Refusal> {
    match applied {
        Applied::Done => Ok(()),
        other => Err(Refusal::internal(format!("a plan made under lock was not carried out: {other:?}"))),
    }
}

/// The packages of the rows, each once and in the order in which they are locked.
fn package_ids(rows: &[SalePackagePriceRow]) -> Vec<String> {
    rows.iter().map(|row| row.package_id.clone()).collect::<BTreeSet<_>>().into_iter().collect()
}

#[tonic::async_trait]
impl PackagePriceService for PriceRpc {
    async fn add_sale_package_price(
        &self,
        request: Request<AddSalePackagePriceRequest>,
    ) -> Result<Response<AddSalePackagePriceResponse>, Status> {
        let (call, message) = begin(request)?.accept()?;
        Ok(Response::new(retrying(|| self.add(&call, &message)).await?))
    }

    async fn update_sale_package_price(
        &self,
        request: Request<UpdateSalePackagePriceRequest>,
    ) -> Result<Response<UpdateSalePackagePriceResponse>, Status> {
        let (call, message) = begin(request)?.accept()?;
        Ok(Response::new(retrying(|| self.change(&call, &message)).await?))
    }

    async fn query_sale_package_price(
        &self,
        request: Request<QuerySalePackagePriceRequest>,
    ) -> Result<Response<QuerySalePackagePriceResponse>, Status> {
        let (call, message) = begin(request)?.accept()?;
        let page = message.page.unwrap_or_default();
        let package = self.package(&call, &message.package.unwrap_or_default().package_id).await?;
        let total = store::count_open(&self.pool, &call.tenant.id, &package.package_id).await.map_err(Refusal::from)?;
        let (rows, before) = (i64::from(page.rows), i64::from(page.rows) * i64::from(page.page - 1));
        let found = store::list_open(&self.pool, &call.tenant.id, &package.package_id, rows, before)
            .await
            .map_err(Refusal::from)?;
        let next = if before + rows < total { NextYesNo::More } else { NextYesNo::None };
        Ok(Response::new(QuerySalePackagePriceResponse {
            page: Some(PageReply { page: page.page, rows: page.rows, next: next.into(), total }),
            rows: found.into_iter().map(|row| open_price(&package, row)).collect(),
        }))
    }

    async fn query_sale_package_tags(
        &self,
        request: Request<QuerySalePackageTagsRequest>,
    ) -> Result<Response<QuerySalePackageTagsResponse>, Status> {
        let (call, message) = begin(request)?.accept()?;
        let package = self.package(&call, &message.package.unwrap_or_default().package_id).await?;
        let found =
            store::list_versions(&self.pool, &call.tenant.id, &package.package_id, MOST_UNPAGED_ROWS.saturating_add(1))
                .await
                .map_err(Refusal::from)?;
        if i64::try_from(found.len()).is_ok_and(|n| n > MOST_UNPAGED_ROWS) {
            return Err(answer_too_large(MOST_UNPAGED_ROWS, "请使用分页查询QuerySalePackagePrice").into());
        }
        let versions = found.into_iter().map(|row| version(&package, row)).collect();
        Ok(Response::new(QuerySalePackageTagsResponse { versions }))
    }
}

fn open_price(package: &PackageRow, row: PriceRow) -> SalePackagePrice {
    SalePackagePrice {
        retail_company_id: package.retail_company_id.clone(),
        package_id: package.package_id.clone(),
        utility: package.utility.into(),
        account_item: row.account_item,
        agreement_price: row.agreement_price.into(),
        price: at_scale(row.price, UNIT_PRICE_SCALE),
        price_unit: row.price_unit,
        heat_basis: row.heat_basis.into(),
        property_basis: row.property_basis.into(),
        season: row.season.into(),
        time_of_use: row.time_of_use.into(),
        period: row.period.into(),
        ladder: row.ladder.into(),
        tier: row.tier.into(),
        upper_limit: row.upper_limit,
        lower_limit: row.lower_limit,
        start_date: day_number(row.start_date),
        stop_date: day_number(row.stop_date),
    }
}

fn version(package: &PackageRow, row: PriceRow) -> SalePackageTag {
    SalePackageTag {
        package_id: package.package_id.clone(),
        network_company_id: package.network_company_id.clone(),
        retail_company_id: package.retail_company_id.clone(),
        account_item: row.account_item,
        price_unit: row.price_unit,
        utility: package.utility.into(),
        supply_kind: package.supply_kind.into(),
        resident: package.resident.into(),
        heat_basis: row.heat_basis.into(),
        property_basis: row.property_basis.into(),
        agreement_price: row.agreement_price.into(),
        time_of_use: row.time_of_use.into(),
        ladder: row.ladder.into(),
        ladder_tiers: package.ladder_tiers.into(),
        season: row.season.into(),
        period: row.period.into(),
        tier: row.tier.into(),
        start_date: day_number(row.start_date),
        stop_date: day_number(row.stop_date),
    }
}
