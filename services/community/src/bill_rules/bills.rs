//! The bills of a rule: the spans that are due and not billed yet. Pure.
//!
//! The cursor of a rule stands where the paid-through time of a fee stands, so what a rule has billed is
//! what a fee would owe. A bill ends with its group of calendar months, or where nothing more is due; the
//! next one begins on the day after. Days that have a bill are never billed again, wherever the cursor is.

use chrono::{Datelike, Months, NaiveDate, NaiveDateTime, NaiveTime};

use crate::amounts::fee::CourseError;
use crate::amounts::{ItemTerms, Running, Span, due};

/// A bill rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The day from which months are counted.
    pub start: NaiveDate,
    /// The first day of the next span.
    pub cursor: NaiveDate,
    /// The last second to bill.
    pub limit: NaiveDateTime,
}

/// What a run makes of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Billing {
    /// The spans to bill, in order.
    pub spans: Vec<Span>,
    /// The new cursor.
    pub cursor: NaiveDate,
    /// Nothing is left to bill: the rule is over.
    pub ends: bool,
}

/// Returns what is to be billed at `now`. `billed` are the spans that have bills, `months` the calendar
/// months of a bill.
///
/// # Errors
/// Returns a [`CourseError`] if the times of the rule contradict each other.
pub fn bills(
    item: &ItemTerms,
    rule: Rule,
    billed: &[Span],
    months: u32,
    now: NaiveDateTime,
) -> Result<Billing, CourseError> {
    let midnight = |day: NaiveDate| day.and_time(NaiveTime::MIN);
    let running = Running::new(midnight(rule.start), midnight(rule.cursor), Some(rule.limit), rule.limit, Vec::new())?;
    let due = due::not_due_from(item, &running, now);
    let mut spans = Vec::new();
    let mut from = rule.cursor;
    while from < due {
        let group = from.with_day(1).and_then(|first| first.checked_add_months(Months::new(months)));
        let until = group.ok_or(CourseError::OutOfRange)?.min(due);
        uncovered(Span { from, until }, billed, &mut spans);
        from = until;
    }
    Ok(Billing { spans, cursor: from, ends: from >= running.end() })
}

/// Adds the days of a span that no bill covers.
fn uncovered(span: Span, billed: &[Span], spans: &mut Vec<Span>) {
    let mut from = span.from;
    let mut covering: Vec<_> = billed.iter().filter(|bill| bill.until > span.from && bill.from < span.until).collect();
    covering.sort_by_key(|bill| bill.from);
    for bill in covering {
        if from < bill.from {
            spans.push(Span { from, until: bill.from });
        }
        from = from.max(bill.until);
    }
    if from < span.until {
        spans.push(Span { from, until: span.until });
    }
}

