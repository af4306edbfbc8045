//! The RPCs of bill rules.

use communal_kit::clock::Clock;
use communal_kit::database::on_constraint;
use communal_kit::paging::KeyPage;
use communal_kit::pool::Pool;
use communal_kit::refusal::Refusal;
use communal_kit::request::begin_in_tenant;
use communal_kit::write::write;
use communal_proto::Coded as _;
use communal_proto::community::v1::bill_rule_service_server::BillRuleService;
use communal_proto::community::v1::{
    BillRule, CreateBillRulesRequest, CreateBillRulesResponse, ListBillRulesRequest, ListBillRulesResponse, Reason,
};
use tonic::{Request, Response, Status};

use super::rules::{self, FIELDS};
use super::store::{self, RuleRow};
use crate::fee_items::store::{ViewFilter, lock_for_charging, view_page};
use crate::fees::rules::GivenTerms;
use crate::payer_objects::settings;
use crate::vocabulary::times;
use crate::{fees, payer_objects};

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
    /// Locks: the request id, the settings and the item in share mode.
    async fn create_bill_rules(
        &self,
        request: Request<CreateBillRulesRequest>,
    ) -> Result<Response<CreateBillRulesResponse>, Status> {
        let (call, message, spans) = begin_in_tenant(request, |m| &m.community_id)?.accept_with(rules::of_create)?;
        let reply = write(&self.pool, &call, &message, async |tx| {
            let id = &message.config_id;
            let settings = settings::store::lock_shared(tx, &call).await?;
            let item = lock_for_charging(tx, &call, id).await?;
            let objects = payer_objects::store::known(tx, &call, &spans).await?;
            let asked = GivenTerms { amount: &message.amount, ..GivenTerms::default() };
            let rows = fees::rules::admit(item, objects, &spans, FIELDS, asked, settings.allow_duplicate_fee)?;
            if !rows.repeatable {
                fees::rules::none_taken(&fees::store::taken(tx, &call, id, &rows).await?, &spans, FIELDS)?;
            }
            let batch_id = fees::batches::store::create(tx, &call, "").await?;
            let inserted = store::insert(tx, &call, id, &batch_id, &rows).await;
            let rule_ids = inserted.map_err(on_constraint(store::ONCE, || Refusal::of(Reason::DuplicateFee)))?;
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
