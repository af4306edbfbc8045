//! The RPCs of fees.

use std::pin::Pin;

use chrono::{NaiveDate, NaiveDateTime};
use communal_kit::call::Call;
use communal_kit::clock::Clock;
use communal_kit::database::errors::lost_race;
use communal_kit::database::{Statement as _, on_constraint};
use communal_kit::money::{at_scale, round};
use communal_kit::paging::{Cap, KeyPage, Page, pages};
use communal_kit::pool::Pool;
use communal_kit::refusal::Refusal;
use communal_kit::request::begin_in_tenant;
use communal_kit::write::write;
use communal_proto::Coded as _;
use communal_proto::community::v1::fee_service_server::FeeService;
use communal_proto::community::v1::fields::list_fee_obj_request::{CUSTOM_END_TIME, CYCLE};
use communal_proto::community::v1::{
    CreateFeesRequest, CreateFeesResponse, DeleteFeeRequest, DeleteFeeResponse, Fee, FinishFeeRequest,
    FinishFeeResponse, Formula, ListConfigFeeObjsRequest, ListConfigFeeObjsResponse, ListFeeObjRequest,
    ListFeeObjResponse, ListFeeRequest, ListFeeResponse, ListFeesRequest, ListFeesResponse, ListOweFeesRequest,
    ListOweFeesResponse, QueryReportOweFeeRequest, QueryReportOweFeeResponse, QuotedFeeObj, Reason,
    StreamOweFeesRequest, StreamOweFeesResponse, UpdateFeeRequest, UpdateFeeResponse,
};
use futures::{Stream, stream};
use tonic::{Request, Response, Status};

use super::detail::{detail, of_item};
use super::facts::{Facts, NoAmount, Reckoned};
use super::report::report;
use super::rules::{self, FIELDS, GivenTerms};
use super::store::{self, FeeRow};
use super::{FeeFilter, batches, changes};
use crate::fee_items::store::{ViewFilter, lock_for_charging, view_page};
use crate::payer_objects::{self, settings};
use crate::vocabulary::codes::count;
use crate::vocabulary::decimals::as_double_prints;
use crate::vocabulary::times;

/// Serves fees.
#[derive(Clone, Debug)]
pub struct FeeRpc {
    pool: Pool,
    clock: Clock,
}

/// Fees with what each owes, and the facts behind.
type Owing = (Vec<(FeeRow, Result<Reckoned, NoAmount>)>, Facts);

impl FeeRpc {
    /// Serves the fees of a database.
    #[must_use]
    pub fn new(pool: Pool, clock: Clock) -> Self {
        Self { pool, clock }
    }

    fn now(&self, call: &Call) -> NaiveDateTime {
        self.clock.local(call.at)
    }

    /// Computes what fees owe.
    async fn reckoned(
        &self,
        connection: &mut sqlx::PgConnection,
        call: &Call,
        rows: Vec<FeeRow>,
        target: Option<NaiveDate>,
    ) -> Result<Owing, Refusal> {
        let facts = store::facts(connection, call, &rows).await?;
        let now = self.now(call);
        let reckon = |row: FeeRow| {
            let reckoned = facts.reckon(&row, now, target);
            (row, reckoned)
        };
        Ok((rows.into_iter().map(reckon).collect(), facts))
    }

    /// Computes what all open fees of a filter owe. They are in no order.
    async fn owing(&self, call: &Call, asked: &FeeFilter, target: Option<NaiveDate>) -> Result<Owing, Refusal> {
        let mut snapshot = store::snapshot(&self.pool).await?;
        let rows = store::open(&mut snapshot, call, asked).await?;
        let owing = self.reckoned(&mut snapshot, call, rows, target).await?;
        snapshot.rollback().named("rollback").await?;
        Ok(owing)
    }

    /// Computes what the fees of a page owe now; also returns the number of fees in all.
    async fn page(&self, call: &Call, asked: &FeeFilter, page: Page) -> Result<(Owing, i64), Refusal> {
        let mut snapshot = store::snapshot(&self.pool).await?;
        let (rows, total) = store::page(&mut snapshot, call, asked, page).await?;
        let owing = self.reckoned(&mut snapshot, call, rows, None).await?;
        snapshot.rollback().named("rollback").await?;
        Ok((owing, total))
    }
}

