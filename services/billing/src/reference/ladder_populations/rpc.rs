//! The methods of `LadderPopulationService`.

use communal_kit::pool::Pool;
use communal_kit::refusal::Refusal;
use communal_kit::request::begin;
use communal_kit::write::write;
use communal_proto::billing::v1::fields::add_ladder_population_request::POPULATION;
use communal_proto::billing::v1::fields::new_ladder_population::{RETAIL_STORE_ID, UTILITY};
use communal_proto::billing::v1::ladder_population_service_server::LadderPopulationService;
use communal_proto::billing::v1::{
    AddLadderPopulationRequest, AddLadderPopulationResponse, DeleteLadderPopulationRequest,
    DeleteLadderPopulationResponse, QueryLadderPopulationRequest, QueryLadderPopulationResponse,
    UpdateLadderPopulationRequest, UpdateLadderPopulationResponse,
};
use tonic::{Request, Response, Status};

use super::store;
use crate::reasons::{record_exists, record_not_found, store_not_found};
use crate::reference::utilities::require_one_of;
use crate::suppliers::store::is_own;
use crate::vocabulary::paging::AskedPage;
use crate::vocabulary::tariff::Utility;

/// The utilities whose ladders rise with persons.
const UTILITIES: [Utility; 4] = [Utility::Water, Utility::Electricity, Utility::Gas, Utility::Cooling];

/// Serves the ladder population of a database.
#[derive(Clone, Debug)]
pub struct LadderPopulationRpc(pub Pool);

#[tonic::async_trait]
impl LadderPopulationService for LadderPopulationRpc {
    async fn add_ladder_population(
        &self,
        request: Request<AddLadderPopulationRequest>,
    ) -> Result<Response<AddLadderPopulationResponse>, Status> {
        let (call, message, new) = begin(request)?.accept_with(|message, checker| {
            let new = message.population.clone()?;
            require_one_of(&UTILITIES, new.utility(), POPULATION.then(UTILITY), checker);
            Some(new)
        })?;
        let reply = write(&self.0, &call, &message, async |tx| {
            if !is_own(tx, &call, &call.tenant.id, &new.retail_store_id, None).await? {
                return Err(store_not_found(POPULATION.then(RETAIL_STORE_ID)));
            }
            if !store::add(tx, &call, &new).await? {
                return Err(record_exists(POPULATION));
            }
            Ok(AddLadderPopulationResponse {})
        });
        Ok(reply.await?)
    }

    async fn query_ladder_population(
        &self,
        request: Request<QueryLadderPopulationRequest>,
    ) -> Result<Response<QueryLadderPopulationResponse>, Status> {
        let (call, message) = begin(request)?.accept()?;
        let (asked, filter) = (AskedPage::read(message.page), message.filter.unwrap_or_default());
        let found = store::list(&self.0, &call.tenant.id, &filter, asked.page).await;
        let (populations, total) = found.map_err(Refusal::from)?;
        Ok(Response::new(QueryLadderPopulationResponse { page: asked.reply(total), populations }))
    }

    async fn update_ladder_population(
        &self,
        request: Request<UpdateLadderPopulationRequest>,
    ) -> Result<Response<UpdateLadderPopulationResponse>, Status> {
        let (call, message, change) = begin(request)?.accept_with(|message, _| message.population.clone())?;
        let (company, store, region) = (&change.retail_company_id, &change.retail_store_id, &change.region_code);
        let reply = write(&self.0, &call, &message, async |tx| {
            if !is_own(tx, &call, company, store, Some(region)).await? || !store::update(tx, &call, &change).await? {
                return Err(record_not_found(POPULATION));
            }
            Ok(UpdateLadderPopulationResponse {})
        });
        Ok(reply.await?)
    }

    async fn delete_ladder_population(
        &self,
        request: Request<DeleteLadderPopulationRequest>,
    ) -> Result<Response<DeleteLadderPopulationResponse>, Status> {
        let (call, message, key) = begin(request)?.accept_with(|message, _| message.population.clone())?;
        let (company, store, region) = (&key.retail_company_id, &key.retail_store_id, &key.region_code);
        let reply = write(&self.0, &call, &message, async |tx| {
            if !is_own(tx, &call, company, store, Some(region)).await? || !store::delete(tx, &call, &key).await? {
                return Err(record_not_found(POPULATION));
            }
            Ok(DeleteLadderPopulationResponse {})
        });
        Ok(reply.await?)
    }
}
