//! Attacks that make the product work: dear answers, cheap refusals, small imports, as fast as they are answered.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::try_join_all;
use http::Request;

use super::{ANSWER, FLOOD, QUERY, ROUTE};
use crate::abuse::Findings;
use crate::abuse::raw::{self, Ends, Http2, OPEN, READING};
use crate::abuse::stage::{LARGE_RETAIL, Stage};
use crate::deployment::Slot;

/// Imports of a company at once; one more would be refused.
const IMPORTS_AT_ONCE: usize = 2;
/// Lines that a process writes of refused calls in a second, and as many for whatever else it says.
const LINES_A_SECOND: usize = 100;

pub(super) async fn pages(stage: &Stage, findings: &mut Findings) -> anyhow::Result<()> {
    let until = Instant::now() + FLOOD;
    let connections =
        [Http2::open(stage.gateway.address, READING).await?, Http2::open(stage.gateway.address, READING).await?];
    let ask = |number: usize| {
        let connection = &connections[number % 2];
        let path = if number % 4 < 2 { "/docs/swagger-ui-bundle.js" } else { "/openapi.json" };
        async move {
            let mut ends = Ends::default();
            while Instant::now() < until {
                let head = Request::get(format!("http://x{path}")).header("accept-encoding", "gzip").body(())?;
                ends.add(raw::end(connection.request(head, Bytes::new()).await?, ANSWER).await);
            }
            Ok::<_, anyhow::Error>(ends)
        }
    };
    let mut all = Ends::default();
    try_join_all((0..40).map(ask)).await?.into_iter().for_each(|ends| all.append(ends));
    findings.expect(all.of(OPEN) == 0, format!("answers: {all}"));
    Ok(())
}

pub(super) async fn single_lines(stage: &Stage, findings: &mut Findings) -> anyhow::Result<()> {
    let until = Instant::now() + FLOOD;
    let done = AtomicUsize::new(0);
    let import = || async {
        let mut longest = Duration::ZERO;
        while Instant::now() < until {
            let account = 800_000_000 + stage.number();
            done.fetch_add(1, Ordering::Relaxed);
            let began = Instant::now();
            stage.import(LARGE_RETAIL, account, 1).await?;
            longest = longest.max(began.elapsed());
        }
        Ok::<_, anyhow::Error>(longest)
    };
    let longest = try_join_all((0..IMPORTS_AT_ONCE).map(|_| import())).await?.into_iter().max().unwrap_or_default();
    let count = done.load(Ordering::Relaxed);
    findings.expect(
        count > 20,
        format!("{count} lines beside {} were imported one by one, the slowest within {longest:?}", stage.large_lines),
    );
    Ok(())
}

pub(super) async fn refusals(stage: &Stage, findings: &mut Findings) -> anyhow::Result<()> {
    let (began, until) = (Instant::now(), Instant::now() + FLOOD);
    let lines = |slot: &Slot| slot.logged().lines().count();
    let before: Vec<_> = stage.slots().iter().map(lines).collect();
    let connections =
        [Http2::open(stage.billing.address, READING).await?, Http2::open(stage.gateway.address, READING).await?];
    let ask = |number: usize| {
        let connection = &connections[number % 2];
        async move {
            let mut ends = Ends::default();
            while Instant::now() < until {
                let head = if number.is_multiple_of(2) { raw::grpc(QUERY, &[])? } else { raw::post(ROUTE)? };
                ends.add(raw::end(connection.request(head, raw::framed(b"", None)).await?, ANSWER).await);
            }
            Ok::<_, anyhow::Error>(ends)
        }
    };
    let mut all = Ends::default();
    try_join_all((0..20).map(ask)).await?.into_iter().for_each(|ends| all.append(ends));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let seconds = usize::try_from(began.elapsed().as_secs())? + 1;
    let written = stage.slots().iter().zip(before).map(|(slot, before)| lines(slot) - before).max().unwrap_or_default();
    // The lines that say how many were left out are lines as well.
    findings.expect(
        written <= seconds * LINES_A_SECOND && !all.any_done(),
        format!("{all}: at most {written} lines in the log of a process in {seconds} s"),
    );
    Ok(())
}