#[tonic::async_trait]
impl FeeService for FeeRpc {
    /// Locks: the request id, the settings and the item in share mode.
    async fn create_fees(&self, request: Request<CreateFeesRequest>) -> Result<Response<CreateFeesResponse>, Status> {
        let (call, message, spans) = begin_in_tenant(request, |m| &m.community_id)?.accept_with(rules::of_create)?;
        let reply = write(&self.pool, &call, &message, async |tx| {
            let id = &message.config_id;
            let settings = settings::store::lock_shared(tx, &call).await?;
            let item = lock_for_charging(tx, &call, id).await?;
            let objects = payer_objects::store::known(tx, &call, &spans).await?;
            let asked = GivenTerms {
                amount: &message.amount,
                rate_cycle: &message.rate_cycle,
                rate: &message.rate,
                rate_start_time: &message.rate_start_time,
            };
            let rows = rules::admit(item, objects, &spans, FIELDS, asked, settings.allow_duplicate_fee)?;
            if !rows.repeatable {
                rules::none_taken(&store::taken(tx, &call, id, &rows).await?, &spans, FIELDS)?;
            }
            let batch_id = batches::store::create(tx, &call, "").await?;
            let inserted = store::insert(tx, &call, id, &batch_id, &rows).await;
            let fee_ids = inserted.map_err(lost_race(store::ONCE))?;
            Ok(CreateFeesResponse { fee_ids })
        });
        Ok(reply.await?)
    }

    async fn list_fees(&self, request: Request<ListFeesRequest>) -> Result<Response<ListFeesResponse>, Status> {
        let (call, message) = begin_in_tenant(request, |m| &m.community_id)?.accept()?;
        let filter =
            ViewFilter { config_id: &message.config_id, payer_obj_id: &message.payer_obj_id, state: message.state() };
        let asked = ["fees", &call.tenant.id, filter.config_id, filter.payer_obj_id, filter.state.code()];
        let page = KeyPage::read(message.page_size, &message.page_token, &asked)?;
        let rows = view_page(&self.pool, &call, store::VIEW, filter, &page).await;
        let mut rows: Vec<FeeRow> = rows.map_err(Refusal::from)?;
        let next_page_token = page.cut(&mut rows, |row| &row.fee_id);
        let fees = rows.into_iter().map(|row| fee(row, &call.tenant.id, &self.clock)).collect();
        Ok(Response::new(ListFeesResponse { fees, next_page_token }))
    }

    type StreamOweFeesStream = Pin<Box<dyn Stream<Item = Result<StreamOweFeesResponse, Status>> + Send + 'static>>;

    async fn stream_owe_fees(
        &self,
        request: Request<StreamOweFeesRequest>,
    ) -> Result<Response<Self::StreamOweFeesStream>, Status> {
        let (call, _) = begin_in_tenant(request, |m| &m.community_id)?.accept()?;
        let (fees, facts) = self.owing(&call, &FeeFilter::default(), None).await?;
        let owes = |reckoned: &Result<Reckoned, NoAmount>| !matches!(reckoned, Ok(r) if r.owed.net.is_zero());
        let mut owing: Vec<_> = fees.into_iter().filter(|(_, reckoned)| owes(reckoned)).collect();
        owing.sort_by(by_identifier);
        let answers = owing.into_iter().map(move |(row, reckoned)| {
            Ok(StreamOweFeesResponse { fee: Some(detail(&row, &facts, &call.tenant.id, &reckoned)) })
        });
        Ok(Response::new(Box::pin(stream::iter(answers))))
    }

    async fn list_config_fee_objs(
        &self,
        request: Request<ListConfigFeeObjsRequest>,
    ) -> Result<Response<ListConfigFeeObjsResponse>, Status> {
        let (call, message) = begin_in_tenant(request, |m| &m.community_id)?.accept()?;
        let asked = FeeFilter { config_ids: vec![message.config_id.clone()], ..FeeFilter::default() };
        let ((fees, facts), total) = self.page(&call, &asked, Page::numbered(message.page, message.row)).await?;
        Ok(Response::new(ListConfigFeeObjsResponse {
            page: 0,
            records: count(pages(total, message.row)),
            rows: 0,
            total: count(total),
            data: fees.iter().map(|(row, owed)| of_item(detail(row, &facts, &call.tenant.id, owed))).collect(),
        }))
    }

    async fn list_fee(&self, request: Request<ListFeeRequest>) -> Result<Response<ListFeeResponse>, Status> {
        let (call, message) = begin_in_tenant(request, |m| &m.community_id)?.accept()?;
        let mut asked = rules::of_list(&message);
        if !message.room_num.is_empty() {
            rules::room_number(&message.room_num)?;
            let room = payer_objects::store::room(&self.pool, &call, &message.room_num).await;
            let room = room.map_err(Refusal::from)?.ok_or_else(|| Refusal::of(Reason::RoomNotFound))?;
            asked.payer_obj_ids = vec![room];
        }
        let ((fees, facts), total) = self.page(&call, &asked, Page::numbered(message.page, message.row)).await?;
        Ok(Response::new(ListFeeResponse {
            fees: fees.iter().map(|(row, owed)| detail(row, &facts, &call.tenant.id, owed)).collect(),
            page: 0,
            records: count(pages(total, message.row)),
            rows: 0,
            total: count(total),
        }))
    }

