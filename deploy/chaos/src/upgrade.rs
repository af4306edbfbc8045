//! The schema grows under load, as it does when a release begins: the replicas that run do not
//! know the new migrations and go on. And the other way round: a replica that knows more than
//! the database has waits for `migrate`.
//!
//! There is one release so far. So the next one's migrations are made for this (the folder
//! `migrations`) and applied by the code behind the `migrate` command; the binaries are the
//! shipped ones on both sides.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use communal_kit::database::{self, DatabaseSettings};
use communal_kit::secret::Secret;
use sqlx::migrate::Migrator;
use tonic_health::pb::health_check_response::ServingStatus;

use crate::Place;
use crate::clients::{Answer, Clients, Door};
use crate::dbgone::health;
use crate::load::{Load, lines_of_batch};
use crate::postgres::{Postgres, until};
use crate::report::{Report, readable};
use crate::runbook;
use crate::stage::{Databases, Kind, PROBE, Process, RETAIL, Slot, readiness};
use crate::tally::{table, verdict};

static BILLING: Migrator = sqlx::migrate!("../../services/billing/migrations");
static COMMUNITY: Migrator = sqlx::migrate!("../../services/community/migrations");
static NEXT_BILLING: Migrator = sqlx::migrate!("migrations/billing");
static NEXT_COMMUNITY: Migrator = sqlx::migrate!("migrations/community");

/// Each service with its migrations, and those of the release to come.
const RELEASES: [(Kind, &Migrator, &Migrator); 2] =
    [(Kind::Billing, &BILLING, &NEXT_BILLING), (Kind::Community, &COMMUNITY, &NEXT_COMMUNITY)];

const WAITS: &str = "the database lacks migrations: run `migrate`";

pub(crate) async fn run(place: &Place, report: &mut Report) -> anyhow::Result<()> {
    schema_ahead(place, report).await?;
    schema_behind(place, report).await
}

