//! Prices of the catalogue over gRPC: versions, refusals, isolation, races, and what the database itself keeps apart.

use communal_proto::billing::v1::*;
use futures::future::join_all;
use tonic::Status;

use crate::harness::*;

async fn world() -> World {
    let world = World::start().await;
    world.register_items(NETWORK).await;
    world
}

/// A main price of electricity without seasons, periods and tiers.
fn price(price: &str, start_date: i32) -> MainPrice {
    MainPrice { price: price.into(), start_date, ..main_price() }
}

async fn add(world: &World, prices: Vec<MainPrice>) -> Result<(), Status> {
    world.catalogue_prices(caller(NETWORK)).add_main_price(AddMainPriceRequest { prices }).await.map(drop)
}

async fn adjust(world: &World, prices: Vec<MainPrice>) -> Result<(), Status> {
    world.catalogue_prices(caller(NETWORK)).adjust_main_price(AdjustMainPriceRequest { prices }).await.map(drop)
}

async fn main_prices(world: &World, filter: MainPriceFilter) -> Vec<MainPriceVersion> {
    let request = QueryMainPriceRequest { filter: Some(filter) };
    world.catalogue_prices(caller(NETWORK)).query_main_price(request).await.unwrap().into_inner().prices
}

/// (price, first day, stop day) of all main prices.
async fn spans(world: &World) -> Vec<(String, i32, i32)> {
    let prices = main_prices(world, MainPriceFilter::default()).await;
    prices.into_iter().map(|p| (p.price, p.start_date, p.stop_date)).collect()
}

/// An operation on a surcharge.
fn surcharge(operation: OperationType, price: &str, start_date: i32, stop_date: i32) -> AttachedPriceChange {
    AttachedPriceChange {
        account_item: "101001".into(),
        main_category_item: 1001,
        surcharge_item: 1101,
        price: price.into(),
        price_unit: String::new(),
        utility: NetworkType::Electricity.into(),
        supply_kind: PurchaseSaleType::Direct.into(),
        start_date,
        stop_date,
        operation: operation.into(),
    }
}

async fn maintain(world: &World, prices: Vec<AttachedPriceChange>) -> Result<(), Status> {
    let request = MaintainAttachPriceRequest { prices };
    world.catalogue_prices(caller(NETWORK)).maintain_attach_price(request).await.map(drop)
}

async fn surcharges(world: &World) -> Vec<(String, i32, i32)> {
    let request = QueryAttachPriceRequest { filter: None };
    let reply = world.catalogue_prices(caller(NETWORK)).query_attach_price(request).await.unwrap().into_inner();
    reply.prices.into_iter().map(|p| (p.price, p.start_date, p.stop_date)).collect()
}

fn refused(outcome: Result<(), Status>) -> (String, Vec<String>) {
    let status = outcome.unwrap_err();
    let fields = fields(&status).into_iter().map(|field| field.replace("COM_PRO_PRICE", "")).collect();
    (reason::<()>(Err(status)), fields)
}

/// A refusal of the first row for one field.
fn at(reason: &str, field: &str) -> (String, Vec<String>) {
    (reason.to_owned(), vec![format!("[0].{field}")])
}

#[tokio::test]
async fn an_adjusted_price_follows_the_one_in_force() {
    let world = world().await;
    let (today, later, end) = (world.day(0), world.day(10), world.day(30));
    add(&world, vec![price("0.5", 20_240_101)]).await.unwrap();
    adjust(&world, vec![MainPrice { price_unit: String::new(), ..price("0.6", later) }]).await.unwrap();
    assert_eq!(spans(&world).await, [("0.500000".into(), 20_240_101, later), ("0.600000".into(), later, 0)]);
    let of_later = main_prices(&world, MainPriceFilter { start_date: later, ..Default::default() }).await;
    assert_eq!(of_later.len(), 1, "the filter is the first day of a version");
    let found = &of_later[0];
    assert_eq!((found.price_unit.as_str(), found.region_code.as_str()), ("元/千瓦时", REGION), "a unit left out stays");
    assert_eq!(
        (found.agreement_price(), found.resident(), found.period()),
        (YesNo::No, YesNo::Unspecified, TimeSharingType::Whole)
    );
    // Once more for the same day: the version that never was in force is not shown.
    adjust(&world, vec![MainPrice { stop_date: end, ..price("0.7", later) }]).await.unwrap();
    assert_eq!(spans(&world).await, [("0.500000".into(), 20_240_101, later), ("0.700000".into(), later, end)]);
    // A price may be added after the end, and there is none to adjust between.
    add(&world, vec![price("0.8", world.day(40))]).await.unwrap();
    assert_eq!(refused(adjust(&world, vec![price("0.9", end)]).await), at("PRICE_NOT_FOUND", "ACCOUNT_ITEM_INFO"));
    // Without an end it would reach into the version that follows.
    assert_eq!(refused(adjust(&world, vec![price("0.9", today)]).await), at("PRICE_EXISTS", "ACCOUNT_ITEM_INFO"));
    assert_eq!(spans(&world).await.len(), 3, "a refused call changes nothing");
}

