//! The gRPC service that administers credentials, which is the same in every service. It is a layer
//! above `identity`, because it accepts calls like every other RPC.

use chrono::{DateTime, TimeDelta, Utc};
use communal_proto::contract::v1::FaultKind;
use communal_proto::identity::v1 as pb;
use communal_proto::identity::v1::identity_service_server::IdentityService;
use communal_proto::{Checked, Fault};
use std::sync::Arc;
use tonic::{Request, Response, Status};

use crate::clock::Clock;
use crate::identity::policy::Policy;
use crate::identity::store::{self, IdentityError, NewChannel};
use crate::identity::{Authenticator, SealingKey};
use crate::pool::Pool;
use crate::refusal::Refusal;
use crate::request::begin_without_tenant;

/// Serves `communal.identity.v1.IdentityService`.
#[derive(Clone, Debug)]
pub struct IdentityRpc {
    pool: Pool,
    sealing: Option<SealingKey>,
    clock: Clock,
    authenticator: Arc<Authenticator>,
}

impl IdentityRpc {
    /// Creates the administration of a service's own credentials.
    #[must_use]
    pub fn new(pool: Pool, sealing: Option<SealingKey>, clock: Clock, authenticator: Arc<Authenticator>) -> Self {
        Self { pool, sealing, clock, authenticator }
    }

    fn policy(&self) -> &Policy {
        self.authenticator.policy()
    }
}

impl From<IdentityError> for Refusal {
    fn from(error: IdentityError) -> Self {
        let fault = |field: &str, text: &str| Refusal::for_faults(vec![Fault::rule(field, error.to_string(), text)]);
        match &error {
            IdentityError::ChannelExists(_) => fault("channel_id", "渠道已存在"),
            IdentityError::NoChannel(_) => fault("channel_id", "渠道不存在"),
            IdentityError::NoOperator(_) => fault("operator_id", "操作员不存在"),
            IdentityError::NoTenant => fault("tenant_ids", "租户不存在"),
            IdentityError::UnknownTenant(_) => fault("tenant_id", "租户不存在"),
            IdentityError::TenantExists { kind, name, .. } => {
                let kind = kind.map(|_| ("tenant.kind", "租户已存在且类型不同，类型不能变更".to_owned()));
                let name = name
                    .as_ref()
                    .map(|name| ("tenant.name", format!("租户已存在，名称为{name}，请用RenameTenant改名")));
                let faults = kind.into_iter().chain(name);
                Refusal::for_faults(faults.map(|(field, text)| Fault::rule(field, error.to_string(), text)).collect())
            }
            IdentityError::NoMethod(_) => fault("methods", "接口不存在"),
            IdentityError::Identifier(_) => fault("id", "标识应为1至30个可见字符"),
            IdentityError::TooLong { field, most, .. } => fault(field, &format!("标识不能超过{most}个字符")),
            IdentityError::Proof => fault("proof", "本服务不支持该验证方式"),
            IdentityError::NoSealingKey | IdentityError::Sealing(_) => Refusal::internal(error),
            IdentityError::Storage(_) => match error {
                IdentityError::Storage(storage) => storage.into(),
                other => Refusal::internal(other),
            },
        }
    }
}

fn instant(time: DateTime<Utc>) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: time.timestamp(), nanos: time.timestamp_subsec_nanos().cast_signed() }
}

fn days(days: i32) -> Option<TimeDelta> {
    (days > 0).then(|| TimeDelta::days(days.into()))
}

/// Checks a request, and logs which administrator made it.
fn administer<M: Checked>(request: Request<M>) -> Result<M, Refusal> {
    let (caller, message) = begin_without_tenant(request)?;
    tracing::info!(channel.id = caller.channel_id(), method = caller.method, "administration of credentials");
    Ok(message)
}

#[tonic::async_trait]
impl IdentityService for IdentityRpc {
    async fn register_tenant(
        &self,
        request: Request<pb::RegisterTenantRequest>,
    ) -> Result<Response<pb::RegisterTenantResponse>, Status> {
        let tenant = administer(request)?.tenant.unwrap_or_default();
        if !self.policy().tenant_kinds.contains(&tenant.kind()) {
            let fault = Fault {
                field: "tenant.kind".into(),
                kind: FaultKind::Code,
                description: "is not a kind this service bills for".into(),
                text: "本服务不支持该租户类型".into(),
            };
            return Err(Refusal::for_faults(vec![fault]).into());
        }
        self.policy().check_length("tenant.tenant_id", &tenant.tenant_id).map_err(Refusal::from)?;
        let mut connection = self.pool.lease().await.map_err(Refusal::from)?;
        store::register_tenant(&mut connection, &tenant.tenant_id, tenant.kind(), &tenant.name)
            .await
            .map_err(Refusal::from)?;
        connection.done();
        Ok(Response::new(pb::RegisterTenantResponse {}))
    }

    async fn rename_tenant(
        &self,
        request: Request<pb::RenameTenantRequest>,
    ) -> Result<Response<pb::RenameTenantResponse>, Status> {
        let message = administer(request)?;
        let mut connection = self.pool.lease().await.map_err(Refusal::from)?;
        store::rename_tenant(&mut connection, &message.tenant_id, &message.name).await.map_err(Refusal::from)?;
        connection.done();
        Ok(Response::new(pb::RenameTenantResponse {}))
    }

