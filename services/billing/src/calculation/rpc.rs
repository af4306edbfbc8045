//! The methods of `CalculationService`.

use std::collections::HashMap;
use std::sync::Arc;

use communal_kit::call::Call;
use communal_kit::clock::Clock;
use communal_kit::database::Statement as _;
use communal_kit::objections::Objections;
use communal_kit::paging::{Cap, Page};
use communal_kit::pool::Pool;
use communal_kit::refusal::Refusal;
use communal_kit::request::begin;
use communal_kit::write::write;
use communal_proto::billing::v1::calculation_service_server::CalculationService;
use communal_proto::billing::v1::{
    CalcFeeType, CalculateFeesRequest, CalculateFeesResponse, QueryCalFeesDetaillRequest, QueryCalFeesDetaillResponse,
    QueryPreCalculatedDataRequest, QueryPreCalculatedDataResponse, QueryUnChargeOffInfoRequest,
    QueryUnChargeOffInfoResponse, QueryUnChargeOffMeterInfoRequest, QueryUnChargeOffMeterInfoResponse,
    QueryUnChargeOffMeterTotalInfoRequest, QueryUnChargeOffMeterTotalInfoResponse, QueryUnChargeOffPriceInfoRequest,
    QueryUnChargeOffPriceInfoResponse, QueryUnChargeOffPriceTotalInfoRequest, QueryUnChargeOffPriceTotalInfoResponse,
};
use tonic::{Request, Response, Status};

use super::shown::{self, DetailedAccount};
use super::store::CalculatedPoint;
use super::stored::Unreadable;
use super::{rates, rules, store};
use crate::archive::{accumulators, billable, meters};
use crate::metering::points;
use crate::metering::points::snapshot::Snapshot;
use crate::metering::readings;
use crate::metering::readings::shown::ShownPoint;
use crate::packages;
use crate::vocabulary::dates::time_number;
use crate::vocabulary::paging::AskedPage;
use crate::vocabulary::vacancy::VacancyRatios;

/// Serves calculations.
#[derive(Clone, Debug)]
pub struct CalculationRpc {
    pool: Pool,
    clock: Clock,
    vacancy: Arc<VacancyRatios>,
}

impl CalculationRpc {
    /// Serves the calculations of a database.
    #[must_use]
    pub fn new(pool: Pool, clock: Clock, vacancy: Arc<VacancyRatios>) -> Self {
        Self { pool, clock, vacancy }
    }

    /// Replaces the snapshots of outdated points by those that they would have if they were made now.
    async fn renew(&self, call: &Call, outdated: Vec<(String, &mut Snapshot)>) -> Result<(), Refusal> {
        let ids: Vec<_> = outdated.iter().map(|(id, _)| id.as_str()).collect();
        if ids.is_empty() {
            return Ok(());
        }
        let mut transaction = self.pool.begin().named("begin").await?;
        let mut present = points::store::preview(&mut transaction, call, &ids).await?;
        transaction.rollback().named("rollback").await?;
        for (id, snapshot) in outdated {
            if let Some(renewed) = present.remove(&id) {
                *snapshot = renewed;
            }
        }
        Ok(())
    }
}

impl CalculationRpc {
    /// The points with their readings and meters.
    async fn shown(&self, call: &Call, points: Vec<CalculatedPoint>) -> Result<Vec<ShownPoint>, Refusal> {
        let company = &call.tenant.id;
        let keys: Vec<_> = points.iter().map(|point| point.key.clone()).collect();
        let mut lookup = self.pool.begin_lookup().named("begin").await?;
        let read = readings::store::points(&mut lookup, company, &keys).await?;
        lookup.commit().named("commit").await?;
        let mut read: HashMap<_, _> = read.into_iter().map(|point| (point.key, point.readings)).collect();
        let ids: Vec<_> = points.iter().map(|point| point.snapshot.meter_id()).collect();
        let meters = meters::store::read(&self.pool, company, &ids).await?;
        let shown = points.into_iter().map(|CalculatedPoint { key, snapshot, calculation }| ShownPoint {
            meter: meters.iter().find(|meter| meter.meter_id == snapshot.meter_id()).cloned(),
            readings: read.remove(&key).unwrap_or_default(),
            calculated: shown::calculated_at(&calculation),
            run_kind: key.kind,
            snapshot,
        });
        Ok(shown.collect())
    }
}

fn unreadable(error: Unreadable) -> Refusal {
    Refusal::internal(error)
}

