//! The pool keeps connections at hand, and keeps none whose work did not end as it should.

use std::sync::Arc;
use std::time::{Duration, Instant};

use communal_fixtures::TestDatabase;
use communal_kit::pool::Pool;
use communal_kit::refusal::Refusal;
use communal_kit::telemetry::boundary::{Boundary, Operation, belonging};
use communal_kit::telemetry::lane::{Lane, Lanes};
use communal_kit::telemetry::trace::TraceContext;
use metrics::Counter;
use sqlx::Executor as _;
use sqlx::migrate::Migrator;
use sqlx::postgres::PgPoolOptions;

static NONE: Migrator = Migrator::DEFAULT;

/// A pool with so many places for calls.
async fn pool(database: &TestDatabase, places: u32) -> Pool {
    let options = PgPoolOptions::new().max_connections(places + 1).acquire_timeout(Duration::from_millis(300));
    Pool::over(options.connect(&database.owner_url).await.unwrap())
}

async fn process(pool: &Pool) -> i32 {
    sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(pool).await.unwrap()
}

#[tokio::test]
async fn a_connection_whose_work_is_done_is_at_hand_for_the_next() {
    let database = TestDatabase::create("pool", &NONE).await;
    let pool = pool(&database, 4).await;
    let first = process(&pool).await;
    for _ in 0..20 {
        assert_eq!(process(&pool).await, first);
    }
    let rows = sqlx::query("SELECT generate_series(1, 500)").fetch_all(&pool).await.unwrap();
    assert_eq!(rows.len(), 500);
    assert_eq!(process(&pool).await, first, "after a statement of many rows as well");
    assert!(sqlx::query("SELECT 1 / 0").fetch_one(&pool).await.is_err());
    assert_eq!(sqlx::query_scalar::<_, i32>("SELECT 1").fetch_one(&pool).await.unwrap(), 1, "after a failure too");
    assert_eq!(pool.counts().1, pool.counts().0, "and nobody has one");
}

#[tokio::test]
async fn a_transaction_lasts_when_committed_and_only_then() {
    let database = TestDatabase::create("pool", &NONE).await;
    let pool = pool(&database, 1).await;
    (&pool).execute("CREATE TABLE written (number int PRIMARY KEY)").await.unwrap();
    let count = async || sqlx::query_scalar::<_, i64>("SELECT count(*) FROM written").fetch_one(&pool).await.unwrap();

    let mut transaction = pool.begin().await.unwrap();
    (&mut *transaction).execute("INSERT INTO written VALUES (1)").await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(count().await, 1);

    let mut transaction = pool.begin().await.unwrap();
    (&mut *transaction).execute("INSERT INTO written VALUES (2)").await.unwrap();
    transaction.rollback().await.unwrap();
    assert_eq!(count().await, 1);

    // The one place is free again only when the transaction is rolled back: nobody else's
    // statement can become a part of it.
    let mut transaction = pool.begin().await.unwrap();
    (&mut *transaction).execute("INSERT INTO written VALUES (3)").await.unwrap();
    drop(transaction);
    assert_eq!(count().await, 1);

    let mut transaction = pool.begin().await.unwrap();
    assert!((&mut *transaction).execute("INSERT INTO written VALUES (1)").await.is_err());
    drop(transaction);
    assert_eq!(count().await, 1, "an aborted one is over too");

    let mut transaction = pool.begin_with("BEGIN READ ONLY").await.unwrap();
    assert!((&mut *transaction).execute("INSERT INTO written VALUES (4)").await.is_err());
}

/// Each number has one row. PostgreSQL never finds one plan for all values of the array as cheap as the plan of each.
#[tokio::test]
async fn a_lookup_is_planned_once_a_connection_and_changes_nothing() {
    let database = TestDatabase::create("pool", &NONE).await;
    let pool = pool(&database, 1).await;
    (&pool)
        .execute(
            "CREATE TABLE listed (number int PRIMARY KEY); INSERT INTO listed SELECT generate_series(1, 10000);
             ANALYZE listed",
        )
        .await
        .unwrap();
    const LOOKUP: &str = "SELECT number FROM listed WHERE number = ANY($1)";
    let plans = "SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE statement = $1";
    let plans = async || sqlx::query_as::<_, (i64, i64)>(plans).bind(LOOKUP).fetch_one(&pool).await.unwrap();
    for number in 1..=20 {
        let found: Vec<i32> = sqlx::query_scalar(LOOKUP).bind([number]).fetch_all(&pool).await.unwrap();
        assert_eq!(found, [number]);
    }
    assert_eq!(plans().await, (0, 20), "outside of a lookup each call is planned");
    for number in 1..=20 {
        let mut lookup = pool.begin_lookup().await.unwrap();
        let found: Vec<i32> = sqlx::query_scalar(LOOKUP).bind([number]).fetch_all(&mut *lookup).await.unwrap();
        assert_eq!(found, [number]);
        lookup.commit().await.unwrap();
    }
    assert_eq!(plans().await, (20, 20));
    let mut lookup = pool.begin_lookup().await.unwrap();
    assert!((&mut *lookup).execute("DELETE FROM listed").await.is_err());
}

