//! The RPCs of fees.

use communal_kit::clock::Clock;
use communal_kit::paging::KeyPage;
use communal_kit::pool::Pool;
use communal_kit::refusal::Refusal;
use communal_kit::request::begin_in_tenant;
use communal_kit::write::write;
use communal_proto::Coded as _;
use communal_proto::community::v1::fee_service_server::FeeService;
use communal_proto::community::v1::{CreateFeesRequest, CreateFeesResponse, Fee, ListFeesRequest, ListFeesResponse};
use tonic::{Request, Response, Status};

use super::rules::{self, FIELDS};
use super::store::{self, FeeRow};
use crate::fee_items::store::{ViewFilter, lock_for_charging, view_page};
use crate::payer_objects;
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
}

#[tonic::async_trait]
impl FeeService for FeeRpc {
    /// Locks: the request id, then the item in share mode.
    async fn create_fees(&self, request: Request<CreateFeesRequest>) -> Result<Response<CreateFeesResponse>, Status> {
        let (call, message, spans) = begin_in_tenant(request, |m| &m.community_id)?.accept_with(rules::of_create)?;
        let reply = write(&self.pool, &call, &message, async |tx| {
            let item = lock_for_charging(tx, &call, &message.config_id).await?;
            let types = payer_objects::store::types(tx, &call, &spans).await?;
            let rows = rules::admit(item, types, &spans, FIELDS)?;
            let fee_ids = store::insert(tx, &call, &message.config_id, &rows).await?;
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
}

fn fee(row: FeeRow, community_id: &str, clock: &Clock) -> Fee {
    let FeeRow {
        fee_id,
        config_id,
        payer_obj_id,
        payer_obj_type,
        fee_flag,
        state,
        start_time,
        end_time,
        deadline_time,
        ended_at,
    } = row;
    Fee {
        fee_id,
        config_id,
        community_id: community_id.to_owned(),
        payer_obj_id,
        payer_obj_type: payer_obj_type.0.into(),
        fee_flag: fee_flag.0.into(),
        state: state.0.into(),
        start_time: times::print(start_time),
        end_time: times::print(end_time),
        deadline_time: times::print(deadline_time),
        ended_time: ended_at.map(|at| times::print(clock.local(at))).unwrap_or_default(),
    }
}
