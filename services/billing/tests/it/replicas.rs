//! Arrears from a real replica: fresh, paused, in conflict, killed, promoted, and with the primary away.
//! The tests recognize a replica's answer by the lines that it has not replayed.

use std::time::{Duration, Instant};

use crate::harness::postgres::{Place, Server};
use communal_billing::MIGRATOR;
use communal_fixtures::TestDatabase;
use communal_kit::telemetry::metrics_handle;
use communal_proto::billing::v1::*;
use sqlx::PgPool;
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Status};

use crate::harness::*;

const HOUR: &str = "3600000";
/// True if the position of this primary is watched.
const ASKED_FOR_ITS_POSITION: &str = "SELECT count(*) > 0 FROM pg_stat_activity
    WHERE datname = current_database() AND query LIKE '%pg_current_wal_insert_lsn%' AND query NOT LIKE '%activity%'";
/// More lines than the buffers between a service and a client that does not read can hold.
const LINES: u32 = 25_000;

/// The number of lines of an answer, and its staleness.
type Answer = (usize, Option<u64>);

fn shown(metadata: &MetadataMap) -> Option<u64> {
    metadata.get("x-data-staleness-ms").map(|value| value.to_str().unwrap().parse().unwrap())
}

fn limited<T>(message: T, limits: &[&str]) -> Request<T> {
    let mut request = Request::new(message);
    for limit in limits {
        request.metadata_mut().append("x-max-staleness-ms", limit.parse().unwrap());
    }
    request
}

async fn asked(world: &World, tenant: &'static str, limits: &[&str]) -> Result<Answer, Status> {
    let request = limited(QueryUserArrearagesRequest::default(), limits);
    let answer = world.receivables(caller(tenant)).query_user_arrearages(request).await?;
    Ok((answer.get_ref().lines.len(), shown(answer.metadata())))
}

async fn streamed(world: &World, tenant: &'static str, limits: &[&str]) -> Result<Answer, Status> {
    let request = limited(StreamUserArrearagesRequest::default(), limits);
    let answer = world.receivables(caller(tenant)).stream_user_arrearages(request).await?;
    let shown = shown(answer.metadata());
    let (mut stream, mut lines) = (answer.into_inner(), 0);
    while let Some(portion) = stream.message().await? {
        lines += portion.lines.len();
    }
    Ok((lines, shown))
}

/// Makes both calls; their answers must agree, except for the exact staleness of a replica.
async fn both(world: &World, limits: &[&str]) -> Answer {
    let one = asked(world, NETWORK, limits).await.unwrap();
    let other = streamed(world, NETWORK, limits).await.unwrap();
    let from = |answer: Answer| (answer.0, answer.1.map(|behind| behind > 0));
    assert_eq!(from(one), from(other));
    one
}

async fn run(pool: &PgPool, statement: &'static str) {
    sqlx::raw_sql(statement).execute(pool).await.unwrap();
}

async fn is(pool: &PgPool, question: &'static str) -> bool {
    sqlx::query_scalar(question).fetch_one(pool).await.unwrap()
}

/// Waits until an answer to a caller with this limit comes from the replica.
async fn until_replica_answers(world: &World, limit: &str) {
    eventually(|| async { asked(world, NETWORK, &[limit]).await.unwrap().1.unwrap() > 0 }).await;
}

