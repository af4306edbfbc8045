//! The RPCs of charging.

use communal_kit::call::Call;
use communal_kit::clock::Clock;
use communal_kit::database::errors::lost_race;
use communal_kit::database::on_constraint;
use communal_kit::paging::{Page, pages};
use communal_kit::pool::Pool;
use communal_kit::refusal::Refusal;
use communal_kit::request::begin_in_tenant;
use communal_kit::write::write;
use communal_proto::community::v1::charging_service_server::ChargingService;
use communal_proto::community::v1::{
    ApplyDeletePayFeeBatchCmdRequest, ApplyDeletePayFeeBatchCmdResponse, BatchState, Charged, ContractCounts,
    ListPayFeeBatchRequest, ListPayFeeBatchResponse, PayFeeBatch, Reason, RoomCreatePayFeeRequest,
    RoomCreatePayFeeResponse, SaveContractCreateFeeRequest, SaveContractCreateFeeResponse, SaveMeterWaterRequest,
    SaveMeterWaterResponse, SaveParkingSpaceCreateFeeRequest, SaveParkingSpaceCreateFeeResponse,
    SaveRoomCreateFeeRequest, SaveRoomCreateFeeResponse, UpdatePayFeeBatchRequest, UpdatePayFeeBatchResponse,
};
use communal_proto::{Checker, Coded as _};
use sqlx::PgConnection;
use tonic::{Request, Response, Status};

use super::rules::{self, Charge, METER_FIELDS, Objects};
use crate::fee_items::store::lock_for_charging;
use crate::fees::batches;
use crate::fees::rules::{GivenTerms, admit, none_taken};
use crate::payer_objects::{readings, settings};
use crate::vocabulary::codes::{count, given};
use crate::vocabulary::spans::ChargedSpan;
use crate::vocabulary::times;
use crate::{bill_rules, fee_items, fees, payer_objects};

/// Serves charging.
#[derive(Clone, Debug)]
pub struct ChargingRpc {
    pool: Pool,
    clock: Clock,
}

impl ChargingRpc {
    /// Serves charging in a database.
    #[must_use]
    pub fn new(pool: Pool, clock: Clock) -> Self {
        Self { pool, clock }
    }

    /// Creates the fees of a charge, or its bill rules in bill mode. Locks: the settings in share mode, then the
    /// item, in share mode unless bill rules may be made.
    async fn charge(&self, tx: &mut PgConnection, call: &Call, charge: &Charge<'_>) -> Result<Charged, Refusal> {
        let config_id = charge.config_id;
        let settings = settings::store::lock_shared(tx, call).await?;
        // What is made is known of the item once it is locked, and its lock must not be raised: two would wait for
        // each other.
        let item = if settings.pay_fee_month {
            fee_items::store::lock(tx, call, config_id).await?
        } else {
            lock_for_charging(tx, call, config_id).await?
        };
        let not_found = || Refusal::new(Reason::FeeItemNotFound, format!("当前费用项ID不存在或存在多条{config_id}"));
        let item = item.ok_or_else(not_found)?;
        let cars = match &charge.objects {
            Objects::Cars(of) => payer_objects::store::cars(tx, call, *of).await?,
            _ => Vec::new(),
        };
        let objects: Vec<&str> = match &charge.objects {
            Objects::Rooms(rooms) => rooms.clone(),
            Objects::Car(id) | Objects::Contract(id) => vec![*id],
            Objects::Cars(_) => cars.iter().map(String::as_str).collect(),
        };
        let spans: Vec<ChargedSpan> = rules::spans(charge, objects.into_iter(), &mut Checker::default())
            .ok_or_else(|| Refusal::internal("a charge that was checked could not be read"))?;
        let known = payer_objects::store::known(tx, call, &spans).await?;
        rules::of_their_kind(charge, &spans, &known)?;
        rules::ends_with_item(charge, &item, times::end(charge.end_time))?;
        let by_rules = rules::makes_rules(&item, settings);
        let rows = admit(Some(item), known, &spans, charge.fields, charge.terms, settings.allow_duplicate_fee)?;
        if !rows.repeatable {
            none_taken(&fees::store::taken(tx, call, config_id, &rows).await?, &spans, charge.fields)?;
        }
        let batch_id = batches::store::create(tx, call, charge.remark).await?;
        if by_rules {
            let made = bill_rules::store::insert(tx, call, config_id, &batch_id, &rows).await;
            let rule_ids = made.map_err(lost_race(bill_rules::store::ONCE))?;
            bill_rules::run::make(tx, call, &rule_ids, self.clock.local(call.at)).await?;
            Ok(Charged { batch_id, fee_ids: Vec::new(), rule_ids })
        } else {
            let made = fees::store::insert(tx, call, config_id, &batch_id, &rows).await;
            let fee_ids = made.map_err(lost_race(fees::store::ONCE))?;
            Ok(Charged { batch_id, fee_ids, rule_ids: Vec::new() })
        }
    }
}

