//! The methods of `SupplierService`.

use communal_kit::paging::Cap;
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

/// Serves stores.
#[derive(Clone, Debug)]
pub struct SupplierRpc {
    pool: Pool,
}

impl SupplierRpc {
    /// Serves the stores of a database.
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
        let found = store::list(&self.pool, &call.tenant.id, Cap::UNPAGED.limit()).await.map_err(Refusal::from)?;
        let stores = Cap::UNPAGED.check(found, "营业网点过多")?;
        Ok(Response::new(ListStoresResponse { stores }))
    }
}
