//! The archive of a company: its import, compared with COPY of the same rows into the same tables; and the lookup of accounts
//! by what a clerk knows of a person.

use std::time::Instant;

use anyhow::{Context, ensure};
use bytes::Bytes;
use communal_fixtures::credentials::billing::{NETWORK, RETAIL, STORE};
use communal_fixtures::settlement_accounts::verified_household;
use communal_proto::billing::v1::{
    AccCertType, ArchiveBatch, BroughtCustomer, BroughtMeter, BroughtRegister, BroughtSettlementAccount,
    BroughtUserAccount, BusCategType, CustomerType, DeviceType, EnergyFlowType, ImportArchiveRequest,
    ImportArchiveResponse, MeterReadChanType, NetworkType, NewMeter, NewUserAccount, PageRequest, PersonFilter,
    QueryVerifiedUserAndSettlesRequest, QueryVerifiedUserAndSettlesResponse, ReadingsType, VerifiedMeterPoint, YesNo,
};
use prost::Message;
use sqlx::AssertSqlSafe;

use super::{Run, enough, figure, round};
use crate::arithmetic::{Figure, Target};
use crate::grpc::{Client, drive};
use crate::load::{open, percentiles};
use crate::report::Measurement;
use crate::stage::{ACTOR, CONNECTIONS, Service, Stage};
use crate::tariffs::{ACCOUNT_ITEM, packages_on_sale};

const IMPORT: &str = "/communal.billing.v1.ArchiveService/ImportArchive";
const LOOKUP: &str = "/communal.billing.v1.SettlementAccountService/QueryVerifiedUserAndSettles";
/// Accounts in a message of the import.
const A_MESSAGE: u64 = 1_000;
/// Customers of one name.
const OF_A_NAME: u64 = 8;
/// The tables that an import fills, each before those that refer to it.
const TABLES: [&str; 8] = [
    "customer",
    "user_account",
    "settlement_account",
    "account_accumulator",
    "meter_point",
    "meter",
    "account_register",
    "boundary_reading",
];

/// The store of the network company.
pub(super) const NETWORK_STORE: &str = "H000000000000009";

pub(super) fn account_id(number: u64) -> String {
    format!("A{number:015}")
}

pub(super) fn meter_id(number: u64) -> String {
    format!("M{number:015}")
}

/// The reading with which a meter moves in.
pub(super) fn last_reading(number: u64) -> u64 {
    1_000 + number % 1_000
}

fn name(number: u64) -> String {
    format!("王小明{}", number / OF_A_NAME)
}

fn phone(number: u64) -> String {
    format!("139{number:08}")
}

fn certificate(number: u64) -> String {
    format!("110101{number:012}")
}

fn address(number: u64) -> String {
    format!("城东区建设路{}号院{}单元{}室", number / 100 + 1, number % 100 / 20 + 1, number % 20 + 101)
}

/// What an account refers to: a node, the stores, a book, a package on sale, and the account item of the package.
fn reference_data() -> [String; 4] {
    let [package, prices] = packages_on_sale(15);
    let network = format!(
        "INSERT INTO store (company_id, store_id, name, region_code)
         VALUES ('{NETWORK}', '{NETWORK_STORE}', '管网营业厅', '110101000000');
         INSERT INTO node (company_id, node_id, name, store_id, utility)
         VALUES ('{NETWORK}', 'L000000000000001', '小区总表', '{NETWORK_STORE}', '1');
         INSERT INTO category_item (company_id, category_item, name, utility, surcharge, kind)
         VALUES ('{NETWORK}', 2001, '水费', '1', '1', '');
         INSERT INTO account_item (company_id, account_item, name, utility, main_category_item)
         VALUES ('{NETWORK}', '{ACCOUNT_ITEM}', '居民生活用水', '1', 2001)"
    );
    let book = format!(
        "INSERT INTO book (company_id, book_id, store_id, utility, read, name, manager_id, meter_reader_id)
         SELECT '{RETAIL}', 'B' || lpad(n::text, 15, '0'), '{STORE}', '1', '2', '区段' || n, '', ''
         FROM generate_series(0, 499) AS n"
    );
    [package, prices, network, book]
}

