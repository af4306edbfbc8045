//! The demo data: the same each time, loaded once, plausible, and in agreement with itself.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{TimeZone, Utc};
use communal_billing::MIGRATOR;
use communal_billing::charge_off::store::proof::breaches;
use communal_billing::packages::catalogue::{lacks_basic_fee, missing_prices};
use communal_billing::packages::kind::PackageKind;
use communal_billing::packages::store::{self as packages, Filter};
use communal_billing::receivables::arrears::{Kind, Wanted};
use communal_billing::receivables::store::arrears;
use communal_billing::reference::catalogue_prices::{Part, store as prices};
use communal_billing::seed::{Volume, demo};
use communal_billing::vocabulary::personal::PersonalKeys;
use communal_fixtures::TestDatabase;
use communal_fixtures::credentials::billing::SEALING_KEY;
use communal_kit::clock::{Clock, DEFAULT_ZONE};
use communal_kit::identity::SealingKey;
use communal_kit::pool::Pool;
use communal_kit::secret::Secret;
use communal_proto::billing::v1::ReceivableLine;
use prost::Message as _;
use rust_decimal::Decimal;
use sqlx::PgPool;

const SMALL: Volume = Volume { accounts: 120, guaranteed_in_a_book: 6, run_months: 3 };
/// Accounts of all companies in it.
const ACCOUNTS: i64 = 2 * 120 + 2 * 6;
const COMPANIES: [&str; 3] = ["S000000000000001", "S000000000000002", "N000000000000001"];

async fn seeded(volume: &Volume) -> TestDatabase {
    let database = TestDatabase::create("billing", &MIGRATOR).await;
    let clock = Clock::fixed(DEFAULT_ZONE, Utc.with_ymd_and_hms(2026, 1, 2, 3, 4, 5).unwrap());
    demo(&Pool::over(database.pool.clone()), &clock, &keys(), volume).await.unwrap();
    database
}

fn keys() -> PersonalKeys {
    PersonalKeys::new(SealingKey::parse(&Secret::new(SEALING_KEY)).unwrap())
}

/// A hash of all lines, without the times of their writing.
async fn fingerprint(pool: &PgPool) -> String {
    sqlx::query_scalar(
        "SELECT md5(string_agg(md5(l.issued) || l.fee || coalesce(o.paid_total, c.paid_total)
                               || coalesce(o.latest_payment_id, c.latest_payment_id, ''), ''
                               ORDER BY settlement_account_id, account_month, charge_off_id, line_number))
         FROM receivable_line l
         LEFT JOIN receivable_open o
             USING (network_company_id, settlement_account_id, account_month, charge_off_id, line_number)
         LEFT JOIN receivable_closing c
             USING (network_company_id, settlement_account_id, account_month, charge_off_id, line_number)",
    )
    .fetch_one(pool)
    .await
    .unwrap()
}

async fn count(pool: &PgPool, what: &'static str) -> i64 {
    sqlx::query_scalar(what).fetch_one(pool).await.unwrap()
}

#[tokio::test]
async fn the_demo_data_is_the_same_each_time_and_loaded_once() {
    let (first, second) = (seeded(&SMALL).await, seeded(&SMALL).await);
    assert_eq!(fingerprint(&first.pool).await, fingerprint(&second.pool).await);
    let clock = Clock::system(DEFAULT_ZONE);
    let lines = count(&first.pool, "SELECT count(*) FROM receivable_line").await;
    demo(&Pool::over(first.pool.clone()), &clock, &keys(), &SMALL).await.unwrap();
    assert_eq!(count(&first.pool, "SELECT count(*) FROM receivable_line").await, lines);
    assert_eq!(count(&first.pool, "SELECT count(*) FROM package WHERE state = '5' AND kind = '3'").await, 10);
    assert_eq!(count(&first.pool, "SELECT count(*) FROM package WHERE state = '5' AND kind = '1'").await, 3);
    let prices = "SELECT count(*) FROM catalogue_price WHERE part = 'main'";
    assert_eq!(count(&first.pool, prices).await, 10, "the packages' prices");
}

