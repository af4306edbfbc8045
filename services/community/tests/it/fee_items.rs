//! Fee items as their documents have them: shapes, texts, aliases, filters, history.

use chrono::TimeDelta;
use communal_proto::Coded;
use communal_proto::community::v1::*;

use crate::harness::*;

#[tokio::test]
async fn a_saved_item_is_listed_as_documented() {
    let service = Service::start().await;
    service.caller().save(save("物业费")).await.unwrap();
    let answer = service.caller().list(list()).await.unwrap();
    assert_eq!((answer.page, answer.records, answer.rows, answer.total), (0, 1, 0, 1));
    let mut item = answer.fee_configs.into_iter().next().unwrap();
    let config_id = std::mem::take(&mut item.config_id);
    assert!(config_id.len() == 18 && config_id.starts_with("92"), "{config_id}");
    assert!(config_id.bytes().all(|b| b.is_ascii_digit()), "{config_id}");
    let expected = FeeConfig {
        config_id: String::new(),
        fee_type_cd: FeeType::Property.into(),
        fee_type_cd_name: "物业费".into(),
        fee_name: "物业费".into(),
        fee_flag: FeeFlag::Periodic.into(),
        fee_flag_name: "周期性费用".into(),
        start_time: "2024-01-01 00:00:00".into(),
        end_time: "2050-12-31 23:59:59".into(),
        computing_formula: Formula::BuiltUpArea.into(),
        computing_formula_name: "建筑面积*单价+附加费".into(),
        computing_formula_text: None,
        square_price: "2.5".into(),
        additional_amount: "100.0".into(),
        is_default: DefaultItem::Ordinary.into(),
        bill_type: BillType::Monthly.into(),
        bill_type_name: "每月1日".into(),
        payment_cd: PaymentTiming::Prepaid.into(),
        payment_cycle: "1".into(),
        deduct_from: Choice::Yes.into(),
        pay_online: Choice::Yes.into(),
        scale: Rounding::HalfUp.into(),
        decimal_place: DecimalPlace::Two.into(),
        units: "元".into(),
        prepayment_period: None,
        state: ItemState::InUse.into(),
        community_id: HOME.into(),
        status_cd: "0".into(),
    };
    assert_eq!(item, expected);
}

#[tokio::test]
async fn each_missing_field_has_its_documented_text_and_the_first_one_is_told() {
    let service = Service::start().await;
    let caller = service.caller();
    let expected = [
        "必填，请选择费用类型",
        "必填，请填写收费项目",
        "必填，请选择费用标识",
        "必填，请选择计费起始时间",
        "必填，请选择计费终止时间",
        "必填，请填写附加费用",
        "必填，请填写计费单价",
        "必填，请填写附加费用",
    ];
    let given: [fn(&mut SaveFeeConfigRequest); 8] = [
        |r| r.fee_type_cd = FeeType::Property.into(),
        |r| r.fee_name = "物业费".into(),
        |r| r.fee_flag = FeeFlag::Periodic.into(),
        |r| r.start_time = "2024-01-01".into(),
        |r| r.end_time = "2024-12-31".into(),
        |r| r.computing_formula = "1001".into(),
        |r| r.square_price = "1".into(),
        |r| r.additional_amount = "0".into(),
    ];
    let mut request = SaveFeeConfigRequest { community_id: HOME.into(), ..SaveFeeConfigRequest::default() };
    for (text, give) in expected.into_iter().zip(given) {
        assert_eq!(refusal(caller.save(request.clone()).await), refused("FIELD_MISSING", text));
        give(&mut request);
    }
    for (text, give) in [
        ("未包含出账类型", (|r| r.bill_type = BillType::Monthly.into()) as fn(&mut SaveFeeConfigRequest)),
        ("付费类型不能为空", |r| r.payment_cd = PaymentTiming::Prepaid.into()),
        ("缴费周期不能为空", |r| r.payment_cycle = "1".into()),
    ] {
        assert_eq!(refusal(caller.save(request.clone()).await), refused("FIELD_MISSING", text));
        give(&mut request);
    }
    // The state may be absent: in use.
    caller.save(request.clone()).await.unwrap();
    assert_eq!(caller.named("物业费").await.state(), ItemState::InUse);
    request.community_id.clear();
    assert_eq!(refusal(caller.save(request).await), refused("FIELD_MISSING", "未包含小区ID"));

    let nothing = UpdateFeeConfigRequest { community_id: HOME.into(), ..UpdateFeeConfigRequest::default() };
    assert_eq!(refusal(caller.update(nothing).await), refused("FIELD_MISSING", "费用项ID不能为空"));
    let no_bill_type = UpdateFeeConfigRequest { bill_type: 0, ..update("1", "物业费") };
    assert_eq!(refusal(caller.update(no_bill_type).await), refused("FIELD_MISSING", "必填，请填写出账类型"));
    assert_eq!(refusal(caller.delete("").await), refused("FIELD_MISSING", "费用项ID不能为空"));
    let no_page = ListFeeConfigsRequest { page: 0, ..list() };
    assert_eq!(refusal(caller.list(no_page).await).1, "请求中未包含page信息");
    let no_row = ListFeeConfigsRequest { row: 0, ..list() };
    assert_eq!(refusal(caller.list(no_row).await).1, "请求中未包含row信息");
    let nowhere = QueryHisFeeConfigRequest { community_id: String::new(), ..history() };
    assert_eq!(refusal(caller.history(nowhere).await).1, "未包含小区");
}

