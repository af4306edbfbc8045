//! Imports: streams that a client sends and that are written whole or not at all.
//!
//! An import keeps a transaction open while it arrives, so there are few at once, in all and of one
//! tenant; its sender has to keep a pace, and the whole has an end. Only the time in which the
//! service waits for the sender counts against the sender's pace.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use communal_proto::contract::v1::Reason as Common;
use metrics::Counter;
use tokio::time::{Instant, timeout_at};

use crate::limits;
use crate::limits::{Levels, Quota, Shared};
use crate::refusal::Refusal;

limits! {
    /// What imports may use.
    UploadLimits, LIMITS: UploadLimitDeclarations {
        imports: count("imports", 4, "imports at once", "RESOURCE_EXHAUSTED"),
        tenant_imports: count("tenant_imports", 2, "imports of one tenant at once", "RESOURCE_EXHAUSTED"),
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
    /// Only tenants that import have one.
    tenants: Mutex<HashMap<String, Arc<Quota>>>,
    levels: Levels,
    reached: Reached,
}

#[derive(Clone, Debug)]
struct Reached {
    of_tenant: Counter,
    whole: Counter,
    window: Counter,
}

impl Uploads {
    /// Counts the imports of a service.
    #[must_use]
    pub fn new(service: &'static str, limits: UploadLimits) -> Arc<Self> {
        let reached = Reached {
            of_tenant: LIMITS.tenant_imports.reached(service),
            whole: LIMITS.whole.reached(service),
            window: LIMITS.window.reached(service),
        };
        // What is registered begins at zero, so that its first step is seen as one.
        for counter in [&reached.of_tenant, &reached.whole, &reached.window] {
            counter.increment(0);
        }
        let all = Quota::new(service, &LIMITS.imports, limits.imports);
        let levels = Levels::new(service, vec![(&LIMITS.imports, Arc::clone(&all))]);
        Arc::new(Self { limits, all, tenants: Mutex::default(), levels, reached })
    }

    /// Begins an import of a tenant.
    ///
    /// # Errors
    /// Returns `OVERLOADED` if there are as many as there may be, in all or of the tenant.
    pub fn begin(self: &Arc<Self>, tenant_id: &str) -> Result<Upload, Refusal> {
        let place = Shared::take(&self.all, &self.of_tenant(tenant_id), 1);
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

    fn of_tenant(&self, tenant_id: &str) -> Arc<Quota> {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        tenants.retain(|_, quota| quota.used() > 0);
        let new = || Quota::counted(self.limits.tenant_imports, self.reached.of_tenant.clone());
        Arc::clone(tenants.entry(tenant_id.to_owned()).or_insert_with(new))
    }
}

/// An import that is under way; dropping it gives its place back.
#[derive(Debug)]
pub struct Upload {
    pace: Pace,
    place: Option<Shared>,
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

    use tokio::time::sleep;

    use super::*;

    const STEP: Duration = Duration::from_millis(40);

    fn uploads(whole: Duration) -> Arc<Uploads> {
        let limits = UploadLimits { imports: 3, tenant_imports: 2, whole, window: STEP * 5, part: 10 };
        Uploads::new("test", limits)
    }

    #[test]
    fn a_tenant_takes_its_places_and_no_others() {
        let uploads = uploads(Duration::from_secs(60));
        let (first, second) = (uploads.begin("a").unwrap(), uploads.begin("a").unwrap());
        assert_eq!(uploads.begin("a").unwrap_err().reason(), "OVERLOADED");
        let other = uploads.begin("b").unwrap();
        assert_eq!(uploads.begin("c").unwrap_err().reason(), "OVERLOADED", "three in all");
        drop(first);
        let third = uploads.begin("c").unwrap();
        drop((second, other, third));
        assert_eq!(uploads.all.used(), 0);
        let _again = uploads.begin("a").unwrap();
        assert_eq!(uploads.tenants.lock().unwrap().len(), 1, "who imports nothing is not remembered");
    }

    #[tokio::test]
    async fn a_sender_that_sends_parts_without_rows_is_late() {
        let uploads = uploads(Duration::from_secs(60));
        let mut upload = uploads.begin("a").unwrap();
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
        let mut upload = uploads.begin("a").unwrap();
        for _ in 0..6 {
            upload.wait(sleep(STEP)).await.unwrap();
            upload.came(5);
            sleep(STEP * 2).await;
        }
    }

    #[tokio::test]
    async fn the_whole_has_an_end_whatever_the_pace() {
        let uploads = uploads(STEP * 3);
        let mut upload = uploads.begin("a").unwrap();
        upload.wait(sleep(STEP)).await.unwrap();
        upload.came(1_000_000);
        let began = Instant::now();
        assert!(upload.wait(pending::<()>()).await.is_err());
        assert!(began.elapsed() < STEP * 5);
    }
}
