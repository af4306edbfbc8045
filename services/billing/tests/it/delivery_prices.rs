//! Delivery prices over gRPC: versions, each refusal, isolation, history, the races.

use communal_kit::call::{Call, Tenant};
use communal_kit::identity::TenantKind;
use communal_kit::write::announce;
use communal_proto::billing::v1::*;
use tonic::Status;

use crate::harness::*;

fn new(start_date: i32) -> NewDeliveryPrice {
    NewDeliveryPrice {
        account_item: "101001".into(),
        utility: NetworkType::Electricity.into(),
        delivery_price_kind: DeliveryPriceType::Market.into(),
        by_power: YesNo::No.into(),
        delivery_fee_kind: DeliveryFeeType::SinglePart.into(),
        delivery_grade: "1".into(),
        time_of_use: TimeFeesType::One.into(),
        ladder: LadderType::None.into(),
        price: "0.1956".into(),
        price_unit: "元/千瓦时".into(),
        start_date,
        agreement_price: YesNo::Yes.into(),
        ..NewDeliveryPrice::default()
    }
}

fn split(start_date: i32, period: TimeSharingType) -> NewDeliveryPrice {
    NewDeliveryPrice { time_of_use: TimeFeesType::Two.into(), period: period.into(), ..new(start_date) }
}

fn change(start_date: i32, price: &str) -> DeliveryPriceChange {
    let given = new(start_date);
    DeliveryPriceChange {
        account_item: given.account_item,
        region_code: REGION.into(),
        utility: given.utility,
        delivery_price_kind: given.delivery_price_kind,
        by_power: given.by_power,
        delivery_fee_kind: given.delivery_fee_kind,
        delivery_grade: given.delivery_grade,
        time_of_use: given.time_of_use,
        ladder: given.ladder,
        price: price.into(),
        start_date,
        ..DeliveryPriceChange::default()
    }
}

fn end(start_date: i32, price: &str, stop_date: i32) -> DeliveryPriceEnd {
    let given = change(start_date, price);
    DeliveryPriceEnd {
        account_item: given.account_item,
        region_code: given.region_code,
        utility: given.utility,
        delivery_price_kind: given.delivery_price_kind,
        by_power: given.by_power,
        delivery_fee_kind: given.delivery_fee_kind,
        delivery_grade: given.delivery_grade,
        time_of_use: given.time_of_use,
        ladder: given.ladder,
        price: given.price,
        start_date,
        stop_date,
        ..DeliveryPriceEnd::default()
    }
}

async fn add(world: &World, tenant: &'static str, prices: Vec<NewDeliveryPrice>) -> Result<(), Status> {
    world.delivery_prices(caller(tenant)).add_delivery_price(AddDeliveryPriceRequest { prices }).await.map(drop)
}

async fn adjust(world: &World, tenant: &'static str, prices: Vec<DeliveryPriceChange>) -> Result<(), Status> {
    world.delivery_prices(caller(tenant)).adjust_delivery_price(AdjustDeliveryPriceRequest { prices }).await.map(drop)
}

async fn delete(world: &World, tenant: &'static str, prices: Vec<DeliveryPriceEnd>) -> Result<(), Status> {
    world.delivery_prices(caller(tenant)).delete_delivery_price(DeleteDeliveryPriceRequest { prices }).await.map(drop)
}

async fn list(world: &World, tenant: &'static str, filters: Vec<DeliveryPriceFilter>) -> Vec<DeliveryPrice> {
    let request = QueryDeliveryPriceRequest { filters };
    world.delivery_prices(caller(tenant)).query_delivery_price(request).await.unwrap().into_inner().prices
}

/// Price, days and whether enabled of all versions of a company.
async fn versions(world: &World, tenant: &'static str) -> Vec<(String, i32, i32, bool)> {
    let enabled = |price: &DeliveryPrice| price.enabled() == StateType::Enabled;
    list(world, tenant, vec![])
        .await
        .into_iter()
        .map(|p| (p.price.clone(), p.start_date, p.stop_date, enabled(&p)))
        .collect()
}

/// A world on 2024-03-15 whose network company has an account item.
async fn world() -> World {
    let world = World::start().await;
    let category = CategoryItem {
        category_item: 1001,
        name: "电费".into(),
        utility: NetworkType::Electricity.into(),
        surcharge: YesNo::No.into(),
        kind: String::new(),
    };
    let item = AccountItem {
        account_item: "101001".into(),
        name: "居民".into(),
        utility: NetworkType::Electricity.into(),
        main_category_item: 1001,
    };
    let mut catalogue = world.catalogue(caller(NETWORK));
    catalogue.register_category_items(RegisterCategoryItemsRequest { items: vec![category] }).await.unwrap();
    catalogue.register_account_items(RegisterAccountItemsRequest { items: vec![item] }).await.unwrap();
    world
}