#[tokio::test]
async fn what_exists_or_is_unknown_is_refused_by_field() {
    let world = world().await;
    add(&world, vec![price("0.5", 20_240_101)]).await.unwrap();
    let first = |prices: MainPrice| add(&world, vec![prices]);
    let open = price("1", 20_250_101);
    assert_eq!(refused(first(open.clone()).await), at("PRICE_EXISTS", "ACCOUNT_ITEM_INFO"));
    let other_item = MainPrice { main_category_item: 1003, ..open.clone() };
    assert_eq!(refused(first(other_item.clone()).await), at("MAIN_ITEM_DIFFERS", "CAT_ITEM_MAIN_NUM"));
    assert_eq!(refused(adjust(&world, vec![other_item]).await), at("MAIN_ITEM_DIFFERS", "CAT_ITEM_MAIN_NUM"));
    for (unknown, field, expected) in [
        (MainPrice { account_item: "999".into(), ..open.clone() }, "ACCOUNT_ITEM_INFO", "ACCOUNT_ITEM_NOT_FOUND"),
        (MainPrice { main_category_item: 999, ..open.clone() }, "CAT_ITEM_MAIN_NUM", "CATEGORY_ITEM_NOT_FOUND"),
        // A surcharge is no main item.
        (MainPrice { main_category_item: 1101, ..open.clone() }, "CAT_ITEM_MAIN_NUM", "CATEGORY_ITEM_NOT_FOUND"),
    ] {
        assert_eq!(refused(first(unknown).await), at(expected, field));
    }
    let of = |period: TimeSharingType, main_category_item, start_date| MainPrice {
        time_of_use: TimeFeesType::Two.into(),
        period: period.into(),
        main_category_item,
        ..price("1", start_date)
    };
    use TimeSharingType::{Peak, Valley};
    let twice = add(&world, vec![of(Peak, 1001, 20_200_101), of(Peak, 1001, 20_210_101)]).await;
    assert_eq!(refused(twice), ("FIELD_MALFORMED".into(), vec!["[1].ACCOUNT_ITEM_INFO".into()]));
    let two_items = add(&world, vec![of(Peak, 1001, 20_200_101), of(Valley, 1003, 20_210_101)]).await;
    assert_eq!(refused(two_items), ("MAIN_ITEM_DIFFERS".into(), vec!["[1].CAT_ITEM_MAIN_NUM".into()]));
    assert_eq!(spans(&world).await.len(), 1);
}

