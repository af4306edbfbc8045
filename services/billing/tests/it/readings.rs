//! Readings over gRPC: what is entered, shown and refused, pages of registers, swaps, isolation, races.

use communal_proto::billing::v1::*;
use futures::future::{join, join_all};

use crate::harness::*;

const ALL: PageRequest = PageRequest { page: 1, rows: 100 };

fn of_book(network: &Network) -> MeasuredFilter {
    MeasuredFilter { book_id: network.book_id.clone(), ..MeasuredFilter::default() }
}

/// An account with an open point in March; returns the network, account and meter.
async fn open_point(world: &World) -> (Network, String, String) {
    let network = world.network().await;
    let (account, meter) = world.archived(&network, 1).await;
    world.open_spring(RETAIL).await;
    world.create_points(caller(RETAIL), &[&account]).await.unwrap();
    (network, account, meter)
}

/// Carries out the open swap of an account from a meter to another; the closing reading is 150, the opening one 7.
async fn swap(world: &World, account: &str, old: &str, new: &str) -> Result<(), tonic::Status> {
    let readings = vec![reading(old, ReadingsType::Total, "150"), reading(new, ReadingsType::Total, "7")];
    world.serve_meter(served(account, BusCategType::MeterSwap), vec![installed(new)], readings).await
}

#[tokio::test]
async fn a_reading_is_entered_today_shown_and_replaced() {
    let world = World::start_archive().await;
    let (network, account, meter) = open_point(&world).await;
    let (pending, total) = world.pending(RETAIL, &network.book_id, ALL).await;
    let expected = PendingReading {
        meter_id: meter.clone(),
        factory_number: "E-1".into(),
        meter_location: "楼道表箱 3 层".into(),
        meter_kind: DeviceType::Electricity.into(),
        digits: 6,
        energy_flow: EnergyFlowType::Forward.into(),
        register: ReadingsType::Total.into(),
        last_reading_date: 20_240_315,
        last_reading: "100.000000".into(),
        average_metered_quantity: "0.00".into(),
        average_reduced_quantity: "0.00".into(),
        average_quantity: "0.00".into(),
        reading: "0.000000".into(),
        metered_quantity: "0.00".into(),
        reduced_quantity: "0.00".into(),
        quantity: "0.00".into(),
        old_meter_quantity: "0.00".into(),
        added_quantity: "0.00".into(),
        meter_margin: "999900.00".into(),
        reading_channel: MeterReadChanType::Reader.into(),
        run_kind: NormalRetroType::Normal.into(),
        reading_order: 7,
        multiplier: "1.00".into(),
        ..PendingReading::default()
    };
    assert_eq!((pending, total), (vec![expected.clone()], 1));
    assert_eq!(world.measured(RETAIL, of_book(&network), ALL).await, (vec![], 0));

    world.days_pass(2);
    world.enter(caller(RETAIL), vec![read(&meter, ReadingsType::Total, "150.5")]).await.unwrap();
    let shown = PendingReading {
        reading_date: 20_240_317,
        reading_time: 100_000,
        reading: "150.500000".into(),
        metered_quantity: "50.50".into(),
        quantity: "50.50".into(),
        meter_margin: "999849.50".into(),
        ..expected
    };
    assert_eq!(world.pending(RETAIL, &network.book_id, ALL).await.0, [shown]);
    let (measured, total) = world.measured(RETAIL, of_book(&network), ALL).await;
    assert_eq!((measured.len(), total), (1, 1));
    assert_eq!((measured[0].meter_id.as_str(), measured[0].quantity.as_str()), (meter.as_str(), "50.50"));
    let of_meter = |meter_id: &str| MeasuredFilter { meter_id: meter_id.into(), ..of_book(&network) };
    assert_eq!(world.measured(RETAIL, of_meter(&meter), ALL).await.1, 1);
    assert_eq!(world.measured(RETAIL, of_meter("M1"), ALL).await, (vec![], 0));

    // The later reading counts, the one before stays known, and what was calculated of it is discarded.
    world.take_for_calculated(&account).await;
    let calculated = world.pending(RETAIL, &network.book_id, ALL).await.0.remove(0);
    assert!(calculated.calculation_date > 20_240_000);
    let rolled = RegisterReading { turn: TurnUpsideType::Rollover.into(), ..read(&meter, ReadingsType::Total, "1") };
    world.enter(caller(RETAIL), vec![rolled]).await.unwrap();
    let again = world.pending(RETAIL, &network.book_id, ALL).await.0.remove(0);
    assert_eq!(
        (again.quantity.as_str(), again.turn(), again.calculation_date),
        ("999901.00", TurnUpsideType::Rollover, 0)
    );
    assert_eq!(world.rows("point_calculation").await.len(), 0);
    assert_eq!(world.history("point_reading").await, ["UPDATE"]);

    // In the next month the point is taken over with its reading; a point that is charged off is to be read no more.
    world.days_pass(20);
    world.create_points(caller(RETAIL), &[&account]).await.unwrap();
    assert_eq!(world.pending(RETAIL, &network.book_id, ALL).await.0[0].quantity, "999901.00");
    world.take_for_charged_off(&account).await;
    assert_eq!(world.pending(RETAIL, &network.book_id, ALL).await, (vec![], 0));
    assert_eq!(world.measured(RETAIL, of_book(&network), ALL).await, (vec![], 0));
}

