//! Guaranteed packages over gRPC: their life, the catalogue that prices them, names, stores, isolation, races.

use communal_proto::billing::v1::*;
use futures::future::join_all;
use tonic::Status;

use crate::harness::*;

/// A service whose network company has a catalogue with a price of the packages that the tests draft.
async fn world() -> World {
    let world = World::start().await;
    world.register_items(NETWORK).await;
    world.add_main_prices(NETWORK, vec![main_price()]).await;
    world
}

fn new(name: &str) -> NewGuaranteedPackage {
    NewGuaranteedPackage {
        package_kind: ChargePackType::Guaranteed.into(),
        name: name.into(),
        remark: "备注".into(),
        account_item: "101001".into(),
        utility: NetworkType::Electricity.into(),
        deviation: YesNo::No.into(),
        seasonal: YesNo::No.into(),
        time_of_use: TimeFeesType::One.into(),
        ladder: LadderType::None.into(),
        retail_level: "1".into(),
        voltage: TransVoltageType::Below1kv.into(),
        ..NewGuaranteedPackage::default()
    }
}

fn changed(id: &str, name: &str) -> ChangedGuaranteedPackage {
    ChangedGuaranteedPackage {
        package_id: id.into(),
        package_kind: ChargePackType::LowIncome.into(),
        name: name.into(),
        remark: "改".into(),
        account_item: "101001".into(),
        utility: NetworkType::Electricity.into(),
        basic_fee_kind: BasicFeesType::None.into(),
        resident: YesNo::Yes.into(),
        deviation: YesNo::No.into(),
        seasonal: YesNo::No.into(),
        time_of_use: TimeFeesType::One.into(),
        ladder: LadderType::None.into(),
        retail_level: "1".into(),
        voltage: TransVoltageType::Below1kv.into(),
        ..ChangedGuaranteedPackage::default()
    }
}

fn ids(ids: &[&str]) -> Vec<GuaranteedPackageId> {
    ids.iter().map(|id| GuaranteedPackageId { package_id: (*id).into() }).collect()
}

async fn add_in(
    world: &World,
    tenant: &'static str,
    packages: Vec<NewGuaranteedPackage>,
    store: &str,
) -> Result<(), Status> {
    let stores = vec![PackageStore { network_store_id: store.into() }];
    let request = AddComPackageRequest { packages, stores };
    world.guaranteed_packages(caller(tenant)).add_com_package(request).await.map(drop)
}

async fn add(world: &World, packages: Vec<NewGuaranteedPackage>) -> Result<(), Status> {
    add_in(world, NETWORK, packages, NETWORK_STORE).await
}

async fn update(world: &World, packages: Vec<ChangedGuaranteedPackage>) -> Result<(), Status> {
    let request = UpdateComPackageRequest { packages };
    world.guaranteed_packages(caller(NETWORK)).update_com_package(request).await.map(drop)
}

async fn apply(world: &World, packages: &[&str]) -> Result<(), Status> {
    let request = ApplyPutOnComPackageRequest { packages: ids(packages) };
    world.guaranteed_packages(caller(NETWORK)).apply_put_on_com_package(request).await.map(drop)
}

async fn put_on(world: &World, packages: &[&str], start_date: i32) -> Result<(), Status> {
    let start = |id: &&str| GuaranteedPackageStart { package_id: (*id).into(), start_date, stop_date: 0 };
    let request = PutOnComPackageRequest { packages: packages.iter().map(start).collect() };
    world.guaranteed_packages(caller(NETWORK)).put_on_com_package(request).await.map(drop)
}

async fn cancel(world: &World, packages: &[&str]) -> Result<(), Status> {
    let request = CancelComPackageRequest { packages: ids(packages) };
    world.guaranteed_packages(caller(NETWORK)).cancel_com_package(request).await.map(drop)
}

async fn list(world: &World, tenant: &'static str, filter: GuaranteedPackageFilter) -> Vec<GuaranteedPackage> {
    let request = QueryComPackageRequest { filter: Some(filter) };
    world.guaranteed_packages(caller(tenant)).query_com_package(request).await.unwrap().into_inner().packages
}