/// The number of objects that were charged: one fee or one bill rule each.
fn objects(charged: &Charged) -> i32 {
    i32::try_from(charged.fee_ids.len() + charged.rule_ids.len()).unwrap_or(i32::MAX)
}

#[tonic::async_trait]
impl ChargingService for ChargingRpc {
    async fn save_room_create_fee(
        &self,
        request: Request<SaveRoomCreateFeeRequest>,
    ) -> Result<Response<SaveRoomCreateFeeResponse>, Status> {
        let (call, message, ()) = begin_in_tenant(request, |m| &m.community_id)?
            .accept_with(|message, checker| rules::check(&rules::of_room(message), checker))?;
        let reply = write(&self.pool, &call, &message, async |tx| {
            let charged = self.charge(tx, &call, &rules::of_room(&message)).await?;
            let total = objects(&charged);
            Ok(SaveRoomCreateFeeResponse {
                total_room: total,
                success_room: total,
                error_room: 0,
                charged: Some(charged),
            })
        });
        Ok(reply.await?)
    }

    async fn room_create_pay_fee(
        &self,
        request: Request<RoomCreatePayFeeRequest>,
    ) -> Result<Response<RoomCreatePayFeeResponse>, Status> {
        let (call, message, ()) = begin_in_tenant(request, |m| &m.community_id)?
            .accept_with(|message, checker| rules::check(&rules::of_rooms(message), checker))?;
        let reply = write(&self.pool, &call, &message, async |tx| {
            let charged = self.charge(tx, &call, &rules::of_rooms(&message)).await?;
            Ok(RoomCreatePayFeeResponse { charged: Some(charged) })
        });
        Ok(reply.await?)
    }

    async fn save_parking_space_create_fee(
        &self,
        request: Request<SaveParkingSpaceCreateFeeRequest>,
    ) -> Result<Response<SaveParkingSpaceCreateFeeResponse>, Status> {
        let begun = begin_in_tenant(request, |m| &m.community_id)?;
        let (call, message, ()) = begun.accept_with(|message, checker| {
            rules::check_cars(message, checker);
            rules::check(&rules::of_cars(message), checker)
        })?;
        let reply = write(&self.pool, &call, &message, async |tx| {
            let charged = self.charge(tx, &call, &rules::of_cars(&message)).await?;
            let total = objects(&charged);
            Ok(SaveParkingSpaceCreateFeeResponse {
                total_car: total,
                success_car: total,
                error_car: 0,
                charged: Some(charged),
            })
        });
        Ok(reply.await?)
    }

    async fn save_contract_create_fee(
        &self,
        request: Request<SaveContractCreateFeeRequest>,
    ) -> Result<Response<SaveContractCreateFeeResponse>, Status> {
        let (call, message, ()) = begin_in_tenant(request, |m| &m.community_id)?
            .accept_with(|message, checker| rules::check(&rules::of_contract(message), checker))?;
        let reply = write(&self.pool, &call, &message, async |tx| {
            let charged = self.charge(tx, &call, &rules::of_contract(&message)).await?;
            let total = objects(&charged);
            let data = ContractCounts { total_room: total, success_room: total, error_room: 0 };
            Ok(SaveContractCreateFeeResponse { data: Some(data), charged: Some(charged) })
        });
        Ok(reply.await?)
    }