#[tokio::test]
async fn a_call_that_is_dropped_half_way_leaves_nothing_behind() {
    let database = TestDatabase::create("pool", &NONE).await;
    let pool = pool(&database, 2).await;
    let before = process(&pool).await;
    for _ in 0..3 {
        let slow = sqlx::query("SELECT pg_sleep(0.2)").execute(&pool);
        assert!(tokio::time::timeout(Duration::from_millis(20), slow).await.is_err());
        // Its answer is still under way; the next statement must not take it for its own.
        let answer: i32 = sqlx::query_scalar("SELECT 42").fetch_one(&pool).await.unwrap();
        assert_eq!(answer, 42);
    }
    let mut transaction = pool.begin().await.unwrap();
    let slow = (&mut *transaction).execute("SELECT pg_sleep(0.2)");
    assert!(tokio::time::timeout(Duration::from_millis(20), slow).await.is_err());
    drop(transaction);
    tokio::time::sleep(Duration::from_millis(400)).await;
    let open: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'",
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    assert_eq!(open, 0);
    assert_ne!(before, 0);
}

/// The driver does not know that the answer of a COPY is still to come.
#[tokio::test]
async fn a_copy_that_is_dropped_half_way_leaves_no_answer_to_another_call() {
    let database = TestDatabase::create("pool", &NONE).await;
    let pool = pool(&database, 1).await;
    (&pool)
        .execute(
            "CREATE TABLE copied (number int);
             CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.2); RETURN NULL; END';
             CREATE TRIGGER late AFTER INSERT ON copied EXECUTE FUNCTION late()",
        )
        .await
        .unwrap();
    for dropped_at_its_end in [false, true, true] {
        let mut transaction = pool.begin().await.unwrap();
        let mut copy = transaction.copy_in_raw("COPY copied FROM STDIN").await.unwrap();
        copy.send(&b"1\n"[..]).await.unwrap();
        if dropped_at_its_end {
            assert!(tokio::time::timeout(Duration::from_millis(20), copy.finish()).await.is_err());
        } else {
            drop(copy);
        }
        drop(transaction);
        for number in 0..5 {
            let mut transaction = pool.begin().await.unwrap();
            let answer = sqlx::query_scalar::<_, i32>("SELECT $1").bind(number).fetch_one(&mut *transaction);
            assert_eq!(answer.await.unwrap(), number);
            transaction.commit().await.unwrap();
        }
    }
    let copied = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM copied").fetch_one(&pool).await.unwrap();
    assert_eq!(copied, 0);
}

#[tokio::test]
async fn who_finds_no_place_waits_and_is_told_in_time() {
    let database = TestDatabase::create("pool", &NONE).await;
    let pool = pool(&database, 2).await;
    let (first, second) = (pool.lease().await.unwrap(), pool.lease().await.unwrap());
    assert!(matches!(pool.lease().await, Err(sqlx::Error::PoolTimedOut)));
    let waiting = tokio::spawn({
        let pool = pool.clone();
        async move { process(&pool).await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    first.done();
    waiting.await.unwrap();
    // What is no call has a connection all the same.
    let third = pool.lease().await.unwrap();
    let own: i32 = sqlx::query_scalar("SELECT 1").fetch_one(pool.driver()).await.unwrap();
    assert_eq!(own, 1);
    drop((second, third));
}

#[tokio::test]
async fn after_the_end_nobody_gets_one() {
    let database = TestDatabase::create("pool", &NONE).await;
    let pool = pool(&database, 2).await;
    process(&pool).await;
    let lease = pool.lease().await.unwrap();
    let closing = tokio::spawn({
        let pool = pool.clone();
        async move { pool.close().await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!closing.is_finished(), "it waits for those that are out");
    assert!(matches!(pool.lease().await, Err(sqlx::Error::PoolClosed)));
    lease.done();
    tokio::time::timeout(Duration::from_secs(5), closing).await.unwrap().unwrap();
    assert_eq!(pool.counts().0, 0);
}

#[tokio::test]
async fn a_channel_that_uses_its_share_waits_for_itself() {
    let database = TestDatabase::create("pool", &NONE).await;
    let pool = pool(&database, 4).await;
    let call = || Boundary {
        service: "kit",
        operation: Operation::Rpc("/a.B/C"),
        trace: TraceContext::root(),
        edge_id: None,
        lanes: Some(Arc::new(Lanes {
            connections: Lane::new(3, Counter::noop()),
            large_queries: Lane::new(1, Counter::noop()),
        })),
    };
    let (greedy, modest) = (call(), call());
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(greedy.clone().around(pool.lease()).await.unwrap());
    }
    let more = tokio::spawn({
        let (pool, greedy) = (pool.clone(), greedy.clone());
        async move { greedy.around(pool.lease()).await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    // The other channel does not queue behind it.
    let began = Instant::now();
    modest.clone().around(async { process(&pool).await }).await;
    assert!(began.elapsed() < Duration::from_millis(200), "{:?}", began.elapsed());
    let refusal = Refusal::from(more.await.unwrap().unwrap_err());
    assert_eq!(refusal.reason(), "OVERLOADED");
    // A second query of everything waits for the first, and holds no connection meanwhile.
    let large = modest.clone().around(pool.lease_for_large_query()).await.unwrap();
    let second = tokio::spawn({
        let (pool, modest) = (pool.clone(), modest.clone());
        async move { modest.around(pool.lease_for_large_query()).await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!second.is_finished());
    large.done();
    tokio::time::timeout(Duration::from_secs(1), second).await.unwrap().unwrap().unwrap().done();
    // In a task of its own the work is still the call's.
    let lease = async move { pool.lease().await };
    let task = greedy.during(|| tokio::spawn(belonging(lease)));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!task.is_finished());
    held.pop().unwrap().done();
    assert!(task.await.unwrap().is_ok());
}
