//! More calls than there is room for.
//!
//! A change stays in the database for a fixed time here, because a trigger sleeps. So it is the
//! room that decides how long a call takes and not what else this machine does: a server that
//! keeps three times as many calls waiting answers three times as late, one that sheds does not.
//!
//! There are fewer connections to the database than calls at once, as in production. Clients
//! of gRPC share one connection: the ceiling is the process's, however its clients connect.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use sqlx::PgPool;
use tonic_health::pb::health_check_response::ServingStatus;

use crate::Place;
use crate::clients::{Answer, Clients, Door, Item};
use crate::dbgone::health;
use crate::load::Load;
use crate::postgres::{Postgres, until};
use crate::report::{Report, readable};
use crate::stage::{Databases, Kind, PROBE, Process, Slot, execute, readiness};
use crate::tally::{Tallies, Tally, percentile, readable_percentile, verdict};

/// Calls that a process carries out at once.
const CEILING: usize = 8;
/// Connections that they share.
const CONNECTIONS: usize = CEILING / 2;
/// How long a change stays in the database, in seconds.
const STAY: &str = "0.1";
/// How long each phase lasts. Phases with and without overload take turns, so that whatever
/// else the machine does weighs on both.
const PHASE: Duration = Duration::from_millis(1000);
const ROUNDS: usize = 5;
/// How long the house is full: longer than health takes to find that out.
const FULL: Duration = Duration::from_millis(4500);
/// Calls that are refused meanwhile, one after the other.
const KNOCKS: usize = 300;
/// One way in.
struct Entrance<'a> {
    door: Door,
    name: &'static str,
    /// The process that has the ceiling.
    process: &'a Process,
    service: &'a Process,
    /// What it calls the number of calls that it carries out.
    in_flight: &'static str,
}

pub(crate) async fn run(place: &Place, report: &mut Report) -> anyhow::Result<()> {
    let postgres = Postgres::create(place, "primary")?;
    let databases = Databases::at(&postgres.socket());
    databases.fill(place).await?;
    let pool = databases.pool("community")?;
    let ceiling = CEILING.to_string();
    let connections = CONNECTIONS.to_string();
    // Calls that were let in may wait for longer than the house is full.
    let patience = [("acquire_timeout_ms", "20000"), ("lock_timeout_ms", "20000")];
    let settings = [&[("concurrent_calls", ceiling.as_str()), ("database_connections", &connections)], &patience[..]];
    let community = Slot::service(Kind::Community, place, &databases, &settings.concat())?;
    let gateway = Slot::gateway(place, &[&community], &[("gateway_concurrent_calls", &ceiling)])?;
    let service = community.start().await?;
    let gate = gateway.start().await?;
    report.did(format!(
        "community and a gateway, each set up for {ceiling} calls at once; community has {connections} connections"
    ));
    let clients = Arc::new(Clients::new(&[&community, &gateway], 1, Duration::from_secs(20))?);
    let items = clients.items(&databases, 3 * CEILING).await?;
    execute(
        &pool,
        &format!(
            "CREATE FUNCTION stay() RETURNS trigger LANGUAGE plpgsql AS
                 'BEGIN PERFORM pg_sleep({STAY}); RETURN NEW; END';
             CREATE TRIGGER stay BEFORE UPDATE ON pay_fee_config FOR EACH ROW EXECUTE FUNCTION stay()"
        ),
    )
    .await?;
    let mut all = Tallies::new();
    for entrance in [
        Entrance {
            door: Door::Grpc,
            name: "gRPC",
            process: &service,
            service: &service,
            in_flight: "communal_calls_in_flight",
        },
        Entrance { door: Door::Rest, name: "REST", process: &gate, service: &service, in_flight: "gateway_in_flight" },
    ] {
        let tally = all.entry(entrance.name).or_default();
        let cost = phases(report, &entrance, &clients, &items, tally).await?;
        full_house(report, &entrance, &clients, &items, &pool, cost, tally).await?;
    }
    let found = verdict(&databases, &all).await?;
    found.tell(report, &all);
    gate.stop().await?;
    service.stop().await
}

