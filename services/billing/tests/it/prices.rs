//! Price rows over gRPC: drafts, versions on sale, all or nothing, races.

use std::collections::BTreeSet;

use communal_proto::billing::v1::*;
use tonic::{Request, Response, Status};

use crate::harness::*;

async fn update(world: &World, rows: Vec<SalePackagePriceRow>) -> Result<(), Status> {
    update_as(world, caller(RETAIL), rows).await
}

async fn update_as(world: &World, caller: Caller, rows: Vec<SalePackagePriceRow>) -> Result<(), Status> {
    world.prices(caller).update_sale_package_price(UpdateSalePackagePriceRequest { rows }).await.map(drop)
}

async fn add(world: &World, rows: Vec<SalePackagePriceRow>) -> Result<(), Status> {
    world.prices(caller(RETAIL)).add_sale_package_price(AddSalePackagePriceRequest { rows }).await.map(drop)
}

/// (tier, price, first day) of the open rows.
async fn open(world: &World, id: &str) -> Vec<(i32, String, i32)> {
    world.open_prices(id).await.into_iter().map(|p| (p.tier, p.price, p.start_date)).collect()
}

/// (tier, first day, stop day) of all versions.
async fn spans(world: &World, id: &str) -> Vec<(i32, i32, i32)> {
    world.versions(id).await.into_iter().map(|v| (v.tier, v.start_date, v.stop_date)).collect()
}

fn at(row: usize, field: &str) -> String {
    format!("COM_SALES_PRICE[{row}].{field}")
}

#[tokio::test]
async fn a_draft_changes_in_place() {
    let world = World::start().await;
    let id = world.draft(laddered("草稿")).await;
    world.add_prices(ladder_rows(&id)).await;
    update(&world, vec![row(&id, 2, "0.6", 2880, 5000)]).await.unwrap();
    let rows = world.open_prices(&id).await;
    assert_eq!(rows.len(), 3);
    assert_eq!((rows[1].price.as_str(), rows[1].upper_limit, rows[1].start_date), ("0.600000", 5000, 0));
    assert_eq!(world.versions(&id).await.len(), 3, "a draft has no history of versions");
    let before = "SELECT before ->> 'price' FROM platform.change WHERE noun = 'package_price' AND operation = 'UPDATE'";
    let before: Vec<String> = sqlx::query_scalar(before).fetch_all(world.pool()).await.unwrap();
    assert_eq!(before, ["0.538300"], "the change log keeps what it was");
}

#[tokio::test]
async fn the_reply_says_from_which_day_a_change_holds() {
    let world = World::start().await;
    let (draft, on_sale, later) =
        (world.draft(laddered("草稿")).await, world.on_sale("在售").await, world.draft(laddered("下月")).await);
    world.add_prices([ladder_rows(&draft), ladder_rows(&later)].concat()).await;
    world.submit(&later).await;
    world.put_on_sale(&later, world.day(20), 0).await;
    world.days_pass(3);
    let change = |id: &str, price: &str| row(id, 1, price, 0, 2880);
    let rows = vec![change(&draft, "0.6"), change(&on_sale, "0.6"), change(&later, "0.6")];
    let changes = async |rows| {
        let request = UpdateSalePackagePriceRequest { rows };
        let reply = world.prices(caller(RETAIL)).update_sale_package_price(request).await.unwrap().into_inner();
        reply.changes.into_iter().map(|c| (c.package_id, c.start_date)).collect::<Vec<_>>()
    };
    let mut expected = vec![(draft, 0), (on_sale, world.day(0)), (later, world.day(17))];
    expected.sort();
    assert_eq!(changes(rows.clone()).await, expected);
    assert_eq!(changes(rows).await, [], "nothing changes the second time");
}