#[tokio::test]
async fn what_the_documents_write_is_taken_and_stored_canonical() {
    // The aliases of both documents, as the gateway reads them.
    assert_eq!(FeeType::from_code("1001"), Some(FeeType::Property));
    assert_eq!(FeeFlag::from_code("Y"), Some(FeeFlag::Periodic));
    assert_eq!(BillType::from_code("MONTHLY"), Some(BillType::Monthly));
    assert_eq!(PaymentTiming::from_code("PREPAID"), Some(PaymentTiming::Prepaid));
    for (alias, state) in [
        ("N", ItemState::InUse),
        ("Y", ItemState::InUse),
        ("ENABLED", ItemState::InUse),
        ("NA", ItemState::Stopped),
        ("DISABLED", ItemState::Stopped),
    ] {
        assert_eq!(ItemState::from_code(alias), Some(state));
    }

    let service = Service::start().await;
    let caller = service.caller();
    let request = SaveFeeConfigRequest {
        payment_cycle: "MONTH".into(),
        computing_formula: "面积 * 单价 + 附加费".into(),
        ..save("物业费")
    };
    caller.save(request).await.unwrap();
    let item = caller.named("物业费").await;
    assert_eq!((item.payment_cycle.as_str(), item.computing_formula()), ("1", Formula::BuiltUpArea));
    assert_eq!(item.computing_formula_text, None);

    let request = SaveFeeConfigRequest { computing_formula: "R*2.5+X*10".into(), ..save("电梯费") };
    caller.save(request).await.unwrap();
    let item = caller.named("电梯费").await;
    assert_eq!(item.computing_formula(), Formula::Custom);
    assert_eq!(item.computing_formula_text.as_deref(), Some("R*2.5+X*10"));

    let broken = SaveFeeConfigRequest { computing_formula: "面积*单价+".into(), ..save("坏公式") };
    assert_eq!(refusal(caller.save(broken).await), refused("FIELD_MALFORMED", "公式第7个字符处：缺少数字或变量"));
}

#[tokio::test]
async fn a_name_is_unique_among_the_live_items_of_its_community() {
    let service = Service::start().await;
    let caller = service.caller();
    let first = service.item("物业费").await;
    let second = service.item("停车费").await;
    let taken = || refused("FEE_ITEM_NAME_TAKEN", "物业费已存在");
    assert_eq!(refusal(caller.save(save("物业费")).await), taken());
    assert_eq!(refusal(caller.update(update(&second, "物业费")).await), taken());
    assert_eq!(caller.named("停车费").await.config_id, second);
    // Its own name is no obstacle, nor is that of another community's or of a deleted item.
    caller.update(update(&first, "物业费")).await.unwrap();
    let elsewhere = SaveFeeConfigRequest { community_id: OTHER.into(), ..save("物业费") };
    caller.save(elsewhere).await.unwrap();
    caller.delete(&first).await.unwrap();
    caller.update(update(&second, "物业费")).await.unwrap();
}

