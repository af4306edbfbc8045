//! The RPCs of fees.

use communal_kit::clock::Clock;
use communal_kit::pool::Pool;
use communal_kit::refusal::Refusal;
use communal_kit::request::begin_in_tenant;
use communal_proto::Coded;
use communal_proto::community::v1::fee_service_server::FeeService;
use communal_proto::community::v1::{
    CreateFeesRequest, CreateFeesResponse, Fee, FeeFlag, FeeState, ListFeesRequest, ListFeesResponse, PayerObjectType,
};
use tonic::{Request, Response, Status};

use super::NAMES;
use super::store::{self, FeeRow};
use crate::fee_items::store::{Filter, page};
use crate::paging::KeyPage;
use crate::vocabulary::periods::{self, Row};
use crate::vocabulary::times;

/// Serves fees.
#[derive(Clone, Debug)]
pub struct FeeRpc {
    pool: Pool,
    clock: Clock,
}

impl FeeRpc {
    /// Serves the fees of a database.
    #[must_use]
    pub fn new(pool: Pool, clock: Clock) -> Self {
        Self { pool, clock }
    }

    async fn create(&self, request: Request<CreateFeesRequest>) -> Result<CreateFeesResponse, Refusal> {
        let mut begun = begin_in_tenant(request, |m| &m.community_id)?;
        let rows = begun.message.fees.iter().map(|fee| Row {
            payer_obj_id: &fee.payer_obj_id,
            start: &fee.start_time,
            end: &fee.deadline_time,
        });
        let periods = periods::read(rows, NAMES, &mut begun.checker);
        let (call, message) = begun.accept()?;
        store::create(&self.pool, &call, &message, &periods, self.clock.now()).await
    }

    async fn list(&self, request: Request<ListFeesRequest>) -> Result<ListFeesResponse, Refusal> {
        let (call, message) = begin_in_tenant(request, |m| &m.community_id)?.accept()?;
        let filter =
            Filter { config_id: &message.config_id, payer_obj_id: &message.payer_obj_id, state: message.state() };
        let asked = ["fees", &call.tenant.id, filter.config_id, filter.payer_obj_id, filter.state.code()];
        let asked_page = KeyPage::read(message.page_size, &message.page_token, &asked)?;
        let mut rows = page(&self.pool, &call, store::VIEW, filter, &asked_page).await?;
        let next_page_token = asked_page.cut(&mut rows, |row: &FeeRow| &row.fee_id);
        let fees = rows.into_iter().map(|row| fee(row, &call.tenant.id, &self.clock)).collect();
        Ok(ListFeesResponse { fees, next_page_token })
    }
}

#[tonic::async_trait]
impl FeeService for FeeRpc {
    async fn create_fees(&self, request: Request<CreateFeesRequest>) -> Result<Response<CreateFeesResponse>, Status> {
        Ok(Response::new(self.create(request).await?))
    }

    async fn list_fees(&self, request: Request<ListFeesRequest>) -> Result<Response<ListFeesResponse>, Status> {
        Ok(Response::new(self.list(request).await?))
    }
}

fn fee(row: FeeRow, community_id: &str, clock: &Clock) -> Fee {
    Fee {
        fee_id: row.fee_id,
        config_id: row.config_id,
        community_id: community_id.to_owned(),
        payer_obj_id: row.payer_obj_id,
        payer_obj_type: PayerObjectType::from_code(&row.payer_obj_type).unwrap_or_default().into(),
        fee_flag: FeeFlag::from_code(&row.fee_flag).unwrap_or_default().into(),
        state: FeeState::from_code(&row.state).unwrap_or_default().into(),
        start_time: times::print(row.start_time),
        end_time: times::print(row.end_time),
        deadline_time: times::print(row.deadline_time),
        ended_time: row.ended_at.map(|at| times::print(clock.local(at))).unwrap_or_default(),
    }
}
