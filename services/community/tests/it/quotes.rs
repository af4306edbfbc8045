//! Quotes over gRPC, from facts that are all in the request.

use communal_proto::community::v1::stream_quotes_response::Outcome;
use communal_proto::community::v1::*;

use crate::harness::*;

/// A room of 88.88 m² that a custom formula charges each month, prepaid; on 2024-03-20 nothing was paid since January.
fn asked() -> QuoteFeeRequest {
    let room = QuotedRoom { built_up_area: "88.88".into(), fee_coefficient: "1.2".into(), ..QuotedRoom::default() };
    QuoteFeeRequest {
        community_id: HOME.into(),
        item: Some(QuotedItem {
            fee_flag: FeeFlag::Periodic.into(),
            computing_formula: Formula::Custom.into(),
            computing_formula_text: "面积*2.5+X*10".into(),
            square_price: "0".into(),
            additional_amount: "0".into(),
            payment_cd: PaymentTiming::Prepaid.into(),
            payment_cycle: 1,
            end_time: "2050-01-01".into(),
            ..QuotedItem::default()
        }),
        payer: Some(QuotedPayer {
            payer_obj_type: PayerObjectType::Room.into(),
            rooms: vec![room],
            ..QuotedPayer::default()
        }),
        fee: Some(QuotedFee { start_time: "2024-01-01".into(), ..QuotedFee::default() }),
        ..QuoteFeeRequest::default()
    }
}

fn with_item(change: impl FnOnce(&mut QuotedItem)) -> QuoteFeeRequest {
    let mut request = asked();
    change(request.item.as_mut().unwrap());
    request
}

fn with_fee(change: impl FnOnce(&mut QuotedFee)) -> QuoteFeeRequest {
    let mut request = asked();
    change(request.fee.as_mut().unwrap());
    request
}

fn with_payer(change: impl FnOnce(&mut QuotedPayer)) -> QuoteFeeRequest {
    let mut request = asked();
    change(request.payer.as_mut().unwrap());
    request
}

#[tokio::test]
async fn a_quote_explains_the_values_the_unit_the_months_and_the_rounding() {
    let service = Service::start().await;
    let quote = service.caller().quote(asked()).await.unwrap();
    let shown = [&quote.fee_price, &quote.amount, &quote.fee_total_price, &quote.credit_amount, &quote.cycles];
    assert_eq!(shown, ["234.2000", "702.60", "702.60", "0.00", "3.0000"]);
    assert_eq!((quote.deadline_time.as_str(), quote.end_time.as_str()), ("2024-03-31 23:59:59", "2024-04-01 00:00:00"));
    let explanation = quote.explanation.unwrap();
    assert_eq!(explanation.formula, "R*2.5+X*10");
    assert_eq!(explanation.filled_formula, "88.88*2.5+1.2*10");
    assert_eq!(explanation.unit_amount, "234.2");
    assert_eq!((explanation.scale(), explanation.decimal_place), (Rounding::HalfUp, 2));
    let inputs: Vec<_> = explanation.inputs.iter().map(|i| (i.room, i.title.as_str(), i.value.as_str())).collect();
    assert_eq!(inputs, [(0, "建筑面积", "88.88"), (0, "算费系数", "1.2")]);
    let line = QuoteLine {
        start_time: "2024-01-01 00:00:00".into(),
        end_time: "2024-03-31 23:59:59".into(),
        days: 91,
        months: "3.0000".into(),
        months_before: "0.0000".into(),
        months_through: "3.0000".into(),
        exact_before: "0".into(),
        exact_through: "702.6".into(),
        amount: "702.60".into(),
    };
    assert_eq!(explanation.lines, [line]);
}