#[tokio::test]
async fn every_reading_that_does_not_fit_is_named_and_none_is_entered() {
    let world = World::start_archive().await;
    let (network, account, meter) = open_point(&world).await;
    let (_, unbilled) = world.archived(&network, 2).await;
    let stored = world.meter(new_meter("E-9")).await;
    let total = |meter: &str, reading: &str| read(meter, ReadingsType::Total, reading);
    let turned = |turn: TurnUpsideType, reading: &str| RegisterReading { turn: turn.into(), ..total(&meter, reading) };
    let reverse = RegisterReading { energy_flow: EnergyFlowType::Reverse.into(), ..total(&meter, "110") };
    let retro = RegisterReading { run_kind: NormalRetroType::Retro.into(), ..total(&meter, "110") };
    let cases = [
        (total("M1", "110"), "DEVICE_DID", "METER_NOT_FOUND"),
        (total(&stored, "110"), "DEVICE_DID", "BILLING_POINT_NOT_OPEN"),
        (total(&unbilled, "110"), "DEVICE_DID", "BILLING_POINT_NOT_OPEN"),
        (read(&meter, ReadingsType::Peak, "110"), "READINGS_TYPE", "REGISTER_NOT_FOUND"),
        (reverse, "READINGS_TYPE", "REGISTER_NOT_FOUND"),
        (total(&meter, "1000000"), "THE_METER_READ", "FIELD_MALFORMED"),
        (total(&meter, "-1"), "THE_METER_READ", "FIELD_MALFORMED"),
        (total(&meter, "99"), "TURN_UPSIDE_TYPE", "FIELD_MALFORMED"),
        (turned(TurnUpsideType::Backwards, "101"), "TURN_UPSIDE_TYPE", "FIELD_MALFORMED"),
        (turned(TurnUpsideType::Rollover, "100"), "TURN_UPSIDE_TYPE", "FIELD_MALFORMED"),
        (retro, "NORMAL_RETRO_TYPE", "FIELD_CODE_UNKNOWN"),
    ];
    for (given, field, expected) in &cases {
        let refused = world.enter(caller(RETAIL), vec![given.clone()]).await.unwrap_err();
        assert_eq!(fields(&refused), [format!("COM_METER_INFO[0].{field}")]);
        assert_eq!(reason::<()>(Err(refused)), *expected, "{field}");
    }
    let twice = world.enter(caller(RETAIL), vec![total(&meter, "110"), total(&meter, "120")]).await.unwrap_err();
    assert_eq!(fields(&twice), ["COM_METER_INFO[1].READINGS_TYPE"]);
    let several = vec![total(&meter, "110"), total("M1", "0"), total(&stored, "0"), total(&unbilled, "0")];
    let refused = world.enter(caller(RETAIL), several).await.unwrap_err();
    assert_eq!(fields(&refused), [1, 2, 3].map(|row| format!("COM_METER_INFO[{row}].DEVICE_DID")));
    assert_eq!(reason(world.enter(caller(RETAIL), vec![]).await), "FIELD_MISSING");
    // Another company's meters do not exist for it, nor its books.
    for other in [OTHER_RETAIL, NETWORK] {
        let refused = world.enter(caller(other), vec![total(&meter, "110")]).await;
        assert_eq!(reason(refused), "METER_NOT_FOUND");
        assert_eq!(world.pending(other, &network.book_id, ALL).await, (vec![], 0));
        assert_eq!(world.measured(other, of_book(&network), ALL).await, (vec![], 0));
    }
    assert_eq!(world.rows("point_reading").await.len(), 0);
    world.take_for_charged_off(&account).await;
    assert_eq!(reason(world.enter(caller(RETAIL), vec![total(&meter, "110")]).await), "BILLING_POINT_NOT_OPEN");
}

