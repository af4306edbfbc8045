//! Calculations over gRPC: the examples of the domain from the archive to the lines, what a call refuses, what discards a
//! calculation, and what waits for its charge-off.

use communal_billing::calculation::stored::Calculation;
use communal_kit::write::announce;
use communal_proto::billing::v1::*;
use futures::future::join_all;
use prost::Message as _;
use tonic::Status;

use crate::harness::*;

use communal_proto::billing::v1::NormalRetroType::{Normal, Retro};

const POINT: &str = "COM_METERAGE[0].SETTLEMENT_AID";

/// A service with the catalogue of the network company, and electricity in March and April.
pub(crate) async fn world() -> (World, Network) {
    in_spring(World::start_archive().await).await
}

/// A network with its items, whose month is open.
pub(crate) async fn in_spring(world: World) -> (World, Network) {
    world.register_items(NETWORK).await;
    let network = world.network().await;
    world.open_spring(RETAIL).await;
    (world, network)
}

pub(crate) fn electricity(network: &Network) -> Supply {
    Supply::electricity(RETAIL, &network.book_id, NODE, &network.package_id)
}

/// Puts a draft with prices on sale and returns its package.
pub(crate) async fn sell(
    world: &World,
    package: NewSalePackage,
    rows: impl FnOnce(&str) -> Vec<SalePackagePriceRow>,
) -> String {
    let id = world.draft(package).await;
    world.add_prices(rows(&id)).await;
    world.submit(&id).await;
    world.put_on_sale(&id, world.day(0), 0).await;
    id
}

/// The rows of a package without tiers and periods.
pub(crate) fn plain_row(package_id: &str, price: &str) -> SalePackagePriceRow {
    SalePackagePriceRow { ladder: LadderType::None.into(), tier: 0, ..row(package_id, 1, price, 0, 0) }
}

pub(crate) fn plain(name: &str) -> NewSalePackage {
    NewSalePackage { ladder: LadderType::None.into(), ladder_tiers: 0, ..laddered(name) }
}

/// Makes the point of an account and enters its readings.
pub(crate) async fn read_point(
    world: &World,
    tenant: &'static str,
    account: &str,
    meter: &str,
    of: &[(ReadingsType, &str)],
) {
    world.create_points(caller(tenant), &[account]).await.unwrap();
    let readings = of.iter().map(|(register, reading)| read(meter, *register, reading)).collect();
    world.enter(caller(tenant), readings).await.unwrap();
}

/// How many points the database counts as calculated, and how many there are.
async fn counted(world: &World) -> (Vec<i64>, Vec<i64>) {
    let counts =
        "SELECT ARRAY[coalesce(sum(points), 0), coalesce(sum(registers), 0), coalesce(sum(lines), 0)]::bigint[]
         FROM calculated_points";
    let there = "SELECT ARRAY[count(*), coalesce(sum(registers), 0), coalesce(sum(lines), 0)]::bigint[]
         FROM point_open WHERE lines > 0";
    let one = async |statement| sqlx::query_scalar(statement).fetch_one(world.pool()).await.unwrap();
    (one(counts).await, one(there).await)
}