/// A line with the month in which it was billed, and whether it was imported.
async fn lines(pool: &PgPool) -> Vec<(ReceivableLine, bool)> {
    let statement = "SELECT issued, batch_id IS NOT NULL FROM receivable_line ORDER BY account_month";
    let rows: Vec<(Vec<u8>, bool)> = sqlx::query_as(statement).fetch_all(pool).await.unwrap();
    rows.into_iter().map(|(issued, imported)| (ReceivableLine::decode(&*issued).unwrap(), imported)).collect()
}

fn number(text: &str) -> Decimal {
    text.parse().unwrap()
}

#[tokio::test]
async fn the_archive_has_the_accounts_that_the_lines_are_of() {
    let pool = seeded(&SMALL).await.pool.clone();
    assert_eq!(count(&pool, "SELECT count(*) FROM book").await, 26);
    assert_eq!(count(&pool, "SELECT count(*) FROM settlement_account WHERE state = '2'").await, ACCOUNTS);
    assert_eq!(count(&pool, "SELECT count(*) FROM meter WHERE settlement_account_id IS NOT NULL").await, ACCOUNTS);
    let of_lines = "SELECT count(DISTINCT a.settlement_account_id) FROM settlement_account a
        JOIN meter_point p USING (company_id, settlement_account_id)
        JOIN receivable_line r ON r.settlement_account_id = a.settlement_account_id AND r.book_id = p.book_id
            AND r.retail_company_id = p.retail_company_id";
    assert_eq!(count(&pool, of_lines).await, ACCOUNTS);
}

#[tokio::test]
async fn the_last_three_months_are_billed_by_the_run_and_the_months_before_are_imported() {
    let pool = seeded(&SMALL).await.pool.clone();
    let months = |imported: &str| {
        sqlx::AssertSqlSafe(format!(
            "SELECT min(account_month) || ' ' || max(account_month) || ' ' || count(DISTINCT account_month) || ' '
                 || count(DISTINCT settlement_account_id) FROM receivable_line WHERE batch_id IS {imported}"
        ))
    };
    let months = async |imported| sqlx::query_scalar::<_, String>(months(imported)).fetch_one(&pool).await.unwrap();
    assert_eq!(months("NOT NULL").await, format!("202401 202509 21 {ACCOUNTS}"));
    assert_eq!(months("NULL").await, format!("202510 202512 3 {ACCOUNTS}"));
    assert_eq!(count(&pool, "SELECT count(*) FROM bill").await, 3 * ACCOUNTS);
    assert_eq!(count(&pool, "SELECT count(*) FROM parked_account").await, 0);
    assert_eq!(count(&pool, "SELECT count(*) FROM point_open").await, 0);
    assert_eq!(count(&pool, "SELECT count(*) FROM point_reading").await, 3 * ACCOUNTS);
    // A run for each company and month.
    assert_eq!(count(&pool, "SELECT count(*) FROM billing_run").await, 9);
}

#[tokio::test]
async fn lines_accumulators_and_registers_of_the_demo_agree() {
    let pool = seeded(&SMALL).await.pool.clone();
    let (mut of_year, mut of_month, mut ever) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for (line, _) in lines(&pool).await {
        let (id, quantity) = (&line.settlement_account_id, number(&line.quantity));
        *ever.entry((id.clone(), line.period)).or_insert(Decimal::ZERO) += quantity;
        if line.account_month / 100 == 2025 {
            *of_year.entry(id.clone()).or_insert(Decimal::ZERO) += quantity;
        }
        if line.account_month == 202_512 {
            *of_month.entry(id.clone()).or_insert(Decimal::ZERO) += quantity;
        }
    }
    let statement =
        "SELECT settlement_account_id, account_month, year_quantity, month_quantity FROM account_accumulator";
    let accumulators: Vec<(String, i32, Decimal, Decimal)> = sqlx::query_as(statement).fetch_all(&pool).await.unwrap();
    assert_eq!(accumulators.len(), of_year.len());
    for (id, month, year_quantity, month_quantity) in accumulators {
        assert_eq!((month, year_quantity, month_quantity), (202_512, of_year[&id], of_month[&id]), "{id}");
    }
    // A register began at 1000 and the last three digits of its account, and went on by what was billed of its period.
    let statement = "SELECT settlement_account_id, register, last_reading, last_read_on::text FROM account_register";
    let registers: Vec<(String, String, Decimal, String)> = sqlx::query_as(statement).fetch_all(&pool).await.unwrap();
    assert_eq!(registers.len(), ever.len());
    for (id, register, reading, read_on) in registers {
        let opening = 1_000 + id[1..].parse::<i64>().unwrap() % 1_000;
        let period = match register.as_str() {
            "3" => 2,
            "5" => 4,
            _ => 1,
        };
        assert_eq!(reading, Decimal::from(opening) + ever[&(id.clone(), period)], "{id}, register {register}");
        assert_eq!(read_on, "2025-12-31", "{id}");
    }
}

