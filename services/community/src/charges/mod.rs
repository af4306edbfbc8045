//! What fees and bill rules have in common: rows that charge a payer object by a fee item
//! over a span. The rules of a row are pure; [`store`] locks the item and finds the payer
//! objects, [`list`] asks for pages of them.

pub mod list;
pub mod store;

use chrono::NaiveDateTime;
use communal_proto::{Checker, Fault};

use crate::times;

/// A row that charges a payer object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    /// What is charged.
    pub payer_obj_id: String,
    /// Start of the first span.
    pub start: NaiveDateTime,
    /// Last second to charge for; the end of the item where none is given.
    pub stop: Option<NaiveDateTime>,
}

/// How a row is written in a request.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    /// What is charged.
    pub payer_obj_id: &'a str,
    /// Date or time.
    pub start: &'a str,
    /// Date or time; empty for the end of the item.
    pub stop: &'a str,
}

/// Where the rows are in the request, by the names of the contract.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    /// The repeated field.
    pub rows: &'static str,
    /// The field of the stop in a row.
    pub stop: &'static str,
}

/// Reads the rows; faults go to the checker, where those of the field rules already are.
pub fn read<'a>(rows: impl Iterator<Item = Given<'a>>, names: Names, checker: &mut Checker) -> Vec<Charge> {
    let mut charges = Vec::new();
    for (index, row) in rows.enumerate() {
        // A malformed time is the field rules' to report.
        let Some(start) = times::start(row.start) else { continue };
        let stop = times::end(row.stop);
        if stop.is_some_and(|stop| stop < start) {
            let field = format!("{}[{index}].{}", names.rows, names.stop);
            checker.push(Fault::rule(field, "is before startTime", "截止时间不能早于计费起始时间"));
        }
        charges.push(Charge { payer_obj_id: row.payer_obj_id.to_owned(), start, stop });
    }
    charges
}

/// Rows that would never charge anything: they start after the item's end and name no stop of
/// their own.
#[must_use]
pub fn beyond(charges: &[Charge], item_end: NaiveDateTime, names: Names) -> Vec<Fault> {
    let late = charges.iter().enumerate().filter(|(_, charge)| charge.stop.is_none() && charge.start > item_end);
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

    const NAMES: Names = Names { rows: "fees", stop: "deadlineTime" };

    fn given(start: &'static str, stop: &'static str) -> Given<'static> {
        Given { payer_obj_id: "room", start, stop }
    }

    #[test]
    fn a_stop_day_is_charged_to_its_end() {
        let mut checker = Checker::default();
        let charges = read([given("2024-01-01", "2024-01-01")].into_iter(), NAMES, &mut checker);
        assert!(checker.is_clean());
        assert_eq!(charges[0].stop.map(times::print).as_deref(), Some("2024-01-01 23:59:59"));
    }

    #[test]
    fn each_row_that_stops_before_it_starts_is_named() {
        let mut checker = Checker::default();
        let rows = [
            given("2024-01-02", "2024-01-01"),
            given("2024-01-02", ""),
            given("2024-01-02 10:00:00", "2024-01-02 09:59:59"),
        ];
        read(rows.into_iter(), NAMES, &mut checker);
        let fields: Vec<_> = checker.into_faults().into_iter().map(|f| f.field).collect();
        assert_eq!(fields, ["fees[0].deadlineTime", "fees[2].deadlineTime"]);
    }

    #[test]
    fn a_row_beyond_its_item_is_named() {
        let mut checker = Checker::default();
        let rows = [given("2025-01-01", ""), given("2025-01-01", "2025-06-30"), given("2024-12-31", "")];
        let charges = read(rows.into_iter(), NAMES, &mut checker);
        let faults = beyond(&charges, times::end("2024-12-31").unwrap(), NAMES);
        assert_eq!(faults.iter().map(|f| f.field.to_string()).collect::<Vec<_>>(), ["fees[0].startTime"]);
    }
}