fn of_kind(kind: ChargePackType) -> GuaranteedPackageFilter {
    GuaranteedPackageFilter { package_kind: kind.into(), ..GuaranteedPackageFilter::default() }
}

/// All guaranteed and low-income packages of the network company.
async fn all(world: &World) -> Vec<GuaranteedPackage> {
    let mut found = list(world, NETWORK, of_kind(ChargePackType::Guaranteed)).await;
    found.extend(list(world, NETWORK, of_kind(ChargePackType::LowIncome)).await);
    found
}

async fn package(world: &World, id: &str) -> GuaranteedPackage {
    all(world).await.into_iter().find(|p| p.package_id == id).expect("this package")
}

async fn draft(world: &World, package: NewGuaranteedPackage) -> String {
    let name = package.name.clone();
    add(world, vec![package]).await.unwrap();
    all(world).await.into_iter().find(|p| p.name == name).map(|p| p.package_id).expect("a package of this name")
}

fn refused(outcome: Result<(), Status>) -> (String, Vec<String>) {
    let status = outcome.unwrap_err();
    let fields = fields(&status);
    (reason::<()>(Err(status)), fields)
}

fn at(reason: &str, field: &str) -> (String, Vec<String>) {
    (reason.to_owned(), vec![field.to_owned()])
}

#[tokio::test]
async fn every_call_takes_the_states_it_fits_and_refuses_the_others() {
    use PackStateType::{Cancelled, Draft, OnSale, Submitted};
    let world = world().await;
    let table: &[(&str, &[PackStateType], PackStateType)] = &[
        ("update", &[Draft], Draft),
        ("apply", &[Draft], Submitted),
        ("put on sale", &[Submitted], OnSale),
        ("cancel", &[Draft, Submitted, OnSale], Cancelled),
    ];
    for (call, taken, becomes) in table {
        for state in [Draft, Submitted, OnSale, Cancelled] {
            let id = draft(&world, new(&format!("{call} {state:?}"))).await;
            if matches!(state, Submitted | OnSale) {
                apply(&world, &[&id]).await.unwrap();
            }
            if state == OnSale {
                put_on(&world, &[&id], world.day(0)).await.unwrap();
            }
            if state == Cancelled {
                cancel(&world, &[&id]).await.unwrap();
            }
            let outcome = match *call {
                "update" => update(&world, vec![changed(&id, &format!("改{id}"))]).await,
                "apply" => apply(&world, &[&id]).await,
                "put on sale" => put_on(&world, &[&id], world.day(0)).await,
                _ => cancel(&world, &[&id]).await,
            };
            let after = package(&world, &id).await.state();
            if taken.contains(&state) {
                outcome.unwrap_or_else(|status| panic!("{call} in {state:?}: {status:?}"));
                assert_eq!(after, *becomes, "{call} in {state:?}");
            } else {
                assert_eq!(refused(outcome), at("PACKAGE_STATE", "COM_PACK[0].CHARGE_PACK_DID"), "{call} in {state:?}");
                assert_eq!(after, state, "a refused {call} changes nothing");
            }
        }
    }
}