#[tokio::test]
async fn no_two_names_look_alike() {
    let service = Service::start().await;
    let caller = service.caller();
    caller.save(save(" A区 \u{3000}物业费 ")).await.unwrap();
    let kept = caller.list(list()).await.unwrap().fee_configs;
    assert_eq!(kept.iter().map(|item| item.fee_name.as_str()).collect::<Vec<_>>(), ["A区 物业费"]);
    let other = service.item("停车费").await;
    for same in ["A区 物业费", "a区物业费", "Ａ区　物业费", "A区  物业费"] {
        assert_eq!(refusal(caller.save(save(same)).await).0, "FEE_ITEM_NAME_TAKEN", "{same}");
        assert_eq!(refusal(caller.update(update(&other, same)).await).0, "FEE_ITEM_NAME_TAKEN", "{same}");
        assert_eq!(caller.named(same).await.config_id, kept[0].config_id, "{same}");
    }
    for unseen in ["物\u{200b}业费", "物业费\n"] {
        assert_eq!(refusal(caller.save(save(unseen)).await).0, "FIELD_MALFORMED", "{unseen:?}");
    }
    assert_eq!(refusal(caller.save(save(" ")).await).0, "FIELD_MISSING");
}

#[tokio::test]
async fn an_update_changes_what_it_says_and_leaves_the_rest() {
    let service = Service::start().await;
    let caller = service.caller();
    let request = SaveFeeConfigRequest {
        payment_cd: PaymentTiming::Postpaid.into(),
        payment_cycle: "3".into(),
        deduct_from: Choice::No.into(),
        pay_online: Choice::No.into(),
        scale: Rounding::Down.into(),
        decimal_place: DecimalPlace::Zero.into(),
        units: "吨".into(),
        prepayment_period: Some("15".into()),
        ..save("水费")
    };
    caller.save(request).await.unwrap();
    let before = caller.named("水费").await;
    caller
        .update(UpdateFeeConfigRequest {
            square_price: "3.8501".into(),
            end_time: "2049-06-30 12:00:00".into(),
            ..update(&before.config_id, "用水费")
        })
        .await
        .unwrap();
    let after = caller.named("用水费").await;
    let expected = FeeConfig {
        fee_name: "用水费".into(),
        square_price: "3.8501".into(),
        end_time: "2049-06-30 12:00:00".into(),
        ..before.clone()
    };
    assert_eq!(after, expected);

    // An empty prepaymentPeriod clears it; an absent one has left it.
    assert_eq!(after.prepayment_period.as_deref(), Some("15"));
    let cleared =
        UpdateFeeConfigRequest { prepayment_period: Some(String::new()), ..update(&before.config_id, "用水费") };
    caller.update(cleared).await.unwrap();
    assert_eq!(caller.named("用水费").await.prepayment_period, None);
    let set = UpdateFeeConfigRequest {
        prepayment_period: Some("7".into()),
        payment_cd: PaymentTiming::Prepaid.into(),
        payment_cycle: "12".into(),
        units: "元".into(),
        ..update(&before.config_id, "用水费")
    };
    caller.update(set).await.unwrap();
    let item = caller.named("用水费").await;
    assert_eq!(item.prepayment_period.as_deref(), Some("7"));
    assert_eq!(
        (item.payment_cd(), item.payment_cycle.as_str(), item.units.as_str()),
        (PaymentTiming::Prepaid, "12", "元")
    );
}

#[tokio::test]
async fn a_custom_formula_may_be_the_stored_one() {
    let service = Service::start().await;
    let caller = service.caller();
    let id = service.item("电梯费").await;
    let custom = |text: &str| UpdateFeeConfigRequest {
        computing_formula: "7007".into(),
        computing_formula_text: text.into(),
        ..update(&id, "电梯费")
    };
    assert_eq!(refusal(caller.update(custom("")).await), refused("FIELD_MISSING", "自定义公式文本不能为空"));
    caller.update(custom("R*0.3+X*10")).await.unwrap();
    caller.update(update(&id, "电梯费")).await.unwrap();
    caller.update(custom("")).await.unwrap();
    let item = caller.named("电梯费").await;
    assert_eq!(item.computing_formula(), Formula::Custom);
    assert_eq!(item.computing_formula_text.as_deref(), Some("R*0.3+X*10"));
}

