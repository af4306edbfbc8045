//! What fees owe: lists, quotes, arrears and streams agree, by a constant number of statements.

use std::collections::BTreeMap;

use communal_proto::community::v1::*;

use crate::charging::{charge_room, everything, owned};
use crate::harness::*;

fn quote(fee_id: &str, cycle: &str) -> ListFeeObjRequest {
    ListFeeObjRequest {
        community_id: HOME.into(),
        fee_id: fee_id.into(),
        cycle: cycle.into(),
        ..ListFeeObjRequest::default()
    }
}

fn arrears(objects: &str) -> ListOweFeesRequest {
    ListOweFeesRequest { community_id: HOME.into(), pay_obj_id: objects.into(), ..ListOweFeesRequest::default() }
}

fn report() -> QueryReportOweFeeRequest {
    QueryReportOweFeeRequest { page: 1, row: 500, community_id: HOME.into(), ..QueryReportOweFeeRequest::default() }
}

/// Rooms R0, R1, … with different areas, each charged by one item of every formula.
async fn charged(service: &Service, rooms: usize) -> Vec<FeeDetail> {
    let caller = service.caller();
    let objects = (0..rooms).map(|n| PayerObject {
        built_up_area: format!("{}.5", 60 + n),
        ..owned(&format!("R{n}"), &format!("O{}", n % 3))
    });
    caller.register(HOME, objects.collect()).await.unwrap();
    let flags = [FeeFlag::Periodic, FeeFlag::Indirect, FeeFlag::OneOff];
    for (n, formula) in
        ["1001", "2002", "3003", "4004", "6006", "R*2.5+X*10", "8008", "1101", "1102"].iter().enumerate()
    {
        let item = service.formula_item(formula, formula, flags[n % 3]).await;
        let request = RoomCreatePayFeeRequest {
            community_id: HOME.into(),
            config_id: item,
            start_time: format!("2024-01-{:02}", n + 10),
            room_ids: (0..rooms).map(|n| format!("R{n}")).collect(),
            amount: "80.55".into(),
            rate_cycle: "1".into(),
            rate: "0.05".into(),
            rate_start_time: "2024-02-01".into(),
            ..RoomCreatePayFeeRequest::default()
        };
        caller.room_create_pay_fee(request).await.unwrap();
    }
    caller.list_fee(everything()).await.unwrap().fees
}