/// As many clients as there is room for, and three times as many, in turn. Answers how much
/// CPU time of the process a call takes.
async fn phases(
    report: &mut Report,
    entrance: &Entrance<'_>,
    clients: &Arc<Clients>,
    items: &[Item],
    all: &mut Tally,
) -> anyhow::Result<Duration> {
    let Entrance { door, name, process, service, .. } = *entrance;
    let (mut normal, mut over, mut watched) = (Tally::default(), Tally::default(), Watched::default());
    let mut used = Duration::ZERO;
    for _ in 0..ROUNDS {
        let before = process.cpu_time()?;
        normal.add(phase_of(clients, door, &items[..CEILING]).await?);
        used += process.cpu_time()?.saturating_sub(before);
        let watch = Watch::begin(service.slot.address, process.slot.admin);
        over.add(phase_of(clients, door, items).await?);
        watched.add(watch.end().await?);
    }
    report.did(format!("{name}: in {ROUNDS} phases {CEILING} clients, as many as there is room for:"));
    line(report, &normal);
    report.did(format!(
        "{name}: in {ROUNDS} phases between {} clients, three times as many; a refused one is back after 250 ms:",
        3 * CEILING
    ));
    line(report, &over);
    report.expect(normal.overloaded.is_empty() && normal.failed() == 0, "at the ceiling nothing is refused");
    report.expect(over.overloaded.len() > 20, format!("above it {} calls are refused", over.overloaded.len()));
    report.expect(over.unguided == 0, format!("each by {}", refusal(door)));
    report.expect(over.failed() == 0, format!("no call fails in another way ({})", over.failed()));
    let half = |times: &[Duration]| percentile(times, 50).unwrap_or_default();
    let (was, is, refused) = (half(&normal.done), half(&over.done), half(&over.overloaded));
    report.expect(
        is <= was * 2,
        format!(
            "what is accepted keeps its time: p50 {} → {} (at most twice; waiting in line would be three times)",
            readable(was),
            readable(is)
        ),
    );
    report.expect(
        over.done.len() * 2 >= normal.done.len(),
        format!("and its number: {} → {} calls (at least half)", normal.done.len(), over.done.len()),
    );
    report.expect(
        refused * 2 <= was,
        format!("a refusal does not wait for its turn: p50 {} (at most half of a call)", readable(refused)),
    );
    watched.tell(report);
    let cost = used / u32::try_from(normal.done.len().max(1))?;
    all.add(normal);
    all.add(over);
    Ok(cost)
}

/// Every place is taken by a call that cannot end, so that each further call must be refused,
/// and the next one after the end must not.
async fn full_house(
    report: &mut Report,
    entrance: &Entrance<'_>,
    clients: &Arc<Clients>,
    items: &[Item],
    pool: &PgPool,
    cost: Duration,
    all: &mut Tally,
) -> anyhow::Result<()> {
    let Entrance { door, name, process, service, in_flight } = *entrance;
    let (inside, outside) = items.split_at(CEILING);
    let outside = outside.first().context("no client is left outside")?;
    let ids: Vec<_> = inside.iter().map(|item| item.id.clone()).collect();
    let mut lock = pool.begin().await?;
    sqlx::query("SELECT FROM pay_fee_config WHERE config_id = ANY($1) FOR UPDATE")
        .bind(&ids)
        .execute(&mut *lock)
        .await?;
    let mut held = tokio::task::JoinSet::new();
    for item in inside.iter().cloned() {
        let clients = Arc::clone(clients);
        held.spawn(async move {
            let (began, number) = (Instant::now(), clients.number());
            (item.id.clone(), number, clients.update(door, &item, number).await, began.elapsed())
        });
    }
    until("a full house", Duration::from_secs(10), || async {
        measured(process.slot.admin, in_flight).await.is_ok_and(|calls| calls == CEILING)
    })
    .await?;
    let began = Instant::now();
    let mut refused = Tally::default();
    let before = process.cpu_time()?;
    while began.elapsed() < FULL && refused.calls() < KNOCKS {
        let asked = Instant::now();
        // A server that makes it wait instead would do so until the house is empty.
        let answer = tokio::time::timeout(FULL, clients.update(door, outside, clients.number())).await;
        refused.count(&answer.unwrap_or_else(|_| Answer::Unknown("no answer".to_owned())), asked.elapsed());
    }
    let used = process.cpu_time()?.saturating_sub(before);
    // Not before: its questions take CPU time as well.
    let watch = Watch::begin(service.slot.address, process.slot.admin);
    tokio::time::sleep(FULL.saturating_sub(began.elapsed())).await;
    let watched = watch.end().await?;
    lock.rollback().await?;
    let mut inside = Tally::default();
    while let Some(call) = held.join_next().await {
        let (item, number, answer, took) = call?;
        inside.count(&answer, took);
        if answer == Answer::Done {
            inside.acknowledge((item, number.to_string()));
        }
    }
    let (asked, number) = (Instant::now(), clients.number());
    let next = clients.update(door, outside, number).await;
    let took = asked.elapsed();
    report.did(format!("{name}: {CEILING} calls waited for a lock for {}, and meanwhile:", readable(began.elapsed())));
    line(report, &refused);
    let others = refused.calls() - refused.overloaded.len();
    report.expect(
        others == 0 && refused.unguided == 0 && refused.calls() > 20,
        format!("each of {} calls was refused by {} ({others} were not)", refused.calls(), refusal(door)),
    );
    watched.tell(report);
    let per_refusal = used / u32::try_from(refused.calls().max(1))?;
    report.expect(
        per_refusal < cost,
        format!(
            "a refusal takes the {} {} of CPU time, less than a call: {}",
            process.slot.kind.name(),
            micros(per_refusal),
            micros(cost)
        ),
    );
    report.expect(
        inside.done.len() == CEILING,
        format!("the calls that waited were all carried out ({} of {CEILING})", inside.done.len()),
    );
    report.expect(
        next == Answer::Done,
        format!("and the next one was let in at once: {next:?} after {}", readable(took)),
    );
    inside.count(&next, took);
    if next == Answer::Done {
        inside.acknowledge((outside.id.clone(), number.to_string()));
    }
    all.add(refused);
    all.add(inside);
    Ok(())
}

