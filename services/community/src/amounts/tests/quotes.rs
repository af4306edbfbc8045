//! Due instants, limits and the refusals of quotes beyond the worked examples.

use super::super::{
    AmountRounding, Course, Fee, ItemTerms, Months, OneOff, PaymentScope, Pricing, Quote, QuoteError, Running, Span,
    owed,
};
use super::{FAR, cycle, day, decimal, item, postpaid, room, room_of, running, time, with_credit};
use crate::amounts::fee::CourseError;
use crate::vocabulary::times;

const NOW: &str = "2024-03-20 10:30:00";

fn quote(item: &ItemTerms, fee: &Fee, scope: PaymentScope) -> Result<Quote, QuoteError> {
    Pricing::new(item, &room(), fee)?.quote(scope, time(NOW))
}

fn net(item: &ItemTerms, fee: &Fee, now: &str) -> String {
    owed(item, &room(), fee, time(now), None).unwrap().net.normalize().to_string()
}

#[test]
fn the_prepayment_window_opens_one_period_and_only_when_all_before_it_is_paid() {
    let item = ItemTerms { window_days: 15, ..item() };
    let paid = running("2024-01-01", "2024-04-01", FAR);
    assert_eq!(net(&item, &paid, "2024-03-17 00:00:00"), "0");
    assert_eq!(net(&item, &paid, "2024-03-17 00:00:01"), "250");
    let behind = running("2024-01-01", "2024-03-01", FAR);
    assert_eq!(net(&item, &behind, "2024-03-20"), "250", "March only");
    let middle = running("2024-01-01", "2024-04-10", FAR);
    assert_eq!(net(&item, &middle, "2024-04-01"), "175", "the rest of April, no window");
    // Longer than the period: one more period only.
    let long = ItemTerms { window_days: 90, ..item.clone() };
    assert_eq!(net(&long, &paid, "2024-03-01"), "250");
    let ahead = running("2024-01-01", "2024-05-01", FAR);
    assert_eq!(net(&long, &ahead, "2024-03-01"), "0");
    let postpaid = ItemTerms { timing: postpaid().timing, ..item };
    assert_eq!(net(&postpaid, &behind, "2024-03-31 23:59:59"), "0", "postpaid has no window");
    assert_eq!(net(&postpaid, &behind, "2024-04-01 00:00:00"), "250");
}

#[test]
fn nothing_is_owed_before_the_start_but_the_window_may_open_the_first_period() {
    let fee = running("2024-06-01", "2024-06-01", FAR);
    let item = item();
    for now in ["2024-03-20", "2024-05-31 23:59:59"] {
        assert_eq!(net(&item, &fee, now), "0", "{now}");
        assert_eq!(net(&postpaid(), &fee, now), "0", "{now}");
    }
    assert_eq!(net(&item, &fee, "2024-06-01"), "250");
    let windowed = ItemTerms { window_days: 10, ..item };
    assert_eq!(net(&windowed, &fee, "2024-05-22 00:00:00"), "0");
    assert_eq!(net(&windowed, &fee, "2024-05-22 00:00:01"), "250");
    let ahead = quote(&windowed, &fee, PaymentScope::Months(Months::whole(2))).unwrap();
    assert_eq!(ahead.due, decimal("500"), "and it may be paid ahead");
}

#[test]
fn a_target_replaces_the_due_instant_and_ends_at_the_limit() {
    let fee = running("2024-01-01", "2024-02-01", "2024-06-30");
    let until = |item: &ItemTerms, target: &str| {
        let owed = owed(item, &room(), &fee, time(NOW), Some(day(target))).unwrap();
        (owed.net.normalize().to_string(), owed.deadline.to_string())
    };
    assert_eq!(until(&item(), "2024-02-29"), ("250".to_owned(), "2024-02-29 23:59:59".to_owned()));
    assert_eq!(until(&postpaid(), "2024-12-31"), ("1250".to_owned(), "2024-06-30 23:59:59".to_owned()));
    assert_eq!(until(&item(), "2024-01-31"), ("0".to_owned(), "2024-02-01 00:00:00".to_owned()));
}

