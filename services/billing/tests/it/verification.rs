//! Verification over gRPC: the whole life of an account, what parameters and meters must fit, races.

use communal_proto::billing::v1::*;
use futures::future::join_all;

use crate::harness::*;

/// What is carried in the registers of accounts, as "register quantity".
async fn carried(world: &World) -> Vec<String> {
    let statement = "SELECT register || ' ' || old_quantity FROM account_register ORDER BY 1";
    sqlx::query_scalar(statement).fetch_all(world.pool()).await.unwrap()
}

#[tokio::test]
async fn an_account_is_connected_changed_swapped_transferred_and_closed() {
    let world = World::start_archive().await;
    let network = world.network().await;
    let (account, first) = world.archived(&network, 1).await;
    let point = world.verified(RETAIL, PersonFilter::default()).await.meter_points.remove(0);
    assert_eq!((point.meter_id.as_str(), point.metered()), (first.as_str(), YesNo::Yes));
    let meter = world.list_meters(RETAIL, MeterFilter::default()).await.remove(0);
    assert_eq!(meter.installation_state(), InstallType::Running);
    assert_eq!((meter.meter_location.as_str(), meter.reading_order), ("楼道表箱 3 层", 7));

    world.process(&account, BusCategType::Change).await.unwrap();
    let mut change = network.parameters(&account, BusCategType::Change, YesNo::Yes);
    change.meter_point.as_mut().unwrap().area = "120".into();
    world.verify(RETAIL, change).await.unwrap();
    assert_eq!(world.verified(RETAIL, PersonFilter::default()).await.meter_points[0].area, "120.00");

    // 100 to 150 on the first meter, then 20 to 30 with a factor of 2 on the second: both are carried.
    let second = world.meter(NewMeter { meter_multiplier: "2".into(), ..new_meter("E-2") }).await;
    for (from, to, old, new) in [(&first, &second, "150", "20"), (&second, &first, "30", "150")] {
        world.process(&account, BusCategType::MeterSwap).await.unwrap();
        let readings = vec![reading(from, ReadingsType::Total, old), reading(to, ReadingsType::Total, new)];
        world.serve_meter(served(&account, BusCategType::MeterSwap), vec![installed(to)], readings).await.unwrap();
    }
    assert_eq!(carried(&world).await, ["1 70.00"]);

    let (customer, user) = world.user_account(2, "李四").await;
    let transfer =
        BusinessApplication { user_account_id: user.clone(), ..of_account(&account, BusCategType::Transfer) };
    world.apply(caller(RETAIL), vec![transfer]).await.unwrap();
    world.verify(RETAIL, network.parameters(&account, BusCategType::Transfer, YesNo::Yes)).await.unwrap();
    let found = world.verified(RETAIL, PersonFilter { customer_name: "李四".into(), ..Default::default() }).await;
    let shown = &found.settlement_accounts[0];
    assert_eq!(
        (&shown.settlement_account_id, &shown.customer_id, &shown.user_account_id),
        (&account, &customer, &user)
    );
    assert_eq!(carried(&world).await, ["1 70.00"], "what was measured stays with the account");
    assert_eq!(world.unverified(RETAIL, PersonFilter::default()).await.user_accounts, []);

    world.days_pass(3);
    world.process(&account, BusCategType::Close).await.unwrap();
    let closing = vec![reading(&first, ReadingsType::Total, "160")];
    world.serve_meter(served(&account, BusCategType::Close), vec![], closing).await.unwrap();
    assert_eq!(carried(&world).await, ["1 80.00"]);
    let found = world.verified(RETAIL, PersonFilter::default()).await;
    assert_eq!(found.settlement_accounts[0].business_kind(), BusCategType::Close);
    assert_eq!(found.meter_points[0].meter_id, "");
    for kind in [BusCategType::Change, BusCategType::Close, BusCategType::MeterSwap] {
        assert_eq!(reason(world.process(&account, kind).await), "ACCOUNT_STATE", "{kind:?}");
    }
    let life: (String, i32) = sqlx::query_as("SELECT state, closed_on - archived_on FROM settlement_account")
        .fetch_one(world.pool())
        .await
        .unwrap();
    assert_eq!(life, ("3".into(), 3));
    // Both meters have measured, and stay.
    for meter in [first, second] {
        let request = DelSettleMeterRequest { meter: Some(MeterId { meter_id: meter }) };
        assert_eq!(reason(world.meters(caller(RETAIL)).del_settle_meter(request).await), "METER_IN_USE");
    }
    assert_eq!(world.rows("boundary_reading").await.len(), 6);
    let history = world.rows("platform.change").await.concat();
    assert!(!history.contains("长安街") && !history.contains("李四"), "{history}");
}