#[tokio::test]
async fn each_scope_of_a_payment_has_its_price() {
    let service = Service::start().await;
    let caller = service.caller();
    let monthly = |request: QuoteFeeRequest| {
        let item = QuotedItem {
            computing_formula: Formula::Fixed.into(),
            additional_amount: "250".into(),
            ..request.item.clone().unwrap()
        };
        QuoteFeeRequest { item: Some(item), ..request }
    };
    let cases = [
        (QuoteFeeRequest { cycles: "1.5".into(), ..asked() }, ["375.00", "4.30", "1.5000", "2024-02-15 00:00:00"]),
        (QuoteFeeRequest { amount: "100".into(), ..asked() }, ["100.00", "3.22", "0.4000", "2024-01-13 00:00:00"]),
        (
            QuoteFeeRequest { end_time: "2024-02-15".into(), ..asked() },
            ["379.30", "0.00", "1.5172", "2024-02-16 00:00:00"],
        ),
        (
            QuoteFeeRequest { start_time: "2024-03-01".into(), end_time: "2024-03-31".into(), ..asked() },
            ["250.00", "0.00", "1.0000", "2024-01-01 00:00:00"],
        ),
        (
            QuoteFeeRequest { target_end_time: "2024-12-31".into(), ..asked() },
            ["3000.00", "0.00", "12.0000", "2025-01-01 00:00:00"],
        ),
        (
            QuoteFeeRequest {
                quote_time: "2024-01-20".into(),
                ..with_fee(|fee| {
                    fee.end_time = "2024-01-13".into();
                    fee.credit_amount = "3.22".into();
                })
            },
            ["150.00", "0.00", "0.6129", "2024-02-01 00:00:00"],
        ),
    ];
    for (request, expected) in cases {
        let quote = caller.quote(monthly(request.clone())).await.unwrap();
        let shown = [quote.fee_total_price, quote.credit_amount, quote.cycles, quote.end_time];
        assert_eq!(shown, expected, "{request:?}");
    }
}

#[tokio::test]
async fn each_kind_of_fee_and_payer_object_can_be_tried() {
    let service = Service::start().await;
    let caller = service.caller();
    let total = async |request| caller.quote(request).await.unwrap().fee_total_price;
    let reading = QuotedReading { pre_degrees: "100".into(), cur_degrees: "156.5".into(), price: String::new() };
    let mut water = with_item(|item| {
        item.fee_flag = FeeFlag::OneOff.into();
        item.computing_formula = Formula::Reading.into();
        item.square_price = "3.85".into();
    });
    water.fee.as_mut().unwrap().reading = Some(reading);
    assert_eq!(total(water).await, "217.53");

    let mut rent = with_item(|item| item.computing_formula = Formula::EscalatingRent.into());
    rent.payer = Some(QuotedPayer {
        payer_obj_type: PayerObjectType::Contract.into(),
        rooms: ["400", "600"].map(|rent| QuotedRoom { room_rent: rent.into(), ..QuotedRoom::default() }).into(),
        ..QuotedPayer::default()
    });
    rent.fee = Some(QuotedFee {
        start_time: "2023-01-01".into(),
        deadline_time: "2024-06-30".into(),
        escalation: Some(QuotedEscalation {
            rate_cycle: 12,
            rate: "0.05".into(),
            rate_start_time: "2024-01-01".into(),
        }),
        ..QuotedFee::default()
    });
    rent.quote_time = "2024-07-01".into();
    assert_eq!(total(rent).await, "18300.00");

    let mut bill = with_fee(|fee| {
        fee.start_time = "2024-01-15".into();
        fee.bill_span = Some(QuotedSpan { start_time: "2024-04-01".into(), end_time: "2024-04-14".into() });
    });
    bill.item.as_mut().unwrap().computing_formula = Formula::Fixed.into();
    bill.item.as_mut().unwrap().additional_amount = "250".into();
    assert_eq!(total(bill).await, "112.90");

    let car = QuotedPayer {
        payer_obj_type: PayerObjectType::Car.into(),
        space_area: "12.5".into(),
        ..QuotedPayer::default()
    };
    let mut parking = with_item(|item| {
        item.computing_formula = Formula::BuiltUpArea.into();
        item.square_price = "8".into();
    });
    parking.payer = Some(car);
    parking.cycles = "1".into();
    assert_eq!(total(parking).await, "100.00");

    let span = QuotedSpan { start_time: "2024-02-01".into(), end_time: "2024-03-31".into() };
    assert_eq!(total(with_fee(|fee| fee.paid_spans = vec![span])).await, "234.20", "January is the gap");
    assert_eq!(total(with_fee(|fee| fee.ended = true)).await, "0.00");
}