    async fn list_fee_obj(&self, request: Request<ListFeeObjRequest>) -> Result<Response<ListFeeObjResponse>, Status> {
        let (call, message, scope) = begin_in_tenant(request, |m| &m.community_id)?.accept_with(rules::of_quote)?;
        let (row, facts) = store::with_facts(&self.pool, &call, &message.fee_id)
            .await
            .map_err(Refusal::from)?
            .ok_or_else(|| Refusal::of(Reason::FeeNotFound))?;
        let priced = facts.priced(&row, |pricing, _| {
            let quote = pricing.quote(scope, self.now(&call))?;
            Ok((quote, pricing.unit_in_force()?))
        });
        let (quote, unit) = priced
            .map_err(|error| rules::amount_refusal(&error))?
            .map_err(|error| rules::quote_refusal(&error, CUSTOM_END_TIME, CYCLE))?;
        let area = facts.object(&row).and_then(|object| object.built_up_area);
        Ok(Response::new(ListFeeObjResponse {
            data: Some(QuotedFeeObj {
                fee_id: row.fee_id.clone(),
                fee_price: at_scale(round(unit, 4), 4),
                fee_total_price: at_scale(quote.due, 4),
                credit_amount: at_scale(row.credit, facts.places(&row.config_id)),
                square_price: facts
                    .items
                    .get(&row.config_id)
                    .map(|i| as_double_prints(i.square_price))
                    .unwrap_or_default(),
                built_up_area: area.map(|area| at_scale(area, 2)).unwrap_or_default(),
                owner_name: row.owner_name,
                payer_obj_name: row.payer_name,
                end_time: times::print(quote.paid_through),
            }),
        }))
    }

    async fn list_owe_fees(
        &self,
        request: Request<ListOweFeesRequest>,
    ) -> Result<Response<ListOweFeesResponse>, Status> {
        let (call, message) = begin_in_tenant(request, |m| &m.community_id)?.accept()?;
        let asked = rules::of_arrears(&message)?;
        let target = times::start(&message.target_end_time).map(|time| time.date());
        let (mut fees, facts) = self.owing(&call, &asked, target).await?;
        fees.retain(|(_, reckoned)| !matches!(reckoned, Ok(reckoned) if reckoned.owed.net.is_zero()));
        fees.sort_by(by_identifier);
        let total = i64::try_from(fees.len()).unwrap_or(i64::MAX);
        let row = if message.row > 0 { message.row } else { count(total).max(1) };
        if message.page > 0 && message.row > 0 {
            let page = Page::numbered(message.page, row);
            let (skipped, taken) = (usize::try_from(page.offset()), usize::try_from(page.rows()));
            fees = fees.into_iter().skip(skipped.unwrap_or(usize::MAX)).take(taken.unwrap_or(usize::MAX)).collect();
        } else {
            Cap::UNPAGED.check_total(total, "请分页查询")?;
        }
        Ok(Response::new(ListOweFeesResponse {
            page: 0,
            records: count(pages(total, row)),
            rows: 0,
            total: count(total),
            data: fees.iter().map(|(row, owed)| detail(row, &facts, &call.tenant.id, owed)).collect(),
        }))
    }

    async fn query_report_owe_fee(
        &self,
        request: Request<QueryReportOweFeeRequest>,
    ) -> Result<Response<QueryReportOweFeeResponse>, Status> {
        let (call, message) = begin_in_tenant(request, |m| &m.community_id)?.accept()?;
        let asked = rules::of_report(&message);
        let (fees, facts) = self.owing(&call, &asked, None).await?;
        let report = report(&fees, &facts, &asked.config_ids, Page::numbered(message.page, message.row));
        Ok(Response::new(QueryReportOweFeeResponse {
            page: 0,
            records: count(pages(report.total, message.row)),
            rows: 0,
            total: count(report.total),
            data: report.rows,
            fee_price_error_count: i32::try_from(report.error_count).unwrap_or(i32::MAX),
            fee_price_errors: report.errors,
        }))
    }

