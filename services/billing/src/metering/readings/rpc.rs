//! The methods of `ReadingService`.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use communal_kit::call::Call;
use communal_kit::clock::Clock;
use communal_kit::database::Statement as _;
use communal_kit::dates::to_number;
use communal_kit::objections::Objections;
use communal_kit::paging::{KeyPage, Page};
use communal_kit::pool::Pool;
use communal_kit::refusal::Refusal;
use communal_kit::request::{begin, begin_stream};
use communal_kit::uploads::Uploads;
use communal_kit::write::write;
use communal_proto::Fault;
use communal_proto::billing::v1::fields::list_reading_faults_request;
use communal_proto::billing::v1::fields::meter_reading_request::READINGS;
use communal_proto::billing::v1::reading_service_server::ReadingService;
use communal_proto::billing::v1::{
    ListReadingFaultsRequest, ListReadingFaultsResponse, MeterReadingRequest, MeterReadingResponse, NormalRetroType,
    QueryMeterConsAnalysisRequest, QueryMeterConsAnalysisResponse, QueryPreMeterReadingsRequest,
    QueryPreMeterReadingsResponse, ReadMetersRequest, ReadMetersResponse, ReadingFault,
};
use tonic::{Request, Response, Status, Streaming};

use super::fault_list::{Place, faults_of};
use super::import::{Refused, Terms, enter, read_meters};
use super::rules::{ReadAt, Reader, ReadingBounds, objection};
use super::shown::ShownPoint;
use super::store::{self, PagedPoint};
use crate::archive::{books, meters};
use crate::metering::points;
use crate::metering::points::snapshot::Snapshot;
use crate::metering::points::store::OpenPoint;
use crate::vocabulary::dates::time_number;
use crate::vocabulary::paging::AskedPage;

/// Serves readings.
#[derive(Clone, Debug)]
pub struct ReadingRpc {
    pool: Pool,
    clock: Clock,
    imports: Arc<Uploads>,
    bounds: ReadingBounds,
}

impl ReadingRpc {
    /// Serves the readings of a database.
    #[must_use]
    pub fn new(pool: Pool, clock: Clock, imports: Arc<Uploads>, bounds: ReadingBounds) -> Self {
        Self { pool, clock, imports, bounds }
    }

    /// The day and time of readings that a call enters.
    fn read_at(&self, call: &Call) -> ReadAt {
        let local = self.clock.local(call.at);
        ReadAt { day: to_number(local.date()), time: time_number(local) }
    }

    /// Replaces the snapshots of outdated points by those that they would have if they were made now.
    async fn renew(&self, call: &Call, points: Vec<(&str, &mut Snapshot)>) -> Result<(), Refusal> {
        let ids: Vec<_> = points.iter().map(|(id, _)| *id).collect();
        if ids.is_empty() {
            return Ok(());
        }
        let mut transaction = self.pool.begin().named("begin").await?;
        let mut present = points::store::preview(&mut transaction, call, &ids).await?;
        transaction.rollback().named("rollback").await?;
        for (id, snapshot) in points {
            if let Some(renewed) = present.remove(id) {
                *snapshot = renewed;
            }
        }
        Ok(())
    }

    /// The points of a page with their meters.
    async fn shown(&self, call: &Call, mut points: Vec<PagedPoint>) -> Result<Vec<ShownPoint>, Refusal> {
        let outdated = points.iter_mut().filter(|point| point.outdated);
        let outdated = outdated.map(|point| (point.settlement_account_id.as_str(), &mut point.snapshot)).collect();
        self.renew(call, outdated).await?;
        let ids: Vec<_> = points.iter().map(|point| point.snapshot.meter_id()).collect();
        let meters = meters::store::read(&self.pool, &call.tenant.id, &ids).await?;
        let shown = points.into_iter().map(|PagedPoint { snapshot, readings, calculated_at, .. }| {
            let meter = meters.iter().find(|meter| meter.meter_id == snapshot.meter_id()).cloned();
            let calculated = calculated_at.map(|at| self.clock.local(at));
            ShownPoint { snapshot, readings, calculated, run_kind: NormalRetroType::Normal, meter }
        });
        Ok(shown.collect())
    }
}