#[tokio::test]
async fn on_sale_the_row_in_force_is_closed_and_a_new_version_opened() {
    let world = World::start().await;
    let id = world.on_sale("在售").await;
    let first = world.day(0);
    world.days_pass(20);
    let today = world.day(0);
    update(&world, vec![row(&id, 1, "0.5", 0, 2880)]).await.unwrap();
    assert_eq!(
        open(&world, &id).await,
        [(1, "0.500000".into(), today), (2, "0.538300".into(), first), (3, "0.788300".into(), first)]
    );
    assert_eq!(spans(&world, &id).await, [(1, first, today), (1, today, 0), (2, first, 0), (3, first, 0)]);
}

#[tokio::test]
async fn the_second_change_of_a_day_leaves_the_first_in_force_on_no_day() {
    let world = World::start().await;
    let id = world.on_sale("两次").await;
    let first = world.day(0);
    world.days_pass(1);
    let today = world.day(0);
    for price in ["0.5", "0.6"] {
        update(&world, vec![row(&id, 1, price, 0, 2880)]).await.unwrap();
    }
    assert_eq!(spans(&world, &id).await[..3], [(1, first, today), (1, today, today), (1, today, 0)]);
    assert_eq!(open(&world, &id).await[0], (1, "0.600000".into(), today));
}

#[tokio::test]
async fn before_the_first_day_a_change_counts_from_the_first_day() {
    let world = World::start().await;
    let id = world.draft(laddered("将来")).await;
    world.add_prices(ladder_rows(&id)).await;
    world.submit(&id).await;
    let first = world.day(10);
    world.put_on_sale(&id, first, 0).await;
    update(&world, vec![row(&id, 3, "0.9", 4800, 0)]).await.unwrap();
    assert_eq!(spans(&world, &id).await[2..], [(3, first, first), (3, first, 0)]);
}

#[tokio::test]
async fn a_version_that_a_clock_ahead_opened_is_not_built_upon() {
    let world = World::start().await;
    let id = world.on_sale("超前").await;
    let now = world.clock.now();
    world.days_pass(30);
    update(&world, vec![row(&id, 1, "0.5", 0, 2880)]).await.unwrap();
    let before = spans(&world, &id).await;
    // By a clock that is right, the version in the way begins long after tomorrow.
    world.clock.set(now);
    assert_eq!(reason(update(&world, vec![row(&id, 1, "0.6", 0, 2880)]).await), "PRICE_STARTS_LATE");
    assert_eq!(spans(&world, &id).await, before);
    // Tomorrow is near enough: midnight comes to replicas one after the other.
    world.days_pass(29);
    update(&world, vec![row(&id, 1, "0.6", 0, 2880)]).await.unwrap();
}

#[tokio::test]
async fn a_row_that_would_not_change_is_left_alone() {
    let world = World::start().await;
    let id = world.on_sale("不变").await;
    world.days_pass(1);
    update(&world, ladder_rows(&id)).await.unwrap();
    assert_eq!(world.versions(&id).await.len(), 3);
    let mut rows = ladder_rows(&id);
    rows[0].price_unit = "元/度".into();
    update(&world, rows).await.unwrap();
    assert_eq!(world.versions(&id).await.len(), 4, "the one that did change has a version more");
}

#[tokio::test]
async fn a_package_that_is_over_or_cancelled_keeps_its_prices() {
    let world = World::start().await;
    let id = world.draft(laddered("短")).await;
    world.add_prices(ladder_rows(&id)).await;
    world.submit(&id).await;
    world.put_on_sale(&id, world.day(0), world.day(2)).await;
    world.days_pass(1);
    update(&world, vec![row(&id, 1, "0.5", 0, 2880)]).await.expect("on its last day");
    world.days_pass(1);
    assert_eq!(reason(update(&world, vec![row(&id, 1, "0.6", 0, 2880)]).await), "PACKAGE_STATE");
}