#[tokio::test]
async fn registers_are_paged_across_accounts_by_reading_order() {
    let world = World::start_archive().await;
    let network = world.network().await;
    let registers = [ReadingsType::Total, ReadingsType::Peak, ReadingsType::Valley];
    let mut meters = Vec::new();
    for (number, order) in [(1, 3), (2, 1), (3, 2)] {
        let (_, user) = world.user_account(number, &format!("客户{number}")).await;
        let account = world.connect(&user, "用电").await;
        world.verify(RETAIL, network.parameters(&account, BusCategType::New, YesNo::Yes)).await.unwrap();
        let meter = world.meter(new_meter(&format!("E-{number}"))).await;
        let opening = registers.map(|register| reading(&meter, register, "10")).to_vec();
        let placed = InstalledMeter { reading_order: order, ..installed(&meter) };
        world.serve_meter(served(&account, BusCategType::New), vec![placed], opening).await.unwrap();
        meters.push((order, account, meter));
    }
    world.open_spring(RETAIL).await;
    let accounts: Vec<_> = meters.iter().map(|(_, account, _)| account.as_str()).collect();
    world.create_points(caller(RETAIL), &accounts).await.unwrap();
    meters.sort();
    let expected: Vec<_> = meters.iter().flat_map(|(_, _, m)| registers.map(|r| (m.clone(), r))).collect();
    for rows in [1, 2, 4, 9, 20] {
        let mut found = Vec::new();
        for page in 1..=10 {
            let (pending, total) = world.pending(RETAIL, &network.book_id, PageRequest { page, rows }).await;
            assert_eq!(total, 9);
            assert!(pending.len() <= usize::try_from(rows).unwrap());
            found.extend(pending.into_iter().map(|p| (p.meter_id.clone(), p.register())));
        }
        assert_eq!(found, expected, "pages of {rows}");
    }
    // Of those that are read, some of the first meter and all of the last.
    let (first, last) = (&meters[0].2, &meters[2].2);
    let mut readings = vec![read(first, ReadingsType::Valley, "11")];
    readings.extend(registers.map(|register| read(last, register, "12")));
    world.enter(caller(RETAIL), readings).await.unwrap();
    let mut found = Vec::new();
    for page in 1..=3 {
        let (measured, total) = world.measured(RETAIL, of_book(&network), PageRequest { page, rows: 3 }).await;
        assert_eq!(total, 4);
        found.extend(measured.into_iter().map(|m| (m.meter_id.clone(), m.register(), m.quantity)));
    }
    let mut expected = vec![(first.clone(), ReadingsType::Valley, "1.00".to_owned())];
    expected.extend(registers.map(|register| (last.clone(), register, "2.00".to_owned())));
    assert_eq!(found, expected);
    let complete: Vec<String> =
        sqlx::query_scalar("SELECT registers || ' ' || complete FROM point_reading ORDER BY registers")
            .fetch_all(world.pool())
            .await
            .unwrap();
    assert_eq!(complete, ["1 false", "3 true"]);
}

