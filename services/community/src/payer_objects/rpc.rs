//! The RPCs of payer objects.

use communal_kit::clock::Clock;
use communal_kit::money::at_scale;
use communal_kit::pool::Pool;
use communal_kit::refusal::Refusal;
use communal_kit::request::begin_in_tenant;
use communal_proto::Coded;
use communal_proto::community::v1::payer_object_service_server::PayerObjectService;
use communal_proto::community::v1::{
    ListPayerObjectsRequest, ListPayerObjectsResponse, PayerObject, PayerObjectType, RegisterPayerObjectsRequest,
    RegisterPayerObjectsResponse,
};
use rust_decimal::Decimal;
use tonic::{Request, Response, Status};

use super::store::{self, PayerObjectRow};
use crate::paging::KeyPage;

/// Digits after the point of areas, coefficients and rents.
const SCALE: u32 = 2;

/// Serves payer objects.
#[derive(Clone, Debug)]
pub struct PayerObjectRpc {
    pool: Pool,
    clock: Clock,
}

impl PayerObjectRpc {
    /// Serves the payer objects of a database.
    #[must_use]
    pub fn new(pool: Pool, clock: Clock) -> Self {
        Self { pool, clock }
    }

    async fn register(
        &self,
        request: Request<RegisterPayerObjectsRequest>,
    ) -> Result<RegisterPayerObjectsResponse, Refusal> {
        let (call, message) = begin_in_tenant(request, |m| &m.community_id)?.accept()?;
        store::register(&self.pool, &call, &message, self.clock.now()).await?;
        Ok(RegisterPayerObjectsResponse {})
    }

    async fn list(&self, request: Request<ListPayerObjectsRequest>) -> Result<ListPayerObjectsResponse, Refusal> {
        let (call, message) = begin_in_tenant(request, |m| &m.community_id)?.accept()?;
        let page = KeyPage::read(message.page_size, &message.page_token, &["objects", &call.tenant.id])?;
        let mut rows = store::list(&self.pool, &call, &page).await?;
        let next_page_token = page.cut(&mut rows, |row| &row.payer_obj_id);
        Ok(ListPayerObjectsResponse { payer_objects: rows.into_iter().map(payer_object).collect(), next_page_token })
    }
}

#[tonic::async_trait]
impl PayerObjectService for PayerObjectRpc {
    async fn register_payer_objects(
        &self,
        request: Request<RegisterPayerObjectsRequest>,
    ) -> Result<Response<RegisterPayerObjectsResponse>, Status> {
        Ok(Response::new(self.register(request).await?))
    }

    async fn list_payer_objects(
        &self,
        request: Request<ListPayerObjectsRequest>,
    ) -> Result<Response<ListPayerObjectsResponse>, Status> {
        Ok(Response::new(self.list(request).await?))
    }
}

fn payer_object(row: PayerObjectRow) -> PayerObject {
    // An unknown value is empty, as it came.
    let decimal = |value: Option<Decimal>| value.map(|v| at_scale(v, SCALE)).unwrap_or_default();
    PayerObject {
        payer_obj_id: row.payer_obj_id,
        payer_obj_type: PayerObjectType::from_code(&row.payer_obj_type).unwrap_or_default().into(),
        name: row.name,
        built_up_area: decimal(row.built_up_area),
        room_area: decimal(row.room_area),
        fee_coefficient: decimal(row.fee_coefficient),
        layer: row.layer,
        room_rent: decimal(row.room_rent),
    }
}