/// What a line says about its account, package and price, without what differs from bill to bill.
fn codes(line: &ReceivableLine) -> ReceivableLine {
    ReceivableLine {
        account_month: 0,
        charge_off_date: 0,
        charge_off_id: String::new(),
        quantity: String::new(),
        fee: String::new(),
        ..line.clone()
    }
}

#[tokio::test]
async fn a_billed_line_says_of_its_account_what_an_imported_one_says() {
    let pool = seeded(&SMALL).await.pool.clone();
    let mut imported = BTreeMap::new();
    let key = |line: &ReceivableLine| (line.settlement_account_id.clone(), line.tier, line.period);
    let (mut compared, mut kinds) = (0, BTreeSet::new());
    for (line, is_imported) in lines(&pool).await {
        if is_imported {
            imported.insert(key(&line), codes(&line));
        } else if let Some(before) = imported.get(&key(&line)) {
            assert_eq!(&codes(&line), before);
            compared += 1;
            kinds.insert((line.package_id, line.tier));
        }
    }
    assert!(compared > 3 * ACCOUNTS, "{compared}");
    assert!(kinds.len() > 20, "all packages, and most tiers of each: {kinds:?}");
}

#[tokio::test]
async fn the_books_of_the_demo_agree() {
    let pool = seeded(&SMALL).await.pool.clone();
    let mut connection = pool.acquire().await.unwrap();
    for company in COMPANIES {
        assert_eq!(breaches(&mut connection, company).await.unwrap(), [], "{company}");
    }
    let paid = "SELECT (100 * sum(c.paid) / sum(b.total))::bigint FROM (SELECT sum(total) AS total FROM bill) AS b,
        (SELECT sum(cash) AS paid FROM posting) AS c";
    let percent = count(&pool, paid).await;
    assert!((93..100).contains(&percent), "most bills are paid: {percent} %");
    // Each fund of the receivable stands at what the customer did not pay of the billed lines.
    let owed = "SELECT count(*) FROM balance WHERE fund = '2' AND balance > 0";
    assert!(count(&pool, owed).await > 0);
}

#[tokio::test]
async fn an_interrupted_load_continues() {
    let database = seeded(&Volume { run_months: 1, ..SMALL }).await;
    let clock = Clock::system(DEFAULT_ZONE);
    assert!(demo(&Pool::over(database.pool.clone()), &clock, &keys(), &SMALL).await.unwrap());
    assert_eq!(fingerprint(&database.pool).await, fingerprint(&seeded(&SMALL).await.pool).await);
    assert!(!demo(&Pool::over(database.pool.clone()), &clock, &keys(), &SMALL).await.unwrap());
    let mut connection = database.pool.acquire().await.unwrap();
    for company in COMPANIES {
        assert_eq!(breaches(&mut connection, company).await.unwrap(), [], "{company}");
    }
}