#[tokio::test]
async fn what_is_not_there_cannot_be_changed_or_deleted() {
    let service = Service::start().await;
    let caller = service.caller();
    let id = service.item("物业费").await;
    let not_found = refused("FEE_ITEM_NOT_FOUND", "未找到该费用项");
    let not_deleted = refused("FEE_ITEM_NOT_FOUND", "删除费用项失败");
    assert_eq!(refusal(caller.update(update("920000000000000009", "物业费")).await), not_found);
    assert_eq!(refusal(caller.delete("920000000000000009").await), not_deleted);
    // Another community's, by the same operator: as if it did not exist.
    let elsewhere = UpdateFeeConfigRequest { community_id: OTHER.into(), ..update(&id, "物业费") };
    assert_eq!(refusal(caller.update(elsewhere).await), not_found);
    caller.delete(&id).await.unwrap();
    assert_eq!(refusal(caller.update(update(&id, "物业费")).await), not_found);
    assert_eq!(refusal(caller.delete(&id).await), not_deleted);
    assert_eq!(caller.list(list()).await.unwrap().total, 0);
}

#[tokio::test]
async fn a_default_item_stays() {
    let service = Service::start().await;
    let id = service.item("物业费").await;
    // Items that come with the system are put there by migrations, not by calls.
    service.execute("UPDATE pay_fee_config SET is_default = 'T'").await;
    assert_eq!(refusal(service.caller().delete(&id).await), refused("FEE_ITEM_IS_DEFAULT", "该费用项目不能删除"));
    service.caller().update(update(&id, "物业管理费")).await.unwrap();
    assert_eq!(service.caller().named("物业管理费").await.is_default(), DefaultItem::System);
}

#[tokio::test]
async fn lists_are_filtered_as_documented() {
    let service = Service::start().await;
    let caller = service.caller();
    let requests = [
        SaveFeeConfigRequest { prepayment_period: Some("15".into()), ..save("物业费A") },
        SaveFeeConfigRequest {
            fee_type_cd: FeeType::Parking.into(),
            fee_flag: FeeFlag::OneOff.into(),
            computing_formula: "2002".into(),
            payment_cd: PaymentTiming::Postpaid.into(),
            payment_cycle: "3".into(),
            bill_type: BillType::RealTime.into(),
            ..save("停车费100%")
        },
        SaveFeeConfigRequest {
            state: ItemState::Stopped.into(),
            deduct_from: Choice::No.into(),
            end_time: "2024-03-20 10:29:59".into(),
            ..save("旧_物业费")
        },
    ];
    for request in requests {
        caller.save(request).await.unwrap();
        service.advance(TimeDelta::seconds(1));
    }
    service.clock.set(morning());
    let second_id = caller.named("停车费100%").await.config_id;
    let names = |change: &dyn Fn(&mut ListFeeConfigsRequest)| {
        let mut request = list();
        change(&mut request);
        let caller = caller.clone();
        async move {
            let answer = caller.list(request).await.unwrap();
            assert_eq!(usize::try_from(answer.total).unwrap(), answer.fee_configs.len());
            answer.fee_configs.into_iter().map(|i| i.fee_name).collect::<Vec<_>>().join(" ")
        }
    };
    let (first, second, third) = ("物业费A", "停车费100%", "旧_物业费");
    // Newest first; empty texts are no filter.
    assert_eq!(names(&|_| ()).await, format!("{third} {second} {first}"));
    let both = format!("{third} {first}");
    assert_eq!(names(&|r| r.fee_name = "物业".into()).await, both);
    assert_eq!(names(&|r| r.fee_name = "费a".into()).await, first);
    // % and _ stand for themselves.
    assert_eq!(names(&|r| r.fee_name = "%".into()).await, second);
    assert_eq!(names(&|r| r.fee_name = "_".into()).await, third);
    assert_eq!(names(&|r| r.fee_name_eq = "物业费".into()).await, "");
    assert_eq!(names(&|r| r.config_id = second_id.clone()).await, second);
    assert_eq!(names(&|r| r.fee_type_cd = FeeType::Parking.into()).await, second);
    assert_eq!(names(&|r| r.fee_flag = FeeFlag::OneOff.into()).await, second);
    assert_eq!(names(&|r| r.bill_type = BillType::RealTime.into()).await, second);
    assert_eq!(names(&|r| r.payment_cd = PaymentTiming::Postpaid.into()).await, second);
    assert_eq!(names(&|r| r.payment_cycle = "3".into()).await, second);
    assert_eq!(names(&|r| r.payment_cycle = "MONTH".into()).await, both);
    assert_eq!(names(&|r| r.computing_formula = Formula::Fixed.into()).await, second);
    assert_eq!(names(&|r| r.is_default = DefaultItem::System.into()).await, "");
    assert_eq!(names(&|r| r.deduct_from = Choice::No.into()).await, third);
    assert_eq!(names(&|r| r.prepayment_period = "15".into()).await, first);
    assert_eq!(names(&|r| r.state = ItemState::Stopped.into()).await, third);
    assert_eq!(names(&|r| r.end_time = "2050-12-31".into()).await, format!("{second} {first}"));
    assert_eq!(names(&|r| r.start_time = "2024-01-02".into()).await, "");
    assert_eq!(names(&|r| r.valid = "1".into()).await, format!("{second} {first}"));
    service.advance(TimeDelta::seconds(-1));
    assert_eq!(names(&|r| r.valid = "1".into()).await, format!("{second} {first}"));
    service.advance(TimeDelta::seconds(-1));
    assert_eq!(names(&|r| r.valid = "1".into()).await, format!("{third} {second} {first}"));
    let odd = ListFeeConfigsRequest { payment_cycle: "x".into(), ..list() };
    assert_eq!(fields(caller.list(odd).await), ["payment_cycle"]);
}