#[tokio::test]
async fn a_guaranteed_package_is_of_its_company_and_shown_by_kind() {
    let world = world().await;
    let guaranteed = draft(&world, new("保底")).await;
    let low =
        draft(&world, NewGuaranteedPackage { package_kind: ChargePackType::LowIncome.into(), ..new("低保") }).await;
    let found = package(&world, &guaranteed).await;
    assert_eq!((found.network_company_id.as_str(), found.retail_company_id.as_str()), (NETWORK, NETWORK));
    assert_eq!(
        (found.supply_kind(), found.resident(), found.enabled()),
        (PurchaseSaleType::Direct, YesNo::No, StateType::Disabled)
    );
    let kinds = async |kind| {
        let found = list(&world, NETWORK, of_kind(kind)).await;
        found.into_iter().map(|p| p.package_id).collect::<Vec<_>>()
    };
    assert_eq!(kinds(ChargePackType::Guaranteed).await, std::slice::from_ref(&guaranteed));
    assert_eq!(kinds(ChargePackType::LowIncome).await, std::slice::from_ref(&low));
    assert_eq!(kinds(ChargePackType::Market).await, Vec::<String>::new());
    let sale = world.draft(laddered("零售")).await;
    let of_retail = list(&world, RETAIL, of_kind(ChargePackType::Market)).await;
    assert_eq!(of_retail.into_iter().map(|p| p.package_id).collect::<Vec<_>>(), std::slice::from_ref(&sale));
    for narrowed in [
        GuaranteedPackageFilter { account_item: "999".into(), ..of_kind(ChargePackType::Guaranteed) },
        GuaranteedPackageFilter { state: PackStateType::OnSale.into(), ..of_kind(ChargePackType::Guaranteed) },
        GuaranteedPackageFilter { name: "无".into(), ..of_kind(ChargePackType::Guaranteed) },
        GuaranteedPackageFilter { utility: NetworkType::Water.into(), ..of_kind(ChargePackType::Guaranteed) },
    ] {
        assert_eq!(list(&world, NETWORK, narrowed).await, []);
    }

    // The kinds are apart: neither's methods know the other's packages.
    let details = QuerySalePackDetailsRequest { package: Some(named(&guaranteed)) };
    let outcome = world.packages(caller(NETWORK)).query_sale_pack_details(details).await;
    assert_eq!(reason(outcome), "PACKAGE_NOT_FOUND");
    let listed = world.packages(caller(NETWORK)).query_sale_package(QuerySalePackageRequest::default()).await;
    assert_eq!(listed.unwrap().into_inner().packages, []);
    let unknown = at("PACKAGE_NOT_FOUND", "COM_PACK[0].CHARGE_PACK_DID");
    assert_eq!(refused(cancel(&world, &[&sale]).await), unknown);

    // And of another company they are as unknown as none.
    let mut other = world.guaranteed_packages(caller(OTHER_NETWORK));
    for id in [guaranteed.as_str(), "P999999999999999"] {
        let packages = ids(&[id]);
        let outcome = other.cancel_com_package(CancelComPackageRequest { packages: packages.clone() }).await.map(drop);
        assert_eq!(refused(outcome), unknown);
        let outcome = other.apply_put_on_com_package(ApplyPutOnComPackageRequest { packages }).await.map(drop);
        assert_eq!(refused(outcome), unknown);
        let packages = vec![changed(id, "改")];
        assert_eq!(refused(other.update_com_package(UpdateComPackageRequest { packages }).await.map(drop)), unknown);
        let packages = vec![GuaranteedPackageStart { package_id: id.into(), start_date: world.day(0), stop_date: 0 }];
        assert_eq!(refused(other.put_on_com_package(PutOnComPackageRequest { packages }).await.map(drop)), unknown);
    }
    assert_eq!(list(&world, OTHER_NETWORK, of_kind(ChargePackType::Guaranteed)).await, []);
    assert_eq!(refused(add_in(&world, RETAIL, vec![new("零")], STORE).await).0, "NOT_A_NETWORK_COMPANY");
}

