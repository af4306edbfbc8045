//! The counts of clients, and their comparison with the databases.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use crate::clients::Answer;
use crate::deployment::Databases;
use crate::transcript::{Counts, Transcript, readable};

/// The counts of a client.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Times of the answers, by their kind.
    pub(crate) done: Vec<Duration>,
    pub(crate) overloaded: Vec<Duration>,
    pub(crate) unavailable: Vec<Duration>,
    pub(crate) unknown: Vec<Duration>,
    pub(crate) refused: Vec<Duration>,
    /// Refusals for overload without a delay.
    pub(crate) unguided: usize,
    /// Writes that were acknowledged only when they were repeated.
    pub(crate) replayed: Vec<Key>,
    /// Writes that must be stored exactly once, according to the answers.
    pub(crate) acknowledged: Vec<Write>,
    /// Some details of failed calls.
    pub(crate) detail: Vec<String>,
}

/// The record and the value of a write, by which it is found in the database.
pub(crate) type Key = (String, String);

/// A write that was acknowledged.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    pub(crate) key: Key,
    /// The instant of its answer.
    pub(crate) at: Instant,
}

/// Tallies by kind of call.
pub(crate) type Tallies = BTreeMap<&'static str, Tally>;

impl Tally {
    pub(crate) fn count(&mut self, answer: &Answer, took: Duration) {
        let detail = match answer {
            Answer::Done => {
                self.done.push(took);
                return;
            }
            Answer::Overloaded(wait) => {
                self.overloaded.push(took);
                self.unguided += usize::from(wait.is_none());
                return;
            }
            Answer::Unavailable(detail) => {
                self.unavailable.push(took);
                detail
            }
            Answer::Unknown(detail) => {
                self.unknown.push(took);
                detail
            }
            Answer::Refused(detail) => {
                self.refused.push(took);
                detail
            }
        };
        if self.detail.len() < 3 && !self.detail.contains(detail) {
            self.detail.push(detail.chars().take(300).collect());
        }
    }

    /// Notes that a write was acknowledged now.
    pub(crate) fn acknowledge(&mut self, key: Key) {
        self.acknowledged.push(Write { key, at: Instant::now() });
    }

    /// The number of answers of any kind.
    pub(crate) fn calls(&self) -> usize {
        self.done.len() + self.overloaded.len() + self.failed()
    }

    /// The number of answers that are neither «done» nor «repeat later».
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
        for detail in other.detail {
            if self.detail.len() < 3 && !self.detail.contains(&detail) {
                self.detail.push(detail);
            }
        }
    }
}

/// Returns a percentile of times, or `None` without times.
pub(crate) fn percentile(times: &[Duration], percent: usize) -> Option<Duration> {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted.get((sorted.len() * percent / 100).min(sorted.len().checked_sub(1)?)).copied()
}

/// Formats a percentile for people.
pub(crate) fn readable_percentile(times: &[Duration], percent: usize) -> String {
    percentile(times, percent).map_or_else(|| "-".to_owned(), readable)
}

/// Prints the counts by kind of call.
pub(crate) fn table(transcript: &Transcript, tallies: &Tallies) {
    for (kind, tally) in tallies {
        transcript.count(format!(
            "{kind:<45} calls {:>6}, failed {:>4}, overloaded {:>4}, p99 {}",
            tally.calls(),
            tally.failed(),
            tally.overloaded.len(),
            readable_percentile(&tally.done, 99),
        ));
        for detail in &tally.detail {
            transcript.count(format!("    detail: {detail}"));
        }
    }
}

/// The comparison of acknowledged writes with the databases.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Verdict {
    /// Acknowledged writes that are not stored.
    pub(crate) lost: usize,
    /// Writes that are stored more than once.
    pub(crate) doubled: usize,
    /// Acknowledged writes.
    pub(crate) acknowledged: usize,
}

impl Verdict {
    /// Prints the counts of a whole scenario and its expectations.
    pub(crate) fn tell(self, transcript: &mut Transcript, tallies: &Tallies) {
        let sum = |of: fn(&Tally) -> usize| tallies.values().map(of).sum::<usize>();
        transcript.total(Counts {
            calls: sum(Tally::calls),
            failed: sum(Tally::failed),
            overloaded: sum(|tally| tally.overloaded.len()),
            acknowledged: self.acknowledged,
            lost: self.lost,
            doubled: self.doubled,
        });
        transcript.expect(self.lost == 0, format!("no acknowledged write is lost ({})", self.lost));
        transcript.expect(self.doubled == 0, format!("no write was done twice ({})", self.doubled));
    }
}

/// Compares all acknowledged writes with the databases.
pub(crate) async fn verdict(databases: &Databases, tallies: &Tallies) -> anyhow::Result<Verdict> {
    verdict_on(databases, tallies.values().flat_map(|tally| &tally.acknowledged)).await
}

/// Compares some of the writes. The change log has one entry for each change of an item, a package is a row, and a
/// batch is stored whole or not at all.
pub(crate) async fn verdict_on(
    databases: &Databases,
    acknowledged: impl Iterator<Item = &Write>,
) -> anyhow::Result<Verdict> {
    let mut stored: HashMap<Key, i64> = HashMap::new();
    let changes: Vec<(String, String, i64)> = sqlx::query_as(
        "SELECT key, trim_scale((after ->> 'square_price')::numeric)::text, count(*) FROM platform.change
         WHERE noun = 'fee_item' AND tenant_id = $1 GROUP BY 1, 2",
    )
    .bind(communal_fixtures::credentials::community::HOME)
    .fetch_all(&databases.pool("community")?)
    .await?;
    stored.extend(changes.into_iter().map(|(item, price, count)| ((item, price), count)));
    let billing = databases.pool("billing")?;
    let packages: Vec<(String, i64)> =
        sqlx::query_as("SELECT name, count(*) FROM package GROUP BY 1").fetch_all(&billing).await?;
    stored.extend(packages.into_iter().map(|(name, count)| (("package".to_owned(), name), count)));
    // The number of copies of each batch; -1 stands for a part of one.
    let batches: Vec<(String, i64)> = sqlx::query_as(
        "SELECT batch_id, CASE WHEN count(*) % b.lines = 0 THEN count(*) / b.lines ELSE -1 END
         FROM receivable_batch b JOIN receivable_line r USING (batch_id) GROUP BY batch_id, b.company_id, b.lines",
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
