//! The calls of `SupplierService`.

use communal_kit::pool::Pool;
use communal_kit::refusal::Refusal;
use communal_kit::request::begin;
use communal_kit::write::write;
use communal_proto::billing::v1::supplier_service_server::SupplierService;
use communal_proto::billing::v1::{
    ListStoresRequest, ListStoresResponse, RegisterStoresRequest, RegisterStoresResponse,
};
use tonic::{Request, Response, Status};

use super::store;
use crate::{MOST_UNPAGED_ROWS, answer_too_large};

/// Serves stores.
#[derive(Clone, Debug)]
pub struct SupplierRpc {
    pool: Pool,
}

impl SupplierRpc {
    /// Stores of this database.
    #[must_use]
    pub fn new(pool: Pool) -> Self {
        Self { pool }
    }
}

#[tonic::async_trait]
impl SupplierService for SupplierRpc {
    async fn register_stores(
        &self,
        request: Request<RegisterStoresRequest>,
    ) -> Result<Response<RegisterStoresResponse>, Status> {
        let (call, message) = begin(request)?.accept()?;
        let reply = write(&self.pool, &call, &message, async |tx| {
            store::register(tx, &call, &message.stores).await?;
            Ok(RegisterStoresResponse {})
        });
        Ok(reply.await?)
    }

    async fn list_stores(&self, request: Request<ListStoresRequest>) -> Result<Response<ListStoresResponse>, Status> {
        let (call, _) = begin(request)?.accept()?;
        let stores = store::list(&self.pool, &call.tenant.id, MOST_UNPAGED_ROWS.saturating_add(1))
            .await
            .map_err(Refusal::from)?;
        if i64::try_from(stores.len()).is_ok_and(|n| n > MOST_UNPAGED_ROWS) {
            return Err(answer_too_large(MOST_UNPAGED_ROWS, "营业网点过多").into());
        }
        Ok(Response::new(ListStoresResponse { stores }))
    }
}
