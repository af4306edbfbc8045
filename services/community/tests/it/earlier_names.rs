//! Names from before they were compared by how they look: the migration refuses them, and the runbook's query finds them.

use std::borrow::Cow;
use std::path::Path;

use communal_community::MIGRATOR;
use communal_fixtures::TestDatabase;
use sqlx::PgPool;
use sqlx::migrate::Migrator;

/// The migration that compares them.
const COMPARES: i64 = 16;

/// A database from before the migration.
async fn earlier() -> TestDatabase {
    let migrations = MIGRATOR.iter().filter(|migration| migration.version < COMPARES).cloned().collect();
    let migrator = Migrator { migrations: Cow::Owned(migrations), ..Migrator::DEFAULT };
    TestDatabase::create("community", Box::leak(Box::new(migrator))).await
}

/// Changes items as calls of that time did, with an actor.
async fn change(pool: &PgPool, statements: &str) {
    let announced = format!("SELECT platform.announce('o', 'o', 'c', 't', 'test', now()); {statements}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(announced)).execute(pool).await.unwrap();
}

/// Stores a live item.
async fn store(pool: &PgPool, community: &str, config_id: &str, name: &str) {
    let statement = format!(
        "INSERT INTO pay_fee_config (community_id, config_id, fee_type_cd, fee_name, fee_flag, start_time, end_time,
             computing_formula, square_price, additional_amount, bill_type, payment_cd, payment_cycle, deduct_from,
             pay_online, scale, decimal_place, units, state)
         VALUES ('{community}', '{config_id}', '888800010001', '{name}', '1003006', '2024-01-01', '2050-12-31', '1001', 2.5, 0,
             '002', '1200', 1, 'N', 'N', '1', '2', '元', 'N')"
    );
    change(pool, &statement).await;
}

/// The runbook's query that finds items whose names look alike.
fn of_the_runbook() -> String {
    let runbook = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/runbook.md");
    let runbook = std::fs::read_to_string(runbook).unwrap();
    let mut queries = runbook.split("```sql\n").skip(1).filter_map(|rest| rest.split_once("```"));
    queries.find(|(query, _)| query.contains("AS looks_like")).unwrap().0.to_owned()
}

#[tokio::test]
async fn names_that_look_alike_stop_the_migration_and_the_runbook_finds_each() {
    let database = earlier().await;
    let owner = PgPool::connect(&database.owner_url).await.unwrap();
    for (community, id, name) in [
        ("C1", "I1", "Ａ座 物业费"),
        ("C1", "I2", "a座物业费"),
        ("C1", "I3", "B座物业费"),
        ("C2", "I4", "A座物业费"),
        ("C2", "I5", "停车费"),
        ("C2", "I6", "停 车 费"),
        ("C2", "I7", "停车费 "),
    ] {
        store(&owner, community, id, name).await;
    }
    change(&owner, "UPDATE pay_fee_config SET deleted_at = now() WHERE config_id = 'I7'").await;

    // A process that fails ends, and with it its connection, which holds the lock of migrations.
    let process = PgPool::connect(&database.owner_url).await.unwrap();
    let refused = communal_kit::database::migrate(&process, &MIGRATOR).await.unwrap_err();
    process.close().await;
    assert!(format!("{refused:?}").contains("pay_fee_config_live_name"), "{refused:?}");
    let query = of_the_runbook();
    let found: Vec<(String, String, String)> =
        sqlx::query_as(sqlx::AssertSqlSafe(query.clone())).fetch_all(&owner).await.unwrap();
    let row = |community: &str, form: &str, items: &str| (community.to_owned(), form.to_owned(), items.to_owned());
    assert_eq!(
        found,
        [row("C1", "a座物业费", "I1 Ａ座 物业费, I2 a座物业费"), row("C2", "停车费", "I5 停车费, I6 停 车 费")]
    );

    change(&owner, "UPDATE pay_fee_config SET fee_name = fee_name || '(旧)' WHERE config_id IN ('I1', 'I6')").await;
    let left: Vec<(String, String, String)> =
        sqlx::query_as(sqlx::AssertSqlSafe(query.clone())).fetch_all(&owner).await.unwrap();
    assert_eq!(left, []);
    communal_kit::database::migrate(&owner, &MIGRATOR).await.unwrap();
    assert!(communal_kit::database::schema_is_current(&owner, &MIGRATOR).await.unwrap());
}
