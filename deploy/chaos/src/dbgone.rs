//! PostgreSQL stops under load and starts again.

use std::sync::Arc;
use std::time::Duration;

use tonic_health::pb::health_check_response::ServingStatus;

use crate::installation::Installation;
use communal_fixtures::credentials::billing::RETAIL;

use crate::clients::{Clients, Protocol};
use crate::deployment::{Databases, Kind, Slot, health};
use crate::postgres::{Postgres, until};
use crate::tally::{readable_percentile, table, verdict};
use crate::transcript::{Transcript, readable};
use crate::workers::Workers;

/// Longest wait of a client.
const DEADLINE: Duration = Duration::from_secs(10);

pub(crate) async fn run(installation: &Installation, transcript: &mut Transcript) -> anyhow::Result<()> {
    let postgres = Postgres::create(installation, "primary")?;
    let databases = Databases::at(&postgres.socket());
    databases.fill(installation).await?;
    let billing = Slot::service(Kind::Billing, installation, &databases, &[])?;
    let community = Slot::service(Kind::Community, installation, &databases, &[])?;
    let gateway = Slot::gateway(installation, &[&billing, &community], &[])?;
    let services = [billing.start().await?, community.start().await?];
    let gate = gateway.start().await?;
    transcript.did("PostgreSQL, billing, community and the gateway: all ready");

    let clients = Arc::new(Clients::new(&[&billing, &community, &gateway], 2, DEADLINE)?);
    clients.store(RETAIL).await?;
    let items = clients.items(&databases, 6).await?;
    let start = |replay: bool| {
        let mut workers = Workers::new();
        workers.updates("REST  community feeConfig.updateFeeConfig", &clients, Protocol::Rest, &items[..3], replay);
        workers.updates("gRPC  community UpdateFeeConfig", &clients, Protocol::Grpc, &items[3..], replay);
        workers.reads("REST  billing   QueryUserArrearages", &clients, Protocol::Rest, 2);
        workers
    };
    let workers = start(true);
    tokio::time::sleep(Duration::from_secs(2)).await;
    postgres.stop()?;
    transcript.did("stopped PostgreSQL (connections ended); clients go on");
    let mut noticed = Duration::ZERO;
    for service in &services {
        let what = format!("{} not ready", service.slot.kind.name());
        noticed = noticed.max(until(&what, Duration::from_secs(8), || async { !service.is_ready().await }).await?);
    }
    transcript.did(format!("both services report «not ready» on /readyz ({} later)", readable(noticed)));
    for service in &services {
        let name = service.slot.kind.name();
        let readiness = health(service.slot.address, "readiness").await?;
        let liveness = health(service.slot.address, "liveness").await?;
        transcript.expect(
            readiness == ServingStatus::NotServing,
            format!("{name}: gRPC health «readiness» is {readiness:?}"),
        );
        transcript.expect(
            liveness == ServingStatus::Serving,
            format!("{name}: gRPC health «liveness» is {liveness:?}: so it is not restarted"),
        );
    }
    tokio::time::sleep(Duration::from_secs(4)).await;
    let started = std::time::Instant::now();
    postgres.start(&[])?;
    transcript.did("started PostgreSQL again; nothing else was changed");
    for service in &services {
        let what = format!("{} ready again", service.slot.kind.name());
        until(&what, Duration::from_secs(15), || service.is_ready()).await?;
    }
    transcript.did(format!(
        "both services are ready again without a restart ({} after the start began)",
        readable(started.elapsed())
    ));
    // By then every aborted call has been repeated under its own request id.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut tallies = workers.end().await?;
    transcript.did("calls during the whole time («failed» counts answers after which the call was repeated):");
    table(transcript, &tallies);
    let detail: Vec<_> = tallies.values().flat_map(|t| t.unavailable.iter().copied()).collect();
    let other: usize = tallies.values().map(|t| t.unknown.len() + t.refused.len() + t.overloaded.len()).sum();
    let longest = detail.iter().max().copied().unwrap_or_default();
    transcript.count(format!(
        "UNAVAILABLE / 503 answers {}: p50 {}, the slowest after {}",
        detail.len(),
        readable_percentile(&detail, 50),
        readable(longest),
    ));
    transcript.expect(detail.len() > 5, "calls without a database are answered UNAVAILABLE / 503");
    transcript.expect(other == 0, format!("and with no other error ({other})"));
    transcript.expect(longest < DEADLINE, format!("within the deadline of {DEADLINE:?}"));

    let after = start(false);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let after = after.end().await?;
    transcript.did("calls after it:");
    table(transcript, &after);
    let failed: usize = after.values().map(|t| t.failed() + t.overloaded.len()).sum();
    transcript.expect(failed == 0, format!("no call fails after it ({failed})"));
    for (kind, tally) in after {
        tallies.entry(kind).or_default().add(tally);
    }
    let found = verdict(&databases, &tallies).await?;
    let replayed: usize = tallies.values().map(|t| t.replayed.len()).sum();
    transcript.count(format!("{replayed} writes were acknowledged when they were repeated"));
    found.tell(transcript, &tallies);
    gate.stop().await?;
    for service in services {
        service.stop().await?;
    }
    Ok(())
}
