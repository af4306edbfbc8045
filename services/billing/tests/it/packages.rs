//! The life of a package over gRPC: every call in every state, names, suppliers, isolation.

use communal_proto::billing::v1::*;

use crate::harness::*;

/// Makes a call; returns the reason if it is refused.
async fn refusal(world: &World, call: &str, id: &str) -> Option<String> {
    let mut packages = world.packages(caller(RETAIL));
    let mut prices = world.prices(caller(RETAIL));
    let outcome = match call {
        "update" => {
            let package = Some(ChangedSalePackage { name: format!("改{id}"), ..changed(id) });
            packages.update_sale_package(UpdateSalePackageRequest { package }).await.map(drop)
        }
        "add price" => {
            let rows = vec![SalePackagePriceRow { account_item: "101009".into(), ..row(id, 1, "1", 0, 0) }];
            prices.add_sale_package_price(AddSalePackagePriceRequest { rows }).await.map(drop)
        }
        "change price" => {
            let rows = vec![row(id, 3, "0.9", 4800, 0)];
            prices.update_sale_package_price(UpdateSalePackagePriceRequest { rows }).await.map(drop)
        }
        "apply" => {
            let request = ApplyPutOnSalesPackageRequest { packages: vec![named(id)] };
            packages.apply_put_on_sales_package(request).await.map(drop)
        }
        "put on sale" => {
            let package = Some(SalePackageStart { package_id: id.into(), start_date: world.day(0), stop_date: 0 });
            packages.put_on_sale_package(PutOnSalePackageRequest { package }).await.map(drop)
        }
        "cancel" => {
            let request = CancelSalesPackageRequest { packages: vec![named(id)] };
            packages.cancel_sales_package(request).await.map(drop)
        }
        other => panic!("{other}"),
    };
    outcome.is_err().then(|| reason(outcome))
}

fn changed(id: &str) -> ChangedSalePackage {
    ChangedSalePackage {
        network_company_id: NETWORK.into(),
        retail_store_id: STORE.into(),
        package_id: id.into(),
        name: "改".into(),
        remark: "改".into(),
        account_item: "101001".into(),
        utility: NetworkType::Electricity.into(),
        resident: YesNo::Yes.into(),
        deviation: YesNo::No.into(),
        ladder: LadderType::Year.into(),
        ladder_tiers: LadderNumType::Three.into(),
        ..Default::default()
    }
}

async fn in_state(world: &World, state: PackStateType, name: &str) -> String {
    let id = world.draft(laddered(name)).await;
    world.add_prices(ladder_rows(&id)).await;
    if state == PackStateType::Cancelled {
        world.cancel(&id).await;
    }
    if matches!(state, PackStateType::Submitted | PackStateType::OnSale) {
        world.submit(&id).await;
    }
    if state == PackStateType::OnSale {
        world.put_on_sale(&id, world.day(0), 0).await;
    }
    assert_eq!(world.package(&id).await.state(), state);
    id
}

#[tokio::test]
async fn every_call_takes_the_states_it_fits_and_refuses_the_others() {
    use PackStateType::{Cancelled, Draft, OnSale, Submitted};
    let world = World::start().await;
    let table: &[(&str, &[PackStateType], PackStateType)] = &[
        ("update", &[Draft], Draft),
        ("add price", &[Draft], Draft),
        ("change price", &[Draft, OnSale], Draft),
        ("apply", &[Draft], Submitted),
        ("put on sale", &[Submitted], OnSale),
        ("cancel", &[Draft, Submitted, OnSale], Cancelled),
    ];
    for (call, taken, becomes) in table {
        for state in [Draft, Submitted, OnSale, Cancelled] {
            let id = in_state(&world, state, &format!("{call} {state:?}")).await;
            let refused = refusal(&world, call, &id).await;
            let after = world.package(&id).await.state();
            if taken.contains(&state) {
                assert_eq!(refused, None, "{call} in {state:?}");
                let expected = if *call == "change price" { state } else { *becomes };
                assert_eq!(after, expected, "{call} in {state:?}");
            } else {
                assert_eq!(refused.as_deref(), Some("PACKAGE_STATE"), "{call} in {state:?}");
                assert_eq!(after, state, "a refused {call} changes nothing");
            }
        }
    }
}

