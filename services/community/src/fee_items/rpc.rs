//! The RPCs of fee items.

use std::sync::atomic::{AtomicBool, Ordering};

use communal_kit::clock::Clock;
use communal_kit::database::on_constraint;
use communal_kit::paging::{Cap, Page, pages};
use communal_kit::pool::Pool;
use communal_kit::refusal::Refusal;
use communal_kit::request::begin_in_tenant;
use communal_kit::write::write;
use communal_proto::Coded as _;
use communal_proto::community::v1::fee_item_service_server::FeeItemService;
use communal_proto::community::v1::{
    DeleteFeeConfigRequest, DeleteFeeConfigResponse, FeeConfig, FeeConfigImage, ListFeeConfigsRequest,
    ListFeeConfigsResponse, QueryHisFeeConfigRequest, QueryHisFeeConfigResponse, Reason, SaveFeeConfigRequest,
    SaveFeeConfigResponse, UpdateFeeConfigRequest, UpdateFeeConfigResponse,
};
use tonic::{Request, Response, Status};

use super::rules;
use super::store::{self, ImageRow, ItemRow, LIVE_NAME};
use crate::vocabulary::codes::count;
use crate::vocabulary::decimals::as_double_prints;
use crate::vocabulary::times;

/// The counter of closures.
pub const CLOSURES: &str = "communal_community_item_closures_total";
/// `isFlag` that asks for all rows.
const ALL_ROWS: &str = "0";

/// Serves fee items.
#[derive(Clone, Debug)]
pub struct FeeItemRpc {
    pool: Pool,
    clock: Clock,
}

impl FeeItemRpc {
    /// Serves the items of a database.
    #[must_use]
    pub fn new(pool: Pool, clock: Clock) -> Self {
        Self { pool, clock }
    }
}

#[tonic::async_trait]
impl FeeItemService for FeeItemRpc {
    async fn save_fee_config(
        &self,
        request: Request<SaveFeeConfigRequest>,
    ) -> Result<Response<SaveFeeConfigResponse>, Status> {
        let (call, message, terms) = begin_in_tenant(request, |m| &m.community_id)?.accept_with(rules::of_save)?;
        let reply = write(&self.pool, &call, &message, async |tx| {
            let inserted = store::insert(tx, &call, None, &terms).await;
            let taken = on_constraint(LIVE_NAME, || rules::name_taken(&terms.fee_name));
            Ok(SaveFeeConfigResponse { config_id: inserted.map_err(taken)? })
        });
        Ok(reply.await?)
    }

    async fn list_fee_configs(
        &self,
        request: Request<ListFeeConfigsRequest>,
    ) -> Result<Response<ListFeeConfigsResponse>, Status> {
        let now = self.clock.local(self.clock.now());
        let (call, message, filter) = begin_in_tenant(request, |m| &m.community_id)?
            .accept_with(|message, checker| rules::of_list(message, now, checker))?;
        let (cap, unpaged) = (Cap::UNPAGED, message.is_flag == ALL_ROWS);
        let page = if unpaged { Page::all(cap) } else { Page::numbered(message.page, message.row) };
        let (items, total) = store::list(&self.pool, &call, &filter, page).await.map_err(Refusal::from)?;
        if unpaged {
            cap.check_total(total, "请增加查询条件或分页查询")?;
        }
        Ok(Response::new(ListFeeConfigsResponse {
            fee_configs: items.into_iter().map(fee_config).collect(),
            page: 0,
            records: count(pages(total, message.row)),
            rows: 0,
            total: count(total),
        }))
    }

    /// Locks: the request id, then the item.
    async fn update_fee_config(
        &self,
        request: Request<UpdateFeeConfigRequest>,
    ) -> Result<Response<UpdateFeeConfigResponse>, Status> {
        let (call, message, terms) = begin_in_tenant(request, |m| &m.community_id)?.accept_with(rules::of_update)?;
        let (id, closed) = (&message.config_id, AtomicBool::new(false));
        let reply = write(&self.pool, &call, &message, async |tx| {
            let item = store::lock(tx, &call, id).await?.ok_or_else(|| Refusal::of(Reason::FeeItemNotFound))?;
            let has_rules = rules::changes_flag(&item, &terms) && store::has_rules(tx, &call, id).await?;
            let validity = (terms.start_time, terms.end_time);
            let outside = match rules::shortens(&item, &terms) {
                true => store::open_outside(tx, &call, id, item.closures, validity).await?,
                false => 0,
            };
            rules::may_change(&item, &terms, has_rules, outside)?;
            let closes = rules::closes(&item, &terms);
            let closures = item.closures + i32::from(closes);
            let updated = store::update(tx, &call, id, &terms, closures).await;
            updated.map_err(on_constraint(LIVE_NAME, || rules::name_taken(&terms.fee_name)))?;
            if closes {
                store::close(tx, &call, id, closures).await?;
            }
            closed.store(closes, Ordering::Relaxed);
            Ok(UpdateFeeConfigResponse {})
        });
        let reply = reply.await?;
        if closed.into_inner() {
            metrics::counter!(CLOSURES).increment(1);
        }
        Ok(reply)
    }

