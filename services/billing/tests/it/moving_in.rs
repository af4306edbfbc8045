//! Moving in: a whole archive by one stream, all or nothing, by the rules of the front door, once.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use communal_fixtures::credentials;
use communal_proto::billing::v1::*;
use futures::future::join_all;
use tonic_types::StatusExt as _;

use crate::harness::*;

/// The rows of a small archive: so many customers with an account and a meter each.
pub(crate) struct Rows {
    pub customers: Vec<BroughtCustomer>,
    pub user_accounts: Vec<BroughtUserAccount>,
    pub settlement_accounts: Vec<BroughtSettlementAccount>,
    pub meters: Vec<BroughtMeter>,
}

pub(crate) fn rows(network: &Network, numbers: RangeInclusive<usize>) -> Rows {
    let customer = |n: usize| BroughtCustomer {
        customer_id: format!("K{n:015}"),
        certificate_number: identity_number(n),
        certificate_kind: AccCertType::IdentityCard.into(),
        customer_name: format!("客户{n}"),
        mobile_phone: format!("139{n:08}"),
        customer_kind: CustomerType::Natural.into(),
        ..BroughtCustomer::default()
    };
    let user_account = |n: usize| BroughtUserAccount {
        user_account_id: format!("D{n:015}"),
        account: Some(new_user_account(&format!("K{n:015}"), &format!("客户{n}"), &format!("长安街 {n} 号"))),
    };
    let settlement_account = |n: usize| {
        let verified = network.parameters(&format!("A{n:015}"), BusCategType::New, YesNo::Yes);
        BroughtSettlementAccount {
            user_account_id: format!("D{n:015}"),
            account: verified.settlement_account,
            meter_point: verified.meter_point,
            archived_on: 20_200_101,
            population: 6,
            year_quantity: "300".into(),
            month_quantity: "20".into(),
            account_month: 202_402,
        }
    };
    let meter = |n: usize| BroughtMeter {
        meter_id: format!("M{n:015}"),
        meter: Some(new_meter(&format!("E-{n}"))),
        settlement_account_id: format!("A{n:015}"),
        meter_location: "楼道".into(),
        reading_channel: MeterReadChanType::Reader.into(),
        remote_reading: YesNo::No.into(),
        reading_order: 1,
        registers: vec![BroughtRegister {
            energy_flow: EnergyFlowType::Forward.into(),
            register: ReadingsType::Total.into(),
            last_reading: "1234.5".into(),
            last_read_date: 20_240_301,
            old_quantity: "2.5".into(),
        }],
    };
    Rows {
        customers: numbers.clone().map(customer).collect(),
        user_accounts: numbers.clone().map(user_account).collect(),
        settlement_accounts: numbers.clone().map(settlement_account).collect(),
        meters: numbers.clone().map(meter).collect(),
    }
}

/// The messages of a batch, a kind a message.
fn messages(batch_id: &str, rows: &Rows) -> Vec<ImportArchiveRequest> {
    let empty = ImportArchiveRequest::default();
    vec![
        ImportArchiveRequest {
            batch: Some(ArchiveBatch { batch_id: batch_id.into() }),
            customers: rows.customers.clone(),
            ..empty.clone()
        },
        ImportArchiveRequest { user_accounts: rows.user_accounts.clone(), ..empty.clone() },
        ImportArchiveRequest { settlement_accounts: rows.settlement_accounts.clone(), ..empty.clone() },
        ImportArchiveRequest { meters: rows.meters.clone(), ..empty },
    ]
}

pub(crate) async fn bring(
    world: &World,
    tenant: &'static str,
    batch_id: &str,
    rows: &Rows,
) -> Result<ImportArchiveResponse, tonic::Status> {
    let stream = futures::stream::iter(messages(batch_id, rows));
    Ok(world.archive(caller(tenant)).import_archive(stream).await?.into_inner())
}

async fn nothing_is_written(world: &World) {
    for table in ["customer", "user_account", "settlement_account", "meter_point", "account_register", "archive_batch"]
    {
        assert_eq!(world.rows(table).await.len(), 0, "{table}");
    }
}