#[tokio::test]
async fn parameters_fit_the_account_its_book_packages_and_network() {
    let world = World::start_archive().await;
    let network = world.network().await;
    let (_, user) = world.user_account(1, "王小明").await;
    let account = world.connect(&user, "用电").await;
    let water = NewBook { utility: NetworkType::Water.into(), ..new_book("水") };
    let unread = NewBook { read: YesNo::No.into(), ..new_book("不抄表") };
    world.add_books(caller(RETAIL), vec![water, unread]).await.unwrap();
    let book = async |name: &str| {
        let filter = BookFilter { book_name: name.into(), ..BookFilter::default() };
        world.list_books(RETAIL, filter).await.remove(0).book_id
    };
    let (water, unread) = (book("水").await, book("不抄表").await);
    let draft = world.draft(laddered("草稿")).await;
    type Change<'c> = &'c dyn Fn(&mut VerifiedMeterPoint);
    let cases: [(Change<'_>, &str, &str); 10] = [
        (&|p| p.utility = NetworkType::Water.into(), "NETWORK_TYPE", "ACCOUNT_STATE"),
        (&|p| p.book_id = "B1".into(), "BOOK_AID", "BOOK_NOT_FOUND"),
        (&|p| p.book_id = water.clone(), "BOOK_AID", "BOOK_UNFIT"),
        (&|p| p.book_id = unread.clone(), "BOOK_AID", "BOOK_UNFIT"),
        (&|p| p.main_package_id = "P1".into(), "MAIN_PACK_DID", "PACKAGE_NOT_FOUND"),
        (&|p| p.main_package_id = draft.clone(), "MAIN_PACK_DID", "PACKAGE_UNFIT"),
        (&|p| p.network_store_id = STORE.into(), "NET_STORES_AID", "SUPPLIER_NOT_FOUND"),
        (&|p| p.node_id = "L1".into(), "NODE_AID", "NODE_NOT_FOUND"),
        (&|p| (p.temporary_package_id, p.temporary_months) = (draft.clone(), 3), "TEMP_PACK_DID", "PACKAGE_UNFIT"),
        (&|p| p.temporary_months = 3, "TMP_MONTHS", "FIELD_MALFORMED"),
    ];
    for (change, field, expected) in cases {
        let mut request = network.parameters(&account, BusCategType::New, YesNo::Yes);
        change(request.meter_point.as_mut().unwrap());
        let refused = world.verify(RETAIL, request).await.unwrap_err();
        assert_eq!(fields(&refused), [format!("SETTLE_METERAGE.{field}")]);
        assert_eq!(reason::<()>(Err(refused)), expected, "{field}");
    }
    let mut contradiction = network.parameters(&account, BusCategType::New, YesNo::Yes);
    contradiction.meter_point.as_mut().unwrap().business_kind = BusCategType::Change.into();
    assert_eq!(fields(&world.verify(RETAIL, contradiction).await.unwrap_err()), ["SETTLE_METERAGE.BUS_CATEG_TYPE"]);
    let other_kind = network.parameters(&account, BusCategType::Change, YesNo::Yes);
    assert_eq!(reason(world.verify(RETAIL, other_kind).await), "ACCOUNT_STATE");
    let good = network.parameters(&account, BusCategType::New, YesNo::Yes);
    assert_eq!(reason(world.verify(OTHER_RETAIL, good.clone()).await), "SETTLEMENT_ACCOUNT_NOT_FOUND");
    assert_eq!(world.rows("meter_point").await.len(), 0);
    world.verify(RETAIL, good.clone()).await.unwrap();
    assert_eq!(reason(world.verify(RETAIL, good).await), "ACCOUNT_STATE", "it waits for its meter");
    // A book with meter points keeps its utility, and stays.
    let gas = ChangedBook { book_id: network.book_id.clone(), utility: NetworkType::Gas.into(), ..Default::default() };
    let request = UpdateSupplierBookRequest { book: Some(gas) };
    assert_eq!(reason(world.books(caller(RETAIL)).update_supplier_book(request).await), "BOOK_IN_USE");
    let books = [water, network.book_id].map(|book_id| BookId { book_id }).into();
    let delete = DeleteSupplierBookRequest { books };
    let refused = world.books(caller(RETAIL)).delete_supplier_book(delete).await.unwrap_err();
    assert_eq!(fields(&refused), ["SUP_BOOK[1].BOOK_AID"]);
    assert_eq!(reason::<()>(Err(refused)), "BOOK_IN_USE");
}

#[tokio::test]
async fn a_meter_fits_its_account_and_its_readings_the_registers() {
    let world = World::start_archive().await;
    let network = world.network().await;
    let (busy_account, busy) = world.archived(&network, 1).await;
    let (_, user) = world.user_account(2, "李四").await;
    let account = world.connect(&user, "用电").await;
    let meter = world.meter(new_meter("E-9")).await;
    let water =
        NewMeter { utility: NetworkType::Water.into(), meter_kind: DeviceType::ColdWater.into(), ..new_meter("W-9") };
    let water = world.meter(water).await;
    let new = || served(&account, BusCategType::New);
    let total = |meter: &str, value: &str| reading(meter, ReadingsType::Total, value);
    let too_early = world.serve_meter(new(), vec![installed(&meter)], vec![total(&meter, "0")]).await;
    assert_eq!(reason(too_early), "ACCOUNT_STATE", "parameters come first");
    world.verify(RETAIL, network.parameters(&account, BusCategType::New, YesNo::Yes)).await.unwrap();

    let kind = InstalledMeter { meter_kind: DeviceType::Gas.into(), ..installed(&meter) };
    let of_water = InstalledMeter { meter_kind: DeviceType::ColdWater.into(), ..installed(&water) };
    let rolled = BoundaryReading { turn: TurnUpsideType::Rollover.into(), ..total(&meter, "0") };
    let retro = BoundaryReading { run_kind: NormalRetroType::Retro.into(), ..total(&meter, "0") };
    let cases = [
        (vec![], vec![], "SETTLE_METER", "FIELD_MISSING"),
        (
            vec![InstalledMeter { meter_location: String::new(), ..installed(&meter) }],
            vec![],
            "SETTLE_METER[0].METER_INSTALL_LOCATE",
            "FIELD_MISSING",
        ),
        (vec![installed("M1")], vec![], "SETTLE_METER[0].DEVICE_DID", "METER_NOT_FOUND"),
        (vec![installed(&busy)], vec![], "SETTLE_METER[0].DEVICE_DID", "METER_IN_USE"),
        (vec![of_water], vec![], "SETTLE_METER[0].DEVICE_DID", "METER_UNFIT"),
        (vec![kind], vec![], "SETTLE_METER[0].DEVICE_TYPE", "METER_UNFIT"),
        (vec![installed(&meter)], vec![], "SETTLE_METER[0].DEVICE_DID", "METER_UNFIT"),
        (
            vec![installed(&meter)],
            vec![reading(&meter, ReadingsType::Peak, "0")],
            "SETTLE_METER[0].DEVICE_DID",
            "METER_UNFIT",
        ),
        (vec![installed(&meter)], vec![total(&meter, "1000000")], "COM_METER_INFO[0].THE_METER_READ", "METER_UNFIT"),
        (vec![installed(&meter)], vec![rolled], "COM_METER_INFO[0].TURN_UPSIDE_TYPE", "METER_UNFIT"),
        (vec![installed(&meter)], vec![retro], "COM_METER_INFO[0].NORMAL_RETRO_TYPE", "FIELD_CODE_UNKNOWN"),
        (vec![installed(&meter)], vec![total(&meter, "0"), total(&meter, "1")], "COM_METER_INFO[1]", "FIELD_MALFORMED"),
        (
            vec![installed(&meter)],
            vec![total(&meter, "0"), total(&busy, "1")],
            "COM_METER_INFO[1].DEVICE_DID",
            "METER_UNFIT",
        ),
    ];
    for (meters, readings, field, expected) in cases {
        let refused = world.serve_meter(new(), meters, readings).await.unwrap_err();
        assert_eq!(fields(&refused), [field]);
        assert_eq!(reason::<()>(Err(refused)), expected, "{field}");
    }
    world.serve_meter(new(), vec![installed(&meter)], vec![total(&meter, "0")]).await.unwrap();

    // Closing readings fit their movement, and each register has one.
    world.process(&busy_account, BusCategType::Close).await.unwrap();
    let close = || served(&busy_account, BusCategType::Close);
    let backwards = total(&busy, "99");
    let cases = [
        (vec![], vec![], "COM_METER_INFO", "METER_UNFIT"),
        (vec![], vec![backwards.clone()], "COM_METER_INFO[0].TURN_UPSIDE_TYPE", "METER_UNFIT"),
        (
            vec![],
            vec![total(&busy, "100"), reading(&busy, ReadingsType::Peak, "1")],
            "COM_METER_INFO[1].READINGS_TYPE",
            "METER_UNFIT",
        ),
        (vec![installed(&meter)], vec![], "SETTLE_METER", "FIELD_MALFORMED"),
    ];
    for (meters, readings, field, expected) in cases {
        let refused = world.serve_meter(close(), meters, readings).await.unwrap_err();
        assert_eq!(fields(&refused), [field]);
        assert_eq!(reason::<()>(Err(refused)), expected, "{field}");
    }
    let backwards = BoundaryReading { turn: TurnUpsideType::Backwards.into(), ..backwards };
    world.serve_meter(close(), vec![], vec![backwards]).await.unwrap();
    assert_eq!(carried(&world).await, ["1 -1.00", "1 0.00"]);
}

#[tokio::test]
async fn a_swap_or_change_that_would_lose_a_register_is_refused() {
    let world = World::start_archive().await;
    let network = world.network().await;
    let (account, old) = world.archived(&network, 1).await;
    // The installed meter has no reactive register, which a power factor needs.
    world.process(&account, BusCategType::Change).await.unwrap();
    let mut change = network.parameters(&account, BusCategType::Change, YesNo::Yes);
    change.meter_point.as_mut().unwrap().power_factor_standard = ForRateValidType::P90.into();
    let refused = world.verify(RETAIL, change).await.unwrap_err();
    assert!(words(&refused).contains("7-无功"), "{}", words(&refused));
    assert_eq!(reason::<()>(Err(refused)), "METER_UNFIT");
    let without = network.parameters(&account, BusCategType::Change, YesNo::No);
    assert_eq!(reason(world.verify(RETAIL, without).await), "ACCOUNT_STATE", "a meter is taken off by a close alone");
    world.verify(RETAIL, network.parameters(&account, BusCategType::Change, YesNo::Yes)).await.unwrap();

    let new = world.meter(new_meter("E-2")).await;
    world.process(&account, BusCategType::MeterSwap).await.unwrap();
    let swap = async |readings| {
        world.serve_meter(served(&account, BusCategType::MeterSwap), vec![installed(&new)], readings).await
    };
    let closing = reading(&old, ReadingsType::Total, "160");
    assert_eq!(reason(swap(vec![closing.clone(), reading(&new, ReadingsType::Peak, "0")]).await), "METER_UNFIT");
    assert_eq!(reason(swap(vec![reading(&new, ReadingsType::Total, "0")]).await), "METER_UNFIT", "no closing reading");
    swap(vec![closing, reading(&new, ReadingsType::Total, "0")]).await.unwrap();
    assert_eq!(carried(&world).await, ["1 60.00"]);
    // What a meter measures by stays while it is on an account.
    let by = ChangedMeter { meter_id: new.clone(), meter_multiplier: "2".into(), ..ChangedMeter::default() };
    let request = UpdSettleMeterRequest { meter: Some(by) };
    assert_eq!(reason(world.meters(caller(RETAIL)).upd_settle_meter(request).await), "METER_IN_USE");
}

/// What it measured while it was on no account would be nobody's.
#[tokio::test]
async fn a_meter_that_comes_back_shows_what_it_showed_unless_its_reset_is_recorded() {
    let world = World::start_archive().await;
    let network = world.network().await;
    let (account, meter) = world.archived(&network, 1).await;
    let other = world.meter(new_meter("E-8")).await;
    let swap = async |from: &str, closing: &str, to: &str, opening: &str| {
        let readings = vec![reading(from, ReadingsType::Total, closing), reading(to, ReadingsType::Total, opening)];
        world.serve_meter(served(&account, BusCategType::MeterSwap), vec![installed(to)], readings).await
    };
    let reset = async |tenant| {
        let request = RecordMeterResetRequest { meter_id: meter.clone() };
        world.meters(caller(tenant)).record_meter_reset(request).await.map(drop)
    };
    let digits = async || {
        let changed = ChangedMeter { meter_id: meter.clone(), digits: 5, ..ChangedMeter::default() };
        world.meters(caller(RETAIL)).upd_settle_meter(UpdSettleMeterRequest { meter: Some(changed) }).await.map(drop)
    };
    assert_eq!(refused(reset(RETAIL).await), ("DEVICE_DID".into(), "METER_IN_USE".into()), "it is installed");
    world.process(&account, BusCategType::MeterSwap).await.unwrap();
    swap(&meter, "150", &other, "0").await.unwrap();

    world.process(&account, BusCategType::MeterSwap).await.unwrap();
    for shown in ["149.9", "0", "151"] {
        let field = "COM_METER_INFO[1].THE_METER_READ".to_owned();
        assert_eq!(refused(swap(&other, "10", &meter, shown).await), (field, "METER_UNFIT".into()), "{shown}");
    }
    assert_eq!(refused(digits().await), ("SETTLE_METER.METER_BIT".into(), "METER_IN_USE".into()));
    swap(&other, "10", &meter, "150").await.expect("it shows what it showed");

    world.process(&account, BusCategType::MeterSwap).await.unwrap();
    swap(&meter, "160", &other, "10").await.unwrap();
    assert_eq!(reason(reset(OTHER_RETAIL).await), "METER_NOT_FOUND");
    reset(RETAIL).await.unwrap();
    digits().await.expect("the workshop gave it another register");
    world.process(&account, BusCategType::MeterSwap).await.unwrap();
    swap(&other, "10", &meter, "0").await.expect("it was reset");
}

#[tokio::test]
async fn of_32_accounts_one_gets_the_meter() {
    let world = World::start_archive().await;
    let network = world.network().await;
    let (_, user) = world.user_account(1, "王小明").await;
    let applications = (0..32).map(|n| connection(&user, &format!("用电{n}"))).collect();
    world.apply(caller(RETAIL), applications).await.unwrap();
    let accounts: Vec<String> = sqlx::query_scalar("SELECT settlement_account_id FROM settlement_account")
        .fetch_all(world.pool())
        .await
        .unwrap();
    for (n, account) in accounts.iter().enumerate() {
        let mut parameters = network.parameters(account, BusCategType::New, YesNo::Yes);
        parameters.settlement_account.as_mut().unwrap().settlement_account_name = format!("用电{n}");
        // The names are given anew, so none may meet another on its way.
        let name: String = sqlx::query_scalar("SELECT name FROM settlement_account WHERE settlement_account_id = $1")
            .bind(account)
            .fetch_one(world.pool())
            .await
            .unwrap();
        parameters.settlement_account.as_mut().unwrap().settlement_account_name = name;
        world.verify(RETAIL, parameters).await.unwrap();
    }
    let meter = world.meter(new_meter("E-1")).await;
    let install = |account: &String| {
        let readings = vec![reading(&meter, ReadingsType::Total, "0")];
        world.serve_meter(served(account, BusCategType::New), vec![installed(&meter)], readings)
    };
    let outcomes = join_all(accounts.iter().map(install)).await;
    assert_eq!(outcomes.iter().filter(|o| o.is_ok()).count(), 1);
    assert!(outcomes.into_iter().filter(Result::is_err).all(|o| reason(o) == "METER_IN_USE"));
}

#[tokio::test]
async fn of_32_that_install_on_one_account_one_does() {
    let world = World::start_archive().await;
    let network = world.network().await;
    let (_, user) = world.user_account(1, "王小明").await;
    let account = world.connect(&user, "用电").await;
    let verified =
        join_all((0..32).map(|_| world.verify(RETAIL, network.parameters(&account, BusCategType::New, YesNo::Yes))))
            .await;
    assert_eq!(verified.iter().filter(|o| o.is_ok()).count(), 1);
    assert!(verified.into_iter().filter(Result::is_err).all(|o| reason(o) == "ACCOUNT_STATE"));
    world.add_meters(caller(RETAIL), (0..32).map(|n| new_meter(&format!("E-{n}"))).collect()).await.unwrap();
    let meters = world.list_meters(RETAIL, MeterFilter::default()).await;
    let install = |meter: &Meter| {
        let readings = vec![reading(&meter.meter_id, ReadingsType::Total, "0")];
        world.serve_meter(served(&account, BusCategType::New), vec![installed(&meter.meter_id)], readings)
    };
    let outcomes = join_all(meters.iter().map(install)).await;
    assert_eq!(outcomes.iter().filter(|o| o.is_ok()).count(), 1);
    assert!(outcomes.into_iter().filter(Result::is_err).all(|o| reason(o) == "ACCOUNT_STATE"));
    let on_account = world.list_meters(RETAIL, MeterFilter { installation_state: 3, ..Default::default() }).await;
    assert_eq!(on_account.len(), 1);
}