#[tokio::test]
async fn all_or_nothing_and_every_faulty_row_is_named() {
    let world = World::start().await;
    let id = world.on_sale("一").await;
    let other = world.on_sale("二").await;
    world.days_pass(1);
    let rows = vec![
        row(&id, 1, "0.5", 0, 2880),
        row(&id, 2, "0.6", 2880, 4800),
        row("P999999999999999", 1, "1", 0, 0),
        SalePackagePriceRow { time_of_use: TimeFeesType::Two.into(), ..row(&other, 1, "0.5", 0, 2880) },
        row(&id, 1, "0.7", 0, 2880),
        SalePackagePriceRow { account_item: "999".into(), ..row(&other, 2, "1", 2880, 4800) },
        row(&other, 4, "1", 4800, 0),
    ];
    let status = update(&world, rows).await.unwrap_err();
    assert_eq!(
        fields(&status),
        [
            at(2, "CHARGE_PACK_DID"),
            at(3, "TIME_FEES_TYPE"),
            at(4, "CHARGE_PACK_DID"),
            at(5, "CHARGE_PACK_DID"),
            at(6, "LADDER_LEVEL_TYPE"),
        ]
    );
    let message = words(&status);
    for part in [
        "COM_SALES_PRICE[2]",
        "COM_SALES_PRICE[3].TIME_FEES_TYPE",
        "与COM_SALES_PRICE[0]的维度重复",
        "相应维度的价格不存在",
    ] {
        assert!(message.contains(part), "{part} in {message}");
    }
    assert_eq!(world.versions(&id).await.len(), 3, "nothing was written");
    assert_eq!(world.versions(&other).await.len(), 3);
}

#[tokio::test]
async fn an_unknown_row_is_refused_and_never_inserted() {
    let world = World::start().await;
    let id = world.draft(laddered("半")).await;
    world.add_prices(ladder_rows(&id).into_iter().take(2).collect()).await;
    assert_eq!(reason(update(&world, vec![row(&id, 3, "1", 4800, 0)]).await), "PRICE_NOT_FOUND");
    assert_eq!(world.open_prices(&id).await.len(), 2);
}

#[tokio::test]
async fn tiers_on_sale_stay_in_touch() {
    let world = World::start().await;
    let id = world.on_sale("相接").await;
    let status = update(&world, vec![row(&id, 1, "0.5", 0, 3000)]).await.unwrap_err();
    assert_eq!(fields(&status), [at(0, "LADDER_UPPER_LIMIT")], "named at the row that the request has");
    assert_eq!(reason::<()>(Err(status)), "PRICES_INCOMPLETE");
    let status = update(&world, vec![row(&id, 3, "0.9", 4800, 9000)]).await.unwrap_err();
    assert_eq!(fields(&status), [at(0, "LADDER_UPPER_LIMIT")], "the last tier has no end");
    update(&world, vec![row(&id, 1, "0.5", 0, 3000), row(&id, 2, "0.6", 3000, 4800)]).await.expect("moved together");
    let limits: Vec<_> = world.open_prices(&id).await.iter().map(|p| (p.lower_limit, p.upper_limit)).collect();
    assert_eq!(limits, [(0, 3000), (3000, 4800), (4800, 0)]);
}

#[tokio::test]
async fn one_request_may_span_packages() {
    let world = World::start().await;
    let on_sale = world.on_sale("售").await;
    let draft = world.draft(laddered("稿")).await;
    world.add_prices(ladder_rows(&draft)).await;
    world.days_pass(1);
    update(&world, vec![row(&draft, 1, "1", 0, 2880), row(&on_sale, 1, "2", 0, 2880)]).await.unwrap();
    assert_eq!(open(&world, &draft).await[0], (1, "1.000000".into(), 0));
    assert_eq!(open(&world, &on_sale).await[0], (1, "2.000000".into(), world.day(0)));
}

