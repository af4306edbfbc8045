//! The RPCs of settings.

use communal_kit::pool::Pool;
use communal_kit::refusal::Refusal;
use communal_kit::request::begin_in_tenant;
use communal_kit::write::write;
use communal_proto::community::v1::community_service_server::CommunityService;
use communal_proto::community::v1::{
    GetCommunitySettingsRequest, GetCommunitySettingsResponse, PutCommunitySettingsRequest,
    PutCommunitySettingsResponse,
};
use tonic::{Request, Response, Status};

use super::{rules, store};

/// Serves the settings of communities.
#[derive(Clone, Debug)]
pub struct CommunityRpc {
    pool: Pool,
}

impl CommunityRpc {
    /// Serves the settings of a database.
    #[must_use]
    pub fn new(pool: Pool) -> Self {
        Self { pool }
    }
}

#[tonic::async_trait]
impl CommunityService for CommunityRpc {
    /// Locks: the request id, then the settings.
    async fn put_community_settings(
        &self,
        request: Request<PutCommunitySettingsRequest>,
    ) -> Result<Response<PutCommunitySettingsResponse>, Status> {
        let (call, message, changes) = begin_in_tenant(request, |m| &m.community_id)?.accept_with(rules::of_put)?;
        let reply = write(&self.pool, &call, &message, async |tx| {
            let settings = store::lock(tx, &call).await?;
            store::update(tx, &call, changes.applied_to(settings)).await?;
            Ok(PutCommunitySettingsResponse {})
        });
        Ok(reply.await?)
    }

    async fn get_community_settings(
        &self,
        request: Request<GetCommunitySettingsRequest>,
    ) -> Result<Response<GetCommunitySettingsResponse>, Status> {
        let (call, _) = begin_in_tenant(request, |m| &m.community_id)?.accept()?;
        let settings = store::read(&self.pool, &call).await.map_err(Refusal::from)?;
        Ok(Response::new(GetCommunitySettingsResponse { settings: rules::listed(settings) }))
    }
}
