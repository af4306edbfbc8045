//! The queries of the archive find what they look for by an index, in a company of 100,000 accounts; and so do billing points and
//! readings from the beginning of a month on.

use communal_billing::receivables::store::{lock_open_of, pay};
use communal_proto::billing::v1::*;
use sqlx::PgPool;

use crate::harness::*;
use crate::runs;

/// Fills the archive of the retail company without its triggers.
async fn fill(pool: &PgPool) {
    sqlx::raw_sql(
        "SET session_replication_role = replica;
         INSERT INTO customer (company_id, customer_id, kind, certificate_kind, certificate_sealed, certificate_hash, name,
             phone, password_hash, region, address, telephone, bank_name, email, attestation)
         SELECT 'S000000000000001', 'K' || lpad(n::text, 15, '0'), '1', '1', '\\x00', sha256(n::text::bytea), '客户' || n,
             '139' || lpad(n::text, 8, '0'), '', '', '', '', '', '', '3'
         FROM generate_series(1, 100000) AS n;
         INSERT INTO user_account (company_id, user_account_id, customer_id, using_customer_id, name, region, address,
             map_name, longitude, latitude, resident, attestation, risk_balance, margin_balance, advance_limit, connected)
         SELECT company_id, 'D' || substr(customer_id, 2), customer_id, customer_id, name, '', '路 ' || customer_id, '', 0, 0,
             '2', '3', 0, 0, 0, customer_id > 'K000000000000050'
         FROM customer WHERE customer_id < 'K5';
         INSERT INTO settlement_account (company_id, settlement_account_id, user_account_id, using_customer_id, utility, name,
             address, state, business_kind, attestation, archived_on)
         SELECT company_id, 'A' || substr(customer_id, 2), user_account_id, customer_id, '2', name, address, '2', '1', '3',
             '2024-01-01'
         FROM user_account WHERE user_account_id < 'D5' AND connected;
         INSERT INTO meter (company_id, meter_id, store_id, factory_number, utility, kind, digits, multiplier, quantity_unit,
             settlement_account_id)
         SELECT company_id, 'M' || substr(settlement_account_id, 2), 'H000000000000001', settlement_account_id, '2', '5', 6, 1,
             '', settlement_account_id
         FROM settlement_account WHERE settlement_account_id < 'A5';
         INSERT INTO book (company_id, book_id, store_id, utility, read, name, manager_id, meter_reader_id)
         SELECT 'S000000000000001', 'B' || lpad(n::text, 15, '0'), 'H000000000000001', '2', '2', '区段' || n, '',
             'R' || n % 100
         FROM generate_series(1, 20000) AS n;
         INSERT INTO meter_point (company_id, settlement_account_id, address, book_id, node_id, metered, network_company_id,
             network_store_id, retail_company_id, main_package_id, temporary_months, assessed, stopped_or_vacant,
             energy_load, capacity, demand_multiplier, approved_demand, fixed_quantity, fixed_fee, apportioned_total,
             apportioned_fee, apportion_ratio, division_ratio, divided_quantity, divided_fee, area_factor, area, households)
         SELECT company_id, settlement_account_id, address, 'B' || lpad((n % 20000 + 1)::text, 15, '0'), 'L1', '2',
             'N000000000000001', 'H1', company_id, 'P' || n % 10, 0, '2', '2', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
         FROM (SELECT *, substr(settlement_account_id, 2)::bigint AS n FROM settlement_account
               WHERE settlement_account_id < 'A5') AS a;
         INSERT INTO business_process (company_id, settlement_account_id, kind, state, applied_at, completed_at)
         SELECT company_id, settlement_account_id, '1', '4', '2024-01-01', '2024-01-01' FROM settlement_account
         WHERE settlement_account_id < 'A5';
         INSERT INTO receivable_open (network_company_id, book_id, settlement_account_id, account_month, charge_off_id,
             line_number, retail_company_id, retail_store_id, package_kind, fee, issued)
         SELECT 'N000000000000001', book_id, settlement_account_id, 202401, 'Q1', 1, company_id, 'H000000000000001', '3', 1, ''
         FROM meter_point;
         SET session_replication_role = DEFAULT;
         ANALYZE customer, user_account, settlement_account, meter, business_process, meter_point, book, receivable_open;",
    )
    .execute(pool)
    .await
    .unwrap();
}