    /// Locks: the request id, then the item.
    async fn delete_fee_config(
        &self,
        request: Request<DeleteFeeConfigRequest>,
    ) -> Result<Response<DeleteFeeConfigResponse>, Status> {
        let (call, message) = begin_in_tenant(request, |m| &m.community_id)?.accept()?;
        let id = &message.config_id;
        let reply = write(&self.pool, &call, &message, async |tx| {
            // The document has a message of its own for an item that cannot be found here.
            let not_found = || Refusal::new(Reason::FeeItemNotFound, "删除费用项失败");
            let item = store::lock(tx, &call, id).await?.ok_or_else(not_found)?;
            let in_use = store::in_use(tx, &call, id, item.closures).await?;
            rules::may_delete(&item, in_use)?;
            store::delete(tx, &call, id).await?;
            Ok(DeleteFeeConfigResponse {})
        });
        Ok(reply.await?)
    }

    async fn query_his_fee_config(
        &self,
        request: Request<QueryHisFeeConfigRequest>,
    ) -> Result<Response<QueryHisFeeConfigResponse>, Status> {
        let (call, message) = begin_in_tenant(request, |m| &m.community_id)?.accept()?;
        let filter = rules::of_history(&message, &self.clock);
        let page = Page::numbered(message.page, message.row);
        let (images, total) = store::history(&self.pool, &call, &filter, page).await.map_err(Refusal::from)?;
        Ok(Response::new(QueryHisFeeConfigResponse {
            page: 0,
            records: count(pages(total, message.row)),
            rows: 0,
            total: count(total),
            data: images.into_iter().map(|row| image(row, &self.clock)).collect(),
        }))
    }
}

fn fee_config(row: ItemRow) -> FeeConfig {
    let ItemRow {
        community_id,
        config_id,
        fee_type_cd,
        fee_name,
        fee_flag,
        start_time,
        end_time,
        computing_formula,
        computing_formula_text,
        square_price,
        additional_amount,
        is_default,
        bill_type,
        payment_cd,
        payment_cycle,
        deduct_from,
        pay_online,
        scale,
        decimal_place,
        units,
        prepayment_period,
        state,
        deleted_at,
    } = row;
    FeeConfig {
        config_id,
        fee_type_cd: fee_type_cd.0.into(),
        fee_type_cd_name: fee_type_cd.0.title().into(),
        fee_name,
        fee_flag: fee_flag.0.into(),
        fee_flag_name: fee_flag.0.title().into(),
        start_time: times::print(start_time),
        end_time: times::print(end_time),
        computing_formula: computing_formula.0.into(),
        computing_formula_name: computing_formula.0.title().into(),
        computing_formula_text,
        square_price: as_double_prints(square_price),
        additional_amount: as_double_prints(additional_amount),
        is_default: is_default.0.into(),
        bill_type: bill_type.0.into(),
        bill_type_name: bill_type.0.title().into(),
        payment_cd: payment_cd.0.into(),
        payment_cycle: payment_cycle.to_string(),
        deduct_from: deduct_from.0.into(),
        pay_online: pay_online.0.into(),
        scale: scale.0.into(),
        decimal_place: decimal_place.0.into(),
        units,
        prepayment_period: prepayment_period.map(|days| days.to_string()),
        state: state.0.into(),
        community_id,
        status_cd: if deleted_at.is_some() { "1" } else { "0" }.into(),
    }
}

/// An image: the item, with who changed it and when, and on which side of the change it stood.
fn image(row: ImageRow, clock: &Clock) -> FeeConfigImage {
    let ImageRow { item, operate, operator_name, changed_at } = row;
    let create_time = times::print(clock.local(changed_at));
    FeeConfigImage { item: Some(fee_config(item)), operate, user_name: operator_name, create_time }
}
