//! The RPCs of bill rules.

use communal_kit::clock::Clock;
use communal_kit::pool::Pool;
use communal_kit::refusal::Refusal;
use communal_kit::request::begin_in_tenant;
use communal_proto::Coded;
use communal_proto::community::v1::bill_rule_service_server::BillRuleService;
use communal_proto::community::v1::{
    BillRule, CreateBillRulesRequest, CreateBillRulesResponse, FeeFlag, FeeState, ListBillRulesRequest,
    ListBillRulesResponse, PayerObjectType,
};
use tonic::{Request, Response, Status};

use super::NAMES;
use super::store::{self, RuleRow};
use crate::fee_items::store::{Filter, page};
use crate::paging::KeyPage;
use crate::vocabulary::periods::{self, Row};
use crate::vocabulary::times;

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

    async fn create(&self, request: Request<CreateBillRulesRequest>) -> Result<CreateBillRulesResponse, Refusal> {
        let mut begun = begin_in_tenant(request, |m| &m.community_id)?;
        let rows = begun.message.rules.iter().map(|rule| Row {
            payer_obj_id: &rule.payer_obj_id,
            start: &rule.start_time,
            end: &rule.max_time,
        });
        let periods = periods::read(rows, NAMES, &mut begun.checker);
        let (call, message) = begun.accept()?;
        store::create(&self.pool, &call, &message, &periods, self.clock.now()).await
    }

    async fn list(&self, request: Request<ListBillRulesRequest>) -> Result<ListBillRulesResponse, Refusal> {
        let (call, message) = begin_in_tenant(request, |m| &m.community_id)?.accept()?;
        let filter = Filter { config_id: &message.config_id, payer_obj_id: "", state: message.state() };
        let asked = ["rules", &call.tenant.id, filter.config_id, filter.state.code()];
        let asked_page = KeyPage::read(message.page_size, &message.page_token, &asked)?;
        let mut rows = page(&self.pool, &call, store::VIEW, filter, &asked_page).await?;
        let next_page_token = asked_page.cut(&mut rows, |row: &RuleRow| &row.rule_id);
        let rules = rows.into_iter().map(|row| bill_rule(row, &call.tenant.id, &self.clock)).collect();
        Ok(ListBillRulesResponse { rules, next_page_token })
    }
}

#[tonic::async_trait]
impl BillRuleService for BillRuleRpc {
    async fn create_bill_rules(
        &self,
        request: Request<CreateBillRulesRequest>,
    ) -> Result<Response<CreateBillRulesResponse>, Status> {
        Ok(Response::new(self.create(request).await?))
    }

    async fn list_bill_rules(
        &self,
        request: Request<ListBillRulesRequest>,
    ) -> Result<Response<ListBillRulesResponse>, Status> {
        Ok(Response::new(self.list(request).await?))
    }
}

fn bill_rule(row: RuleRow, community_id: &str, clock: &Clock) -> BillRule {
    BillRule {
        rule_id: row.rule_id,
        config_id: row.config_id,
        community_id: community_id.to_owned(),
        payer_obj_id: row.payer_obj_id,
        payer_obj_type: PayerObjectType::from_code(&row.payer_obj_type).unwrap_or_default().into(),
        fee_flag: FeeFlag::from_code(&row.fee_flag).unwrap_or_default().into(),
        state: FeeState::from_code(&row.state).unwrap_or_default().into(),
        start_time: times::print(row.start_time),
        max_time: times::print(row.max_time),
        cur_year_month: times::print_date(row.cur_year_month),
        ended_time: row.ended_at.map(|at| times::print(clock.local(at))).unwrap_or_default(),
    }
}
