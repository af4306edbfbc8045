//! Requests that are right, for tests to vary.

use communal_proto::community::v1::*;

use super::HOME;

/// A complete save.
pub(crate) fn save(name: &str) -> SaveFeeConfigRequest {
    SaveFeeConfigRequest {
        fee_type_cd: FeeType::Property.into(),
        fee_name: name.into(),
        fee_flag: FeeFlag::Periodic.into(),
        start_time: "2024-01-01".into(),
        end_time: "2050-12-31".into(),
        computing_formula: "1001".into(),
        square_price: "2.5".into(),
        additional_amount: "100".into(),
        community_id: HOME.into(),
        bill_type: BillType::Monthly.into(),
        payment_cd: PaymentTiming::Prepaid.into(),
        payment_cycle: "1".into(),
        ..SaveFeeConfigRequest::default()
    }
}

/// An update that says what [`save`] said.
pub(crate) fn update(config_id: &str, name: &str) -> UpdateFeeConfigRequest {
    UpdateFeeConfigRequest {
        config_id: config_id.into(),
        fee_type_cd: FeeType::Property.into(),
        fee_name: name.into(),
        fee_flag: FeeFlag::Periodic.into(),
        start_time: "2024-01-01".into(),
        end_time: "2050-12-31".into(),
        computing_formula: "1001".into(),
        square_price: "2.5".into(),
        additional_amount: "100".into(),
        community_id: HOME.into(),
        bill_type: BillType::Monthly.into(),
        ..UpdateFeeConfigRequest::default()
    }
}

/// The same update that stops the item.
pub(crate) fn stop(config_id: &str, name: &str) -> UpdateFeeConfigRequest {
    UpdateFeeConfigRequest { state: ItemState::Stopped.into(), ..update(config_id, name) }
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
    }
}

/// A room.
pub(crate) fn room(id: &str) -> PayerObject {
    PayerObject {
        payer_obj_id: id.into(),
        payer_obj_type: PayerObjectType::Room.into(),
        name: format!("{id}室"),
        built_up_area: "88.88".into(),
        fee_coefficient: "1.2".into(),
        layer: 3,
        ..PayerObject::default()
    }
}