#[tokio::test]
async fn pages_count_rows_and_pages() {
    let service = Service::start().await;
    let caller = service.caller();
    for number in 1..=5 {
        caller.save(save(&format!("费用{number}"))).await.unwrap();
        service.advance(TimeDelta::seconds(1));
    }
    let page = |page, row, is_flag: &str| {
        let request = ListFeeConfigsRequest { page, row, is_flag: is_flag.into(), ..list() };
        let caller = caller.clone();
        async move {
            let answer = caller.list(request).await.unwrap();
            assert_eq!((answer.page, answer.rows), (0, 0));
            let names: Vec<_> = answer.fee_configs.into_iter().map(|i| i.fee_name.replace("费用", "")).collect();
            (names.join(""), answer.records, answer.total)
        }
    };
    assert_eq!(page(1, 2, "").await, ("54".into(), 3, 5));
    assert_eq!(page(3, 2, "").await, ("1".into(), 3, 5));
    assert_eq!(page(4, 2, "1").await, (String::new(), 3, 5));
    assert_eq!(page(1, 500, "").await, ("54321".into(), 1, 5));
    assert_eq!(page(2, 2, "0").await, ("54321".into(), 3, 5));
    let too_long = caller.list(ListFeeConfigsRequest { row: 501, ..list() }).await;
    assert_eq!(refusal(too_long).0, "PAGE_INVALID");
}

#[tokio::test]
async fn an_unpaged_list_has_a_cap_that_refuses() {
    let service = Service::start().await;
    service.item("物业费").await;
    service
        .execute(
            "INSERT INTO pay_fee_config
             SELECT (jsonb_populate_record(c, jsonb_build_object('config_id', n::text, 'fee_name', n::text))).*
             FROM pay_fee_config c, generate_series(1, 9999) n",
        )
        .await;
    let all = ListFeeConfigsRequest { is_flag: "0".into(), ..list() };
    assert_eq!(service.caller().list(all.clone()).await.unwrap().fee_configs.len(), 10_000);
    service.item("再来一个").await;
    let (reason, message) = refusal(service.caller().list(all).await);
    assert_eq!(reason, "ANSWER_TOO_LARGE");
    assert!(message.contains("10000"), "{message}");
}

