//! The role that serves may do what statements need and no more.

use communal_fixtures::TestDatabase;
use communal_fixtures::serving_role::assert_refused;
use sqlx::PgPool;
use sqlx::migrate::Migrator;

static NONE: Migrator = Migrator::DEFAULT;

#[tokio::test]
async fn the_role_that_serves_has_no_ddl_and_cannot_change_the_change_log() {
    let database = TestDatabase::create("kit", &NONE).await;
    let server = PgPool::connect(&database.url).await.unwrap();
    for statement in [
        "CREATE TABLE mine (id int)",
        "CREATE TABLE platform.mine (id int)",
        "CREATE SCHEMA mine",
        "CREATE ROLE mine",
        "ALTER TABLE platform.channel ADD COLUMN mine int",
        "ALTER TABLE platform.change DISABLE TRIGGER append_only",
        "CREATE INDEX mine ON platform.change (tenant_id)",
        "DROP TABLE platform.change",
        "DROP SCHEMA platform CASCADE",
        "TRUNCATE platform.change",
        "DELETE FROM platform.change",
        "UPDATE platform.change SET operator_id = 'nobody'",
        "CREATE OR REPLACE FUNCTION platform.refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "DELETE FROM platform.tenant",
        "DELETE FROM platform.channel",
        "DELETE FROM platform.channel_key",
        "DELETE FROM platform.operator",
        "UPDATE platform.channel_tenant SET tenant_id = 'S2'",
        "DELETE FROM _sqlx_migrations",
        "INSERT INTO _platform_migrations SELECT * FROM _platform_migrations",
        "SET ROLE postgres",
    ] {
        assert_refused(&server, statement).await;
    }
}
