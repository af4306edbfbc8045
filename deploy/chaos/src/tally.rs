//! What clients counted, and what the databases say of what they were promised.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use crate::clients::Answer;
use crate::report::{Counts, Report, readable};
use crate::stage::Databases;

/// What a client counted.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Times of the answers, by what they were.
    pub(crate) done: Vec<Duration>,
    pub(crate) overloaded: Vec<Duration>,
    pub(crate) unavailable: Vec<Duration>,
    pub(crate) unknown: Vec<Duration>,
    pub(crate) refused: Vec<Duration>,
    /// Refusals for overload that do not say when to come back.
    pub(crate) unguided: usize,
    /// Calls that were acknowledged only after they were made again.
    pub(crate) replayed: Vec<Key>,
    /// What is stored by the answers: exactly this, once each.
    pub(crate) acknowledged: Vec<Write>,
    /// Some of what was told.
    pub(crate) told: Vec<String>,
}

/// What a write changed, and the value: it can be found in the database by it.
pub(crate) type Key = (String, String);

/// A write that was acknowledged.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    pub(crate) key: Key,
    /// When its answer was there.
    pub(crate) at: Instant,
}

/// Tallies by kind of call.
pub(crate) type Tallies = BTreeMap<&'static str, Tally>;

impl Tally {
    pub(crate) fn count(&mut self, answer: &Answer, took: Duration) {
        let told = match answer {
            Answer::Done => {
                self.done.push(took);
                return;
            }
            Answer::Overloaded(wait) => {
                self.overloaded.push(took);
                self.unguided += usize::from(wait.is_none());
                return;
            }
            Answer::Unavailable(told) => {
                self.unavailable.push(took);
                told
            }
            Answer::Unknown(told) => {
                self.unknown.push(took);
                told
            }
            Answer::Refused(told) => {
                self.refused.push(took);
                told
            }
        };
        if self.told.len() < 3 && !self.told.contains(told) {
            self.told.push(told.chars().take(300).collect());
        }
    }

    /// A write was acknowledged just now.
    pub(crate) fn acknowledge(&mut self, key: Key) {
        self.acknowledged.push(Write { key, at: Instant::now() });
    }

    /// Answers of any kind.
    pub(crate) fn calls(&self) -> usize {
        self.done.len() + self.overloaded.len() + self.failed()
    }

    /// Answers that are neither «done» nor «come back later».
    pub(crate) fn failed(&self) -> usize {
        self.unavailable.len() + self.unknown.len() + self.refused.len()
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.done.extend(other.done);
        self.overloaded.extend(other.overloaded);
        self.unavailable.extend(other.unavailable);
        self.unknown.extend(other.unknown);
        self.refused.extend(other.refused);
        self.unguided += other.unguided;
        self.replayed.extend(other.replayed);
        self.acknowledged.extend(other.acknowledged);
        for told in other.told {
            if self.told.len() < 3 && !self.told.contains(&told) {
                self.told.push(told);
            }
        }
    }
}

/// The time that a share of the answers did not exceed; `None` without answers.
pub(crate) fn percentile(times: &[Duration], percent: usize) -> Option<Duration> {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted.get((sorted.len() * percent / 100).min(sorted.len().checked_sub(1)?)).copied()
}

/// A percentile as people read it.
pub(crate) fn readable_percentile(times: &[Duration], percent: usize) -> String {
    percentile(times, percent).map_or_else(|| "-".to_owned(), readable)
}

/// Counts by kind of call.
pub(crate) fn table(report: &Report, tallies: &Tallies) {
    for (kind, tally) in tallies {
        report.count(format!(
            "{kind:<45} calls {:>6}, failed {:>4}, overloaded {:>4}, p99 {}",
            tally.calls(),
            tally.failed(),
            tally.overloaded.len(),
            readable_percentile(&tally.done, 99),
        ));
        for told in &tally.told {
            report.count(format!("    told: {told}"));
        }
    }
}

/// What the databases say of acknowledged writes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Verdict {
    /// Acknowledged, and not there.
    pub(crate) lost: usize,
    /// There more than once.
    pub(crate) doubled: usize,
    /// Acknowledged writes.
    pub(crate) acknowledged: usize,
}

impl Verdict {
    /// Tells the counts of a whole scenario, and what must hold of them.
    pub(crate) fn tell(self, report: &mut Report, tallies: &Tallies) {
        let sum = |of: fn(&Tally) -> usize| tallies.values().map(of).sum::<usize>();
        report.total(Counts {
            calls: sum(Tally::calls),
            failed: sum(Tally::failed),
            overloaded: sum(|tally| tally.overloaded.len()),
            acknowledged: self.acknowledged,
            lost: self.lost,
            doubled: self.doubled,
        });
        report.expect(self.lost == 0, format!("no acknowledged write is lost ({})", self.lost));
        report.expect(self.doubled == 0, format!("no write was done twice ({})", self.doubled));
    }
}

/// Compares what was acknowledged with what is stored.
pub(crate) async fn verdict(databases: &Databases, tallies: &Tallies) -> anyhow::Result<Verdict> {
    verdict_on(databases, tallies.values().flat_map(|tally| &tally.acknowledged)).await
}

/// The same for some of the writes. The change log has one entry for each change of an item,
/// packages are rows, and a batch is there whole or not at all.
pub(crate) async fn verdict_on(
    databases: &Databases,
    acknowledged: impl Iterator<Item = &Write>,
) -> anyhow::Result<Verdict> {
    let mut stored: HashMap<Key, i64> = HashMap::new();
    let changes: Vec<(String, String, i64)> = sqlx::query_as(
        "SELECT key, trim_scale((after ->> 'square_price')::numeric)::text, count(*) FROM platform.change
         WHERE noun = 'fee_item' AND tenant_id = $1 GROUP BY 1, 2",
    )
    .bind(crate::stage::COMMUNITY)
    .fetch_all(&databases.pool("community")?)
    .await?;
    stored.extend(changes.into_iter().map(|(item, price, count)| ((item, price), count)));
    let billing = databases.pool("billing")?;
    let packages: Vec<(String, i64)> =
        sqlx::query_as("SELECT name, count(*) FROM package GROUP BY 1").fetch_all(&billing).await?;
    stored.extend(packages.into_iter().map(|(name, count)| (("package".to_owned(), name), count)));
    // How often the batch is there; a part of one is a count that nobody expects.
    let batches: Vec<(String, i64)> = sqlx::query_as(
        "SELECT batch_id, CASE WHEN count(*) % b.lines = 0 THEN count(*) / b.lines ELSE -1 END
         FROM receivable_batch b JOIN receivable r USING (batch_id) GROUP BY batch_id, b.company_id, b.lines",
    )
    .fetch_all(&billing)
    .await?;
    stored.extend(batches.into_iter().map(|(batch, count)| (("batch".to_owned(), batch), count)));
    let (mut lost, mut all) = (0, 0);
    for write in acknowledged {
        all += 1;
        lost += usize::from(stored.get(&write.key).is_none_or(|count| *count < 1));
    }
    Ok(Verdict { lost, doubled: stored.values().filter(|count| **count > 1).count(), acknowledged: all })
}