#[tokio::test]
async fn an_archive_moves_in_once_and_is_used_like_any_other() {
    let world = World::start_archive().await;
    let network = world.network().await;
    let brought = rows(&network, 1..=3);
    let reply = bring(&world, RETAIL, "b1", &brought).await.unwrap();
    let counts = (reply.customers, reply.user_accounts, reply.settlement_accounts, reply.meters, reply.replayed);
    assert_eq!(counts, (3, 3, 3, 3, false));
    assert_eq!(bring(&world, RETAIL, "b1", &brought).await.unwrap(), ImportArchiveResponse { replayed: true, ..reply });
    let other = Rows { customers: brought.customers[..2].to_vec(), ..rows(&network, 1..=3) };
    assert_eq!(reason(bring(&world, RETAIL, "b1", &other).await), "BATCH_REUSED");

    let filter = PersonFilter { certificate_number: identity_number(2).to_lowercase(), ..PersonFilter::default() };
    let found = world.verified(RETAIL, filter).await;
    assert_eq!(found.settlement_accounts[0].settlement_account_id, "A000000000000002");
    assert_eq!((found.meter_points[0].population, found.meter_points[0].meter_id.as_str()), (6, "M000000000000002"));
    assert_eq!(world.unverified(RETAIL, PersonFilter::default()).await.user_accounts, []);
    // It can be closed: the readings and what earlier meters measured are there.
    world.process("A000000000000002", BusCategType::Close).await.unwrap();
    let closing = vec![reading("M000000000000002", ReadingsType::Total, "1244.5")];
    world.serve_meter(served("A000000000000002", BusCategType::Close), vec![], closing).await.unwrap();
    let carried: String = sqlx::query_scalar(
        "SELECT old_quantity::text FROM account_register WHERE settlement_account_id = 'A000000000000002'",
    )
    .fetch_one(world.pool())
    .await
    .unwrap();
    assert_eq!(carried, "12.50");
    let accumulated: (String, String, i32, i64) = sqlx::query_as(
        "SELECT year_quantity::text, month_quantity::text, account_month, version FROM account_accumulator LIMIT 1",
    )
    .fetch_one(world.pool())
    .await
    .unwrap();
    assert_eq!(accumulated, ("300.00".into(), "20.00".into(), 202_402, 0));
}