/// How often each large table was read from one end to the other.
async fn scans(pool: &PgPool) -> Vec<(String, i64)> {
    // What a session counted is visible at its end, or when it is asked for.
    sqlx::query("SELECT pg_stat_clear_snapshot()").execute(pool).await.unwrap();
    sqlx::query_as(
        "SELECT relname::text, seq_scan FROM pg_stat_user_tables
         WHERE relname IN ('customer', 'user_account', 'settlement_account', 'meter', 'business_process', 'meter_point',
                           'book', 'receivable_open') ORDER BY 1",
    )
    .fetch_all(pool)
    .await
    .unwrap()
}

#[tokio::test]
async fn no_query_reads_a_large_table_from_end_to_end() {
    let world = World::start_archive().await;
    let owner = PgPool::connect(&world.database.owner_url).await.unwrap();
    fill(&owner).await;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let before = scans(&owner).await;
    let filter = PersonFilter::default();
    let persons = [
        PersonFilter { certificate_number: "110101".into(), ..filter.clone() },
        PersonFilter { mobile_phone: "13900000777".into(), ..filter.clone() },
        PersonFilter { customer_name: "客户 777".into(), ..filter.clone() },
        PersonFilter { address: "路K00000000000077".into(), ..filter.clone() },
        filter,
    ];
    let meters = [
        MeterFilter { factory_number: "a000000000000777".into(), ..MeterFilter::default() },
        MeterFilter { utility: NetworkType::Electricity.into(), ..MeterFilter::default() },
    ];
    let of_person = |filter: &PersonFilter| SettlementAccountFilter {
        identity_number: filter.identity_number.clone(),
        mobile_phone: filter.mobile_phone.clone(),
        certificate_number: filter.certificate_number.clone(),
        customer_name: filter.customer_name.clone(),
        address: filter.address.clone(),
        ..SettlementAccountFilter::default()
    };
    let of_user =
        SettlementAccountFilter { user_account_id: "D000000000000777".into(), ..SettlementAccountFilter::default() };
    let of_user_and_person = SettlementAccountFilter { mobile_phone: "13900000777".into(), ..of_user.clone() };
    let accounts: Vec<_> =
        persons[..4].iter().map(of_person).chain([of_user, of_user_and_person]).map(|f| (f, 1)).collect();
    let books = [
        BookFilter { book_name: "区段 777".into(), ..BookFilter::default() },
        BookFilter { store_id: STORE.into(), book_name: "区段777".into(), ..BookFilter::default() },
        BookFilter { read: YesNo::Yes.into(), book_name: "区段777".into(), ..BookFilter::default() },
    ];
    // The driver's first executions have plans of their own, later ones perhaps one plan for all values.
    for round in 0..8 {
        for filter in &persons {
            let asked = page(1, 20);
            let mut client = world.settlement_accounts(caller(RETAIL));
            let request = QueryVerifiedUserAndSettlesRequest { filter: Some(filter.clone()), page: asked };
            let found = client.query_verified_user_and_settles(request).await.unwrap().into_inner();
            let narrow = !filter.mobile_phone.is_empty() || !filter.customer_name.is_empty();
            assert!(!narrow || found.user_accounts.len() == 1, "{filter:?}: {}", found.user_accounts.len());
            let request = QueryUnverifiedUserAndSettlesRequest { filter: Some(filter.clone()), page: asked };
            client.query_unverified_user_and_settles(request).await.unwrap();
        }
        for (filter, least) in &accounts {
            let request = QuerySettleAccountsRequest { filter: Some(filter.clone()), page: page(1, 20) };
            let mut client = world.settlement_accounts(caller(RETAIL));
            let found = client.query_settle_accounts(request).await.unwrap().into_inner().settlement_accounts.len();
            let by_certificate = !filter.certificate_number.is_empty();
            assert!(by_certificate || found >= *least, "{filter:?}: {found}");
        }
        for filter in &books {
            let request = QuerySupplierBookRequest { filter: Some(filter.clone()), page: page(1, 20) };
            let found = world.books(caller(RETAIL)).query_supplier_book(request).await.unwrap().into_inner();
            assert_eq!(found.books.len(), 1, "{filter:?}");
        }
        for filter in &meters {
            let request = QuerySettleMeterRequest { filter: Some(filter.clone()), page: page(round + 1, 20) };
            let found = world.meters(caller(RETAIL)).query_settle_meter(request).await.unwrap().into_inner();
            assert!(!found.meters.is_empty() || round > 0);
        }
    }
    // The sessions of the service report what they counted within a second, or at their end.
    let mut world = world;
    world.stop().await;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    assert_eq!(scans(&owner).await, before);
}