fn refusal(door: Door) -> &'static str {
    if door == Door::Grpc { "RESOURCE_EXHAUSTED with RetryInfo" } else { "429 with Retry-After" }
}

fn micros(time: Duration) -> String {
    format!("{} µs", time.as_micros())
}

async fn phase_of(clients: &Arc<Clients>, door: Door, items: &[Item]) -> anyhow::Result<Tally> {
    let mut load = Load::new();
    load.updates("updates", clients, door, items, false);
    tokio::time::sleep(PHASE).await;
    Ok(load.end().await?.remove("updates").unwrap_or_default())
}

fn line(report: &Report, tally: &Tally) {
    report.count(format!(
        "calls {:>6}, done {:>5} (p50 {}, p90 {}, p99 {}), refused {:>5} (p50 {}, p99 {}), failed {}",
        tally.calls(),
        tally.done.len(),
        readable_percentile(&tally.done, 50),
        readable_percentile(&tally.done, 90),
        readable_percentile(&tally.done, 99),
        tally.overloaded.len(),
        readable_percentile(&tally.overloaded, 50),
        readable_percentile(&tally.overloaded, 99),
        tally.failed(),
    ));
    for told in &tally.told {
        report.count(format!("    told: {told}"));
    }
}

/// A figure without labels that a process measures.
async fn measured(admin: SocketAddr, name: &str) -> anyhow::Result<usize> {
    let client = reqwest::Client::builder().no_proxy().timeout(PROBE).build()?;
    let text = client.get(format!("http://{admin}/metrics")).send().await?.text().await?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(value.context("it is not measured")?.parse()?)
}

/// Asks for health all the time.
struct Watch {
    stop: Arc<AtomicBool>,
    asking: tokio::task::JoinHandle<Watched>,
}

#[derive(Debug, Default)]
struct Watched {
    asked: usize,
    untrue: usize,
    slowest: Duration,
}

impl Watched {
    fn add(&mut self, other: Self) {
        self.asked += other.asked;
        self.untrue += other.untrue;
        self.slowest = self.slowest.max(other.slowest);
    }

    fn tell(&self, report: &mut Report) {
        report.expect(
            self.untrue == 0 && self.asked > 10,
            format!(
                "health stays true: {} questions, {} answers other than «serving», the slowest after {}",
                self.asked,
                self.untrue,
                readable(self.slowest)
            ),
        );
    }
}

impl Watch {
    fn begin(service: SocketAddr, admin: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let asking = tokio::spawn(async move {
            let mut watched = Watched::default();
            while !stopped.load(Ordering::Relaxed) {
                for name in ["readiness", "liveness", "admin port"] {
                    let began = Instant::now();
                    let truth = match name {
                        "admin port" => readiness(admin, PROBE).await == Some(true),
                        name => tokio::time::timeout(PROBE, health(service, name))
                            .await
                            .is_ok_and(|answer| answer.is_ok_and(|status| status == ServingStatus::Serving)),
                    };
                    watched.asked += 1;
                    watched.untrue += usize::from(!truth);
                    watched.slowest = watched.slowest.max(began.elapsed());
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            watched
        });
        Self { stop, asking }
    }

    async fn end(self) -> anyhow::Result<Watched> {
        self.stop.store(true, Ordering::Relaxed);
        Ok(self.asking.await?)
    }
}
