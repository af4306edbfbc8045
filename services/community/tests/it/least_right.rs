//! The role that serves cannot change what is append-only.

use communal_community::MIGRATOR;
use communal_fixtures::TestDatabase;
use communal_fixtures::serving_role::{assert_append_only, assert_nothing_deleted, assert_nothing_forgotten};
use sqlx::PgPool;

#[tokio::test]
async fn history_is_added_and_read_only_and_nothing_is_deleted() {
    let database = TestDatabase::create("community", &MIGRATOR).await;
    let server = PgPool::connect(&database.url).await.unwrap();
    assert_append_only(&server, &["fee_item_closure", "pay_fee_detail"]).await;
    assert_nothing_deleted(
        &server,
        &["pay_fee_config", "payer_object", "owner", "meter_reading", "pay_fee", "pay_fee_rule", "pay_fee_batch"],
    )
    .await;
}

#[tokio::test]
async fn no_table_view_or_sequence_was_forgotten() {
    assert_nothing_forgotten(&TestDatabase::create("community", &MIGRATOR).await).await;
}