/// Returns how many calendar months a bill touches.
#[must_use]
pub fn months_touched(span: Span) -> i32 {
    let last = span.until.pred_opt().unwrap_or(span.from);
    let month = |day: NaiveDate| day.year() * 12 + i32::try_from(day.month0()).unwrap_or_default();
    month(last) - month(span.from) + 1
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::num::NonZeroU32;

    use communal_proto::community::v1::{Formula, PaymentTiming, Rounding};
    use proptest::prelude::*;
    use rust_decimal::Decimal;

    use super::*;
    use crate::amounts::{AmountRounding, Bill, Car, Course, Fee, Payer, owed};

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    fn item(timing: PaymentTiming, cycle: u32) -> ItemTerms {
        ItemTerms {
            formula: Formula::Fixed,
            expression: None,
            price: Decimal::ZERO,
            additional_amount: Decimal::new(25_000, 2),
            timing,
            cycle: NonZeroU32::new(cycle).unwrap(),
            window_days: 0,
            rounding: AmountRounding { mode: Rounding::HalfUp, places: 2 },
        }
    }

    fn rule(start: &str, cursor: &str, limit: &str) -> Rule {
        Rule { start: day(start), cursor: day(cursor), limit: day(limit).and_hms_opt(23, 59, 59).unwrap() }
    }

    fn run(item: &ItemTerms, rule: Rule, billed: &[Span], months: u32, now: &str) -> Vec<(String, String)> {
        let billing = bills(item, rule, billed, months, day(now).and_hms_opt(10, 30, 0).unwrap()).unwrap();
        let shown = |span: &Span| (span.from.to_string(), span.until.pred_opt().unwrap().to_string());
        billing.spans.iter().map(shown).collect()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(from, last)| ((*from).to_owned(), (*last).to_owned())).collect()
    }

    #[test]
    fn partial_months_first_and_last_and_whole_ones_between() {
        let prepaid = item(PaymentTiming::Prepaid, 1);
        let expected = [
            ("2024-01-15", "2024-01-31"),
            ("2024-02-01", "2024-02-29"),
            ("2024-03-01", "2024-03-31"),
            ("2024-04-01", "2024-04-14"),
        ];
        let rule = |cursor| rule("2024-01-15", cursor, "2050-12-31");
        assert_eq!(run(&prepaid, rule("2024-01-15"), &[], 1, "2024-03-20"), pairs(&expected));
        // After the cut, counting begins anew.
        assert_eq!(
            run(&prepaid, rule("2024-04-15"), &[], 1, "2024-04-20"),
            pairs(&[("2024-04-15", "2024-04-30"), ("2024-05-01", "2024-05-14")])
        );
        // Groups are calendar months from that of the cursor, not calendar quarters.
        assert_eq!(
            run(&prepaid, rule("2024-02-10"), &[], 3, "2024-05-20"),
            pairs(&[("2024-02-10", "2024-04-30"), ("2024-05-01", "2024-06-14")])
        );
    }

    #[test]
    fn a_postpaid_rule_bills_what_is_over_and_what_the_limit_cuts() {
        let postpaid = item(PaymentTiming::Postpaid, 1);
        assert_eq!(
            run(&postpaid, rule("2024-01-01", "2024-01-01", "2050-12-31"), &[], 1, "2024-02-20"),
            pairs(&[("2024-01-01", "2024-01-31")])
        );
        let quarterly = item(PaymentTiming::Postpaid, 3);
        let cut = rule("2024-01-01", "2024-01-01", "2024-02-29");
        assert_eq!(run(&quarterly, cut, &[], 1, "2024-02-20"), []);
        let billing = bills(&quarterly, cut, &[], 1, day("2024-03-15").and_hms_opt(0, 0, 0).unwrap()).unwrap();
        assert_eq!((billing.spans.len(), billing.ends), (2, true));
    }

    #[test]
    fn days_that_have_a_bill_are_skipped() {
        let prepaid = item(PaymentTiming::Prepaid, 1);
        let february = Span { from: day("2024-02-01"), until: day("2024-03-01") };
        let back = |cursor| rule("2024-01-01", cursor, "2050-12-31");
        assert_eq!(run(&prepaid, back("2024-02-10"), &[february], 1, "2024-02-20"), []);
        assert_eq!(
            run(&prepaid, back("2024-01-20"), &[february], 1, "2024-03-20"),
            pairs(&[("2024-01-20", "2024-01-31"), ("2024-03-01", "2024-03-31")])
        );
    }

    #[test]
    fn a_bill_touches_calendar_months() {
        let touched = |from: &str, until: &str| months_touched(Span { from: day(from), until: day(until) });
        assert_eq!([touched("2024-01-15", "2024-02-01"), touched("2024-12-15", "2025-02-02")], [1, 3]);
    }

    proptest! {
        /// Bills made at any moments, in groups of any size, owe together what a fee owes.
        #[test]
        fn bills_owe_what_a_fee_owes(
            start in 0u64..700,
            runs in proptest::collection::vec(1u64..90, 1..8),
            months in 1u32..5,
            cycle in 1u32..5,
            postpaid: bool,
        ) {
            let timing = if postpaid { PaymentTiming::Postpaid } else { PaymentTiming::Prepaid };
            let item = item(timing, cycle);
            let payer = Payer::Car(Car::default());
            let start = day("2023-01-01") + chrono::Days::new(start);
            let limit = day("2050-12-31").and_hms_opt(23, 59, 59).unwrap();
            let mut now = start.and_hms_opt(10, 30, 0).unwrap();
            let (mut cursor, mut billed) = (start, Vec::new());
            for days in runs {
                now = now + chrono::Days::new(days);
                let billing = bills(&item, Rule { start, cursor, limit }, &billed, months, now).unwrap();
                cursor = billing.cursor;
                billed.extend(billing.spans);
                let of_bills: Decimal = billed
                    .iter()
                    .map(|span| Fee::of(Course::Bill(Bill { rule_start: start, span: *span })))
                    .map(|bill| owed(&item, &payer, &bill, now, None).unwrap().net)
                    .sum();
                let midnight = start.and_time(NaiveTime::MIN);
                let fee = Fee::of(Course::Running(Running::new(midnight, midnight, None, limit, Vec::new()).unwrap()));
                prop_assert_eq!(of_bills, owed(&item, &payer, &fee, now, None).unwrap().net);
            }
        }
    }
}
