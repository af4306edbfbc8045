//! What is printed: what was done and when, what was counted, and whether it is as promised.

use std::fmt::Display;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// See the module.
#[derive(Debug)]
pub(crate) struct Report {
    began: Instant,
    broken: usize,
}

impl Default for Report {
    fn default() -> Self {
        Self { began: Instant::now(), broken: 0 }
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

    /// Whether everything held.
    pub(crate) fn end(&self) -> ExitCode {
        if self.broken == 0 {
            self.did("all expectations hold");
            ExitCode::SUCCESS
        } else {
            self.did(format!("{} expectation(s) broken", self.broken));
            ExitCode::FAILURE
        }
    }

    /// It could not be carried out.
    pub(crate) fn failed(&self, error: &anyhow::Error) -> ExitCode {
        self.did(format!("could not be carried out: {error:#}"));
        ExitCode::FAILURE
    }
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