#[tonic::async_trait]
impl CalculationService for CalculationRpc {
    async fn calculate_fees(
        &self,
        request: Request<CalculateFeesRequest>,
    ) -> Result<Response<CalculateFeesResponse>, Status> {
        let (call, message, asked) =
            begin(request)?.accept_with(|message, checker| Some(rules::asked(&message.points, checker)))?;
        let local = self.clock.local(call.at);
        let (today, time) = (local.date(), time_number(local));
        let reply = write(&self.pool, &call, &message, async |tx| {
            let of_call: Vec<_> = asked.iter().map(|(id, kind)| (id.as_str(), *kind)).collect();
            let found = store::lock(tx, &call, &of_call, today).await?;
            let mut objections = Objections::default();
            let priceable = rules::priceable(&asked, &found, today, &mut objections);
            let keys = rules::keys(&priceable);
            let rates = rates::store::load(tx, &call.tenant.id, &keys, &self.vacancy).await?;
            let calculations = rules::calculations(&priceable, &rates, (today, time), &mut objections);
            objections.sort_by_row();
            objections.into_result()?;
            store::write(tx, &call, &calculations).await?;
            Ok(CalculateFeesResponse {})
        });
        Ok(reply.await?)
    }

    async fn query_pre_calculated_data(
        &self,
        request: Request<QueryPreCalculatedDataRequest>,
    ) -> Result<Response<QueryPreCalculatedDataResponse>, Status> {
        let (call, message) = begin(request)?.accept()?;
        let (asked, filter) = (AskedPage::read(message.page), message.filter.unwrap_or_default());
        let (book_id, account_id) = (&filter.book_id, &filter.settlement_account_id);
        let found = store::calculable(&self.pool, &call.tenant.id, book_id, account_id, asked.page).await;
        let (mut points, total) = found.map_err(Refusal::from)?;
        let outdated = points.iter_mut().filter(|point| point.outdated);
        let outdated = outdated.map(|point| (point.settlement_account_id.clone(), &mut point.snapshot)).collect();
        self.renew(&call, outdated).await?;
        let points = points.iter().map(shown::calculable).collect();
        Ok(Response::new(QueryPreCalculatedDataResponse { page: asked.reply(total), points }))
    }

    async fn query_cal_fees_detaill(
        &self,
        request: Request<QueryCalFeesDetaillRequest>,
    ) -> Result<Response<QueryCalFeesDetaillResponse>, Status> {
        let (call, message) = begin(request)?.accept()?;
        let asked = message.point.unwrap_or_default();
        let (company, id, kind) = (&call.tenant.id, asked.settlement_account_id.as_str(), asked.run_kind());
        let found = store::detail(&self.pool, company, id, kind).await.map_err(Refusal::from)?;
        let Some(mut point) = found else { return Ok(Response::new(QueryCalFeesDetaillResponse::default())) };
        if point.outdated {
            self.renew(&call, vec![(id.to_owned(), &mut point.snapshot)]).await?;
        }
        let address = billable::store::address(&self.pool, company, id).await.map_err(Refusal::from)?;
        let mut of_account = accumulators::store::read(&self.pool, company, &[id]).await.map_err(Refusal::from)?;
        let accumulators = of_account.remove(id).unwrap_or_default();
        let held = [&point.snapshot.main_package, &point.snapshot.temporary_package];
        let held: Vec<_> = held.into_iter().flatten().collect();
        let companies: Vec<_> = held.iter().map(|package| package.retail_company_id.as_str()).collect();
        let ids: Vec<_> = held.iter().map(|package| package.package_id.as_str()).collect();
        let rows = packages::store::read_all(&self.pool, &companies, &ids).await.map_err(Refusal::from)?;
        let in_order = held.iter().filter_map(|held| {
            rows.iter().find(|r| r.retail_company_id == held.retail_company_id && r.package_id == held.package_id)
        });
        let packages = in_order.map(shown::package).collect();
        let account = DetailedAccount { settlement_account_id: id, address, accumulators };
        Ok(Response::new(QueryCalFeesDetaillResponse { packages, points: vec![shown::detail(&account, kind, &point)] }))
    }