#[tokio::test]
async fn what_a_draft_may_not_be_is_named_by_row() {
    let world = world().await;
    let market = NewGuaranteedPackage { package_kind: ChargePackType::Market.into(), ..new("市场") };
    let outcome = add(&world, vec![new("好"), market]).await;
    assert_eq!(refused(outcome), at("FIELD_CODE_UNKNOWN", "COM_PACK[1].CHARGE_PACK_TYPE"));
    let agreed = NewGuaranteedPackage {
        ladder: LadderType::Year.into(),
        ladder_tiers: LadderNumType::Two.into(),
        agreement_price: YesNo::Yes.into(),
        ..new("协议")
    };
    assert_eq!(refused(add(&world, vec![agreed]).await), at("FIELD_MALFORMED", "COM_PACK[0].LADDER_TYPE"));
    for store in [STORE, "H999999999999999"] {
        let outcome = add_in(&world, NETWORK, vec![new("店")], store).await;
        assert_eq!(refused(outcome), at("SUPPLIER_NOT_FOUND", "COM_PACK_STORES[0].NET_STORES_AID"));
    }
    let id = draft(&world, new("日期")).await;
    let backward = ChangedGuaranteedPackage { start_date: 20_300_102, stop_date: 20_300_102, ..changed(&id, "日期") };
    assert_eq!(refused(update(&world, vec![backward]).await), at("FIELD_MALFORMED", "COM_PACK[0].OUTAGE_DATE"));
    apply(&world, &[&id]).await.unwrap();
    assert_eq!(refused(put_on(&world, &[&id], world.day(-1)).await), at("FIELD_MALFORMED", "COM_PACK[0].STARTUP_DATE"));
    assert_eq!(all(&world).await.len(), 1, "nothing else was written");
}

#[tokio::test]
async fn a_name_is_taken_whatever_its_width_case_and_spacing() {
    let world = world().await;
    let id = draft(&world, new("居民 A1")).await;
    for same in ["居民 A1", "居民a1", " 居民Ａ１"] {
        let outcome = add(&world, vec![new("新"), new(same)]).await;
        assert_eq!(refused(outcome), at("PACKAGE_NAME_TAKEN", "COM_PACK[1].CHARGE_PACK_NAME"), "{same}");
    }
    let twice = add(&world, vec![new("乙"), new("乙")]).await;
    assert_eq!(refused(twice), at("FIELD_MALFORMED", "COM_PACK[1].CHARGE_PACK_NAME"));
    let other = draft(&world, new("丙")).await;
    let outcome = update(&world, vec![changed(&id, "甲"), changed(&other, "甲 ")]).await;
    assert_eq!(refused(outcome), at("PACKAGE_NAME_TAKEN", "COM_PACK[1].CHARGE_PACK_NAME"));
    assert_eq!(package(&world, &id).await.name, "居民 A1", "all or none");
    cancel(&world, &[&id]).await.unwrap();
    add(&world, vec![new("居民A1")]).await.expect("the name is free again");
}

#[tokio::test]
async fn the_catalogue_must_have_the_prices_when_a_package_is_submitted_and_when_its_sale_begins() {
    let world = world().await;
    let unpriced = draft(&world, NewGuaranteedPackage { retail_level: "2".into(), ..new("无价") }).await;
    let priced = draft(&world, new("有价")).await;
    let outcome = apply(&world, &[&priced, &unpriced]).await;
    assert_eq!(refused(outcome), at("PRICES_INCOMPLETE", "COM_PACK[1].CHARGE_PACK_DID"));
    assert_eq!(package(&world, &priced).await.state(), PackStateType::Draft, "all or none");

    // Every code counts, as it does when a bill looks for the price.
    for other in [
        NewGuaranteedPackage { property_grade: "1".into(), ..new("物业等级") },
        NewGuaranteedPackage { property_basis: GarbChargeType::Area.into(), ..new("物业计费") },
        NewGuaranteedPackage { basic_fee_kind: BasicFeesType::Capacity.into(), ..new("基本费") },
        NewGuaranteedPackage { seasonal: YesNo::Yes.into(), ..new("丰枯") },
        NewGuaranteedPackage { time_of_use: TimeFeesType::Two.into(), ..new("峰谷") },
        NewGuaranteedPackage { ladder: LadderType::Year.into(), ladder_tiers: 2, ..new("阶梯") },
        NewGuaranteedPackage { heat_basis: HeatChargeType::Heat.into(), ..new("热量") },
        NewGuaranteedPackage { account_item: "201001".into(), utility: NetworkType::Water.into(), ..new("水") },
    ] {
        let name = other.name.clone();
        let id = draft(&world, other).await;
        assert_eq!(refused(apply(&world, &[&id]).await).0, "PRICES_INCOMPLETE", "{name}");
    }

    // A price that ends before the sale begins.
    apply(&world, &[&priced]).await.unwrap();
    let end = world.day(10);
    let last = MainPrice { price: "0.6".into(), start_date: world.day(1), stop_date: end, ..main_price() };
    let request = AdjustMainPriceRequest { prices: vec![last] };
    world.catalogue_prices(caller(NETWORK)).adjust_main_price(request).await.unwrap();
    assert_eq!(refused(put_on(&world, &[&priced], end).await), at("PRICES_INCOMPLETE", "COM_PACK[0].CHARGE_PACK_DID"));
    put_on(&world, &[&priced], world.day(9)).await.expect("on its last day");
}