#[tokio::test]
async fn a_year_ladder_that_crosses_a_step_is_billed_to_the_cent() {
    let (world, network) = world().await;
    let supply = Supply { year_quantity: "2800", month_quantity: "150", ..electricity(&network) };
    let (account, meter) = world.bring_account(1, &supply).await;
    read_point(&world, RETAIL, &account, &meter, &[(ReadingsType::Total, "400")]).await;
    assert_eq!(world.calculable(RETAIL, &network.book_id).await.1, 1);
    world.calculate_normal(caller(RETAIL), &[&account]).await.unwrap();

    let lines = ["2 1001/0 1/Whole 80.00 × 0.488300 = 39.06", "2 1001/0 2/Whole 220.00 × 0.538300 = 118.43"];
    assert_eq!(world.shown_lines(RETAIL, &account).await, lines);
    let (bills, total) = world.uncharged(RETAIL, "", "", (1, 10)).await;
    assert_eq!(total, 1);
    let UnchargedBill { retail_total, guaranteed_total, delivery_total, calculation_date, calculation_time, .. } =
        &bills[0];
    assert_eq!([retail_total, guaranteed_total, delivery_total], ["157.49", "0.00", "0.00"]);
    assert_eq!((*calculation_date, *calculation_time), (20_240_315, 100_000));
    assert_eq!((bills[0].meter_id.as_str(), bills[0].run_kind()), (meter.as_str(), Normal));

    let detail = world.point_detail(RETAIL, &account, Normal).await;
    let point = &detail.points[0];
    assert_eq!([&point.total_quantity, &point.year_quantity, &point.month_quantity], ["300.00", "3100.00", "300.00"]);
    assert_eq!((point.address.as_str(), point.main_package_id.as_str()), ("长安街 1 号", network.package_id.as_str()));
    let [package] = detail.packages.as_slice() else { panic!("{detail:?}") };
    assert_eq!((package.package_name.as_str(), package.ladder()), ("居民电价", LadderType::Year));

    let line = &world.uncharged_lines(RETAIL, &account).await[1];
    assert_eq!((line.account_month, line.start_date, line.fee_kind()), (202_403, 20_240_315, CalcFeeType::Retail));
    assert_eq!((line.ladder(), line.tier()), (LadderType::Year, LadderLevelType::Second));
    // Nothing else moved, and it waits for no calculation any more.
    let accumulators = world.rows("account_accumulator").await.concat();
    assert!(accumulators.contains(r#""year_quantity": 2800.00"#) && accumulators.contains(r#""version": 0"#));
    assert_eq!(world.calculable(RETAIL, &network.book_id).await.1, 0);
    assert_eq!(world.uncharged(OTHER_RETAIL, "", "", (1, 10)).await.1, 0);
    assert_eq!(world.uncharged_lines(OTHER_RETAIL, &account).await, []);
    assert_eq!(world.point_detail(OTHER_RETAIL, &account, Normal).await, QueryCalFeesDetaillResponse::default());
}

/// Shanghai's time of use under a year ladder, with 3000 kWh billed in the year.
pub(crate) async fn shanghai(world: &World, network: &Network) -> Supply {
    let package = NewSalePackage { time_of_use: TimeFeesType::Two.into(), ..laddered("上海居民") };
    let package_id = sell(world, package, |id| {
        let tiers = [(1, 0, 3120, "0.617", "0.307"), (2, 3120, 4800, "0.677", "0.337"), (3, 4800, 0, "0.977", "0.487")];
        let of_tier = |(tier, lower, upper, peak, valley): (i32, i64, i64, &'static str, &'static str)| {
            [(TimeSharingType::Peak, peak), (TimeSharingType::Valley, valley)].map(|(period, price)| {
                let period = period.into();
                let time_of_use = TimeFeesType::Two.into();
                SalePackagePriceRow { period, time_of_use, ..row(id, tier, price, lower, upper) }
            })
        };
        tiers.into_iter().flat_map(of_tier).collect()
    })
    .await;
    let registers = vec![(ReadingsType::Peak, "1000"), (ReadingsType::Valley, "2000")];
    Supply { package_id, registers, year_quantity: "3000", ..electricity(network) }
}

#[tokio::test]
async fn time_of_use_under_a_ladder_is_billed_to_the_cent() {
    let (world, network) = world().await;
    let supply = shanghai(&world, &network).await;
    let (account, meter) = world.bring_account(1, &supply).await;
    world.create_points(caller(RETAIL), &[&account]).await.unwrap();
    world.enter(caller(RETAIL), vec![read(&meter, ReadingsType::Peak, "1180")]).await.unwrap();
    let refusal = world.calculate_normal(caller(RETAIL), &[&account]).await.unwrap_err();
    assert!(words(&refusal).contains("谷"), "{refusal:?}");
    assert_eq!(
        (fields(&refusal).as_slice(), reason::<()>(Err(refusal))),
        (&[POINT.to_owned()][..], "REGISTER_NOT_READ".into())
    );
    world.enter(caller(RETAIL), vec![read(&meter, ReadingsType::Valley, "2120")]).await.unwrap();
    world.calculate_normal(caller(RETAIL), &[&account]).await.unwrap();
    let lines = [
        "2 1001/0 1/Peak 72.00 × 0.617000 = 44.42",
        "2 1001/0 1/Valley 48.00 × 0.307000 = 14.74",
        "2 1001/0 2/Peak 108.00 × 0.677000 = 73.12",
        "2 1001/0 2/Valley 72.00 × 0.337000 = 24.26",
    ];
    assert_eq!(world.shown_lines(RETAIL, &account).await, lines);
    assert_eq!(world.uncharged(RETAIL, &network.book_id, &account, (1, 10)).await.0[0].retail_total, "156.54");
    let detail = world.point_detail(RETAIL, &account, Normal).await;
    assert_eq!([&detail.points[0].peak_quantity, &detail.points[0].valley_quantity], ["180.00", "120.00"]);
}

/// The guaranteed package of water with a year ladder and two surcharges, in a company of its own accounts.
pub(crate) async fn water(world: &World) -> Supply {
    let item = |category_item, name: &str, surcharge: YesNo| CategoryItem {
        category_item,
        name: name.into(),
        utility: NetworkType::Water.into(),
        surcharge: surcharge.into(),
        kind: String::new(),
    };
    let items =
        vec![item(2002, "水费", YesNo::No), item(2101, "水资源费", YesNo::Yes), item(2102, "污水处理费", YesNo::Yes)];
    world.catalogue(caller(NETWORK)).register_category_items(RegisterCategoryItemsRequest { items }).await.unwrap();
    let tiers = [(1, 0, 180, "2.07"), (2, 180, 260, "4.07"), (3, 260, 0, "6.07")];
    let prices = tiers.map(|(tier, lower_limit, upper_limit, price)| MainPrice {
        account_item: "201001".into(),
        main_category_item: 2002,
        utility: NetworkType::Water.into(),
        ladder: LadderType::Year.into(),
        ladder_tiers: LadderNumType::Three.into(),
        tier,
        lower_limit,
        upper_limit,
        price: price.into(),
        ..main_price()
    });
    world.add_main_prices(NETWORK, prices.into()).await;
    let attached = |surcharge_item, price: &str| AttachedPriceChange {
        account_item: "201001".into(),
        main_category_item: 2002,
        surcharge_item,
        price: price.into(),
        price_unit: "元/立方米".into(),
        utility: NetworkType::Water.into(),
        supply_kind: PurchaseSaleType::Direct.into(),
        start_date: 20_240_101,
        operation: OperationType::Add.into(),
        ..AttachedPriceChange::default()
    };
    let prices = vec![attached(2101, "1.57"), attached(2102, "1.36")];
    let request = MaintainAttachPriceRequest { prices };
    world.catalogue_prices(caller(NETWORK)).maintain_attach_price(request).await.unwrap();
    let population = NewLadderPopulation {
        retail_store_id: NETWORK_STORE.into(),
        utility: NetworkType::Water.into(),
        population_base: Some(5),
        population_increment: 1,
        limit_increase: "30".into(),
    };
    let request = AddLadderPopulationRequest { population: Some(population) };
    world.ladder_populations(caller(NETWORK)).add_ladder_population(request).await.unwrap();

    let package = NewGuaranteedPackage {
        package_kind: ChargePackType::Guaranteed.into(),
        name: "居民水价".into(),
        remark: "备注".into(),
        account_item: "201001".into(),
        utility: NetworkType::Water.into(),
        deviation: YesNo::No.into(),
        seasonal: YesNo::No.into(),
        time_of_use: TimeFeesType::One.into(),
        ladder: LadderType::Year.into(),
        ladder_tiers: LadderNumType::Three.into(),
        retail_level: "1".into(),
        voltage: TransVoltageType::Below1kv.into(),
        ..NewGuaranteedPackage::default()
    };
    let stores = vec![PackageStore { network_store_id: NETWORK_STORE.into() }];
    let mut packages = world.guaranteed_packages(caller(NETWORK));
    packages.add_com_package(AddComPackageRequest { packages: vec![package], stores }).await.unwrap();
    let statement = "SELECT package_id FROM package WHERE name = '居民水价'";
    let package_id: String = sqlx::query_scalar(statement).fetch_one(world.pool()).await.unwrap();
    let apply = vec![GuaranteedPackageId { package_id: package_id.clone() }];
    packages.apply_put_on_com_package(ApplyPutOnComPackageRequest { packages: apply }).await.unwrap();
    let start = GuaranteedPackageStart { package_id: package_id.clone(), start_date: world.day(0), stop_date: 0 };
    packages.put_on_com_package(PutOnComPackageRequest { packages: vec![start] }).await.unwrap();

    let node = Node {
        node_id: "L000000000000008".into(),
        name: "水厂".into(),
        store_id: NETWORK_STORE.into(),
        utility: NetworkType::Water.into(),
    };
    world.suppliers(caller(NETWORK)).register_nodes(RegisterNodesRequest { nodes: vec![node] }).await.unwrap();
    let book = NewBook { utility: NetworkType::Water.into(), store_id: NETWORK_STORE.into(), ..new_book("水表") };
    world.add_books(caller(NETWORK), vec![book]).await.unwrap();
    let book_id = world.list_books(NETWORK, BookFilter::default()).await.remove(0).book_id;
    let month = account_month(202_403, 20_240_301, 20_240_401);
    world.open_month(NETWORK, MonthControl { utility: NetworkType::Water.into(), ..month }).await;
    Supply {
        utility: NetworkType::Water,
        meter_kind: DeviceType::ColdWater,
        ..Supply::electricity(NETWORK, &book_id, "L000000000000008", &package_id)
    }
}

#[tokio::test]
async fn water_for_six_persons_is_billed_to_the_cent_with_its_surcharges() {
    let (world, _) = world().await;
    let supply = Supply { population: 6, year_quantity: "200", month_quantity: "0", ..water(&world).await };
    let (account, meter) = world.bring_account(1, &supply).await;
    read_point(&world, NETWORK, &account, &meter, &[(ReadingsType::Total, "120")]).await;
    world.calculate_normal(caller(NETWORK), &[&account]).await.unwrap();
    let lines = [
        "1 2002/0 1/Whole 10.00 × 2.070000 = 20.70",
        "1 2002/0 2/Whole 10.00 × 4.070000 = 40.70",
        "1 2002/2101 1/Whole 20.00 × 1.570000 = 31.40",
        "1 2002/2102 1/Whole 20.00 × 1.360000 = 27.20",
    ];
    assert_eq!(world.shown_lines(NETWORK, &account).await, lines);
    let bill = world.uncharged(NETWORK, "", &account, (1, 10)).await.0.remove(0);
    assert_eq!([bill.guaranteed_total, bill.retail_total], ["120.00", "0.00"]);
    // Each line knows the version of the catalogue that priced it, which its charge-off notes as billed.
    let stored: Vec<u8> =
        sqlx::query_scalar("SELECT calculation FROM point_calculation").fetch_one(world.pool()).await.unwrap();
    let versions: Vec<_> =
        Calculation::decode(stored.as_slice()).unwrap().lines.iter().filter_map(|line| line.version).collect();
    let priced: Vec<String> = sqlx::query_scalar(
        "SELECT trim_scale(price)::text FROM unnest($1::bigint[]) WITH ORDINALITY AS own (price_id, place)
         JOIN catalogue_price USING (price_id) ORDER BY own.place",
    )
    .bind(&versions)
    .fetch_all(world.pool())
    .await
    .unwrap();
    assert_eq!(priced, ["2.07", "4.07", "1.57", "1.36"]);
}

/// A large customer with a basic fee by demand, 1000 kW approved, and the power-factor standard 0.90.
pub(crate) async fn industry(world: &World, network: &Network) -> Supply {
    let package = NewSalePackage { basic_fee_kind: BasicFeesType::Demand.into(), ..plain("大工业") };
    let request = MaintainBasicFeePriceRequest {
        prices: vec![BasicFeePriceChange {
            account_item: "101001".into(),
            main_category_item: 1003,
            surcharge_item: Some(0),
            price: "48".into(),
            price_unit: "元/千瓦".into(),
            utility: NetworkType::Electricity.into(),
            basic_fee_kind: BasicFeesType::Demand.into(),
            supply_kind: PurchaseSaleType::Direct.into(),
            start_date: 20_240_101,
            operation: OperationType::Add.into(),
            ..BasicFeePriceChange::default()
        }],
    };
    world.catalogue_prices(caller(NETWORK)).maintain_basic_fee_price(request).await.unwrap();
    let industry = sell(world, package, |id| vec![plain_row(id, "0.65")]).await;
    let parameters = VerifiedMeterPoint {
        approved_demand: "1000".into(),
        power_factor_standard: ForRateValidType::P90.into(),
        ..VerifiedMeterPoint::default()
    };
    let registers = vec![(ReadingsType::Total, "0"), (ReadingsType::Reactive, "0"), (ReadingsType::Demand, "900")];
    Supply { package_id: industry, registers, parameters, ..electricity(network) }
}

/// Sets how demand beyond the approved demand is billed.
pub(crate) async fn approve_demand(world: &World) {
    let ratio = NewApprovalRatio {
        retail_company_id: RETAIL.into(),
        retail_store_id: STORE.into(),
        utility: NetworkType::Electricity.into(),
        over_approval_ratio: "1.05".into(),
        approval_factor: "2".into(),
    };
    world
        .approval_ratios(caller(RETAIL))
        .add_approval_ratio(AddApprovalRatioRequest { ratio: Some(ratio) })
        .await
        .unwrap();
}

/// Sets what a power factor of 0.86 costs.
pub(crate) async fn assess_power_factor(world: &World) {
    let ratio = NewAdjustRatio {
        retail_store_id: STORE.into(),
        power_factor_standard: ForRateValidType::P90.into(),
        power_factor: "0.86".into(),
        adjust_direction: RewardPunishType::Penalty.into(),
        adjust_ratio: "0.02".into(),
        start_date: 20_240_101,
        stop_date: 20_250_101,
    };
    world.adjust_ratios(caller(RETAIL)).add_adjust_ratio(AddAdjustRatioRequest { ratios: vec![ratio] }).await.unwrap();
}

#[tokio::test]
async fn demand_and_power_factor_are_billed_to_the_cent() {
    let (world, network) = world().await;
    let supply = industry(&world, &network).await;
    let (account, meter) = world.bring_account(1, &supply).await;
    let readings = [(ReadingsType::Total, "120000"), (ReadingsType::Reactive, "72000"), (ReadingsType::Demand, "1200")];
    read_point(&world, RETAIL, &account, &meter, &readings).await;

    // What is missing is named, one after the other, and nothing takes its place.
    let missing = async || {
        let refusal = world.calculate_normal(caller(RETAIL), &[&account]).await.unwrap_err();
        let words = words(&refusal);
        assert_eq!(reason::<()>(Err(refusal)), "NOT_PRICED");
        words
    };
    assert!(missing().await.contains("核定需量"));
    approve_demand(&world).await;
    assert!(missing().await.contains("力率0.86"));
    assess_power_factor(&world).await;

    world.calculate_normal(caller(RETAIL), &[&account]).await.unwrap();
    let lines = [
        "2 1001/0 1/Whole 120000.00 × 0.650000 = 78000.00",
        "2 1003/0 1/Whole 1350.00 × 48.000000 = 64800.00",
        "2 1001/0 1/Whole 0.00 × 0.020000 = 2856.00",
    ];
    assert_eq!(world.shown_lines(RETAIL, &account).await, lines);
    let point = world.point_detail(RETAIL, &account, Normal).await.points.remove(0);
    assert_eq!([&point.demand, &point.reactive_energy, &point.power_factor], ["1200.00", "72000.00", "0.8600"]);
}

#[tokio::test]
async fn a_calculation_is_repeated_and_discarded_and_all_are_counted() {
    let (world, network) = world().await;
    let mut accounts = Vec::new();
    for number in 1..=3 {
        let (account, meter) = world.bring_account(number, &electricity(&network)).await;
        read_point(&world, RETAIL, &account, &meter, &[(ReadingsType::Total, "150")]).await;
        accounts.push((account, meter));
    }
    let ids: Vec<_> = accounts.iter().map(|(account, _)| account.as_str()).collect();
    for _ in 0..2 {
        world.calculate_normal(caller(RETAIL), &ids).await.unwrap();
        assert_eq!(counted(&world).await, (vec![3, 3, 3], vec![3, 3, 3]));
    }
    assert_eq!(world.uncharged(RETAIL, "", "", (2, 2)).await.0[0].settlement_account_id, ids[2]);
    assert_eq!(world.uncharged(RETAIL, "", "", (3, 2)).await, (vec![], 3), "a page beyond the end has the total");
    assert_eq!(world.uncharged(RETAIL, &network.book_id, "", (1, 2)).await.0.len(), 2);
    assert_eq!(world.uncharged(RETAIL, "B1", "", (1, 2)).await, (vec![], 0));
    assert_eq!(world.uncharged(RETAIL, "", ids[1], (1, 2)).await.1, 1);

    // A reading, a point that is made again, another customer: the calculation is of yesterday.
    world.enter(caller(RETAIL), vec![read(&accounts[0].1, ReadingsType::Total, "200")]).await.unwrap();
    assert_eq!(counted(&world).await, (vec![2, 2, 2], vec![2, 2, 2]));
    world.create_points(caller(RETAIL), &[ids[1]]).await.unwrap();
    assert_eq!(counted(&world).await, (vec![1, 1, 1], vec![1, 1, 1]));
    let (_, user) = world.user_account(2, "李四").await;
    let transfer = BusinessApplication { user_account_id: user, ..of_account(ids[2], BusCategType::Transfer) };
    world.apply(caller(RETAIL), vec![transfer]).await.unwrap();
    world.verify(RETAIL, network.parameters(ids[2], BusCategType::Transfer, YesNo::Yes)).await.unwrap();
    assert_eq!(counted(&world).await, (vec![0, 0, 0], vec![0, 0, 0]));
    assert_eq!(world.rows("calculated_points").await, Vec::<String>::new(), "a book without calculations has no count");

    // The outdated point is made again before it is calculated: by the customer that the account has now.
    let (waiting, total) = world.calculable(RETAIL, &network.book_id).await;
    assert_eq!((total, waiting[2].customer_id.as_str()), (3, world_customer(&world, ids[2]).await.as_str()));
    world.calculate_normal(caller(RETAIL), &ids).await.unwrap();
    let bills = world.uncharged(RETAIL, "", "", (1, 10)).await.0;
    assert_eq!(bills[2].customer_id, world_customer(&world, ids[2]).await);
    assert_eq!([&bills[0].retail_total, &bills[1].retail_total], ["48.83", "24.42"]);

    // Charged off, a point waits no longer, and is counted no longer.
    world.take_for_charged_off(ids[0]).await;
    assert_eq!(counted(&world).await, (vec![2, 2, 2], vec![2, 2, 2]));
    assert_eq!(world.uncharged_lines(RETAIL, ids[0]).await, []);
}

/// The customer of an account.
async fn world_customer(world: &World, account: &str) -> String {
    let statement =
        "SELECT u.customer_id FROM settlement_account a JOIN user_account u USING (company_id, user_account_id)
         WHERE a.settlement_account_id = $1";
    sqlx::query_scalar(statement).bind(account).fetch_one(world.pool()).await.unwrap()
}

#[tokio::test]
async fn the_whole_array_is_refused_with_each_fault_by_row() {
    let (world, network) = world().await;
    let (good, meter) = world.bring_account(1, &electricity(&network)).await;
    let (unread, _) = world.bring_account(2, &electricity(&network)).await;
    let (pointless, _) = world.bring_account(3, &electricity(&network)).await;
    read_point(&world, RETAIL, &good, &meter, &[(ReadingsType::Total, "150")]).await;
    world.create_points(caller(RETAIL), &[&unread]).await.unwrap();
    let points = [(good.as_str(), Normal), ("A1", Normal), (&unread, Normal), (&pointless, Normal), (&good, Retro)];
    let refusal = world.calculate(caller(RETAIL), &points).await.unwrap_err();
    let rows = [1, 2, 3, 4].map(|row| format!("COM_METERAGE[{row}].SETTLEMENT_AID"));
    assert_eq!(fields(&refusal), rows);
    assert_eq!(reason::<()>(Err(refusal)), "SETTLEMENT_ACCOUNT_NOT_FOUND");
    for (point, expected) in [
        ((unread.as_str(), Normal), "REGISTER_NOT_READ"),
        ((pointless.as_str(), Normal), "POINT_NOT_OPEN"),
        ((good.as_str(), Retro), "POINT_NOT_OPEN"),
        (("A1", Normal), "SETTLEMENT_ACCOUNT_NOT_FOUND"),
    ] {
        let refusal = world.calculate(caller(RETAIL), &[(&good, Normal), point]).await;
        assert_eq!(refused(refusal), ("COM_METERAGE[1].SETTLEMENT_AID".into(), expected.into()));
    }
    let twice = world.calculate(caller(RETAIL), &[(&good, Normal), (&good, Normal)]).await;
    assert_eq!(refused(twice).0, "COM_METERAGE[1].SETTLEMENT_AID");
    assert_eq!(reason(world.calculate(caller(RETAIL), &[]).await), "FIELD_MISSING");
    for other in [OTHER_RETAIL, NETWORK] {
        let refusal = world.calculate_normal(caller(other), &[&good]).await;
        assert_eq!(refused(refusal), (POINT.into(), "SETTLEMENT_ACCOUNT_NOT_FOUND".into()));
    }
    assert_eq!(world.rows("point_calculation").await, Vec::<String>::new(), "nothing was written");

    // A request that is sent again is the same one; another one makes the same calculation again.
    for _ in 0..2 {
        world.calculate_normal(with_request_id(RETAIL, "again"), &[&good]).await.unwrap();
    }
    // In the next month the point is of the month before, until it is made again.
    world.days_pass(20);
    let refusal = world.calculate_normal(caller(RETAIL), &[&good]).await.unwrap_err();
    assert!(words(&refusal).contains("202403") && words(&refusal).contains("202404"), "{refusal:?}");
    assert_eq!(reason::<()>(Err(refusal)), "ACCOUNT_MONTH_NOT_OPEN");
    world.create_points(caller(RETAIL), &[&good]).await.unwrap();
    world.calculate_normal(caller(RETAIL), &[&good]).await.unwrap();
    assert_eq!(world.uncharged_lines(RETAIL, &good).await[0].account_month, 202_404);
    world.days_pass(30);
    let refusal = world.calculate_normal(caller(RETAIL), &[&good]).await;
    assert_eq!(refused(refusal), (POINT.into(), "ACCOUNT_MONTH_NOT_OPEN".into()));
}

#[tokio::test]
async fn the_price_in_force_on_the_day_of_the_reading_counts_and_none_after_the_end() {
    let (world, network) = world().await;
    let id = sell(&world, plain("单一"), |id| vec![plain_row(id, "0.5")]).await;
    let supply = Supply { package_id: id.clone(), ..electricity(&network) };
    let (early, early_meter) = world.bring_account(1, &supply).await;
    let (late, late_meter) = world.bring_account(2, &supply).await;
    read_point(&world, RETAIL, &early, &early_meter, &[(ReadingsType::Total, "200")]).await;
    world.days_pass(1);
    let changed = SalePackagePriceRow { price: "0.6".into(), ..plain_row(&id, "0.6") };
    let request = UpdateSalePackagePriceRequest { rows: vec![changed] };
    world.prices(caller(RETAIL)).update_sale_package_price(request).await.unwrap();
    read_point(&world, RETAIL, &late, &late_meter, &[(ReadingsType::Total, "200")]).await;
    world.calculate_normal(caller(RETAIL), &[&early, &late]).await.unwrap();
    assert_eq!(world.shown_lines(RETAIL, &early).await, ["2 1001/0 1/Whole 100.00 × 0.500000 = 50.00"]);
    assert_eq!(world.shown_lines(RETAIL, &late).await, ["2 1001/0 1/Whole 100.00 × 0.600000 = 60.00"]);

    // Cancelled today: what was read yesterday has its price, and what is read today has none.
    world.cancel(&id).await;
    world.calculate_normal(caller(RETAIL), &[&early]).await.unwrap();
    let refusal = world.calculate_normal(caller(RETAIL), &[&early, &late]).await;
    assert_eq!(refused(refusal), ("COM_METERAGE[1].SETTLEMENT_AID".into(), "PACKAGE_NOT_IN_FORCE".into()));
}

#[tokio::test]
async fn what_the_catalogue_does_not_have_is_no_guess() {
    let world = World::start_archive().await;
    let network = world.network().await;
    world.open_spring(RETAIL).await;
    let (account, meter) = world.bring_account(1, &electricity(&network)).await;
    read_point(&world, RETAIL, &account, &meter, &[(ReadingsType::Total, "150")]).await;
    // No call takes an account item away from a package on sale. A package of before that was so may lack one.
    let owner = sqlx::PgPool::connect(&world.database.owner_url).await.unwrap();
    let mut transaction = owner.begin().await.unwrap();
    announce(&mut transaction, &world.network_call()).await.unwrap();
    sqlx::query("DELETE FROM account_item").execute(&mut *transaction).await.unwrap();
    transaction.commit().await.unwrap();
    let refusal: Result<(), Status> = world.calculate_normal(caller(RETAIL), &[&account]).await;
    assert_eq!(refused(refusal), (POINT.into(), "NOT_PRICED".into()));
    world.register_items(NETWORK).await;
    world.calculate_normal(caller(RETAIL), &[&account]).await.unwrap();
}

#[tokio::test]
async fn a_bill_of_nothing_has_its_line() {
    let (world, network) = world().await;
    let (account, meter) = world.bring_account(1, &electricity(&network)).await;
    read_point(&world, RETAIL, &account, &meter, &[(ReadingsType::Total, "100")]).await;
    world.calculate_normal(caller(RETAIL), &[&account]).await.unwrap();
    assert_eq!(world.shown_lines(RETAIL, &account).await, ["2 1001/0 1/Whole 0.00 × 0.488300 = 0.00"]);
}

#[tokio::test]
async fn of_32_that_calculate_the_same_points_all_do_and_each_is_counted_once() {
    let (world, network) = world().await;
    let mut ids = Vec::new();
    for number in 1..=3 {
        let (account, meter) = world.bring_account(number, &electricity(&network)).await;
        read_point(&world, RETAIL, &account, &meter, &[(ReadingsType::Total, "150")]).await;
        ids.push(account);
    }
    let given: Vec<_> = ids.iter().map(String::as_str).collect();
    let reversed: Vec<_> = given.iter().rev().copied().collect();
    let calls = (0..32).map(|n| world.calculate_normal(caller(RETAIL), if n % 2 == 0 { &given } else { &reversed }));
    let outcomes = join_all(calls).await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!(world.rows("point_calculation").await.len(), 3);
    // Each account by itself: the counts of one book meet.
    join_all(given.iter().map(|account| world.create_points(caller(RETAIL), std::slice::from_ref(account)))).await;
    assert_eq!(counted(&world).await.0, [0, 0, 0]);
    let one_each = given.iter().map(|account| world.calculate_normal(caller(RETAIL), std::slice::from_ref(account)));
    assert!(join_all(one_each).await.iter().all(Result::is_ok));
    assert_eq!(counted(&world).await, (vec![3, 3, 3], vec![3, 3, 3]));
}

#[tokio::test]
async fn registers_and_lines_of_everything_that_waits_are_paged_and_capped() {
    let (world, network) = world().await;
    let mut accounts = Vec::new();
    for number in 1..=3 {
        let registers = vec![(ReadingsType::Total, "100"), (ReadingsType::Peak, "40")];
        let (account, meter) = world.bring_account(number, &Supply { registers, ..electricity(&network) }).await;
        let readings = [(ReadingsType::Total, "150"), (ReadingsType::Peak, "60")];
        read_point(&world, RETAIL, &account, &meter, &readings).await;
        accounts.push((account, meter));
    }
    let (last, meter) = &accounts[2];
    let registers = vec![AdjustedRegister {
        meter_id: meter.clone(),
        run_kind: Retro.into(),
        energy_flow: EnergyFlowType::Forward.into(),
        register: ReadingsType::Total.into(),
        added_quantity: "-7".into(),
    }];
    let account = Some(AdjustedAccount { settlement_account_id: last.clone(), run_kind: Retro.into() });
    let request = RepairDosageBackRequest { account, registers };
    world.adjustments(caller(RETAIL)).repair_dosage_back(request).await.unwrap();
    let ids: Vec<_> = accounts.iter().map(|(account, _)| account.as_str()).collect();
    world.calculate_normal(caller(RETAIL), &ids).await.unwrap();
    world.calculate(caller(RETAIL), &[(last, Retro)]).await.unwrap();

    let registers = async |book_id: &str, of: (i32, i32)| {
        let filter = Some(UnchargedBookFilter { book_id: book_id.into() });
        let request = QueryUnChargeOffMeterTotalInfoRequest { page: page(of.0, of.1), filter };
        let mut client = world.calculations(caller(RETAIL));
        let reply = client.query_un_charge_off_meter_total_info(request).await.unwrap().into_inner();
        let shown = |r: &PendingReading| format!("{} {:?} {} {}", r.meter_id, r.register(), r.reading, r.quantity);
        (reply.readings.iter().map(shown).collect::<Vec<_>>(), reply.page.unwrap().total)
    };
    let of_meter = |number: usize| {
        let meter = &accounts[number].1;
        [format!("{meter} Total 150.000000 50.00"), format!("{meter} Peak 60.000000 20.00")]
    };
    let mut expected: Vec<_> = (0..3).flat_map(of_meter).collect();
    expected.push(format!("{meter} Total 0.000000 -7.00"));
    assert_eq!(registers("", (1, 100)).await, (expected.clone(), 7));
    assert_eq!(registers(&network.book_id, (1, 100)).await.1, 7);
    // Pages meet within a meter.
    let mut paged = Vec::new();
    for number in 1..=3 {
        paged.extend(registers("", (number, 3)).await.0);
    }
    assert_eq!(paged, expected);
    assert_eq!(registers("", (4, 3)).await, (vec![], 7));

    let request = QueryUnChargeOffMeterInfoRequest { filter: Some(UnchargedMeterFilter { meter_id: meter.clone() }) };
    for (tenant, count) in [(RETAIL, 3), (OTHER_RETAIL, 0)] {
        let mut client = world.calculations(caller(tenant));
        let reply = client.query_un_charge_off_meter_info(request.clone()).await.unwrap().into_inner();
        assert_eq!(reply.readings.len(), count);
        assert!(reply.readings.iter().all(|register| register.calculation_date == 20_240_315));
    }
    let lines = async |tenant, book_id: &str| {
        let request =
            QueryUnChargeOffPriceTotalInfoRequest { filter: Some(UnchargedBookFilter { book_id: book_id.into() }) };
        world
            .calculations(caller(tenant))
            .query_un_charge_off_price_total_info(request)
            .await
            .map(|r| r.into_inner().lines)
    };
    let all: Vec<_> = lines(RETAIL, "").await.unwrap().iter().map(|line| line.settlement_account_id.clone()).collect();
    assert_eq!(all, [ids[0], ids[1], ids[2], ids[2]]);
    assert_eq!(lines(RETAIL, &network.book_id).await.unwrap().len(), 4);
    assert_eq!(lines(OTHER_RETAIL, "").await.unwrap(), []);
    // Beyond the cap the answer is refused before anything is read.
    let many = "UPDATE calculated_points SET lines = 10001";
    sqlx::query(many).execute(&sqlx::PgPool::connect(&world.database.owner_url).await.unwrap()).await.unwrap();
    assert_eq!(reason(lines(RETAIL, "").await), "ANSWER_TOO_LARGE");
}
