//! docs/performance.md, made from the last run, so that no figure in it is typed by hand.

use std::fmt::Write as _;
use std::path::Path;

use crate::report::Report;

const INTRODUCTION: &str = "# Performance

Made by `./dev bench` from its last run and from `bench/meaning.md`; do not edit. Every ratio comes from one run in which the
contestants took turns; on a shared machine the ratios hold, the times are lower bounds of what the software can do.
";

const MEANING: &str = include_str!("../meaning.md");

/// Formats the page.
#[must_use]
pub fn markdown(report: &Report) -> String {
    let mut page = String::from(INTRODUCTION);
    page.push_str("\n## Conditions\n\n| | |\n| --- | --- |\n");
    for (name, value) in &report.conditions {
        let _ = writeln!(page, "| {name} | {value} |");
    }
    page.push_str("\n## The table\n\n");
    page.push_str(&report.markdown());
    if !report.absent.is_empty() {
        page.push_str("\nNot measured:\n\n");
        report.absent.iter().for_each(|absent| {
            let _ = writeln!(page, "- {absent}");
        });
    }
    page.push_str("\n## Further figures\n\n");
    report.remarks.iter().for_each(|remark| {
        let _ = writeln!(page, "- {remark}");
    });
    page.push_str("\n## How cost grows\n");
    for curve in &report.curves {
        let _ = write!(page, "\n![{}](performance/{}.svg)\n", curve.title, curve.file);
    }
    page.push('\n');
    page.push_str(MEANING);
    page
}

/// Writes the page and its plots into the folder of the documents.
///
/// # Errors
/// Returns an error if a file cannot be written.
pub fn write(report: &Report, docs: &Path) -> std::io::Result<()> {
    let plots = docs.join("performance");
    std::fs::create_dir_all(&plots)?;
    for curve in &report.curves {
        std::fs::write(plots.join(format!("{}.svg", curve.file)), curve.svg())?;
    }
    std::fs::write(docs.join("performance.md"), markdown(report))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arithmetic::{Figure, Target};
    use crate::plot::Curve;
    use crate::report::Measurement;

    #[test]
    fn the_page_has_the_table_the_plots_and_the_missing_rows() {
        let report = Report {
            conditions: vec![("processor".into(), "two cores".into())],
            measurements: vec![Measurement::alone(
                "start",
                "billing",
                "ms",
                Figure::single(120.0),
                Target::AtMost(300.0),
            )],
            absent: vec!["grpc-gateway: no Go".into()],
            curves: vec![Curve {
                file: "arrears".into(),
                title: "Arrears".into(),
                across: "lines".into(),
                up: "µs".into(),
                series: vec![("ours".into(), vec![(1.0, 1.0)])],
            }],
            remarks: vec!["p50 1 ms".into()],
        };
        let page = markdown(&report);
        for part in ["| processor | two cores |", "| start | billing | 120 ms |", "- grpc-gateway: no Go", "- p50 1 ms"]
        {
            assert!(page.contains(part), "{part} in {page}");
        }
        assert!(page.contains("![Arrears](performance/arrears.svg)"));
    }
}