/// Fills the archive of the retail company with archived accounts of a network, each with a meter and a register, without
/// its triggers.
async fn fill_metered(pool: &PgPool, network: &Network, count: i32) {
    let statements = [
        "INSERT INTO customer (company_id, customer_id, kind, certificate_kind, certificate_sealed, certificate_hash, name,
             phone, password_hash, region, address, telephone, bank_name, email, attestation)
         SELECT 'S000000000000001', 'K' || lpad(n::text, 15, '0'), '1', '1', '\\x00', sha256(n::text::bytea), '客户' || n,
             '139' || lpad(n::text, 8, '0'), '', '', '', '', '', '', '3'
         FROM generate_series(1, $1) AS n"
            .to_owned(),
        "INSERT INTO user_account (company_id, user_account_id, customer_id, using_customer_id, name, region, address,
             map_name, longitude, latitude, resident, attestation, risk_balance, margin_balance, advance_limit, connected)
         SELECT company_id, 'D' || substr(customer_id, 2), customer_id, customer_id, name, '', '路 ' || customer_id, '', 0, 0,
             '2', '3', 0, 0, 0, true
         FROM customer WHERE $1 > 0"
            .to_owned(),
        "INSERT INTO settlement_account (company_id, settlement_account_id, user_account_id, using_customer_id, utility, name,
             address, state, business_kind, attestation, archived_on)
         SELECT company_id, 'A' || substr(customer_id, 2), user_account_id, customer_id, '2', name, address, '2', '1', '3',
             '2024-01-01'
         FROM user_account WHERE $1 > 0"
            .to_owned(),
        format!(
            "INSERT INTO meter_point (company_id, settlement_account_id, address, book_id, node_id, metered,
                 network_company_id, network_store_id, retail_company_id, main_package_id, temporary_months, assessed,
                 stopped_or_vacant, energy_load, capacity, demand_multiplier, approved_demand, fixed_quantity, fixed_fee,
                 apportioned_total, apportioned_fee, apportion_ratio, division_ratio, divided_quantity, divided_fee,
                 area_factor, area, households)
             SELECT company_id, settlement_account_id, '', '{}', '{NODE}', '2', '{NETWORK}', '{NETWORK_STORE}', company_id,
                 '{}', 0, '1', '1', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
             FROM settlement_account WHERE $1 > 0",
            network.book_id, network.package_id
        ),
        format!(
            "INSERT INTO meter (company_id, meter_id, store_id, factory_number, utility, kind, digits, multiplier,
                 quantity_unit, settlement_account_id)
             SELECT company_id, 'M' || substr(settlement_account_id, 2), '{STORE}', settlement_account_id, '2', '5', 6, 1, '',
                 settlement_account_id
             FROM settlement_account WHERE $1 > 0"
        ),
        "INSERT INTO account_register (company_id, settlement_account_id, flow, register, meter_id, last_reading, last_read_on)
         SELECT company_id, settlement_account_id, '1', '1', meter_id, 100, '2024-03-01' FROM meter WHERE $1 > 0"
            .to_owned(),
    ];
    let mut connection = pool.acquire().await.unwrap();
    sqlx::raw_sql("SET session_replication_role = replica").execute(&mut *connection).await.unwrap();
    for statement in statements {
        sqlx::query(sqlx::AssertSqlSafe(statement)).bind(count).execute(&mut *connection).await.unwrap();
    }
    sqlx::raw_sql(
        "SET session_replication_role = DEFAULT;
         ANALYZE customer, user_account, settlement_account, meter, business_process, meter_point, account_register",
    )
    .execute(&mut *connection)
    .await
    .unwrap();
}

