//! The methods of `SupplierService`.

use communal_kit::database::on_constraint;
use communal_kit::paging::Cap;
use communal_kit::pool::Pool;
use communal_kit::refusal::Refusal;
use communal_kit::request::begin;
use communal_kit::write::write;
use communal_proto::billing::v1::fields::{self, node, register_nodes_request, register_stores_request};
use communal_proto::billing::v1::supplier_service_server::SupplierService;
use communal_proto::billing::v1::{
    ListNodesRequest, ListNodesResponse, ListStoresRequest, ListStoresResponse, RegisterNodesRequest,
    RegisterNodesResponse, RegisterStoresRequest, RegisterStoresResponse,
};
use tonic::{Request, Response, Status};

use super::rules::elsewhere;
use super::store;
use crate::reasons::{identifier_taken, store_not_found};

/// Serves stores and nodes.
#[derive(Clone, Debug)]
pub struct SupplierRpc {
    pool: Pool,
}

impl SupplierRpc {
    /// Serves the stores and nodes of a database.
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
            let ids: Vec<_> = message.stores.iter().map(|given| given.store_id.as_str()).collect();
            let found = store::stores_elsewhere(tx, &call, &ids).await?;
            elsewhere(&found, register_stores_request::STORES, fields::store::STORE_ID).into_result()?;
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

    async fn register_nodes(
        &self,
        request: Request<RegisterNodesRequest>,
    ) -> Result<Response<RegisterNodesResponse>, Status> {
        let (call, message) = begin(request)?.accept()?;
        let reply = write(&self.pool, &call, &message, async |tx| {
            let ids: Vec<_> = message.nodes.iter().map(|given| given.node_id.as_str()).collect();
            let found = store::nodes_elsewhere(tx, &call, &ids).await?;
            elsewhere(&found, register_nodes_request::NODES, node::NODE_ID).into_result()?;
            for (row, given) in message.nodes.iter().enumerate() {
                let place = |field| register_nodes_request::NODES.at(row).then(field);
                let no_store = || store_not_found(place(node::STORE_ID));
                if !store::register_node(tx, &call, given).await.map_err(on_constraint("node_store", no_store))? {
                    return Err(identifier_taken(place(node::NODE_ID)));
                }
            }
            Ok(RegisterNodesResponse {})
        });
        Ok(reply.await?)
    }

    async fn list_nodes(&self, request: Request<ListNodesRequest>) -> Result<Response<ListNodesResponse>, Status> {
        let (call, _) = begin(request)?.accept()?;
        let found =
            store::list_nodes(&self.pool, &call.tenant.id, Cap::UNPAGED.limit()).await.map_err(Refusal::from)?;
        let nodes = Cap::UNPAGED.check(found, "管网节点过多")?;
        Ok(Response::new(ListNodesResponse { nodes }))
    }
}
