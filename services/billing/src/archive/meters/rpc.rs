//! The methods of `MeterService`.

use communal_kit::database::errors::lost_race;
use communal_kit::database::on_constraint;
use communal_kit::database::stored::Stored;
use communal_kit::money::at_scale;
use communal_kit::pool::Pool;
use communal_kit::refusal::Refusal;
use communal_kit::request::begin;
use communal_kit::write::write;
use communal_proto::billing::v1::fields::{
    add_settle_meter_request, changed_meter, del_settle_meter_request, meter_id, new_meter, record_meter_reset_request,
    upd_settle_meter_request,
};
use communal_proto::billing::v1::meter_service_server::MeterService;
use communal_proto::billing::v1::{
    AddSettleMeterRequest, AddSettleMeterResponse, DelSettleMeterRequest, DelSettleMeterResponse, InstallType, Meter,
    QuerySettleMeterRequest, QuerySettleMeterResponse, Reason, RecordMeterResetRequest, RecordMeterResetResponse,
    UpdSettleMeterRequest, UpdSettleMeterResponse,
};
use communal_proto::{Fault, FieldPath, Reason as _};
use tonic::{Request, Response, Status};

use super::rules::{digits_fault, faults, kind_fault};
use super::store::{self, MeterRow};
use crate::archive::rows::at_rows;
use crate::suppliers;
use crate::vocabulary::paging::AskedPage;
use crate::vocabulary::quantity::MULTIPLIER_SCALE;

/// Serves the meters of a database.
#[derive(Clone, Debug)]
pub struct MeterRpc(pub Pool);

#[tonic::async_trait]
impl MeterService for MeterRpc {
    async fn add_settle_meter(
        &self,
        request: Request<AddSettleMeterRequest>,
    ) -> Result<Response<AddSettleMeterResponse>, Status> {
        let rows = add_settle_meter_request::METERS;
        let (call, message, ()) = begin(request)?.accept_with(|message, checker| {
            for (row, meter) in message.meters.iter().enumerate() {
                faults(meter, |field| rows.at(row).then(field)).for_each(|fault| checker.push(fault));
            }
            Some(())
        })?;
        let reply = write(&self.0, &call, &message, async |tx| {
            let stores: Vec<_> = message.meters.iter().map(|meter| meter.store_id.as_str()).collect();
            let unknown = suppliers::store::unknown(tx, &call, &stores).await?;
            let english = "is no store of the calling company";
            let mut objections = at_rows(Reason::SupplierNotFound, &unknown, rows, new_meter::STORE_ID, english);
            let numbers: Vec<_> = message.meters.iter().map(|meter| meter.factory_number.as_str()).collect();
            let taken = store::taken(tx, &call, &numbers).await?;
            objections.extend(at_rows(Reason::MeterNumberTaken, &taken, rows, new_meter::FACTORY_NUMBER, TAKEN));
            objections.into_result()?;
            let added = store::add(tx, &call, &message.meters).await;
            Ok(AddSettleMeterResponse { meter_ids: added.map_err(lost_race("meter_factory_number"))? })
        });
        Ok(reply.await?)
    }

    async fn upd_settle_meter(
        &self,
        request: Request<UpdSettleMeterRequest>,
    ) -> Result<Response<UpdSettleMeterResponse>, Status> {
        let (call, message, changed) = begin(request)?.accept_with(|message, _| message.meter.clone())?;
        let reply = write(&self.0, &call, &message, async |tx| {
            let field = |field| upd_settle_meter_request::METER.then(field);
            let Some(meter) = store::lock(tx, &call, &[&changed.meter_id]).await?.pop() else {
                return Err(refused(Reason::MeterNotFound, field(changed_meter::METER_ID), UNKNOWN));
            };
            let before = meter.measure();
            let measure = before.changed(&changed);
            if meter.is_installed() && measure != before {
                let english = "is installed: what it measures by stays";
                return Err(refused(Reason::MeterInUse, field(changed_meter::METER_ID), english));
            }
            // What it showed was said by so many digits.
            if measure.digits != before.digits && !store::shown_last(tx, &call, &meter.meter_id).await?.is_empty() {
                let english = "measured with the digits that it has; its reset is recorded first (RecordMeterReset)";
                let fault =
                    Fault::rule(field(changed_meter::DIGITS), english, "装置已用于计量，须先登记检修清零再改表码位数");
                return Err(Refusal::of(Reason::MeterInUse).fault(fault));
            }
            let digits = digits_fault(measure.kind, measure.digits, field(changed_meter::DIGITS));
            // The rest of a meter that was brought along with another kind may change.
            let fit = if (measure.kind, measure.utility) == (before.kind, before.utility) {
                None
            } else {
                kind_fault(measure.kind, measure.utility, field(changed_meter::METER_KIND))
            };
            let faults: Vec<_> = fit.into_iter().chain(digits).collect();
            if !faults.is_empty() {
                return Err(Refusal::for_faults(faults));
            }
            let race = || refused(Reason::MeterNumberTaken, field(changed_meter::FACTORY_NUMBER), TAKEN);
            store::change(tx, &call, &changed, measure).await.map_err(on_constraint("meter_factory_number", race))?;
            Ok(UpdSettleMeterResponse {})
        });
        Ok(reply.await?)
    }

