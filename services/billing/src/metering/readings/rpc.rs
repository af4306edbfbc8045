//! The methods of `ReadingService`.

use std::collections::HashMap;

use communal_kit::call::Call;
use communal_kit::clock::Clock;
use communal_kit::database::Statement as _;
use communal_kit::dates::to_number;
use communal_kit::objections::Objections;
use communal_kit::paging::Page;
use communal_kit::pool::Pool;
use communal_kit::refusal::Refusal;
use communal_kit::request::begin;
use communal_kit::write::write;
use communal_proto::Fault;
use communal_proto::billing::v1::fields::meter_reading_request::READINGS;
use communal_proto::billing::v1::reading_service_server::ReadingService;
use communal_proto::billing::v1::{
    MeterReadingRequest, MeterReadingResponse, QueryMeterConsAnalysisRequest, QueryMeterConsAnalysisResponse,
    QueryPreMeterReadingsRequest, QueryPreMeterReadingsResponse,
};
use communal_proto::contract::v1::Reason as Common;
use tonic::{Request, Response, Status};

use super::import::enter;
use super::rules::{ReadAt, Reader};
use super::shown::{ShownPoint, time_number};
use super::store::{self, PagedPoint};
use crate::archive::meters;
use crate::metering::points;
use crate::vocabulary::paging::AskedPage;

/// Serves readings.
#[derive(Clone, Debug)]
pub struct ReadingRpc {
    pool: Pool,
    clock: Clock,
}

impl ReadingRpc {
    /// Serves the readings of a database.
    #[must_use]
    pub fn new(pool: Pool, clock: Clock) -> Self {
        Self { pool, clock }
    }

    /// The day and time of readings that a call enters.
    fn read_at(&self, call: &Call) -> ReadAt {
        let local = self.clock.local(call.at);
        ReadAt { day: to_number(local.date()), time: time_number(local) }
    }

    /// The points of a page with their meters; the number of registers before the first one is that of the page.
    async fn shown(&self, call: &Call, points: Vec<PagedPoint>) -> Result<Vec<ShownPoint>, Refusal> {
        let outdated: Vec<_> =
            points.iter().filter(|point| point.outdated).map(|point| point.settlement_account_id.as_str()).collect();
        let mut present = HashMap::new();
        if !outdated.is_empty() {
            let mut transaction = self.pool.begin().named("begin").await?;
            present = points::store::preview(&mut transaction, call, &outdated).await?;
            transaction.rollback().named("rollback").await?;
        }
        let snapshots = points.into_iter().map(|point| {
            let snapshot = present.remove(&point.settlement_account_id).unwrap_or(point.snapshot);
            (snapshot, point.readings, point.calculated_at)
        });
        let snapshots: Vec<_> = snapshots.collect();
        let ids: Vec<_> = snapshots.iter().map(|(snapshot, ..)| snapshot.meter_id()).collect();
        let meters = meters::store::read(&self.pool, &call.tenant.id, &ids).await?;
        let shown = snapshots.into_iter().map(|(snapshot, readings, calculated_at)| {
            let meter = meters.iter().find(|meter| meter.meter_id == snapshot.meter_id()).cloned();
            let calculated = calculated_at.map(|at| self.clock.local(at));
            ShownPoint { snapshot, readings, calculated, meter }
        });
        Ok(shown.collect())
    }
}

/// The registers of a page: those of its points, without what the first one has before the page and the last one after.
fn cut<T>(page: Page, before: i64, registers: impl Iterator<Item = T>) -> Vec<T> {
    let skipped = usize::try_from(page.offset() - before).unwrap_or_default();
    registers.skip(skipped).take(usize::try_from(page.rows()).unwrap_or_default()).collect()
}

#[tonic::async_trait]
impl ReadingService for ReadingRpc {
    async fn meter_reading(
        &self,
        request: Request<MeterReadingRequest>,
    ) -> Result<Response<MeterReadingResponse>, Status> {
        let (call, message, readings) = begin(request)?.accept_with(|message, checker| {
            let mut reader = Reader::default();
            let mut readings = Vec::with_capacity(message.readings.len());
            for (row, given) in message.readings.iter().enumerate() {
                match reader.read(row, given) {
                    Ok(entered) => readings.push((row, entered)),
                    Err(fault) => checker.push(Fault { field: READINGS.at(row).then(fault.field), ..fault }),
                }
            }
            Some(readings)
        })?;
        let at = self.read_at(&call);
        let reply = write(&self.pool, &call, &message, async |tx| {
            let mut objections = Objections::default();
            for refused in enter(tx, &call, &readings, at).await? {
                let fault = Fault { field: READINGS.at(refused.row).then(refused.fault.field), ..refused.fault };
                match refused.reason {
                    Some(reason) => objections.push(reason, fault),
                    None => objections.push(Common::FieldMalformed, fault),
                }
            }
            objections.into_result()?;
            Ok(MeterReadingResponse {})
        });
        Ok(reply.await?)
    }

    async fn query_pre_meter_readings(
        &self,
        request: Request<QueryPreMeterReadingsRequest>,
    ) -> Result<Response<QueryPreMeterReadingsResponse>, Status> {
        let (call, message) = begin(request)?.accept()?;
        let (asked, book) = (AskedPage::read(message.page), message.book.unwrap_or_default());
        let found = store::pending(&self.pool, &call.tenant.id, &book.book_id, asked.page).await;
        let (points, total) = found.map_err(Refusal::from)?;
        let before = points.first().map_or(0, |point| point.before);
        let shown = self.shown(&call, points).await?;
        let readings = cut(asked.page, before, shown.iter().flat_map(ShownPoint::pending));
        Ok(Response::new(QueryPreMeterReadingsResponse { page: asked.reply(total), readings }))
    }

    async fn query_meter_cons_analysis(
        &self,
        request: Request<QueryMeterConsAnalysisRequest>,
    ) -> Result<Response<QueryMeterConsAnalysisResponse>, Status> {
        let (call, message) = begin(request)?.accept()?;
        let (asked, filter) = (AskedPage::read(message.page), message.filter.unwrap_or_default());
        let (book_id, meter_id) = (&filter.book_id, &filter.meter_id);
        let found = store::measured(&self.pool, &call.tenant.id, book_id, meter_id, asked.page).await;
        let (points, total) = found.map_err(Refusal::from)?;
        let before = points.first().map_or(0, |point| point.before);
        let shown = self.shown(&call, points).await?;
        let readings = cut(asked.page, before, shown.iter().flat_map(ShownPoint::measured));
        Ok(Response::new(QueryMeterConsAnalysisResponse { page: asked.reply(total), readings }))
    }
}