/// Adds an account with its customer, meter and register.
fn add(message: &mut ImportArchiveRequest, number: u64) {
    let (customer_id, user_account_id) = (format!("K{number:015}"), format!("D{number:015}"));
    let (settlement_account_id, address) = (account_id(number), address(number));
    message.customers.push(BroughtCustomer {
        customer_id: customer_id.clone(),
        certificate_number: certificate(number),
        certificate_kind: AccCertType::IdentityCard.into(),
        customer_name: name(number),
        mobile_phone: phone(number),
        customer_kind: CustomerType::Natural.into(),
        region_code: "110101000000".into(),
        address: address.clone(),
        ..BroughtCustomer::default()
    });
    message.user_accounts.push(BroughtUserAccount {
        user_account_id: user_account_id.clone(),
        account: Some(NewUserAccount {
            customer_id,
            user_name: name(number),
            region_code: "110101000000".into(),
            address: address.clone(),
            resident: YesNo::Yes.into(),
            ..NewUserAccount::default()
        }),
    });
    message.settlement_accounts.push(BroughtSettlementAccount {
        user_account_id,
        account: Some(verified_household(&settlement_account_id, &name(number), &address)),
        meter_point: Some(VerifiedMeterPoint {
            address: address.clone(),
            book_id: format!("B{:015}", number % 500),
            node_id: "L000000000000001".into(),
            utility: NetworkType::Water.into(),
            metered: YesNo::Yes.into(),
            network_store_id: NETWORK_STORE.into(),
            assessed: YesNo::No.into(),
            stopped_or_vacant: YesNo::No.into(),
            main_package_id: "P000000000000001".into(),
            business_kind: BusCategType::New.into(),
            ..VerifiedMeterPoint::default()
        }),
        archived_on: 20_250_101,
        population: 3,
        year_quantity: "120.5".into(),
        month_quantity: "10.5".into(),
        account_month: 202_512,
    });
    message.meters.push(BroughtMeter {
        meter_id: meter_id(number),
        meter: Some(NewMeter {
            store_id: STORE.into(),
            factory_number: format!("W{number:010}"),
            utility: NetworkType::Water.into(),
            meter_kind: DeviceType::ColdWater.into(),
            digits: 6,
            meter_multiplier: "1".into(),
            quantity_unit: String::new(),
        }),
        settlement_account_id,
        meter_location: address,
        reading_channel: MeterReadChanType::Reader.into(),
        remote_reading: YesNo::No.into(),
        reading_order: i32::try_from(number % 1_000).unwrap_or_default(),
        registers: vec![BroughtRegister {
            energy_flow: EnergyFlowType::Forward.into(),
            register: ReadingsType::Total.into(),
            last_reading: last_reading(number).to_string(),
            last_read_date: 20_251_231,
            old_quantity: String::new(),
        }],
    });
}

/// The messages of an import, encoded before the clock starts. The first one has the batch alone.
pub(super) fn messages(batch_id: &str, accounts: u64) -> Vec<Bytes> {
    let mut encoded = vec![first(batch_id)];
    for begin in (0..accounts).step_by(A_MESSAGE as usize) {
        let mut message = ImportArchiveRequest::default();
        (begin..accounts.min(begin + A_MESSAGE)).for_each(|number| add(&mut message, number));
        encoded.push(message.encode_to_vec().into());
    }
    encoded
}

fn first(batch_id: &str) -> Bytes {
    let batch = Some(ArchiveBatch { batch_id: batch_id.into() });
    ImportArchiveRequest { batch, ..ImportArchiveRequest::default() }.encode_to_vec().into()
}