#[tokio::test]
async fn adding_refuses_what_exists_and_what_comes_twice() {
    let world = World::start().await;
    let id = world.draft(laddered("添")).await;
    world.add_prices(vec![row(&id, 1, "1", 0, 2880)]).await;
    let rows = vec![row(&id, 2, "2", 2880, 4800), row(&id, 1, "3", 0, 2880), row(&id, 2, "4", 2880, 4800)];
    let status = add(&world, rows).await.unwrap_err();
    assert_eq!(fields(&status), [at(1, "CHARGE_PACK_DID"), at(2, "CHARGE_PACK_DID")]);
    assert_eq!(reason::<()>(Err(status)), "PRICE_EXISTS");
    assert_eq!(open(&world, &id).await, [(1, "1.000000".into(), 0)], "all or none");
}

#[tokio::test]
async fn of_thirty_two_equal_additions_at_once_one_is_taken() {
    let world = World::start().await;
    let id = world.draft(laddered("并发添")).await;
    let tasks: Vec<_> = (0..32)
        .map(|_| {
            let mut prices = world.prices(caller(RETAIL));
            let request = AddSalePackagePriceRequest { rows: ladder_rows(&id) };
            tokio::spawn(async move { prices.add_sale_package_price(request).await })
        })
        .collect();
    let mut taken = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(_) => taken += 1,
            Err(status) => assert_eq!(reason::<()>(Err(status)), "PRICE_EXISTS"),
        }
    }
    assert_eq!((taken, world.open_prices(&id).await.len()), (1, 3));
}

#[tokio::test]
async fn dimensions_that_are_left_out_are_neutral_and_others_must_fit_the_package() {
    let world = World::start().await;
    let package = NewSalePackage {
        seasonal: YesNo::Yes.into(),
        time_of_use: TimeFeesType::Three.into(),
        ladder: LadderType::None.into(),
        ladder_tiers: 0,
        ..laddered("丰枯三时段")
    };
    let id = world.draft(package).await;
    let base = SalePackagePriceRow {
        time_of_use: TimeFeesType::Three.into(),
        ladder: LadderType::None.into(),
        ..row(&id, 0, "1", 0, 0)
    };
    let with = |season: AbundanceType, period: TimeSharingType| SalePackagePriceRow {
        season: season.into(),
        period: period.into(),
        ..base.clone()
    };
    use AbundanceType as A;
    use TimeSharingType as T;
    let faulty = vec![
        base.clone(),
        with(A::Flat, T::Sharp),
        with(A::Flat, T::Whole),
        SalePackagePriceRow { tier: 2, ..with(A::Flat, T::Peak) },
        SalePackagePriceRow { upper_limit: 5, ..with(A::Flat, T::Peak) },
        SalePackagePriceRow {
            utility: NetworkType::Water.into(),
            agreement_price: YesNo::Yes.into(),
            ..with(A::Flat, T::Peak)
        },
    ];
    let status = add(&world, faulty).await.unwrap_err();
    assert_eq!(
        fields(&status),
        [
            at(0, "ABUNDANCE_TYPE"),
            at(0, "TIME_SHARING_TYPE"),
            at(1, "TIME_SHARING_TYPE"),
            at(2, "TIME_SHARING_TYPE"),
            at(3, "LADDER_LEVEL_TYPE"),
            at(4, "LADDER_UPPER_LIMIT"),
            at(5, "NETWORK_TYPE"),
            at(5, "AGREE_PRICE_YESNO"),
        ]
    );
    let seasons = [A::Abundant, A::Flat, A::Withered];
    let rows = seasons.into_iter().flat_map(|s| [T::Peak, T::Flat, T::Valley].map(|p| with(s, p))).collect();
    world.add_prices(rows).await;
    world.submit(&id).await;

    let flat =
        world.draft(NewSalePackage { ladder: LadderType::None.into(), ladder_tiers: 0, ..laddered("单一") }).await;
    let plain = SalePackagePriceRow { ladder: LadderType::None.into(), ..row(&flat, 0, "1", 0, 0) };
    add(&world, vec![plain.clone()]).await.unwrap();
    let spelt_out = SalePackagePriceRow { season: A::Flat.into(), period: T::Whole.into(), tier: 1, ..plain };
    assert_eq!(reason(add(&world, vec![spelt_out]).await), "PRICE_EXISTS", "left out and neutral are the same row");
}

