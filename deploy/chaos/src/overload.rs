//! More calls than the capacity.
//!
//! A trigger sleeps, so that each change takes a fixed time in the database. The capacity therefore decides how long a call
//! takes, not the other work of this machine: a server that queues three times as many calls answers three times as late,
//! one that sheds load does not.
//!
//! There are fewer connections to the database than concurrent calls, as in production. The gRPC clients share one
//! connection, because the limit belongs to the process and not to a connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use sqlx::PgPool;
use tonic_health::pb::health_check_response::ServingStatus;

use crate::clients::{Answer, Clients, Item, Protocol};
use crate::deployment::{Databases, Kind, PROBE, Process, Slot, execute, health, readiness};
use crate::installation::Installation;
use crate::postgres::{Postgres, until};
use crate::tally::{Tallies, Tally, percentile, readable_percentile, verdict};
use crate::transcript::{Transcript, readable};
use crate::workers::Workers;

/// Concurrent calls of a process.
const CEILING: usize = 8;
/// Connections that they share.
const CONNECTIONS: usize = CEILING / 2;
/// The time of a change in the database, in seconds.
const DURATION: &str = "0.1";
/// The length of a phase. Phases with and without overload alternate, so that other work of the machine affects both.
const PHASE: Duration = Duration::from_millis(1000);
const ROUNDS: usize = 5;
/// The time for which all calls are blocked: longer than health checks take to notice it.
const BLOCKED: Duration = Duration::from_millis(4500);
/// Most calls that are refused in this time, one after the other.
const REFUSALS: usize = 300;
/// A process under overload, and the protocol by which it is called.
struct Entrance<'a> {
    protocol: Protocol,
    name: &'static str,
    /// The process with the limit.
    process: &'a Process,
    service: &'a Process,
    /// The metric with the number of its running calls.
    in_flight: &'static str,
}

pub(crate) async fn run(installation: &Installation, transcript: &mut Transcript) -> anyhow::Result<()> {
    let postgres = Postgres::create(installation, "primary")?;
    let databases = Databases::at(&postgres.socket());
    databases.fill(installation).await?;
    let pool = databases.pool("community")?;
    let ceiling = CEILING.to_string();
    let connections = CONNECTIONS.to_string();
    // Accepted calls may wait for longer than all calls are blocked.
    let patience = [("acquire_timeout_ms", "20000"), ("lock_timeout_ms", "20000")];
    let settings = [&[("concurrent_calls", ceiling.as_str()), ("database_connections", &connections)], &patience[..]];
    let community = Slot::service(Kind::Community, installation, &databases, &settings.concat())?;
    let gateway = Slot::gateway(installation, &[&community], &[("gateway_concurrent_calls", &ceiling)])?;
    let service = community.start().await?;
    let gate = gateway.start().await?;
    transcript.did(format!(
        "community and a gateway, each with a limit of {ceiling} concurrent calls; community has {connections} connections"
    ));
    let clients = Arc::new(Clients::new(&[&community, &gateway], 1, Duration::from_secs(20))?);
    let items = clients.items(&databases, 3 * CEILING).await?;
    execute(
        &pool,
        &format!(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
                 'BEGIN PERFORM pg_sleep({DURATION}); RETURN NEW; END';
             CREATE TRIGGER slow BEFORE UPDATE ON pay_fee_config FOR EACH ROW EXECUTE FUNCTION slow()"
        ),
    )
    .await?;
    let mut all = Tallies::new();
    for entrance in [
        Entrance {
            protocol: Protocol::Grpc,
            name: "gRPC",
            process: &service,
            service: &service,
            in_flight: "communal_calls_in_flight",
        },
        Entrance {
            protocol: Protocol::Rest,
            name: "REST",
            process: &gate,
            service: &service,
            in_flight: "gateway_in_flight",
        },
    ] {
        let tally = all.entry(entrance.name).or_default();
        let cost = phases(transcript, &entrance, &clients, &items, tally).await?;
        blocked(transcript, &entrance, &clients, &items, &pool, cost, tally).await?;
    }
    let found = verdict(&databases, &all).await?;
    found.tell(transcript, &all);
    gate.stop().await?;
    service.stop().await
}

/// Alternates between as many clients as the limit and three times as many. Returns the CPU time that a call takes in the
/// process.
async fn phases(
    transcript: &mut Transcript,
    entrance: &Entrance<'_>,
    clients: &Arc<Clients>,
    items: &[Item],
    all: &mut Tally,
) -> anyhow::Result<Duration> {
    let Entrance { protocol, name, process, service, .. } = *entrance;
    let (mut normal, mut over, mut watched) = (Tally::default(), Tally::default(), Watched::default());
    let mut used = Duration::ZERO;
    for _ in 0..ROUNDS {
        let before = process.cpu_time()?;
        normal.add(phase_of(clients, protocol, &items[..CEILING]).await?);
        used += process.cpu_time()?.saturating_sub(before);
        let watch = Watch::begin(service.slot.address, process.slot.admin);
        over.add(phase_of(clients, protocol, items).await?);
        watched.add(watch.end().await?);
    }
    transcript.did(format!("{name}: in {ROUNDS} phases {CEILING} clients, as many as the limit:"));
    line(transcript, &normal);
    transcript.did(format!(
        "{name}: in {ROUNDS} phases between {} clients, three times as many; a refused one repeats after 250 ms:",
        3 * CEILING
    ));
    line(transcript, &over);
    transcript.expect(normal.overloaded.is_empty() && normal.failed() == 0, "at the limit no call is refused");
    transcript.expect(over.overloaded.len() > 20, format!("above it {} calls are refused", over.overloaded.len()));
    transcript.expect(over.unguided == 0, format!("each by {}", refusal(protocol)));
    transcript.expect(over.failed() == 0, format!("no call fails in another way ({})", over.failed()));
    let half = |times: &[Duration]| percentile(times, 50).unwrap_or_default();
    let (was, is, refused) = (half(&normal.done), half(&over.done), half(&over.overloaded));
    transcript.expect(
        is <= was * 2,
        format!(
            "accepted calls keep their time: p50 {} → {} (at most twice; a queue would make it three times)",
            readable(was),
            readable(is)
        ),
    );
    transcript.expect(
        over.done.len() * 2 >= normal.done.len(),
        format!("and their number: {} → {} calls (at least half)", normal.done.len(), over.done.len()),
    );
    transcript.expect(
        refused * 2 <= was,
        format!("a refusal does not queue: p50 {} (at most half of a call)", readable(refused)),
    );
    watched.tell(transcript);
    let cost = used / u32::try_from(normal.done.len().max(1))?;
    all.add(normal);
    all.add(over);
    Ok(cost)
}

