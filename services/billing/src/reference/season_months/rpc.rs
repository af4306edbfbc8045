//! The methods of `SeasonMonthService`.

use communal_kit::clock::Clock;
use communal_kit::objections::Objections;
use communal_kit::paging::Cap;
use communal_kit::pool::Pool;
use communal_kit::refusal::Refusal;
use communal_kit::request::begin;
use communal_kit::write::write;
use communal_proto::billing::v1::fields::season_month::{RETAIL_STORE_ID, SEASON_MONTH, UTILITY};
use communal_proto::billing::v1::fields::{add_abune_month_request, delete_abune_month_request};
use communal_proto::billing::v1::season_month_service_server::SeasonMonthService;
use communal_proto::billing::v1::{
    AddAbuneMonthRequest, AddAbuneMonthResponse, DeleteAbuneMonthRequest, DeleteAbuneMonthResponse, LatestOpenMonth,
    QueryAbuneMonthRequest, QueryAbuneMonthResponse, Reason,
};
use tonic::{Request, Response, Status};

use super::store;
use crate::reasons::{existing_record, record_not_found, store_not_found};
use crate::reference::utilities::require_one_of;
use crate::suppliers::store::is_own;
use crate::vocabulary::tariff::Utility;

/// The utilities that are priced by season.
const UTILITIES: [Utility; 2] = [Utility::Water, Utility::Electricity];

/// Serves the season months of a database.
#[derive(Clone, Debug)]
pub struct SeasonMonthRpc(pub Pool, pub Clock);

#[tonic::async_trait]
impl SeasonMonthService for SeasonMonthRpc {
    async fn add_abune_month(
        &self,
        request: Request<AddAbuneMonthRequest>,
    ) -> Result<Response<AddAbuneMonthResponse>, Status> {
        let place = |row, field| add_abune_month_request::MONTHS.at(row).then(field);
        let (call, message, ()) = begin(request)?.accept_with(|message, checker| {
            for (row, new) in message.months.iter().enumerate() {
                require_one_of(&UTILITIES, new.utility(), place(row, UTILITY), checker);
            }
            Some(())
        })?;
        let reply = write(&self.0, &call, &message, async |tx| {
            let mut objections = Objections::default();
            for (row, new) in message.months.iter().enumerate() {
                if !is_own(tx, &call, &new.retail_company_id, &new.retail_store_id, None).await? {
                    return Err(store_not_found(place(row, RETAIL_STORE_ID)));
                }
                if !store::add(tx, &call, new).await? {
                    objections.push(Reason::RecordExists, existing_record(place(row, SEASON_MONTH)));
                }
            }
            objections.into_result()?;
            Ok(AddAbuneMonthResponse {})
        });
        Ok(reply.await?)
    }

    async fn query_abune_month(
        &self,
        request: Request<QueryAbuneMonthRequest>,
    ) -> Result<Response<QueryAbuneMonthResponse>, Status> {
        let (call, message) = begin(request)?.accept()?;
        let (filter, company_id) = (message.filter.unwrap_or_default(), &call.tenant.id);
        let found = store::list(&self.0, company_id, &filter, Cap::UNPAGED.limit()).await.map_err(Refusal::from)?;
        let months = Cap::UNPAGED.check(found, "请指定营业网点")?;
        let open = store::latest_open_month(&self.0, company_id, filter.utility(), self.1.today()).await;
        let account_month = open.map_err(Refusal::from)?.unwrap_or_default();
        Ok(Response::new(QueryAbuneMonthResponse { months, open_month: Some(LatestOpenMonth { account_month }) }))
    }

    async fn delete_abune_month(
        &self,
        request: Request<DeleteAbuneMonthRequest>,
    ) -> Result<Response<DeleteAbuneMonthResponse>, Status> {
        let (call, message, month) = begin(request)?.accept_with(|message, _| message.month.clone())?;
        let reply = write(&self.0, &call, &message, async |tx| {
            let (company, store) = (&month.retail_company_id, &month.retail_store_id);
            if !is_own(tx, &call, company, store, None).await? || !store::delete(tx, &call, &month).await? {
                return Err(record_not_found(delete_abune_month_request::MONTH));
            }
            Ok(DeleteAbuneMonthResponse {})
        });
        Ok(reply.await?)
    }
}
