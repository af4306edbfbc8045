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
    assert_eq!(fields(twice), ["payer_objects[1].payer_obj_id"]);
    let negative = caller.register(HOME, vec![PayerObject { built_up_area: "-1".into(), ..room("R3") }]).await;
    assert_eq!(fields(negative), ["payer_objects[0].built_up_area"]);
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

fn contract(id: &str, rooms: &[&str]) -> PayerObject {
    PayerObject {
        payer_obj_id: id.into(),
        payer_obj_type: PayerObjectType::Contract.into(),
        name: id.into(),
        room_ids: rooms.iter().map(|room| (*room).to_owned()).collect(),
        ..PayerObject::default()
    }
}

fn owned(id: &str, owner_name: &str) -> PayerObject {
    PayerObject { owner_id: "O1".into(), owner_name: owner_name.into(), owner_tel: "13800000000".into(), ..room(id) }
}

fn reading(object: &str, config_id: &str, degrees: (&str, &str)) -> MeterReading {
    MeterReading {
        payer_obj_id: object.into(),
        config_id: config_id.into(),
        meter_type: MeterType::Water.into(),
        pre_degrees: degrees.0.into(),
        cur_degrees: degrees.1.into(),
        pre_reading_time: "2024-02-01 09:00:00".into(),
        cur_reading_time: "2024-03-01 09:00:00".into(),
        price: String::new(),
    }
}

#[tokio::test]
async fn everything_that_amounts_need_is_kept() {
    let service = Service::start().await;
    let caller = service.caller();
    let attribute = |name: &str, value: &str| RoomAttribute { name: name.into(), value: value.into() };
    let full = PayerObject {
        community_area: "90000.00".into(),
        building_area: "9000.00".into(),
        unit_area: "3000.00".into(),
        attributes: vec![attribute("12", "1.5000"), attribute("7", "2.0000")],
        room_state: RoomState::MovedIn.into(),
        room_num: "1-2-301".into(),
        floor_id: "F1".into(),
        unit_id: "U2".into(),
        room_sub_type: "110".into(),
        fee_coefficient: "1.20".into(),
        ..owned("R1", "王五")
    };
    let car = PayerObject {
        payer_obj_type: PayerObjectType::Car.into(),
        car_state: CarState::Leased.into(),
        car_park_id: "P1".into(),
        fee_coefficient: String::new(),
        ..owned("S1", "王五")
    };
    // A contract may come before its rooms.
    caller.register(HOME, vec![contract("C1", &["R1"]), full.clone(), car.clone()]).await.unwrap();
    let asked = ListPayerObjectsRequest { community_id: HOME.into(), ..ListPayerObjectsRequest::default() };
    let listed = caller.objects(asked).await.unwrap().payer_objects;
    assert_eq!(listed, [contract("C1", &["R1"]), full, car]);

    let stranger = caller.register(HOME, vec![contract("C2", &["R9"])]).await;
    assert_eq!(refusal(stranger), refused("PAYER_OBJECT_NOT_FOUND", "合同C2的房屋R9不存在"));
    let two_names = caller.register(HOME, vec![owned("R2", "王五"), owned("R3", "赵六")]).await;
    assert_eq!(fields(two_names), ["payer_objects[1].owner_name"]);
    let nameless = PayerObject { owner_id: "O2".into(), ..room("R4") };
    assert_eq!(fields(caller.register(HOME, vec![nameless]).await), ["payer_objects[0].owner_name"]);
    let with_rooms = PayerObject { room_ids: vec!["R1".into()], ..room("R4") };
    assert_eq!(fields(caller.register(HOME, vec![with_rooms]).await), ["payer_objects[0].room_ids"]);
    assert_eq!(service.count("SELECT count(*) FROM payer_object").await, 3);
}

