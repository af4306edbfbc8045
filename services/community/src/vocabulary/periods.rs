//! The periods for which payer objects are charged: what the rows of a request for fees and
//! of one for bill rules have in common.

use chrono::NaiveDateTime;
use communal_proto::{Checker, Fault};

use crate::vocabulary::times;

/// A payer object and the period for which it is charged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChargedPeriod {
    /// What is charged.
    pub payer_obj_id: String,
    /// The first second to charge for.
    pub start: NaiveDateTime,
    /// The last second to charge for; `None` for the end of the fee item.
    pub end: Option<NaiveDateTime>,
}

/// A row of a request, as it is written there.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// What is charged.
    pub payer_obj_id: &'a str,
    /// Date or time.
    pub start: &'a str,
    /// Date or time; empty for the end of the fee item.
    pub end: &'a str,
}

/// The names of the contract by which faults name a row and its fields.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    /// The repeated field.
    pub rows: &'static str,
    /// The field of the end in a row.
    pub end: &'static str,
}

/// Reads the rows of a request. Faults go to the checker, which has those of the field rules
/// already.
pub fn read<'a>(rows: impl Iterator<Item = Row<'a>>, names: Names, checker: &mut Checker) -> Vec<ChargedPeriod> {
    let mut periods = Vec::new();
    for (index, row) in rows.enumerate() {
        // A malformed time is reported by the field rules.
        let Some(start) = times::start(row.start) else { continue };
        let end = times::end(row.end);
        if end.is_some_and(|end| end < start) {
            let field = format!("{}[{index}].{}", names.rows, names.end);
            checker.push(Fault::rule(field, "is before startTime", "截止时间不能早于计费起始时间"));
        }
        periods.push(ChargedPeriod { payer_obj_id: row.payer_obj_id.to_owned(), start, end });
    }
    periods
}

/// Finds the rows that would never charge anything: they start after the end of the fee item
/// and have no end of their own.
#[must_use]
pub fn starting_after(periods: &[ChargedPeriod], item_end: NaiveDateTime, names: Names) -> Vec<Fault> {
    let late = periods.iter().enumerate().filter(|(_, period)| period.end.is_none() && period.start > item_end);
    late.map(|(index, _)| {
        let field = format!("{}[{index}].startTime", names.rows);
        Fault::rule(field, "is after the end of the fee item", "计费起始时间晚于费用项的计费终止时间")
    })
    .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const NAMES: Names = Names { rows: "fees", end: "deadlineTime" };

    fn row(start: &'static str, end: &'static str) -> Row<'static> {
        Row { payer_obj_id: "room", start, end }
    }

    #[test]
    fn an_end_day_is_charged_to_its_last_second() {
        let mut checker = Checker::default();
        let periods = read([row("2024-01-01", "2024-01-01")].into_iter(), NAMES, &mut checker);
        assert!(checker.is_clean());
        assert_eq!(periods[0].end.map(times::print).as_deref(), Some("2024-01-01 23:59:59"));
    }

    #[test]
    fn each_row_that_ends_before_it_starts_is_named() {
        let mut checker = Checker::default();
        let rows =
            [row("2024-01-02", "2024-01-01"), row("2024-01-02", ""), row("2024-01-02 10:00:00", "2024-01-02 09:59:59")];
        read(rows.into_iter(), NAMES, &mut checker);
        let fields: Vec<_> = checker.into_faults().into_iter().map(|f| f.field).collect();
        assert_eq!(fields, ["fees[0].deadlineTime", "fees[2].deadlineTime"]);
    }

    #[test]
    fn a_row_that_starts_after_the_end_of_its_item_is_named() {
        let mut checker = Checker::default();
        let rows = [row("2025-01-01", ""), row("2025-01-01", "2025-06-30"), row("2024-12-31", "")];
        let periods = read(rows.into_iter(), NAMES, &mut checker);
        let faults = starting_after(&periods, times::end("2024-12-31").unwrap(), NAMES);
        assert_eq!(faults.iter().map(|f| f.field.to_string()).collect::<Vec<_>>(), ["fees[0].startTime"]);
    }
}
