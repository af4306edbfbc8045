//! Requests that are right, for tests to vary.

use communal_fixtures::fee_items;
use communal_proto::community::v1::*;

pub(crate) use communal_fixtures::fee_items::room;

use super::HOME;

/// A complete save of an item in the home community.
pub(crate) fn save(name: &str) -> SaveFeeConfigRequest {
    fee_items::save(HOME, name)
}

/// An update that has what [`save`] had.
pub(crate) fn update(config_id: &str, name: &str) -> UpdateFeeConfigRequest {
    fee_items::update(HOME, config_id, name)
}

/// The same update that stops the item.
pub(crate) fn stop(config_id: &str, name: &str) -> UpdateFeeConfigRequest {
    fee_items::stop(HOME, config_id, name)
}

/// The same update that takes the item into use again.
pub(crate) fn reopen(config_id: &str, name: &str) -> UpdateFeeConfigRequest {
    UpdateFeeConfigRequest { state: ItemState::InUse.into(), ..update(config_id, name) }
}

/// A list of everything in the home community.
pub(crate) fn list() -> ListFeeConfigsRequest {
    ListFeeConfigsRequest { page: 1, row: 500, community_id: HOME.into(), ..ListFeeConfigsRequest::default() }
}

/// The whole history of the home community.
pub(crate) fn history() -> QueryHisFeeConfigRequest {
    QueryHisFeeConfigRequest { page: 1, row: 500, community_id: HOME.into(), ..QueryHisFeeConfigRequest::default() }
}

/// The fees of an item, as many as a page holds.
pub(crate) fn list_fees(config_id: &str) -> ListFeesRequest {
    ListFeesRequest {
        community_id: HOME.into(),
        config_id: config_id.into(),
        page_size: 1_000,
        ..ListFeesRequest::default()
    }
}

/// A fee on each object from 2024-01-01 on.
pub(crate) fn fees(config_id: &str, objects: &[String]) -> CreateFeesRequest {
    CreateFeesRequest {
        community_id: HOME.into(),
        config_id: config_id.into(),
        fees: objects
            .iter()
            .map(|id| NewFee { payer_obj_id: id.clone(), start_time: "2024-01-01".into(), ..NewFee::default() })
            .collect(),
        ..CreateFeesRequest::default()
    }
}
