//! The arithmetic of measurements: rounds become a figure, whose median is the result and whose spread is its uncertainty.

use std::fmt::{self, Display, Formatter};

use serde::Serialize;

/// The result of several rounds of one contestant.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Figure {
    /// The median of the rounds.
    pub median: f64,
    /// Half the distance between the first and the third quartile, as a share of the median.
    pub spread: f64,
}

impl Figure {
    /// Computes the figure of rounds; returns `None` if there are none.
    #[must_use]
    pub fn of(rounds: &[f64]) -> Option<Self> {
        let mut sorted = rounds.to_vec();
        sorted.sort_by(f64::total_cmp);
        let median = quantile(&sorted, 0.5)?;
        let half = (quantile(&sorted, 0.75)? - quantile(&sorted, 0.25)?) / 2.0;
        Some(Self { median, spread: if median == 0.0 { 0.0 } else { (half / median).abs() } })
    }

    /// A figure that was measured once or computed from others.
    #[must_use]
    pub fn single(value: f64) -> Self {
        Self { median: value, spread: 0.0 }
    }

    /// Converts the figure to another unit.
    #[must_use]
    pub fn scaled(self, by: f64) -> Self {
        Self { median: self.median * by, ..self }
    }
}

/// Returns the value below which a share of the sorted values lies, interpolated linearly.
#[must_use]
pub fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let place = share * last as f64;
    let below = place.floor() as usize;
    let (low, high) = (sorted.get(below)?, sorted[last.min(below + 1)]);
    Some(low + (high - low) * place.fract())
}

/// The target of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Met up to this value.
    AtMost(f64),
    /// Met from this value on.
    AtLeast(f64),
    /// The figure is reported and has no target.
    Shown,
}

impl Target {
    /// Returns whether a figure meets the target, or `None` if there is none.
    #[must_use]
    pub fn met(self, figure: f64) -> Option<bool> {
        match self {
            Self::AtMost(most) => Some(figure <= most),
            Self::AtLeast(least) => Some(figure >= least),
            Self::Shown => None,
        }
    }
}

impl Display for Target {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(most) => write!(out, "≤ {most}"),
            Self::AtLeast(least) => write!(out, "≥ {least}"),
            Self::Shown => Ok(()),
        }
    }
}

/// The outcome of a load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Throughput {
    /// Successful operations. A failed one is an error of the load.
    pub operations: f64,
    /// Operations a second.
    pub rate: f64,
}

/// Formats a number with three significant digits.
#[must_use]
pub fn short(value: f64) -> String {
    let size = value.abs();
    if size >= 1_000.0 {
        let whole = format!("{value:.0}");
        let (sign, digits) = whole.strip_prefix('-').map_or(("", whole.as_str()), |d| ("-", d));
        let mut grouped = String::new();
        for (place, digit) in digits.chars().enumerate() {
            if place > 0 && (digits.len() - place).is_multiple_of(3) {
                grouped.push(',');
            }
            grouped.push(digit);
        }
        format!("{sign}{grouped}")
    } else if size >= 100.0 {
        format!("{value:.0}")
    } else if size >= 10.0 {
        format!("{value:.1}")
    } else if size >= 1.0 || size == 0.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.3}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_and_ignores_an_outlier() {
        let figure = Figure::of(&[3.0, 100.0, 1.0, 2.0, 4.0]).unwrap();
        assert_eq!(figure.median, 3.0);
        assert!((figure.spread - 1.0 / 3.0).abs() < 1e-9, "quartiles 2 and 4: {}", figure.spread);
        assert_eq!(Figure::of(&[1.0, 2.0]).unwrap().median, 1.5);
        assert_eq!(Figure::of(&[]), None);
    }

    #[test]
    fn quantiles_reach_from_the_smallest_to_the_largest() {
        let sorted = [1.0, 2.0, 3.0];
        assert_eq!(quantile(&sorted, 0.0), Some(1.0));
        assert_eq!(quantile(&sorted, 1.0), Some(3.0));
        assert_eq!(quantile(&sorted, 0.75), Some(2.5));
        assert_eq!(quantile(&[7.0], 0.99), Some(7.0));
    }

    #[test]
    fn a_bound_includes_itself() {
        assert_eq!(Target::AtMost(3.0).met(3.0), Some(true));
        assert_eq!(Target::AtMost(3.0).met(3.1), Some(false));
        assert_eq!(Target::AtLeast(0.7).met(0.7), Some(true));
        assert_eq!(Target::AtLeast(0.7).met(0.69), Some(false));
        assert_eq!(Target::Shown.met(0.0), None);
    }

    #[test]
    fn numbers_read_with_three_digits_and_groups() {
        for (value, text) in [(1_234_567.0, "1,234,567"), (-1_234.0, "-1,234"), (123.4, "123"), (12.34, "12.3")] {
            assert_eq!(short(value), text);
        }
        for (value, text) in [(1.234, "1.23"), (0.0123, "0.012"), (999.6, "1000"), (0.0, "0.00")] {
            assert_eq!(short(value), text);
        }
    }
}
