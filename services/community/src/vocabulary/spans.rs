//! The spans for which payer objects are charged: what the rows of a request for fees and of one
//! for bill rules have in common.

use std::collections::HashMap;

use chrono::NaiveDateTime;
use communal_proto::{Checker, Fault, FieldName, FieldPath};

use crate::vocabulary::times;

/// A payer object and the span for which it is charged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChargedSpan {
    /// Identifier of the payer object.
    pub payer_obj_id: String,
    /// The first second to charge for.
    pub start: NaiveDateTime,
    /// The last second to charge for; `None` for the end of the fee item.
    pub end: Option<NaiveDateTime>,
}

/// A row of a request, with times as text.
#[derive(Clone, Copy, Debug)]
pub struct RequestedSpan<'a> {
    /// Identifier of the payer object.
    pub payer_obj_id: &'a str,
    /// Date or time.
    pub start: &'a str,
    /// Date or time; empty for the end of the fee item.
    pub end: &'a str,
}

/// The fields of a request that hold the rows; faults name them.
#[derive(Clone, Copy, Debug)]
pub struct RowFields {
    /// The repeated field; `None` for a command whose rows share their fields.
    pub rows: Option<FieldName>,
    /// The payer object of a row.
    pub payer_obj_id: FieldName,
    /// The start of a row.
    pub start: FieldName,
    /// The end of a row.
    pub end: FieldName,
}

impl RowFields {
    /// The path of a field in a row.
    #[must_use]
    pub fn at(self, row: usize, field: FieldName) -> FieldPath {
        self.rows.map_or_else(|| field.into(), |rows| rows.at(row).then(field))
    }
}

/// Reads the rows of a request; `None` if anything in the request is at fault. Faults go to the
/// checker, which has those of the field rules already.
pub fn read<'a>(
    rows: impl Iterator<Item = RequestedSpan<'a>>,
    fields: RowFields,
    checker: &mut Checker,
) -> Option<Vec<ChargedSpan>> {
    let mut spans = Vec::new();
    let mut seen = HashMap::new();
    for (index, row) in rows.enumerate() {
        // A malformed time is reported by the field rules.
        let Some(start) = times::start(row.start) else { continue };
        let end = times::end(row.end);
        if end.is_some_and(|end| end < start) {
            let field = fields.at(index, fields.end);
            checker.push(Fault::rule(field, "is before startTime", "截止时间不能早于计费起始时间"));
        }
        let first = *seen.entry((row.payer_obj_id, start)).or_insert(index);
        if first != index {
            let text = format!("付费对象{}在同一请求中重复收费", row.payer_obj_id);
            let field = fields.at(index, fields.payer_obj_id);
            checker.push(Fault::rule(field, format!("is charged from the same time on as in row {first}"), text));
        }
        spans.push(ChargedSpan { payer_obj_id: row.payer_obj_id.to_owned(), start, end });
    }
    checker.is_clean().then_some(spans)
}

/// Finds the rows that would never charge anything: they lie outside the validity of the fee item.
#[must_use]
pub fn outside(
    spans: &[ChargedSpan],
    item_start: NaiveDateTime,
    item_end: NaiveDateTime,
    fields: RowFields,
) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (index, span) in spans.iter().enumerate() {
        if span.start > item_end {
            let field = fields.at(index, fields.start);
            faults.push(Fault::rule(field, "is after the end of the fee item", "计费起始时间晚于费用项的计费终止时间"));
        } else if span.end.is_some_and(|end| end < item_start) {
            let field = fields.at(index, fields.end);
            faults.push(Fault::rule(
                field,
                "is before the start of the fee item",
                "计费结束时间早于费用项的计费起始时间",
            ));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use communal_proto::community::v1::fields::{create_fees_request, new_fee};

    use super::*;

    const FIELDS: RowFields = RowFields {
        rows: Some(create_fees_request::FEES),
        payer_obj_id: new_fee::PAYER_OBJ_ID,
        start: new_fee::START_TIME,
        end: new_fee::DEADLINE_TIME,
    };

    fn row(start: &'static str, end: &'static str) -> RequestedSpan<'static> {
        RequestedSpan { payer_obj_id: "room", start, end }
    }

    fn paths(faults: Vec<Fault>) -> Vec<String> {
        faults.into_iter().map(|fault| fault.field.to_string()).collect()
    }

    #[test]
    fn an_end_day_is_charged_to_its_last_second() {
        let rows = [row("2024-01-01", "2024-01-01")];
        let spans = read(rows.into_iter(), FIELDS, &mut Checker::default()).unwrap();
        assert_eq!(spans[0].end.map(times::print).as_deref(), Some("2024-01-01 23:59:59"));
    }

    #[test]
    fn each_row_that_ends_before_it_starts_is_named() {
        let mut checker = Checker::default();
        let rows =
            [row("2024-01-02", "2024-01-01"), row("2024-01-03", ""), row("2024-01-02 10:00:00", "2024-01-02 09:59:59")];
        assert_eq!(read(rows.into_iter(), FIELDS, &mut checker), None);
        assert_eq!(paths(checker.into_faults()), ["fees[0].deadlineTime", "fees[2].deadlineTime"]);
    }

    #[test]
    fn a_row_outside_the_validity_of_its_item_is_named() {
        let rows = [
            row("2025-01-01", ""),
            row("2025-01-02", "2025-06-30"),
            row("2024-12-31", ""),
            row("2022-01-01", "2022-12-31"),
            row("2022-02-01", "2023-01-01"),
        ];
        let spans = read(rows.into_iter(), FIELDS, &mut Checker::default()).unwrap();
        let faults = outside(&spans, times::start("2023-01-01").unwrap(), times::end("2024-12-31").unwrap(), FIELDS);
        assert_eq!(paths(faults), ["fees[0].startTime", "fees[1].startTime", "fees[3].deadlineTime"]);
    }

    #[test]
    fn the_same_charge_twice_in_a_request_is_named() {
        let mut checker = Checker::default();
        let rows = [row("2024-01-01", ""), row("2024-01-02", ""), row("2024-01-01", "2024-06-30")];
        assert_eq!(read(rows.into_iter(), FIELDS, &mut checker), None);
        assert_eq!(paths(checker.into_faults()), ["fees[2].payerObjId"]);
    }
}
