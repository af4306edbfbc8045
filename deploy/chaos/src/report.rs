//! What is printed: what was done and when, what was counted, and whether it is as promised.

use std::fmt::Display;
use std::io::Write as _;
use std::time::{Duration, Instant};

/// What one scenario prints and comes to.
#[derive(Debug)]
pub(crate) struct Report {
    began: Instant,
    broken: usize,
    counts: Counts,
}

/// What a scenario counted in all.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Answers that clients got.
    pub(crate) calls: usize,
    /// Of these, neither «done» nor «come back later».
    pub(crate) failed: usize,
    /// Of these, «come back later».
    pub(crate) overloaded: usize,
    /// Writes that were acknowledged.
    pub(crate) acknowledged: usize,
    /// Of these, not in the database.
    pub(crate) lost: usize,
    /// Writes that are there more than once.
    pub(crate) doubled: usize,
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.calls += other.calls;
        self.failed += other.failed;
        self.overloaded += other.overloaded;
        self.acknowledged += other.acknowledged;
        self.lost += other.lost;
        self.doubled += other.doubled;
    }
}

impl Default for Report {
    fn default() -> Self {
        Self { began: Instant::now(), broken: 0, counts: Counts::default() }
    }
}

impl Report {
    /// Something was done.
    pub(crate) fn did(&self, what: impl Display) {
        let elapsed = self.began.elapsed();
        print(&format!("{:>3}.{:01} s  {what}", elapsed.as_secs(), elapsed.subsec_millis() / 100));
    }

    /// A line of figures.
    pub(crate) fn count(&self, what: impl Display) {
        print(&format!("         {what}"));
    }

    /// Something that must hold.
    pub(crate) fn expect(&mut self, holds: bool, what: impl Display) {
        if holds {
            print(&format!("   ok    {what}"));
        } else {
            self.broken += 1;
            print(&format!("   BROKEN {what}"));
        }
    }

    /// The counts of the whole scenario.
    pub(crate) fn total(&mut self, counts: Counts) {
        let Counts { calls, failed, overloaded, acknowledged, lost, doubled } = counts;
        self.counts = counts;
        self.count(format!(
            "calls {calls}, failed {failed}, refused for overload {overloaded}; \
             writes acknowledged {acknowledged}, lost {lost}, doubled {doubled}"
        ));
    }

    /// How it ended.
    pub(crate) fn end(self, outcome: anyhow::Result<()>) -> Ending {
        match &outcome {
            Err(error) => self.did(format!("could not be carried out: {error:#}")),
            Ok(()) if self.broken == 0 => self.did("all expectations hold"),
            Ok(()) => self.did(format!("{} expectation(s) broken", self.broken)),
        }
        let what = match outcome {
            Err(_) => "not carried out".to_owned(),
            Ok(()) if self.broken == 0 => "holds".to_owned(),
            Ok(()) => format!("{} broken", self.broken),
        };
        Ending { holds: what == "holds", what, took: self.began.elapsed(), counts: self.counts }
    }
}

/// How a scenario ended.
#[derive(Debug)]
pub(crate) struct Ending {
    /// Whether all that must hold does.
    pub(crate) holds: bool,
    what: String,
    took: Duration,
    counts: Counts,
}

/// Says which scenario begins.
pub(crate) fn heading(name: &str) {
    print(&format!("\n== {name}"));
}

/// A line for each scenario, and the sum.
pub(crate) fn summary(endings: &[(&'static str, Ending)]) {
    let (mut took, mut counts) = (Duration::ZERO, Counts::default());
    print(&format!(
        "\n{:<10}{:<18}{:>7}{:>9}{:>9}{:>12}{:>14}{:>6}{:>9}",
        "", "", "s", "calls", "failed", "overloaded", "acknowledged", "lost", "doubled"
    ));
    for (name, ending) in endings {
        took += ending.took;
        counts.add(ending.counts);
        summary_line(name, &ending.what, ending.took, ending.counts);
    }
    let hold = endings.iter().filter(|(_, ending)| ending.holds).count();
    summary_line("all", &format!("{hold} of {} hold", endings.len()), took, counts);
}

fn summary_line(name: &str, what: &str, took: Duration, counts: Counts) {
    let Counts { calls, failed, overloaded, acknowledged, lost, doubled } = counts;
    let seconds = format!("{}.{}", took.as_secs(), took.subsec_millis() / 100);
    print(&format!(
        "{name:<10}{what:<18}{seconds:>7}{calls:>9}{failed:>9}{overloaded:>12}{acknowledged:>14}{lost:>6}{doubled:>9}"
    ));
}

/// Closed output ends nothing: what was started has to be stopped in order.
fn print(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// A time as people read it.
pub(crate) fn readable(time: Duration) -> String {
    if time < Duration::from_millis(10) {
        format!("{}.{} ms", time.as_millis(), time.subsec_micros() / 100 % 10)
    } else {
        format!("{} ms", time.as_millis())
    }
}