#[tokio::test]
async fn every_fault_is_named_by_its_row_and_nothing_is_written() {
    let world = World::start_archive().await;
    let network = world.network().await;
    let mut wrong = rows(&network, 1..=12);
    wrong.customers[0].customer_id = "K500000000000000".into();
    wrong.user_accounts[0].account.as_mut().unwrap().customer_id = "K500000000000000".into();
    wrong.customers[1].certificate_number = String::new();
    wrong.user_accounts[2].account.as_mut().unwrap().customer_id = "K9".into();
    wrong.settlement_accounts[3].meter_point.as_mut().unwrap().book_id = "B9".into();
    wrong.settlement_accounts[4].meter_point.as_mut().unwrap().main_package_id = "P9".into();
    wrong.settlement_accounts[5].archived_on = 20_990_101;
    wrong.settlement_accounts[6].account_month = 0;
    wrong.meters[7].registers[0].last_reading = "1000000".into();
    wrong.meters[8].registers[0].register = ReadingsType::Peak.into();
    wrong.meters[9].meter.as_mut().unwrap().utility = NetworkType::Water.into();
    wrong.meters[10].meter.as_mut().unwrap().store_id = OTHER_STORE.into();
    wrong.meters[11].settlement_account_id = "A9".into();
    let refused = bring(&world, RETAIL, "b1", &wrong).await.unwrap_err();
    // What refers to a row at fault is not at fault itself, and only counted: of the first two customers their user accounts,
    // of the first three user accounts their settlement accounts, and of the first seven settlement accounts their meters.
    let counted =
        refused.get_error_details().error_info().and_then(|info| info.metadata.get("dependent_rows").cloned());
    assert_eq!(counted.as_deref(), Some("12"));
    let mut named = fields(&refused);
    named.sort();
    let mut expected = [
        "customers[0].customer_id",
        "customers[1].certificate_number",
        "user_accounts[2].account.customer_id",
        "settlement_accounts[3].meter_point.book_id",
        "settlement_accounts[4].meter_point.main_package_id",
        "settlement_accounts[5].archived_on",
        "settlement_accounts[6].account_month",
        "meters[7].registers[0].last_reading",
        "meters[8].registers",
        "meters[9].meter.meter_kind",
        "meters[10].meter.store_id",
        "meters[11].settlement_account_id",
    ];
    expected.sort_unstable();
    assert_eq!(named, expected);
    // Each by the reason that the calls of the front door have for it.
    let reasons: BTreeMap<_, _> = proto_fields(&refused).into_iter().zip(reasons(&refused)).collect();
    for (field, expected) in [
        ("customers[1].certificate_number", "FIELD_MISSING"),
        ("user_accounts[2].account.customer_id", "CUSTOMER_NOT_FOUND"),
        ("settlement_accounts[3].meter_point.book_id", "BOOK_NOT_FOUND"),
        ("settlement_accounts[4].meter_point.main_package_id", "PACKAGE_NOT_FOUND"),
        ("settlement_accounts[5].archived_on", "FIELD_MALFORMED"),
        ("meters[8].registers", "METER_UNFIT"),
        ("meters[10].meter.store_id", "SUPPLIER_NOT_FOUND"),
        ("meters[11].settlement_account_id", "SETTLEMENT_ACCOUNT_NOT_FOUND"),
    ] {
        assert_eq!(reasons.get(field).map(String::as_str), Some(expected), "{field}");
    }
    nothing_is_written(&world).await;

    let mut strange = rows(&network, 1..=1);
    strange.settlement_accounts[0].meter_point.as_mut().unwrap().main_package_id = "P9".into();
    let refused = bring(&world, RETAIL, "b1", &strange).await.unwrap_err();
    let text = words(&refused);
    assert!(text.starts_with("settlement_accounts[0].meter_point.main_package_id "), "{text}");
    assert_eq!(reason::<()>(Err(refused)), "PACKAGE_NOT_FOUND");

    let mut without = rows(&network, 1..=2);
    without.meters.pop();
    let refused = bring(&world, RETAIL, "b1", &without).await.unwrap_err();
    assert!(fields(&refused)[0].starts_with("settlement_accounts[1]"), "{:?}", fields(&refused));
    nothing_is_written(&world).await;
}

/// A row that was brought along is its own first image, and its batch says by whom. What happens to it later is in the change log,
/// with the image before it; so is what an import does to a row that was there.
#[tokio::test]
async fn history_tells_who_brought_a_row_and_who_changed_it_since() {
    let world = World::start_archive().await;
    let network = world.network().await;
    let (_, user_account_id) = world.user_account(0, "客户0").await;
    let logged = "SELECT noun || ' ' || operation || ' ' || coalesce(before ->> 'batch_id', '') FROM platform.change
                  WHERE noun NOT IN ('book', 'package', 'package_price') ORDER BY change_number";
    let logged = || async { sqlx::query_scalar::<_, String>(logged).fetch_all(world.pool()).await.unwrap() };
    let before = logged().await;

    let mut brought = rows(&network, 1..=3);
    brought.settlement_accounts[2].user_account_id = user_account_id;
    bring(&world, RETAIL, "b1", &brought).await.unwrap();
    assert_eq!(logged().await[before.len()..], ["user_account UPDATE "]);
    let by_whom: Vec<(String, i64)> = sqlx::query_as(
        "SELECT b.operator_id, count(*)
         FROM archive_batch b JOIN (
             SELECT company_id, batch_id FROM customer UNION ALL SELECT company_id, batch_id FROM user_account
             UNION ALL SELECT company_id, batch_id FROM settlement_account UNION ALL SELECT company_id, batch_id FROM meter_point
             UNION ALL SELECT company_id, batch_id FROM meter UNION ALL SELECT company_id, batch_id FROM account_register
         ) AS brought USING (company_id, batch_id) GROUP BY b.operator_id",
    )
    .fetch_all(world.pool())
    .await
    .unwrap();
    assert_eq!(by_whom, [(credentials::billing::OPERATOR.to_owned(), 18)]);

    world.process("A000000000000002", BusCategType::Close).await.unwrap();
    let since = logged().await[before.len() + 1..].to_vec();
    assert_eq!(since, ["business_process INSERT "]);
    let closing = vec![reading("M000000000000002", ReadingsType::Total, "1244.5")];
    world.serve_meter(served("A000000000000002", BusCategType::Close), vec![], closing).await.unwrap();
    let since = logged().await[before.len() + 2..].to_vec();
    for change in ["settlement_account UPDATE b1", "meter UPDATE b1", "account_register UPDATE b1"] {
        assert!(since.iter().any(|logged| logged == change), "{change} in {since:?}");
    }
}

