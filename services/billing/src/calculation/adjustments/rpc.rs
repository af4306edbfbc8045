//! The methods of `AdjustmentService`.

use std::collections::HashSet;

use chrono::NaiveDate;
use communal_kit::call::Call;
use communal_kit::clock::Clock;
use communal_kit::objections::Objections;
use communal_kit::pool::Pool;
use communal_kit::refusal::Refusal;
use communal_kit::request::begin;
use communal_kit::write::write;
use communal_proto::billing::v1::adjustment_service_server::AdjustmentService;
use communal_proto::billing::v1::fields::{adjusted_register, repair_dosage_back_request};
use communal_proto::billing::v1::{
    NormalRetroType, Reason, RepairDosageBackRequest, RepairDosageBackResponse, RepairFeesBackRequest,
    RepairFeesBackResponse,
};
use communal_proto::contract::v1::Reason as Common;
use communal_proto::{Fault, FieldPath, Reason as _};
use rust_decimal::Decimal;
use sqlx::PgConnection;
use tonic::{Request, Response, Status};

use super::rules;
use crate::archive::meters;
use crate::archive::settlement_accounts::lifecycle::unknown_account;
use crate::metering::points;
use crate::metering::points::store::Basis;

/// Serves adjustments.
#[derive(Clone, Debug)]
pub struct AdjustmentRpc {
    pool: Pool,
    clock: Clock,
    /// The largest fee.
    fee_cap: Decimal,
}

impl AdjustmentRpc {
    /// Serves the adjustments of a database.
    #[must_use]
    pub fn new(pool: Pool, clock: Clock, fee_cap: Decimal) -> Self {
        Self { pool, clock, fee_cap }
    }
}

/// Locks accounts, and returns what their points are made of, with those that have an open retro point.
async fn basis(
    tx: &mut PgConnection,
    call: &Call,
    ids: &[&str],
    today: NaiveDate,
) -> Result<(Basis, HashSet<String>), Refusal> {
    let basis = points::store::basis(tx, call, ids, today).await?;
    let basis = basis.ok_or_else(|| Refusal::of(Common::Conflict))?;
    let open = points::store::lock_uncharged(tx, call, ids).await?;
    let retro = open.into_iter().filter(|point| point.key.kind == NormalRetroType::Retro);
    Ok((basis, retro.map(|point| point.key.settlement_account_id).collect()))
}

/// The account month of an account's retro point, or the objection to it.
fn month(
    (basis, open): &(Basis, HashSet<String>),
    id: &str,
    field: FieldPath,
    objections: &mut Objections,
) -> Option<i32> {
    let Some(standing) = basis.standing(id) else {
        objections.push(Reason::SettlementAccountNotFound, unknown_account(field));
        return None;
    };
    let month = rules::month(standing, open.contains(id), field);
    month.map_err(|(reason, fault)| objections.push(reason, fault)).ok()
}

#[tonic::async_trait]
impl AdjustmentService for AdjustmentRpc {
    async fn repair_dosage_back(
        &self,
        request: Request<RepairDosageBackRequest>,
    ) -> Result<Response<RepairDosageBackResponse>, Status> {
        let (call, message, given) = begin(request)?.accept_with(rules::quantities)?;
        let today = self.clock.today();
        let reply = write(&self.pool, &call, &message, async |tx| {
            let id = given.settlement_account_id.as_str();
            let found = basis(tx, &call, &[id], today).await?;
            let mut objections = Objections::default();
            let month = month(&found, id, rules::account_place(), &mut objections);
            objections.into_result()?;
            if meters::store::read(&mut *tx, &call.tenant.id, &[&given.meter_id]).await?.is_empty() {
                let field = repair_dosage_back_request::REGISTERS.at(0).then(adjusted_register::METER_ID);
                let reason = Reason::MeterNotFound;
                let fault = Fault::rule(field, "is no meter of the company", reason.text());
                return Err(Refusal::of(reason).fault(fault));
            }
            let account = found.0.required_snapshot(id)?;
            let snapshot =
                rules::with_quantities(&account, &given).map_err(|(reason, fault)| Refusal::of(reason).fault(fault))?;
            points::store::add_retro(tx, &call, &[(id, month.unwrap_or_default(), snapshot)]).await?;
            Ok(RepairDosageBackResponse {})
        });
        Ok(reply.await?)
    }

    async fn repair_fees_back(
        &self,
        request: Request<RepairFeesBackRequest>,
    ) -> Result<Response<RepairFeesBackResponse>, Status> {
        let (call, message, fees) =
            begin(request)?.accept_with(|message, checker| Some(rules::fees(&message.fees, self.fee_cap, checker)))?;
        let today = self.clock.today();
        let reply = write(&self.pool, &call, &message, async |tx| {
            let ids: Vec<_> = fees.iter().map(|(id, _)| id.as_str()).collect();
            let found = basis(tx, &call, &ids, today).await?;
            let mut objections = Objections::default();
            let mut new = Vec::with_capacity(fees.len());
            for (row, (id, fee)) in fees.iter().enumerate() {
                if let Some(month) = month(&found, id, rules::fee_place(row), &mut objections) {
                    let account = found.0.required_snapshot(id)?;
                    let snapshot = rules::with_fee(&account, *fee).map_err(Refusal::internal)?;
                    new.push((id.as_str(), month, snapshot));
                }
            }
            objections.into_result()?;
            points::store::add_retro(tx, &call, &new).await?;
            Ok(RepairFeesBackResponse {})
        });
        Ok(reply.await?)
    }
}
