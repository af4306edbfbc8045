//! What a run found: lines for people on a terminal, for machines, and for docs/performance.md.

use serde::Serialize;

use crate::arithmetic::{Figure, Reach, short};
use crate::plot::Curve;

/// Who ours is held against.
#[derive(Clone, Debug, Serialize)]
pub struct Other {
    /// Name.
    pub name: String,
    /// Its figure, in the unit of ours.
    pub figure: Figure,
}

/// One figure of one row.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// The row, by which `./dev bench NAME` runs it.
    pub row: &'static str,
    /// What is measured.
    pub measure: String,
    /// Unit of ours and of the other's.
    pub unit: &'static str,
    /// Ours.
    pub ours: Figure,
    /// A limit or a peer.
    pub other: Option<Other>,
    /// Ours to the other's, the way the reach counts it.
    pub ratio: Option<f64>,
    /// What is wanted of the ratio, or of ours where there is none.
    pub reach: Reach,
}

impl Line {
    /// A figure that stands for itself.
    #[must_use]
    pub fn alone(
        row: &'static str,
        measure: impl Into<String>,
        unit: &'static str,
        ours: Figure,
        reach: Reach,
    ) -> Self {
        Self { row, measure: measure.into(), unit, ours, other: None, ratio: None, reach }
    }

    /// Ours in multiples of the other's: the share of a limit's rate, or of its time.
    #[must_use]
    pub fn to_limit(mut self, name: impl Into<String>, figure: Figure) -> Self {
        self.ratio = Some(self.ours.median / figure.median);
        self.other = Some(Other { name: name.into(), figure });
        self
    }

    /// How many times less than the peer ours needs.
    #[must_use]
    pub fn ahead_of(mut self, name: impl Into<String>, figure: Figure) -> Self {
        self.ratio = Some(figure.median / self.ours.median);
        self.other = Some(Other { name: name.into(), figure });
        self
    }

    /// Whether it is as good as wanted.
    #[must_use]
    pub fn met(&self) -> Option<bool> {
        self.reach.met(self.ratio.unwrap_or(self.ours.median))
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
            self.reach.to_string(),
            verdict.to_owned(),
        ]
    }
}

/// Everything a run found.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Machine, versions, date, settings.
    pub conditions: Vec<(String, String)>,
    /// The figures.
    pub lines: Vec<Line>,
    /// What could not be measured, and why.
    pub absent: Vec<String>,
    /// How cost grows.
    pub curves: Vec<Curve>,
    /// What was measured in particular: sizes, latencies.
    pub remarks: Vec<String>,
}

const HEADINGS: [&str; 7] = ["row", "measure", "ours", "limit or peer", "ratio", "reach", "met"];

impl Report {
    /// The table with columns under each other, and what is missing from it.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = Self::table_of(&self.lines);
        for absent in &self.absent {
            table.push_str(&format!("absent: {absent}\n"));
        }
        table
    }

    /// A table of some of the lines.
    #[must_use]
    pub fn table_of(lines: &[Line]) -> String {
        let rows: Vec<[String; 7]> = lines.iter().map(Line::cells).collect();
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

    /// The table as Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut table = format!("| {} |\n|{}\n", HEADINGS.join(" | "), " --- |".repeat(HEADINGS.len()));
        for line in &self.lines {
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
        let rate = Line::alone("arrears", "rate", "calls/s", Figure::single(700.0), Reach::AtLeast(0.7))
            .to_limit("pgbench", Figure::single(1_000.0));
        let cost = Line::alone("arrears", "CPU a line", "µs", Figure::single(4.0), Reach::AtLeast(3.0))
            .ahead_of("61-column struct", Figure { median: 10.0, spread: 0.05 });
        Report { lines: vec![rate, cost], absent: vec!["grpc-gateway: no Go".into()], ..Report::default() }
    }

    #[test]
    fn a_limit_is_a_share_and_a_peer_a_multiple() {
        let report = report();
        assert_eq!(report.lines[0].ratio, Some(0.7));
        assert_eq!(report.lines[0].met(), Some(true));
        assert_eq!(report.lines[1].ratio, Some(2.5));
        assert_eq!(report.lines[1].met(), Some(false), "2.5 times less where 3 is wanted");
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