    async fn list_tenants(
        &self,
        request: Request<pb::ListTenantsRequest>,
    ) -> Result<Response<pb::ListTenantsResponse>, Status> {
        administer(request)?;
        let tenants = store::tenants(&self.pool).await.map_err(Refusal::from)?;
        let tenants = tenants
            .into_iter()
            .map(|(tenant, name)| pb::Tenant { tenant_id: tenant.id, kind: tenant.kind.into(), name })
            .collect();
        Ok(Response::new(pb::ListTenantsResponse { tenants }))
    }

    async fn add_channel(
        &self,
        request: Request<pb::AddChannelRequest>,
    ) -> Result<Response<pb::AddChannelResponse>, Status> {
        let message = administer(request)?;
        if !self.policy().proofs.contains(&message.proof()) {
            return Err(Refusal::from(IdentityError::Proof).into());
        }
        self.policy().check_length("channel_id", &message.channel_id).map_err(Refusal::from)?;
        let new = NewChannel {
            channel_id: &message.channel_id,
            name: &message.name,
            proof: message.proof(),
            admin: message.admin,
            tenant_ids: &message.tenant_ids,
            methods: &message.methods,
            key: None,
            valid_for: days(message.valid_days),
        };
        let mut transaction = self.pool.begin().await.map_err(Refusal::from)?;
        let key = store::add_channel(&mut transaction, &new, self.sealing.as_ref(), self.clock.machine())
            .await
            .map_err(Refusal::from)?;
        transaction.commit().await.map_err(Refusal::from)?;
        let key = key.map(|k| k.expose().to_owned()).unwrap_or_default();
        Ok(Response::new(pb::AddChannelResponse { key }))
    }

    async fn rotate_channel_key(
        &self,
        request: Request<pb::RotateChannelKeyRequest>,
    ) -> Result<Response<pb::RotateChannelKeyResponse>, Status> {
        let message = administer(request)?;
        let overlap = TimeDelta::hours(message.overlap_hours.into());
        let mut transaction = self.pool.begin().await.map_err(Refusal::from)?;
        let key = store::rotate_key(
            &mut transaction,
            &message.channel_id,
            self.sealing.as_ref(),
            self.clock.machine(),
            overlap,
            days(message.valid_days),
        )
        .await
        .map_err(Refusal::from)?;
        transaction.commit().await.map_err(Refusal::from)?;
        Ok(Response::new(pb::RotateChannelKeyResponse { key: key.expose().to_owned() }))
    }

    async fn disable_channel(
        &self,
        request: Request<pb::DisableChannelRequest>,
    ) -> Result<Response<pb::DisableChannelResponse>, Status> {
        let message = administer(request)?;
        let mut connection = self.pool.lease().await.map_err(Refusal::from)?;
        store::disable_channel(&mut connection, &message.channel_id, self.clock.machine())
            .await
            .map_err(Refusal::from)?;
        connection.done();
        Ok(Response::new(pb::DisableChannelResponse {}))
    }

    async fn list_channels(
        &self,
        request: Request<pb::ListChannelsRequest>,
    ) -> Result<Response<pb::ListChannelsResponse>, Status> {
        administer(request)?;
        let channels = store::channels(&self.pool).await.map_err(Refusal::from)?;
        let channels = channels
            .into_iter()
            .map(|c| pb::Channel {
                key_valid_until: c.keys.first().and_then(|k| k.valid_until).map(instant),
                disabled_at: c.disabled_at.map(instant),
                tenant_ids: c.tenants.into_iter().map(|t| t.id).collect(),
                channel_id: c.channel_id,
                name: c.name,
                proof: c.proof.into(),
                admin: c.admin,
                methods: c.methods,
            })
            .collect();
        Ok(Response::new(pb::ListChannelsResponse { channels }))
    }

    async fn register_operator(
        &self,
        request: Request<pb::RegisterOperatorRequest>,
    ) -> Result<Response<pb::RegisterOperatorResponse>, Status> {
        let operator = administer(request)?.operator.unwrap_or_default();
        self.policy().check_length("operator.operator_id", &operator.operator_id).map_err(Refusal::from)?;
        let mut transaction = self.pool.begin().await.map_err(Refusal::from)?;
        store::register_operator(&mut transaction, &operator.operator_id, &operator.name, &operator.tenant_ids)
            .await
            .map_err(Refusal::from)?;
        transaction.commit().await.map_err(Refusal::from)?;
        Ok(Response::new(pb::RegisterOperatorResponse {}))
    }

    async fn disable_operator(
        &self,
        request: Request<pb::DisableOperatorRequest>,
    ) -> Result<Response<pb::DisableOperatorResponse>, Status> {
        let message = administer(request)?;
        let mut connection = self.pool.lease().await.map_err(Refusal::from)?;
        store::disable_operator(&mut connection, &message.operator_id, self.clock.machine())
            .await
            .map_err(Refusal::from)?;
        connection.done();
        Ok(Response::new(pb::DisableOperatorResponse {}))
    }

    async fn list_operators(
        &self,
        request: Request<pb::ListOperatorsRequest>,
    ) -> Result<Response<pb::ListOperatorsResponse>, Status> {
        administer(request)?;
        let operators = store::operators(&self.pool).await.map_err(Refusal::from)?;
        let operators = operators
            .into_iter()
            .map(|o| pb::Operator {
                operator_id: o.operator_id,
                name: o.name,
                tenant_ids: o.tenant_ids,
                disabled_at: o.disabled_at.map(instant),
            })
            .collect();
        Ok(Response::new(pb::ListOperatorsResponse { operators }))
    }
}