#[tokio::test]
async fn an_amount_that_is_not_known_names_what_is_missing() {
    let service = Service::start().await;
    let caller = service.caller();
    let cases = [
        (with_payer(|payer| payer.rooms[0].fee_coefficient.clear()), "公式第8个字符处：X没有取值"),
        (with_item(|item| item.computing_formula = Formula::Reading.into()), "抄表数据异常"),
        (with_item(|item| item.computing_formula = Formula::IndoorArea.into()), "缺少室内面积"),
        (with_item(|item| item.computing_formula = Formula::Dynamic.into()), "缺少费用金额"),
        (with_item(|item| item.computing_formula = Formula::TemporaryCar.into()), "暂不支持该类公式"),
        (
            with_item(|item| item.computing_formula_text = "R*2.5-1000".into()),
            "公式第6个字符处：计算结果为负数(-777.8)",
        ),
        (
            with_payer(|payer| {
                payer.payer_obj_type = PayerObjectType::Car.into();
                payer.rooms.clear();
            }),
            "公式第1个字符处：R没有取值",
        ),
        (
            with_payer(|payer| {
                payer.payer_obj_type = PayerObjectType::Contract.into();
                payer.rooms.clear();
            }),
            "缺少合同房屋",
        ),
    ];
    for (request, text) in cases {
        assert_eq!(refusal(caller.quote(request).await), refused("AMOUNT_UNKNOWN", text));
    }
}

#[tokio::test]
async fn a_payment_that_cannot_be_made_is_refused_with_its_reason() {
    let service = Service::start().await;
    let caller = service.caller();
    let scope = |fee: QuoteFeeRequest, cycles: &str, amount: &str, end_time: &str| QuoteFeeRequest {
        cycles: cycles.into(),
        amount: amount.into(),
        end_time: end_time.into(),
        ..fee
    };
    let limited = || with_fee(|fee| fee.deadline_time = "2024-02-29".into());
    let limit = "缴费周期超过 缴费结束时间,请用按结束时间方式缴费";
    let cases = [
        (scope(with_fee(|fee| fee.ended = true), "1", "", ""), "FEE_ENDED", "收费已经结束，不能再缴费"),
        (scope(limited(), "3", "", ""), "PAST_FEE_END", limit),
        (scope(limited(), "", "468.41", ""), "PAST_FEE_END", limit),
        (scope(limited(), "", "", "2024-03-01"), "PAST_FEE_END", limit),
        (
            scope(with_fee(|fee| fee.end_time = "2024-02-01".into()), "", "", "2024-01-31"),
            "PAID_ALREADY",
            "可能存在重复缴费，请刷新页面重新缴费",
        ),
        (scope(asked(), "", "7", ""), "COVERS_NO_DAY", "缴费金额不足一天，首日费用为7.56"),
        (
            scope(with_item(|item| item.computing_formula = Formula::Fixed.into()), "", "5", ""),
            "FEE_COSTS_NOTHING",
            "费用金额为零，不能按金额缴费",
        ),
        (
            scope(with_item(|item| item.fee_flag = FeeFlag::OneOff.into()), "", "", "2024-12-31"),
            "PAID_WHOLE",
            "一次性费用只能一次缴清",
        ),
    ];
    for (request, reason, text) in cases {
        assert_eq!(refusal(caller.quote(request).await), refused(reason, text));
    }
}