#[test]
fn times_are_cut_to_days_and_the_paid_through_time_is_not_shown_beyond_the_limit() {
    let at = |text| times::start(text).unwrap();
    let course = Running::new(
        at("2024-01-01 10:30:00"),
        at("2024-02-01 18:00:00"),
        Some(at("2024-12-31 12:00:00")),
        at("2050-01-01 00:00:00"),
        Vec::new(),
    )
    .unwrap();
    assert_eq!((course.unpaid(), course.end()), (day("2024-02-01"), day("2025-01-01")));
    let whole = Running::new(at("2024-01-01"), at("2024-01-01"), None, at("2024-06-30 00:00:00"), Vec::new()).unwrap();
    assert_eq!(whole.end(), day("2024-07-01"), "the end of an item includes its day");
    let earlier =
        Running::new(at("2024-01-01"), at("2024-01-01"), Some(at(FAR)), at("2024-06-30"), Vec::new()).unwrap();
    assert_eq!(earlier.end(), day("2024-07-01"), "the limit is the earlier of both");
    // The last second of the limit says that every day is paid.
    let fee = running("2024-01-01", "2024-12-31 23:59:59", "2024-12-31");
    assert_eq!(net(&item(), &fee, "2025-02-01"), "0");
    let all =
        quote(&item(), &running("2024-01-01", "2024-12-01", "2024-12-31"), PaymentScope::Until(day("2024-12-31")))
            .unwrap();
    assert_eq!(all.paid_through.to_string(), "2024-12-31 23:59:59");
}

#[test]
fn contradicting_times_are_refused() {
    let new = |paid_through, paid| Running::new(time("2024-01-01"), time(paid_through), None, time(FAR), paid);
    let span = |from, until| Span { from: day(from), until: day(until) };
    assert_eq!(new("2023-12-31", Vec::new()), Err(CourseError::PaidBeforeStart));
    let bad = [
        vec![span("2024-01-15", "2024-02-15")],
        vec![span("2024-03-01", "2024-03-01")],
        vec![span("2024-03-01", "2024-04-01"), span("2024-03-31", "2024-05-01")],
    ];
    for paid in bad {
        assert_eq!(new("2024-02-01", paid.clone()), Err(CourseError::PaidSpans), "{paid:?}");
    }
    // Spans that follow on the paid-through time move it.
    let joined = new("2024-02-01", vec![span("2024-03-01", "2024-04-01"), span("2024-02-01", "2024-03-01")]).unwrap();
    assert_eq!(joined.unpaid(), day("2024-04-01"));
}

#[test]
fn each_refusal_has_its_reason() {
    let item = item();
    let fee = running("2024-01-01", "2024-02-01", "2024-06-30");
    let paid_out = running("2024-01-01", "2024-06-30 23:59:59", "2024-06-30");
    let limit = QuoteError::PastLimit(day("2024-06-30"));
    let amount = |text: &str| PaymentScope::Amount(decimal(text));
    let one = PaymentScope::Months(Months::ONE);
    let cases = [
        (&fee, PaymentScope::Months(Months::whole(6)), limit.clone()),
        (&fee, amount("1250.01"), limit.clone()),
        (&fee, PaymentScope::Until(day("2024-07-01")), limit.clone()),
        (&fee, PaymentScope::Between(day("2024-06-01"), day("2024-07-01")), limit.clone()),
        (&paid_out, one, limit.clone()),
        (&paid_out, amount("1"), limit),
        (&fee, PaymentScope::Until(day("2024-01-31")), QuoteError::PaidAlready),
        (&fee, PaymentScope::Between(day("2024-01-15"), day("2024-02-15")), QuoteError::PaidAlready),
        (&fee, PaymentScope::Between(day("2024-03-15"), day("2024-03-14")), QuoteError::Backwards),
        (&fee, PaymentScope::Months(Months::ZERO), QuoteError::NotPayable),
        (&fee, amount("0"), QuoteError::NotPayable),
        (&fee, amount("-5"), QuoteError::NotPayable),
        (&fee, amount("10.001"), QuoteError::NotPayable),
        (&fee, amount("8.61"), QuoteError::CoversNoDay { first_day: decimal("8.63") }),
        (
            &fee,
            PaymentScope::Months(Months::from_decimal(decimal("0.01")).unwrap()),
            QuoteError::CoversNoDay { first_day: decimal("8.63") },
        ),
    ];
    for (fee, scope, error) in cases {
        assert_eq!(quote(&item, fee, scope), Err(error), "{scope:?}");
    }
    let ended = Fee { ended: true, ..fee.clone() };
    assert_eq!(quote(&item, &ended, one), Err(QuoteError::Ended));
    assert_eq!(quote(&item, &ended, PaymentScope::Owed(None)).unwrap().due, decimal("0"));
    assert_eq!(quote(&item, &with_credit(fee, "8.62"), amount("0.01")).unwrap().paid_through, time("2024-02-02"));
}