/// Blocks as many calls as the limit, so that each further call must be refused, and the next one after their end must not.
async fn blocked(
    transcript: &mut Transcript,
    entrance: &Entrance<'_>,
    clients: &Arc<Clients>,
    items: &[Item],
    pool: &PgPool,
    cost: Duration,
    all: &mut Tally,
) -> anyhow::Result<()> {
    let Entrance { protocol, name, process, service, in_flight } = *entrance;
    let (inside, outside) = items.split_at(CEILING);
    let outside = outside.first().context("there is no further client")?;
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
            (item.id.clone(), number, clients.update(protocol, &item, number).await, began.elapsed())
        });
    }
    until("as many blocked calls as the limit", Duration::from_secs(10), || async {
        measured(process.slot.admin, in_flight).await.is_ok_and(|calls| calls == CEILING)
    })
    .await?;
    let began = Instant::now();
    let mut refused = Tally::default();
    let before = process.cpu_time()?;
    while began.elapsed() < BLOCKED && refused.calls() < REFUSALS {
        let asked = Instant::now();
        // A server that queues the call instead would do so until the others end.
        let answer = tokio::time::timeout(BLOCKED, clients.update(protocol, outside, clients.number())).await;
        refused.count(&answer.unwrap_or_else(|_| Answer::Unknown("no answer".to_owned())), asked.elapsed());
    }
    let used = process.cpu_time()?.saturating_sub(before);
    // This starts only now, because its probes take CPU time as well.
    let watch = Watch::begin(service.slot.address, process.slot.admin);
    tokio::time::sleep(BLOCKED.saturating_sub(began.elapsed())).await;
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
    let next = clients.update(protocol, outside, number).await;
    let took = asked.elapsed();
    transcript
        .did(format!("{name}: {CEILING} calls waited for a lock for {}; in this time:", readable(began.elapsed())));
    line(transcript, &refused);
    let others = refused.calls() - refused.overloaded.len();
    transcript.expect(
        others == 0 && refused.unguided == 0 && refused.calls() > 20,
        format!("each of {} calls was refused by {} ({others} were not)", refused.calls(), refusal(protocol)),
    );
    watched.tell(transcript);
    let per_refusal = used / u32::try_from(refused.calls().max(1))?;
    transcript.expect(
        per_refusal < cost,
        format!(
            "a refusal takes {} {} of CPU time, less than a call: {}",
            process.slot.kind.name(),
            micros(per_refusal),
            micros(cost)
        ),
    );
    transcript.expect(
        inside.done.len() == CEILING,
        format!("the blocked calls all succeeded ({} of {CEILING})", inside.done.len()),
    );
    transcript.expect(
        next == Answer::Done,
        format!("and the next one was accepted immediately: {next:?} after {}", readable(took)),
    );
    inside.count(&next, took);
    if next == Answer::Done {
        inside.acknowledge((outside.id.clone(), number.to_string()));
    }
    all.add(refused);
    all.add(inside);
    Ok(())
}

fn refusal(protocol: Protocol) -> &'static str {
    if protocol == Protocol::Grpc { "RESOURCE_EXHAUSTED with RetryInfo" } else { "429 with Retry-After" }
}

fn micros(time: Duration) -> String {
    format!("{} µs", time.as_micros())
}

async fn phase_of(clients: &Arc<Clients>, protocol: Protocol, items: &[Item]) -> anyhow::Result<Tally> {
    let mut workers = Workers::new();
    workers.updates("updates", clients, protocol, items, false);
    tokio::time::sleep(PHASE).await;
    Ok(workers.end().await?.remove("updates").unwrap_or_default())
}

fn line(transcript: &Transcript, tally: &Tally) {
    transcript.count(format!(
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
    for detail in &tally.detail {
        transcript.count(format!("    detail: {detail}"));
    }
}

/// Reads a metric without labels from a process.
async fn measured(admin: SocketAddr, name: &str) -> anyhow::Result<usize> {
    let client = reqwest::Client::builder().no_proxy().timeout(PROBE).build()?;
    let text = client.get(format!("http://{admin}/metrics")).send().await?.text().await?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(value.context("there is no such metric")?.parse()?)
}

/// Checks the health of a process continuously.
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

    fn tell(&self, transcript: &mut Transcript) {
        transcript.expect(
            self.untrue == 0 && self.asked > 10,
            format!(
                "health stays true: {} checks, {} answers other than «serving», the slowest after {}",
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
