//! The RPCs of fee items: requests in, documented shapes out.

use communal_kit::clock::Clock;
use communal_kit::pool::Pool;
use communal_kit::refusal::Refusal;
use communal_kit::request::begin_in_tenant;
use communal_proto::Coded;
use communal_proto::community::v1::fee_item_service_server::FeeItemService;
use communal_proto::community::v1::{
    BillType, DecimalPlace, DefaultItem, DeleteFeeConfigRequest, DeleteFeeConfigResponse, FeeConfig, FeeConfigImage,
    FeeFlag, FeeType, Formula, ItemState, ListFeeConfigsRequest, ListFeeConfigsResponse, PaymentTiming,
    QueryHisFeeConfigRequest, QueryHisFeeConfigResponse, Rounding, SaveFeeConfigRequest, SaveFeeConfigResponse,
    UpdateFeeConfigRequest, UpdateFeeConfigResponse,
};
use communal_proto::contract::v1::Reason as Common;
use tonic::{Request, Response, Status};

use super::history::{self, ImageRow};
use super::query::{self, Filter, ItemRow};
use super::{rules, store};
use crate::paging::{Page, pages};
use crate::vocabulary::codes::choice;
use crate::vocabulary::decimals::as_double_prints;
use crate::vocabulary::times;

/// Most rows of an answer that is not paged.
pub const UNPAGED_CAP: i64 = 10_000;
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

    async fn save(&self, request: Request<SaveFeeConfigRequest>) -> Result<SaveFeeConfigResponse, Refusal> {
        let mut begun = begin_in_tenant(request, |m| &m.community_id)?;
        let terms = rules::of_save(&begun.message, &mut begun.checker);
        let (call, message) = begun.accept()?;
        let terms = terms.ok_or_else(|| Refusal::internal("an accepted request has terms"))?;
        store::save(&self.pool, &call, &message, &terms, self.clock.now()).await?;
        Ok(SaveFeeConfigResponse {})
    }

    async fn update(&self, request: Request<UpdateFeeConfigRequest>) -> Result<UpdateFeeConfigResponse, Refusal> {
        let mut begun = begin_in_tenant(request, |m| &m.community_id)?;
        let terms = rules::of_update(&begun.message, &mut begun.checker);
        let (call, message) = begun.accept()?;
        let terms = terms.ok_or_else(|| Refusal::internal("an accepted request has terms"))?;
        store::update(&self.pool, &call, &message, &terms, self.clock.now()).await?;
        Ok(UpdateFeeConfigResponse {})
    }

    async fn delete(&self, request: Request<DeleteFeeConfigRequest>) -> Result<DeleteFeeConfigResponse, Refusal> {
        let (call, message) = begin_in_tenant(request, |m| &m.community_id)?.accept()?;
        store::delete(&self.pool, &call, &message, self.clock.now()).await?;
        Ok(DeleteFeeConfigResponse {})
    }

    async fn list(&self, request: Request<ListFeeConfigsRequest>) -> Result<ListFeeConfigsResponse, Refusal> {
        let mut begun = begin_in_tenant(request, |m| &m.community_id)?;
        let now = self.clock.local(self.clock.now());
        let filter = Filter::read(&begun.message, now, &mut begun.checker);
        let (call, message) = begun.accept()?;
        let unpaged = message.is_flag == ALL_ROWS;
        let page =
            if unpaged { Page { first: 1, last: UNPAGED_CAP } } else { Page::numbered(message.page, message.row) };
        let (items, total) = query::list(&self.pool, &call, &filter, page).await?;
        if unpaged && total > UNPAGED_CAP {
            let text = format!("查询结果超过{UNPAGED_CAP}条，请增加查询条件或分页查询");
            return Err(Refusal::new(Common::AnswerTooLarge, text));
        }
        Ok(ListFeeConfigsResponse {
            fee_configs: items.into_iter().map(fee_config).collect(),
            page: 0,
            records: counted(pages(total, message.row)),
            rows: 0,
            total: counted(total),
        })
    }

    async fn history(&self, request: Request<QueryHisFeeConfigRequest>) -> Result<QueryHisFeeConfigResponse, Refusal> {
        let (call, message) = begin_in_tenant(request, |m| &m.community_id)?.accept()?;
        let filter = history::Filter::read(&message, &self.clock);
        let page = Page::numbered(message.page, message.row);
        let (images, total) = history::list(&self.pool, &call, &filter, page).await?;
        Ok(QueryHisFeeConfigResponse {
            page: 0,
            records: counted(pages(total, message.row)),
            rows: 0,
            total: counted(total),
            data: images.into_iter().map(|row| image(row, &self.clock)).collect(),
        })
    }
}

