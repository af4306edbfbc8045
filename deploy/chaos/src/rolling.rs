//! Every process is replaced, one by one, while clients call over REST and gRPC.

use std::sync::Arc;
use std::time::Duration;

use crate::clients::{Clients, Protocol};
use crate::deployment::{Databases, Kind, Process, Slot};
use crate::installation::Installation;
use crate::postgres::Postgres;
use crate::tally::{table, verdict};
use crate::transcript::Transcript;
use crate::workers::Workers;
use communal_fixtures::credentials::billing::RETAIL;

/// Time for clients between two replacements.
const BETWEEN: Duration = Duration::from_millis(700);

pub(crate) async fn run(installation: &Installation, transcript: &mut Transcript) -> anyhow::Result<()> {
    let postgres = Postgres::create(installation, "primary")?;
    let databases = Databases::at(&postgres.socket());
    databases.fill(installation).await?;
    // Connections are so short-lived that GOAWAY under load is the rule.
    let settings = [("connection_age_s", "3")];
    let mut services = Vec::new();
    for kind in [Kind::Billing, Kind::Community] {
        for _ in 0..2 {
            services.push(Slot::service(kind, installation, &databases, &settings)?);
        }
    }
    let of_services: Vec<_> = services.iter().collect();
    let gateways = [Slot::gateway(installation, &of_services, &[])?, Slot::gateway(installation, &of_services, &[])?];
    let slots: Vec<_> = services.iter().chain(&gateways).collect();
    let mut processes = Vec::new();
    for slot in &slots {
        processes.push(slot.start().await?);
    }
    transcript.did("PostgreSQL, two replicas of billing and of community, two gateways: all ready");

    let clients = Arc::new(Clients::new(&slots, 1, Duration::from_secs(10))?);
    clients.store(RETAIL).await?;
    let items = clients.items(&databases, 8).await?;
    let mut workers = Workers::new();
    workers.updates("REST  community feeConfig.updateFeeConfig", &clients, Protocol::Rest, &items[..4], false);
    workers.updates("gRPC  community UpdateFeeConfig", &clients, Protocol::Grpc, &items[4..], false);
    workers.packages("REST  billing   AddSalePackage", &clients, 2, false);
    workers.reads("REST  billing   QueryUserArrearages", &clients, Protocol::Rest, 2);
    workers.reads("gRPC  billing   QueryUserArrearages", &clients, Protocol::Grpc, 2);
    transcript.did("14 clients call; none repeats a call that may have been delivered");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut replaced: Vec<Process> = Vec::new();
    let count = processes.len();
    for process in processes {
        let slot = process.slot.clone();
        process.stop().await?;
        replaced.push(slot.start().await?);
        transcript.did(format!("replaced the {} at {}", slot.kind.name(), slot.address));
        tokio::time::sleep(BETWEEN).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let tallies = workers.end().await?;
    transcript.did(format!("{count} processes replaced, each by SIGTERM and a new one in its place"));

    table(transcript, &tallies);
    let found = verdict(&databases, &tallies).await?;
    transcript.count(format!(
        "calls that clients repeated at another process after a refused connection: {}",
        clients.redelivered()
    ));
    let failed: usize = tallies.values().map(|tally| tally.failed() + tally.overloaded.len()).sum();
    transcript.expect(failed == 0, format!("no call failed ({failed})"));
    transcript.expect(tallies.values().all(|tally| tally.done.len() > 20), "every kind of client got answers");
    found.tell(transcript, &tallies);
    for process in replaced {
        process.stop().await?;
    }
    Ok(())
}