#[tokio::test]
async fn a_meter_that_was_brought_along_stays() {
    let world = World::start_archive().await;
    let network = world.network().await;
    bring(&world, RETAIL, "b1", &rows(&network, 1..=1)).await.unwrap();
    let meter = Some(MeterId { meter_id: "M000000000000001".into() });
    let outcome = world.meters(caller(RETAIL)).del_settle_meter(DelSettleMeterRequest { meter }).await;
    assert_eq!(refused(outcome), ("SETTLE_METER.DEVICE_DID".into(), "METER_IN_USE".into()));
}

#[tokio::test]
async fn what_exists_already_is_refused_and_a_company_brings_its_own() {
    let world = World::start_archive().await;
    let network = world.network().await;
    world.customer(&identity_number(2), "客户").await;
    let brought = Rows { user_accounts: vec![], settlement_accounts: vec![], meters: vec![], ..rows(&network, 1..=3) };
    let refused = bring(&world, RETAIL, "b1", &brought).await.unwrap_err();
    assert_eq!(fields(&refused), ["customers[1]"]);
    assert_eq!(reason::<()>(Err(refused)), "ARCHIVE_ROW_EXISTS");
    // With everything that is of that customer, he alone is named.
    let refused = bring(&world, RETAIL, "b1", &rows(&network, 1..=3)).await.unwrap_err();
    assert_eq!(fields(&refused), ["customers[1]"]);
    assert!(words(&refused).ends_with("另有3行引用了有错误的行，未检查"), "{}", words(&refused));
    assert_eq!(reason::<()>(Err(refused)), "ARCHIVE_ROW_EXISTS");
    assert_eq!(world.rows("customer").await.len(), 1);
    let mut twice = rows(&network, 1..=2);
    twice.customers[1].customer_id = "K000000000000001".into();
    let refused = bring(&world, RETAIL, "b1", &twice).await.unwrap_err();
    assert!(fields(&refused).contains(&"customers[1]".to_owned()), "{:?}", fields(&refused));
    // Another company has the same certificates, and none of the books and packages.
    bring(&world, OTHER_RETAIL, "b1", &brought).await.unwrap();
    let refused = fields(&bring(&world, OTHER_RETAIL, "b2", &rows(&network, 1..=1)).await.unwrap_err());
    for field in ["customers[0]", "settlement_accounts[0].meter_point.book_id", "meters[0].meter.store_id"] {
        assert!(refused.iter().any(|named| named == field), "{field} in {refused:?}");
    }
}

#[tokio::test]
async fn of_32_that_bring_one_archive_one_writes_it() {
    let world = World::start_archive().await;
    let network = world.network().await;
    let brought = rows(&network, 1..=2);
    let outcomes = join_all((0..32).map(|_| bring(&world, RETAIL, "b1", &brought))).await;
    let written = outcomes.iter().filter(|o| o.as_ref().is_ok_and(|reply| !reply.replayed)).count();
    assert_eq!(written, 1, "{outcomes:?}");
    for refused in outcomes.into_iter().filter(Result::is_err) {
        assert!(["CONFLICT", "OVERLOADED"].contains(&reason(refused).as_str()));
    }
    assert_eq!(world.rows("customer").await.len(), 2);
}

