//! Charging by the documented commands: all objects or none, each refusal with its text, the same charge once.

use std::collections::HashMap;

use communal_proto::community::v1::*;
use futures::future::join_all;

use crate::harness::*;

/// A room with an owner.
pub(crate) fn owned(id: &str, owner: &str) -> PayerObject {
    PayerObject {
        owner_id: owner.into(),
        owner_name: format!("{owner}先生"),
        owner_tel: "13800000000".into(),
        room_num: format!("1-2-{id}"),
        room_area: "70".into(),
        room_rent: "1000".into(),
        ..room(id)
    }
}

/// A car, leased, in a car park.
fn car(id: &str, park: &str, state: CarState) -> PayerObject {
    PayerObject {
        payer_obj_type: PayerObjectType::Car.into(),
        car_park_id: park.into(),
        car_state: state.into(),
        room_num: String::new(),
        ..owned(id, "OWNER")
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

/// A charge as the page sends it for a periodic item: without an end.
pub(crate) fn charge_room(config_id: &str, room: &str) -> SaveRoomCreateFeeRequest {
    SaveRoomCreateFeeRequest {
        community_id: HOME.into(),
        location_obj_id: room.into(),
        config_id: config_id.into(),
        start_time: "2024-01-01".into(),
        ..SaveRoomCreateFeeRequest::default()
    }
}

fn charge_cars(config_id: &str, range: LocationType, id: &str, states: &[&str]) -> SaveParkingSpaceCreateFeeRequest {
    SaveParkingSpaceCreateFeeRequest {
        community_id: HOME.into(),
        location_type_cd: range.into(),
        location_obj_id: id.into(),
        config_id: config_id.into(),
        start_time: "2024-01-01".into(),
        car_state: states.iter().map(|state| (*state).to_owned()).collect(),
        ..SaveParkingSpaceCreateFeeRequest::default()
    }
}

/// Everything that a list shows of the home community.
pub(crate) fn everything() -> ListFeeRequest {
    ListFeeRequest { page: 1, row: 500, community_id: HOME.into(), ..ListFeeRequest::default() }
}

impl Service {
    /// Saves an item of a formula and returns its identifier.
    pub(crate) async fn formula_item(&self, name: &str, formula: &str, flag: FeeFlag) -> String {
        let request = SaveFeeConfigRequest { computing_formula: formula.into(), fee_flag: flag.into(), ..save(name) };
        self.caller().save(request).await.unwrap();
        self.caller().named(name).await.config_id
    }
}

#[tokio::test]
async fn a_room_is_charged_once_with_its_owner_of_the_day() {
    let service = Service::start().await;
    let caller = service.caller();
    let item = service.item("物业费").await;
    caller.register(HOME, vec![owned("R1", "O1"), room("R2")]).await.unwrap();
    let counts = caller.save_room_create_fee(charge_room(&item, "R1")).await.unwrap();
    assert_eq!((counts.total_room, counts.success_room, counts.error_room), (1, 1, 0));
    let charged = counts.charged.unwrap();

    caller.register(HOME, vec![owned("R1", "O2")]).await.unwrap();
    let fees = caller.list_fee(everything()).await.unwrap().fees;
    let fee = &fees[0];
    assert_eq!(charged, Charged { fee_ids: vec![fee.fee_id.clone()], ..charged.clone() });
    assert_eq!((fee.owner_id.as_str(), fee.owner_name.as_str(), fee.payer_obj_name.as_str()), ("O1", "O1先生", "R1室"));
    // 88.88 × 2.5 + 100 a month, prepaid: January to March on 20 March.
    assert_eq!((fee.fee_price.as_str(), fee.amount_owed.as_str()), ("322.2000", "966.60"));
    assert_eq!((fee.deadline_time.as_str(), fee.max_end_time.as_str()), ("2024-03-31 23:59:59", "2050-12-31 23:59:59"));

    let again = caller.save_room_create_fee(charge_room(&item, "R1")).await;
    assert_eq!(refusal(again), refused("DUPLICATE_FEE", "付费对象R1已有相同费用项和起始时间的费用"));
    let no_owner = refused("ROOM_WITHOUT_OWNER", "未查到需要付费的房屋或未绑定业主");
    for stranger in ["R2", "R3"] {
        assert_eq!(refusal(caller.save_room_create_fee(charge_room(&item, stranger)).await), no_owner);
    }
    let nothing = caller.save_room_create_fee(charge_room("929", "R1")).await;
    assert_eq!(refusal(nothing), refused("FEE_ITEM_NOT_FOUND", "当前费用项ID不存在或存在多条929"));
    let backwards = SaveRoomCreateFeeRequest { end_time: "2023-12-31".into(), ..charge_room(&item, "R1") };
    assert_eq!(fields(caller.save_room_create_fee(backwards).await), ["end_time"]);
    let late = SaveRoomCreateFeeRequest { start_time: "2051-01-01".into(), ..charge_room(&item, "R1") };
    assert_eq!(fields(caller.save_room_create_fee(late).await), ["start_time"]);
    let early = SaveRoomCreateFeeRequest {
        start_time: "2023-01-01".into(),
        end_time: "2023-12-31".into(),
        ..charge_room(&item, "R1")
    };
    assert_eq!(fields(caller.save_room_create_fee(early).await), ["end_time"]);

    caller.set(&[("ALLOW_DUPLICATE_FEE", "ON")]).await.unwrap();
    caller.save_room_create_fee(charge_room(&item, "R1")).await.unwrap();
    assert_eq!(service.count("SELECT count(*) FROM fee").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_16_that_make_the_same_charge_one_does() {
    let service = Service::start().await;
    let item = service.item("物业费").await;
    service.caller().register(HOME, vec![owned("R1", "O1")]).await.unwrap();
    let callers: Vec<_> = (0..16).map(|_| service.caller()).collect();
    let outcomes = join_all(callers.iter().map(|caller| caller.save_room_create_fee(charge_room(&item, "R1")))).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    assert!(outcomes.into_iter().filter(Result::is_err).all(|outcome| refusal(outcome).0 == "DUPLICATE_FEE"));
    assert_eq!(service.count("SELECT count(*) FROM fee").await, 1);
    assert_eq!(service.count("SELECT count(*) FROM pay_fee_batch").await, 1);
}

/// Of fees and bill rules of the home community that start on a day, the number of each object.
const STANDING: &str = "SELECT max(charges) FROM (
    SELECT count(*) AS charges FROM (SELECT payer_obj_id, start_time FROM fee WHERE is_open AND rule_id IS NULL
                                     UNION ALL SELECT payer_obj_id, start_time FROM bill_rule WHERE is_open) charge
    GROUP BY payer_obj_id, start_time) standing";

#[tokio::test(flavor = "multi_thread")]
async fn of_32_that_make_the_same_charge_as_a_fee_or_a_bill_rule_one_does() {
    let service = Service::start().await;
    let item = service.item("物业费").await;
    for room in service.rooms(6).await {
        let room = &[room];
        let caller = service.caller();
        let outcomes = join_all((0..32).map(async |number| match number % 2 {
            0 => caller.charge(&item, room).await.map(drop),
            _ => caller.bill_from(&item, room, "2024-01-01").await.map(drop),
        }));
        let outcomes = outcomes.await;
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
        for outcome in outcomes.into_iter().filter(Result::is_err) {
            let named = fields(outcome.clone());
            assert!(matches!(named.as_slice(), [row] if row.ends_with("s[0].payer_obj_id")), "{named:?}");
            assert_eq!(refusal(outcome).0, "DUPLICATE_FEE");
        }
    }
    assert_eq!(service.count(STANDING).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fee_is_not_moved_to_where_a_bill_rule_stands_or_is_made() {
    let service = Service::start().await;
    let caller = service.caller();
    let item = service.item("物业费").await;
    let move_to = |fee_id: &str, start: &str| UpdateFeeRequest {
        community_id: HOME.into(),
        fee_id: fee_id.into(),
        start_time: start.into(),
        end_time: start.into(),
        max_end_time: "2050-12-31".into(),
        ..UpdateFeeRequest::default()
    };
    for room in service.rooms(6).await {
        let room = &[room];
        let fee = caller.charge(&item, room).await.unwrap().remove(0);
        caller.bill(&item, room).await.unwrap();
        assert_eq!(refusal(caller.update_fee(move_to(&fee, "2024-01-02")).await).0, "DUPLICATE_FEE");
        let (moved, billed) =
            tokio::join!(caller.update_fee(move_to(&fee, "2024-02-01")), caller.bill_from(&item, room, "2024-02-01"),);
        assert!(moved.is_ok() != billed.is_ok(), "{moved:?} {billed:?}");
    }
    assert_eq!(service.count(STANDING).await, 1);
}

#[tokio::test]
async fn many_rooms_are_charged_all_or_none() {
    let service = Service::start().await;
    let caller = service.caller();
    let item = service.formula_item("维修费", "4004", FeeFlag::Periodic).await;
    let ids: Vec<String> = (0..300).map(|n| format!("R{n}")).collect();
    caller.register(HOME, ids.iter().map(|id| owned(id, "O1")).collect()).await.unwrap();
    let request = |rooms: &[String]| RoomCreatePayFeeRequest {
        community_id: HOME.into(),
        config_id: item.clone(),
        start_time: "2024-01-01".into(),
        room_ids: rooms.to_vec(),
        amount: "80".into(),
        ..RoomCreatePayFeeRequest::default()
    };
    let mut stranger = ids.clone();
    stranger[7] = "NOBODY".into();
    let outcome = caller.room_create_pay_fee(request(&stranger)).await;
    assert_eq!(refusal(outcome), refused("ROOM_WITHOUT_OWNER", "未查到需要付费的房屋或未绑定业主：NOBODY"));
    let mut twice = ids.clone();
    twice[8] = ids[7].clone();
    assert_eq!(refusal(caller.room_create_pay_fee(request(&twice)).await).1, "付费对象R7在同一请求中重复收费");
    assert_eq!(refusal(caller.room_create_pay_fee(request(&[])).await), refused("FIELD_MISSING", "未包含房屋"));
    let without = RoomCreatePayFeeRequest { amount: String::new(), ..request(&ids) };
    assert_eq!(refusal(caller.room_create_pay_fee(without).await), refused("FIELD_MISSING", "未包含金额"));
    assert_eq!(service.count("SELECT count(*) FROM fee").await, 0);

    let sender = caller.id("one-batch");
    let charged = sender.room_create_pay_fee(request(&ids)).await.unwrap().charged.unwrap();
    let again = sender.room_create_pay_fee(request(&ids)).await.unwrap().charged.unwrap();
    assert_eq!(again, charged, "the answer to the first");
    assert_eq!(service.count("SELECT count(*) FROM fee").await, 300);
    assert_eq!(service.count("SELECT count(DISTINCT batch_id) FROM fee").await, 1);
    let listed = caller.list_fee(everything()).await.unwrap();
    let objects: HashMap<_, _> = listed.fees.iter().map(|fee| (&fee.fee_id, &fee.payer_obj_id)).collect();
    assert!(charged.fee_ids.iter().map(|fee| objects[fee]).eq(&ids), "in the order of the request");
    assert!(listed.fees.iter().all(|fee| fee.amount == "80.00" && fee.amount_owed == "240.00"), "{:?}", listed.fees[0]);
}

#[tokio::test]
async fn cars_are_charged_one_by_one_by_park_or_all() {
    let service = Service::start().await;
    let caller = service.caller();
    let (leased, sold) = (CarState::Leased, CarState::Sold);
    let cars = vec![car("C1", "P1", leased), car("C2", "P1", sold), car("C3", "P2", leased), owned("R1", "O1")];
    caller.register(HOME, cars).await.unwrap();
    let total = async |name: &str, range, id: &str, states: &[&str]| {
        let item = service.formula_item(name, "2002", FeeFlag::Periodic).await;
        caller.save_parking_space_create_fee(charge_cars(&item, range, id, states)).await
    };
    assert_eq!(total("一", LocationType::Car, "C1", &[]).await.unwrap().total_car, 1);
    assert_eq!(total("二", LocationType::CarPark, "P1", &["H", "S"]).await.unwrap().success_car, 2);
    assert_eq!(total("三", LocationType::CarPark, "P1", &["H"]).await.unwrap().total_car, 1);
    assert_eq!(total("四", LocationType::Community, HOME, &[]).await.unwrap().total_car, 3);
    let none = || refused("NO_CAR_TO_CHARGE", "未查到需要付费的车位");
    assert_eq!(refusal(total("五", LocationType::Car, "R1", &[]).await), none());
    assert_eq!(refusal(total("六", LocationType::CarPark, "P9", &["H"]).await), none());
    assert_eq!(
        refusal(total("七", LocationType::CarPark, "P1", &[]).await),
        refused("FIELD_MISSING", "未选择车位状态")
    );
    assert_eq!(refusal(total("八", LocationType::CarPark, "P1", &["Q"]).await).0, "FIELD_CODE_UNKNOWN");
    assert_eq!(service.count("SELECT count(*) FROM fee").await, 7);
    // A formula that a car does not have is refused before anything is charged.
    for formula in ["3003", "8008", "1101", "1102", "9999"] {
        let item = service.formula_item(formula, formula, FeeFlag::Periodic).await;
        let outcome = caller.save_parking_space_create_fee(charge_cars(&item, LocationType::Car, "C1", &[])).await;
        assert_eq!(refusal(outcome).0, "FORMULA_NOT_APPLICABLE", "{formula}");
    }
}

#[tokio::test]
async fn the_rent_of_a_contract_rises() {
    let service = Service::start().await;
    let caller = service.caller();
    let rent = service.formula_item("租金", "1102", FeeFlag::Periodic).await;
    let deposit = service.formula_item("押金", "2002", FeeFlag::OneOff).await;
    caller.register(HOME, vec![owned("R1", "O1"), owned("R2", "O1"), contract("K1", &["R1", "R2"])]).await.unwrap();
    let request = |item: &str| SaveContractCreateFeeRequest {
        community_id: HOME.into(),
        contract_id: "K1".into(),
        config_id: item.into(),
        start_time: "2023-01-01".into(),
        rate_cycle: "12".into(),
        rate: "0.05".into(),
        rate_start_time: "2024-01-01".into(),
        ..SaveContractCreateFeeRequest::default()
    };
    let without = SaveContractCreateFeeRequest { rate: String::new(), ..request(&rent) };
    assert_eq!(refusal(caller.save_contract_create_fee(without).await), refused("FIELD_MISSING", "未包含递增率"));
    let counts = caller.save_contract_create_fee(request(&rent)).await.unwrap().data.unwrap();
    assert_eq!(counts.success_room, 1);
    // Twelve months of 2 × 1000 and January to March of 2100.
    let fees = caller.list_fee(everything()).await.unwrap().fees;
    assert_eq!((fees[0].amount_owed.as_str(), fees[0].fee_price.as_str()), ("30300.00", "2000.0000"));
    assert_eq!((fees[0].rate_cycle.as_str(), fees[0].built_up_area.as_str()), ("12", "177.76"));

    let beyond = SaveContractCreateFeeRequest { end_time: "2051-01-01".into(), ..request(&deposit) };
    let outcome = caller.save_contract_create_fee(beyond).await;
    assert_eq!(refusal(outcome), refused("OUTSIDE_FEE_ITEM", "结束时间不能超过费用项时间"));
    let stranger = SaveContractCreateFeeRequest { contract_id: "R1".into(), ..request(&deposit) };
    let outcome = caller.save_contract_create_fee(stranger).await;
    assert_eq!(refusal(outcome), refused("PAYER_OBJECT_NOT_FOUND", "合同R1不存在"));
}

#[tokio::test]
async fn each_meter_reading_makes_a_fee_of_its_own() {
    let service = Service::start().await;
    let caller = service.caller();
    let water = service.formula_item("水费", "5005", FeeFlag::OneOff).await;
    let power = service.formula_item("电费", "9009", FeeFlag::OneOff).await;
    let property = service.item("物业费").await;
    caller.register(HOME, vec![owned("R1", "O1")]).await.unwrap();
    let request = |item: &str, month: u32, degrees: (&str, &str)| SaveMeterWaterRequest {
        community_id: HOME.into(),
        config_id: item.into(),
        obj_type: PayerObjectType::Room.into(),
        obj_id: "R1".into(),
        pre_degrees: degrees.0.into(),
        cur_degrees: degrees.1.into(),
        pre_reading_time: format!("2024-0{month}-01 09:00:00"),
        cur_reading_time: format!("2024-0{}-01 09:00:00", month + 1),
        meter_type: MeterType::Water.into(),
        price: "0.5".into(),
        ..SaveMeterWaterRequest::default()
    };
    caller.save_meter_water(request(&water, 1, ("100", "156.5"))).await.unwrap();
    caller.save_meter_water(request(&water, 2, ("156.5", "160.5"))).await.unwrap();
    let made = caller.save_meter_water(request(&power, 1, ("0", "100"))).await.unwrap();
    let fees = caller.list_fee(everything()).await.unwrap().fees;
    let amounts: Vec<_> = fees.iter().map(|fee| (fee.cur_degrees.as_str(), fee.amount_owed.as_str())).collect();
    assert_eq!(made.charged.unwrap().fee_ids, [fees[0].fee_id.as_str()]);
    let of_reading = sqlx::query_scalar::<_, String>("SELECT fee_id FROM fee WHERE reading_id = $1");
    assert_eq!(of_reading.bind(made.reading_id).fetch_one(service.pool()).await.unwrap(), fees[0].fee_id);
    // Price 2.5 and 100 on top; the price of the reading for 9009.
    assert_eq!(amounts, [("100.00", "150.00"), ("160.50", "110.00"), ("156.50", "241.25")]);
    assert_eq!(fees[2].deadline_time, "2024-02-01 09:00:00");

    let refused_as = async |request| refusal(caller.save_meter_water(request).await);
    assert_eq!(refused_as(request(&water, 3, ("9", "8"))).await.1, "当前读数小于上期读数");
    assert_eq!(refused_as(request("929", 3, ("8", "9"))).await, refused("FEE_ITEM_NOT_FOUND", "费用项不存在"));
    assert_eq!(refused_as(request(&water, 2, ("156.5", "161"))).await.0, "READING_EXISTS");
    assert_eq!(refused_as(request(&property, 2, ("1", "2"))).await.0, "FORMULA_NOT_APPLICABLE");
    let nowhere = SaveMeterWaterRequest { obj_id: "R9".into(), ..request(&water, 4, ("1", "2")) };
    assert_eq!(refused_as(nowhere).await, refused("PAYER_OBJECT_NOT_FOUND", "查询房屋信息错误！"));
    assert_eq!(service.count("SELECT count(*) FROM meter_reading").await, 3);
}

#[tokio::test]
async fn an_item_cannot_leave_its_fees_behind() {
    let service = Service::start().await;
    let caller = service.caller();
    let item = service.item("物业费").await;
    caller.register(HOME, vec![owned("R1", "O1"), owned("R2", "O1")]).await.unwrap();
    for (room, start) in [("R1", "2024-01-01"), ("R2", "2025-01-01")] {
        let request = SaveRoomCreateFeeRequest { start_time: start.into(), ..charge_room(&item, room) };
        caller.save_room_create_fee(request).await.unwrap();
    }
    let to = |end: &str| UpdateFeeConfigRequest { end_time: end.into(), ..update(&item, "物业费") };
    let outcome = caller.update(to("2024-12-31")).await;
    let text = "有1笔未结束的费用或出账规则在新的有效期之外，不能修改计费起止时间";
    assert_eq!(refusal(outcome), refused("FEES_OUTSIDE_ITEM", text));
    caller.update(to("2025-01-01")).await.unwrap();
    // Without an end of its own, a fee ends with its item.
    let limits: Vec<_> =
        caller.list_fee(everything()).await.unwrap().fees.into_iter().map(|f| f.max_end_time).collect();
    assert_eq!(limits, ["2025-01-01 23:59:59", "2025-01-01 23:59:59"]);
    // Stopping ends them, so nothing is left behind.
    caller.update(UpdateFeeConfigRequest { state: ItemState::Stopped.into(), ..to("2024-06-30") }).await.unwrap();
}
