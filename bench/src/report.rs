//! The results of a run: as a table for a terminal, as JSON, and as Markdown for docs/performance.md.

use serde::Serialize;

use crate::arithmetic::{Figure, Target, short};
use crate::plot::Curve;

/// The limit or peer with which ours is compared.
#[derive(Clone, Debug, Serialize)]
pub struct Other {
    /// Its name.
    pub name: String,
    /// Its figure, in the unit of ours.
    pub figure: Figure,
}

/// One figure of a row.
#[derive(Clone, Debug, Serialize)]
pub struct Measurement {
    /// The row's name, as in `./dev bench NAME`.
    pub row: &'static str,
    /// The measured quantity.
    pub measure: String,
    /// The unit of both figures.
    pub unit: &'static str,
    /// Our figure.
    pub ours: Figure,
    /// The limit or peer.
    pub other: Option<Other>,
    /// The ratio of both figures, in the direction in which the target is stated.
    pub ratio: Option<f64>,
    /// The target of the ratio, or of our figure if there is no ratio.
    pub target: Target,
}

impl Measurement {
    /// A figure without a limit or peer.
    #[must_use]
    pub fn alone(
        row: &'static str,
        measure: impl Into<String>,
        unit: &'static str,
        ours: Figure,
        target: Target,
    ) -> Self {
        Self { row, measure: measure.into(), unit, ours, other: None, ratio: None, target }
    }

    /// Adds a limit; the ratio is our figure in multiples of it.
    #[must_use]
    pub fn to_limit(mut self, name: impl Into<String>, figure: Figure) -> Self {
        self.ratio = Some(self.ours.median / figure.median);
        self.other = Some(Other { name: name.into(), figure });
        self
    }

    /// Adds a peer; the ratio is its figure in multiples of ours.
    #[must_use]
    pub fn ahead_of(mut self, name: impl Into<String>, figure: Figure) -> Self {
        self.ratio = Some(figure.median / self.ours.median);
        self.other = Some(Other { name: name.into(), figure });
        self
    }

    /// Returns whether the target is met, or `None` if there is none.
    #[must_use]
    pub fn met(&self) -> Option<bool> {
        self.target.met(self.ratio.unwrap_or(self.ours.median))
    }

    fn cells(&self) -> [String; 7] {
        let with_spread = |figure: &Figure| {
            let spread = if figure.spread > 0.0 { format!(" ±{:.0} %", figure.spread * 100.0) } else { String::new() };
            format!("{}{spread}", short(figure.median))
        };
        let verdict = match self.met() {
            Some(true) => "yes",
            Some(false) => "NO",
            None => "",
        };
        [
            self.row.to_owned(),
            self.measure.clone(),
            format!("{} {}", with_spread(&self.ours), self.unit),
            self.other.as_ref().map(|o| format!("{}: {}", o.name, with_spread(&o.figure))).unwrap_or_default(),
            self.ratio.map(short).unwrap_or_default(),
            self.target.to_string(),
            verdict.to_owned(),
        ]
    }
}

/// The results of a run.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// The machine, versions, date and settings.
    pub conditions: Vec<(String, String)>,
    /// The figures.
    pub measurements: Vec<Measurement>,
    /// The rows that could not be measured, with the reason.
    pub absent: Vec<String>,
    /// Curves of growing cost.
    pub curves: Vec<Curve>,
    /// Further measured figures: sizes, latencies.
    pub remarks: Vec<String>,
}

const HEADINGS: [&str; 7] = ["row", "measure", "ours", "limit or peer", "ratio", "target", "met"];

impl Report {
    /// Formats the table with aligned columns, and the missing rows.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = Self::table_of(&self.measurements);
        for absent in &self.absent {
            table.push_str(&format!("absent: {absent}\n"));
        }
        table
    }

    /// Formats a table of some measurements.
    #[must_use]
    pub fn table_of(lines: &[Measurement]) -> String {
        let rows: Vec<[String; 7]> = lines.iter().map(Measurement::cells).collect();
        let mut widths = HEADINGS.map(|h| h.chars().count());
        for row in &rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut table = aligned(&HEADINGS.map(str::to_owned), &widths);
        table.push_str(&aligned(&widths.map(|width| "-".repeat(width)), &widths));
        rows.iter().for_each(|row| table.push_str(&aligned(row, &widths)));
        table
    }

    /// Formats the table as Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut table = format!("| {} |\n|{}\n", HEADINGS.join(" | "), " --- |".repeat(HEADINGS.len()));
        for line in &self.measurements {
            table.push_str(&format!("| {} |\n", line.cells().join(" | ")));
        }
        table
    }
}

fn aligned(cells: &[String; 7], widths: &[usize; 7]) -> String {
    let mut line = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        line.push_str(cell);
        line.push_str(&" ".repeat(width - cell.chars().count() + 2));
    }
    format!("{}\n", line.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let rate = Measurement::alone("arrears", "rate", "calls/s", Figure::single(700.0), Target::AtLeast(0.7))
            .to_limit("pgbench", Figure::single(1_000.0));
        let cost = Measurement::alone("arrears", "CPU a line", "µs", Figure::single(4.0), Target::AtLeast(3.0))
            .ahead_of("61-column struct", Figure { median: 10.0, spread: 0.05 });
        Report { measurements: vec![rate, cost], absent: vec!["grpc-gateway: no Go".into()], ..Report::default() }
    }

    #[test]
    fn a_limit_is_a_share_and_a_peer_a_multiple() {
        let report = report();
        assert_eq!(report.measurements[0].ratio, Some(0.7));
        assert_eq!(report.measurements[0].met(), Some(true));
        assert_eq!(report.measurements[1].ratio, Some(2.5));
        assert_eq!(report.measurements[1].met(), Some(false), "2.5 times less where 3 is wanted");
    }

    #[test]
    fn the_table_lines_up_and_names_what_is_missing() {
        let table = report().table();
        let columns: Vec<usize> = table.lines().take(4).filter_map(|l| l.find("0.700").or(l.find("2.50"))).collect();
        assert_eq!(columns.len(), 2);
        assert!(table.contains("NO"));
        assert!(table.contains("61-column struct: 10.0 ±5 %"));
        assert!(table.ends_with("absent: grpc-gateway: no Go\n"));
        let starts: Vec<_> = table.lines().take(3).map(|l| l.chars().take(7).collect::<String>()).collect();
        assert_eq!(starts, ["row    ", "-------", "arrears"]);
    }

    #[test]
    fn markdown_has_a_row_for_each_line() {
        assert_eq!(report().markdown().lines().count(), 4);
    }
}
