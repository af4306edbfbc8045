//! Billing points over gRPC: what a point holds, when one is made, made again, moved to the next month and refused; isolation, races.

use communal_proto::billing::v1::*;
use futures::future::join_all;
use rust_decimal::Decimal;

use crate::harness::*;

const ACCOUNT: &str = "SETTLE_ACCOUNT[0].SETTLEMENT_AID";

/// The rows of a point's phases, as "table month".
async fn phases(world: &World) -> Vec<String> {
    let statement = "SELECT 'point ' || account_month FROM billing_point
         UNION ALL SELECT 'reading ' || account_month FROM point_reading
         UNION ALL SELECT 'calculation ' || account_month FROM point_calculation
         UNION ALL SELECT 'open ' || account_month || CASE WHEN outdated THEN ' outdated' ELSE '' END FROM point_open
         ORDER BY 1";
    sqlx::query_scalar(statement).fetch_all(world.pool()).await.unwrap()
}

/// Gives an account's open point a reading of a meter.
async fn take_for_read(world: &World, account: &str, meter: &str) {
    sqlx::query(
        "INSERT INTO point_reading (company_id, settlement_account_id, account_month, kind, number, meter_id, registers,
             complete, readings, operator_id, channel_id, trace_id, written_at)
         SELECT company_id, settlement_account_id, account_month, kind, number, $2, 1, true, '', '', '', '', now()
         FROM point_open WHERE settlement_account_id = $1",
    )
    .bind(account)
    .bind(meter)
    .execute(world.pool())
    .await
    .unwrap();
}

#[tokio::test]
async fn a_point_holds_what_the_account_is_billed_by() {
    let world = World::start_archive().await;
    let network = world.network().await;
    let (account, meter) = world.archived(&network, 1).await;
    world.open_spring(RETAIL).await;
    world.create_points(caller(RETAIL), &[&account]).await.unwrap();
    let points = world.points(&account).await;
    assert_eq!(points.len(), 1);
    let (month, point) = &points[0];
    assert_eq!(*month, 202_403);
    assert_eq!((point.book_id.as_str(), point.node_id.as_str()), (network.book_id.as_str(), NODE));
    assert_eq!((point.network_company_id.as_str(), point.network_store_id.as_str()), (NETWORK, NETWORK_STORE));
    assert_eq!((point.utility(), point.resident()), (NetworkType::Electricity, YesNo::Yes));
    assert_eq!((point.archived_on, point.closed_on), (20_240_315, 0));
    assert_eq!((point.fixed_quantity(), point.area()), (Decimal::new(-150, 2), Decimal::new(8_950, 2)));
    let package = point.main_package.as_ref().unwrap();
    assert_eq!(
        (package.package_id.as_str(), package.retail_company_id.as_str()),
        (network.package_id.as_str(), RETAIL)
    );
    assert_eq!(
        (package.kind(), package.ladder(), package.tiers()),
        (ChargePackType::Market, LadderType::Year, LadderNumType::Three)
    );
    assert_eq!(point.temporary_package, None);
    let of_meter = point.meter.as_ref().unwrap();
    assert_eq!((of_meter.meter_id.as_str(), of_meter.digits, of_meter.multiplier()), (meter.as_str(), 6, Decimal::ONE));
    let registers: Vec<_> = point.registers.iter().map(|r| (r.register(), r.last_reading(), r.last_read_on)).collect();
    assert_eq!(registers, [(ReadingsType::Total, Decimal::from(100), 20_240_315)]);
    // Nothing in it identifies a person.
    let raw: Vec<u8> = sqlx::query_scalar("SELECT snapshot FROM billing_point").fetch_one(world.pool()).await.unwrap();
    let text = String::from_utf8_lossy(&raw).into_owned();
    assert!(!text.contains("长安街") && !text.contains("王小明"), "{text}");
}