/// Notes that a bill has used each version.
async fn bill_all(world: &World) {
    let mut transaction = world.pool().begin().await.unwrap();
    let tenant = Tenant { id: NETWORK.into(), kind: TenantKind::NetworkCompany };
    announce(&mut transaction, &Call::internal(tenant, "test", world.clock.now())).await.unwrap();
    sqlx::query("UPDATE delivery_price SET billed = true").execute(&mut *transaction).await.unwrap();
    transaction.commit().await.unwrap();
}

#[tokio::test]
async fn a_price_is_closed_and_followed_by_another() {
    let world = world().await;
    add(&world, NETWORK, vec![new(20_240_101)]).await.unwrap();
    adjust(&world, NETWORK, vec![change(20_240_401, "0.2")]).await.unwrap();
    adjust(&world, NETWORK, vec![DeliveryPriceChange { stop_date: 20_250_101, ..change(20_240_601, "0.21") }])
        .await
        .unwrap();
    let expected = [
        ("0.195600".to_owned(), 20_240_101, 20_240_401, true),
        ("0.200000".to_owned(), 20_240_401, 20_240_601, true),
        ("0.210000".to_owned(), 20_240_601, 20_250_101, true),
    ];
    assert_eq!(versions(&world, NETWORK).await, expected);
    // Closed today, by the day given, and before it begins.
    delete(&world, NETWORK, vec![end(20_240_101, "0.1956", 0)]).await.unwrap();
    delete(&world, NETWORK, vec![end(20_240_401, "0.2", 20_240_501), end(20_240_601, "0.21", 0)]).await.unwrap();
    let expected =
        [("0.195600".to_owned(), 20_240_101, 20_240_315, false), ("0.200000".to_owned(), 20_240_401, 20_240_501, true)];
    assert_eq!(versions(&world, NETWORK).await, expected);
    // A version that never begins is not shown, and its days are free.
    add(&world, NETWORK, vec![new(20_240_601)]).await.unwrap();
    let mut operations = world.history("delivery_price").await;
    operations.sort();
    assert_eq!(operations, [["INSERT"; 4].as_slice(), ["UPDATE"; 5].as_slice()].concat());
}

/// As one of the catalogue is: the version that would begin on the day never does.
#[tokio::test]
async fn a_price_is_adjusted_from_the_day_on_which_it_begins() {
    let world = world().await;
    add(&world, NETWORK, vec![new(20_240_101)]).await.unwrap();
    adjust(&world, NETWORK, vec![change(20_240_401, "0.2")]).await.unwrap();
    adjust(&world, NETWORK, vec![change(20_240_401, "0.21")]).await.unwrap();
    let mut found = versions(&world, NETWORK).await;
    found.sort();
    let expected =
        [("0.195600".to_owned(), 20_240_101, 20_240_401, true), ("0.210000".to_owned(), 20_240_401, 0, true)];
    assert_eq!(found, expected);
    // Of two rows neither takes the place of the other.
    let twice = vec![change(20_240_401, "0.22"), change(20_240_401, "0.23")];
    let refusal = ("COM_DELIVERY_PRICE[1].STARTUP_DATE".to_owned(), "PRICE_EXISTS".to_owned());
    assert_eq!(refused(adjust(&world, NETWORK, twice).await), refusal);
    bill_all(&world).await;
    let billed = vec![DeliveryPriceChange { stop_date: 20_240_401, ..change(20_240_101, "0.22") }];
    assert_eq!(reason(adjust(&world, NETWORK, billed).await), "PRICE_BILLED");
}