#[tokio::test]
async fn a_package_by_area_and_heat_or_with_a_basic_fee_needs_both_its_prices() {
    let world = world().await;
    let heat = NewGuaranteedPackage {
        heat_basis: HeatChargeType::AreaAndHeat.into(),
        time_of_use: TimeFeesType::Two.into(),
        ..new("两部制供暖")
    };
    let id = draft(&world, heat).await;
    let area = MainPrice { heat_basis: HeatChargeType::Area.into(), ..main_price() };
    world.add_main_prices(NETWORK, vec![area]).await;
    let status = apply(&world, &[&id]).await.unwrap_err();
    assert!(words(&status).contains("缺少按热量、平季、峰时段"), "{}", words(&status));
    let metered = [TimeSharingType::Peak, TimeSharingType::Valley].map(|period| MainPrice {
        heat_basis: HeatChargeType::Heat.into(),
        time_of_use: TimeFeesType::Two.into(),
        period: period.into(),
        ..main_price()
    });
    world.add_main_prices(NETWORK, metered.into()).await;
    apply(&world, &[&id]).await.unwrap();

    let industry = BasicFeesType::Demand.into();
    let id = draft(&world, NewGuaranteedPackage { basic_fee_kind: industry, ..new("大工业") }).await;
    world.add_main_prices(NETWORK, vec![MainPrice { basic_fee_kind: industry, ..main_price() }]).await;
    let status = apply(&world, &[&id]).await.unwrap_err();
    assert!(words(&status).contains("缺少基本费单价"), "{}", words(&status));
    let fee = BasicFeePriceChange {
        account_item: "101001".into(),
        main_category_item: 1003,
        surcharge_item: Some(0),
        price: "48".into(),
        price_unit: "元/千瓦".into(),
        utility: NetworkType::Electricity.into(),
        basic_fee_kind: industry,
        supply_kind: PurchaseSaleType::Direct.into(),
        start_date: 20_240_101,
        stop_date: 0,
        operation: OperationType::Add.into(),
    };
    let request = MaintainBasicFeePriceRequest { prices: vec![fee] };
    world.catalogue_prices(caller(NETWORK)).maintain_basic_fee_price(request).await.unwrap();
    apply(&world, &[&id]).await.unwrap();
}

#[tokio::test]
async fn of_32_at_once_one_is_drafted_submitted_and_put_on_sale() {
    let world = world().await;
    let one = |outcomes: Vec<Result<(), Status>>, expected: &str| {
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
        assert!(outcomes.into_iter().filter(Result::is_err).all(|outcome| reason(outcome) == expected));
    };
    one(join_all((0..32).map(|n| add(&world, vec![new(spelled(n))]))).await, "PACKAGE_NAME_TAKEN");
    let id = all(&world).await.remove(0).package_id;
    let same = [id.as_str()];
    one(join_all((0..32).map(|_| apply(&world, &same))).await, "PACKAGE_STATE");
    one(join_all((0..32).map(|_| put_on(&world, &same, world.day(0)))).await, "PACKAGE_STATE");
    one(join_all((0..32).map(|_| cancel(&world, &same))).await, "PACKAGE_STATE");
    let found = package(&world, &id).await;
    assert_eq!((found.state(), found.stop_date), (PackStateType::Cancelled, world.day(0)));
    let steps: Vec<(String, String)> = sqlx::query_as(
        "SELECT noun, split_part(method, '/', 3) FROM platform.change WHERE tenant_id = $1 AND key LIKE $2 || '%'
         ORDER BY change_number",
    )
    .bind(NETWORK)
    .bind(&id)
    .fetch_all(world.pool())
    .await
    .unwrap();
    let steps: Vec<_> = steps.iter().map(|(noun, method)| (noun.as_str(), method.as_str())).collect();
    assert_eq!(
        steps,
        [
            ("package", "AddComPackage"),
            ("package_store", "AddComPackage"),
            ("package", "ApplyPutOnComPackage"),
            ("package", "PutOnComPackage"),
            ("package", "CancelComPackage"),
        ],
        "history shows each step once"
    );
}