#[tokio::test]
async fn a_point_is_made_again_until_it_is_charged_off() {
    let world = World::start_archive().await;
    let network = world.network().await;
    let (account, meter) = world.archived(&network, 1).await;
    world.open_spring(RETAIL).await;
    world.create_points(caller(RETAIL), &[&account]).await.unwrap();
    take_for_read(&world, &account, &meter).await;
    world.take_for_calculated(&account).await;
    assert_eq!(phases(&world).await, ["calculation 202403", "open 202403", "point 202403", "reading 202403"]);

    // A change takes effect with the next point; readings stay, and the calculation goes.
    world.process(&account, BusCategType::Change).await.unwrap();
    let mut change = network.parameters(&account, BusCategType::Change, YesNo::Yes);
    change.meter_point.as_mut().unwrap().area = "120".into();
    world.verify(RETAIL, change).await.unwrap();
    assert_eq!(world.points(&account).await[0].1.area(), Decimal::new(8_950, 2));
    assert_eq!(phases(&world).await, ["calculation 202403", "open 202403", "point 202403", "reading 202403"]);
    world.create_points(caller(RETAIL), &[&account]).await.unwrap();
    assert_eq!(world.points(&account).await[0].1.area(), Decimal::new(12_000, 2));
    assert_eq!(phases(&world).await, ["open 202403", "point 202403", "reading 202403"]);

    // What was not charged off in its month is taken over into the next one that is open.
    world.take_for_calculated(&account).await;
    world.days_pass(20);
    world.create_points(caller(RETAIL), &[&account]).await.unwrap();
    assert_eq!(phases(&world).await, ["open 202404", "point 202404", "reading 202404"]);
    assert_eq!(world.history("billing_point").await, ["UPDATE", "DELETE"], "what a point was stays known");

    world.take_for_charged_off(&account).await;
    let refused = world.create_points(caller(RETAIL), &[&account]).await.unwrap_err();
    assert_eq!(fields(&refused), [ACCOUNT]);
    assert_eq!(reason::<()>(Err(refused)), "ACCOUNT_CHARGED_OFF");
    world.days_pass(30);
    assert_eq!(reason(world.create_points(caller(RETAIL), &[&account]).await), "ACCOUNT_MONTH_NOT_OPEN");
    world.open_month(RETAIL, account_month(202_405, 20_240_501, 20_240_601)).await;
    world.create_points(caller(RETAIL), &[&account]).await.unwrap();
    assert_eq!(phases(&world).await, ["open 202405", "point 202404", "point 202405", "reading 202404"]);
}

#[tokio::test]
async fn the_whole_array_is_refused_with_each_fault_by_row() {
    let world = World::start_archive().await;
    let network = world.network().await;
    let (good, _) = world.archived(&network, 1).await;
    let (done, _) = world.archived(&network, 2).await;
    let (_, user) = world.user_account(3, "李四").await;
    let connecting = world.connect(&user, "用电").await;
    world.open_month(RETAIL, account_month(202_403, 20_240_301, 20_240_401)).await;
    world.create_points(caller(RETAIL), &[&done]).await.unwrap();
    world.take_for_charged_off(&done).await;
    let refused = world.create_points(caller(RETAIL), &[&good, "A1", &connecting, &done]).await.unwrap_err();
    let rows = [1, 2, 3].map(|row| format!("SETTLE_ACCOUNT[{row}].SETTLEMENT_AID"));
    assert_eq!(fields(&refused), rows);
    assert_eq!(reason::<()>(Err(refused)), "SETTLEMENT_ACCOUNT_NOT_FOUND");
    for (account, expected) in [
        ("A1", "SETTLEMENT_ACCOUNT_NOT_FOUND"),
        (connecting.as_str(), "ACCOUNT_STATE"),
        (done.as_str(), "ACCOUNT_CHARGED_OFF"),
    ] {
        let refused = world.create_points(caller(RETAIL), &[&good, account]).await.unwrap_err();
        assert_eq!(fields(&refused), ["SETTLE_ACCOUNT[1].SETTLEMENT_AID"]);
        assert_eq!(reason::<()>(Err(refused)), expected);
    }
    let twice = world.create_points(caller(RETAIL), &[&good, &good]).await.unwrap_err();
    assert_eq!(fields(&twice), ["SETTLE_ACCOUNT[1].SETTLEMENT_AID"]);
    assert_eq!(reason(world.create_points(caller(RETAIL), &[]).await), "FIELD_MISSING");
    // Another company's accounts do not exist for it.
    for other in [OTHER_RETAIL, NETWORK] {
        world.open_month(other, account_month(202_403, 20_240_301, 20_240_401)).await;
        let refused = world.create_points(caller(other), &[&good]).await.unwrap_err();
        assert_eq!(fields(&refused), [ACCOUNT]);
        assert_eq!(reason::<()>(Err(refused)), "SETTLEMENT_ACCOUNT_NOT_FOUND");
    }
    assert_eq!(world.points(&good).await, [], "nothing was written");
    world.create_points(caller(RETAIL), &[&good]).await.unwrap();
}