#[tokio::test]
async fn list_quote_arrears_and_stream_have_the_same_amounts() {
    let service = Service::start().await;
    let caller = service.caller();
    let listed = charged(&service, 7).await;
    assert_eq!(listed.len(), 63);
    let by_fee: BTreeMap<_, _> = listed.iter().map(|fee| (fee.fee_id.clone(), fee.amount_owed.clone())).collect();
    assert!(by_fee.values().all(|owed| owed != "0.00"), "{by_fee:?}");
    for (fee_id, owed) in &by_fee {
        let quoted = caller.list_fee_obj(quote(fee_id, "")).await.unwrap().data.unwrap();
        assert_eq!(quoted.fee_total_price, format!("{owed}00"), "{fee_id}");
        let explained =
            QuoteFeeRequest { community_id: HOME.into(), fee_id: fee_id.clone(), ..QuoteFeeRequest::default() };
        let explained = caller.quote(explained).await.unwrap();
        assert_eq!((&explained.fee_total_price, explained.fee_price), (owed, quoted.fee_price), "{fee_id}");
        assert!(!explained.explanation.unwrap().filled_formula.is_empty());
    }
    let of =
        |fees: Vec<FeeDetail>| fees.into_iter().map(|fee| (fee.fee_id, fee.amount_owed)).collect::<BTreeMap<_, _>>();
    assert_eq!(of(caller.stream_owing().await), by_fee);
    let objects = (0..7).map(|n| format!("R{n}")).collect::<Vec<_>>().join(",");
    assert_eq!(of(caller.list_owe_fees(arrears(&objects)).await.unwrap().data), by_fee);
    let mut of_owners = BTreeMap::new();
    for owner in ["O0", "O1", "O2"] {
        let asked = ListOweFeesRequest { owner_id: owner.into(), ..arrears("") };
        of_owners.extend(of(caller.list_owe_fees(asked).await.unwrap().data));
    }
    assert_eq!(of_owners, by_fee);

    // The report adds them up, the largest first.
    let cents = |text: &str| text.replace('.', "").parse::<i64>().unwrap();
    let rows = caller.query_report_owe_fee(report()).await.unwrap();
    assert_eq!((rows.total, rows.fee_price_error_count), (7, 0));
    let owed: Vec<_> = rows.data.iter().map(|row| cents(&row.amount_owed)).collect();
    assert!(owed.is_sorted_by(|a, b| a >= b), "{owed:?}");
    let total: i64 = by_fee.values().map(|owed| cents(owed)).sum();
    assert!(owed.iter().sum::<i64>() == total && rows.data.iter().all(|r| cents(&r.total_owe_amount) == total));
    for row in &rows.data {
        assert_eq!(row.items.iter().map(|item| cents(&item.amount_owed)).sum::<i64>(), cents(&row.amount_owed));
    }
    // Pages cut the same order.
    let second = caller.query_report_owe_fee(QueryReportOweFeeRequest { page: 2, row: 3, ..report() }).await.unwrap();
    assert_eq!((second.records, second.data.as_slice()), (3, &rows.data[3..6]));
    let nobody = caller.query_report_owe_fee(QueryReportOweFeeRequest { owner_id: "O9".into(), ..report() }).await;
    assert_eq!(nobody.unwrap().total, 0);
}

#[tokio::test]
async fn a_payment_is_quoted_by_months_and_by_dates() {
    let service = Service::start().await;
    let caller = service.caller();
    let item = service.item("物业费").await;
    caller.register(HOME, vec![PayerObject { built_up_area: "60".into(), ..owned("R1", "O1") }]).await.unwrap();
    caller.save_room_create_fee(charge_room(&item, "R1")).await.unwrap();
    let fee_id = caller.list_fee(everything()).await.unwrap().fees[0].fee_id.clone();
    let price = async |request| caller.list_fee_obj(request).await.map(|reply| reply.data.unwrap().fee_total_price);
    assert_eq!(price(quote(&fee_id, "3")).await.unwrap(), "750.0000");
    assert_eq!(price(quote(&fee_id, "1.5")).await.unwrap(), "375.0000");
    // The page adds a day to the end: until 15 February is 1.5172 months.
    let until = ListFeeObjRequest { cust_end_time: "2024-02-16".into(), ..quote(&fee_id, "103") };
    assert_eq!(price(until).await.unwrap(), "379.3000");
    let between = ListFeeObjRequest {
        custom_start_time: "2024-01-01".into(),
        custom_end_time: "2024-02-01".into(),
        ..quote(&fee_id, "105")
    };
    assert_eq!(price(between).await.unwrap(), "250.0000");
    assert_eq!(refusal(price(quote(&fee_id, "103")).await), refused("FIELD_MISSING", "自定义结束时间不能为空"));
    assert_eq!(refusal(price(quote(&fee_id, "9000")).await).0, "PAST_FEE_END");
    assert_eq!(refusal(price(quote("909", "1")).await).0, "FEE_NOT_FOUND");
    let target = ListOweFeesRequest { target_end_time: "2024-05-31".into(), ..arrears("R1") };
    assert_eq!(caller.list_owe_fees(target).await.unwrap().data[0].amount_owed, "1250.00");
    let neither = caller.list_owe_fees(arrears("")).await;
    assert_eq!(refusal(neither), refused("OBJECT_OR_OWNER_MISSING", "费用对象或者业主不能都为空"));
}