/// Imports and returns the accounts a second.
pub(super) async fn import(service: &Service, messages: &[Bytes], accounts: u64) -> anyhow::Result<f64> {
    let client = Client::connect(&service.process.address).await?;
    let start = Instant::now();
    let reply = client.send_stream(IMPORT, &service.metadata, messages.to_vec()).await;
    let reply = ImportArchiveResponse::decode(reply.context("the archive was refused")?)?;
    let rate = accounts as f64 / start.elapsed().as_secs_f64();
    ensure!(reply.meters == accounts as i64 && !reply.replayed, "{} of {accounts} meters", reply.meters);
    Ok(rate)
}

pub(super) async fn with_reference_data(stage: &Stage, database: &str) -> anyhow::Result<Service> {
    let data = reference_data();
    stage.billing(database, &data.each_ref().map(String::as_str)).await
}

pub(super) async fn measure_import(run: Run<'_>) -> anyhow::Result<()> {
    let (stage, accounts) = (run.stage, run.extent.archive_accounts);
    let service = with_reference_data(stage, "bench_archive").await?;
    // The companies, stores, books and packages are there already.
    service.pool.close().await;
    let Service { process, metadata, key, token, database, .. } = service;
    drop(process);
    stage.create_database("bench_archive_copy", Some("bench_archive")).await?;
    let (process, pool) = (stage.serve("billing", "bench_archive")?, stage.pool("bench_archive").await?);
    let service = Service { process, database, pool, metadata, key, token };
    let copy_pool = stage.pool("bench_archive_copy").await?;
    // A vacuum in the middle of a COPY would note that its tables are empty, and spoil the plans of its foreign keys.
    for table in TABLES {
        let undisturbed = format!("ALTER TABLE {table} SET (autovacuum_enabled = false)");
        sqlx::raw_sql(AssertSqlSafe(undisturbed)).execute(&copy_pool).await?;
    }
    let folder = stage.setting("data_directory").await?;
    let file = |table: &str| format!("{folder}/bench_{table}.copy");

    let mut messages = messages("first", accounts);
    let empty = "TRUNCATE customer, archive_batch CASCADE";
    let (mut ours, mut limits, mut bare, mut cpu, mut copy_cpu) = (vec![], vec![], vec![], vec![], vec![]);
    for round in 0..run.extent.rounds.min(3) {
        for pool in [&service.pool, &copy_pool] {
            sqlx::raw_sql(empty).execute(pool).await?;
        }
        messages[0] = first(&format!("batch-{round}"));
        sqlx::raw_sql("CHECKPOINT").execute(&service.pool).await?;
        let before = (service.process.group.read(), stage.postgres.read());
        ours.push(import(&service, &messages, accounts).await?);
        let used = service.process.group.since(&before.0) + stage.postgres.since(&before.1);
        cpu.push(used as f64 / 1e3 / accounts as f64);

        for table in TABLES {
            let out = format!("COPY (SELECT * FROM {table}) TO '{}' (FORMAT binary)", file(table));
            sqlx::raw_sql(AssertSqlSafe(out)).execute(&service.pool).await?;
        }
        let copies: Vec<_> =
            TABLES.iter().map(|table| format!("COPY {table} FROM '{}' (FORMAT binary)", file(table))).collect();
        let copies = copies.join("; ");
        // The tables as they are, and without keys to other tables.
        for (found, switch) in [(&mut limits, ""), (&mut bare, "SET LOCAL session_replication_role = replica;")] {
            sqlx::raw_sql(empty).execute(&copy_pool).await?;
            sqlx::raw_sql("CHECKPOINT").execute(&service.pool).await?;
            let before = stage.postgres.read();
            let start = Instant::now();
            let batch = format!("SELECT set_config('communal.batch_id', 'batch-{round}', true)");
            let all = format!("BEGIN; {ACTOR}; {batch}; {switch} {copies}; COMMIT");
            sqlx::raw_sql(AssertSqlSafe(all)).execute(&copy_pool).await?;
            found.push(accounts as f64 / start.elapsed().as_secs_f64());
            if switch.is_empty() {
                copy_cpu.push(stage.postgres.since(&before) as f64 / 1e3 / accounts as f64);
            }
            let copied: i64 = sqlx::query_scalar("SELECT count(*) FROM meter").fetch_one(&copy_pool).await?;
            ensure!(copied == accounts as i64, "{copied} of {accounts} meters");
        }
    }
    run.report.measurements.push(
        Measurement::alone(
            "archive-import",
            format!("import of {accounts} accounts with meters"),
            "accounts/s",
            figure(ours.into_iter()),
            Target::AtLeast(0.4),
        )
        .to_limit("COPY of the same rows from files", figure(limits.into_iter())),
    );
    let median = |values: Vec<f64>| Figure::of(&values).map_or(f64::NAN, |f| f.median);
    run.report.remarks.push(format!(
        "archive-import: service + PostgreSQL {:.0} µs an account of 8 rows, COPY {:.0}; COPY without foreign keys {:.0} \
         accounts/s; service peak {:.0} MB",
        median(cpu),
        median(copy_cpu),
        median(bare),
        service.process.group.peak_resident()? as f64 / 1e6,
    ));
    Ok(())
}