#[tokio::test]
async fn faults_are_named_by_their_fields() {
    let service = Service::start().await;
    let caller = service.caller();
    let empty = QuoteFeeRequest { community_id: HOME.into(), ..QuoteFeeRequest::default() };
    assert_eq!(fields(caller.quote(empty).await), ["item", "payer", "fee"]);
    let span = |from: &str, to: &str| QuotedSpan { start_time: from.into(), end_time: to.into() };
    let cases = [
        (with_item(|item| item.square_price.clear()), "item.square_price"),
        (with_item(|item| item.square_price = "-1".into()), "item.square_price"),
        (with_item(|item| item.additional_amount = "0.00001".into()), "item.additional_amount"),
        (with_item(|item| item.payment_cycle = 0), "item.payment_cycle"),
        (with_item(|item| item.end_time = "2050-02-30".into()), "item.end_time"),
        (with_item(|item| item.computing_formula = 0), "item.computing_formula"),
        (with_item(|item| item.computing_formula_text.clear()), "item.computing_formula_text"),
        (with_item(|item| item.computing_formula_text = "R*2.5+Y".into()), "item.computing_formula_text"),
        (with_payer(|payer| payer.payer_obj_type = PayerObjectType::Listing.into()), "payer.payer_obj_type"),
        (with_payer(|payer| payer.rooms.clear()), "payer.rooms"),
        (with_payer(|payer| payer.payer_obj_type = PayerObjectType::Car.into()), "payer.rooms"),
        (with_payer(|payer| payer.rooms[0].layer = "1.5".into()), "payer.rooms[0].layer"),
        (with_fee(|fee| fee.end_time = "2023-12-31".into()), "fee.end_time"),
        (with_fee(|fee| fee.paid_spans = vec![span("2024-03-31", "2024-03-01")]), "fee.paid_spans"),
        (with_fee(|fee| fee.bill_span = Some(span("2024-03-31", "2024-03-01"))), "fee.bill_span.end_time"),
        (with_fee(|fee| fee.bill_span = Some(span("2023-12-01", "2024-03-01"))), "fee.bill_span.start_time"),
        (QuoteFeeRequest { cycles: "0".into(), ..asked() }, "cycles"),
        (QuoteFeeRequest { cycles: "1.00001".into(), ..asked() }, "cycles"),
        (QuoteFeeRequest { amount: "10.001".into(), ..asked() }, "amount"),
        (QuoteFeeRequest { cycles: "1".into(), amount: "10".into(), ..asked() }, "amount"),
        (QuoteFeeRequest { start_time: "2024-02-01".into(), ..asked() }, "end_time"),
        (QuoteFeeRequest { start_time: "2024-02-02".into(), end_time: "2024-02-01".into(), ..asked() }, "end_time"),
    ];
    for (request, field) in cases {
        assert_eq!(fields(caller.quote(request).await), [field]);
    }
    let attribute = QuotedAttribute { number: "7".into(), value: "1".into() };
    let twice = with_payer(|payer| payer.rooms[0].attributes = vec![attribute.clone(), attribute]);
    assert_eq!(fields(caller.quote(twice).await), ["payer.rooms[0].attributes[1].number"]);
}

#[tokio::test]
async fn a_stream_answers_each_request_in_its_order_and_a_refusal_does_not_end_it() {
    let service = Service::start().await;
    let caller = service.caller().with("x-tenant-id", HOME);
    let mut requests = vec![asked(); 500];
    requests[3] = with_payer(|payer| payer.rooms[0].fee_coefficient.clear());
    requests[5] = with_item(|item| item.square_price = "-1".into());
    requests[7] = QuoteFeeRequest { community_id: OTHER.into(), ..asked() };
    let answers = caller.quotes(requests).await.unwrap();
    assert!(answers.iter().map(|answer| answer.row).eq(0..500));
    let unary = caller.quote(asked()).await.unwrap();
    for answer in answers {
        let expected = match answer.row {
            3 => refusal_of("AMOUNT_UNKNOWN", "公式第8个字符处：X没有取值", &[]),
            5 => refusal_of("FIELD_MALFORMED", "计费单价不能小于0", &["quote.item.square_price"]),
            7 => refusal_of("TENANT_REFUSED", "无权访问", &[]),
            _ => Outcome::Quote(unary.clone()),
        };
        assert_eq!(answer.outcome, Some(expected), "row {}", answer.row);
    }
}

fn refusal_of(reason: &str, text: &str, fields: &[&str]) -> Outcome {
    let fields = fields.iter().map(|field| (*field).to_owned()).collect();
    Outcome::Refusal(QuoteRefusal { reason: reason.into(), text: text.into(), fields })
}

#[tokio::test]
async fn another_community_is_refused_and_nothing_is_written() {
    let service = Service::start().await;
    let foreign = QuoteFeeRequest { community_id: FOREIGN.into(), ..asked() };
    let (reason, _) = refusal(service.caller().quote(foreign.clone()).await);
    assert_eq!(reason, "TENANT_REFUSED");
    let (reason, _) = refusal(service.caller().with("x-tenant-id", FOREIGN).quotes(vec![foreign]).await);
    assert_eq!(reason, "TENANT_REFUSED");
    let before = service.count("SELECT count(*) FROM platform.change").await;
    service.caller().id("a request id").quote(asked()).await.unwrap();
    assert_eq!(service.count("SELECT count(*) FROM platform.change").await, before);
    assert_eq!(service.count("SELECT count(*) FROM pay_fee").await, 0);
}
