//! Fees over gRPC: what is created is listed, all rows of a request or none, page by page.

use communal_proto::community::v1::*;

use crate::harness::*;

#[tokio::test]
async fn a_fee_is_listed_as_it_was_created() {
    let service = Service::start().await;
    let caller = service.caller();
    let rooms = service.rooms(2).await;
    let id = service.item("物业费").await;
    let request = CreateFeesRequest {
        community_id: HOME.into(),
        config_id: id.clone(),
        fees: vec![
            NewFee {
                payer_obj_id: rooms[1].clone(),
                start_time: "2024-01-01".into(),
                deadline_time: "2024-06-30".into(),
            },
            NewFee { payer_obj_id: rooms[0].clone(), start_time: "2024-02-01 08:00:00".into(), ..NewFee::default() },
        ],
        ..CreateFeesRequest::default()
    };
    let fee_ids = caller.create_fees(request).await.unwrap();
    let listed = caller.fees(list_fees(&id)).await.unwrap().fees;
    let expected = Fee {
        fee_id: fee_ids[0].clone(),
        config_id: id.clone(),
        community_id: HOME.into(),
        payer_obj_id: rooms[1].clone(),
        payer_obj_type: PayerObjectType::Room.into(),
        fee_flag: FeeFlag::Periodic.into(),
        state: FeeState::Charging.into(),
        start_time: "2024-01-01 00:00:00".into(),
        end_time: "2024-01-01 00:00:00".into(),
        deadline_time: "2024-06-30 23:59:59".into(),
        ended_time: String::new(),
    };
    assert_eq!(listed[0], expected);
    // Without a deadline of its own: the item's end, also when that moves.
    assert_eq!(
        (listed[1].fee_id.as_str(), listed[1].deadline_time.as_str()),
        (fee_ids[1].as_str(), "2050-12-31 23:59:59")
    );
    caller.update(UpdateFeeConfigRequest { end_time: "2030-12-31".into(), ..update(&id, "物业费") }).await.unwrap();
    assert_eq!(caller.fees(list_fees(&id)).await.unwrap().fees[1].deadline_time, "2030-12-31 23:59:59");
}

#[tokio::test]
async fn all_rows_or_none() {
    let service = Service::start().await;
    let caller = service.caller();
    let rooms = service.rooms(2).await;
    let id = service.item("物业费").await;
    let strangers = [rooms[0].clone(), "NOBODY".into(), rooms[1].clone(), "NOBODY2".into()];
    let outcome = caller.charge(&id, &strangers).await;
    assert_eq!(fields(outcome.clone()), ["fees[1].payer_obj_id", "fees[3].payer_obj_id"]);
    assert_eq!(
        refusal(outcome),
        refused(
            "PAYER_OBJECT_NOT_FOUND",
            "fees[1].payer_obj_id 付费对象NOBODY不存在；fees[3].payer_obj_id 付费对象NOBODY2不存在"
        )
    );
    assert_eq!(fields(caller.bill(&id, &strangers).await), ["rules[1].payer_obj_id", "rules[3].payer_obj_id"]);

    let mut request = fees(&id, &rooms);
    request.fees[1].deadline_time = "2023-12-31".into();
    assert_eq!(fields(caller.create_fees(request).await), ["fees[1].deadline_time"]);
    let mut request = fees(&id, &rooms);
    request.fees[0].start_time = "2051-01-01".into();
    assert_eq!(fields(caller.create_fees(request).await), ["fees[0].start_time"]);
    let mut request = fees(&id, &rooms);
    request.fees[1].start_time = "soon".into();
    assert_eq!(fields(caller.create_fees(request).await), ["fees[1].start_time"]);
    assert_eq!(refusal(caller.create_fees(fees(&id, &[])).await).0, "FIELD_MISSING");
    assert_eq!(
        refusal(caller.charge("920000000000000009", &rooms).await),
        refused("FEE_ITEM_NOT_FOUND", "未找到该费用项")
    );
    // A payer object of another community is none of this one.
    caller.register(OTHER, vec![room("THEIRS")]).await.unwrap();
    assert_eq!(refusal(caller.charge(&id, &["THEIRS".to_owned()]).await).0, "PAYER_OBJECT_NOT_FOUND");
    assert_eq!(
        service.count("SELECT count(*) FROM fee").await + service.count("SELECT count(*) FROM bill_rule").await,
        0
    );
}

#[tokio::test]
async fn pages_by_key_cover_everything_once() {
    let service = Service::start().await;
    let caller = service.caller();
    let rooms = service.rooms(25).await;
    caller.set(&[("ALLOW_DUPLICATE_FEE", "ON")]).await.unwrap();
    let (id, other) = (service.item("物业费").await, service.item("停车费").await);
    let fee_ids = caller.charge(&id, &rooms).await.unwrap();
    caller.charge(&other, &rooms).await.unwrap();

    let mut seen = Vec::new();
    let mut asked = ListFeesRequest { page_size: 10, ..list_fees(&id) };
    loop {
        let page = caller.fees(asked.clone()).await.unwrap();
        assert!(page.fees.len() <= 10);
        seen.extend(page.fees.into_iter().map(|f| f.fee_id));
        if page.next_page_token.is_empty() {
            break;
        }
        asked.page_token = page.next_page_token;
        // A row that is added meanwhile is seen at its place, and no row twice.
        if seen.len() == 10 {
            caller.charge(&id, &rooms[..1]).await.unwrap();
        }
    }
    assert_eq!(seen.len(), 26);
    assert_eq!(seen[..25], fee_ids);

    // A token is valid for its own list alone.
    let foreign = ListFeesRequest { config_id: other.clone(), ..asked.clone() };
    assert_eq!(refusal(caller.fees(foreign).await).0, "PAGE_INVALID");
    let nonsense = ListFeesRequest { page_token: "nonsense".into(), ..list_fees(&id) };
    assert_eq!(fields(caller.fees(nonsense).await), ["page_token"]);
    let all = ListFeesRequest { page_size: 0, config_id: String::new(), ..list_fees("") };
    assert_eq!(caller.fees(all).await.unwrap().fees.len(), 51);
    let of_a_room = ListFeesRequest { payer_obj_id: rooms[0].clone(), ..list_fees("") };
    assert_eq!(caller.fees(of_a_room).await.unwrap().fees.len(), 3);
    let too_many = ListFeesRequest { page_size: 1_001, ..list_fees(&id) };
    assert_eq!(fields(caller.fees(too_many).await), ["page_size"]);
}
