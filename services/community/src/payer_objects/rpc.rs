//! The RPCs of payer objects.

use communal_kit::database::stored::Stored;
use communal_kit::money::at_scale;
use communal_kit::paging::KeyPage;
use communal_kit::pool::Pool;
use communal_kit::refusal::Refusal;
use communal_kit::request::{begin_in_tenant, begin_stream};
use communal_kit::write::write;
use communal_proto::community::v1::payer_object_service_server::PayerObjectService;
use communal_proto::community::v1::{
    ImportPayerObjectsRequest, ImportPayerObjectsResponse, ListPayerObjectsRequest, ListPayerObjectsResponse,
    PayerObject, RegisterMeterReadingsRequest, RegisterMeterReadingsResponse, RegisterPayerObjectsRequest,
    RegisterPayerObjectsResponse, RoomAttribute,
};
use rust_decimal::Decimal;
use tonic::{Request, Response, Status, Streaming};

use super::import::import;
use super::store::{self, PayerObjectRow};
use super::{readings, rules};

/// Digits after the point of areas, coefficients and rents.
const SCALE: u32 = 2;
/// Digits after the point of attributes.
const ATTRIBUTE_SCALE: u32 = 4;

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
    /// Locks: the request id, then the owners, then the payer objects, by identifier.
    async fn register_payer_objects(
        &self,
        request: Request<RegisterPayerObjectsRequest>,
    ) -> Result<Response<RegisterPayerObjectsResponse>, Status> {
        let (call, message, ()) = begin_in_tenant(request, |m| &m.community_id)?.accept_with(rules::of_register)?;
        let reply = write(&self.pool, &call, &message, async |tx| {
            store::upsert(tx, &call, &message.payer_objects).await?;
            rules::rooms_exist(&store::unknown_rooms(tx, &call).await?)?;
            Ok(RegisterPayerObjectsResponse {})
        });
        Ok(reply.await?)
    }

    async fn import_payer_objects(
        &self,
        request: Request<Streaming<ImportPayerObjectsRequest>>,
    ) -> Result<Response<ImportPayerObjectsResponse>, Status> {
        let (call, stream) = begin_stream(request)?;
        Ok(Response::new(import(&self.pool, &call, stream).await?))
    }

    /// Locks: the request id, then the readings by object, item and time.
    async fn register_meter_readings(
        &self,
        request: Request<RegisterMeterReadingsRequest>,
    ) -> Result<Response<RegisterMeterReadingsResponse>, Status> {
        let (call, message, readings) =
            begin_in_tenant(request, |m| &m.community_id)?.accept_with(readings::rules::of_register)?;
        let reply = write(&self.pool, &call, &message, async |tx| {
            readings::rules::known(&readings::store::unknown(tx, &call, &readings).await?)?;
            readings::store::upsert(tx, &call, &readings).await?;
            Ok(RegisterMeterReadingsResponse {})
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
        community_area,
        building_area,
        unit_area,
        attribute_numbers,
        attribute_values,
        owner_id,
        owner_name,
        owner_tel,
        room_state,
        car_state,
        car_park_id,
        room_num,
        floor_id,
        unit_id,
        room_sub_type,
        room_ids,
    } = row;
    // An unknown value is empty, as it came.
    let decimal = |value: Option<Decimal>| value.map(|v| at_scale(v, SCALE)).unwrap_or_default();
    let attribute = |(name, value)| RoomAttribute { name, value: at_scale(value, ATTRIBUTE_SCALE) };
    PayerObject {
        payer_obj_id,
        payer_obj_type: payer_obj_type.0.into(),
        name,
        built_up_area: decimal(built_up_area),
        room_area: decimal(room_area),
        fee_coefficient: decimal(fee_coefficient),
        layer,
        room_rent: decimal(room_rent),
        community_area: decimal(community_area),
        building_area: decimal(building_area),
        unit_area: decimal(unit_area),
        attributes: attribute_numbers.into_iter().zip(attribute_values).map(attribute).collect(),
        room_ids,
        owner_id: owner_id.unwrap_or_default(),
        owner_name: owner_name.unwrap_or_default(),
        owner_tel: owner_tel.unwrap_or_default(),
        room_state: Stored::given(room_state).into(),
        car_state: Stored::given(car_state).into(),
        car_park_id: car_park_id.unwrap_or_default(),
        room_num: room_num.unwrap_or_default(),
        floor_id: floor_id.unwrap_or_default(),
        unit_id: unit_id.unwrap_or_default(),
        room_sub_type: room_sub_type.unwrap_or_default(),
    }
}