/// A month begins with empty tables that have no statistics. A statement that looked for its rows by the company alone would
/// read all that is there for each of them, and the more the further the month is.
#[tokio::test]
async fn a_month_that_begins_empty_is_filled_by_lookups_of_keys() {
    const ACCOUNTS: i32 = 3_000;
    const CHUNK: usize = 500;
    let mut world = World::start_archive().await;
    let network = world.network().await;
    let owner = PgPool::connect(&world.database.owner_url).await.unwrap();
    fill_metered(&owner, &network, ACCOUNTS).await;
    world.open_spring(RETAIL).await;
    let numbers: Vec<_> = (1..=ACCOUNTS).collect();
    let accounts: Vec<_> = numbers.iter().map(|n| format!("A{n:015}")).collect();
    for chunk in accounts.chunks(CHUNK) {
        let chunk: Vec<_> = chunk.iter().map(String::as_str).collect();
        world.create_points(caller(RETAIL), &chunk).await.unwrap();
    }
    for _ in 0..2 {
        for chunk in numbers.chunks(CHUNK) {
            let reading = |n: &i32| read(&format!("M{n:015}"), ReadingsType::Total, "150");
            world.enter(caller(RETAIL), chunk.iter().map(reading).collect()).await.unwrap();
        }
    }
    world.pending(RETAIL, &network.book_id, PageRequest { page: 2, rows: 100 }).await;
    world
        .measured(
            RETAIL,
            MeasuredFilter { book_id: network.book_id, ..Default::default() },
            PageRequest { page: 2, rows: 100 },
        )
        .await;
    assert_eq!(world.faults(RETAIL, "", 100).await, [""; 0]);
    world.stop().await;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let fetched: Vec<(String, i64, i64)> = sqlx::query_as(
        "SELECT relname::text, seq_tup_read, coalesce(idx_tup_fetch, 0) FROM pg_stat_user_tables
         WHERE relname IN ('billing_point_202403', 'point_reading_202403', 'point_open') ORDER BY 1",
    )
    .fetch_all(&owner)
    .await
    .unwrap();
    assert_eq!(fetched.len(), 3);
    for (table, scanned, looked_up) in fetched {
        let rows = scanned + looked_up;
        // Each phase looks a row up a few times; a point itself is looked up when its readings are entered, twice here, and
        // shown. Whoever walks the month for a chunk of accounts reads more, the more the month has.
        let times = if table == "billing_point_202403" { 6 } else { 20 };
        assert!(rows <= times * i64::from(ACCOUNTS), "{table}: {scanned} rows were scanned and {looked_up} looked up");
    }
}