#[tokio::test]
async fn what_contradicts_itself_is_named_field_by_field() {
    let world = world().await;
    let case = async |row: MainPrice| refused(add(&world, vec![row]).await);
    let plain = price("1", 20_240_101);
    let malformed = |field| at("FIELD_MALFORMED", field);
    use LadderNumType as N;
    for (row, field) in [
        (MainPrice { surcharge_item: Some(1101), ..plain.clone() }, "CAT_ITEM_ATTACH_NUM"),
        (MainPrice { stop_date: 20_240_101, ..plain.clone() }, "OUTAGE_DATE"),
        (MainPrice { ladder_tiers: N::Two.into(), ..plain.clone() }, "LADDER_NUM_TYPE"),
        (MainPrice { heat_basis: HeatChargeType::AreaAndHeat.into(), ..plain.clone() }, "HEAT_CHARGE_TYPE"),
        (MainPrice { seasonal: YesNo::Yes.into(), ..plain.clone() }, "ABUNDANCE_TYPE"),
        (MainPrice { season: AbundanceType::Abundant.into(), ..plain.clone() }, "ABUNDANCE_TYPE"),
        (MainPrice { time_of_use: TimeFeesType::Two.into(), ..plain.clone() }, "TIME_SHARING_TYPE"),
        (MainPrice { tier: 2, ..plain.clone() }, "LADDER_LEVEL_TYPE"),
        (MainPrice { upper_limit: 5, ..plain.clone() }, "LADDER_UPPER_LIMIT"),
    ] {
        assert_eq!(case(row).await, malformed(field), "{field}");
    }
    let area = MainPrice {
        heat_basis: HeatChargeType::Area.into(),
        time_of_use: TimeFeesType::Two.into(),
        period: TimeSharingType::Peak.into(),
        ..plain
    };
    assert_eq!(case(area).await, malformed("HEAT_CHARGE_TYPE"), "an area has no time of use");
}

#[tokio::test]
async fn tiers_that_are_all_there_fit_each_other() {
    let world = world().await;
    let tier = |tier, lower_limit, upper_limit, start_date| MainPrice {
        ladder: LadderType::Year.into(),
        ladder_tiers: LadderNumType::Two.into(),
        tier,
        lower_limit,
        upper_limit,
        ..price("1", start_date)
    };
    let gap = add(&world, vec![tier(1, 0, 100, 20_240_101), tier(2, 110, 0, 20_240_101)]).await;
    assert_eq!(refused(gap), ("PRICES_INCOMPLETE".into(), vec!["[1].LADDER_LOWER_LIMIT".into()]));
    add(&world, vec![tier(1, 0, 100, 20_240_101)]).await.expect("one after the other");
    add(&world, vec![tier(2, 100, 0, 20_240_101)]).await.unwrap();
    let day = world.day(1);
    let moved = adjust(&world, vec![tier(1, 0, 120, day)]).await;
    assert_eq!(refused(moved), at("PRICES_INCOMPLETE", "LADDER_UPPER_LIMIT"));
    adjust(&world, vec![tier(1, 0, 120, day), tier(2, 120, 0, day)]).await.expect("moved together");
}

#[tokio::test]
async fn a_surcharge_is_added_changed_corrected_and_closed() {
    use OperationType::{Add, Change, Delete};
    let world = world().await;
    let (today, later) = (world.day(0), world.day(20));
    let one = |change| maintain(&world, vec![change]);
    assert_eq!(refused(one(surcharge(Add, "", 20_240_101, 0)).await), at("FIELD_MISSING", "CAT_ITEM_PRICE"));
    assert_eq!(refused(one(surcharge(Add, "0.1", 0, 0)).await), at("FIELD_MISSING", "STARTUP_DATE"));
    assert_eq!(refused(one(surcharge(Change, "0.1", 0, 0)).await), at("PRICE_NOT_FOUND", "ACCOUNT_ITEM_INFO"));
    assert_eq!(refused(one(surcharge(Delete, "", 0, 0)).await), at("PRICE_NOT_FOUND", "ACCOUNT_ITEM_INFO"));
    one(surcharge(Add, "0.1", 20_240_101, 0)).await.unwrap();
    assert_eq!(refused(one(surcharge(Change, "", 0, 0)).await), at("FIELD_MISSING", "OPERATION_TYPE"));
    let none = AttachedPriceChange { surcharge_item: 0, ..surcharge(Add, "0.1", 20_240_101, 0) };
    assert_eq!(refused(one(none).await), at("FIELD_MISSING", "CAT_ITEM_ATTACH_NUM"));
    let no_surcharge = AttachedPriceChange { surcharge_item: 1001, ..surcharge(Add, "0.1", 20_240_101, 0) };
    assert_eq!(refused(one(no_surcharge).await), at("CATEGORY_ITEM_NOT_FOUND", "CAT_ITEM_ATTACH_NUM"));

    one(surcharge(Change, "0.2", 0, 0)).await.expect("no bill has used it");
    assert_eq!(surcharges(&world).await, [("0.200000".into(), 20_240_101, 0)]);
    one(surcharge(Change, "", today, 0)).await.expect("a date without a price keeps the price");
    assert_eq!(surcharges(&world).await, [("0.200000".into(), 20_240_101, today), ("0.200000".into(), today, 0)]);
    one(surcharge(Delete, "", 0, later)).await.unwrap();
    assert_eq!(surcharges(&world).await[1], ("0.200000".into(), today, later));
    assert_eq!(refused(one(surcharge(Change, "", 0, today)).await), at("FIELD_MALFORMED", "OUTAGE_DATE"));
    for never in [20_240_101, 20_231_231] {
        let closed = one(surcharge(Delete, "", 0, never)).await;
        assert_eq!(refused(closed), at("FIELD_MALFORMED", "OUTAGE_DATE"), "it would have no day");
    }
    one(surcharge(Delete, "", 0, 0)).await.expect("and earlier still: today, on which it never was in force");
    assert_eq!(surcharges(&world).await, [("0.200000".into(), 20_240_101, today)]);
    let reply = world.catalogue_prices(caller(NETWORK)).query_attach_price(QueryAttachPriceRequest::default()).await;
    assert_eq!(reply.unwrap().into_inner().prices[0].category_item_name, "可再生能源电价附加");
}

