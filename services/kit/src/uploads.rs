//! Imports: streams that a client sends and that are written whole or not at all.
//!
//! An import keeps a transaction open while it arrives, so there are few at once, in all, of one
//! channel and of one tenant; its sender has to keep a pace, and the whole has an end. Only the time in which the
//! service waits for the sender counts against the sender's pace.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use communal_proto::contract::v1::Reason as Common;
use futures::{Stream, StreamExt as _};
use metrics::Counter;
use tokio::time::{Instant, timeout_at};
use tonic::Status;

use crate::call::Call;
use crate::limits;
use crate::limits::{Hold, Levels, Quota, Shared};
use crate::refusal::Refusal;

limits! {
    /// What imports may use.
    UploadLimits, LIMITS: UploadLimitDeclarations {
        imports: count("imports", 4, "imports at once", "RESOURCE_EXHAUSTED"),
        tenant_imports: count("tenant_imports", 2, "imports of one tenant at once", "RESOURCE_EXHAUSTED"),
        channel_imports: count("channel_imports", 3, "imports of one channel at once", "RESOURCE_EXHAUSTED"),
        whole: time("import_ms", 600_000, "the time until an import has arrived", "DEADLINE_EXCEEDED"),
        window: time("import_window_ms", 30_000, "the time of waiting within which the next rows of an import have to come", "DEADLINE_EXCEEDED"),
        part: count("import_window_rows", 500, "the rows of an import that have to come within that time, or its end", "DEADLINE_EXCEEDED"),
    }
}

/// When a refused sender may try again.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// The imports of a service that are under way.
#[derive(Debug)]
pub struct Uploads {
    limits: UploadLimits,
    all: Arc<Quota>,
    channels: Parties,
    tenants: Parties,
    levels: Levels,
    reached: Reached,
}

/// The shares of parties that import.
#[derive(Debug)]
struct Parties {
    most: usize,
    reached: Counter,
    /// Those that import now.
    shares: Mutex<HashMap<String, Arc<Quota>>>,
}

impl Parties {
    fn new(most: usize, reached: Counter) -> Self {
        // What is registered begins at zero, so that its first step is seen as one.
        reached.increment(0);
        Self { most, reached, shares: Mutex::default() }
    }

    fn of(&self, id: &str) -> Arc<Quota> {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        shares.retain(|_, quota| quota.used() > 0);
        let new = || Quota::counted(self.most, self.reached.clone());
        Arc::clone(shares.entry(id.to_owned()).or_insert_with(new))
    }
}

#[derive(Clone, Debug)]
struct Reached {
    whole: Counter,
    window: Counter,
}

impl Uploads {
    /// Counts the imports of a service.
    #[must_use]
    pub fn new(service: &'static str, limits: UploadLimits) -> Arc<Self> {
        let reached = Reached { whole: LIMITS.whole.reached(service), window: LIMITS.window.reached(service) };
        // What is registered begins at zero, so that its first step is seen as one.
        for counter in [&reached.whole, &reached.window] {
            counter.increment(0);
        }
        let all = Quota::new(service, &LIMITS.imports, limits.imports);
        let levels = Levels::new(service, vec![(&LIMITS.imports, Arc::clone(&all))]);
        let channels = Parties::new(limits.channel_imports, LIMITS.channel_imports.reached(service));
        let tenants = Parties::new(limits.tenant_imports, LIMITS.tenant_imports.reached(service));
        Arc::new(Self { limits, all, channels, tenants, levels, reached })
    }

    /// Begins an import.
    ///
    /// # Errors
    /// Returns `OVERLOADED` if there are as many as there may be: in all, of the channel, or of the tenant.
    pub fn begin(self: &Arc<Self>, call: &Call) -> Result<Upload, Refusal> {
        let place =
            self.tenants.of(&call.tenant.id).take(1).and_then(|of_tenant| {
                Some((of_tenant, Shared::take(&self.all, &self.channels.of(&call.channel_id), 1)?))
            });
        let Some(place) = place else {
            let refusal = Refusal::new(Common::Overloaded, "导入任务过多，请稍后重试");
            return Err(refusal.retry_after(RETRY_AFTER));
        };
        self.levels.measure();
        let pace = Pace {
            limits: self.limits,
            until: Instant::now() + self.limits.whole,
            waited: Duration::ZERO,
            rows: 0,
            reached: self.reached.clone(),
        };
        Ok(Upload { pace, place: Some(place), uploads: Arc::clone(self) })
    }
}

/// An import that is under way; dropping it gives its place back.
#[derive(Debug)]
pub struct Upload {
    pace: Pace,
    place: Option<(Hold, Shared)>,
    uploads: Arc<Uploads>,
}

impl Drop for Upload {
    fn drop(&mut self) {
        drop(self.place.take());
        self.uploads.levels.measure();
    }
}

impl Upload {
    /// Waits for the next part of the stream.
    ///
    /// # Errors
    /// Returns `DEADLINE_EXCEEDED` if too little comes, or the import takes too long.
    pub async fn wait<T>(&mut self, next: impl Future<Output = T>) -> Result<T, Refusal> {
        self.pace.wait(next).await
    }

