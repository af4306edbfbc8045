//! The time from the start of a process on a migrated database until it is ready.

use super::{Run, figure};
use crate::arithmetic::Target;
use crate::report::Measurement;

pub(super) async fn measure(run: Run<'_>) -> anyhow::Result<()> {
    let stage = run.stage;
    let billing = stage.billing("bench_start_billing", &[]).await?;
    let community = stage.community("bench_start_community", &[]).await?;
    let (billing_address, community_address) = (billing.process.address.clone(), community.process.address.clone());
    let mut found = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..run.extent.rounds.max(5) {
        found[0].push(stage.serve("billing", &billing.database)?.ready_after);
        found[1].push(stage.serve("community", &community.database)?.ready_after);
        found[2].push(stage.gateway(&billing_address, &community_address)?.ready_after);
    }
    for (name, times) in ["billing", "community", "gateway"].into_iter().zip(found) {
        let time = figure(times.iter().map(|t| t.as_secs_f64() * 1e3));
        let measure = format!("{name}: from start to readiness");
        run.report.measurements.push(Measurement::alone("start", measure, "ms", time, Target::AtMost(300.0)));
    }
    Ok(())
}
