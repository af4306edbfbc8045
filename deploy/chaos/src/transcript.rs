//! The output of a scenario: its steps with their times, its counts, and its expectations.

use std::fmt::Display;
use std::io::Write as _;
use std::time::{Duration, Instant};

/// The output and the result of one scenario.
#[derive(Debug)]
pub(crate) struct Transcript {
    began: Instant,
    broken: usize,
    counts: Counts,
}

/// The counts of a whole scenario.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Answers that clients received.
    pub(crate) calls: usize,
    /// Answers that are neither «done» nor «repeat later».
    pub(crate) failed: usize,
    /// Answers «repeat later».
    pub(crate) overloaded: usize,
    /// Writes that were acknowledged.
    pub(crate) acknowledged: usize,
    /// Acknowledged writes that are not in the database.
    pub(crate) lost: usize,
    /// Writes that are stored more than once.
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

impl Default for Transcript {
    fn default() -> Self {
        Self { began: Instant::now(), broken: 0, counts: Counts::default() }
    }
}

impl Transcript {
    /// Prints a step that was done.
    pub(crate) fn did(&self, what: impl Display) {
        let elapsed = self.began.elapsed();
        print(&format!("{:>3}.{:01} s  {what}", elapsed.as_secs(), elapsed.subsec_millis() / 100));
    }

    /// Prints a line of figures.
    pub(crate) fn count(&self, what: impl Display) {
        print(&format!("         {what}"));
    }

    /// Prints an expectation and whether it holds.
    pub(crate) fn expect(&mut self, holds: bool, what: impl Display) {
        if holds {
            print(&format!("   ok    {what}"));
        } else {
            self.broken += 1;
            print(&format!("   BROKEN {what}"));
        }
    }

    /// Prints the counts of the whole scenario.
    pub(crate) fn total(&mut self, counts: Counts) {
        let Counts { calls, failed, overloaded, acknowledged, lost, doubled } = counts;
        self.counts = counts;
        self.count(format!(
            "calls {calls}, failed {failed}, refused for overload {overloaded}; \
             writes acknowledged {acknowledged}, lost {lost}, doubled {doubled}"
        ));
    }

    /// Ends the scenario.
    pub(crate) fn end(self, outcome: anyhow::Result<()>) -> Ending {
        match &outcome {
            Err(error) => self.did(format!("failed: {error:#}")),
            Ok(()) if self.broken == 0 => self.did("all expectations hold"),
            Ok(()) => self.did(format!("{} expectation(s) broken", self.broken)),
        }
        let what = match outcome {
            Err(_) => "failed".to_owned(),
            Ok(()) if self.broken == 0 => "holds".to_owned(),
            Ok(()) => format!("{} broken", self.broken),
        };
        Ending { holds: what == "holds", what, took: self.began.elapsed(), counts: self.counts }
    }
}

/// The end of a scenario.
#[derive(Debug)]
pub(crate) struct Ending {
    /// Returns whether all expectations hold.
    pub(crate) holds: bool,
    what: String,
    took: Duration,
    counts: Counts,
}

/// Prints the heading of a scenario.
pub(crate) fn heading(name: &str) {
    print(&format!("\n== {name}"));
}

/// Prints a line for each scenario, and the sum.
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

/// Prints a line. A closed output is no error, because the processes still have to be stopped in order.
fn print(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Formats a time for people.
pub(crate) fn readable(time: Duration) -> String {
    if time < Duration::from_millis(10) {
        format!("{}.{} ms", time.as_millis(), time.subsec_micros() / 100 % 10)
    } else {
        format!("{} ms", time.as_millis())
    }
}