#[tokio::test]
async fn a_package_of_another_company_is_as_unknown_as_none() {
    let world = World::start().await;
    let id = world.draft(laddered("独家")).await;
    let of = |tenant, id: &str| {
        let id = id.to_owned();
        let mut packages = world.packages(caller(tenant));
        let mut prices = world.prices(caller(tenant));
        async move {
            let one = Some(named(&id));
            let priced = Some(PackageOfPrices { package_id: id.clone() });
            let page = Some(PageRequest { page: 1, rows: 10 });
            let many = vec![named(&id)];
            let start = Some(SalePackageStart { package_id: id.clone(), start_date: 20_240_401, stop_date: 0 });
            let rows = vec![row(&id, 1, "1", 0, 0)];
            [
                packages.query_sale_pack_details(QuerySalePackDetailsRequest { package: one }).await.map(drop),
                packages
                    .update_sale_package(UpdateSalePackageRequest {
                        package: Some(ChangedSalePackage { retail_store_id: OTHER_STORE.into(), ..changed(&id) }),
                    })
                    .await
                    .map(drop),
                packages
                    .apply_put_on_sales_package(ApplyPutOnSalesPackageRequest { packages: many.clone() })
                    .await
                    .map(drop),
                packages.put_on_sale_package(PutOnSalePackageRequest { package: start }).await.map(drop),
                packages.cancel_sales_package(CancelSalesPackageRequest { packages: many }).await.map(drop),
                prices.add_sale_package_price(AddSalePackagePriceRequest { rows: rows.clone() }).await.map(drop),
                prices.update_sale_package_price(UpdateSalePackagePriceRequest { rows }).await.map(drop),
                prices
                    .query_sale_package_price(QuerySalePackagePriceRequest { page, package: priced.clone() })
                    .await
                    .map(drop),
                prices.query_sale_package_tags(QuerySalePackageTagsRequest { package: priced }).await.map(drop),
            ]
            .map(|outcome| {
                let status = outcome.expect_err("a refusal");
                (status.code(), words(&status), reason::<()>(Err(status)))
            })
        }
    };
    let foreign = of(OTHER_RETAIL, &id).await;
    let unknown = of(OTHER_RETAIL, "P999999999999999").await;
    assert_eq!(foreign, unknown, "the same answer, so that a caller cannot learn which packages others have");
    assert!(foreign.iter().all(|(_, _, reason)| reason == "PACKAGE_NOT_FOUND"), "{foreign:?}");
    let listed = world.packages(caller(OTHER_RETAIL)).query_sale_package(QuerySalePackageRequest::default()).await;
    assert_eq!(listed.unwrap().into_inner().packages, []);
    assert_eq!(world.package(&id).await.name, "独家");
}

#[tokio::test]
async fn only_a_retail_company_sells() {
    let world = World::start().await;
    let mut packages = world.packages(caller(NETWORK));
    let request = AddSalePackageRequest { package: Some(laddered("网")) };
    assert_eq!(reason(packages.add_sale_package(request).await), "NOT_A_RETAIL_COMPANY");
    let rows = ladder_rows("P000000000000001");
    let request = UpdateSalePackagePriceRequest { rows };
    assert_eq!(reason(world.prices(caller(NETWORK)).update_sale_package_price(request).await), "NOT_A_RETAIL_COMPANY");
}