#[tokio::test]
async fn a_price_is_shown_with_its_names_and_by_any_filter() {
    let world = world().await;
    add(&world, NETWORK, vec![NewDeliveryPrice { loss_rate: "6.5".into(), ..new(20_240_101) }]).await.unwrap();
    adjust(&world, NETWORK, vec![change(20_240_401, "0.2")]).await.unwrap();
    let filter =
        |item: &str, region: &str| DeliveryPriceFilter { account_item: item.into(), region_code: region.into() };
    let shown = list(&world, NETWORK, vec![filter("9", ""), filter("101001", REGION)]).await;
    let DeliveryPrice { network_company_id, account_item_name, region_code, loss_rate, tier, period, .. } = &shown[0];
    assert_eq!((network_company_id.as_str(), account_item_name.as_str()), (NETWORK, "居民"));
    assert_eq!((region_code.as_str(), loss_rate.as_str(), *tier, *period), (REGION, "6.50", 1, 1));
    assert_eq!(shown[1].agreement_price(), YesNo::Yes, "an adjustment has no field for it");
    for filters in [vec![filter("9", "")], vec![filter("101001", "310101000000")]] {
        assert_eq!(list(&world, NETWORK, filters).await, []);
    }
    assert_eq!(list(&world, NETWORK, vec![filter("", REGION)]).await.len(), 2);
    assert_eq!(list(&world, OTHER_NETWORK, vec![]).await, []);
    assert_eq!(list(&world, RETAIL, vec![]).await, []);
}

#[tokio::test]
async fn each_refusal_has_its_reason_and_nothing_is_written() {
    let world = world().await;
    add(&world, NETWORK, vec![new(20_240_101)]).await.unwrap();
    let refusal = |field: &str, reason: &str| (format!("COM_DELIVERY_PRICE[0].{field}"), reason.to_owned());
    let laddered = NewDeliveryPrice { ladder: LadderType::Year.into(), ..new(20_250_101) };
    for (given, expected) in [
        (new(20_250_101), refusal("STARTUP_DATE", "PRICE_EXISTS")),
        // The tariff is not split by period.
        (split(20_250_101, TimeSharingType::Peak), refusal("STARTUP_DATE", "PRICE_EXISTS")),
        (
            NewDeliveryPrice { account_item: "9".into(), ..new(20_250_101) },
            refusal("ACCOUNT_ITEM_INFO", "ACCOUNT_ITEM_NOT_FOUND"),
        ),
        (
            NewDeliveryPrice { utility: NetworkType::Water.into(), stop_date: 20_240_101, ..new(20_230_101) },
            refusal("ACCOUNT_ITEM_INFO", "ACCOUNT_ITEM_NOT_FOUND"),
        ),
        (NewDeliveryPrice { stop_date: 20_250_101, ..new(20_250_101) }, refusal("OUTAGE_DATE", "FIELD_MALFORMED")),
        (
            NewDeliveryPrice { by_power: YesNo::Yes.into(), ..new(20_250_101) },
            refusal("POWER_RANGE_TYPE", "FIELD_MALFORMED"),
        ),
        (split(20_250_101, TimeSharingType::Flat), refusal("TIME_SHARING_TYPE", "FIELD_MALFORMED")),
        (
            NewDeliveryPrice { ladder_tiers: LadderNumType::Two.into(), ..laddered.clone() },
            refusal("LADDER_LEVEL_TYPE", "FIELD_MALFORMED"),
        ),
        (
            NewDeliveryPrice { tier: LadderLevelType::First.into(), ..laddered },
            refusal("LADDER_NUM_TYPE", "FIELD_MALFORMED"),
        ),
    ] {
        assert_eq!(refused(add(&world, NETWORK, vec![given]).await), expected);
    }
    let no_such = refusal("STARTUP_DATE", "PRICE_NOT_FOUND");
    for (given, expected) in [
        (change(20_231_231, "0.2"), no_such.clone()),
        (
            DeliveryPriceChange { region_code: "310101000000".into(), ..change(20_240_401, "0.2") },
            refusal("ADMIN_CODE_INFO", "PRICE_NOT_FOUND"),
        ),
        (
            DeliveryPriceChange { delivery_grade: "2".into(), ..change(20_240_401, "0.2") },
            refusal("ACCOUNT_ITEM_INFO", "PRICE_NOT_FOUND"),
        ),
    ] {
        assert_eq!(refused(adjust(&world, NETWORK, vec![given]).await), expected);
    }
    for (given, expected) in [
        (end(20_240_102, "0.1956", 0), no_such.clone()),
        (end(20_231_231, "0.1956", 0), no_such),
        (end(20_240_101, "0.1957", 0), refusal("CAT_ITEM_PRICE", "PRICE_NOT_FOUND")),
        // A version that began is not taken off the days that it had.
        (end(20_240_101, "0.1956", 20_231_231), refusal("OUTAGE_DATE", "FIELD_MALFORMED")),
        (end(20_240_101, "0.1956", 20_240_101), refusal("OUTAGE_DATE", "FIELD_MALFORMED")),
        (
            DeliveryPriceEnd { region_code: "310101000000".into(), ..end(20_240_101, "0.1956", 0) },
            refusal("ADMIN_CODE_INFO", "PRICE_NOT_FOUND"),
        ),
    ] {
        assert_eq!(refused(delete(&world, NETWORK, vec![given]).await), expected);
    }
    // Another company's price, and a company of the wrong kind.
    assert_eq!(reason(adjust(&world, OTHER_NETWORK, vec![change(20_240_401, "0.2")]).await), "PRICE_NOT_FOUND");
    assert_eq!(reason(delete(&world, OTHER_NETWORK, vec![end(20_240_101, "0.1956", 0)]).await), "PRICE_NOT_FOUND");
    assert_eq!(reason(add(&world, RETAIL, vec![new(20_250_101)]).await), "NOT_A_NETWORK_COMPANY");
    assert_eq!(reason(adjust(&world, RETAIL, vec![change(20_240_401, "0.2")]).await), "NOT_A_NETWORK_COMPANY");
    assert_eq!(reason(delete(&world, RETAIL, vec![end(20_240_101, "0.1956", 0)]).await), "NOT_A_NETWORK_COMPANY");
    assert_eq!(versions(&world, NETWORK).await, [("0.195600".to_owned(), 20_240_101, 0, true)]);
}

