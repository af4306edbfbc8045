//! A write happens once for each request id, by a named actor, and leaves its trace in the change log.

use std::sync::atomic::{AtomicU32, Ordering};

use chrono::{DateTime, TimeZone, Utc};
use communal_fixtures::TestDatabase;
use communal_kit::call::{Call, Tenant};
use communal_kit::database::errors::lost_race;
use communal_kit::database::stored::Stored;
use communal_kit::identity::TenantKind;
use communal_kit::pool::Pool;
use communal_kit::refusal::Refusal;
use communal_kit::write::{run_as, write};
use communal_proto::Coded as _;
use communal_proto::billing::v1::{PackStateType, Reason};
use communal_proto::identity::v1::{RotateChannelKeyRequest, RotateChannelKeyResponse};
use futures::future::join_all;
use sqlx::migrate::Migrator;
use sqlx::{PgConnection, Row as _};

static NONE: Migrator = Migrator::DEFAULT;

fn at(hour: u32) -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2024, 2, 29, hour, 0, 0).unwrap()
}

fn call(request_id: Option<&str>) -> Call {
    let tenant = Tenant { id: "S1".into(), kind: TenantKind::RetailCompany };
    Call {
        operator_name: "王小明".into(),
        request_id: request_id.map(Into::into),
        ..Call::internal(tenant, "test", at(8))
    }
}

fn request(name: &str) -> RotateChannelKeyRequest {
    RotateChannelKeyRequest { channel_id: name.into(), ..RotateChannelKeyRequest::default() }
}

/// A database with one table that has a history.
async fn world() -> (TestDatabase, Pool) {
    let database = TestDatabase::create("kit", &NONE).await;
    sqlx::raw_sql(
        "CREATE TABLE thing (tenant_id text, thing_id text, state text NOT NULL, PRIMARY KEY (tenant_id, thing_id));
         CREATE TRIGGER history AFTER INSERT OR UPDATE OR DELETE ON thing
             FOR EACH ROW EXECUTE FUNCTION platform.record_change('thing', 'tenant_id', 'tenant_id', 'thing_id');",
    )
    .execute(&database.pool)
    .await
    .unwrap();
    let pool = Pool::over(database.pool.clone());
    (database, pool)
}

async fn insert(connection: &mut PgConnection, thing_id: &str, state: &str) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO thing VALUES ('S1', $1, $2)").bind(thing_id).bind(state).execute(connection).await?;
    Ok(())
}

fn reply(key: &str) -> RotateChannelKeyResponse {
    RotateChannelKeyResponse { key: key.into() }
}

async fn count(database: &TestDatabase, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(&database.pool).await.unwrap()
}

#[tokio::test]
async fn a_repeated_request_gets_the_recorded_reply_and_runs_once() {
    let (database, pool) = world().await;
    let (call, message, runs) = (call(Some("id-1")), request("a"), AtomicU32::new(0));
    let once = || async {
        let work = async |tx: &mut PgConnection| {
            let run = runs.fetch_add(1, Ordering::Relaxed);
            insert(tx, &run.to_string(), "1").await?;
            Ok(reply(&format!("run {run}")))
        };
        write(&pool, &call, &message, work).await.unwrap().into_inner()
    };
    // 32 at once and one later: each waits for the first at its request id.
    let replies = join_all((0..32).map(|_| once())).await;
    assert!(replies.iter().chain([&once().await]).all(|r| *r == reply("run 0")), "{replies:?}");
    assert_eq!(count(&database, "SELECT count(*) FROM thing").await, 1);

    let other = write(&pool, &call, &request("b"), async |_: &mut PgConnection| Ok(reply("never"))).await.unwrap_err();
    assert_eq!(other.reason(), "REQUEST_ID_REUSED");

    // Another channel's request of the same id is another request.
    let theirs = Call { channel_id: "another channel".into(), ..call.clone() };
    let work = async |_: &mut PgConnection| Ok(reply("theirs"));
    assert_eq!(write(&pool, &theirs, &request("b"), work).await.unwrap().into_inner(), reply("theirs"));

    // The same bytes under the same id are another request to another method.
    let moved = Call { method: "another method".into(), ..call };
    let other = write(&pool, &moved, &message, async |_: &mut PgConnection| Ok(reply("never"))).await.unwrap_err();
    assert_eq!(other.reason(), "REQUEST_ID_REUSED");
}

#[tokio::test]
async fn a_refused_write_leaves_nothing_and_its_request_id_is_free() {
    let (database, pool) = world().await;
    let call = call(Some("id-1"));
    let refused =
        write::<_, RotateChannelKeyResponse, _>(&pool, &call, &request("a"), async |tx: &mut PgConnection| {
            insert(tx, "x", "1").await?;
            Err(Refusal::of(Reason::PackageState))
        });
    assert_eq!(refused.await.unwrap_err().reason(), "PACKAGE_STATE");
    assert_eq!(count(&database, "SELECT count(*) FROM thing").await, 0);
    assert_eq!(count(&database, "SELECT count(*) FROM platform.change").await, 0);
    let again = write(&pool, &call, &request("other"), async |_: &mut PgConnection| Ok(reply("done"))).await.unwrap();
    assert_eq!(again.into_inner(), reply("done"));
}