#[tokio::test]
async fn limits_of_a_tier_run_forward() {
    let world = World::start().await;
    let id = world.draft(laddered("倒")).await;
    let status = add(&world, vec![row(&id, 2, "1", 4800, 2880), row(&id, 1, "1", 5, 5)]).await.unwrap_err();
    assert_eq!(fields(&status), [at(0, "LADDER_UPPER_LIMIT"), at(1, "LADDER_UPPER_LIMIT")]);
}

#[tokio::test]
async fn thirty_two_changes_of_one_package_at_once_become_as_many_versions_one_after_the_other() {
    let world = World::start().await;
    let id = world.on_sale("并发").await;
    world.days_pass(1);
    let tasks: Vec<_> = (0..32)
        .map(|n| {
            let mut prices = world.prices(caller(RETAIL));
            let request = UpdateSalePackagePriceRequest { rows: vec![row(&id, 1, &format!("1.{n:02}"), 0, 2880)] };
            tokio::spawn(async move { prices.update_sale_package_price(request).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().expect("none is refused");
    }
    // The first tier: the version before, and one for each change; each began where the one before ended.
    let stored: Vec<(String, i32, Option<i32>)> = sqlx::query_as(
        "SELECT price::text, to_char(start_date, 'YYYYMMDD')::int, to_char(stop_date, 'YYYYMMDD')::int
         FROM package_price WHERE package_id = $1 AND tier = '1' ORDER BY price_id",
    )
    .bind(&id)
    .fetch_all(world.pool())
    .await
    .unwrap();
    assert_eq!(stored.len(), 33);
    let prices: BTreeSet<_> = stored.iter().skip(1).map(|(price, ..)| price.clone()).collect();
    assert_eq!(prices.len(), 32, "none is lost");
    for (before, after) in stored.iter().zip(stored.iter().skip(1)) {
        assert_eq!(before.2, Some(after.1), "a version ends where the next begins");
    }
    assert_eq!(stored.last().map(|v| v.2), Some(None));
    // The versions are the history: each says which call wrote it.
    let calls = "SELECT count(DISTINCT trace_id) FROM package_price WHERE package_id = $1 AND tier = '1'";
    let calls: i64 = sqlx::query_scalar(calls).bind(&id).fetch_one(world.pool()).await.unwrap();
    assert_eq!(calls, 33);
}

#[tokio::test]
async fn changes_of_two_packages_in_either_order_do_not_block_each_other_forever() {
    let world = World::start().await;
    let (a, b) = (world.on_sale("甲").await, world.on_sale("乙").await);
    world.days_pass(1);
    let tasks: Vec<_> = (0..32)
        .map(|n| {
            let mut prices = world.prices(caller(RETAIL));
            let price = format!("2.{n:02}");
            let mut rows = vec![row(&a, 1, &price, 0, 2880), row(&b, 1, &price, 0, 2880)];
            if n % 2 == 0 {
                rows.reverse();
            }
            tokio::spawn(async move { prices.update_sale_package_price(UpdateSalePackagePriceRequest { rows }).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().expect("none is refused");
    }
    assert_eq!(open(&world, &a).await[0].1, open(&world, &b).await[0].1, "both packages saw the changes in one order");
}

#[tokio::test]
async fn a_change_against_a_cancel_leaves_no_open_price() {
    let world = World::start().await;
    for round in 0..8 {
        let id = world.on_sale(&format!("作废{round}")).await;
        let change = {
            let mut prices = world.prices(caller(RETAIL));
            let request = UpdateSalePackagePriceRequest { rows: vec![row(&id, 1, "3", 0, 2880)] };
            tokio::spawn(async move { prices.update_sale_package_price(request).await })
        };
        world.cancel(&id).await;
        if let Err(status) = change.await.unwrap() {
            assert_eq!(reason::<()>(Err(status)), "PACKAGE_STATE");
        }
        assert_eq!(world.open_prices(&id).await, []);
    }
}

#[tokio::test]
async fn a_request_is_the_same_however_its_decimals_are_written_and_its_repetition_is_told() {
    let world = World::start().await;
    let id = world.on_sale("重发").await;
    let send = async |price: &str| {
        let request = UpdateSalePackagePriceRequest { rows: vec![row(&id, 1, price, 0, 2880)] };
        world.prices(with_request_id(RETAIL, "2024031600001")).update_sale_package_price(request).await
    };
    let replayed = |answer: &Response<UpdateSalePackagePriceResponse>| {
        answer.metadata().get("idempotent-replayed").map(|value| value.to_str().unwrap().to_owned())
    };
    let first = send("2.5").await.unwrap();
    assert_eq!(replayed(&first), None);
    for price in ["2.5", "2.50", "2.500000"] {
        let again = send(price).await.unwrap();
        assert_eq!((again.get_ref(), replayed(&again).as_deref()), (first.get_ref(), Some("true")), "{price}");
    }
    assert_eq!(reason(send("2.05").await), "REQUEST_ID_REUSED");
}

#[tokio::test]
async fn the_id_of_a_proxy_is_no_request_id_and_a_query_reads_neither() {
    let world = World::start().await;
    // Two writes of one trace behind a proxy that gives both the same id.
    for name in ["甲", "乙"] {
        let mut request = Request::new(AddSalePackageRequest { package: Some(laddered(name)) });
        request.metadata_mut().insert("x-request-id", "4a6e4d1c-7a4f-9f4e-8b0e-2f5d3c1b0a99".parse().unwrap());
        world.packages(caller(RETAIL)).add_sale_package(request).await.unwrap();
    }
    let (too_long, spaced) = ("x".repeat(65), "a b".to_owned());
    for key in [&too_long, &spaced] {
        let request = AddSalePackageRequest { package: Some(laddered("丙")) };
        let outcome = world.packages(with_request_id(RETAIL, key)).add_sale_package(request).await;
        assert_eq!(reason(outcome), "REQUEST_ID_INVALID", "{key}");
        let query = QuerySalePackageRequest::default();
        world.packages(with_request_id(RETAIL, key)).query_sale_package(query).await.unwrap();
    }
}

#[tokio::test]
async fn a_repeated_request_is_answered_again_whatever_happened_since() {
    let world = World::start().await;
    let id = world.on_sale("重发").await;
    world.days_pass(1);
    let as_first = || with_request_id(RETAIL, "2024031600001");
    let rows = || vec![row(&id, 1, "0.5", 0, 2880)];
    update_as(&world, as_first(), rows()).await.unwrap();
    update(&world, vec![row(&id, 1, "0.6", 0, 2880)]).await.unwrap();
    update_as(&world, as_first(), rows()).await.expect("answered as before");
    assert_eq!(open(&world, &id).await[0].1, "0.600000", "and not carried out again");
    assert_eq!(reason(update_as(&world, as_first(), vec![row(&id, 1, "0.7", 0, 2880)]).await), "REQUEST_ID_REUSED");
    world.cancel(&id).await;
    update_as(&world, as_first(), rows()).await.expect("even when it would be refused now");
    let faulty = update_as(&world, with_request_id(RETAIL, "2024031600002"), rows()).await;
    assert_eq!(reason(faulty), "PACKAGE_STATE", "a new request is not");
}

#[tokio::test]
async fn thirty_two_equal_requests_of_one_id_make_one_version() {
    let world = World::start().await;
    let id = world.on_sale("同号").await;
    world.days_pass(1);
    let tasks: Vec<_> = (0..32)
        .map(|_| {
            let mut prices = world.prices(with_request_id(RETAIL, "2024031600003"));
            let request = UpdateSalePackagePriceRequest { rows: vec![row(&id, 1, "0.5", 0, 2880)] };
            tokio::spawn(async move { prices.update_sale_package_price(request).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().expect("every one is answered as the first");
    }
    assert_eq!(world.versions(&id).await.len(), 4);
}

#[tokio::test]
async fn a_thousand_rows_change_at_once_and_one_more_is_too_many() {
    let world = World::start().await;
    let mut rows = Vec::new();
    for number in 0..200 {
        let package = NewSalePackage { ladder_tiers: LadderNumType::Five.into(), ..laddered(&format!("大{number}")) };
        let id = world.draft(package).await;
        rows.extend(
            (1..=5).map(|t| row(&id, t, "1", i64::from(t - 1) * 10, if t == 5 { 0 } else { i64::from(t) * 10 })),
        );
    }
    world.add_prices(rows.clone()).await;
    for row in &mut rows {
        row.price = "2".into();
    }
    update(&world, rows.clone()).await.unwrap();
    let changed: i64 =
        sqlx::query_scalar("SELECT count(*) FROM package_price WHERE price = 2").fetch_one(world.pool()).await.unwrap();
    assert_eq!(changed, 1000);
    rows.push(row("P000000000000001", 1, "3", 0, 10));
    let status = update(&world, rows).await.unwrap_err();
    assert_eq!(fields(&status), ["COM_SALES_PRICE"]);
}

#[tokio::test]
async fn prices_come_by_page() {
    let world = World::start().await;
    let id = world.on_sale("分页").await;
    let page = |page, rows| {
        let mut prices = world.prices(caller(RETAIL));
        let request = QuerySalePackagePriceRequest {
            page: Some(PageRequest { page, rows }),
            package: Some(PackageOfPrices { package_id: id.clone() }),
        };
        async move {
            let reply = prices.query_sale_package_price(request).await?.into_inner();
            let page = reply.page.unwrap();
            let tiers: Vec<_> = reply.rows.iter().map(|r| r.tier).collect();
            Ok::<_, Status>((tiers, page.next(), page.total))
        }
    };
    assert_eq!(page(1, 2).await.unwrap(), (vec![1, 2], NextYesNo::More, 3));
    assert_eq!(page(2, 2).await.unwrap(), (vec![3], NextYesNo::None, 3));
    assert_eq!(page(1, 3).await.unwrap(), (vec![1, 2, 3], NextYesNo::None, 3));
    assert_eq!(page(9999, 9999).await.unwrap(), (vec![], NextYesNo::None, 3));
    assert_eq!(fields(&page(0, 2).await.unwrap_err()), ["SYS_PAGE.PAGE_NO"]);
}

#[tokio::test]
async fn the_database_itself_keeps_versions_apart() {
    let world = World::start().await;
    let id = world.on_sale("约束").await;
    let copy = |start: &str, stop: &str| {
        let sql = format!(
            "INSERT INTO package_price (retail_company_id, package_id, account_item, agreement_price, season, heat_basis,
                 property_basis, time_of_use, period, ladder, tier, price, price_unit, lower_limit, upper_limit,
                 start_date, stop_date, operator_id, channel_id, trace_id, written_at)
             SELECT retail_company_id, package_id, account_item, agreement_price, season, heat_basis, property_basis,
                 time_of_use, period, ladder, tier, price, price_unit, lower_limit, upper_limit, {start}, {stop}, '', '', '', now()
             FROM package_price WHERE package_id = '{id}' AND tier = '1'"
        );
        let pool = world.pool().clone();
        async move {
            let outcome = sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&pool).await;
            outcome.err().and_then(|e| communal_kit::database::constraint(&e).map(str::to_owned)).unwrap_or_default()
        }
    };
    assert_eq!(copy("start_date + 5", "start_date + 9").await, "package_price_versions_apart");
    assert_eq!(copy("start_date - 5", "NULL").await, "package_price_versions_apart");
    assert_eq!(copy("start_date + 5", "start_date").await, "package_price_span");
    assert_eq!(copy("start_date - 5", "start_date").await, "", "one day after the other is fine");
}