/// The same of lines: they are billed, locked, paid and recognized in a month that begins empty.
#[tokio::test]
async fn the_lines_of_a_month_that_begins_empty_are_found_by_lookups_of_keys() {
    const ACCOUNTS: u32 = 2_000;
    const CHUNK: usize = 250;
    let mut world = World::start().await;
    let owner = PgPool::connect(&world.database.owner_url).await.unwrap();
    // Without statistics, as the first minutes of a month are.
    sqlx::raw_sql("ALTER TABLE receivable_open SET (autovacuum_enabled = off)").execute(&owner).await.unwrap();
    let lines: Vec<_> = (1..=ACCOUNTS).flat_map(|n| [202_401, 202_402].map(|month| line(n, month))).collect();
    for (n, lines) in lines.chunks(2 * CHUNK).enumerate() {
        world.import_as(NETWORK, &format!("chunk-{n}"), lines).await.unwrap();
    }
    let accounts: Vec<_> = (1..=ACCOUNTS).map(|n| format!("A{n:015}")).collect();
    for (n, chunk) in accounts.chunks(CHUNK).enumerate() {
        let chunk: Vec<_> = chunk.iter().map(String::as_str).collect();
        let mut transaction = world.transaction().await;
        let open = lock_open_of(&mut transaction, NETWORK, &chunk).await.unwrap();
        assert_eq!(open.len(), 2 * CHUNK);
        let amounts = ["157.49", "1"];
        let payments: Vec<_> = open.iter().zip(0..).map(|(l, n)| payment(l, amounts[n % 2], "W1", 3)).collect();
        assert_eq!(pay(&mut transaction, &payments).await.unwrap(), 2 * CHUNK as u64);
        transaction.commit().await.unwrap();
        let again = world.import_as(NETWORK, &format!("again-{n}"), &lines[n * 2 * CHUNK..(n + 1) * 2 * CHUNK]).await;
        assert_eq!(reason(again), "LINE_EXISTS");
    }
    world.stop().await;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let fetched: Vec<(String, i64)> = sqlx::query_as(
        "SELECT relname::text, seq_tup_read + coalesce(idx_tup_fetch, 0) FROM pg_stat_user_tables
         WHERE relname IN ('receivable_open', 'receivable_line_202401') ORDER BY 1",
    )
    .fetch_all(&owner)
    .await
    .unwrap();
    assert_eq!(fetched.len(), 2);
    for (table, rows) in fetched {
        // Each line is locked, paid and asked for once; a statement that reads the whole month would read more rows.
        assert!(rows <= 6 * i64::from(ACCOUNTS), "{table}: {rows} rows were read");
    }
}

/// The same of a run: three chunks are billed in a month whose tables nobody has analysed. All that is read of a table, from the
/// archive that moves in to the last bill, is some rows an account; a statement that walked the month or the company for each of
/// its keys would read hundreds.
#[tokio::test]
async fn a_run_into_a_month_that_begins_empty_looks_rows_up_by_their_keys() {
    const ACCOUNTS: usize = 2_500;
    let (mut world, _) = runs::start(ACCOUNTS).await;
    let owner = PgPool::connect(&world.database.owner_url).await.unwrap();
    runs::read_all(&world, 1..=ACCOUNTS).await;
    let never: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM pg_stat_user_tables
         WHERE relname IN ('bill_202403', 'receivable_line_202403', 'ledger_202403') AND last_analyze IS NULL",
    )
    .fetch_one(&owner)
    .await
    .unwrap();
    assert_eq!(never, 3, "the month has no statistics");
    let states = runs::run(&world, 202_403, "").await.unwrap();
    assert_eq!((states.last().unwrap().chunks, states.last().unwrap().bills), (3, ACCOUNTS as i64));
    // What a session counted is reported for certain only at its end: before, there is no telling the run from what led to it.
    world.stop().await;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "SELECT relname::text, seq_tup_read + coalesce(idx_tup_fetch, 0) FROM pg_stat_user_tables
         WHERE relname LIKE '%202403' OR relname IN ('point_open', 'receivable_open', 'balance', 'account_accumulator',
             'account_register', 'meter_point', 'settlement_account', 'user_account', 'parked_account', 'run_chunk')
         ORDER BY 1",
    )
    .fetch_all(&owner)
    .await
    .unwrap();
    assert!(rows.len() > 14, "{rows:?}");
    for (table, read) in &rows {
        assert!(*read <= 50 * ACCOUNTS as i64, "{table}: {read} rows were read of {rows:?}");
    }
}