#[tokio::test]
async fn after_a_swap_the_new_meter_is_read_and_what_the_old_one_measured_is_billed_once() {
    let world = World::start_archive().await;
    let (network, account, first) = open_point(&world).await;
    world.enter(caller(RETAIL), vec![read(&first, ReadingsType::Total, "140")]).await.unwrap();
    let second = world.meter(new_meter("E-2")).await;
    world.process(&account, BusCategType::MeterSwap).await.unwrap();
    swap(&world, &account, &first, &second).await.unwrap();
    let pending = world.pending(RETAIL, &network.book_id, ALL).await.0;
    assert_eq!(pending.len(), 1);
    let shown = &pending[0];
    assert_eq!((shown.meter_id.as_str(), shown.reading_date), (second.as_str(), 0));
    assert_eq!((shown.last_reading.as_str(), shown.old_meter_quantity.as_str()), ("7.000000", "50.00"));
    let of_old = world.enter(caller(RETAIL), vec![read(&first, ReadingsType::Total, "150")]).await;
    assert_eq!(reason(of_old), "BILLING_POINT_NOT_OPEN");
    world.enter(caller(RETAIL), vec![read(&second, ReadingsType::Total, "9.5")]).await.unwrap();
    let shown = world.pending(RETAIL, &network.book_id, ALL).await.0.remove(0);
    assert_eq!((shown.metered_quantity.as_str(), shown.quantity.as_str()), ("2.50", "52.50"));
    let point = world.points(&account).await.remove(0).1;
    assert_eq!(point.meter.unwrap().meter_id, second, "the point was made again");
}

#[tokio::test]
async fn readings_at_once_with_each_other_and_with_a_swap_leave_one_state() {
    let world = World::start_archive().await;
    let (_, account, meter) = open_point(&world).await;
    let outcomes = join_all((0..32).map(|n| {
        let reading = (101 + n).to_string();
        world.enter(caller(RETAIL), vec![read(&meter, ReadingsType::Total, &reading)])
    }))
    .await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!((world.rows("point_reading").await.len(), world.history("point_reading").await.len()), (1, 31));
    // The same request again enters nothing.
    for _ in 0..2 {
        let again = vec![read(&meter, ReadingsType::Total, "140")];
        world.enter(with_request_id(RETAIL, "again"), again).await.unwrap();
    }
    assert_eq!(world.history("point_reading").await.len(), 32);

    let other = world.meter(new_meter("E-2")).await;
    world.process(&account, BusCategType::MeterSwap).await.unwrap();
    let entering =
        join_all((0..31).map(|_| world.enter(caller(RETAIL), vec![read(&meter, ReadingsType::Total, "145")])));
    let (swapped, entered) = join(swap(&world, &account, &meter, &other), entering).await;
    swapped.unwrap();
    for refused in entered.into_iter().filter(Result::is_err) {
        assert_eq!(reason(refused), "BILLING_POINT_NOT_OPEN");
    }
    assert_eq!(world.rows("point_reading").await.len(), 0, "the old meter's readings went with it");
}

/// Accounts with open points in March, as many as asked for; returns the network, accounts and meters.
async fn open_points(world: &World, count: usize) -> (Network, Vec<(String, String)>) {
    let network = world.network().await;
    let mut made = Vec::new();
    for number in 1..=count {
        made.push(world.archived(&network, number).await);
    }
    world.open_spring(RETAIL).await;
    let accounts: Vec<_> = made.iter().map(|(account, _)| account.as_str()).collect();
    world.create_points(caller(RETAIL), &accounts).await.unwrap();
    (network, made)
}