/// Rows that the transaction's statements fetched so far, by index and by reading tables whole.
async fn fetched(world: &World) -> i64 {
    // What a session has read becomes visible a moment after its transaction.
    tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
    let read = "SELECT (sum(seq_tup_read) + sum(coalesce(idx_tup_fetch, 0)))::bigint FROM pg_stat_user_tables
                WHERE relname IN ('customer', 'user_account', 'settlement_account', 'meter', 'meter_point')";
    sqlx::query_scalar(read).fetch_one(world.pool()).await.unwrap()
}

#[tokio::test]
async fn what_a_message_costs_does_not_grow_with_the_batch() {
    let world = World::start_archive().await;
    let network = world.network().await;
    let all = rows(&network, 1..=6_000);
    let mut messages_of_all = Vec::new();
    let part = |from: usize, to: usize, kind: usize| {
        let empty = ImportArchiveRequest::default();
        match kind {
            0 => ImportArchiveRequest { customers: all.customers[from..to].to_vec(), ..empty },
            1 => ImportArchiveRequest { user_accounts: all.user_accounts[from..to].to_vec(), ..empty },
            2 => ImportArchiveRequest { settlement_accounts: all.settlement_accounts[from..to].to_vec(), ..empty },
            _ => ImportArchiveRequest { meters: all.meters[from..to].to_vec(), ..empty },
        }
    };
    for kind in 0..4 {
        for from in (0..6_000).step_by(200) {
            messages_of_all.push(part(from, from + 200, kind));
        }
    }
    messages_of_all[0].batch = Some(ArchiveBatch { batch_id: "large".into() });
    let before = fetched(&world).await;
    let stream = futures::stream::iter(messages_of_all);
    let done = world.archive(caller(RETAIL)).import_archive(stream).await.unwrap().into_inner();
    assert_eq!(done.meters, 6_000);
    // Each row is found a few times by its keys, also by those that refer to it. A foreign key that reads the rows of the
    // company would be 3,000 for each.
    let read = fetched(&world).await - before;
    assert!(read <= 25 * 4 * 6_000, "{read} rows were read for 24,000");
}

/// A vacuum sees none of the rows of an import that is under way. If it noted that their tables are empty, foreign keys would
/// read them whole for each row from then on.
#[tokio::test]
async fn a_vacuum_does_not_note_tables_as_empty_while_an_archive_moves_in() {
    let world = World::start_archive().await;
    let network = world.network().await;
    let owner = sqlx::PgPool::connect(&world.database.owner_url).await.unwrap();
    let all = rows(&network, 1..=400);
    let part = |from: usize, to: usize| ImportArchiveRequest {
        batch: None,
        customers: all.customers[from..to].to_vec(),
        user_accounts: all.user_accounts[from..to].to_vec(),
        settlement_accounts: all.settlement_accounts[from..to].to_vec(),
        meters: all.meters[from..to].to_vec(),
    };
    let (sender, stream) = futures::channel::mpsc::unbounded();
    let mut client = world.archive(caller(RETAIL));
    let import = tokio::spawn(async move { client.import_archive(stream).await });
    let batch = Some(ArchiveBatch { batch_id: "b1".into() });
    sender.unbounded_send(ImportArchiveRequest { batch, ..part(0, 200) }).unwrap();
    let counted = "SELECT min(reltuples) FROM pg_class
                   WHERE relname IN ('customer', 'user_account', 'settlement_account', 'meter_point', 'meter')";
    let counted = || async { sqlx::query_scalar::<_, f32>(counted).fetch_one(&owner).await.unwrap() };
    for _ in 0..200 {
        if counted().await > 0.0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    sqlx::raw_sql("VACUUM (SKIP_LOCKED) customer, user_account, settlement_account, meter_point, meter")
        .execute(&owner)
        .await
        .unwrap();
    assert!(counted().await >= 200.0, "{}", counted().await);
    sender.unbounded_send(part(200, 400)).unwrap();
    drop(sender);
    assert_eq!(import.await.unwrap().unwrap().into_inner().meters, 400);
}