#[tokio::test]
async fn another_meter_or_customer_makes_the_open_point_outdated() {
    let world = World::start_archive().await;
    let network = world.network().await;
    let (account, first) = world.archived(&network, 1).await;
    world.open_spring(RETAIL).await;
    world.create_points(caller(RETAIL), &[&account]).await.unwrap();
    take_for_read(&world, &account, &first).await;
    world.take_for_calculated(&account).await;
    let (customer, user) = world.user_account(2, "李四").await;
    let transfer = BusinessApplication { user_account_id: user, ..of_account(&account, BusCategType::Transfer) };
    world.apply(caller(RETAIL), vec![transfer]).await.unwrap();
    world.verify(RETAIL, network.parameters(&account, BusCategType::Transfer, YesNo::Yes)).await.unwrap();
    assert_eq!(phases(&world).await, ["open 202403 outdated", "point 202403", "reading 202403"]);
    world.create_points(caller(RETAIL), &[&account]).await.unwrap();
    assert_eq!(world.points(&account).await[0].1.customer_id, customer);
    assert_eq!(phases(&world).await, ["open 202403", "point 202403", "reading 202403"]);

    // The readings of a meter that is taken off go with it; what it measured is an old quantity of the new one.
    let second = world.meter(new_meter("E-2")).await;
    world.take_for_calculated(&account).await;
    world.process(&account, BusCategType::MeterSwap).await.unwrap();
    let readings = vec![reading(&first, ReadingsType::Total, "150"), reading(&second, ReadingsType::Total, "7")];
    world.serve_meter(served(&account, BusCategType::MeterSwap), vec![installed(&second)], readings).await.unwrap();
    assert_eq!(phases(&world).await, ["open 202403 outdated", "point 202403"]);
    world.create_points(caller(RETAIL), &[&account]).await.unwrap();
    let point = world.points(&account).await.remove(0).1;
    assert_eq!(point.meter.as_ref().unwrap().meter_id, second);
    assert_eq!(
        (point.registers[0].last_reading(), point.registers[0].old_quantity()),
        (Decimal::from(7), Decimal::from(50))
    );
}

#[tokio::test]
async fn a_closed_account_has_one_last_point() {
    let world = World::start_archive().await;
    let network = world.network().await;
    let (account, meter) = world.archived(&network, 1).await;
    world.open_spring(RETAIL).await;
    world.create_points(caller(RETAIL), &[&account]).await.unwrap();
    world.take_for_charged_off(&account).await;
    world.process(&account, BusCategType::Close).await.unwrap();
    let closing = vec![reading(&meter, ReadingsType::Total, "130")];
    world.serve_meter(served(&account, BusCategType::Close), vec![], closing).await.unwrap();
    // It was billed this month: the last bill waits for the next one.
    assert_eq!(reason(world.create_points(caller(RETAIL), &[&account]).await), "ACCOUNT_CHARGED_OFF");
    world.days_pass(20);
    for _ in 0..2 {
        world.create_points(caller(RETAIL), &[&account]).await.unwrap();
    }
    let (month, last) = world.points(&account).await.remove(1);
    assert_eq!((month, last.closed_on, last.meter.is_none()), (202_404, 20_240_315, true));
    assert_eq!(last.registers[0].old_quantity(), Decimal::from(30));
    world.take_for_charged_off(&account).await;
    assert_eq!(reason(world.create_points(caller(RETAIL), &[&account]).await), "ACCOUNT_STATE");
    world.days_pass(30);
    world.open_month(RETAIL, account_month(202_405, 20_240_501, 20_240_601)).await;
    assert_eq!(reason(world.create_points(caller(RETAIL), &[&account]).await), "ACCOUNT_STATE");
}

#[tokio::test]
async fn of_32_that_make_the_same_points_one_makes_each_and_the_others_make_it_again() {
    let world = World::start_archive().await;
    let network = world.network().await;
    let mut accounts = Vec::new();
    for number in 1..=3 {
        accounts.push(world.archived(&network, number).await.0);
    }
    world.open_spring(RETAIL).await;
    let given: Vec<_> = accounts.iter().map(String::as_str).collect();
    let reversed: Vec<_> = given.iter().rev().copied().collect();
    let outcomes = join_all((0..32).map(|n| {
        let order = if n % 2 == 0 { &given } else { &reversed };
        world.create_points(caller(RETAIL), order)
    }))
    .await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!(world.rows("billing_point").await.len(), 3);
    assert_eq!(world.history("billing_point").await.len(), 31 * 3);

    // A request that is sent again is the same one.
    for _ in 0..3 {
        world.create_points(with_request_id(RETAIL, "again"), &given).await.unwrap();
    }
    assert_eq!(world.history("billing_point").await.len(), 32 * 3);
}

