//! The methods of `ApprovalRatioService`.

use communal_kit::pool::Pool;
use communal_kit::refusal::Refusal;
use communal_kit::request::begin;
use communal_kit::write::write;
use communal_proto::billing::v1::approval_ratio_service_server::ApprovalRatioService;
use communal_proto::billing::v1::fields::add_approval_ratio_request::RATIO;
use communal_proto::billing::v1::fields::new_approval_ratio::{RETAIL_STORE_ID, UTILITY};
use communal_proto::billing::v1::{
    AddApprovalRatioRequest, AddApprovalRatioResponse, DeleteApprovalRatioRequest, DeleteApprovalRatioResponse,
    QueryApprovalRatioRequest, QueryApprovalRatioResponse, UpdateApprovalRatioRequest, UpdateApprovalRatioResponse,
};
use tonic::{Request, Response, Status};

use super::store;
use crate::reasons::{record_exists, record_not_found, store_not_found};
use crate::reference::utilities::require_one_of;
use crate::suppliers::store::is_own;
use crate::vocabulary::paging::AskedPage;
use crate::vocabulary::tariff::Utility;

/// The utility that is billed by demand.
const UTILITIES: [Utility; 1] = [Utility::Electricity];

/// Serves the approval ratios of a database.
#[derive(Clone, Debug)]
pub struct ApprovalRatioRpc(pub Pool);

#[tonic::async_trait]
impl ApprovalRatioService for ApprovalRatioRpc {
    async fn add_approval_ratio(
        &self,
        request: Request<AddApprovalRatioRequest>,
    ) -> Result<Response<AddApprovalRatioResponse>, Status> {
        let (call, message, new) = begin(request)?.accept_with(|message, checker| {
            let new = message.ratio.clone()?;
            require_one_of(&UTILITIES, new.utility(), RATIO.then(UTILITY), checker);
            Some(new)
        })?;
        let reply = write(&self.0, &call, &message, async |tx| {
            if !is_own(tx, &call, &new.retail_company_id, &new.retail_store_id, None).await? {
                return Err(store_not_found(RATIO.then(RETAIL_STORE_ID)));
            }
            if !store::add(tx, &call, &new).await? {
                return Err(record_exists(RATIO));
            }
            Ok(AddApprovalRatioResponse {})
        });
        Ok(reply.await?)
    }

    async fn query_approval_ratio(
        &self,
        request: Request<QueryApprovalRatioRequest>,
    ) -> Result<Response<QueryApprovalRatioResponse>, Status> {
        let (call, message) = begin(request)?.accept()?;
        let (asked, filter) = (AskedPage::read(message.page), message.filter.unwrap_or_default());
        let found = store::list(&self.0, &call.tenant.id, &filter, asked.page).await;
        let (ratios, total) = found.map_err(Refusal::from)?;
        Ok(Response::new(QueryApprovalRatioResponse { page: asked.reply(total), ratios }))
    }

    async fn update_approval_ratio(
        &self,
        request: Request<UpdateApprovalRatioRequest>,
    ) -> Result<Response<UpdateApprovalRatioResponse>, Status> {
        let (call, message, change) = begin(request)?.accept_with(|message, _| message.ratio.clone())?;
        let (company, store, region) = (&change.retail_company_id, &change.retail_store_id, &change.region_code);
        let reply = write(&self.0, &call, &message, async |tx| {
            if !is_own(tx, &call, company, store, Some(region)).await? || !store::update(tx, &call, &change).await? {
                return Err(record_not_found(RATIO));
            }
            Ok(UpdateApprovalRatioResponse {})
        });
        Ok(reply.await?)
    }

    async fn delete_approval_ratio(
        &self,
        request: Request<DeleteApprovalRatioRequest>,
    ) -> Result<Response<DeleteApprovalRatioResponse>, Status> {
        let (call, message, key) = begin(request)?.accept_with(|message, _| message.ratio.clone())?;
        let (company, store, region) = (&key.retail_company_id, &key.retail_store_id, &key.region_code);
        let reply = write(&self.0, &call, &message, async |tx| {
            if !is_own(tx, &call, company, store, Some(region)).await? || !store::delete(tx, &call, &key).await? {
                return Err(record_not_found(RATIO));
            }
            Ok(DeleteApprovalRatioResponse {})
        });
        Ok(reply.await?)
    }
}