/// One field is refused for several causes, and the text tells them apart.
#[tokio::test]
async fn the_refusal_of_a_start_date_says_why() {
    let world = world().await;
    add(&world, NETWORK, vec![NewDeliveryPrice { stop_date: 20_240_601, ..new(20_240_101) }]).await.unwrap();
    let add_words = |price| async { words(&add(&world, NETWORK, vec![price]).await.unwrap_err()) };
    let adjust_words = |price| async { words(&adjust(&world, NETWORK, vec![price]).await.unwrap_err()) };
    assert!(add_words(new(20_240_501)).await.contains("20240101起、20240601停用的版本重叠"));
    let other_split = add_words(split(20_240_501, TimeSharingType::Peak)).await;
    assert!(other_split.contains("20240101起、20240601停用的分时、阶梯、丰枯设置不一致"), "{other_split}");
    assert!(adjust_words(change(20_231_231, "0.2")).await.contains("早于该配送价的最早启用日期20240101"));
    assert!(adjust_words(change(20_240_601, "0.2")).await.contains("该日没有生效的配送价"));
    bill_all(&world).await;
    assert!(adjust_words(change(20_240_301, "0.2")).await.contains("价格已用于账单"));
}

/// A price of a tier of a monthly ladder of three.
fn tier(level: i32, lower_limit: i64, upper_limit: i64) -> NewDeliveryPrice {
    NewDeliveryPrice {
        ladder: LadderType::Month.into(),
        ladder_tiers: LadderNumType::Three.into(),
        tier: level,
        lower_limit,
        upper_limit,
        ..new(20_240_101)
    }
}

