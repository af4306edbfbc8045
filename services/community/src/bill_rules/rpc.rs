//! The RPCs of bill rules.

use communal_kit::clock::Clock;
use communal_kit::database::Statement as _;
use communal_kit::database::errors::lost_race;
use communal_kit::paging::{KeyPage, Page, pages};
use communal_kit::pool::Pool;
use communal_kit::progress::{Answers, Teller, answers};
use communal_kit::refusal::Refusal;
use communal_kit::request::begin_in_tenant;
use communal_kit::write::write;
use communal_proto::Coded as _;
use communal_proto::community::v1::bill_rule_service_server::BillRuleService;
use communal_proto::community::v1::{
    BillRule, CreateBillRulesRequest, CreateBillRulesResponse, DeletePayFeeRuleRequest, DeletePayFeeRuleResponse,
    ListBillRulesRequest, ListBillRulesResponse, ListPayFeeRuleBillRequest, ListPayFeeRuleBillResponse,
    ListPayFeeRuleRequest, ListPayFeeRuleResponse, RunBillRulesRequest, RunBillRulesResponse, UpdatePayFeeRuleRequest,
    UpdatePayFeeRuleResponse,
};
use tonic::{Request, Response, Status};

use super::rules::{self, FIELDS};
use super::run::{Progress, run};
use super::store::{self, RuleRow};
use super::{changes, listed};
use crate::fee_items::store::{ViewFilter, items, view_page};
use crate::fees::rules::GivenTerms;
use crate::fees::store::FeeRow;
use crate::payer_objects::settings;
use crate::vocabulary::codes::count;
use crate::vocabulary::times;
use crate::{fee_items, fees, payer_objects};

/// Serves bill rules.
#[derive(Clone, Debug)]
pub struct BillRuleRpc {
    pool: Pool,
    clock: Clock,
}

impl BillRuleRpc {
    /// Serves the bill rules of a database.
    #[must_use]
    pub fn new(pool: Pool, clock: Clock) -> Self {
        Self { pool, clock }
    }
}

#[tonic::async_trait]
impl BillRuleService for BillRuleRpc {
    /// Locks: the request id, the settings in share mode, and the item.
    async fn create_bill_rules(
        &self,
        request: Request<CreateBillRulesRequest>,
    ) -> Result<Response<CreateBillRulesResponse>, Status> {
        let (call, message, spans) = begin_in_tenant(request, |m| &m.community_id)?.accept_with(rules::of_create)?;
        let reply = write(&self.pool, &call, &message, async |tx| {
            let id = &message.config_id;
            let settings = settings::store::lock_shared(tx, &call).await?;
            let item = fee_items::store::lock(tx, &call, id).await?;
            let objects = payer_objects::store::known(tx, &call, &spans).await?;
            let asked = GivenTerms { amount: &message.amount, ..GivenTerms::default() };
            let rows = fees::rules::admit(item, objects, &spans, FIELDS, asked, settings.allow_duplicate_fee)?;
            if !rows.repeatable {
                fees::rules::none_taken(&fees::store::taken(tx, &call, id, &rows).await?, &spans, FIELDS)?;
            }
            let batch_id = fees::batches::store::create(tx, &call, "").await?;
            let inserted = store::insert(tx, &call, id, &batch_id, &rows).await;
            let rule_ids = inserted.map_err(lost_race(store::ONCE))?;
            Ok(CreateBillRulesResponse { rule_ids })
        });
        Ok(reply.await?)
    }

    async fn list_bill_rules(
        &self,
        request: Request<ListBillRulesRequest>,
    ) -> Result<Response<ListBillRulesResponse>, Status> {
        let (call, message) = begin_in_tenant(request, |m| &m.community_id)?.accept()?;
        let filter = ViewFilter { config_id: &message.config_id, payer_obj_id: "", state: message.state() };
        let asked = ["rules", &call.tenant.id, filter.config_id, filter.state.code()];
        let page = KeyPage::read(message.page_size, &message.page_token, &asked)?;
        let rows = view_page(&self.pool, &call, store::VIEW, filter, &page).await;
        let mut rows: Vec<RuleRow> = rows.map_err(Refusal::from)?;
        let next_page_token = page.cut(&mut rows, |row| &row.rule_id);
        let rules = rows.into_iter().map(|row| bill_rule(row, &call.tenant.id, &self.clock)).collect();
        Ok(Response::new(ListBillRulesResponse { rules, next_page_token }))
    }

    type RunBillRulesStream = Answers<RunBillRulesResponse>;

    async fn run_bill_rules(
        &self,
        request: Request<RunBillRulesRequest>,
    ) -> Result<Response<Self::RunBillRulesStream>, Status> {
        let (call, _) = begin_in_tenant(request, |m| &m.community_id)?.accept()?;
        let (pool, now) = (self.pool.clone(), self.clock.local(call.at));
        let work = |teller: Teller<Progress>| async move { run(&pool, &call, now, |state| teller.tell(state)).await };
        Ok(Response::new(answers(work, progress)))
    }