    /// Returns the next message of the stream, whose rows are counted, or `None` at its end. `broken` is the
    /// message for people if the stream breaks.
    ///
    /// # Errors
    /// Returns what [`Upload::wait`] does, and `UNAVAILABLE` if the sender cancelled or lost its connection;
    /// it does not read the answer then.
    pub async fn next<M>(
        &mut self,
        stream: &mut (impl Stream<Item = Result<M, Status>> + Unpin),
        rows: impl Fn(&M) -> usize,
        broken: &'static str,
    ) -> Result<Option<M>, Refusal> {
        match self.wait(stream.next()).await? {
            None => Ok(None),
            Some(Ok(message)) => {
                self.came(rows(&message));
                Ok(Some(message))
            }
            Some(Err(status)) => Err(Refusal::new(Common::Unavailable, broken).cause(status)),
        }
    }

    /// Counts rows that came.
    pub fn came(&mut self, rows: usize) {
        self.pace.came(rows);
    }
}

/// The pace of an import.
#[derive(Debug)]
struct Pace {
    limits: UploadLimits,
    until: Instant,
    /// Time of waiting in this window.
    waited: Duration,
    /// Rows that came in this window.
    rows: usize,
    reached: Reached,
}

impl Pace {
    async fn wait<T>(&mut self, next: impl Future<Output = T>) -> Result<T, Refusal> {
        let began = Instant::now();
        let end_of_window = began + self.limits.window.saturating_sub(self.waited);
        match timeout_at(end_of_window.min(self.until), next).await {
            Ok(next) => {
                self.waited += began.elapsed();
                Ok(next)
            }
            Err(late) => {
                let (reached, text) = if Instant::now() >= self.until {
                    (&self.reached.whole, "导入时间过长，已中断，未导入任何明细")
                } else {
                    (&self.reached.window, "数据流过慢或中断，未导入任何明细")
                };
                reached.increment(1);
                Err(Refusal::new(Common::DeadlineExceeded, text).cause(late))
            }
        }
    }

    fn came(&mut self, rows: usize) {
        self.rows += rows;
        if self.rows >= self.limits.part {
            self.rows = 0;
            self.waited = Duration::ZERO;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::future::pending;

    use chrono::Utc;
    use communal_proto::identity::v1::TenantKind;
    use tokio::time::sleep;

    use super::*;
    use crate::call::Tenant;

    const STEP: Duration = Duration::from_millis(40);

    fn uploads(whole: Duration) -> Arc<Uploads> {
        let limits =
            UploadLimits { imports: 4, tenant_imports: 2, channel_imports: 3, whole, window: STEP * 5, part: 10 };
        Uploads::new("test", limits)
    }

    fn call(channel: &str, tenant: &str) -> Call {
        let tenant = Tenant { id: tenant.into(), kind: TenantKind::RetailCompany };
        Call { channel_id: channel.into(), ..Call::internal(tenant, "test", Utc::now()) }
    }

    #[test]
    fn nobody_takes_more_than_his_share() {
        let uploads = uploads(Duration::from_secs(60));
        let begin = |channel: &str, tenant: &str| uploads.begin(&call(channel, tenant));
        let (first, second) = (begin("x", "a").unwrap(), begin("x", "a").unwrap());
        assert_eq!(begin("y", "a").unwrap_err().reason(), "OVERLOADED", "two of a tenant, whatever the channel");
        let third = begin("x", "b").unwrap();
        assert_eq!(begin("x", "c").unwrap_err().reason(), "OVERLOADED", "three of a channel, whatever the tenant");
        let fourth = begin("y", "c").unwrap();
        assert_eq!(begin("z", "d").unwrap_err().reason(), "OVERLOADED", "four in all");
        drop(first);
        let fifth = begin("z", "d").unwrap();
        drop((second, third, fourth, fifth));
        assert_eq!(uploads.all.used(), 0);
        let _again = begin("x", "a").unwrap();
        assert_eq!(uploads.tenants.shares.lock().unwrap().len(), 1, "who imports nothing is not remembered");
    }

    #[tokio::test]
    async fn a_sender_that_sends_parts_without_rows_is_late() {
        let uploads = uploads(Duration::from_secs(60));
        let mut upload = uploads.begin(&call("x", "a")).unwrap();
        let mut parts = 0;
        let refusal = loop {
            match upload.wait(sleep(STEP)).await {
                Ok(()) => upload.came(0),
                Err(refusal) => break refusal,
            }
            parts += 1;
        };
        assert_eq!(refusal.reason(), "DEADLINE_EXCEEDED");
        assert!((1..=5).contains(&parts), "{parts}");
    }

    #[tokio::test]
    async fn rows_buy_time_and_what_the_service_does_costs_none() {
        let uploads = uploads(Duration::from_secs(60));
        let mut upload = uploads.begin(&call("x", "a")).unwrap();
        for _ in 0..6 {
            upload.wait(sleep(STEP)).await.unwrap();
            upload.came(5);
            sleep(STEP * 2).await;
        }
    }

    #[tokio::test]
    async fn the_whole_has_an_end_whatever_the_pace() {
        let uploads = uploads(STEP * 3);
        let mut upload = uploads.begin(&call("x", "a")).unwrap();
        upload.wait(sleep(STEP)).await.unwrap();
        upload.came(1_000_000);
        let began = Instant::now();
        assert!(upload.wait(pending::<()>()).await.is_err());
        assert!(began.elapsed() < STEP * 5);
    }
}