#[tokio::test]
async fn a_month_that_many_open_at_once_has_its_partitions_once() {
    let world = World::start_archive().await;
    let utilities = (1..=7).filter_map(|utility| NetworkType::try_from(utility).ok());
    let callers = utilities.flat_map(|utility| [RETAIL, OTHER_RETAIL, NETWORK].map(|tenant| (tenant, utility)));
    let opened = callers.map(|(tenant, utility)| {
        let month = MonthControl { utility: utility.into(), ..account_month(202_403, 20_240_301, 20_240_401) };
        world.open_month(tenant, month)
    });
    join_all(opened).await;
    let partitions: Vec<String> = sqlx::query_scalar(
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhrelid::regclass::text LIKE '%202403' ORDER BY 1",
    )
    .fetch_all(world.pool())
    .await
    .unwrap();
    assert!(partitions.contains(&"billing_point_202403".into()) && partitions.len() >= 3, "{partitions:?}");
}

#[tokio::test]
async fn a_retro_point_is_discarded_until_it_is_charged_off() {
    let world = World::start_archive().await;
    let network = world.network().await;
    let (account, _) = world.archived(&network, 1).await;
    world.open_spring(RETAIL).await;
    world.create_points(caller(RETAIL), &[&account]).await.unwrap();
    let discard = async |tenant: &'static str, account: &str, kind: NormalRetroType| {
        let request = DiscardBillingPointRequest { settlement_account_id: account.into(), run_kind: kind.into() };
        world.billing_points(caller(tenant)).discard_billing_point(request).await.map(drop)
    };
    use NormalRetroType::{Normal, Retro};
    assert_eq!(reason(discard(RETAIL, &account, Retro).await), "RETRO_POINT_NOT_FOUND");
    assert_eq!(reason(discard(RETAIL, &account, Normal).await), "FIELD_CODE_UNKNOWN");
    assert_eq!(reason(discard(RETAIL, "A1", Retro).await), "SETTLEMENT_ACCOUNT_NOT_FOUND");
    assert_eq!(reason(discard(RETAIL, "", Retro).await), "FIELD_MISSING");

    // A retro point beside the normal one, calculated.
    for retro in [
        "INSERT INTO billing_point (company_id, settlement_account_id, account_month, kind, number, final, snapshot,
             operator_id, channel_id, trace_id, written_at)
         SELECT company_id, settlement_account_id, account_month, '2', 1, false, snapshot, '', '', '', now()
         FROM billing_point",
        "INSERT INTO point_open (company_id, settlement_account_id, kind, account_month, number, book_id, reading_order,
             registers)
         SELECT company_id, settlement_account_id, '2', account_month, 1, book_id, 0, 0 FROM point_open",
    ] {
        sqlx::query(retro).execute(world.pool()).await.unwrap();
    }
    world.take_for_calculated(&account).await;
    assert_eq!(reason(discard(OTHER_RETAIL, &account, Retro).await), "SETTLEMENT_ACCOUNT_NOT_FOUND");
    assert_eq!(world.rows("point_open").await.len(), 2);
    one_of_32(|_| discard(RETAIL, &account, Retro), "RETRO_POINT_NOT_FOUND").await;
    let left = ["calculation 202403", "open 202403", "point 202403"];
    assert_eq!(phases(&world).await, left, "the normal point and its calculation stay");
    let history = world.rows("platform.change").await.concat();
    assert_eq!(world.history("billing_point").await, ["DELETE"]);
    assert!(history.contains("DiscardBillingPoint"), "{history}");
}

#[tokio::test]
async fn a_book_stays_while_an_open_point_is_in_it() {
    let world = World::start_archive().await;
    let network = world.network().await;
    let (account, _) = world.archived(&network, 1).await;
    world.open_spring(RETAIL).await;
    world.create_points(caller(RETAIL), &[&account]).await.unwrap();
    world.add_books(caller(RETAIL), vec![new_book("二段")]).await.unwrap();
    let other = BookFilter { book_name: "二段".into(), ..BookFilter::default() };
    let other = world.list_books(RETAIL, other).await.remove(0).book_id;
    world.process(&account, BusCategType::Change).await.unwrap();
    let mut change = network.parameters(&account, BusCategType::Change, YesNo::Yes);
    change.meter_point.as_mut().unwrap().book_id = other;
    world.verify(RETAIL, change).await.unwrap();
    let delete = async || {
        let books = vec![BookId { book_id: network.book_id.clone() }];
        world.books(caller(RETAIL)).delete_supplier_book(DeleteSupplierBookRequest { books }).await.map(drop)
    };
    assert_eq!(refused(delete().await), ("SUP_BOOK[0].BOOK_AID".into(), "BOOK_IN_USE".into()));
    // The next point is in the other book.
    world.create_points(caller(RETAIL), &[&account]).await.unwrap();
    delete().await.unwrap();
}