#[tokio::test]
async fn what_a_bill_has_used_does_not_change_for_days_before_today() {
    use OperationType::{Add, Change, Delete};
    let world = world().await;
    let one = |change| maintain(&world, vec![change]);
    one(surcharge(Add, "0.1", 20_240_101, 0)).await.unwrap();
    bill_everything(&world).await;
    assert_eq!(refused(one(surcharge(Change, "0.2", 0, 0)).await), at("PRICE_BILLED", "CAT_ITEM_PRICE"));
    let yesterday = world.day(-1);
    for past in [
        surcharge(Change, "0.2", yesterday, 0),
        surcharge(Change, "", 0, yesterday),
        surcharge(Delete, "", 0, yesterday),
    ] {
        assert_eq!(refused(one(past).await), at("PRICE_BILLED", "ACCOUNT_ITEM_INFO"));
    }
    one(surcharge(Change, "0.2", world.day(0), 0)).await.expect("from today on it does");
}

/// Marks all prices as used, as charge-off does.
async fn bill_everything(world: &World) {
    let mut transaction = world.pool().begin().await.unwrap();
    sqlx::query("SELECT platform.announce('R', '', 'C', 't', 'ChargeOff', now())")
        .execute(&mut *transaction)
        .await
        .unwrap();
    sqlx::query("UPDATE catalogue_price SET billed = true").execute(&mut *transaction).await.unwrap();
    transaction.commit().await.unwrap();
}

#[tokio::test]
async fn a_basic_fee_is_by_capacity_or_demand_and_has_one_main_item() {
    let world = world().await;
    let change = |basic_fee_kind: BasicFeesType, main_category_item, start_date| BasicFeePriceChange {
        account_item: "101001".into(),
        main_category_item,
        surcharge_item: Some(0),
        price: "32".into(),
        price_unit: "元/千伏安".into(),
        utility: NetworkType::Electricity.into(),
        basic_fee_kind: basic_fee_kind.into(),
        supply_kind: PurchaseSaleType::Direct.into(),
        start_date,
        stop_date: 0,
        operation: OperationType::Add.into(),
    };
    let one = async |change| {
        let request = MaintainBasicFeePriceRequest { prices: vec![change] };
        world.catalogue_prices(caller(NETWORK)).maintain_basic_fee_price(request).await.map(drop)
    };
    use BasicFeesType::{Capacity, Demand};
    one(change(Capacity, 1003, 20_240_101)).await.unwrap();
    one(change(Demand, 1003, 20_240_101)).await.expect("each kind has its price");
    assert_eq!(
        refused(one(change(BasicFeesType::None, 1003, 20_240_101)).await),
        at("FIELD_MALFORMED", "BASIC_FEES_TYPE")
    );
    assert_eq!(refused(one(change(Capacity, 1003, 20_250_101)).await), at("PRICE_EXISTS", "ACCOUNT_ITEM_INFO"));
    assert_eq!(refused(one(change(Capacity, 1001, 20_250_101)).await), at("MAIN_ITEM_DIFFERS", "CAT_ITEM_MAIN_NUM"));
    let surcharge = BasicFeePriceChange { surcharge_item: Some(1101), ..change(Capacity, 1003, 20_240_101) };
    assert_eq!(refused(one(surcharge).await), at("FIELD_MALFORMED", "CAT_ITEM_ATTACH_NUM"));
    let request = QueryBasicFeePriceRequest { filter: None };
    let reply = world.catalogue_prices(caller(NETWORK)).query_basic_fee_price(request).await.unwrap().into_inner();
    let found: Vec<_> =
        reply.prices.iter().map(|p| (p.basic_fee_kind(), p.price.as_str(), p.main_category_item)).collect();
    assert_eq!(found, [(Capacity, "32.000000", 1003), (Demand, "32.000000", 1003)]);
}