#[tokio::test]
async fn suppliers_that_do_not_exist_are_named_by_field() {
    let world = World::start().await;
    let mut packages = world.packages(caller(RETAIL));
    // A retail company is no network company, and the store is another company's.
    let package = NewSalePackage {
        network_company_id: OTHER_RETAIL.into(),
        retail_store_id: OTHER_STORE.into(),
        ..laddered("错")
    };
    let status = packages.add_sale_package(AddSalePackageRequest { package: Some(package) }).await.unwrap_err();
    assert_eq!(fields(&status), ["COM_SALES_PACK.NETWORK_CO_DID", "COM_SALES_PACK.RET_STORES_AID"]);
    assert_eq!(reason::<()>(Err(status)), "SUPPLIER_NOT_FOUND");
}

#[tokio::test]
async fn a_name_is_taken_until_its_package_is_cancelled() {
    let world = World::start().await;
    let id = world.draft(laddered("安居")).await;
    let add = |caller: Caller, store: &str| {
        let mut packages = world.packages(caller);
        let package = NewSalePackage { retail_store_id: store.into(), ..laddered("安居") };
        async move { packages.add_sale_package(AddSalePackageRequest { package: Some(package) }).await }
    };
    let status = add(caller(RETAIL), STORE).await.unwrap_err();
    assert_eq!(fields(&status), ["COM_SALES_PACK.CHARGE_PACK_NAME"]);
    assert!(words(&status).contains("安居"), "{}", words(&status));
    assert_eq!(reason::<()>(Err(status)), "PACKAGE_NAME_TAKEN");
    add(caller(OTHER_RETAIL), OTHER_STORE).await.expect("another company has its own names");
    let other = world.draft(laddered("乐居")).await;
    let request =
        UpdateSalePackageRequest { package: Some(ChangedSalePackage { name: "安居".into(), ..changed(&other) }) };
    assert_eq!(reason(world.packages(caller(RETAIL)).update_sale_package(request).await), "PACKAGE_NAME_TAKEN");
    world.cancel(&id).await;
    add(caller(RETAIL), STORE).await.expect("the name is free again");
}

#[tokio::test]
async fn of_thirty_two_packages_of_one_name_at_once_one_is_drafted() {
    let world = World::start().await;
    let tasks: Vec<_> = (0..32)
        .map(|n| {
            let mut packages = world.packages(caller(RETAIL));
            let request = AddSalePackageRequest { package: Some(laddered(spelled(n))) };
            tokio::spawn(async move { packages.add_sale_package(request).await })
        })
        .collect();
    let mut refused = 0;
    for task in tasks {
        if let Err(status) = task.await.unwrap() {
            assert_eq!(reason::<()>(Err(status)), "PACKAGE_NAME_TAKEN");
            refused += 1;
        }
    }
    assert_eq!(refused, 31);
}

#[tokio::test]
async fn thirty_two_equal_requests_of_one_id_draft_one_package() {
    let world = World::start().await;
    let add = |name: &str| {
        let mut packages = world.packages(with_request_id(RETAIL, "2024031500001"));
        let request = AddSalePackageRequest { package: Some(laddered(name)) };
        tokio::spawn(async move { packages.add_sale_package(request).await })
    };
    for task in (0..32).map(|_| add("一次")).collect::<Vec<_>>() {
        task.await.unwrap().expect("every one is answered as the first");
    }
    let listed = world.packages(caller(RETAIL)).query_sale_package(QuerySalePackageRequest::default()).await.unwrap();
    assert_eq!(listed.into_inner().packages.len(), 1);
    assert_eq!(reason(add("另一个").await.unwrap()), "REQUEST_ID_REUSED");
}