#[test]
fn a_fee_that_costs_nothing_is_paid_by_months_or_dates_and_not_by_amount() {
    let free = ItemTerms { price: decimal("0"), ..item() };
    let fee = running("2024-01-01", "2024-01-01", FAR);
    let month = quote(&free, &fee, PaymentScope::Months(Months::ONE)).unwrap();
    assert_eq!((month.due, month.paid_through), (decimal("0"), time("2024-02-01")));
    assert_eq!(quote(&free, &fee, PaymentScope::Until(day("2024-01-31"))).unwrap().due, decimal("0"));
    assert_eq!(quote(&free, &fee, PaymentScope::Amount(decimal("5"))), Err(QuoteError::CostsNothing));
}

#[test]
fn what_is_paid_whole_takes_any_number_of_months_and_no_date() {
    let course = OneOff { start: time("2024-04-01"), deadline: time("2024-12-31 23:59:59") };
    let fee = Fee::of(Course::OneOff(course));
    for months in ["1", "0.5", "12"] {
        let months = Months::from_decimal(decimal(months)).unwrap();
        let quote = quote(&item(), &fee, PaymentScope::Months(months)).unwrap();
        assert_eq!((quote.due, quote.paid_through), (decimal("250"), course.deadline));
    }
    assert_eq!(quote(&item(), &fee, PaymentScope::Owed(None)).unwrap().due, decimal("0"), "before its start");
    for scope in [
        PaymentScope::Until(day("2024-12-31")),
        PaymentScope::Between(day("2024-04-01"), day("2024-04-30")),
        PaymentScope::Amount(decimal("250")),
    ] {
        assert_eq!(quote(&item(), &fee, scope), Err(QuoteError::PaidWhole), "{scope:?}");
    }
}

#[test]
fn credit_is_used_first_and_never_turns_into_a_negative_amount() {
    let fee = with_credit(running("2024-01-01", "2024-03-01", FAR), "300");
    let found = owed(&item(), &room(), &fee, time(NOW), None).unwrap();
    assert_eq!((found.gross, found.net), (decimal("250"), decimal("0")));
    let month = quote(&item(), &fee, PaymentScope::Months(Months::ONE)).unwrap();
    assert_eq!((month.gross, month.due, month.credit_after), (decimal("250"), decimal("0"), decimal("50")));
}

#[test]
fn decimal_places_of_an_item_carry_through() {
    let rounding = AmountRounding { places: 0, ..item().rounding };
    let item = ItemTerms { rounding, price: decimal("3.337"), cycle: cycle(3), ..item() };
    let fee = running("2024-01-01", "2024-01-01", FAR);
    let owed = owed(&item, &room_of("10"), &fee, time(NOW), None).unwrap();
    assert_eq!(owed.net.to_string(), "100");
}

#[test]
fn the_last_days_that_cost_nothing_are_paid_with_what_comes_before_them() {
    // 15 and 16 March have the months of the anchor: the fee is paid to its limit.
    let fee = running("2023-02-15", "2023-02-15", "2023-03-15");
    for scope in [PaymentScope::Months(Months::ONE), PaymentScope::Amount(decimal("250"))] {
        assert_eq!(quote(&item(), &fee, scope).unwrap().paid_through.to_string(), "2023-03-15 23:59:59", "{scope:?}");
    }
}