    /// Locks: the request id, the settings and the item in share mode, then the fee.
    async fn update_fee(&self, request: Request<UpdateFeeRequest>) -> Result<Response<UpdateFeeResponse>, Status> {
        let (call, message, new) = begin_in_tenant(request, |m| &m.community_id)?.accept_with(changes::of_update)?;
        let reply = write(&self.pool, &call, &message, async |tx| {
            let id = &message.fee_id;
            let settings = settings::store::lock_shared(&mut *tx, &call).await?;
            let fee = store::one(&mut *tx, &call, id).await?.ok_or_else(|| Refusal::of(Reason::FeeNotFound))?;
            // No bill rule is made by its item meanwhile.
            let item = lock_for_charging(&mut *tx, &call, &fee.config_id).await?;
            let (fee, payments) = locked(tx, &call, id).await?;
            let ends = changes::may_move(&fee, payments, new)?;
            // A deleted item has no open fee.
            let item = item.ok_or_else(|| Refusal::of(Reason::FeeNotFound))?;
            changes::within_item(&fee, &item, new)?;
            if !settings.allow_duplicate_fee && store::rule_stands(&mut *tx, &call, &fee, new.start).await? {
                return Err(Refusal::of(Reason::DuplicateFee));
            }
            let asked = GivenTerms {
                amount: "",
                rate_cycle: &message.rate_cycle,
                rate: &message.rate,
                rate_start_time: &message.rate_start_time,
            };
            let escalation = match item.formula.0 {
                Formula::EscalatingRent => rules::terms(Formula::EscalatingRent, asked)?.escalation,
                _ => None,
            };
            let moved = store::move_times(tx, &call, &fee.fee_id, new, escalation, ends).await;
            moved.map_err(on_constraint(store::ONCE, || Refusal::of(Reason::DuplicateFee)))?;
            Ok(UpdateFeeResponse {})
        });
        Ok(reply.await?)
    }

    /// Locks: the request id, then the fee.
    async fn finish_fee(&self, request: Request<FinishFeeRequest>) -> Result<Response<FinishFeeResponse>, Status> {
        let (call, message) = begin_in_tenant(request, |m| &m.community_id)?.accept()?;
        let reply = write(&self.pool, &call, &message, async |tx| {
            let (fee, _) = locked(tx, &call, &message.fee_id).await?;
            changes::may_finish(&fee)?;
            // A fee without an amount may be ended as well; its history then has no sum.
            let facts = store::facts(&mut *tx, &call, std::slice::from_ref(&fee)).await?;
            let waived = facts.reckon(&fee, self.now(&call), None).ok().map(|reckoned| reckoned.owed.net);
            store::finish(tx, &call, &fee.fee_id, waived).await?;
            Ok(FinishFeeResponse {})
        });
        Ok(reply.await?)
    }

    /// Locks: the request id, then the fee.
    async fn delete_fee(&self, request: Request<DeleteFeeRequest>) -> Result<Response<DeleteFeeResponse>, Status> {
        let (call, message) = begin_in_tenant(request, |m| &m.community_id)?.accept()?;
        let reply = write(&self.pool, &call, &message, async |tx| {
            let not_found = || Refusal::new(Reason::FeeNotFound, "删除失败");
            let (fee, payments) = store::lock(tx, &call, &message.fee_id).await?.ok_or_else(not_found)?;
            changes::may_delete(payments)?;
            store::delete(tx, &call, &fee.fee_id).await?;
            Ok(DeleteFeeResponse {})
        });
        Ok(reply.await?)
    }
}

/// Orders fees by their identifiers.
fn by_identifier<T>((a, _): &(FeeRow, T), (b, _): &(FeeRow, T)) -> std::cmp::Ordering {
    a.fee_id.cmp(&b.fee_id)
}

/// Locks a fee.
async fn locked(
    tx: &mut sqlx::PgConnection,
    call: &Call,
    fee_id: &str,
) -> Result<(FeeRow, changes::Payments), Refusal> {
    store::lock(tx, call, fee_id).await?.ok_or_else(|| Refusal::of(Reason::FeeNotFound))
}

fn fee(row: FeeRow, community_id: &str, clock: &Clock) -> Fee {
    Fee {
        fee_id: row.fee_id,
        config_id: row.config_id,
        community_id: community_id.to_owned(),
        payer_obj_id: row.payer_obj_id,
        payer_obj_type: row.payer_obj_type.0.into(),
        fee_flag: row.fee_flag.0.into(),
        state: row.state.0.into(),
        start_time: times::print(row.start_time),
        end_time: times::print(row.end_time),
        deadline_time: times::print(row.deadline_time),
        ended_time: row.ended_at.map(|at| times::print(clock.local(at))).unwrap_or_default(),
    }
}