#[tokio::test]
async fn what_contradicts_itself_is_refused_with_every_field() {
    let world = World::start().await;
    let faults = |package: NewSalePackage| {
        let mut packages = world.packages(caller(RETAIL));
        async move {
            fields(&packages.add_sale_package(AddSalePackageRequest { package: Some(package) }).await.unwrap_err())
        }
    };
    let none = LadderType::None.into();
    let agreed = NewSalePackage { agreement_price: YesNo::Yes.into(), ..laddered("协议") };
    assert_eq!(faults(agreed).await, ["COM_SALES_PACK.LADDER_TYPE"]);
    let one_tier = NewSalePackage { ladder_tiers: 1, ..laddered("一阶") };
    assert_eq!(faults(one_tier).await, ["COM_SALES_PACK.LADDER_NUM_TYPE"]);
    let no_tiers = NewSalePackage { ladder_tiers: 0, ..laddered("缺阶") };
    assert_eq!(faults(no_tiers).await, ["COM_SALES_PACK.LADDER_NUM_TYPE"]);
    let no_ladder = NewSalePackage { ladder: none, ..laddered("无阶梯") };
    assert_eq!(faults(no_ladder).await, ["COM_SALES_PACK.LADDER_NUM_TYPE"]);
    let agreed =
        NewSalePackage { agreement_price: YesNo::Yes.into(), ladder: none, ladder_tiers: 0, ..laddered("学校") };
    world.draft(agreed).await;
}

#[tokio::test]
async fn the_server_sets_what_the_request_cannot_say() {
    let world = World::start().await;
    let id = world.draft(laddered("默认")).await;
    assert!(id.len() == 16 && id.starts_with('P') && id.bytes().skip(1).all(|b| b.is_ascii_digit()), "{id}");
    let package = world.package(&id).await;
    assert_eq!(package.retail_company_id, RETAIL);
    assert_eq!(package.package_kind(), ChargePackType::Market);
    assert_eq!(package.supply_kind(), PurchaseSaleType::Direct);
    assert_eq!(package.resident(), YesNo::No);
    assert_eq!(package.enabled(), StateType::Disabled);
    let request = UpdateSalePackageRequest { package: Some(changed(&id)) };
    world.packages(caller(RETAIL)).update_sale_package(request).await.unwrap();
    let package = world.package(&id).await;
    assert_eq!(package.resident(), YesNo::Yes);
    assert_eq!((package.retail_level.as_str(), package.may_cancel()), ("", YesNo::Unspecified), "left out means empty");
    assert_eq!((package.agreement_price(), package.time_of_use()), (YesNo::No, TimeFeesType::One));
}

#[tokio::test]
async fn a_package_is_submitted_only_with_complete_prices() {
    let world = World::start().await;
    let whole = world.draft(laddered("齐")).await;
    world.add_prices(ladder_rows(&whole)).await;
    let half = world.draft(laddered("缺")).await;
    world.add_prices(ladder_rows(&half).into_iter().take(2).collect()).await;
    let gap = world.draft(laddered("断")).await;
    world.add_prices(vec![row(&gap, 1, "1", 0, 100), row(&gap, 2, "2", 101, 200), row(&gap, 3, "3", 200, 0)]).await;
    let request = ApplyPutOnSalesPackageRequest { packages: vec![named(&whole), named(&half), named(&gap)] };
    let status = world.packages(caller(RETAIL)).apply_put_on_sales_package(request).await.unwrap_err();
    assert_eq!(fields(&status), ["COM_SALES_PACK[1].CHARGE_PACK_DID", "COM_SALES_PACK[2].CHARGE_PACK_DID"]);
    assert!(words(&status).contains("三阶") && words(&status).contains("下限值应为100"), "{}", words(&status));
    assert_eq!(reason::<()>(Err(status)), "PRICES_INCOMPLETE");
    assert_eq!(world.package(&whole).await.state(), PackStateType::Draft, "all or none");
}

