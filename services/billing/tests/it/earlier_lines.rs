//! Lines from before they were written once: the migration moves them, and they are the lines they were.

use std::borrow::Cow;

use communal_billing::MIGRATOR;
use communal_billing::receivables::line::key_of;
use communal_fixtures::TestDatabase;
use communal_proto::billing::v1::*;
use prost::Message as _;
use sqlx::PgPool;
use sqlx::migrate::Migrator;

use crate::harness::*;

/// The migration that moves them.
const MOVES: i64 = 60;

/// A database from before the migration.
async fn earlier() -> TestDatabase {
    let migrations = MIGRATOR.iter().filter(|migration| migration.version < MOVES).cloned().collect();
    let migrator = Migrator { migrations: Cow::Owned(migrations), ..Migrator::DEFAULT };
    TestDatabase::create("billing", Box::leak(Box::new(migrator))).await
}

/// Stores a line as an import of that time did.
async fn store(pool: &PgPool, line: &ReceivableLine, paid: &str) {
    let issued = ReceivableLine { penalty_from: 0, ..line.clone() }.encode_to_vec();
    sqlx::query(
        "INSERT INTO receivable (network_company_id, retail_company_id, book_id, retail_store_id, package_kind,
             settlement_account_id, account_month, charge_off_date, charge_off_id, line_key, fee, paid_total, latest_paid,
             latest_paid_date, latest_payment_id, levy_date, settled_month, settled, batch_id, importer_id, issued,
             operator_id, channel_id, trace_id)
         VALUES ($1, $2, $3, $4, '3', $5, $6, '2024-01-28', $7, $8, 157.49, $9::numeric, nullif($9::numeric, 0),
             CASE WHEN $9::numeric <> 0 THEN date '2024-01-29' END, CASE WHEN $9::numeric <> 0 THEN 'W1' END, '2024-01-28',
             CASE WHEN $9::numeric = 157.49 THEN 202401 END, $9::numeric = 157.49, 'old', $1, $10, 'o', 'c', 't')",
    )
    .bind(&line.network_company_id)
    .bind(&line.retail_company_id)
    .bind(&line.book_id)
    .bind(&line.retail_store_id)
    .bind(&line.settlement_account_id)
    .bind(line.account_month)
    .bind(&line.charge_off_id)
    .bind(&key_of(line)[..])
    .bind(paid)
    .bind(issued)
    .execute(pool)
    .await
    .unwrap();
}

#[tokio::test]
async fn lines_from_before_are_open_or_closed_as_they_were_and_still_the_same_lines() {
    let database = earlier().await;
    let ancient = ReceivableLine { start_date: 0, ..line(3, 199_907) };
    let lines = [line(1, 202_401), line(2, 202_401), ancient, line(4, 202_312)];
    for (line, paid) in lines.iter().zip(["0", "57.49", "157.49", "0"]) {
        store(&database.pool, line, paid).await;
    }
    let owner = PgPool::connect(&database.owner_url).await.unwrap();
    sqlx::query("UPDATE receivable SET paid_total = 7.49 WHERE settlement_account_id = 'A000000000000004'")
        .execute(&owner)
        .await
        .unwrap();
    communal_kit::database::migrate(&owner, &MIGRATOR).await.unwrap();

    let world = World::start_on(database, &[]).await;
    let found = world.arrears(NETWORK, ArrearsFilter::default()).await.unwrap();
    let paid: Vec<_> =
        found.iter().map(|line| (line.settlement_account_id.as_str(), line.paid_total.as_str())).collect();
    let expected = [("A000000000000001", ""), ("A000000000000002", "57.49"), ("A000000000000004", "7.49")];
    assert_eq!(paid, expected);
    assert_eq!(found[0], line(1, 202_401));
    for (n, existing) in lines.iter().enumerate() {
        let again = world.import_as(NETWORK, &format!("again-{n}"), std::slice::from_ref(existing)).await;
        assert_eq!(reason(again), "LINE_EXISTS", "{}", existing.settlement_account_id);
    }
    let closings: Vec<(String, i32, bool, String)> =
        sqlx::query_as("SELECT settlement_account_id, settled_month, with_line, operator_id FROM receivable_closing")
            .fetch_all(world.pool())
            .await
            .unwrap();
    assert_eq!(closings, [("A000000000000003".to_owned(), 202_401, true, "o".to_owned())]);
    sqlx::query(
        "INSERT INTO receivable_batch (company_id, batch_id, content_hash, lines, outstanding_lines, operator_id, channel_id,
             trace_id, written_at) VALUES ($1, 'old', sha256(''), 4, 3, 'o', 'c', 't', now())",
    )
    .bind(NETWORK)
    .execute(&owner)
    .await
    .unwrap();
    let request = TakeBackReceivableBatchRequest { batch_id: "old".into() };
    let taken = world.receivables(caller(NETWORK)).take_back_receivable_batch(request).await;
    assert_eq!(reason(taken), "BATCH_TOUCHED", "one of them changed since");
}
