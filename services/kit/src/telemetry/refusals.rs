//! The limit of log lines about refused calls. A client can repeat a refused call at no cost, so
//! without a limit it could fill the log.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::limits;

limits! {
    /// The limits of telemetry.
    TelemetryLimits, LIMITS: TelemetryLimitDeclarations {
        refusal_lines: count("refusal_lines_per_second", 50, "lines of refused calls in a second", "left out; a line says how many"),
    }
}

static MOST: OnceLock<u64> = OnceLock::new();
static LINES: Lines = Lines { second_and_count: AtomicU64::new(0), left_out: AtomicU64::new(0) };

pub(super) fn set(limits: &TelemetryLimits) {
    let _ = MOST.set(limits.refusal_lines as u64);
}

/// Returns whether the refusal of a call may be logged now. If refusals were not logged before, logs
/// their number first.
#[must_use]
pub fn refusal_is_a_line() -> bool {
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    let second = BEGAN.get_or_init(Instant::now).elapsed().as_secs();
    let most = MOST.get().copied().unwrap_or(LIMITS.refusal_lines.default);
    let (allowed, left_out) = LINES.ask(second, most);
    if left_out > 0 {
        LIMITS.refusal_lines.reached("all").increment(left_out);
        tracing::info!(left_out, "calls were refused without a line");
    }
    allowed
}

/// The number of lines in the current second.
struct Lines {
    /// The second in the upper half, the number of its lines in the lower half.
    second_and_count: AtomicU64,
    left_out: AtomicU64,
}

impl Lines {
    /// Counts a line of this second. Returns whether it may be written, and how many lines before it
    /// were not.
    fn ask(&self, second: u64, most: u64) -> (bool, u64) {
        const COUNT: u64 = u32::MAX as u64;
        let second = second & COUNT;
        let one_more = |state: u64| {
            let count = if state >> 32 == second { state & COUNT } else { 0 };
            (second << 32) | (count + 1).min(COUNT)
        };
        let before = self.second_and_count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |s| Some(one_more(s)));
        let count = one_more(before.unwrap_or_default()) & COUNT;
        if count > most {
            self.left_out.fetch_add(1, Ordering::Relaxed);
            return (false, 0);
        }
        (true, if count == 1 { self.left_out.swap(0, Ordering::Relaxed) } else { 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_a_limit_of_lines_and_the_next_reports_how_many_were_left_out() {
        let lines = Lines { second_and_count: AtomicU64::new(0), left_out: AtomicU64::new(0) };
        let asked: Vec<_> = (0..5).map(|_| lines.ask(7, 2)).collect();
        assert_eq!(asked, [(true, 0), (true, 0), (false, 0), (false, 0), (false, 0)]);
        assert_eq!(lines.ask(8, 2), (true, 3));
        assert_eq!(lines.ask(8, 2), (true, 0));
    }
}
