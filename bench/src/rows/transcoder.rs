//! The transcoder alone: reads the CPU times that `bench/benches/transcoder.rs` measured with criterion.

use std::path::Path;

use anyhow::Context;
use serde_json::Value;

use super::Run;
use crate::arithmetic::{Figure, Target};
use crate::columns::COLUMNS;
use crate::report::Measurement;

/// Lines of the answer that is written.
pub const ANSWER_LINES: u64 = 200;
/// Rows of the request that is read.
pub const REQUEST_ROWS: u64 = 500;
/// Fields in each row of the request.
pub(super) const REQUEST_FIELDS: u64 = 15;

/// Reads the median of a benchmark, in nanoseconds.
fn median(folder: &Path, name: &str) -> anyhow::Result<Figure> {
    let file = folder.join("transcoder").join(name).join("new/estimates.json");
    let text = std::fs::read_to_string(&file).with_context(|| format!("{} cannot be read", file.display()))?;
    let estimates: Value = serde_json::from_str(&text)?;
    let value = |path: &str| estimates.pointer(path).and_then(Value::as_f64).with_context(|| format!("no {path}"));
    let median = value("/median/point_estimate")?;
    Ok(Figure { median, spread: value("/median_abs_dev/point_estimate")? / median })
}

pub(super) fn measure(run: Run<'_>) -> anyhow::Result<()> {
    let folder = run.stage.places.criterion.as_ref().context("criterion did not run")?;
    let out = 1.0 / (ANSWER_LINES * COLUMNS.len() as u64) as f64;
    let read = 1.0 / (REQUEST_ROWS * REQUEST_FIELDS) as f64;
    for (direction, name, per, target) in [("out", "answer", out, 25.0), ("in", "request", read, 50.0)] {
        let ours = median(folder, &format!("{name}-plan"))?.scaled(per);
        let peer = median(folder, &format!("{name}-serde"))?.scaled(per);
        let measure = format!("CPU a field {direction}");
        run.report.measurements.push(Measurement::alone(
            "transcoder",
            measure.clone(),
            "ns",
            ours,
            Target::AtMost(target),
        ));
        run.report.measurements.push(
            Measurement::alone("transcoder", measure, "ns", ours, Target::AtLeast(3.0))
                .ahead_of("prost + serde_json", peer),
        );
    }
    Ok(())
}
