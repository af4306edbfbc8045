//! Every process is replaced, one by one, while clients call over REST and gRPC.

use std::sync::Arc;
use std::time::Duration;

use crate::Place;
use crate::clients::{Clients, Door};
use crate::load::Load;
use crate::postgres::Postgres;
use crate::report::Report;
use crate::stage::{Databases, Kind, Process, RETAIL, Slot};
use crate::tally::{table, verdict};

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
    clients.store(RETAIL).await?;
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
    report.count(format!("refused connections that clients took elsewhere: {}", clients.redelivered()));
    let failed: usize = tallies.values().map(|tally| tally.failed() + tally.overloaded.len()).sum();
    report.expect(failed == 0, format!("no call failed ({failed})"));
    report.expect(tallies.values().all(|tally| tally.done.len() > 20), "every kind of client got answers");
    found.tell(report, &tallies);
    for process in replaced {
        process.stop().await?;
    }
    Ok(())
}