#[tokio::test]
async fn a_stream_of_readings_is_entered_all_or_none_or_what_fits_of_it() {
    let world = World::start_archive().await;
    let (network, made) = open_points(&world, 4).await;
    world.add_books(caller(RETAIL), vec![new_book("二段")]).await.unwrap();
    let other = BookFilter { book_name: "二段".into(), ..BookFilter::default() };
    let other = world.list_books(RETAIL, other).await.remove(0).book_id;
    let total = |nth: usize, reading: &str| read(&made[nth].1, ReadingsType::Total, reading);
    let of_company = ReadMetersScope::default;
    let of = |book_id: &str, skip_faulty| ReadMetersScope { book_id: book_id.into(), skip_faulty };

    // Faults are named by their rows over the whole stream, and nothing is entered.
    let faulty = vec![
        vec![total(0, "110"), total(1, "99")],
        vec![total(0, "120"), read("M1", ReadingsType::Total, "1"), total(2, "")],
    ];
    let refused = world.read_meters(RETAIL, of_company(), faulty.clone()).await.unwrap_err();
    let rows = [(1, "turn"), (2, "register"), (3, "meter_id"), (4, "reading")];
    assert_eq!(fields(&refused), rows.map(|(row, field)| format!("readings[{row}].{field}")));
    // Each says why, to people as well.
    assert_eq!(reasons(&refused), ["FIELD_MALFORMED", "FIELD_MALFORMED", "METER_NOT_FOUND", "FIELD_MISSING"]);
    let words = words(&refused);
    for (row, field) in rows {
        assert!(words.contains(&format!("readings[{row}].{field} ")), "{words}");
    }
    assert_eq!(reason::<()>(Err(refused)), "FIELD_MALFORMED");
    assert_eq!(world.rows("point_reading").await.len(), 0);
    // The readings that fit are entered if that is asked for.
    let reply = world.read_meters(RETAIL, of("", true), faulty).await.unwrap();
    let faults: Vec<_> = reply.faults.iter().map(|f| (f.row, f.field.as_str(), f.reason.as_str())).collect();
    let expected = [
        (1, "TURN_UPSIDE_TYPE", "FIELD_MALFORMED"),
        (2, "READINGS_TYPE", "FIELD_MALFORMED"),
        (3, "DEVICE_DID", "METER_NOT_FOUND"),
        (4, "THE_METER_READ", "FIELD_MISSING"),
    ];
    assert_eq!((reply.readings, faults), (1, expected.to_vec()));
    assert_eq!((reply.faults[0].meter_id.as_str(), reply.faults[0].message.is_empty()), (made[1].1.as_str(), false));
    assert_eq!(world.rows("point_reading").await.len(), 1);

    // All of a company, and all of a book; again it is the same.
    let all: Vec<_> = (0..4).map(|nth| vec![total(nth, "130")]).collect();
    for _ in 0..2 {
        let reply = world.read_meters(RETAIL, of(&network.book_id, false), all.clone()).await.unwrap();
        assert_eq!((reply.readings, reply.faults), (4, vec![]));
    }
    let (pending, _) = world.pending(RETAIL, &network.book_id, ALL).await;
    assert!(pending.iter().all(|register| register.quantity == "30.00") && pending.len() == 4);
    let refused = world.read_meters(RETAIL, of(&other, false), all.clone()).await.unwrap_err();
    assert_eq!(fields(&refused)[0], "readings[0].meter_id");
    assert_eq!(reason(world.read_meters(RETAIL, of("B1", false), all.clone()).await), "BOOK_NOT_FOUND");
    assert_eq!(reason(world.read_meters(RETAIL, of(&"B".repeat(17), false), all.clone()).await), "FIELD_MALFORMED");
    for nothing in [vec![], vec![vec![]]] {
        assert_eq!(reason(world.read_meters(RETAIL, of_company(), nothing).await), "FIELD_MISSING");
    }
    let twice = (0..2).map(|_| ReadMetersRequest { scope: Some(of_company()), readings: vec![total(0, "140")] });
    let twice = world.readings(caller(RETAIL)).read_meters(futures::stream::iter(twice.collect::<Vec<_>>())).await;
    assert_eq!(refused_scope(twice), ["scope"]);
    // Another company has none of the meters.
    let foreign = world.read_meters(OTHER_RETAIL, of_company(), all).await;
    assert_eq!(reason(foreign), "METER_NOT_FOUND");
}