#[tokio::test]
async fn the_catalogue_is_of_its_network_company() {
    let world = world().await;
    add(&world, vec![price("0.5", 20_240_101)]).await.unwrap();
    let mut other = world.catalogue_prices(caller(OTHER_NETWORK));
    let found = other.query_main_price(QueryMainPriceRequest::default()).await.unwrap().into_inner();
    assert_eq!(found.prices, []);
    let unknown = other.add_main_price(AddMainPriceRequest { prices: vec![price("1", 20_240_101)] }).await;
    assert_eq!(reason(unknown), "ACCOUNT_ITEM_NOT_FOUND", "items are of their company too");
    world.register_items(OTHER_NETWORK).await;
    let none = other.adjust_main_price(AdjustMainPriceRequest { prices: vec![price("1", 20_240_201)] }).await;
    assert_eq!(reason(none), "PRICE_NOT_FOUND");
    other.add_main_price(AddMainPriceRequest { prices: vec![price("1", 20_240_101)] }).await.expect("its own");
    assert_eq!(spans(&world).await, [("0.500000".into(), 20_240_101, 0)]);

    let mut retail = world.catalogue_prices(caller(RETAIL));
    let refused = retail.add_main_price(AddMainPriceRequest { prices: vec![price("1", 20_240_101)] }).await;
    assert_eq!(reason(refused), "NOT_A_NETWORK_COMPANY");
    let filter = Some(ClassProjectFilter { utility: NetworkType::Electricity.into() });
    let request = QueryClassProjectRequest { page: Some(PageRequest { page: 1, rows: 2 }), filter };
    let mut network = world.catalogue_prices(caller(NETWORK));
    let reply = network.query_class_project(request).await.unwrap().into_inner();
    assert_eq!(reply.items.iter().map(|item| item.category_item).collect::<Vec<_>>(), [1001, 1003]);
    assert_eq!(reply.page.map(|page| (page.next(), page.total)), Some((NextYesNo::More, 3)));
    let of_retail = retail.query_class_project(request).await.unwrap().into_inner();
    assert_eq!((of_retail.items, of_retail.page.map(|page| page.total)), (vec![], Some(0)));
}

#[tokio::test]
async fn filters_narrow_each() {
    let world = world().await;
    let water = MainPrice {
        account_item: "201001".into(),
        main_category_item: 2001,
        utility: NetworkType::Water.into(),
        ..price("2", 20_240_101)
    };
    let peak = MainPrice {
        time_of_use: TimeFeesType::Two.into(),
        period: TimeSharingType::Peak.into(),
        retail_level: "2".into(),
        ..price("3", 20_240_201)
    };
    let wet = MainPrice {
        seasonal: YesNo::Yes.into(),
        season: AbundanceType::Abundant.into(),
        ladder: LadderType::Month.into(),
        ladder_tiers: LadderNumType::Three.into(),
        tier: 3,
        lower_limit: 9,
        ..price("4", 20_240_101)
    };
    add(&world, vec![price("1", 20_240_101), water, peak, wet]).await.unwrap();
    let found = async |filter| {
        let prices = main_prices(&world, filter).await;
        prices.iter().map(|p| p.price.trim_end_matches(['0', '.']).to_owned()).collect::<Vec<_>>().join(" ")
    };
    let all = MainPriceFilter::default;
    for (filter, expected) in [
        (all(), "1 4 3 2"),
        (MainPriceFilter { account_item: "201001".into(), ..all() }, "2"),
        (MainPriceFilter { utility: NetworkType::Water.into(), ..all() }, "2"),
        (MainPriceFilter { time_of_use: TimeFeesType::Two.into(), ..all() }, "3"),
        (MainPriceFilter { period: TimeSharingType::Peak.into(), ..all() }, "3"),
        (MainPriceFilter { start_date: 20_240_201, ..all() }, "3"),
        (MainPriceFilter { seasonal: YesNo::Yes.into(), ..all() }, "4"),
        (MainPriceFilter { season: AbundanceType::Abundant.into(), ..all() }, "4"),
        (MainPriceFilter { ladder: LadderType::Month.into(), ..all() }, "4"),
        (MainPriceFilter { ladder_tiers: LadderNumType::Three.into(), ..all() }, "4"),
        (MainPriceFilter { tier: 3, ..all() }, "4"),
    ] {
        let mut words: Vec<_> = found(filter.clone()).await.split(' ').map(str::to_owned).collect();
        let mut expected: Vec<_> = expected.split(' ').map(str::to_owned).collect();
        words.sort();
        expected.sort();
        assert_eq!(words, expected, "{filter:?}");
    }
}