/// Without its account item, no line of a package could be booked: it is refused before anybody is billed by it.
#[tokio::test]
async fn a_package_is_submitted_only_if_the_network_company_registered_its_account_item() {
    let world = World::start().await;
    // Electricity by an account item that is nobody's yet, and by one of water.
    let mut drafts = vec![world.draft(laddered("登记")).await];
    for item in ["909001", "201001"] {
        let draft = NewSalePackage { account_item: item.into(), ..laddered(item) };
        let id = world.draft(draft).await;
        let of_item = |row| SalePackagePriceRow { account_item: item.into(), ..row };
        world.add_prices(ladder_rows(&id).into_iter().map(of_item).collect()).await;
        drafts.push(id);
    }
    world.add_prices(ladder_rows(&drafts[0])).await;
    let submit = || async {
        let packages = drafts.iter().map(|id| named(id)).collect();
        let request = ApplyPutOnSalesPackageRequest { packages };
        world.packages(caller(RETAIL)).apply_put_on_sales_package(request).await.map(drop)
    };
    let status = submit().await.unwrap_err();
    assert_eq!(fields(&status), ["COM_SALES_PACK[1].CHARGE_PACK_DID", "COM_SALES_PACK[2].CHARGE_PACK_DID"]);
    assert!(words(&status).contains("909001") && words(&status).contains("201001"), "{}", words(&status));
    assert_eq!(reason::<()>(Err(status)), "ACCOUNT_ITEM_NOT_FOUND");
    for id in &drafts {
        assert_eq!(world.package(id).await.state(), PackStateType::Draft);
    }
    world.register_item(NETWORK, "909001", NetworkType::Electricity, 9001).await;
    world.submit(&drafts[1]).await;
}

#[tokio::test]
async fn prices_of_another_item_and_uneven_limits_are_refused_when_submitted() {
    let world = World::start().await;
    let apply = |id: &str| {
        let mut packages = world.packages(caller(RETAIL));
        let request = ApplyPutOnSalesPackageRequest { packages: vec![named(id)] };
        async move { packages.apply_put_on_sales_package(request).await.unwrap_err() }
    };
    let foreign = world.draft(laddered("科目")).await;
    world.add_prices(ladder_rows(&foreign)).await;
    world.add_prices(vec![SalePackagePriceRow { account_item: "101009".into(), ..row(&foreign, 1, "1", 0, 0) }]).await;
    let status = apply(&foreign).await;
    assert_eq!(fields(&status), ["COM_SALES_PACK[0].CHARGE_PACK_DID"]);
    assert!(words(&status).contains("其他会计科目（101009）"), "{}", words(&status));
    assert_eq!(reason::<()>(Err(status)), "FIELD_MALFORMED");

    let uneven = world
        .draft(NewSalePackage { time_of_use: TimeFeesType::Two.into(), ladder_tiers: 2, ..laddered("峰谷阶梯") })
        .await;
    let of = |period: TimeSharingType, tier, lower, upper| SalePackagePriceRow {
        time_of_use: TimeFeesType::Two.into(),
        period: period.into(),
        ..row(&uneven, tier, "1", lower, upper)
    };
    use TimeSharingType::{Peak, Valley};
    world.add_prices(vec![of(Peak, 1, 0, 100), of(Peak, 2, 100, 0), of(Valley, 1, 0, 90), of(Valley, 2, 90, 0)]).await;
    let status = apply(&uneven).await;
    assert!(words(&status).contains("应与同季其他时段一致（0至100）"), "{}", words(&status));
    assert_eq!(reason::<()>(Err(status)), "PRICES_INCOMPLETE");
    let rows = vec![of(Valley, 1, 0, 100), of(Valley, 2, 100, 0)];
    world.prices(caller(RETAIL)).update_sale_package_price(UpdateSalePackagePriceRequest { rows }).await.unwrap();
    world.submit(&uneven).await;
    world.put_on_sale(&uneven, world.day(0), 0).await;
    // And so on sale: the limits of both periods move together or not at all.
    let update = |rows: Vec<SalePackagePriceRow>| {
        let mut prices = world.prices(caller(RETAIL));
        async move { prices.update_sale_package_price(UpdateSalePackagePriceRequest { rows }).await }
    };
    let one = vec![of(Valley, 1, 0, 120), of(Valley, 2, 120, 0)];
    let status = update(one.clone()).await.unwrap_err();
    assert_eq!(fields(&status), ["COM_SALES_PRICE[0].LADDER_UPPER_LIMIT", "COM_SALES_PRICE[1].LADDER_UPPER_LIMIT"]);
    assert_eq!(reason::<()>(Err(status)), "PRICES_INCOMPLETE");
    update([one, vec![of(Peak, 1, 0, 120), of(Peak, 2, 120, 0)]].concat()).await.expect("moved together");
}