#[tokio::test]
async fn a_fee_without_an_amount_says_why_and_no_total_hides_it() {
    let service = Service::start().await;
    let caller = service.caller();
    let (formula, water) = ("F*0.1", "5005");
    let items = [
        service.formula_item("公摊费", formula, FeeFlag::Periodic).await,
        service.formula_item("水费", water, FeeFlag::OneOff).await,
    ];
    caller.register(HOME, vec![owned("R1", "O1")]).await.unwrap();
    for item in &items {
        caller.save_room_create_fee(charge_room(item, "R1")).await.unwrap();
    }
    let fees = caller.list_fee(everything()).await.unwrap().fees;
    assert!(fees.iter().all(|fee| fee.amount_owed == "0.00"));
    assert_eq!(fees[0].fee_price_error, "抄表数据异常");
    assert!(fees[1].fee_price_error.contains("F没有取值"), "{}", fees[1].fee_price_error);
    assert_eq!(refusal(caller.list_fee_obj(quote(&fees[1].fee_id, "1")).await).0, "AMOUNT_UNKNOWN");
    // They stand in lists of arrears, and the report counts and names them.
    assert_eq!(caller.list_owe_fees(arrears("R1")).await.unwrap().data.len(), 2);
    let rows = caller.query_report_owe_fee(report()).await.unwrap();
    assert_eq!((rows.total, rows.fee_price_error_count, rows.fee_price_errors.len()), (0, 2, 2));
    // The facts of today count.
    caller.register(HOME, vec![PayerObject { building_area: "1000".into(), ..owned("R1", "O1") }]).await.unwrap();
    assert_eq!(caller.list_fee(everything()).await.unwrap().fees[1].amount_owed, "300.00");
}

#[tokio::test]
async fn lists_are_filtered_and_of_one_community() {
    let service = Service::start().await;
    let caller = service.caller();
    let all = charged(&service, 3).await;
    let total = async |request: ListFeeRequest| caller.list_fee(request).await.map(|reply| reply.total);
    assert_eq!(total(everything()).await.unwrap(), 27);
    let asked = [
        (ListFeeRequest { payer_obj_id: "R1".into(), ..everything() }, 9),
        (ListFeeRequest { payer_obj_ids: "R1,R2".into(), ..everything() }, 18),
        (ListFeeRequest { room_num: "1-2-R2".into(), ..everything() }, 9),
        (ListFeeRequest { owner_id: "O1".into(), fee_flag: FeeFlag::OneOff.into(), ..everything() }, 3),
        (ListFeeRequest { owner_name: "o2".into(), ..everything() }, 9),
        (ListFeeRequest { config_id: all[0].config_id.clone(), ..everything() }, 3),
        (ListFeeRequest { batch_id: all[0].batch_id.clone(), ..everything() }, 3),
        (ListFeeRequest { fee_id: all[4].fee_id.clone(), ..everything() }, 1),
        (ListFeeRequest { state: FeeState::Ended.into(), ..everything() }, 0),
        (ListFeeRequest { payer_obj_type: PayerObjectType::Car.into(), ..everything() }, 0),
    ];
    for (request, expected) in asked {
        assert_eq!(total(request.clone()).await.unwrap(), expected, "{request:?}");
    }
    let two_parts = ListFeeRequest { room_num: "1-2".into(), ..everything() };
    assert_eq!(refusal(total(two_parts).await), refused("ROOM_NUMBER", "房屋编号格式不对！"));
    let nowhere = ListFeeRequest { room_num: "9-9-9".into(), ..everything() };
    assert_eq!(refusal(total(nowhere).await), refused("ROOM_NOT_FOUND", "找不到房屋信息！"));
    assert_eq!(total(ListFeeRequest { community_id: OTHER.into(), ..everything() }).await.unwrap(), 0);
    let objects =
        ListConfigFeeObjsRequest { page: 1, row: 2, community_id: HOME.into(), config_id: all[0].config_id.clone() };
    let objects = caller.list_config_fee_objs(objects).await.unwrap();
    assert_eq!((objects.total, objects.records, objects.data.len()), (3, 2, 2));
    assert_eq!(objects.data[0].owner_name, "O2先生");
}
