//! The role that serves cannot change what is append-only.

use communal_billing::MIGRATOR;
use communal_fixtures::TestDatabase;
use communal_fixtures::serving_role::{
    assert_append_only, assert_nothing_deleted, assert_nothing_forgotten, assert_refused,
};
use sqlx::PgPool;

#[tokio::test]
async fn lines_and_batches_are_added_and_read_only() {
    let database = TestDatabase::create("billing", &MIGRATOR).await;
    let server = PgPool::connect(&database.url).await.unwrap();
    assert_append_only(&server, &["receivable_line", "receivable_closing", "receivable_batch"]).await;
    assert_append_only(&server, &["receivable_batch_taken_back", "boundary_reading", "archive_batch"]).await;
    assert_append_only(&server, &["posting"]).await;
    for (table, column) in [("bill", "total"), ("ledger", "balance")] {
        assert_refused(&server, format!("DELETE FROM {table}")).await;
        assert_refused(&server, format!("UPDATE {table} SET {column} = {column}")).await;
        assert_refused(&server, format!("TRUNCATE {table}")).await;
    }
    // Of an open line changes what payments change.
    for column in ["fee", "issued", "book_id", "retail_company_id", "touched"] {
        assert_refused(&server, format!("UPDATE receivable_open SET {column} = {column}")).await;
    }
    assert_nothing_deleted(
        &server,
        &[
            "store",
            "package",
            "package_price",
            "category_item",
            "account_item",
            "node",
            "catalogue_price",
            "delivery_price",
            "customer",
            "user_account",
            "settlement_account",
            "business_process",
            "meter_point",
            "package_store",
            "balance",
        ],
    )
    .await;
}

#[tokio::test]
async fn no_table_view_or_sequence_was_forgotten() {
    assert_nothing_forgotten(&TestDatabase::create("billing", &MIGRATOR).await).await;
}