    async fn query_un_charge_off_info(
        &self,
        request: Request<QueryUnChargeOffInfoRequest>,
    ) -> Result<Response<QueryUnChargeOffInfoResponse>, Status> {
        let (call, message) = begin(request)?.accept()?;
        let (asked, filter) = (AskedPage::read(message.page), message.filter.unwrap_or_default());
        let (company, book_id, account_id) = (&call.tenant.id, &filter.book_id, &filter.settlement_account_id);
        let (points, total) = if account_id.is_empty() {
            store::page(&self.pool, company, book_id, asked.page).await.map_err(Refusal::from)?
        } else {
            let points = store::of_account(&self.pool, company, account_id, book_id).await.map_err(Refusal::from)?;
            asked.page_of(points)
        };
        let bills = points.iter().map(shown::uncharged_bill).collect::<Result<_, _>>().map_err(unreadable)?;
        Ok(Response::new(QueryUnChargeOffInfoResponse { page: asked.reply(total), bills }))
    }

    async fn query_un_charge_off_price_info(
        &self,
        request: Request<QueryUnChargeOffPriceInfoRequest>,
    ) -> Result<Response<QueryUnChargeOffPriceInfoResponse>, Status> {
        let (call, message) = begin(request)?.accept()?;
        let filter = message.filter.unwrap_or_default();
        let points = store::of_account(&self.pool, &call.tenant.id, &filter.settlement_account_id, "").await;
        let lines = shown::uncharged_lines(&points.map_err(Refusal::from)?, filter.fee_kind());
        let lines = Cap::UNPAGED.check(lines, "请指定计算费用类型")?;
        Ok(Response::new(QueryUnChargeOffPriceInfoResponse { lines }))
    }

    async fn query_un_charge_off_meter_info(
        &self,
        request: Request<QueryUnChargeOffMeterInfoRequest>,
    ) -> Result<Response<QueryUnChargeOffMeterInfoResponse>, Status> {
        let (call, message) = begin(request)?.accept()?;
        let (company, meter_id) = (&call.tenant.id, message.filter.unwrap_or_default().meter_id);
        let found = meters::store::read(&self.pool, company, &[&meter_id]).await.map_err(Refusal::from)?;
        let account = found.into_iter().find_map(|meter| meter.settlement_account_id);
        let mut points = match account {
            Some(account) => store::of_account(&self.pool, company, &account, "").await.map_err(Refusal::from)?,
            None => Vec::new(),
        };
        points.retain(|point| point.snapshot.meter_id() == meter_id);
        let shown = self.shown(&call, points).await?;
        let readings = shown.iter().flat_map(ShownPoint::pending).collect();
        Ok(Response::new(QueryUnChargeOffMeterInfoResponse { readings }))
    }

    async fn query_un_charge_off_meter_total_info(
        &self,
        request: Request<QueryUnChargeOffMeterTotalInfoRequest>,
    ) -> Result<Response<QueryUnChargeOffMeterTotalInfoResponse>, Status> {
        let (call, message) = begin(request)?.accept()?;
        let (asked, book_id) = (AskedPage::read(message.page), message.filter.unwrap_or_default().book_id);
        let found = store::register_page(&self.pool, &call.tenant.id, &book_id, asked.page).await;
        let (points, total) = found.map_err(Refusal::from)?;
        let before = points.first().map_or(0, |(_, before)| *before);
        let shown = self.shown(&call, points.into_iter().map(|(point, _)| point).collect()).await?;
        // Of the first point some registers may be of the page before, and of the last one of the next.
        let number = |count: i64| usize::try_from(count).unwrap_or_default();
        let registers = shown.iter().flat_map(ShownPoint::pending).skip(number(asked.page.offset() - before));
        let readings = registers.take(number(asked.page.rows())).collect();
        Ok(Response::new(QueryUnChargeOffMeterTotalInfoResponse { page: asked.reply(total), readings }))
    }

    async fn query_un_charge_off_price_total_info(
        &self,
        request: Request<QueryUnChargeOffPriceTotalInfoRequest>,
    ) -> Result<Response<QueryUnChargeOffPriceTotalInfoResponse>, Status> {
        let (call, message) = begin(request)?.accept()?;
        let (company, book_id) = (&call.tenant.id, message.filter.unwrap_or_default().book_id);
        let hint = "请指定抄表区段";
        let total = store::line_total(&self.pool, company, &book_id).await.map_err(Refusal::from)?;
        Cap::UNPAGED.check_total(total, hint)?;
        let all = Page::all(Cap::UNPAGED);
        let (points, _) = store::page(&self.pool, company, &book_id, all).await.map_err(Refusal::from)?;
        // What was calculated since it was counted is in the answer, if that stays within the cap.
        let lines = Cap::UNPAGED.check(shown::uncharged_lines(&points, CalcFeeType::Unspecified), hint)?;
        Ok(Response::new(QueryUnChargeOffPriceTotalInfoResponse { lines }))
    }
}