#[tokio::test]
async fn tiers_of_a_tariff_touch_each_other() {
    let world = world().await;
    let incomplete =
        |row: usize, field: &str| (format!("COM_DELIVERY_PRICE[{row}].{field}"), "PRICES_INCOMPLETE".to_owned());
    for (third, expected) in [
        (tier(3, 500, 0), incomplete(2, "LADDER_LOWER_LIMIT")),
        (tier(3, 400, 900), incomplete(2, "LADDER_UPPER_LIMIT")),
    ] {
        let prices = vec![tier(1, 0, 240), tier(2, 240, 400), third];
        assert_eq!(refused(add(&world, NETWORK, prices).await), expected);
    }
    assert_eq!(versions(&world, NETWORK).await, []);
    // They may come one by one; the last one is judged with the others.
    add(&world, NETWORK, vec![tier(1, 0, 240)]).await.unwrap();
    add(&world, NETWORK, vec![tier(2, 240, 400)]).await.unwrap();
    assert_eq!(refused(add(&world, NETWORK, vec![tier(3, 500, 0)]).await), incomplete(0, "LADDER_LOWER_LIMIT"));
    add(&world, NETWORK, vec![tier(3, 400, 0)]).await.unwrap();
    // Other limits are given to all tiers at once.
    let changed = |level: i32, lower_limit: i64, upper_limit: i64| DeliveryPriceChange {
        ladder: LadderType::Month.into(),
        ladder_tiers: LadderNumType::Three.into(),
        tier: level,
        lower_limit,
        upper_limit,
        ..change(20_240_401, "0.2")
    };
    let alone = vec![changed(1, 0, 300)];
    assert_eq!(refused(adjust(&world, NETWORK, alone).await), incomplete(0, "LADDER_UPPER_LIMIT"));
    adjust(&world, NETWORK, vec![changed(1, 0, 300), changed(2, 300, 400), changed(3, 400, 0)]).await.unwrap();
    assert_eq!(versions(&world, NETWORK).await.len(), 6);
    // The tiers of all periods of a season have the same limits; other grades have ladders of their own.
    let of_period = |period: TimeSharingType, level: i32, lower_limit: i64, upper_limit: i64| NewDeliveryPrice {
        delivery_grade: "2".into(),
        time_of_use: TimeFeesType::Two.into(),
        period: period.into(),
        ladder_tiers: LadderNumType::Two.into(),
        ..tier(level, lower_limit, upper_limit)
    };
    use TimeSharingType::{Peak, Valley};
    let uneven = vec![
        of_period(Peak, 1, 0, 50),
        of_period(Peak, 2, 50, 0),
        of_period(Valley, 1, 0, 60),
        of_period(Valley, 2, 60, 0),
    ];
    assert_eq!(reason(add(&world, NETWORK, uneven).await), "PRICES_INCOMPLETE");
    let even = vec![
        of_period(Peak, 1, 0, 50),
        of_period(Peak, 2, 50, 0),
        of_period(Valley, 1, 0, 50),
        of_period(Valley, 2, 50, 0),
    ];
    add(&world, NETWORK, even).await.unwrap();
}

#[tokio::test]
async fn of_32_that_complete_a_ladder_none_leaves_it_broken() {
    let world = world().await;
    add(&world, NETWORK, vec![tier(1, 0, 240)]).await.unwrap();
    // The second tiers end where the third ones begin, or do not: each pair of calls makes a ladder or is refused.
    let second_or_third = |n: usize| {
        let limit = if n < 16 { 400 } else { 500 };
        add(&world, NETWORK, vec![if n.is_multiple_of(2) { tier(2, 240, limit) } else { tier(3, limit, 0) }])
    };
    let outcomes = futures::future::join_all((0..32).map(second_or_third)).await;
    assert_eq!(outcomes.into_iter().filter(Result::is_ok).count(), 2);
    let limits: Vec<(i64, i64)> = sqlx::query_as("SELECT lower_limit, upper_limit FROM delivery_price ORDER BY tier")
        .fetch_all(world.pool())
        .await
        .unwrap();
    assert_eq!(limits[1].1, limits[2].0, "{limits:?}");
}

#[tokio::test]
async fn what_a_bill_has_used_does_not_change_for_days_before_today() {
    let world = world().await;
    add(&world, NETWORK, vec![new(20_240_101)]).await.unwrap();
    bill_all(&world).await;
    // Today is 2024-03-15.
    assert_eq!(reason(adjust(&world, NETWORK, vec![change(20_240_314, "0.2")]).await), "PRICE_BILLED");
    assert_eq!(reason(delete(&world, NETWORK, vec![end(20_240_101, "0.1956", 20_240_314)]).await), "PRICE_BILLED");
    adjust(&world, NETWORK, vec![change(20_240_315, "0.2")]).await.unwrap();
}

#[tokio::test]
async fn of_32_that_add_one_price_one_does_and_of_32_that_adjust_it_the_last_one_counts() {
    let world = world().await;
    one_of_32(|_| add(&world, NETWORK, vec![new(20_240_101)]), "PRICE_EXISTS").await;
    // Versions of days that only overlap are as far apart.
    let closed = |n| NewDeliveryPrice { stop_date: 20_240_101, ..new(20_230_101 + n) };
    one_of_32(|n| add(&world, NETWORK, vec![closed(i32::try_from(n % 28).unwrap())]), "PRICE_EXISTS").await;
    let adjusted = (0..32).map(|_| adjust(&world, NETWORK, vec![change(20_240_401, "0.2")]));
    assert!(futures::future::join_all(adjusted).await.iter().all(Result::is_ok));
    let days = versions(&world, NETWORK).await.into_iter().map(|(_, start, stop, _)| (start, stop));
    let in_force: Vec<_> = days.filter(|(start, stop)| start != stop).collect();
    assert_eq!(in_force[1..], [(20_240_101, 20_240_401), (20_240_401, 0)]);
}