/// Accounts that are read at a time for a list of faults.
const PORTION: i64 = 1_000;
/// Portions that one page reads at most.
const MOST_PORTIONS: usize = 20;

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
                match reader.read(given) {
                    Ok(entered) => readings.push((row, entered)),
                    Err(fault) => checker.push(Fault { field: READINGS.at(row).then(fault.field), ..fault }),
                }
            }
            Some(readings)
        })?;
        let at = self.read_at(&call);
        let reply = write(&self.pool, &call, &message, async |tx| {
            let mut objections = Objections::default();
            for Refused { row, reason, fault } in enter(tx, &call, &readings, at, None).await? {
                objections.extend([objection(reason, fault).inside(READINGS.at(row))]);
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

    async fn read_meters(
        &self,
        request: Request<Streaming<ReadMetersRequest>>,
    ) -> Result<Response<ReadMetersResponse>, Status> {
        let (call, stream) = begin_stream(request)?;
        let terms = Terms { upload: self.imports.begin(&call)?, at: self.read_at(&call) };
        Ok(Response::new(read_meters(&self.pool, &call, terms, stream).await?))
    }

    async fn list_reading_faults(
        &self,
        request: Request<ListReadingFaultsRequest>,
    ) -> Result<Response<ListReadingFaultsResponse>, Status> {
        let (call, message) = begin(request)?.accept()?;
        let page = KeyPage::read(message.page_size, &message.page_token, &[&message.book_id])?;
        let mut place = Place::read(&page.after, &message.book_id)?;
        let book = list_reading_faults_request::BOOK_ID.into();
        books::store::require_known(&self.pool, &call.tenant.id, &message.book_id, book).await?;
        let mut faults = Vec::new();
        for _ in 0..MOST_PORTIONS {
            let (points, last) = self.portion(&call, &message.book_id, &place).await?;
            for (account, found) in points {
                let skipped = if account == place.settlement_account_id { place.faults } else { 0 };
                for (nth, fault) in found.into_iter().enumerate().skip(skipped) {
                    if faults.len() == page.size {
                        let place = Place { book_id: fault.book_id, settlement_account_id: account, faults: nth };
                        return Ok(Response::new(ListReadingFaultsResponse {
                            faults,
                            next_page_token: page.token(&place.to_string()),
                        }));
                    }
                    faults.push(fault);
                }
            }
            match last {
                Some(last) => place = last,
                None => return Ok(Response::new(ListReadingFaultsResponse { faults, next_page_token: String::new() })),
            }
        }
        Ok(Response::new(ListReadingFaultsResponse { faults, next_page_token: page.token(&place.to_string()) }))
    }
}

impl ReadingRpc {
    /// The faults of the next accounts from a place on, and the place behind them; `None` at the end.
    async fn portion(
        &self,
        call: &Call,
        book_id: &str,
        place: &Place,
    ) -> Result<(Vec<(String, Vec<ReadingFault>)>, Option<Place>), Refusal> {
        let company = &call.tenant.id;
        let from = (place.book_id.as_str(), place.settlement_account_id.as_str());
        let open = points::store::open_from(&self.pool, company, book_id, from, PORTION).await?;
        let keys: Vec<_> = open.iter().map(OpenPoint::key).collect();
        let mut lookup = self.pool.begin_lookup().named("begin").await?;
        let mut points = store::points(&mut lookup, company, &keys).await?;
        lookup.commit().named("commit").await?;
        let outdated: HashSet<_> =
            open.iter().filter(|point| point.outdated).map(|point| point.settlement_account_id.as_str()).collect();
        let renewed = points.iter_mut().filter(|point| outdated.contains(point.key.settlement_account_id.as_str()));
        let renewed = renewed.map(|point| (point.key.settlement_account_id.as_str(), &mut point.snapshot)).collect();
        self.renew(call, renewed).await?;
        let points: HashMap<_, _> = points.iter().map(|p| (p.key.settlement_account_id.as_str(), p)).collect();
        let mut found = Vec::with_capacity(open.len());
        for account in &open {
            // One that was charged off meanwhile is not there any more.
            let Some(point) = points.get(account.settlement_account_id.as_str()) else { continue };
            let faults = faults_of(&account.book_id, point, &self.bounds).map_err(Refusal::internal)?;
            found.push((account.settlement_account_id.clone(), faults));
        }
        let is_full = i64::try_from(open.len()).is_ok_and(|count| count == PORTION);
        let last = open.last().filter(|_| is_full).map(|last| Place {
            book_id: last.book_id.clone(),
            settlement_account_id: last.settlement_account_id.clone(),
            faults: usize::MAX,
        });
        Ok((found, last))
    }
}