#[tokio::test]
async fn what_the_database_rolled_back_is_tried_again() {
    let (_database, pool) = world().await;
    let (call, runs) = (call(None), AtomicU32::new(0));
    let done = write(&pool, &call, &request("a"), async |tx: &mut PgConnection| {
        if runs.fetch_add(1, Ordering::Relaxed) == 0 {
            let conflict = "DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = 'serialization_failure'; END $$";
            sqlx::query(conflict).execute(tx).await?;
        }
        Ok(reply("second"))
    });
    assert_eq!(done.await.unwrap().into_inner(), reply("second"));
    assert_eq!(runs.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_write_that_lost_a_race_is_refused_by_its_own_check() {
    let (database, pool) = world().await;
    let (call, runs) = (call(Some("id-1")), AtomicU32::new(0));
    let lost = write::<_, RotateChannelKeyResponse, _>(&pool, &call, &request("a"), async |tx: &mut PgConnection| {
        let found = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM thing").fetch_one(&mut *tx).await?;
        if found > 0 {
            return Err(Refusal::of(Reason::PackageState));
        }
        if runs.fetch_add(1, Ordering::Relaxed) == 0 {
            run_as(&pool, &call, async |other: &mut PgConnection| Ok(insert(other, "x", "1").await?)).await?;
        }
        insert(tx, "x", "2").await.map_err(lost_race("thing_pkey"))?;
        Ok(reply(""))
    });
    assert_eq!(lost.await.unwrap_err().reason(), "PACKAGE_STATE");
    assert_eq!(count(&database, "SELECT count(*) FROM thing WHERE state = '1'").await, 1);
    let other = run_as(&pool, &call, async |tx: &mut PgConnection| {
        insert(tx, "x", "2").await.map_err(lost_race("another_constraint"))
    });
    assert_eq!(other.await.unwrap_err().reason(), "INTERNAL");
}

#[tokio::test]
async fn the_change_log_says_what_changed_who_changed_it_and_when() {
    let (database, pool) = world().await;
    let created = call(Some("id-1"));
    write(&pool, &created, &request("a"), async |tx: &mut PgConnection| {
        insert(tx, "x", "1").await?;
        Ok(reply(""))
    })
    .await
    .unwrap();
    let moved = Call { at: at(9), ..call(None) };
    run_as(&pool, &moved, async |tx: &mut PgConnection| {
        sqlx::query("UPDATE thing SET state = '5'").execute(&mut *tx).await?;
        sqlx::query("DELETE FROM thing").execute(tx).await?;
        Ok(())
    })
    .await
    .unwrap();

    let rows = sqlx::query(
        "SELECT operation, key, before ->> 'state' AS before, after ->> 'state' AS after, operator_id, operator_name,
             channel_id, trace_id, method, changed_at
         FROM platform.change WHERE tenant_id = 'S1' AND noun = 'thing' ORDER BY change_number",
    )
    .fetch_all(&database.pool)
    .await
    .unwrap();
    type Change = (String, Option<String>, Option<String>, DateTime<Utc>);
    let told: Vec<Change> =
        rows.iter().map(|r| (r.get("operation"), r.get("before"), r.get("after"), r.get("changed_at"))).collect();
    let text = |t: &str| Some(t.to_owned());
    assert_eq!(
        told,
        [
            ("INSERT".to_owned(), None, text("1"), at(8)),
            ("UPDATE".to_owned(), text("1"), text("5"), at(9)),
            ("DELETE".to_owned(), text("5"), None, at(9)),
        ]
    );
    for row in &rows {
        let actor: [String; 4] = ["operator_id", "operator_name", "channel_id", "method"].map(|c| row.get(c));
        assert_eq!(actor, ["test", "王小明", "test", "test"]);
        assert_eq!(row.get::<String, _>("key"), "S1 x");
        assert_eq!(row.get::<String, _>("trace_id").len(), 32);
    }
}

#[tokio::test]
async fn a_write_without_an_actor_fails_and_the_change_log_only_grows() {
    let (database, pool) = world().await;
    // A connection that announced an actor before must not lend it to the next transaction.
    run_as(&pool, &call(None), async |tx: &mut PgConnection| Ok(insert(tx, "x", "1").await?)).await.unwrap();
    let mut transaction = pool.begin().await.unwrap();
    let anonymous = insert(&mut transaction, "y", "1").await.unwrap_err();
    assert_eq!(anonymous.as_database_error().and_then(|e| e.table()), Some("change"), "{anonymous}");
    transaction.rollback().await.unwrap();
    for statement in
        ["UPDATE platform.change SET noun = 'z'", "DELETE FROM platform.change", "TRUNCATE platform.change"]
    {
        let refused = sqlx::query(statement).execute(&database.pool).await.unwrap_err();
        assert!(refused.to_string().contains("append-only"), "{refused}");
    }
}

#[tokio::test]
async fn an_unknown_stored_code_is_an_error_and_never_a_default() {
    let (database, _) = world().await;
    let read = |code: &'static str| {
        sqlx::query_scalar::<_, Option<Stored<PackStateType>>>("SELECT $1::text").bind(code).fetch_one(&database.pool)
    };
    let on_sale = PackStateType::OnSale;
    assert_eq!(read(on_sale.code()).await.unwrap(), Some(Stored(on_sale)));
    let error = read("no such code").await.unwrap_err().to_string();
    assert!(error.contains("PackStateType") && !error.contains("no such code"), "{error}");
    let unspecified: Option<String> = sqlx::query_scalar("SELECT $1::text")
        .bind(Stored(PackStateType::Unspecified))
        .fetch_one(&database.pool)
        .await
        .unwrap();
    assert_eq!(unspecified, None, "what was not given is stored as NULL");
}