#[tokio::test]
async fn a_community_moves_in_whole_or_not_at_all() {
    let service = Service::start().await;
    let caller = service.caller().with("x-tenant-id", HOME);
    let item = service.item("水费").await;
    let message = |payer_objects: Vec<PayerObject>, readings: Vec<MeterReading>| ImportPayerObjectsRequest {
        payer_objects,
        readings,
    };
    let rooms = |from: usize| (from..from + 2_000).map(|n| owned(&format!("R{n}"), "王五")).collect::<Vec<_>>();
    let good = || {
        vec![
            message(vec![contract("C1", &["R2999"])], vec![reading("R2500", &item, ("100", "156.5"))]),
            message(rooms(0), vec![]),
            message(rooms(2_000), vec![]),
        ]
    };
    let faulty = |change: fn(&mut PayerObject)| {
        let mut messages = good();
        change(&mut messages[2].payer_objects[1]);
        messages
    };
    // Rows are counted over the whole stream.
    assert_eq!(fields(caller.import(faulty(|o| o.name.clear())).await), ["payer_objects[2002].name"]);
    assert_eq!(
        fields(caller.import(faulty(|o| o.payer_obj_id = "R5".into())).await),
        ["payer_objects[2002].payer_obj_id"]
    );
    assert_eq!(
        fields(caller.import(faulty(|o| o.owner_name = "赵六".into())).await),
        ["payer_objects[2002].owner_name"]
    );
    let mut backwards = good();
    backwards[1].readings.push(reading("R1", &item, ("9", "8.5")));
    assert_eq!(fields(caller.import(backwards).await), ["readings[1].cur_degrees"]);
    let mut unknown = good();
    unknown[1].readings.push(reading("R1", "929", ("8", "9")));
    assert_eq!(
        refusal(caller.import(unknown).await),
        refused("FEE_ITEM_NOT_FOUND", "readings[1].config_id 费用项929不存在")
    );
    let mut roomless = good();
    roomless[0].payer_objects[0].room_ids.push("R9999".into());
    assert_eq!(refusal(caller.import(roomless).await).0, "PAYER_OBJECT_NOT_FOUND");
    assert_eq!(refusal(caller.import(vec![]).await).0, "FIELD_MISSING");
    assert_eq!(service.count("SELECT count(*) FROM payer_object").await, 0);

    // The same again changes nothing.
    for _ in 0..2 {
        let counts = caller.import(good()).await.unwrap();
        assert_eq!((counts.payer_objects, counts.readings), (4_001, 1));
        assert_eq!(service.count("SELECT count(*) FROM payer_object").await, 4_001);
        assert_eq!(service.count("SELECT count(*) FROM meter_reading").await, 1);
    }
    let elsewhere = service.caller().with("x-tenant-id", FOREIGN).import(good()).await;
    assert_eq!(refusal(elsewhere).0, "TENANT_REFUSED");
}

#[tokio::test]
async fn a_reading_that_comes_again_is_replaced() {
    let service = Service::start().await;
    let caller = service.caller();
    let item = service.item("水费").await;
    service.rooms(1).await;
    for degrees in ["120.5", "121"] {
        caller.read_meters(vec![reading("ROOM000000", &item, ("100", degrees))]).await.unwrap();
    }
    assert_eq!(service.count("SELECT sum(cur_degrees)::int8 FROM meter_reading").await, 121);
    let twice = vec![reading("ROOM000000", &item, ("1", "2")), reading("ROOM000000", &item, ("1", "3"))];
    assert_eq!(fields(caller.read_meters(twice).await), ["readings[1].cur_reading_time"]);
    let unknown = caller.read_meters(vec![reading("NOBODY", &item, ("1", "2"))]).await;
    assert_eq!(refusal(unknown), refused("PAYER_OBJECT_NOT_FOUND", "readings[0].payer_obj_id 付费对象NOBODY不存在"));
}

#[tokio::test]
async fn settings_are_known_ones_and_have_defaults() {
    let service = Service::start().await;
    let caller = service.caller();
    let settings = |duplicate: &str, month: &str, cycle: &str| {
        [
            ("ALLOW_DUPLICATE_FEE", duplicate),
            ("BATCH_SELF_APPROVAL", "OFF"),
            ("PAY_FEE_MONTH", month),
            ("PAY_FEE_MONTH_CYCLE", cycle),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
    };
    assert_eq!(caller.settings().await, settings("OFF", "OFF", "1"));
    caller.set(&[("PAY_FEE_MONTH", "ON"), ("PAY_FEE_MONTH_CYCLE", "3")]).await.unwrap();
    caller.set(&[("ALLOW_DUPLICATE_FEE", "ON"), ("PAY_FEE_MONTH_CYCLE", "")]).await.unwrap();
    assert_eq!(caller.settings().await, settings("ON", "ON", "1"));
    assert_eq!(fields(caller.set(&[("PAY_FEE_MONTH", "MAYBE")]).await), ["settings[0].value"]);
    assert_eq!(fields(caller.set(&[("PAY_FEE_MONTH_CYCLE", "0")]).await), ["settings[0].value"]);
    assert_eq!(
        refusal(caller.set(&[("COLOUR", "RED")]).await),
        refused("FIELD_CODE_UNKNOWN", "settings[0].key 不认识的设置项COLOUR")
    );
}