    async fn list_pay_fee_rule(
        &self,
        request: Request<ListPayFeeRuleRequest>,
    ) -> Result<Response<ListPayFeeRuleResponse>, Status> {
        let (call, message) = begin_in_tenant(request, |m| &m.community_id)?.accept()?;
        let (asked, page) = (rules::of_list(&message), Page::numbered(message.page, message.row));
        let mut snapshot = fees::store::snapshot(&self.pool).await.map_err(Refusal::from)?;
        let (rows, total) = store::page(&mut snapshot, &call, &asked, page).await.map_err(Refusal::from)?;
        let config_ids: Vec<_> = rows.iter().map(|row| row.config_id.as_str()).collect();
        let items = items(&mut *snapshot, &call, &config_ids).await.map_err(Refusal::from)?;
        snapshot.rollback().named("rollback").await.map_err(Refusal::from)?;
        let item = |row: &RuleRow| items.iter().find(|item| item.config_id == row.config_id);
        Ok(Response::new(ListPayFeeRuleResponse {
            page: 0,
            records: count(pages(total, message.row)),
            rows: 0,
            total: count(total),
            data: rows
                .into_iter()
                .map(|row| {
                    let item = item(&row);
                    listed::rule(row, item)
                })
                .collect(),
        }))
    }

    async fn list_pay_fee_rule_bill(
        &self,
        request: Request<ListPayFeeRuleBillRequest>,
    ) -> Result<Response<ListPayFeeRuleBillResponse>, Status> {
        let (call, message) = begin_in_tenant(request, |m| &m.community_id)?.accept()?;
        let (asked, page) = (rules::of_bills(&message), Page::numbered(message.page, message.row));
        let mut snapshot = fees::store::snapshot(&self.pool).await.map_err(Refusal::from)?;
        let (rows, total) = fees::store::page(&mut snapshot, &call, &asked, page).await.map_err(Refusal::from)?;
        let facts = fees::store::facts(&mut snapshot, &call, &rows).await.map_err(Refusal::from)?;
        snapshot.rollback().named("rollback").await.map_err(Refusal::from)?;
        let now = self.clock.local(call.at);
        let bill = |row: &FeeRow| {
            let reckoned = facts.reckon(row, now, None);
            listed::bill(row, fees::detail::detail(row, &facts, &call.tenant.id, &reckoned))
        };
        Ok(Response::new(ListPayFeeRuleBillResponse {
            page: 0,
            records: count(pages(total, message.row)),
            rows: 0,
            total: count(total),
            data: rows.iter().map(bill).collect(),
        }))
    }

    /// Locks: the request id, then the rule.
    async fn update_pay_fee_rule(
        &self,
        request: Request<UpdatePayFeeRuleRequest>,
    ) -> Result<Response<UpdatePayFeeRuleResponse>, Status> {
        let (call, message, change) = begin_in_tenant(request, |m| &m.community_id)?.accept_with(changes::of_update)?;
        let reply = write(&self.pool, &call, &message, async |tx| {
            let id = &message.rule_id;
            let rule = store::lock(tx, &call, id).await?;
            let ends = changes::may_change(rule.as_ref(), store::billed_until(tx, &call, id).await?, change)?;
            store::change(tx, &call, id, change, ends).await?;
            Ok(UpdatePayFeeRuleResponse {})
        });
        Ok(reply.await?)
    }

    /// Locks: the request id, the rule, then its bills.
    async fn delete_pay_fee_rule(
        &self,
        request: Request<DeletePayFeeRuleRequest>,
    ) -> Result<Response<DeletePayFeeRuleResponse>, Status> {
        let (call, message) = begin_in_tenant(request, |m| &m.community_id)?.accept()?;
        let reply = write(&self.pool, &call, &message, async |tx| {
            let rule = store::lock(tx, &call, &message.rule_id).await?;
            changes::may_delete(rule.as_ref(), store::lock_bills(tx, &call, &message.rule_id).await?)?;
            store::delete(tx, &call, &message.rule_id).await?;
            Ok(DeletePayFeeRuleResponse {})
        });
        Ok(reply.await?)
    }
}

/// The state of a run.
fn progress(progress: Progress) -> RunBillRulesResponse {
    let Progress { total, rules, bills, ended } = progress;
    RunBillRulesResponse { total, rules, bills, ended }
}

fn bill_rule(row: RuleRow, community_id: &str, clock: &Clock) -> BillRule {
    let RuleRow {
        rule_id,
        config_id,
        payer_obj_id,
        payer_obj_type,
        fee_flag,
        state,
        start_time,
        max_time,
        cur_year_month,
        ended_at,
        batch_id: _,
        amount: _,
        item_end: _,
    } = row;
    BillRule {
        rule_id,
        config_id,
        community_id: community_id.to_owned(),
        payer_obj_id,
        payer_obj_type: payer_obj_type.0.into(),
        fee_flag: fee_flag.0.into(),
        state: state.0.into(),
        start_time: times::print(start_time),
        max_time: times::print(max_time),
        cur_year_month: times::print_date(cur_year_month),
        ended_time: ended_at.map(|at| times::print(clock.local(at))).unwrap_or_default(),
    }
}
