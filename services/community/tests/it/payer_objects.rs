//! Payer objects over gRPC.

use communal_proto::community::v1::*;

use crate::harness::*;

#[tokio::test]
async fn a_payer_object_that_exists_is_replaced() {
    let service = Service::start().await;
    let caller = service.caller();
    let full = PayerObject { room_area: "70".into(), room_rent: "2500.5".into(), layer: -1, ..room("R1") };
    caller.register(HOME, vec![full.clone(), room("R2")]).await.unwrap();
    let listed = |page_token: String| {
        let caller = caller.clone();
        async move {
            let asked = ListPayerObjectsRequest { community_id: HOME.into(), page_size: 1, page_token };
            let page = caller.objects(asked).await.unwrap();
            (page.payer_objects.into_iter().next().unwrap(), page.next_page_token)
        }
    };
    let (first, token) = listed(String::new()).await;
    // Decimals have their documented scale.
    assert_eq!(
        first,
        PayerObject { room_area: "70.00".into(), room_rent: "2500.50".into(), fee_coefficient: "1.20".into(), ..full }
    );
    let (second, end) = listed(token).await;
    assert_eq!((second.payer_obj_id.as_str(), second.room_area.as_str(), end.as_str()), ("R2", "", ""));

    let known_less = PayerObject { built_up_area: String::new(), ..room("R1") };
    caller.register(HOME, vec![known_less]).await.unwrap();
    let (first, _) = listed(String::new()).await;
    assert_eq!((first.built_up_area.as_str(), first.room_rent.as_str()), ("", ""));

    let twice = caller.register(HOME, vec![room("R3"), room("R3")]).await;
    assert_eq!(fields(twice), ["payerObjects[1].payerObjId"]);
    let negative = caller.register(HOME, vec![PayerObject { built_up_area: "-1".into(), ..room("R3") }]).await;
    assert_eq!(fields(negative), ["payerObjects[0].builtUpArea"]);
    assert_eq!(service.count("SELECT count(*) FROM payer_object").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_register_the_same_rooms_in_other_orders_both_succeed() {
    let service = Service::start().await;
    let rooms: Vec<_> = (0..500).map(|n| room(&format!("R{n:03}"))).collect();
    let mut reversed = rooms.clone();
    reversed.reverse();
    for _ in 0..5 {
        let (one, two) = (service.caller(), service.caller());
        let (a, b) = tokio::join!(one.register(HOME, rooms.clone()), two.register(HOME, reversed.clone()));
        a.unwrap();
        b.unwrap();
    }
}