#[tokio::test]
async fn every_change_leaves_an_image_before_and_after() {
    let service = Service::start().await;
    let id = service.item("物业费").await;
    service.advance(TimeDelta::days(1));
    service
        .caller()
        .update(UpdateFeeConfigRequest { square_price: "3".into(), ..update(&id, "物业管理费") })
        .await
        .unwrap();
    service.advance(TimeDelta::days(1));
    service.caller().update(stop(&id, "物业管理费")).await.unwrap();
    service.advance(TimeDelta::days(1));
    service.caller().delete(&id).await.unwrap();
    service.item("停车费").await;

    let seen = |change: &dyn Fn(&mut QueryHisFeeConfigRequest)| {
        let mut request = QueryHisFeeConfigRequest { config_id: id.clone(), ..history() };
        change(&mut request);
        let caller = service.caller();
        async move {
            let answer = caller.history(request).await.unwrap();
            assert_eq!((answer.page, answer.rows), (0, 0));
            let images = answer.data.into_iter().map(|i| {
                assert_eq!(i.user_name, OPERATOR_NAME);
                let item = i.item.unwrap();
                let state = item.state().code();
                let (time, operate) = (i.create_time, i.operate);
                format!("{time} {operate} {} {} {state} {}", item.fee_name, item.square_price, item.status_cd)
            });
            images.collect::<Vec<_>>()
        }
    };
    let all = [
        "2024-03-23 10:30:00 DEL 物业管理费 2.5 NA 1",
        "2024-03-22 10:30:00 ADD 物业管理费 2.5 NA 0",
        "2024-03-22 10:30:00 DEL 物业管理费 3.0 N 0",
        "2024-03-21 10:30:00 ADD 物业管理费 3.0 N 0",
        "2024-03-21 10:30:00 DEL 物业费 2.5 N 0",
        "2024-03-20 10:30:00 ADD 物业费 2.5 N 0",
    ];
    assert_eq!(seen(&|_| ()).await, all);
    assert_eq!(seen(&|r| r.fee_name_like = "管理".into()).await, all[..4]);
    assert_eq!(seen(&|r| r.staff_name_like = "小明".into()).await, all);
    assert_eq!(seen(&|r| r.staff_name_like = "%".into()).await, [""; 0]);
    // An end day is taken to its last second.
    assert_eq!(seen(&|r| r.log_end_time = "2024-03-21".into()).await, all[3..]);
    assert_eq!(seen(&|r| r.log_start_time = "2024-03-22".into()).await, all[..3]);
    assert_eq!(seen(&|r| r.log_start_time = "2024-03-22 10:30:01".into()).await, all[..1]);
    let second_page = QueryHisFeeConfigRequest { page: 2, row: 4, config_id: id.clone(), ..history() };
    let answer = service.caller().history(second_page).await.unwrap();
    assert_eq!((answer.data.len(), answer.records, answer.total), (2, 2, 6));
    assert_eq!(service.caller().history(history()).await.unwrap().total, 7);
    let elsewhere = QueryHisFeeConfigRequest { community_id: OTHER.into(), ..history() };
    assert_eq!(service.caller().history(elsewhere).await.unwrap().total, 0);
}

#[tokio::test]
async fn a_change_that_is_refused_leaves_nothing() {
    let service = Service::start().await;
    let id = service.item("物业费").await;
    service.item("停车费").await;
    let caller = service.caller().id("refused-1");
    refusal(caller.save(save("物业费")).await);
    refusal(caller.update(update(&id, "停车费")).await);
    refusal(caller.update(update("1", "停车费")).await);
    assert_eq!(service.count("SELECT count(*) FROM platform.change").await, 2);
    assert_eq!(service.count("SELECT count(*) FROM platform.answered_request").await, 0);
    // The same request id is free for a request that is carried out.
    caller.update(update(&id, "物业费二期")).await.unwrap();
    assert_eq!(service.count("SELECT count(*) FROM platform.answered_request").await, 1);
}

#[tokio::test]
async fn every_row_names_its_author() {
    let service = Service::start().await;
    let rooms = service.rooms(1).await;
    let id = service.item("物业费").await;
    let chosen = "0af7651916cd43dd8448eb211c80319c";
    let caller = service.caller().with("traceparent", format!("00-{chosen}-b7ad6b7169203331-01"));
    caller.charge(&id, &rooms).await.unwrap();
    caller.bill(&id, &rooms).await.unwrap();
    caller.update(stop(&id, "物业费")).await.unwrap();
    caller.register(HOME, vec![room(&rooms[0])]).await.unwrap();
    let last_change = "platform.change ORDER BY change_number DESC LIMIT 1";
    for table in ["pay_fee", "pay_fee_rule", last_change, "fee_item_closure", "payer_object"] {
        let sql = format!("SELECT operator_id, channel_id, trace_id FROM {table}");
        let (operator, channel, trace): (String, String, String) =
            sqlx::query_as(sqlx::AssertSqlSafe(sql)).fetch_one(service.pool()).await.unwrap();
        assert_eq!((operator.as_str(), channel.as_str(), trace.len()), (OPERATOR, APP, 32), "{table}");
        assert_ne!(trace, chosen, "{table}: a caller does not choose the trace id");
    }
}
