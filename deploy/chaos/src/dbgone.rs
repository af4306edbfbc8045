//! PostgreSQL stops under load, and comes back.

use std::sync::Arc;
use std::time::Duration;

use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::Place;
use crate::clients::{Clients, Door};
use crate::load::Load;
use crate::postgres::{Postgres, until};
use crate::report::{Report, readable};
use crate::stage::{Databases, Kind, RETAIL, Slot};
use crate::tally::{readable_percentile, table, verdict};

/// What every client waits for at most.
const DEADLINE: Duration = Duration::from_secs(10);

pub(crate) async fn run(place: &Place, report: &mut Report) -> anyhow::Result<()> {
    let postgres = Postgres::create(place, "primary")?;
    let databases = Databases::at(&postgres.socket());
    databases.fill(place).await?;
    let billing = Slot::service(Kind::Billing, place, &databases, &[])?;
    let community = Slot::service(Kind::Community, place, &databases, &[])?;
    let gateway = Slot::gateway(place, &[&billing, &community], &[])?;
    let services = [billing.start().await?, community.start().await?];
    let gate = gateway.start().await?;
    report.did("PostgreSQL, billing, community and the gateway: all ready");

    let clients = Arc::new(Clients::new(&[&billing, &community, &gateway], 2, DEADLINE)?);
    clients.store(RETAIL).await?;
    let items = clients.items(&databases, 6).await?;
    let start = |replay: bool| {
        let mut load = Load::new();
        load.updates("REST  community feeConfig.updateFeeConfig", &clients, Door::Rest, &items[..3], replay);
        load.updates("gRPC  community UpdateFeeConfig", &clients, Door::Grpc, &items[3..], replay);
        load.reads("REST  billing   QueryUserArrearages", &clients, Door::Rest, 2);
        load
    };
    let load = start(true);
    tokio::time::sleep(Duration::from_secs(2)).await;
    postgres.stop()?;
    report.did("stopped PostgreSQL (connections ended), clients go on");
    let mut noticed = Duration::ZERO;
    for service in &services {
        let what = format!("{} not ready", service.slot.kind.name());
        noticed = noticed.max(until(&what, Duration::from_secs(8), || async { !service.is_ready().await }).await?);
    }
    report.did(format!("both services say on /readyz that they are not ready ({} later)", readable(noticed)));
    for service in &services {
        let name = service.slot.kind.name();
        let readiness = health(service.slot.address, "readiness").await?;
        let liveness = health(service.slot.address, "liveness").await?;
        report.expect(
            readiness == ServingStatus::NotServing,
            format!("{name}: gRPC health «readiness» is {readiness:?}"),
        );
        report.expect(
            liveness == ServingStatus::Serving,
            format!("{name}: gRPC health «liveness» is {liveness:?}: nobody restarts it"),
        );
    }
    tokio::time::sleep(Duration::from_secs(4)).await;
    let started = std::time::Instant::now();
    postgres.start(&[])?;
    report.did("started PostgreSQL again; nothing else was touched");
    for service in &services {
        let what = format!("{} ready again", service.slot.kind.name());
        until(&what, Duration::from_secs(15), || service.is_ready()).await?;
    }
    report.did(format!(
        "both services are ready again by themselves ({} after the start began)",
        readable(started.elapsed())
    ));
    // Every call that was cut off is made again by now, under its own request id.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut tallies = load.end().await?;
    report.did("calls during all of it («failed» are answers that clients made the call again for):");
    table(report, &tallies);
    let told: Vec<_> = tallies.values().flat_map(|t| t.unavailable.iter().copied()).collect();
    let other: usize = tallies.values().map(|t| t.unknown.len() + t.refused.len() + t.overloaded.len()).sum();
    let longest = told.iter().max().copied().unwrap_or_default();
    report.count(format!(
        "UNAVAILABLE / 503 answers {}: half within {}, the slowest after {}",
        told.len(),
        readable_percentile(&told, 50),
        readable(longest),
    ));
    report.expect(told.len() > 5, "calls without a database are answered UNAVAILABLE / 503");
    report.expect(other == 0, format!("and in no other way ({other})"));
    report.expect(longest < DEADLINE, format!("within the deadline of {DEADLINE:?}"));

    let after = start(false);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let after = after.end().await?;
    report.did("calls after it:");
    table(report, &after);
    let failed: usize = after.values().map(|t| t.failed() + t.overloaded.len()).sum();
    report.expect(failed == 0, format!("no call fails after it ({failed})"));
    for (kind, tally) in after {
        tallies.entry(kind).or_default().add(tally);
    }
    let found = verdict(&databases, &tallies).await?;
    let replayed: usize = tallies.values().map(|t| t.replayed.len()).sum();
    report.count(format!("of the writes, {replayed} were acknowledged after they were made again"));
    found.tell(report, &tallies);
    gate.stop().await?;
    for service in services {
        service.stop().await?;
    }
    Ok(())
}

/// What gRPC health says under a name.
pub(crate) async fn health(address: std::net::SocketAddr, name: &str) -> anyhow::Result<ServingStatus> {
    let channel = Endpoint::from_shared(format!("http://{address}"))?.connect().await?;
    let question = HealthCheckRequest { service: name.to_owned() };
    Ok(HealthClient::new(channel).check(question).await?.into_inner().status())
}
