//! The schema grows under load, as at the beginning of a release: running replicas do not know the new migrations and go
//! on. In the opposite case, a replica that knows more migrations than the database has waits for `migrate`.
//!
//! There is only one release so far. The migrations of the next one are therefore made for this scenario (the folder
//! `migrations`) and applied by the code of the `migrate` command; the binaries are the shipped ones in both cases.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use communal_fixtures::credentials::billing::RETAIL;
use communal_kit::database::{self, DatabaseSettings};
use communal_kit::secret::Secret;
use communal_proto::billing::v1::ReceivableLine;
use sqlx::migrate::Migrator;
use tonic_health::pb::health_check_response::ServingStatus;

use crate::clients::{Answer, Clients, Protocol};
use crate::deployment::{Databases, Kind, PROBE, Process, Slot, health, readiness};
use crate::installation::Installation;
use crate::postgres::{Postgres, until};
use crate::runbook;
use crate::tally::{table, verdict};
use crate::transcript::{Transcript, readable};
use crate::workers::{Workers, lines_of_batch};

static BILLING: Migrator = sqlx::migrate!("../../services/billing/migrations");
static COMMUNITY: Migrator = sqlx::migrate!("../../services/community/migrations");
static NEXT_BILLING: Migrator = sqlx::migrate!("migrations/billing");
static NEXT_COMMUNITY: Migrator = sqlx::migrate!("migrations/community");

/// Each service with its migrations and those of the next release.
const RELEASES: [(Kind, &Migrator, &Migrator); 2] =
    [(Kind::Billing, &BILLING, &NEXT_BILLING), (Kind::Community, &COMMUNITY, &NEXT_COMMUNITY)];

const WAITS: &str = "the database lacks migrations: run `migrate`";

pub(crate) async fn run(installation: &Installation, transcript: &mut Transcript) -> anyhow::Result<()> {
    schema_ahead(installation, transcript).await?;
    schema_behind(installation, transcript).await
}

