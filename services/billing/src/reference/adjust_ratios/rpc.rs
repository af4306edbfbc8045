//! The methods of `AdjustRatioService`.

use communal_kit::database::constraint;
use communal_kit::objections::Objections;
use communal_kit::pool::Pool;
use communal_kit::refusal::Refusal;
use communal_kit::request::begin;
use communal_kit::write::write;
use communal_proto::billing::v1::adjust_ratio_service_server::AdjustRatioService;
use communal_proto::billing::v1::fields::adjust_ratio::{MAIN_CATEGORY_ITEM, RETAIL_STORE_ID, START_DATE, STOP_DATE};
use communal_proto::billing::v1::fields::{add_adjust_ratio_request, update_adjust_ratio_request::RATIO};
use communal_proto::billing::v1::{
    AddAdjustRatioRequest, AddAdjustRatioResponse, DeleteAdjustRatioRequest, DeleteAdjustRatioResponse,
    QueryAdjustRatioRequest, QueryAdjustRatioResponse, Reason, UpdateAdjustRatioRequest, UpdateAdjustRatioResponse,
};
use tonic::{Request, Response, Status};

use super::rules::days;
use super::store;
use crate::reasons::{category_item_not_found, existing_record, record_exists, record_not_found, store_not_found};
use crate::suppliers::store::is_own;
use crate::vocabulary::paging::AskedPage;

/// Serves the adjust ratios of a database.
#[derive(Clone, Debug)]
pub struct AdjustRatioRpc(pub Pool);

#[tonic::async_trait]
impl AdjustRatioService for AdjustRatioRpc {
    async fn add_adjust_ratio(
        &self,
        request: Request<AddAdjustRatioRequest>,
    ) -> Result<Response<AddAdjustRatioResponse>, Status> {
        let place = |row| add_adjust_ratio_request::RATIOS.at(row);
        let (call, message, ()) = begin(request)?.accept_with(|message, checker| {
            for (row, new) in message.ratios.iter().enumerate() {
                days(new.start_date, new.stop_date, place(row), checker);
            }
            Some(())
        })?;
        let reply = write(&self.0, &call, &message, async |tx| {
            let mut objections = Objections::default();
            for (row, new) in message.ratios.iter().enumerate() {
                if !is_own(tx, &call, &call.tenant.id, &new.retail_store_id, None).await? {
                    return Err(store_not_found(place(row).then(RETAIL_STORE_ID)));
                }
                if !store::add(tx, &call, new).await? {
                    objections.push(Reason::RecordExists, existing_record(place(row).then(START_DATE)));
                }
            }
            objections.into_result()?;
            Ok(AddAdjustRatioResponse {})
        });
        Ok(reply.await?)
    }

    async fn query_adjust_ratio(
        &self,
        request: Request<QueryAdjustRatioRequest>,
    ) -> Result<Response<QueryAdjustRatioResponse>, Status> {
        let (call, message) = begin(request)?.accept()?;
        let (asked, filter) = (AskedPage::read(message.page), message.filter.unwrap_or_default());
        let found = store::list(&self.0, &call.tenant.id, &filter, asked.page).await;
        let (ratios, total) = found.map_err(Refusal::from)?;
        Ok(Response::new(QueryAdjustRatioResponse { page: asked.reply(total), ratios }))
    }

    async fn update_adjust_ratio(
        &self,
        request: Request<UpdateAdjustRatioRequest>,
    ) -> Result<Response<UpdateAdjustRatioResponse>, Status> {
        let (call, message, change) = begin(request)?.accept_with(|message, checker| {
            let change = message.ratio.clone()?;
            days(change.start_date, change.stop_date, RATIO.into(), checker);
            Some(change)
        })?;
        let (company, store) = (&change.retail_company_id, &change.retail_store_id);
        let reply = write(&self.0, &call, &message, async |tx| {
            let refuse = |error| match constraint(&error) {
                Some("adjust_ratio_category_item") => category_item_not_found(RATIO.then(MAIN_CATEGORY_ITEM)),
                Some("adjust_ratio_days_apart") => record_exists(RATIO.then(STOP_DATE)),
                _ => Refusal::from(error),
            };
            if !is_own(tx, &call, company, store, None).await?
                || !store::update(tx, &call, &change).await.map_err(refuse)?
            {
                return Err(record_not_found(RATIO));
            }
            Ok(UpdateAdjustRatioResponse {})
        });
        Ok(reply.await?)
    }

    async fn delete_adjust_ratio(
        &self,
        request: Request<DeleteAdjustRatioRequest>,
    ) -> Result<Response<DeleteAdjustRatioResponse>, Status> {
        let (call, message, key) = begin(request)?.accept_with(|message, _| message.ratio.clone())?;
        let (company, store) = (&key.retail_company_id, &key.retail_store_id);
        let reply = write(&self.0, &call, &message, async |tx| {
            if !is_own(tx, &call, company, store, None).await? || !store::delete(tx, &call, &key).await? {
                return Err(record_not_found(RATIO));
            }
            Ok(DeleteAdjustRatioResponse {})
        });
        Ok(reply.await?)
    }
}