#[tokio::test]
async fn fees_are_what_tiers_and_periods_cost() {
    let pool = seeded(&SMALL).await.pool.clone();
    assert_eq!(count(&pool, "SELECT count(DISTINCT book_id) FROM receivable_line").await, 26);
    assert_eq!(count(&pool, "SELECT count(DISTINCT account_month) FROM receivable_line").await, 24);
    assert_eq!(count(&pool, "SELECT count(DISTINCT retail_store_id) FROM receivable_line").await, 3);
    let per_mille = "SELECT 1000 * (SELECT count(*) FROM receivable_open) / count(*) FROM receivable_line";
    let percent = count(&pool, per_mille).await;
    assert!((10..60).contains(&percent), "some 3 % are outstanding: {percent} of 1000");
    let partly = count(&pool, "SELECT count(*) FROM receivable_open WHERE paid_total <> 0").await;
    assert!(partly > 0);
    let wanted = Wanted::default();
    let (mut tiers, mut periods) = (BTreeSet::new(), BTreeSet::new());
    let lines = arrears(&pool, "N000000000000001", &wanted, 100_000).await.unwrap();
    for line in lines.into_iter().map(|bytes| ReceivableLine::decode(bytes).unwrap()) {
        let cost = communal_kit::money::round(number(&line.quantity) * number(&line.unit_price), 2);
        assert_eq!(number(&line.fee), cost, "{line:?}");
        assert!(line.tier > 0 && line.period > 0);
        tiers.insert(line.tier);
        periods.insert(line.period);
    }
    assert!(tiers.len() == 3 && periods.len() == 3, "ladders are climbed, periods are used: {tiers:?} {periods:?}");
}

#[tokio::test]
async fn the_network_company_finds_rows_by_either_kind() {
    let pool = seeded(&Volume { guaranteed_in_a_book: 10, ..SMALL }).await.pool.clone();
    for kind in [Kind::Guaranteed, Kind::Market] {
        let wanted = Wanted { kind: Some(kind), ..Wanted::default() };
        assert!(!arrears(&pool, "N000000000000001", &wanted, 100_000).await.unwrap().is_empty(), "{kind:?}");
    }
}

#[tokio::test]
async fn each_company_has_a_usable_set_of_reference_data() {
    let pool = seeded(&SMALL).await.pool.clone();
    // Three companies: two kinds of month of five utilities for three years.
    assert_eq!(count(&pool, "SELECT count(*) FROM month_control").await, 3 * 2 * 5 * 36);
    assert_eq!(count(&pool, "SELECT count(*) FROM season_month").await, 3 * 36);
    assert_eq!(count(&pool, "SELECT count(*) FROM ladder_population").await, 3 * 3);
    assert_eq!(count(&pool, "SELECT count(*) FROM approval_ratio").await, 3);
    assert_eq!(count(&pool, "SELECT count(*) FROM delivery_price").await, 6 * 2);
    // A table of each standard begins at 0, so that every power factor has a ratio.
    let tables = "SELECT count(*) FROM adjust_ratio WHERE power_factor = 0";
    assert_eq!(count(&pool, tables).await, 3 * 3);
    // What the demo's packages name is in the catalogue of their company.
    let unknown = "SELECT count(*) FROM package p WHERE NOT EXISTS (
        SELECT FROM account_item i WHERE i.company_id = p.retail_company_id AND i.account_item = p.account_item)";
    assert_eq!(count(&pool, unknown).await, 0);
}

#[tokio::test]
async fn the_catalogue_has_all_prices_of_the_guaranteed_packages() {
    let pool = Pool::over(seeded(&Volume { accounts: 1, guaranteed_in_a_book: 1, run_months: 0 }).await.pool.clone());
    let day = chrono::NaiveDate::from_ymd_opt(2026, 1, 2).unwrap();
    let network = "N000000000000001";
    let filter = Filter { kinds: PackageKind::Guaranteed.codes(), ..Filter::default() };
    let packages = packages::list(&pool, network, &filter, day, 100).await.unwrap();
    for package in &packages {
        let item = [package.account_item.as_str()];
        let in_force = async |part| prices::in_force(&pool, network, part, &item, day).await.unwrap();
        let gaps = missing_prices(&package.shape(), &package.tariff(), &in_force(Part::Main).await);
        assert_eq!(gaps, [], "{}", package.name);
        assert!(!lacks_basic_fee(&package.tariff(), &in_force(Part::BasicFee).await), "{}", package.name);
    }
    assert_eq!(packages.len(), 3);
}
