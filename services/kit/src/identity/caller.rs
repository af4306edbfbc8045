//! The caller of an authenticated call.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use communal_proto::contract::v1::{Reason as Common, Role};
use communal_proto::identity::v1::TenantKind;

use crate::call::Call;
use crate::identity::policy::Wording;
use crate::identity::share::ChannelShare;
use crate::identity::store::{ChannelRecord, OperatorRecord};
use crate::refusal::Refusal;

/// An authenticated caller, before its tenant is checked.
#[derive(Debug)]
pub struct Caller {
    pub(crate) channel: Arc<ChannelRecord>,
    pub(crate) operator: Option<Arc<OperatorRecord>>,
    /// The tenant named in the metadata.
    pub(crate) tenant_id: Option<String>,
    pub(crate) request_id: Option<String>,
    pub(crate) trace_id: String,
    pub(crate) method: String,
    pub(crate) at: DateTime<Utc>,
    pub(crate) wording: &'static Wording,
    /// The hash that the request must have, if a gateway proved the call's signature states.
    pub(crate) vouched: Option<[u8; 32]>,
}

impl Caller {
    /// Returns the identifier of the channel.
    #[must_use]
    pub fn channel_id(&self) -> &str {
        &self.channel.channel_id
    }

    /// Returns the channel's share of the service, which is kept with its cached record; `make` creates
    /// it the first time.
    pub(crate) fn share(&self, make: impl FnOnce(&str) -> Arc<ChannelShare>) -> &Arc<ChannelShare> {
        self.channel.share.get_or_init(|| make(&self.channel.channel_id))
    }

    /// Returns the call of this caller for a tenant.
    ///
    /// # Errors
    /// Returns `OPERATOR_REFUSED` if there is no operator, and `TENANT_REFUSED` if the channel or the
    /// operator does not act for the tenant. Neither reveals whether the tenant exists.
    pub fn for_tenant(&self, tenant_id: &str) -> Result<Call, Refusal> {
        let outcome = self.of_tenant(tenant_id);
        if let Err(refusal) = &outcome {
            metrics::counter!("communal_refused_credentials_total", "reason" => refusal.reason()).increment(1);
        }
        outcome
    }

    fn of_tenant(&self, tenant_id: &str) -> Result<Call, Refusal> {
        let Some(operator) = &self.operator else {
            return Err(Refusal::new(Common::OperatorRefused, self.wording.operator));
        };
        let tenant = self.channel.tenants.iter().find(|t| t.id == tenant_id);
        let Some(tenant) = tenant.filter(|_| operator.tenant_ids.iter().any(|id| id == tenant_id)) else {
            return Err(Refusal::new(Common::TenantRefused, self.wording.tenant));
        };
        Ok(Call {
            tenant: tenant.clone(),
            operator_id: operator.operator_id.clone(),
            operator_name: operator.name.clone(),
            channel_id: self.channel.channel_id.clone(),
            request_id: self.request_id.clone(),
            trace_id: self.trace_id.clone(),
            method: self.method.clone(),
            at: self.at,
        })
    }

    /// Checks that tenants of this kind may call the method, by its `role` in the contract.
    ///
    /// # Errors
    /// Returns the service's refusal if the tenant is of another kind.
    pub(crate) fn check_role(&self, call: &Call) -> Result<(), Refusal> {
        let required = match communal_proto::required_role(&self.method) {
            Role::Unspecified => return Ok(()),
            Role::NetworkCompany => TenantKind::NetworkCompany,
            Role::RetailCompany => TenantKind::RetailCompany,
        };
        if call.tenant.kind == required { Ok(()) } else { Err((self.wording.role)(required)) }
    }
}