fn refused_scope<T: std::fmt::Debug>(outcome: Result<T, tonic::Status>) -> Vec<String> {
    fields(&outcome.unwrap_err())
}

#[tokio::test]
async fn faulty_readings_are_listed_by_book_and_account_until_they_are_right() {
    let world = World::start_with(&[("billing_verify_codes", "off"), ("billing_reading_factor", "2.5")]).await;
    let (network, made) = open_points(&world, 5).await;
    let missing = |nth: usize| format!("Missing {} Total", made[nth].0);
    for page_size in [1, 2, 100] {
        assert_eq!(world.faults(RETAIL, "", page_size).await, (0..5).map(missing).collect::<Vec<_>>());
    }
    assert_eq!(world.faults(RETAIL, &network.book_id, 100).await.len(), 5);
    assert_eq!(world.faults(OTHER_RETAIL, "", 100).await, [""; 0]);
    for (company, book) in [(RETAIL, "B1"), (OTHER_RETAIL, network.book_id.as_str())] {
        let request = ListReadingFaultsRequest { book_id: book.into(), ..Default::default() };
        let outcome = world.readings(caller(company)).list_reading_faults(request).await;
        assert_eq!(refused(outcome), ("BOOK_AID".into(), "BOOK_NOT_FOUND".into()));
    }

    // As charge-off leaves it: 10 a day so far, and ten days since.
    let averages = "UPDATE account_register SET billed_days = 30, metered_total = 300, billed_total = 300";
    let mut transaction = world.pool().begin().await.unwrap();
    sqlx::query("SELECT platform.announce('o', 'o', 'c', 't', 'm', now())").execute(&mut *transaction).await.unwrap();
    sqlx::query(averages).execute(&mut *transaction).await.unwrap();
    transaction.commit().await.unwrap();
    world.days_pass(10);
    let accounts: Vec<_> = made.iter().map(|(account, _)| account.as_str()).collect();
    world.create_points(caller(RETAIL), &accounts).await.unwrap();
    assert_eq!(world.pending(RETAIL, &network.book_id, ALL).await.0[0].average_quantity, "10.00");
    let readings = [(0, "200"), (1, "350"), (2, "351"), (3, "139")];
    let readings = readings.map(|(nth, reading)| read(&made[nth].1, ReadingsType::Total, reading)).to_vec();
    world.enter(caller(RETAIL), readings).await.unwrap();
    let faulty = [format!("High {} Total", made[2].0), format!("Low {} Total", made[3].0), missing(4)];
    for page_size in [1, 2, 100] {
        assert_eq!(world.faults(RETAIL, &network.book_id, page_size).await, faulty);
    }
    let request = ListReadingFaultsRequest { page_token: "0123456789abcdefB A 1".into(), ..Default::default() };
    assert_eq!(reason(world.readings(caller(RETAIL)).list_reading_faults(request).await), "PAGE_INVALID");
    let request = ListReadingFaultsRequest { page_size: 1_001, ..Default::default() };
    assert_eq!(reason(world.readings(caller(RETAIL)).list_reading_faults(request).await), "FIELD_MALFORMED");
    world.enter(caller(RETAIL), vec![read(&made[2].1, ReadingsType::Total, "300")]).await.unwrap();
    assert_eq!(world.faults(RETAIL, "", 100).await, faulty[1..]);
    // What is charged off is right for good.
    world.take_for_charged_off(&made[3].0).await;
    assert_eq!(world.faults(RETAIL, "", 100).await, faulty[2..]);
}
