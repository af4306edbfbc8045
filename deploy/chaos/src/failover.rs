//! The primary of PostgreSQL is killed under load, its synchronous standby is promoted, and the services go on without a
//! restart.
//!
//! The services have one address of the primary, and their settings do not change. Here the address is a link to a socket
//! folder that is changed after the promotion; in Kubernetes it is the `-rw` Service that the database operator moves.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use communal_fixtures::credentials::billing::RETAIL;

use crate::clients::{Clients, Protocol};
use crate::deployment::{Databases, Kind, Slot, execute};
use crate::installation::Installation;
use crate::postgres::{Postgres, until};
use crate::tally::{readable_percentile, table, verdict};
use crate::transcript::{Transcript, readable};
use crate::workers::Workers;

/// Writing clients; each always has a running call or is about to start one.
const WRITERS: i64 = 10;

pub(crate) async fn run(installation: &Installation, transcript: &mut Transcript) -> anyhow::Result<()> {
    let primary = Postgres::create(installation, "primary")?;
    let link = installation.folder.join("current");
    point(&link, &primary.socket())?;
    let databases = Databases::at(&link);
    databases.fill(installation).await?;
    let standby = primary.standby(installation, "standby")?;
    let postgres = databases.administrator()?;
    for statement in ["ALTER SYSTEM SET synchronous_standby_names = 'standby'", "SELECT pg_reload_conf()"] {
        execute(&postgres, statement).await?;
    }
    until("a synchronous standby", Duration::from_secs(15), || async {
        let state: Result<Option<String>, _> =
            sqlx::query_scalar("SELECT sync_state FROM pg_stat_replication WHERE application_name = 'standby'")
                .fetch_optional(&postgres)
                .await;
        state.is_ok_and(|state| state.as_deref() == Some("sync"))
    })
    .await?;
    postgres.close().await;
    transcript.did("PostgreSQL: a primary, and a standby that confirms every commit (sync)");

    let billing = Slot::service(Kind::Billing, installation, &databases, &[])?;
    let community = Slot::service(Kind::Community, installation, &databases, &[])?;
    let gateway = Slot::gateway(installation, &[&billing, &community], &[])?;
    let services = [billing.start().await?, community.start().await?];
    let gate = gateway.start().await?;
    let clients = Arc::new(Clients::new(&[&billing, &community, &gateway], 2, Duration::from_secs(10))?);
    clients.store(RETAIL).await?;
    let items = clients.items(&databases, 8).await?;
    let mut workers = Workers::new();
    workers.updates("REST  community feeConfig.updateFeeConfig", &clients, Protocol::Rest, &items[..4], true);
    workers.updates("gRPC  community UpdateFeeConfig", &clients, Protocol::Grpc, &items[4..], true);
    workers.packages("REST  billing   AddSalePackage", &clients, 2, true);
    transcript.did(format!(
        "{WRITERS} clients write; a call of unknown outcome is repeated under its own request id (EPEIS: its name)"
    ));
    tokio::time::sleep(Duration::from_secs(3)).await;
    in_doubt(&databases, &standby).await?;

    let killed_at = Utc::now();
    let began = Instant::now();
    let processes = primary.kill()?;
    transcript.did(format!("kill -9 of the primary, {processes} processes"));
    standby.promote()?;
    let (promoted, promoted_at) = (began.elapsed(), Utc::now());
    point(&link, &standby.socket())?;
    transcript.did(format!("promoted the standby and moved the address ({} after the kill)", readable(promoted)));
    for service in &services {
        let what = format!("{} ready on the new primary", service.slot.kind.name());
        until(&what, Duration::from_secs(20), || service.is_ready()).await?;
    }
    transcript.did(format!("both services are ready without a restart ({} after the kill)", readable(began.elapsed())));
    tokio::time::sleep(Duration::from_secs(4)).await;
    let tallies = workers.end().await?;

    transcript.did("calls («failed» counts answers after which the call was repeated):");
    table(transcript, &tallies);
    let found = verdict(&databases, &tallies).await?;
    let replayed: Vec<_> = tallies.values().flat_map(|t| &t.replayed).collect();
    let mut committed = 0;
    let pool = databases.pool("community")?;
    for (item, price) in replayed.iter().filter(|(kind, _)| kind != "package") {
        let changed: Option<DateTime<Utc>> = sqlx::query_scalar(
            "SELECT min(changed_at) FROM platform.change
             WHERE noun = 'fee_item' AND key = $1 AND trim_scale((after ->> 'square_price')::numeric)::text = $2",
        )
        .bind(item)
        .bind(price)
        .fetch_one(&pool)
        .await?;
        committed += usize::from(changed.is_some_and(|changed| changed <= killed_at));
    }
    let first_after = first_write(&pool, promoted_at).await?;
    transcript.count(format!(
        "in doubt and repeated {}; {committed} of them had been committed before the kill and were not done twice",
        replayed.len(),
    ));
    if let Some(first) = first_after {
        let pause = (first - killed_at).to_std().unwrap_or_default();
        transcript.count(format!("first write on the new primary {} after the kill", readable(pause)));
    }
    let unanswered: usize = tallies.values().map(|t| t.refused.len()).sum();
    let times: Vec<_> = tallies.values().flat_map(|t| t.unavailable.iter().chain(&t.unknown).copied()).collect();
    transcript.count(format!(
        "answers UNAVAILABLE or aborted {}, the slowest after {}",
        times.len(),
        readable_percentile(&times, 100),
    ));
    found.tell(transcript, &tallies);
    transcript.expect(unanswered == 0, format!("every replay was accepted ({unanswered} refused)"));
    transcript.expect(
        committed > 0,
        format!("the kill hit calls between their COMMIT and their answer ({committed} changes of fee items)"),
    );
    transcript.expect(first_after.is_some(), "writes go on, on the new primary");
    gate.stop().await?;
    for service in services {
        service.stop().await?;
    }
    Ok(())
}

/// Waits until the call of every client is in its COMMIT, which the standby receives and does not confirm. If the primary
/// dies then, each call is stored and no client has an answer.
async fn in_doubt(databases: &Databases, standby: &Postgres) -> anyhow::Result<()> {
    let on_standby = Databases::at(&standby.socket()).administrator()?;
    execute(&on_standby, "SELECT pg_wal_replay_pause()").await?;
    let primary = databases.administrator()?;
    for statement in ["ALTER SYSTEM SET synchronous_commit = 'remote_apply'", "SELECT pg_reload_conf()"] {
        execute(&primary, statement).await?;
    }
    until("calls that wait for the standby", Duration::from_secs(10), || async {
        let waiting: Result<i64, _> =
            sqlx::query_scalar("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
                .fetch_one(&primary)
                .await;
        waiting.is_ok_and(|waiting| waiting >= WRITERS)
    })
    .await?;
    Ok(())
}

async fn first_write(pool: &sqlx::PgPool, since: DateTime<Utc>) -> anyhow::Result<Option<DateTime<Utc>>> {
    Ok(sqlx::query_scalar("SELECT min(answered_at) FROM platform.answered_request WHERE answered_at > $1")
        .bind(since)
        .fetch_one(pool)
        .await?)
}

/// Changes the target of a link atomically.
fn point(link: &Path, to: &Path) -> anyhow::Result<()> {
    let new = link.with_extension("new");
    std::os::unix::fs::symlink(to, &new)?;
    Ok(std::fs::rename(&new, link)?)
}