#[tokio::test]
async fn a_two_part_heat_package_is_submitted_with_both_its_prices() {
    let world = World::start().await;
    world.register_item(NETWORK, "401001", NetworkType::Heat, 4001).await;
    let package = NewSalePackage {
        account_item: "401001".into(),
        utility: NetworkType::Heat.into(),
        heat_basis: HeatChargeType::AreaAndHeat.into(),
        ladder: LadderType::None.into(),
        ladder_tiers: 0,
        ..laddered("两部制供暖")
    };
    let id = world.draft(package).await;
    let of = |heat_basis: HeatChargeType| SalePackagePriceRow {
        account_item: "401001".into(),
        utility: NetworkType::Heat.into(),
        heat_basis: heat_basis.into(),
        ladder: LadderType::None.into(),
        ..row(&id, 0, "12", 0, 0)
    };
    let add = |heat_basis| {
        let mut prices = world.prices(caller(RETAIL));
        let request = AddSalePackagePriceRequest { rows: vec![of(heat_basis)] };
        async move { prices.add_sale_package_price(request).await }
    };
    for unfit in [HeatChargeType::Unspecified, HeatChargeType::None, HeatChargeType::AreaAndHeat] {
        let status = add(unfit).await.unwrap_err();
        assert_eq!(fields(&status), ["COM_SALES_PRICE[0].HEAT_CHARGE_TYPE"], "{unfit:?} is no part of it");
    }
    add(HeatChargeType::Heat).await.unwrap();
    let request = ApplyPutOnSalesPackageRequest { packages: vec![named(&id)] };
    let status = world.packages(caller(RETAIL)).apply_put_on_sales_package(request).await.unwrap_err();
    assert!(words(&status).contains("缺少按面积"), "{}", words(&status));
    assert_eq!(reason::<()>(Err(status)), "PRICES_INCOMPLETE");
    add(HeatChargeType::Area).await.unwrap();
    world.submit(&id).await;
}

#[tokio::test]
async fn a_batch_names_every_package_at_fault() {
    let world = World::start().await;
    let draft = world.draft(laddered("草稿")).await;
    let on_sale = world.on_sale("在售").await;
    let gone = in_state(&world, PackStateType::Cancelled, "作废").await;
    let packages = vec![named(&draft), named("P999999999999999"), named(&on_sale), named(&gone)];
    let request = CancelSalesPackageRequest { packages };
    let status = world.packages(caller(RETAIL)).cancel_sales_package(request).await.unwrap_err();
    assert_eq!(fields(&status), ["COM_SALES_PACK[1].CHARGE_PACK_DID", "COM_SALES_PACK[3].CHARGE_PACK_DID"]);
    assert_eq!(world.package(&draft).await.state(), PackStateType::Draft);
    let twice = CancelSalesPackageRequest { packages: vec![named(&draft), named(&draft)] };
    let status = world.packages(caller(RETAIL)).cancel_sales_package(twice).await.unwrap_err();
    assert_eq!(fields(&status), ["COM_SALES_PACK[1].CHARGE_PACK_DID"]);
}