async fn schema_ahead(installation: &Installation, transcript: &mut Transcript) -> anyhow::Result<()> {
    let postgres = Postgres::create(installation, "ahead")?;
    let databases = Databases::at(&postgres.socket());
    databases.fill(installation).await?;
    let mut services = Vec::new();
    for kind in [Kind::Billing, Kind::Community] {
        for _ in 0..2 {
            services.push(Slot::service(kind, installation, &databases, &[])?);
        }
    }
    let gateway = Slot::gateway(installation, &services.iter().collect::<Vec<_>>(), &[])?;
    let mut processes = Vec::new();
    for slot in &services {
        processes.push(slot.start().await?);
    }
    let gate = gateway.start().await?;
    let slots: Vec<_> = services.iter().chain([&gateway]).collect();
    let clients = Arc::new(Clients::new(&slots, 1, Duration::from_secs(10))?);
    clients.store(RETAIL).await?;
    let items = clients.items(&databases, 6).await?;
    let mut workers = Workers::new();
    workers.updates("REST  community feeConfig.updateFeeConfig", &clients, Protocol::Rest, &items[..3], false);
    workers.updates("gRPC  community UpdateFeeConfig", &clients, Protocol::Grpc, &items[3..], false);
    workers.packages("REST  billing   AddSalePackage", &clients, 2, false);
    workers.imports("gRPC  billing   ImportReceivableLines", &clients, 1);
    workers.reads("REST  billing   QueryUserArrearages", &clients, Protocol::Rest, 1);
    workers.reads("gRPC  billing   QueryUserArrearages", &clients, Protocol::Grpc, 1);
    transcript.did("two replicas of billing and of community, a gateway; 11 clients call, none repeats a call");
    tokio::time::sleep(Duration::from_secs(2)).await;

    let watch = Watch::begin(&processes);
    for (kind, shipped, next) in RELEASES {
        let began = Instant::now();
        migrate(&databases, kind, &known([shipped, next])).await?;
        transcript.did(format!(
            "applied the {} migrations of the next release to {} ({}), clients go on",
            next.iter().count(),
            kind.name(),
            readable(began.elapsed())
        ));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    months(installation, transcript, &clients, &databases).await?;
    let (asked, not_ready) = watch.end().await?;
    let mut replaced = Vec::new();
    for process in processes {
        let slot = process.slot.clone();
        process.stop().await?;
        replaced.push(slot.start().await?);
    }
    transcript.did("replaced each replica by one of the same release, on the newer schema");
    tokio::time::sleep(Duration::from_millis(700)).await;
    let tallies = workers.end().await?;
    table(transcript, &tallies);
    let failed: usize = tallies.values().map(|tally| tally.failed() + tally.overloaded.len()).sum();
    transcript.expect(failed == 0, format!("no call failed ({failed})"));
    transcript.expect(
        not_ready == 0 && asked > 20,
        format!("the replicas of the older release stayed ready ({asked} probes, {not_ready} answers «not ready»)"),
    );
    let found = verdict(&databases, &tallies).await?;
    found.tell(transcript, &tallies);
    known_lines(transcript, &clients, &databases).await?;
    for (kind, shipped, next) in RELEASES {
        let counted: (i64, i64) = sqlx::query_as(
            "SELECT (SELECT count(*) FROM _sqlx_migrations WHERE success),
                    (SELECT count(*) FROM pg_index WHERE NOT indisvalid)",
        )
        .fetch_one(&databases.pool(kind.name())?)
        .await?;
        let applied = shipped.iter().count() + next.iter().count();
        transcript.expect(
            counted == (i64::try_from(applied)?, 0),
            format!("{}: {} migrations are applied, indexes that are not valid: {}", kind.name(), counted.0, counted.1),
        );
        for subcommand in ["check", "migrate"] {
            let ran = databases.command(installation, kind, subcommand).await?;
            transcript.expect(
                ran.succeeded,
                format!("`{} {subcommand}` of the older release accepts it: {}", kind.name(), ran.output),
            );
        }
    }
    gate.stop().await?;
    for process in replaced {
        process.stop().await?;
    }
    Ok(())
}

/// A month of which lines are imported and none of the clients' are.
const OLD_MONTH: i32 = 202_312;
/// The batch of those lines.
const OLD_BATCH: &str = "old-month";

/// The lines of the old month.
fn old_lines() -> anyhow::Result<Vec<ReceivableLine>> {
    let of_month = |line| ReceivableLine { account_month: OLD_MONTH, ..line };
    Ok(lines_of_batch(0)?.into_iter().map(of_month).collect())
}

/// Opens the months to come, as companies do each month, and takes an old one out and in again by the commands of the runbook.
async fn months(
    installation: &Installation,
    transcript: &mut Transcript,
    clients: &Clients,
    databases: &Databases,
) -> anyhow::Result<()> {
    let pool = databases.pool("billing")?;
    let imported = clients.import(OLD_BATCH, &old_lines()?).await;
    transcript.expect(imported == Answer::Done, format!("an import brings the month {OLD_MONTH}: {imported:?}"));
    let mut steps = Vec::new();
    let began = Instant::now();
    sqlx::query("SELECT open_account_month(month) FROM generate_series(202405, 202412) AS month")
        .execute(&pool)
        .await?;
    steps.push(format!("opened eight months ({})", readable(began.elapsed())));
    for (name, done) in [("month detached", "took an old month out"), ("month attached", "took it in again")] {
        let began = Instant::now();
        runbook::execute(name, installation, databases, Kind::Billing).await?;
        steps.push(format!("{done} ({})", readable(began.elapsed())));
    }
    transcript.did(format!("with the commands of the runbook, clients go on: {}", steps.join(", ")));
    Ok(())
}

/// Checks that a line in one of the months is recognized, also in another batch.
async fn known_lines(transcript: &mut Transcript, clients: &Clients, databases: &Databases) -> anyhow::Result<()> {
    let pool = databases.pool("billing")?;
    let months: Vec<(String, i64)> =
        sqlx::query_as("SELECT tableoid::regclass::text, count(*) FROM receivable_line GROUP BY 1 ORDER BY 1")
            .fetch_all(&pool)
            .await?;
    let batch = "SELECT batch_id FROM receivable_batch WHERE batch_id <> $1 ORDER BY batch_id LIMIT 1";
    let batch: String = sqlx::query_scalar(batch).bind(OLD_BATCH).fetch_one(&pool).await?;
    let number: usize = batch.rsplit('-').next().unwrap_or_default().parse()?;
    for (lines, of) in [(lines_of_batch(number)?, "the month that is written"), (old_lines()?, "the old month")] {
        let again = clients.import("batch-again", &lines).await;
        let known = matches!(&again, Answer::Refused(detail) if detail.contains("AlreadyExists"));
        transcript.expect(
            known && months.len() == 2,
            format!("lines are in {months:?}, and those of {of} are recognized in another batch: {again:?}"),
        );
    }
    Ok(())
}

async fn schema_behind(installation: &Installation, transcript: &mut Transcript) -> anyhow::Result<()> {
    let postgres = Postgres::create(installation, "behind")?;
    let databases = Databases::at(&postgres.socket());
    databases.create().await?;
    for (kind, shipped, _) in RELEASES {
        let mut known = known([shipped]);
        let last = known.migrations.to_mut().pop().context("a service without migrations")?;
        migrate(&databases, kind, &known).await?;
        transcript.did(format!(
            "{}: a database without the migration {} «{}»",
            kind.name(),
            last.version,
            last.description
        ));
    }
    databases.register_credentials().await?;
    let billing = Slot::service(Kind::Billing, installation, &databases, &[])?;
    let community = Slot::service(Kind::Community, installation, &databases, &[])?;
    let gateway = Slot::gateway(installation, &[&billing, &community], &[])?;
    let services = [billing.launch()?, community.launch()?];
    for service in &services {
        let (slot, name) = (&service.slot, service.slot.kind.name());
        // Its port opens after it has checked the database.
        until(&format!("{name} answers"), Duration::from_secs(20), || async {
            health(slot.address, "liveness").await.is_ok()
        })
        .await?;
    }
    // In this time it checks the database several times.
    tokio::time::sleep(Duration::from_secs(2)).await;
    for service in &services {
        let (slot, name) = (&service.slot, service.slot.kind.name());
        let ready = readiness(slot.admin, PROBE).await;
        let states = (health(slot.address, "readiness").await?, health(slot.address, "liveness").await?);
        transcript.expect(
            ready == Some(false) && states == (ServingStatus::NotServing, ServingStatus::Serving),
            format!("{name} is live and not ready: «readiness» {:?}, «liveness» {:?}", states.0, states.1),
        );
        transcript.expect(slot.logged().contains(WAITS), format!("{name} logs the reason: «{WAITS}»"));
        let ran = databases.command(installation, slot.kind, "check").await?;
        transcript.expect(!ran.succeeded, format!("`{name} check` reports it as well: {}", ran.output));
    }
    for service in &services {
        let name = service.slot.kind.name();
        let ran = databases.command(installation, service.slot.kind, "migrate").await?;
        ensure!(ran.succeeded, "{name} migrate: {}", ran.output);
        let after = until(&format!("{name} ready"), Duration::from_secs(15), || service.is_ready()).await?;
        transcript
            .did(format!("{name} migrate; the waiting replica is ready without a restart ({} later)", readable(after)));
    }
    let gate = gateway.start().await?;
    let clients = Clients::new(&[&billing, &community, &gateway], 1, Duration::from_secs(10))?;
    clients.store(RETAIL).await?;
    let items = clients.items(&databases, 1).await?;
    let item = items.first().context("an item")?;
    let answers = [clients.update(Protocol::Rest, item, 1).await, clients.arrears(Protocol::Rest).await];
    transcript.expect(answers.iter().all(|answer| *answer == Answer::Done), format!("and serves: {answers:?}"));
    gate.stop().await?;
    for service in services {
        service.stop().await?;
    }
    Ok(())
}

/// All migrations that a release knows.
fn known<const N: usize>(migrators: [&Migrator; N]) -> Migrator {
    let migrations = migrators.iter().flat_map(|migrator| migrator.iter().cloned()).collect();
    Migrator { migrations: Cow::Owned(migrations), ..Migrator::DEFAULT }
}

/// Does what `migrate` does in a release that knows these migrations.
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

/// Probes the readiness of replicas continuously.
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