/// The value of a counter of this process, which concurrent tests share.
fn counted(series: &str) -> u64 {
    let text = metrics_handle().unwrap().render();
    let line = text.lines().find(|line| line.starts_with(series)).unwrap_or_else(|| panic!("{series} in {text}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

/// Starts a service on a primary and its standby, with lines in both.
async fn service(primary: &Server<'_>, standby: &Server<'_>, lines: u32) -> (World, String) {
    let database = TestDatabase::create_in(&primary.url("postgres"), "billing", &MIGRATOR).await;
    let name: String = sqlx::query_scalar("SELECT current_database()").fetch_one(&database.pool).await.unwrap();
    let settings = [
        ("billing_replica_url", standby.url(&name)),
        ("database_connections", "8".to_owned()),
        ("credentials_cached_ms", "60000".to_owned()),
        ("arrears_cap", "100000".to_owned()),
    ];
    let settings: Vec<_> = settings.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let world = World::start_on(database, &settings).await;
    let lines: Vec<_> = (1..=lines).map(|n| line(n, 202_401)).collect();
    world.import_as(NETWORK, "first", &lines).await.unwrap();
    eventually(|| async {
        let (found, behind) = asked(&world, NETWORK, &[HOUR]).await.unwrap();
        found == lines.len() && behind.unwrap() > 0
    })
    .await;
    (world, name)
}

#[tokio::test]
async fn an_answer_is_as_fresh_as_its_caller_asks() {
    let place = Place::new();
    let primary = place.primary();
    let standby = primary.standby();
    let (mut world, name) = service(&primary, &standby, 3).await;
    let on_standby = standby.pool(&name);

    // A fresh replica is behind by less than a second or two, also while nothing is written and
    // right after the log was switched to a segment of which nothing is written yet.
    run(world.pool(), "SELECT pg_switch_wal()").await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    until_replica_answers(&world, "1000").await;
    let (lines, behind) = both(&world, &["20000"]).await;
    assert!(lines == 3 && (1..=20_000).contains(&behind.unwrap()), "{lines} {behind:?}");
    assert_eq!(both(&world, &[]).await, (3, None), "nothing is added without a limit");
    assert!(is(world.pool(), ASKED_FOR_ITS_POSITION).await);

    // A replica that replays nothing answers those who allow it, without what it lacks.
    run(&on_standby, "SELECT pg_wal_replay_pause()").await;
    eventually(|| is(&on_standby, "SELECT pg_get_wal_replay_pause_state() = 'paused'")).await;
    let paused = Instant::now();
    world.import_as(NETWORK, "second", &[line(4, 202_401)]).await.unwrap();
    let of_replica = counted("communal_replica_reads_total{from=\"replica\"}");
    assert!(both(&world, &[HOUR]).await.1.unwrap() > 0);
    assert!(counted("communal_replica_reads_total{from=\"replica\"}") >= of_replica + 2);
    assert_eq!(both(&world, &[HOUR]).await.0, 3, "not replayed, not seen");
    assert_eq!(both(&world, &[]).await, (4, None));
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(both(&world, &["1500"]).await, (4, Some(0)), "the primary answers who wants it fresher");
    let (lines, behind) = both(&world, &[HOUR]).await;
    let truly = paused.elapsed().as_millis();
    assert!(lines == 3 && behind.unwrap() >= 1_500, "{lines} {behind:?}");
    // It was paused before the line was written, and had replayed almost everything until then.
    assert!(u128::from(behind.unwrap()) <= truly + 5_000, "{behind:?} after {truly} ms");

    let measured = metrics_handle().unwrap().render();
    for told in ["# HELP communal_replica_staleness_seconds ", "communal_replica_staleness_seconds{replica=\"1\"} "] {
        assert!(measured.contains(told), "{told} in {measured}");
    }

    // A caller sees no more on a replica than on the primary.
    assert_eq!(asked(&world, RETAIL, &[HOUR]).await.unwrap().0, 3);
    for stranger in [OTHER_NETWORK, OTHER_RETAIL] {
        assert_eq!(asked(&world, stranger, &[HOUR]).await.unwrap().0, 0, "{stranger}");
        assert_eq!(streamed(&world, stranger, &[HOUR]).await.unwrap().0, 0, "{stranger}");
    }
    assert_eq!(reason(asked(&world, "N000000000000009", &[HOUR]).await), "TENANT_REFUSED");

    run(&on_standby, "SELECT pg_wal_replay_resume()").await;
    until_replica_answers(&world, "1000").await;
    assert_eq!(both(&world, &["20000"]).await.0, 4);

    // If it is killed, the primary answers at once; when it is back, it answers again.
    standby.stop();
    for _ in 0..3 {
        assert_eq!(both(&world, &[HOUR]).await, (4, Some(0)));
    }
    standby.start();
    until_replica_answers(&world, "1000").await;

    // Its end is the end of its connections.
    world.stop().await;
    let alone = "SELECT count(*) = 0 FROM pg_stat_activity
                 WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()";
    eventually(|| is(&on_standby, alone)).await;
    eventually(|| async { !is(world.pool(), ASKED_FOR_ITS_POSITION).await }).await;
}

#[tokio::test]
async fn a_read_in_conflict_with_what_is_replayed_is_made_again_on_the_primary() {
    let place = Place::new();
    let primary = place.primary();
    let standby = primary.standby();
    let (world, name) = service(&primary, &standby, LINES).await;
    let on_standby = standby.pool(&name);

    // No portion holds anything on the replica, so what is replayed meets none, and the stream goes on.
    let request = limited(StreamUserArrearagesRequest::default(), &[HOUR]);
    let mut stream = world.receivables(caller(NETWORK)).stream_user_arrearages(request).await.unwrap();
    assert!(shown(stream.metadata()).unwrap() > 0);
    let mut lines = stream.get_mut().message().await.unwrap().unwrap().lines.len();
    assert_eq!(lines, 500);
    run(world.pool(), "BEGIN; LOCK TABLE receivable_open IN ACCESS EXCLUSIVE MODE; COMMIT").await;
    let on_replica = "SELECT count(*) = 0 FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'";
    eventually(|| is(&on_standby, on_replica)).await;
    while let Some(portion) = stream.get_mut().message().await.unwrap() {
        lines += portion.lines.len();
    }
    assert_eq!(lines, LINES as usize);

    // A read that is met is made again on the primary. The reading is slow on the replica only.
    run(
        world.pool(),
        "ALTER TABLE receivable_open RENAME TO open_lines;
         CREATE FUNCTION slow_on_a_replica() RETURNS boolean LANGUAGE plpgsql AS $$
             BEGIN IF pg_is_in_recovery() THEN PERFORM pg_sleep(20); END IF; RETURN true; END $$;
         CREATE VIEW receivable_open AS SELECT * FROM open_lines WHERE slow_on_a_replica();
         GRANT SELECT ON receivable_open TO communal_server;",
    )
    .await;
    let conflicts = counted("communal_replica_fallbacks_total{reason=\"conflict\"}");
    for streams in [false, true] {
        let asking = async {
            if streams { streamed(&world, NETWORK, &[HOUR]).await } else { asked(&world, NETWORK, &[HOUR]).await }
        };
        let locking = async {
            let sleeping = "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
            eventually(|| is(&on_standby, sleeping)).await;
            run(world.pool(), "BEGIN; LOCK TABLE open_lines IN ACCESS EXCLUSIVE MODE; COMMIT").await;
        };
        let (answer, ()) = tokio::join!(asking, locking);
        assert_eq!(answer.unwrap(), (LINES as usize, Some(0)));
    }
    assert!(counted("communal_replica_fallbacks_total{reason=\"conflict\"}") >= conflicts + 2);
}

#[tokio::test]
async fn without_a_primary_the_bound_grows_and_a_promoted_replica_is_none() {
    let place = Place::new();
    let primary = place.primary();
    let standby = primary.standby();
    let (world, _) = service(&primary, &standby, 3).await;
    // Every connection of the service is open, so that each can be lost.
    assert_eq!(both(&world, &[]).await, (3, None));

    primary.stop();
    let (lines, before) = both(&world, &[HOUR]).await;
    let waited = Instant::now();
    assert!(lines == 3 && before.unwrap() > 0, "{lines} {before:?}");
    tokio::time::sleep(Duration::from_millis(1_000)).await;
    let (lines, after) = both(&world, &[HOUR]).await;
    let waited = u64::try_from(waited.elapsed().as_millis()).unwrap();
    assert!(lines == 3 && after.unwrap() >= before.unwrap() + 1_000, "{before:?} {after:?} {waited}");
    for limits in [&[][..], &["500"]] {
        assert_eq!(asked(&world, NETWORK, limits).await.unwrap_err().code(), Code::Unavailable, "{limits:?}");
    }

    primary.start();
    eventually(|| async { asked(&world, NETWORK, &[]).await.is_ok() }).await;
    until_replica_answers(&world, "5000").await;

    standby.promote();
    assert_eq!(both(&world, &[HOUR]).await, (3, Some(0)), "it has a history of its own now");
}

#[tokio::test]
async fn a_limit_that_is_none_is_refused_by_name_and_nothing_is_read() {
    let world = World::start().await;
    world.import_as(NETWORK, "first", &[line(1, 202_401)]).await.unwrap();
    let refused = [&["0"][..], &["-5"], &["86400001"], &["1.5"], &["soon"], &["99999999999999999999"], &["5", "6"]];
    for limits in refused {
        for status in
            [asked(&world, NETWORK, limits).await.unwrap_err(), streamed(&world, NETWORK, limits).await.unwrap_err()]
        {
            assert_eq!(status.code(), Code::InvalidArgument, "{limits:?}");
            assert_eq!(fields(&status), ["x-max-staleness-ms"]);
            assert!(words(&status).starts_with("x-max-staleness-ms"), "{}", words(&status));
            assert_eq!(reason::<()>(Err(status)), "FIELD_MALFORMED");
        }
    }
    // It is one fault among the others of a request.
    let filter = ArrearsFilter { package_kind: ChargePackType::LowIncome.into(), ..Default::default() };
    let request = limited(QueryUserArrearagesRequest { filter: Some(filter) }, &["0"]);
    let status = world.receivables(caller(NETWORK)).query_user_arrearages(request).await.unwrap_err();
    assert_eq!(fields(&status), ["ACC_VOLPRICE_OWE.CHARGE_PACK_TYPE", "x-max-staleness-ms"]);

    // Without a replica everything comes from the primary, and its position is not watched.
    assert_eq!(both(&world, &["5000"]).await, (1, Some(0)));
    assert_eq!(both(&world, &[]).await, (1, None));
    assert!(!is(world.pool(), ASKED_FOR_ITS_POSITION).await);
}

#[tokio::test]
async fn a_server_that_is_no_replica_is_never_read() {
    let world = World::start().await;
    let database = TestDatabase::create("billing", &MIGRATOR).await;
    // A primary of its own, an empty database, and no server at all.
    let nobody = "postgres://postgres@127.0.0.1:1/nothing";
    let settings = [("billing_replica_url", format!("{}, {nobody}", world.database.url))];
    let settings: Vec<_> = settings.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let other = World::start_on(database, &settings).await;
    other.import_as(NETWORK, "first", &[line(1, 202_401)]).await.unwrap();
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(both(&other, &[HOUR]).await, (1, Some(0)));
    }
}
