//! Properties of amounts over random fees, items and times.

use std::num::NonZeroU32;

use chrono::{Days, NaiveDate};
use communal_proto::community::v1::{Formula, PaymentTiming, Rounding};
use proptest::prelude::*;
use rust_decimal::Decimal;

use super::super::fee::midnight;
use super::super::months::{at, day_reached};
use super::super::{
    AmountRounding, Bill, Course, Escalation, Fee, ItemTerms, Months, Payer, PaymentScope, Pricing, QuoteError, Room,
    Running, Span, owed,
};
use super::day;

const SPREAD: u64 = 1_500;

fn plus(day: NaiveDate, days: u64) -> NaiveDate {
    day.checked_add_days(Days::new(days)).unwrap()
}

fn days() -> impl Strategy<Value = NaiveDate> {
    (0..SPREAD).prop_map(|days| plus(day("2022-12-25"), days))
}

fn items() -> impl Strategy<Value = ItemTerms> {
    let modes = prop_oneof![Just(Rounding::HalfUp), Just(Rounding::Up), Just(Rounding::Down)];
    let timings = prop_oneof![Just(PaymentTiming::Prepaid), Just(PaymentTiming::Postpaid)];
    let formulas = prop_oneof![Just(Formula::BuiltUpArea), Just(Formula::EscalatingRent), Just(Formula::Custom)];
    (formulas, 0_i64..40_000, 0_i64..500_000, timings, 1_u32..14, 0_u32..70, modes, 0_u32..5).prop_map(
        |(formula, price, additional, timing, cycle, window_days, mode, places)| ItemTerms {
            formula,
            // A third has more digits than any column.
            expression: Some("(R*单价+附加费)/3".parse().unwrap()),
            price: Decimal::new(price, 4),
            additional_amount: Decimal::new(additional, 4),
            timing,
            cycle: NonZeroU32::new(cycle).unwrap(),
            window_days,
            rounding: AmountRounding { mode, places },
        },
    )
}

fn payer() -> Payer {
    let area = Some(Decimal::new(8_888, 2));
    Payer::Room(Room { built_up_area: area, rent: Some(Decimal::new(123_457, 2)), ..Room::default() })
}

fn escalations() -> impl Strategy<Value = Escalation> {
    (days(), 1_u32..30, 0_i64..2_000).prop_map(|(from, every, rate)| Escalation {
        from,
        every: NonZeroU32::new(every).unwrap(),
        rate: Decimal::new(rate, 4),
    })
}

