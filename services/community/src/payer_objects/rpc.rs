//! The RPCs of payer objects.

use communal_kit::money::at_scale;
use communal_kit::paging::KeyPage;
use communal_kit::pool::Pool;
use communal_kit::refusal::Refusal;
use communal_kit::request::begin_in_tenant;
use communal_kit::write::write;
use communal_proto::community::v1::payer_object_service_server::PayerObjectService;
use communal_proto::community::v1::{
    ListPayerObjectsRequest, ListPayerObjectsResponse, PayerObject, RegisterPayerObjectsRequest,
    RegisterPayerObjectsResponse,
};
use rust_decimal::Decimal;
use tonic::{Request, Response, Status};

use super::store::{self, PayerObjectRow};

/// Digits after the point of areas, coefficients and rents.
const SCALE: u32 = 2;

/// Serves payer objects.
#[derive(Clone, Debug)]
pub struct PayerObjectRpc {
    pool: Pool,
}

impl PayerObjectRpc {
    /// Serves the payer objects of a database.
    #[must_use]
    pub fn new(pool: Pool) -> Self {
        Self { pool }
    }
}

#[tonic::async_trait]
impl PayerObjectService for PayerObjectRpc {
    /// Locks: the request id, then the payer objects by identifier.
    async fn register_payer_objects(
        &self,
        request: Request<RegisterPayerObjectsRequest>,
    ) -> Result<Response<RegisterPayerObjectsResponse>, Status> {
        let (call, message) = begin_in_tenant(request, |m| &m.community_id)?.accept()?;
        let reply = write(&self.pool, &call, &message, async |tx| {
            store::upsert(tx, &call, &message.payer_objects).await?;
            Ok(RegisterPayerObjectsResponse {})
        });
        Ok(reply.await?)
    }

    async fn list_payer_objects(
        &self,
        request: Request<ListPayerObjectsRequest>,
    ) -> Result<Response<ListPayerObjectsResponse>, Status> {
        let (call, message) = begin_in_tenant(request, |m| &m.community_id)?.accept()?;
        let page = KeyPage::read(message.page_size, &message.page_token, &["objects", &call.tenant.id])?;
        let mut rows = store::list(&self.pool, &call, &page).await.map_err(Refusal::from)?;
        let next_page_token = page.cut(&mut rows, |row| &row.payer_obj_id);
        let payer_objects = rows.into_iter().map(payer_object).collect();
        Ok(Response::new(ListPayerObjectsResponse { payer_objects, next_page_token }))
    }
}

fn payer_object(row: PayerObjectRow) -> PayerObject {
    let PayerObjectRow {
        payer_obj_id,
        payer_obj_type,
        name,
        built_up_area,
        room_area,
        fee_coefficient,
        layer,
        room_rent,
    } = row;
    // An unknown value is empty, as it came.
    let decimal = |value: Option<Decimal>| value.map(|v| at_scale(v, SCALE)).unwrap_or_default();
    PayerObject {
        payer_obj_id,
        payer_obj_type: payer_obj_type.0.into(),
        name,
        built_up_area: decimal(built_up_area),
        room_area: decimal(room_area),
        fee_coefficient: decimal(fee_coefficient),
        layer,
        room_rent: decimal(room_rent),
    }
}