#[tonic::async_trait]
impl FeeItemService for FeeItemRpc {
    async fn save_fee_config(
        &self,
        request: Request<SaveFeeConfigRequest>,
    ) -> Result<Response<SaveFeeConfigResponse>, Status> {
        Ok(Response::new(self.save(request).await?))
    }

    async fn list_fee_configs(
        &self,
        request: Request<ListFeeConfigsRequest>,
    ) -> Result<Response<ListFeeConfigsResponse>, Status> {
        Ok(Response::new(self.list(request).await?))
    }

    async fn update_fee_config(
        &self,
        request: Request<UpdateFeeConfigRequest>,
    ) -> Result<Response<UpdateFeeConfigResponse>, Status> {
        Ok(Response::new(self.update(request).await?))
    }

    async fn delete_fee_config(
        &self,
        request: Request<DeleteFeeConfigRequest>,
    ) -> Result<Response<DeleteFeeConfigResponse>, Status> {
        Ok(Response::new(self.delete(request).await?))
    }

    async fn query_his_fee_config(
        &self,
        request: Request<QueryHisFeeConfigRequest>,
    ) -> Result<Response<QueryHisFeeConfigResponse>, Status> {
        Ok(Response::new(self.history(request).await?))
    }
}

/// A count in the width of the document.
fn counted(count: i64) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// The enum of a stored code. Only canonical codes are stored, so there always is one.
fn stored<C: Coded + Default>(code: &str) -> C {
    C::from_code(code).unwrap_or_default()
}

fn fee_config(row: ItemRow) -> FeeConfig {
    let (fee_type, fee_flag) = (stored::<FeeType>(&row.fee_type_cd), stored::<FeeFlag>(&row.fee_flag));
    let (formula, bill_type) = (stored::<Formula>(&row.computing_formula), stored::<BillType>(&row.bill_type));
    FeeConfig {
        config_id: row.config_id,
        fee_type_cd: fee_type.into(),
        fee_type_cd_name: fee_type.title().into(),
        fee_name: row.fee_name,
        fee_flag: fee_flag.into(),
        fee_flag_name: fee_flag.title().into(),
        start_time: times::print(row.start_time),
        end_time: times::print(row.end_time),
        computing_formula: formula.into(),
        computing_formula_name: formula.title().into(),
        computing_formula_text: row.computing_formula_text,
        square_price: as_double_prints(row.square_price),
        additional_amount: as_double_prints(row.additional_amount),
        is_default: if row.is_default { DefaultItem::System.into() } else { DefaultItem::Ordinary.into() },
        bill_type: bill_type.into(),
        bill_type_name: bill_type.title().into(),
        payment_cd: stored::<PaymentTiming>(&row.payment_cd).into(),
        payment_cycle: row.payment_cycle.to_string(),
        deduct_from: choice(row.deduct_from).into(),
        pay_online: choice(row.pay_online).into(),
        scale: stored::<Rounding>(&row.scale).into(),
        decimal_place: stored::<DecimalPlace>(&row.decimal_place.to_string()).into(),
        units: row.units,
        prepayment_period: row.prepayment_period.map(|days| days.to_string()),
        state: if row.stopped { ItemState::Stopped.into() } else { ItemState::InUse.into() },
        community_id: row.community_id,
        status_cd: if row.deleted { "1" } else { "0" }.into(),
    }
}

/// An image is an item with who, when and which side of the change.
fn image(row: ImageRow, clock: &Clock) -> FeeConfigImage {
    let item = fee_config(row.item);
    FeeConfigImage {
        config_id: item.config_id,
        fee_type_cd: item.fee_type_cd,
        fee_type_cd_name: item.fee_type_cd_name,
        fee_name: item.fee_name,
        fee_flag: item.fee_flag,
        fee_flag_name: item.fee_flag_name,
        start_time: item.start_time,
        end_time: item.end_time,
        computing_formula: item.computing_formula,
        computing_formula_name: item.computing_formula_name,
        computing_formula_text: item.computing_formula_text,
        square_price: item.square_price,
        additional_amount: item.additional_amount,
        is_default: item.is_default,
        bill_type: item.bill_type,
        bill_type_name: item.bill_type_name,
        payment_cd: item.payment_cd,
        payment_cycle: item.payment_cycle,
        deduct_from: item.deduct_from,
        pay_online: item.pay_online,
        scale: item.scale,
        decimal_place: item.decimal_place,
        units: item.units,
        prepayment_period: item.prepayment_period,
        state: item.state,
        community_id: item.community_id,
        status_cd: item.status_cd,
        operate: row.operate,
        user_name: row.operator_name,
        create_time: times::print(clock.local(row.changed_at)),
    }
}