#[tokio::test]
async fn a_package_is_sold_from_its_first_day_to_the_day_before_its_stop_date() {
    let world = World::start().await;
    let id = world.draft(laddered("季")).await;
    world.add_prices(ladder_rows(&id)).await;
    world.submit(&id).await;
    let start = |start_date, stop_date| {
        let mut packages = world.packages(caller(RETAIL));
        let package = Some(SalePackageStart { package_id: id.clone(), start_date, stop_date });
        async move { packages.put_on_sale_package(PutOnSalePackageRequest { package }).await }
    };
    let yesterday = start(world.day(-1), 0).await.unwrap_err();
    assert_eq!(fields(&yesterday), ["COM_SALES_PACK.STARTUP_DATE"]);
    let backward = start(world.day(2), world.day(2)).await.unwrap_err();
    assert_eq!(fields(&backward), ["COM_SALES_PACK.OUTAGE_DATE"]);
    start(world.day(2), world.day(4)).await.unwrap();
    assert!(world.open_prices(&id).await.iter().all(|p| p.start_date == world.day(2) && p.stop_date == 0));
    for (passed, expected) in
        [(0, StateType::Disabled), (2, StateType::Enabled), (3, StateType::Enabled), (4, StateType::Disabled)]
    {
        let filter = |enabled: StateType| {
            let mut packages = world.packages(caller(RETAIL));
            let filter = Some(SalePackageFilter { enabled: enabled.into(), ..Default::default() });
            async move {
                packages.query_sale_package(QuerySalePackageRequest { filter }).await.unwrap().into_inner().packages
            }
        };
        assert_eq!(world.package(&id).await.enabled(), expected, "after {passed} days");
        for asked in [StateType::Enabled, StateType::Disabled] {
            assert_eq!(filter(asked).await.len(), usize::from(asked == expected), "the filter says the same");
        }
        world.days_pass(if passed == 0 { 2 } else { 1 });
    }
}

#[tokio::test]
async fn filters_narrow_and_details_show_one() {
    let world = World::start().await;
    let electricity = world.draft(laddered("电")).await;
    let water = NewSalePackage { utility: NetworkType::Water.into(), account_item: "201001".into(), ..laddered("水") };
    let water = world.draft(water).await;
    let list = |filter: SalePackageFilter| {
        let mut packages = world.packages(caller(RETAIL));
        async move {
            let reply = packages.query_sale_package(QuerySalePackageRequest { filter: Some(filter) }).await.unwrap();
            reply.into_inner().packages.into_iter().map(|p| p.package_id).collect::<Vec<_>>()
        }
    };
    assert_eq!(list(SalePackageFilter::default()).await, [electricity.clone(), water.clone()], "oldest first");
    let utility = NetworkType::Water.into();
    assert_eq!(list(SalePackageFilter { utility, ..Default::default() }).await, std::slice::from_ref(&water));
    for name in ["水", " 水 "] {
        let filter = SalePackageFilter { name: name.into(), ..Default::default() };
        assert_eq!(list(filter).await, std::slice::from_ref(&water), "{name:?}");
    }
    let blank = QuerySalePackageRequest { filter: Some(SalePackageFilter { name: " ".into(), ..Default::default() }) };
    let status = world.packages(caller(RETAIL)).query_sale_package(blank).await.unwrap_err();
    assert_eq!(proto_fields(&status), ["filter.name"], "a blank name does not select everything");
    let account_item = "101001".into();
    assert_eq!(list(SalePackageFilter { account_item, ..Default::default() }).await, [electricity]);
    let state = PackStateType::OnSale.into();
    assert_eq!(list(SalePackageFilter { state, ..Default::default() }).await, [""; 0]);
    let request = QuerySalePackDetailsRequest { package: Some(named(&water)) };
    let details = world.packages(caller(RETAIL)).query_sale_pack_details(request).await.unwrap().into_inner();
    assert_eq!(details.packages.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["水"]);
    assert_eq!(details.temporary_months.map(|t| (t.package_id, t.months)), Some((water, 0)));
}

#[tokio::test]
async fn cancelling_ends_prices_today_or_before_they_began() {
    let world = World::start().await;
    let running = world.on_sale("已开始").await;
    let future = world.draft(laddered("未开始")).await;
    world.add_prices(ladder_rows(&future)).await;
    world.submit(&future).await;
    world.put_on_sale(&future, world.day(10), 0).await;
    let draft = world.draft(laddered("草稿")).await;
    world.add_prices(ladder_rows(&draft)).await;
    world.days_pass(3);
    for id in [&running, &future, &draft] {
        world.cancel(id).await;
        assert_eq!(world.open_prices(id).await, []);
    }
    let spans =
        |versions: Vec<SalePackageTag>| versions.iter().map(|v| (v.start_date, v.stop_date)).collect::<Vec<_>>();
    assert_eq!(spans(world.versions(&running).await), [(world.day(-3), world.day(0)); 3]);
    assert_eq!(spans(world.versions(&future).await), [(world.day(7), world.day(7)); 3], "in force on no day");
    assert_eq!(spans(world.versions(&draft).await), [(world.day(0), world.day(0)); 3], "in force on no day");
}

