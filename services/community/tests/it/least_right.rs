//! The role that serves cannot change what is append-only.

use communal_community::MIGRATOR;
use communal_fixtures::TestDatabase;
use sqlx::{AssertSqlSafe, PgPool};

#[tokio::test]
async fn closures_fees_and_rules_are_added_and_read_only() {
    let database = TestDatabase::create("community", &MIGRATOR).await;
    let server = PgPool::connect(&database.url).await.unwrap();
    for table in ["fee_item_closure", "pay_fee", "pay_fee_rule"] {
        for statement in [
            format!("DELETE FROM {table}"),
            format!("UPDATE {table} SET operator_id = 'nobody'"),
            format!("TRUNCATE {table} CASCADE"),
            format!("DROP TABLE {table} CASCADE"),
            format!("ALTER TABLE {table} ADD COLUMN mine int"),
        ] {
            refused(&server, statement).await;
        }
        sqlx::raw_sql(AssertSqlSafe(format!("SELECT count(*) FROM {table}"))).execute(&server).await.unwrap();
    }
    for table in ["pay_fee_config", "payer_object"] {
        refused(&server, format!("DELETE FROM {table}")).await;
    }
}

#[tokio::test]
async fn no_table_view_or_sequence_was_forgotten() {
    let database = TestDatabase::create("community", &MIGRATOR).await;
    let forgotten: Vec<String> = sqlx::query_scalar(
        "SELECT c.oid::regclass::text FROM pg_class c
         WHERE c.relnamespace IN ('public'::regnamespace, 'platform'::regnamespace)
           AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype IN ('e', 'i'))
           AND CASE WHEN c.relkind IN ('r', 'p', 'v') THEN NOT has_table_privilege('communal_server', c.oid, 'SELECT')
                    WHEN c.relkind = 'S' THEN NOT has_sequence_privilege('communal_server', c.oid, 'USAGE')
                    ELSE false END",
    )
    .fetch_all(&database.pool)
    .await
    .unwrap();
    assert_eq!(forgotten, [""; 0], "its migration grants nothing to communal_server");
}

async fn refused(server: &PgPool, statement: String) {
    let error = sqlx::raw_sql(AssertSqlSafe(statement.clone())).execute(server).await.expect_err(&statement);
    let state = error.as_database_error().and_then(|e| e.code()).map(|code| code.into_owned());
    assert_eq!(state.as_deref(), Some("42501"), "{statement}: {error}");
}
