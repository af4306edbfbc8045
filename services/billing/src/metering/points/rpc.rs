//! The methods of `BillingPointService`.

use communal_kit::clock::Clock;
use communal_kit::objections::Objections;
use communal_kit::pool::Pool;
use communal_kit::refusal::Refusal;
use communal_kit::request::begin;
use communal_kit::write::write;
use communal_proto::billing::v1::billing_point_service_server::BillingPointService;
use communal_proto::billing::v1::fields::{
    account_to_bill, create_billing_info_request, discard_billing_point_request,
};
use communal_proto::billing::v1::{
    CreateBillingInfoRequest, CreateBillingInfoResponse, DiscardBillingPointRequest, DiscardBillingPointResponse,
    NormalRetroType, Reason,
};
use communal_proto::contract::v1::{FaultKind, Reason as Common};
use communal_proto::{Fault, Reason as _};
use tonic::{Request, Response, Status};

use super::rules::making;
use super::store;
use crate::archive::settlement_accounts;
use crate::archive::settlement_accounts::lifecycle::unknown_account;

/// Serves billing points.
#[derive(Clone, Debug)]
pub struct BillingPointRpc {
    pool: Pool,
    clock: Clock,
}

impl BillingPointRpc {
    /// Serves the billing points of a database.
    #[must_use]
    pub fn new(pool: Pool, clock: Clock) -> Self {
        Self { pool, clock }
    }
}

#[tonic::async_trait]
impl BillingPointService for BillingPointRpc {
    async fn create_billing_info(
        &self,
        request: Request<CreateBillingInfoRequest>,
    ) -> Result<Response<CreateBillingInfoResponse>, Status> {
        let (call, message) = begin(request)?.accept()?;
        let today = self.clock.today();
        let reply = write(&self.pool, &call, &message, async |tx| {
            let ids: Vec<_> = message.accounts.iter().map(|account| account.settlement_account_id.as_str()).collect();
            let Some(basis) = store::basis(tx, &call, &ids, today).await? else {
                return Err(Refusal::of(Common::Conflict));
            };
            let mut objections = Objections::default();
            let mut makings = Vec::with_capacity(ids.len());
            for (row, id) in ids.into_iter().enumerate() {
                let field = create_billing_info_request::ACCOUNTS.at(row).then(account_to_bill::SETTLEMENT_ACCOUNT_ID);
                let Some(standing) = basis.standing(id) else {
                    objections.push(Reason::SettlementAccountNotFound, unknown_account(field));
                    continue;
                };
                match making(standing, field) {
                    Ok(making) => makings.push((id, making)),
                    Err((reason, fault)) => objections.push(reason, fault),
                }
            }
            objections.into_result()?;
            store::make(tx, &call, &basis, &makings).await?;
            Ok(CreateBillingInfoResponse {})
        });
        Ok(reply.await?)
    }

    async fn discard_billing_point(
        &self,
        request: Request<DiscardBillingPointRequest>,
    ) -> Result<Response<DiscardBillingPointResponse>, Status> {
        let (call, message, id) = begin(request)?.accept_with(|message, checker| {
            if message.run_kind() == NormalRetroType::Normal {
                let (description, text) = (
                    "is 1: a normal point cannot be discarded; make it again (CreateBillingInfo)".to_owned(),
                    "周期计费信息不能废弃，请重新生成".to_owned(),
                );
                let field = discard_billing_point_request::RUN_KIND.into();
                checker.push(Fault { field, kind: FaultKind::Code, description, text });
            }
            Some(message.settlement_account_id.clone())
        })?;
        let reply = write(&self.pool, &call, &message, async |tx| {
            let field = discard_billing_point_request::SETTLEMENT_ACCOUNT_ID;
            if settlement_accounts::store::lock_alone(tx, &call, &[&id]).await?.is_empty() {
                return Err(Refusal::of(Reason::SettlementAccountNotFound).fault(unknown_account(field)));
            }
            if !store::discard_retro(tx, &call, &id).await? {
                let reason = Reason::RetroPointNotFound;
                let english = "has no retro point that is not charged off";
                return Err(Refusal::of(reason).fault(Fault::rule(field, english, reason.text())));
            }
            Ok(DiscardBillingPointResponse {})
        });
        Ok(reply.await?)
    }
}