#[tokio::test]
async fn every_write_records_its_actor() {
    let world = World::start().await;
    let id = world.on_sale("留痕").await;
    world.cancel(&id).await;
    let steps: Vec<(String, String, String)> = sqlx::query_as(
        "SELECT split_part(method, '/', 3), operator_id, channel_id FROM platform.change
         WHERE noun = 'package' AND key = $1 ORDER BY change_number",
    )
    .bind(&id)
    .fetch_all(world.pool())
    .await
    .unwrap();
    let names: Vec<_> = steps.iter().map(|(step, ..)| step.as_str()).collect();
    assert_eq!(names, ["AddSalePackage", "ApplyPutOnSalesPackage", "PutOnSalePackage", "CancelSalesPackage"]);
    assert!(steps.iter().all(|(_, operator, channel)| operator == "R000000000000001" && channel == "C000000000000001"));
    let of_prices: Vec<(String, String)> =
        sqlx::query_as("SELECT DISTINCT operator_id, channel_id FROM package_price WHERE package_id = $1")
            .bind(&id)
            .fetch_all(world.pool())
            .await
            .unwrap();
    assert_eq!(of_prices, [("R000000000000001".to_owned(), "C000000000000001".to_owned())]);
}

#[tokio::test]
async fn stores_are_registered_renamed_and_listed_by_their_company() {
    let world = World::start().await;
    let store = |id: &str, name: &str| Store { store_id: id.into(), name: name.into(), region_code: REGION.into() };
    let register = |stores: Vec<Store>| {
        let mut suppliers = world.suppliers(caller(RETAIL));
        async move { suppliers.register_stores(RegisterStoresRequest { stores }).await }
    };
    register(vec![store(STORE, "新名"), store("H000000000000008", "新店")]).await.unwrap();
    let taken = register(vec![store(STORE, "改名"), store(OTHER_STORE, "新店")]).await.unwrap_err();
    assert_eq!(fields(&taken), ["stores[1].store_id"], "another company has it");
    assert!(!words(&taken).contains(OTHER_RETAIL), "{}", words(&taken));
    assert_eq!(reason::<()>(Err(taken)), "IDENTIFIER_TAKEN");
    let twice = register(vec![store("H8", "一"), store("H8", "二")]).await.unwrap_err();
    assert_eq!(fields(&twice), ["stores[1].store_id"]);
    let list = |tenant| {
        let mut suppliers = world.suppliers(caller(tenant));
        async move { suppliers.list_stores(ListStoresRequest {}).await.unwrap().into_inner().stores }
    };
    assert_eq!(list(RETAIL).await, [store(STORE, "新名"), store("H000000000000008", "新店")]);
    assert_eq!(list(OTHER_RETAIL).await, [store(OTHER_STORE, "营业厅")]);
}

/// The catalogue belongs to the network company, which may add the price later or close it on any day, so a sale does not
/// wait for it: a bill without it is refused.
#[tokio::test]
async fn a_basic_fee_is_priced_by_the_network_company_and_does_not_hold_up_the_sale() {
    let world = World::start().await;
    let package = NewSalePackage { basic_fee_kind: BasicFeesType::Capacity.into(), ..laddered("大工业") };
    let id = world.draft(package).await;
    world.add_prices(ladder_rows(&id)).await;
    world.submit(&id).await;
    world.put_on_sale(&id, world.day(0), 0).await;
    assert_eq!(world.package(&id).await.state(), PackStateType::OnSale);
}