#[tokio::test]
async fn an_account_is_billed_by_it_only_in_a_store_that_offers_it() {
    let world = World::start_with(&[("billing_verify_codes", "off")]).await;
    world.register_items(NETWORK).await;
    world.add_main_prices(NETWORK, vec![main_price()]).await;
    let store = |id: &str| Store { store_id: id.into(), name: "营业厅".into(), region_code: REGION.into() };
    let stores = RegisterStoresRequest { stores: vec![store("H000000000000010")] };
    world.suppliers(caller(NETWORK)).register_stores(stores).await.unwrap();
    let package_id = draft(&world, new("保底")).await;
    apply(&world, &[&package_id]).await.unwrap();
    put_on(&world, &[&package_id], world.day(0)).await.unwrap();

    // The archive of the network company itself.
    let retail = world.network().await;
    let book = NewBook { store_id: NETWORK_STORE.into(), ..new_book("保底段") };
    world.add_books(caller(NETWORK), vec![book]).await.unwrap();
    let book_id = world.list_books(NETWORK, BookFilter::default()).await.remove(0).book_id;
    let customer = world
        .add_customers(caller(NETWORK), vec![new_customer(&identity_number(1), "王小明")])
        .await
        .unwrap()
        .remove(0);
    let user = new_user_account(&customer.customer_id, "王小明", "长安街 1 号");
    world.add_user_account(caller(NETWORK), user).await.unwrap();
    let unverified = world.unverified(NETWORK, PersonFilter::default()).await;
    let user_account = unverified.user_accounts[0].user_account_id.clone();
    world.apply(caller(NETWORK), vec![connection(&user_account, "用电")]).await.unwrap();
    let unverified = world.unverified(NETWORK, PersonFilter::default()).await;
    let account = unverified.settlement_accounts[0].settlement_account_id.clone();

    let network = Network { book_id, package_id };
    let parameters = |change: &dyn Fn(&mut VerifiedMeterPoint)| {
        let mut request = network.parameters(&account, BusCategType::New, YesNo::No);
        change(request.meter_point.as_mut().unwrap());
        request
    };
    let elsewhere = parameters(&|point| point.network_store_id = "H000000000000010".into());
    assert_eq!(refused(world.verify(NETWORK, elsewhere).await), at("PACKAGE_UNFIT", "SETTLE_METERAGE.MAIN_PACK_DID"));
    let for_a_while = parameters(&|point| {
        point.network_store_id = "H000000000000010".into();
        point.main_package_id = retail.package_id.clone();
        (point.temporary_package_id, point.temporary_months) = (network.package_id.clone(), 3);
    });
    assert_eq!(refused(world.verify(NETWORK, for_a_while).await), at("PACKAGE_UNFIT", "SETTLE_METERAGE.TEMP_PACK_DID"));
    assert_eq!(world.rows("meter_point").await.len(), 0);
    world.verify(NETWORK, parameters(&|_| ())).await.unwrap();

    // A retail company may not bill by it, wherever it is offered.
    let (_, user) = world.user_account(1, "王小明").await;
    let account = world.connect(&user, "用电").await;
    let mut request = retail.parameters(&account, BusCategType::New, YesNo::No);
    request.meter_point.as_mut().unwrap().main_package_id = network.package_id.clone();
    assert_eq!(refused(world.verify(RETAIL, request).await), at("PACKAGE_NOT_FOUND", "SETTLE_METERAGE.MAIN_PACK_DID"));
}
