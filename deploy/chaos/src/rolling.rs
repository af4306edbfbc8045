//! Every process is replaced, one by one, while clients call over REST and gRPC.

use std::sync::Arc;
use std::time::Duration;

use crate::Place;
use crate::load::{Clients, Door, Load, Tallies, percentile, verdict};
use crate::postgres::Postgres;
use crate::report::{Report, readable};
use crate::stage::{Databases, Kind, Process, Slot};

/// Time for clients between two replacements.
const BETWEEN: Duration = Duration::from_millis(700);

pub(crate) async fn run(place: &Place, report: &mut Report) -> anyhow::Result<()> {
    let postgres = Postgres::create(place, "primary")?;
    let databases = Databases::at(&postgres.socket());
    databases.fill(place).await?;
    // Connections are so short-lived that GOAWAY in mid-load is the rule.
    let settings = [("connection_age_s", "3")];
    let mut services = Vec::new();
    for kind in [Kind::Billing, Kind::Community] {
        for _ in 0..2 {
            services.push(Slot::service(kind, place, &databases, &settings)?);
        }
    }
    let of_services: Vec<_> = services.iter().collect();
    let gateways = [Slot::gateway(place, &of_services, &[])?, Slot::gateway(place, &of_services, &[])?];
    let slots: Vec<_> = services.iter().chain(&gateways).collect();
    let mut processes = Vec::new();
    for slot in &slots {
        processes.push(slot.start().await?);
    }
    report.did("PostgreSQL, two replicas of billing and of community, two gateways: all ready");

    let clients = Arc::new(Clients::new(&slots, 1, Duration::from_secs(10))?);
    clients.store().await?;
    let items = clients.items(&databases, 8).await?;
    let mut load = Load::new();
    load.updates("REST  community feeConfig.updateFeeConfig", &clients, Door::Rest, &items[..4], false);
    load.updates("gRPC  community UpdateFeeConfig", &clients, Door::Grpc, &items[4..], false);
    load.packages("REST  billing   AddSalePackage", &clients, 2, false);
    load.reads("REST  billing   QueryUserArrearages", &clients, Door::Rest, 2);
    load.reads("gRPC  billing   QueryUserArrearages", &clients, Door::Grpc, 2);
    report.did("14 clients call; none makes a call again that may have been delivered");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut replaced: Vec<Process> = Vec::new();
    let count = processes.len();
    for process in processes {
        let slot = process.slot.clone();
        process.stop().await?;
        replaced.push(slot.start().await?);
        report.did(format!("replaced the {} at {}", slot.kind.name(), slot.address));
        tokio::time::sleep(BETWEEN).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let tallies = load.end().await?;
    report.did(format!("{count} processes replaced, each by SIGTERM and a new one in its place"));

    table(report, &tallies);
    let found = verdict(&databases, &tallies).await?;
    report.count(format!(
        "writes acknowledged {}, lost {}, doubled {}; refused connections that clients took elsewhere: {}",
        found.acknowledged,
        found.lost,
        found.doubled,
        clients.redelivered(),
    ));
    let failed: usize = tallies.values().map(|tally| tally.failed() + tally.overloaded.len()).sum();
    report.expect(failed == 0, format!("no call failed ({failed})"));
    report.expect(tallies.values().all(|tally| tally.done.len() > 20), "every kind of client got answers");
    report.expect(found.lost == 0, format!("no acknowledged write is lost ({})", found.lost));
    report.expect(found.doubled == 0, format!("no write was done twice ({})", found.doubled));
    for process in replaced {
        process.stop().await?;
    }
    Ok(())
}

/// Counts by kind of call.
pub(crate) fn table(report: &Report, tallies: &Tallies) {
    for (kind, tally) in tallies {
        let p99 = percentile(&tally.done, 99).map(readable).unwrap_or_default();
        report.count(format!(
            "{kind:<45} calls {:>6}, failed {:>4}, overloaded {:>4}, p99 {p99}",
            tally.calls(),
            tally.failed(),
            tally.overloaded.len(),
        ));
        for told in &tally.told {
            report.count(format!("    told: {told}"));
        }
    }
}
