//! Three times as many clients as calls are carried out at once, none of them patient.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tonic_health::pb::health_check_response::ServingStatus;

use crate::Place;
use crate::dbgone::health;
use crate::load::{Clients, Door, Item, Load, Tally, percentile, verdict};
use crate::postgres::Postgres;
use crate::report::{Report, readable};
use crate::stage::{Databases, Kind, Slot, is_ready};

/// Calls that a process carries out at once.
const CEILING: usize = 8;
/// How long each phase lasts. Phases with and without overload take turns, so that whatever
/// else the machine does weighs on both.
const PHASE: Duration = Duration::from_millis(1500);
const ROUNDS: usize = 4;

pub(crate) async fn run(place: &Place, report: &mut Report) -> anyhow::Result<()> {
    let postgres = Postgres::create(place, "primary")?;
    let databases = Databases::at(&postgres.socket());
    databases.fill(place).await?;
    let ceiling = CEILING.to_string();
    let community = Slot::service(Kind::Community, place, &databases, &[("concurrent_calls", &ceiling)])?;
    let gateway = Slot::gateway(place, &[&community], &[("gateway_concurrent_calls", &ceiling)])?;
    let service = community.start().await?;
    let gate = gateway.start().await?;
    report.did(format!("community and a gateway, each set up for {CEILING} calls at once: ready"));
    // A connection for each two clients: the ceiling also bounds the streams of a connection.
    let clients = Arc::new(Clients::new(&[&community, &gateway], 3 * CEILING / 2, Duration::from_secs(10))?);
    let items = clients.items(&databases, 3 * CEILING).await?;
    let mut all = crate::load::Tallies::new();
    for (door, name, admin) in [(Door::Grpc, "gRPC", community.admin), (Door::Rest, "REST", gateway.admin)] {
        let (mut normal, mut over, mut watched) = (Tally::default(), Tally::default(), Watched::default());
        for _ in 0..ROUNDS {
            normal.add(phase_of(&clients, door, &items[..CEILING], PHASE).await?);
            let watch = Watch::begin(community.address, admin);
            over.add(phase_of(&clients, door, &items, PHASE).await?);
            watched.add(watch.end().await?);
        }
        report.did(format!("{name}: in {ROUNDS} phases {CEILING} clients, as many as there is room for:"));
        line(report, &normal);
        report.did(format!(
            "{name}: in {ROUNDS} phases between {} clients, three times as many; a refused one is back after 250 ms:",
            3 * CEILING
        ));
        line(report, &over);
        let after = {
            let began = Instant::now();
            let first = clients.update(door, &items[0], clients.number()).await;
            let took = began.elapsed();
            let mut tally = phase_of(&clients, door, &items[..CEILING / 2], Duration::from_secs(2)).await?;
            tally.count(&first, took);
            tally
        };
        report.did(format!("{name}: {} clients, at once after it:", CEILING / 2));
        line(report, &after);
        report.expect(normal.overloaded.is_empty() && normal.failed() == 0, "at the ceiling nothing is refused");
        let how = if door == Door::Grpc { "RESOURCE_EXHAUSTED with RetryInfo" } else { "429 with Retry-After" };
        report.expect(over.overloaded.len() > 20, format!("above it {} calls are refused", over.overloaded.len()));
        report.expect(over.unguided == 0, format!("each by {how}"));
        report.expect(over.failed() == 0, format!("no call fails in another way ({})", over.failed()));
        for (percent, allowance) in [(50, Duration::from_millis(10)), (99, Duration::from_millis(60))] {
            let (was, is) = (
                percentile(&normal.done, percent).unwrap_or_default(),
                percentile(&over.done, percent).unwrap_or_default(),
            );
            report.expect(
                is <= was * 2 + allowance,
                format!(
                    "what is accepted keeps its time: p{percent} {} → {} (at most twice and {})",
                    readable(was),
                    readable(is),
                    readable(allowance)
                ),
            );
        }
        report.expect(
            over.done.len() * 10 >= normal.done.len() * 6,
            format!("and its number: {} → {} calls", normal.done.len(), over.done.len()),
        );
        report.expect(
            watched.untrue == 0 && watched.asked > 10,
            format!(
                "health stays true: {} questions, {} answers «not serving», the slowest after {}",
                watched.asked,
                watched.untrue,
                readable(watched.slowest)
            ),
        );
        report.expect(
            after.overloaded.is_empty() && after.failed() == 0,
            "afterwards nothing is refused any more, from the first call on",
        );
        for tally in [normal, over, after] {
            all.entry(name).or_default().add(tally);
        }
    }
    let found = verdict(&databases, &all).await?;
    report.count(format!("writes acknowledged {}, lost {}, doubled {}", found.acknowledged, found.lost, found.doubled));
    report.expect(found.lost == 0 && found.doubled == 0, "no acknowledged write is lost or done twice");
    gate.stop().await?;
    service.stop().await
}

async fn phase_of(clients: &Arc<Clients>, door: Door, items: &[Item], time: Duration) -> anyhow::Result<Tally> {
    let mut load = Load::new();
    load.updates("updates", clients, door, items, false);
    tokio::time::sleep(time).await;
    Ok(load.end().await?.remove("updates").unwrap_or_default())
}

fn line(report: &Report, tally: &Tally) {
    let of = |times: &[Duration], percent| percentile(times, percent).map(readable).unwrap_or_else(|| "-".to_owned());
    report.count(format!(
        "calls {:>6}, done {:>5} (p50 {}, p99 {}), refused {:>5} (p50 {}, p99 {}), failed {}",
        tally.calls(),
        tally.done.len(),
        of(&tally.done, 50),
        of(&tally.done, 99),
        tally.overloaded.len(),
        of(&tally.overloaded, 50),
        of(&tally.overloaded, 99),
        tally.failed(),
    ));
    for told in &tally.told {
        report.count(format!("    told: {told}"));
    }
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
}

impl Watch {
    fn begin(service: std::net::SocketAddr, admin: std::net::SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let asking = tokio::spawn(async move {
            let mut watched = Watched::default();
            while !stopped.load(Ordering::Relaxed) {
                for name in ["readiness", "liveness", "admin port"] {
                    let began = Instant::now();
                    let truth = match name {
                        "admin port" => is_ready(admin).await,
                        name => health(service, name).await.is_ok_and(|status| status == ServingStatus::Serving),
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
