//! The methods of `CatalogueService`.

use communal_kit::database::on_constraint;
use communal_kit::paging::Cap;
use communal_kit::pool::Pool;
use communal_kit::refusal::Refusal;
use communal_kit::request::begin;
use communal_kit::write::write;
use communal_proto::billing::v1::catalogue_service_server::CatalogueService;
use communal_proto::billing::v1::fields::{
    account_item, category_item, register_account_items_request, register_category_items_request,
};
use communal_proto::billing::v1::{
    ListAccountItemsRequest, ListAccountItemsResponse, ListCategoryItemsRequest, ListCategoryItemsResponse,
    RegisterAccountItemsRequest, RegisterAccountItemsResponse, RegisterCategoryItemsRequest,
    RegisterCategoryItemsResponse,
};
use tonic::{Request, Response, Status};

use super::store;
use crate::reasons::{category_item_not_found, identifier_taken};

/// Serves the catalogue of a database.
#[derive(Clone, Debug)]
pub struct CatalogueRpc(pub Pool);

#[tonic::async_trait]
impl CatalogueService for CatalogueRpc {
    async fn register_category_items(
        &self,
        request: Request<RegisterCategoryItemsRequest>,
    ) -> Result<Response<RegisterCategoryItemsResponse>, Status> {
        let (call, message) = begin(request)?.accept()?;
        let reply = write(&self.0, &call, &message, async |tx| {
            for (row, given) in message.items.iter().enumerate() {
                if !store::register_category_item(tx, &call, given).await? {
                    let place = register_category_items_request::ITEMS.at(row);
                    return Err(identifier_taken(place.then(category_item::CATEGORY_ITEM)));
                }
            }
            Ok(RegisterCategoryItemsResponse {})
        });
        Ok(reply.await?)
    }

    async fn list_category_items(
        &self,
        request: Request<ListCategoryItemsRequest>,
    ) -> Result<Response<ListCategoryItemsResponse>, Status> {
        let (call, _) = begin(request)?.accept()?;
        let found = store::list_category_items(&self.0, &call.tenant.id, Cap::UNPAGED.limit()).await;
        let items = Cap::UNPAGED.check(found.map_err(Refusal::from)?, "分类项目过多")?;
        Ok(Response::new(ListCategoryItemsResponse { items }))
    }

    async fn register_account_items(
        &self,
        request: Request<RegisterAccountItemsRequest>,
    ) -> Result<Response<RegisterAccountItemsResponse>, Status> {
        let (call, message) = begin(request)?.accept()?;
        let reply = write(&self.0, &call, &message, async |tx| {
            for (row, given) in message.items.iter().enumerate() {
                let place = |field| register_account_items_request::ITEMS.at(row).then(field);
                let no_item = || category_item_not_found(place(account_item::MAIN_CATEGORY_ITEM));
                let registered = store::register_account_item(tx, &call, given).await;
                if !registered.map_err(on_constraint("account_item_main", no_item))? {
                    return Err(identifier_taken(place(account_item::ACCOUNT_ITEM)));
                }
            }
            Ok(RegisterAccountItemsResponse {})
        });
        Ok(reply.await?)
    }

    async fn list_account_items(
        &self,
        request: Request<ListAccountItemsRequest>,
    ) -> Result<Response<ListAccountItemsResponse>, Status> {
        let (call, _) = begin(request)?.accept()?;
        let found = store::list_account_items(&self.0, &call.tenant.id, Cap::UNPAGED.limit()).await;
        let items = Cap::UNPAGED.check(found.map_err(Refusal::from)?, "会计科目过多")?;
        Ok(Response::new(ListAccountItemsResponse { items }))
    }
}