async fn schema_ahead(place: &Place, report: &mut Report) -> anyhow::Result<()> {
    let postgres = Postgres::create(place, "ahead")?;
    let databases = Databases::at(&postgres.socket());
    databases.fill(place).await?;
    let mut services = Vec::new();
    for kind in [Kind::Billing, Kind::Community] {
        for _ in 0..2 {
            services.push(Slot::service(kind, place, &databases, &[])?);
        }
    }
    let gateway = Slot::gateway(place, &services.iter().collect::<Vec<_>>(), &[])?;
    let mut processes = Vec::new();
    for slot in &services {
        processes.push(slot.start().await?);
    }
    let gate = gateway.start().await?;
    let slots: Vec<_> = services.iter().chain([&gateway]).collect();
    let clients = Arc::new(Clients::new(&slots, 1, Duration::from_secs(10))?);
    clients.store(RETAIL).await?;
    let items = clients.items(&databases, 6).await?;
    let mut load = Load::new();
    load.updates("REST  community feeConfig.updateFeeConfig", &clients, Door::Rest, &items[..3], false);
    load.updates("gRPC  community UpdateFeeConfig", &clients, Door::Grpc, &items[3..], false);
    load.packages("REST  billing   AddSalePackage", &clients, 2, false);
    load.imports("gRPC  billing   ImportReceivableLines", &clients, 1);
    load.reads("REST  billing   QueryUserArrearages", &clients, Door::Rest, 1);
    load.reads("gRPC  billing   QueryUserArrearages", &clients, Door::Grpc, 1);
    report.did("two replicas of billing and of community, a gateway; 11 clients call, none makes a call again");
    tokio::time::sleep(Duration::from_secs(2)).await;

    let watch = Watch::begin(&processes);
    for (kind, shipped, next) in RELEASES {
        let began = Instant::now();
        migrate(&databases, kind, &known([shipped, next])).await?;
        report.did(format!(
            "applied the {} migrations of the next release to {} ({}), clients go on",
            next.iter().count(),
            kind.name(),
            readable(began.elapsed())
        ));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    split(place, report, &databases).await?;
    let (asked, not_ready) = watch.end().await?;
    let mut replaced = Vec::new();
    for process in processes {
        let slot = process.slot.clone();
        process.stop().await?;
        replaced.push(slot.start().await?);
    }
    report.did("replaced each replica by one of the same release, on the newer schema");
    tokio::time::sleep(Duration::from_millis(700)).await;
    let tallies = load.end().await?;
    table(report, &tallies);
    let failed: usize = tallies.values().map(|tally| tally.failed() + tally.overloaded.len()).sum();
    report.expect(failed == 0, format!("no call failed ({failed})"));
    report.expect(
        not_ready == 0 && asked > 20,
        format!("the replicas of the older release stayed ready ({asked} questions, {not_ready} answers «not ready»)"),
    );
    let found = verdict(&databases, &tallies).await?;
    found.tell(report, &tallies);
    known_lines(report, &clients, &databases).await?;
    for (kind, shipped, next) in RELEASES {
        let counted: (i64, i64) = sqlx::query_as(
            "SELECT (SELECT count(*) FROM _sqlx_migrations WHERE success),
                    (SELECT count(*) FROM pg_index WHERE NOT indisvalid)",
        )
        .fetch_one(&databases.pool(kind.name())?)
        .await?;
        let applied = shipped.iter().count() + next.iter().count();
        report.expect(
            counted == (i64::try_from(applied)?, 0),
            format!("{}: {} migrations are applied, indexes that are not valid: {}", kind.name(), counted.0, counted.1),
        );
        for subcommand in ["check", "migrate"] {
            let ran = databases.command(place, kind, subcommand).await?;
            report.expect(
                ran.succeeded,
                format!("`{} {subcommand}` of the older release finds it in order: {}", kind.name(), ran.said),
            );
        }
    }
    gate.stop().await?;
    for process in replaced {
        process.stop().await?;
    }
    Ok(())
}

/// Splits the settled lines by year, as the runbook says.
async fn split(place: &Place, report: &Report, databases: &Databases) -> anyhow::Result<()> {
    let began = Instant::now();
    runbook::execute("split prepared", place, databases, Kind::Billing).await?;
    let prepared = began.elapsed();
    // It waits two seconds for its lock at most, so that nobody waits longer behind it.
    let (mut tries, mut began) = (1, Instant::now());
    while let Err(error) = runbook::execute("split", place, databases, Kind::Billing).await {
        ensure!(tries < 5, error);
        (tries, began) = (tries + 1, Instant::now());
    }
    report.did(format!(
        "split the settled lines of billing by year, as the runbook says (prepared {}, then {}, attempts {tries})",
        readable(prepared),
        readable(began.elapsed()),
    ));
    Ok(())
}

/// A line that is in one of the years is known, whatever batch it comes in.
async fn known_lines(report: &mut Report, clients: &Clients, databases: &Databases) -> anyhow::Result<()> {
    let pool = databases.pool("billing")?;
    let years: Vec<(String, i64)> =
        sqlx::query_as("SELECT tableoid::regclass::text, count(*) FROM receivable_settled GROUP BY 1 ORDER BY 1")
            .fetch_all(&pool)
            .await?;
    let batch: String =
        sqlx::query_scalar("SELECT batch_id FROM receivable_batch ORDER BY batch_id LIMIT 1").fetch_one(&pool).await?;
    let number: usize = batch.rsplit('-').next().unwrap_or_default().parse()?;
    let settled = lines_of_batch(number).into_iter().filter(|line| line.settled_month != 0).collect();
    let again = clients.import("batch-again", settled).await;
    let known = matches!(&again, Answer::Refused(told) if told.contains("AlreadyExists"));
    report.expect(
        known && !years.is_empty(),
        format!("settled lines are in {years:?}, and sent again in another batch they are known: {again:?}"),
    );
    Ok(())
}

async fn schema_behind(place: &Place, report: &mut Report) -> anyhow::Result<()> {
    let postgres = Postgres::create(place, "behind")?;
    let databases = Databases::at(&postgres.socket());
    databases.create().await?;
    for (kind, shipped, _) in RELEASES {
        let mut known = known([shipped]);
        let last = known.migrations.to_mut().pop().context("a service without migrations")?;
        migrate(&databases, kind, &known).await?;
        report.did(format!("{}: a database without {} «{}»", kind.name(), last.version, last.description));
    }
    databases.let_in().await?;
    let billing = Slot::service(Kind::Billing, place, &databases, &[])?;
    let community = Slot::service(Kind::Community, place, &databases, &[])?;
    let gateway = Slot::gateway(place, &[&billing, &community], &[])?;
    let services = [billing.launch()?, community.launch()?];
    for service in &services {
        let (slot, name) = (&service.slot, service.slot.kind.name());
        // Its port opens when it has looked at the database.
        until(&format!("{name} answers"), Duration::from_secs(20), || async {
            health(slot.address, "liveness").await.is_ok()
        })
        .await?;
    }
    // Long enough for it to have looked several times.
    tokio::time::sleep(Duration::from_secs(2)).await;
    for service in &services {
        let (slot, name) = (&service.slot, service.slot.kind.name());
        let ready = readiness(slot.admin, PROBE).await;
        let states = (health(slot.address, "readiness").await?, health(slot.address, "liveness").await?);
        report.expect(
            ready == Some(false) && states == (ServingStatus::NotServing, ServingStatus::Serving),
            format!("{name} lives and is not ready: «readiness» {:?}, «liveness» {:?}", states.0, states.1),
        );
        report.expect(slot.logged().contains(WAITS), format!("{name} says why: «{WAITS}»"));
        let ran = databases.command(place, slot.kind, "check").await?;
        report.expect(!ran.succeeded, format!("`{name} check` says so as well: {}", ran.said));
    }
    for service in &services {
        let name = service.slot.kind.name();
        let ran = databases.command(place, service.slot.kind, "migrate").await?;
        ensure!(ran.succeeded, "{name} migrate: {}", ran.said);
        let after = until(&format!("{name} ready"), Duration::from_secs(15), || service.is_ready()).await?;
        report.did(format!("{name} migrate; the replica that waited is ready by itself ({} later)", readable(after)));
    }
    let gate = gateway.start().await?;
    let clients = Clients::new(&[&billing, &community, &gateway], 1, Duration::from_secs(10))?;
    clients.store(RETAIL).await?;
    let items = clients.items(&databases, 1).await?;
    let item = items.first().context("an item")?;
    let answers = [clients.update(Door::Rest, item, 1).await, clients.arrears(Door::Rest).await];
    report.expect(answers.iter().all(|answer| *answer == Answer::Done), format!("and serves: {answers:?}"));
    gate.stop().await?;
    for service in services {
        service.stop().await?;
    }
    Ok(())
}

/// What a release knows.
fn known<const N: usize>(migrators: [&Migrator; N]) -> Migrator {
    let migrations = migrators.iter().flat_map(|migrator| migrator.iter().cloned()).collect();
    Migrator { migrations: Cow::Owned(migrations), ..Migrator::DEFAULT }
}

/// What `migrate` of a release that knows these does.
async fn migrate(databases: &Databases, kind: Kind, known: &Migrator) -> anyhow::Result<()> {
    let [(_, url), ..] = databases.settings(kind);
    let pool = database::connect(&DatabaseSettings {
        url: Secret::new(url),
        connections: 2,
        statement_timeout: Duration::from_secs(30),
        lock_timeout: Duration::from_secs(10),
        acquire_timeout: Duration::from_secs(5),
    })?;
    database::migrate(&pool, known).await.with_context(|| format!("migrations of {}", kind.name()))?;
    pool.close().await;
    Ok(())
}

/// Asks replicas all the time whether they are ready.
struct Watch {
    stop: Arc<AtomicBool>,
    asking: tokio::task::JoinHandle<(usize, usize)>,
}

impl Watch {
    fn begin(processes: &[Process]) -> Self {
        let admins: Vec<_> = processes.iter().map(|process| process.slot.admin).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let asking = tokio::spawn(async move {
            let (mut asked, mut not_ready) = (0, 0);
            while !stopped.load(Ordering::Relaxed) {
                for admin in &admins {
                    asked += 1;
                    not_ready += usize::from(readiness(*admin, PROBE).await == Some(false));
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            (asked, not_ready)
        });
        Self { stop, asking }
    }

    async fn end(self) -> anyhow::Result<(usize, usize)> {
        self.stop.store(true, Ordering::Relaxed);
        Ok(self.asking.await?)
    }
}
