//! Bill rules over gRPC. What they share with fees is tested there as well.

use communal_proto::community::v1::*;

use crate::harness::*;

#[tokio::test]
async fn a_bill_rule_is_listed_as_it_was_created() {
    let service = Service::start().await;
    let caller = service.caller();
    let rooms = service.rooms(1).await;
    let id = service.item("公摊费").await;
    let rule_ids = caller.bill(&id, &rooms).await.unwrap();
    let expected = BillRule {
        rule_id: rule_ids[0].clone(),
        config_id: id.clone(),
        community_id: HOME.into(),
        payer_obj_id: rooms[0].clone(),
        payer_obj_type: PayerObjectType::Room.into(),
        fee_flag: FeeFlag::Periodic.into(),
        state: FeeState::Charging.into(),
        start_time: "2024-01-02 00:00:00".into(),
        max_time: "2050-12-31 23:59:59".into(),
        cur_year_month: "2024-01-02".into(),
        ended_time: String::new(),
    };
    assert_eq!(caller.rules(&id).await.unwrap().rules, [expected]);
}