fn fee_of(start: NaiveDate, paid: NaiveDate, limit: NaiveDate, escalation: Escalation) -> Fee {
    let course = Running::new(midnight(start), midnight(paid), None, midnight(limit), Vec::new()).unwrap();
    Fee { escalation: Some(escalation), ..Fee::of(Course::Running(course)) }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_later_day_never_has_fewer_months(start in days(), after in 0..SPREAD) {
        let (earlier, later) = (plus(start, after), plus(start, after + 1));
        prop_assert!(at(start, earlier) <= at(start, later));
    }

    #[test]
    fn the_day_that_months_reach_is_the_latest_or_its_anchor(start in days(), ten_thousandths in 0_i64..400_000) {
        let months = Months::from_decimal(Decimal::new(ten_thousandths, 4)).unwrap();
        let reached = day_reached(start, months).unwrap();
        prop_assert!(at(start, reached) <= months);
        // The days after it have more months, or the whole months of their anchor.
        let next = at(start, plus(reached, 1));
        prop_assert!(next > months || next == at(start, reached));
        prop_assert_eq!(day_reached(start, at(start, reached)).unwrap(), reached);
    }

    #[test]
    fn however_a_span_is_cut_its_parts_add_up(
        item in items(), escalation in escalations(), start in days(), cuts in prop::collection::vec(0..SPREAD, 2..12),
    ) {
        let mut cuts: Vec<_> = cuts.into_iter().map(|days| plus(start, days)).collect();
        cuts.sort();
        cuts.dedup();
        let fee = fee_of(start, start, plus(start, 2 * SPREAD), escalation);
        let payer = payer();
        let pricing = Pricing::new(&item, &payer, &fee).unwrap();
        let price = |from, until| pricing.price(Span { from, until }).unwrap().amount;
        let parts: Decimal = cuts.windows(2).map(|cut| price(cut[0], cut[1])).sum();
        prop_assert_eq!(parts, price(cuts[0], *cuts.last().unwrap()));
        // The same spans as bills of a rule.
        let bills: Decimal = cuts
            .windows(2)
            .map(|cut| {
                let span = Span { from: cut[0], until: cut[1] };
                let bill = Fee { course: Course::Bill(Bill { rule_start: start, span }), ..fee.clone() };
                owed(&item, &payer, &bill, midnight(start), None).unwrap().net
            })
            .sum();
        prop_assert_eq!(bills, parts);
    }

    #[test]
    fn owed_never_falls_while_time_passes_without_payment(
        item in items(), escalation in escalations(), start in days(), paid in 0_u64..400, length in 0_u64..1_000,
        gap in 1_u64..90, ahead in 1_u64..90, credit in 0_i64..100_000, seconds in 0_i64..86_400,
    ) {
        let paid = plus(start, paid);
        let span = Span { from: plus(paid, gap), until: plus(paid, gap + ahead) };
        let limit = plus(start, length);
        let course = Running::new(midnight(start), midnight(paid), None, midnight(limit), vec![span]).unwrap();
        let credit = Decimal::new(credit, 2);
        let fee = Fee { escalation: Some(escalation), credit, ..Fee::of(Course::Running(course)) };
        let payer = payer();
        let (mut before, mut deadline) = (Decimal::ZERO, midnight(start));
        for days in 0..150 {
            let now = midnight(plus(start, days * 9)) - chrono::TimeDelta::days(90) + chrono::TimeDelta::seconds(seconds);
            let found = owed(&item, &payer, &fee, now, None).unwrap();
            prop_assert!(found.net >= before, "{} after {before} at {now}", found.net);
            prop_assert!(found.deadline >= deadline);
            (before, deadline) = (found.net, found.deadline);
        }
    }

    #[test]
    fn month_by_month_costs_what_all_at_once_does(
        item in items(), escalation in escalations(), start in days(), months in 1_u32..40,
    ) {
        let payer = payer();
        let limit = plus(start, 3_000);
        let mut paid = start;
        let mut total = Decimal::ZERO;
        for _ in 0..months {
            let fee = fee_of(start, paid, limit, escalation);
            let quote = Pricing::new(&item, &payer, &fee).unwrap()
                .quote(PaymentScope::Months(Months::ONE), midnight(start)).unwrap();
            prop_assert_eq!(quote.credit_after, Decimal::ZERO);
            total += quote.due;
            paid = quote.paid_through.date();
        }
        let fee = fee_of(start, start, limit, escalation);
        let pricing = Pricing::new(&item, &payer, &fee).unwrap();
        let at_once = pricing.quote(PaymentScope::Months(Months::whole(months)), midnight(start)).unwrap();
        prop_assert_eq!(total, at_once.due);
        prop_assert_eq!(paid, at_once.paid_through.date());
        let by_date = pricing.quote(PaymentScope::Until(paid.pred_opt().unwrap()), midnight(start)).unwrap();
        prop_assert_eq!(by_date.due, total);
    }

    #[test]
    fn what_was_received_is_the_price_of_what_is_paid_and_the_credit(
        item in items(), escalation in escalations(), start in days(),
        payments in prop::collection::vec((0_u8..3, 1_i64..60_000), 1..12),
    ) {
        let payer = payer();
        let limit = plus(start, 2_000);
        let mut fee = fee_of(start, start, limit, escalation);
        let mut received = Decimal::ZERO;
        for (kind, number) in payments {
            let Course::Running(course) = &fee.course else { unreachable!() };
            let scope = match kind {
                0 => PaymentScope::Months(Months::from_decimal(Decimal::new(number, 4)).unwrap()),
                1 => PaymentScope::Amount(Decimal::new(number, item.rounding.places)),
                _ => PaymentScope::Until(plus(course.unpaid(), number.unsigned_abs() % 120)),
            };
            let quote = match Pricing::new(&item, &payer, &fee).unwrap().quote(scope, midnight(start)) {
                Ok(quote) => quote,
                Err(QuoteError::PastLimit(_) | QuoteError::CoversNoDay { .. } | QuoteError::CostsNothing) => continue,
                Err(error) => return Err(TestCaseError::fail(format!("{scope:?}: {error}"))),
            };
            received += quote.due;
            let course = Running::new(midnight(start), quote.paid_through, None, midnight(limit), Vec::new()).unwrap();
            fee = Fee { course: Course::Running(course), credit: quote.credit_after, ..fee };
            prop_assert!(fee.credit >= Decimal::ZERO);
            let Course::Running(course) = &fee.course else { unreachable!() };
            let span = Span { from: start, until: course.unpaid() };
            let price = Pricing::new(&item, &payer, &fee).unwrap().price(span).unwrap().amount;
            prop_assert_eq!(received - fee.credit, price);
            if matches!(scope, PaymentScope::Amount(_)) && course.unpaid() < course.end() {
                let next = Span { from: course.unpaid(), until: plus(course.unpaid(), 1) };
                let pricing = Pricing::new(&item, &payer, &fee).unwrap();
                // Days beside an anchor may cost nothing; the first that costs anything costs more than the credit.
                let later = Span { until: plus(next.from, 5).min(course.end()), ..next };
                prop_assert!(pricing.price(later).unwrap().amount.is_zero() || fee.credit < pricing.price(later).unwrap().amount);
            }
        }
    }

    #[test]
    fn what_is_owed_is_what_paying_it_costs_and_afterwards_nothing_is_owed(
        item in items(), escalation in escalations(), start in days(), paid in 0_u64..400, length in 0_u64..1_000,
        now in 0_u64..1_200,
    ) {
        let payer = payer();
        let paid = plus(start, paid);
        let limit = plus(start, length);
        let fee = fee_of(start, paid, limit, escalation);
        let now = midnight(plus(start, now));
        let found = owed(&item, &payer, &fee, now, None).unwrap();
        let quote = Pricing::new(&item, &payer, &fee).unwrap().quote(PaymentScope::Owed(None), now).unwrap();
        prop_assert_eq!((&quote.due, &quote.lines), (&found.net, &found.lines));
        let without_window = ItemTerms { window_days: 0, ..item };
        let course = Running::new(midnight(start), quote.paid_through, None, midnight(limit), Vec::new()).unwrap();
        let after = Fee { course: Course::Running(course), ..fee };
        prop_assert_eq!(owed(&without_window, &payer, &after, now, None).unwrap().net, Decimal::ZERO);
    }
}