    async fn record_meter_reset(
        &self,
        request: Request<RecordMeterResetRequest>,
    ) -> Result<Response<RecordMeterResetResponse>, Status> {
        let (call, message) = begin(request)?.accept()?;
        let reply = write(&self.0, &call, &message, async |tx| {
            let field = record_meter_reset_request::METER_ID;
            let Some(meter) = store::lock(tx, &call, &[message.meter_id.as_str()]).await?.pop() else {
                return Err(refused(Reason::MeterNotFound, field.into(), UNKNOWN));
            };
            if meter.is_installed() {
                return Err(refused(Reason::MeterInUse, field.into(), "is installed: a swap takes it off first"));
            }
            store::reset(tx, &call, &meter.meter_id).await?;
            Ok(RecordMeterResetResponse {})
        });
        Ok(reply.await?)
    }

    async fn del_settle_meter(
        &self,
        request: Request<DelSettleMeterRequest>,
    ) -> Result<Response<DelSettleMeterResponse>, Status> {
        let (call, message) = begin(request)?.accept()?;
        let id = message.meter.clone().unwrap_or_default().meter_id;
        let reply = write(&self.0, &call, &message, async |tx| {
            let field = del_settle_meter_request::METER.then(meter_id::METER_ID);
            if store::lock(tx, &call, &[id.as_str()]).await?.is_empty() {
                return Err(refused(Reason::MeterNotFound, field, UNKNOWN));
            }
            // A locked meter is not installed meanwhile.
            if store::has_measured(tx, &call, &id).await? {
                return Err(refused(Reason::MeterInUse, field, "has measured, and is only taken off"));
            }
            store::delete(tx, &call, &id).await?;
            Ok(DelSettleMeterResponse {})
        });
        Ok(reply.await?)
    }

    async fn query_settle_meter(
        &self,
        request: Request<QuerySettleMeterRequest>,
    ) -> Result<Response<QuerySettleMeterResponse>, Status> {
        let (call, message) = begin(request)?.accept()?;
        let (asked, filter) = (AskedPage::read(message.page), message.filter.unwrap_or_default());
        let found = store::list(&self.0, &call.tenant.id, &filter, asked.page).await.map_err(Refusal::from)?;
        Ok(Response::new(QuerySettleMeterResponse { meters: found.into_iter().map(meter).collect() }))
    }
}

const TAKEN: &str = "is that of another meter of the company";
const UNKNOWN: &str = "is no meter of the calling company";

fn refused(reason: Reason, field: FieldPath, english: &str) -> Refusal {
    Refusal::of(reason).fault(Fault::rule(field, english, reason.text()))
}

fn meter(row: MeterRow) -> Meter {
    let installed = row.is_installed();
    let MeterRow {
        meter_id,
        store_id,
        factory_number,
        utility: Stored(utility),
        kind: Stored(kind),
        digits,
        multiplier,
        quantity_unit,
        settlement_account_id: _,
        location,
        read_channel,
        remote,
        reading_order,
    } = row;
    Meter {
        meter_id,
        store_id,
        factory_number,
        utility: utility.into(),
        meter_kind: kind.into(),
        meter_multiplier: at_scale(multiplier, MULTIPLIER_SCALE),
        meter_location: location,
        digits: digits.unwrap_or_default(),
        reading_channel: Stored::given(read_channel).into(),
        remote_reading: Stored::given(remote).into(),
        reading_order,
        quantity_unit,
        installation_state: if installed { InstallType::Running } else { InstallType::None }.into(),
    }
}