/// The request for what a clerk knows of a person.
fn lookup(known: &str, number: u64) -> Bytes {
    let mut filter = PersonFilter::default();
    match known {
        "name" => filter.customer_name = name(number),
        "phone" => filter.mobile_phone = phone(number),
        "certificate" => filter.certificate_number = certificate(number),
        _ => filter.address = address(number),
    }
    let page = Some(PageRequest { page: 1, rows: 20 });
    QueryVerifiedUserAndSettlesRequest { filter: Some(filter), page }.encode_to_vec().into()
}

pub(super) async fn measure_lookup(run: Run<'_>) -> anyhow::Result<()> {
    let Run { stage, extent, report } = run;
    let accounts = extent.archive_accounts;
    let service = with_reference_data(stage, "bench_lookup").await?;
    import(&service, &messages("archive", accounts), accounts).await?;
    sqlx::raw_sql("VACUUM ANALYZE").execute(&service.pool).await?;
    let address = service.process.address.clone();
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(Client::connect(&address).await?);
    }
    // Neighbours in time are none in the tables.
    let scattered = move |number: u64| number.wrapping_mul(7_919) % accounts;
    for known in ["name", "phone", "certificate", "address"] {
        let expected = if known == "name" { OF_A_NAME.min(accounts) as usize } else { 1 };
        let reply = clients[0].call(LOOKUP, &service.metadata, lookup(known, 1)).await?;
        let reply = QueryVerifiedUserAndSettlesResponse::decode(reply)?;
        let found = [reply.user_accounts.len(), reply.settlement_accounts.len(), reply.meter_points.len()];
        ensure!(found == [expected; 3], "by {known} {found:?} instead of {expected}");

        let metadata = service.metadata.clone();
        let make = move |number| (metadata.clone(), lookup(known, scattered(number)));
        let driven = |calls| {
            let load = drive(&address, LOOKUP, CONNECTIONS, calls, make.clone());
            tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(load))
        };
        let calls = enough(&extent, || driven(300))?;
        let groups = [&service.process.group, &stage.postgres];
        let ceiling = round(&groups, || driven(calls))?;
        let latencies = open(ceiling.rate / 2.0, extent.seconds.max(5.0), |number| {
            let (client, metadata) = (clients[number as usize % clients.len()].clone(), service.metadata.clone());
            async move { Ok(client.call(LOOKUP, &metadata, lookup(known, scattered(number))).await.map(drop)?) }
        })
        .await?;
        let (p50, p99) = percentiles(&latencies).context("no latencies")?;
        report.measurements.push(Measurement::alone(
            "user-lookup",
            format!("p99 by {known} at half the ceiling, {accounts} accounts"),
            "ms",
            Figure::single(p99),
            Target::AtMost(30.0),
        ));
        report.remarks.push(format!(
            "user-lookup by {known}: {:.0} calls a second with the load generator on the same cores, service {:.0} + \
             PostgreSQL {:.0} µs a call; at half the ceiling p50 {p50:.2} ms",
            ceiling.rate,
            ceiling.cpu[0] / 1e3,
            ceiling.cpu[1] / 1e3,
        ));
    }
    Ok(())
}