#[tokio::test]
async fn of_32_that_add_or_adjust_one_price_versions_never_overlap() {
    let world = world().await;
    let added = join_all((0..32).map(|_| add(&world, vec![price("0.5", 20_240_101)]))).await;
    assert_eq!(added.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    assert!(added.into_iter().filter(Result::is_err).all(|outcome| reason(outcome) == "PRICE_EXISTS"));
    let starts: Vec<_> = (1..=32).map(|after| world.day(after)).collect();
    let adjusted = join_all(starts.iter().map(|start| adjust(&world, vec![price("0.6", *start)]))).await;
    let done = adjusted.into_iter().filter(Result::is_ok).count();
    let found = spans(&world).await;
    assert_eq!(found.len(), done + 1);
    for (before, after) in found.iter().zip(found.iter().skip(1)) {
        assert_eq!(before.2, after.1, "a version ends where the next begins");
    }
    assert_eq!(found.last().map(|version| version.2), Some(0));
}

#[tokio::test]
async fn the_database_itself_keeps_versions_and_main_items_apart() {
    let world = world().await;
    add(&world, vec![price("0.5", 20_240_101)]).await.unwrap();
    let copy = async |main_item: &str, start: &str, stop: &str| {
        let sql = format!(
            "SELECT platform.announce('R', '', 'C', 't', 'test', now());
             INSERT INTO catalogue_price (company_id, part, account_item, utility, supply_kind, main_item, surcharge_item,
                 retail_grade, property_grade, heat_basis, property_basis, basic_fee_kind, seasonal, time_of_use, ladder,
                 tiers, season, period, tier, price, price_unit, lower_limit, upper_limit, start_date, stop_date)
             SELECT company_id, part, account_item, utility, supply_kind, {main_item}, surcharge_item, retail_grade,
                 property_grade, heat_basis, property_basis, basic_fee_kind, seasonal, time_of_use, ladder, tiers, season,
                 period, tier, price, price_unit, lower_limit, upper_limit, {start}, {stop}
             FROM catalogue_price ORDER BY price_id LIMIT 1"
        );
        let outcome = sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(world.pool()).await;
        outcome.err().map(|e| communal_kit::database::constraint(&e).unwrap_or("none").to_owned()).unwrap_or_default()
    };
    assert_eq!(copy("1001", "start_date + 5", "start_date + 9").await, "catalogue_price_versions_apart");
    assert_eq!(copy("1001", "start_date - 5", "start_date - 6").await, "catalogue_price_span");
    assert_eq!(copy("1001", "start_date - 5", "start_date").await, "", "one day after the other is fine");
    let other_item = copy("1003", "start_date - 9", "start_date - 4").await;
    assert!(other_item.starts_with("catalogue_price_"), "{other_item}");
    let changes: i64 = sqlx::query_scalar("SELECT count(*) FROM platform.change WHERE noun = 'catalogue_price'")
        .fetch_one(world.pool())
        .await
        .unwrap();
    assert_eq!(changes, 2, "each version that is opened is in the change log");
}