    /// Locks: the request id, then the item in share mode.
    async fn save_meter_water(
        &self,
        request: Request<SaveMeterWaterRequest>,
    ) -> Result<Response<SaveMeterWaterResponse>, Status> {
        let (call, message, reading) = begin_in_tenant(request, |m| &m.community_id)?.accept_with(rules::of_meter)?;
        let spans = [ChargedSpan {
            payer_obj_id: reading.payer_obj_id.clone(),
            start: reading.pre_reading_time,
            end: Some(reading.cur_reading_time),
        }];
        let reply = write(&self.pool, &call, &message, async |tx| {
            let id = &message.config_id;
            let settings = settings::store::lock_shared(tx, &call).await?;
            let item = lock_for_charging(tx, &call, id).await?;
            let item = item.ok_or_else(|| Refusal::new(Reason::FeeItemNotFound, "费用项不存在"))?;
            let known = payer_objects::store::known(tx, &call, &spans).await?;
            let object = known.first().and_then(Option::as_ref);
            rules::may_charge_reading(&item, object, message.obj_type())?;
            let terms = GivenTerms::default();
            let mut rows = admit(Some(item), known, &spans, METER_FIELDS, terms, settings.allow_duplicate_fee)?;
            let inserted = readings::store::insert(tx, &call, &reading).await;
            let exists = || Refusal::of(Reason::ReadingExists);
            let reading_id = inserted.map_err(on_constraint(readings::store::LIVE, exists))?;
            rows.reading_id = Some(reading_id.clone());
            if !rows.repeatable {
                none_taken(&fees::store::taken(tx, &call, id, &rows).await?, &spans, METER_FIELDS)?;
            }
            let batch_id = batches::store::create(tx, &call, &message.remark).await?;
            let made = fees::store::insert(tx, &call, id, &batch_id, &rows).await;
            let fee_ids = made.map_err(lost_race(fees::store::ONCE))?;
            let charged = Charged { batch_id, fee_ids, rule_ids: Vec::new() };
            Ok(SaveMeterWaterResponse { charged: Some(charged), reading_id })
        });
        Ok(reply.await?)
    }

    async fn list_pay_fee_batch(
        &self,
        request: Request<ListPayFeeBatchRequest>,
    ) -> Result<Response<ListPayFeeBatchResponse>, Status> {
        let (call, message) = begin_in_tenant(request, |m| &m.community_id)?.accept()?;
        let page = Page::numbered(message.page, message.row);
        let listed = batches::store::list(&self.pool, &call, &message.batch_id, given(message.state()), page).await;
        let (rows, total) = listed.map_err(Refusal::from)?;
        let batch = |row: batches::store::BatchRow| PayFeeBatch {
            batch_id: row.batch_id,
            create_user_name: row.operator_name,
            create_time: times::print(self.clock.local(row.created_at)),
            state: row.state.0.into(),
            state_name: row.state.0.title().into(),
            remark: row.remark,
            msg: row.msg,
        };
        Ok(Response::new(ListPayFeeBatchResponse {
            page: 0,
            records: count(pages(total, message.row)),
            rows: 0,
            total: count(total),
            data: rows.into_iter().map(batch).collect(),
        }))
    }

    /// Locks: the request id, then the batch.
    async fn apply_delete_pay_fee_batch_cmd(
        &self,
        request: Request<ApplyDeletePayFeeBatchCmdRequest>,
    ) -> Result<Response<ApplyDeletePayFeeBatchCmdResponse>, Status> {
        let (call, message) = begin_in_tenant(request, |m| &m.community_id)?.accept()?;
        let reply = write(&self.pool, &call, &message, async |tx| {
            batches::rules::may_apply(batches::store::lock(tx, &call, &message.batch_id).await?)?;
            batches::store::apply(tx, &call, &message.batch_id, &message.remark).await?;
            Ok(ApplyDeletePayFeeBatchCmdResponse {})
        });
        Ok(reply.await?)
    }

    /// Locks: the request id, the batch, then its rules and fees.
    async fn update_pay_fee_batch(
        &self,
        request: Request<UpdatePayFeeBatchRequest>,
    ) -> Result<Response<UpdatePayFeeBatchResponse>, Status> {
        let (call, message) = begin_in_tenant(request, |m| &m.community_id)?.accept()?;
        let reply = write(&self.pool, &call, &message, async |tx| {
            let id = &message.batch_id;
            let settings = settings::store::read(&mut *tx, &call).await?;
            let batch = batches::store::lock(tx, &call, id).await?;
            let by = call.operator_id.as_str();
            let state = batches::rules::decide(batch, message.state(), by, settings.batch_self_approval)?;
            if state == BatchState::Undone {
                batches::rules::nothing_paid(batches::store::lock_contents(tx, &call, id).await?)?;
                batches::store::delete_contents(tx, &call, id).await?;
            }
            batches::store::decide(tx, &call, id, state, &message.msg).await?;
            Ok(UpdatePayFeeBatchResponse {})
        });
        Ok(reply.await?)
    }
}
