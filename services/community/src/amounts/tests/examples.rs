//! Every worked example of amounts in the documents, with the value that was decided for it. Unless
//! a case says otherwise a month costs 250.00, prepaid each month, and it is 2024-03-20 10:30.

use communal_proto::community::v1::{Formula, PaymentTiming, Rounding};
use rust_decimal::Decimal;

use super::super::{
    AmountRounding, Bill, Course, Escalation, Fee, ItemTerms, Months, OneOff, Owed, Payer, PaymentScope, Pricing,
    QuoteError, Reading, Room, Running, Span, owed,
};
use super::{FAR, cycle, day, decimal, item, postpaid, room, room_of, running, time, with_credit};

const NOW: &str = "2024-03-20 10:30:00";

fn owed_at(item: &ItemTerms, fee: &Fee, now: &str) -> Owed {
    owed(item, &room(), fee, time(now), None).unwrap()
}

/// Deadline and amount as they are shown.
fn shown(owed: &Owed) -> (String, String) {
    (owed.deadline.to_string(), owed.net.to_string())
}

fn months(count: &str) -> PaymentScope {
    PaymentScope::Months(Months::from_decimal(decimal(count)).unwrap())
}

fn priced(item: &ItemTerms, payer: &Payer, fee: &Fee, scope: PaymentScope) -> Result<Decimal, QuoteError> {
    Ok(Pricing::new(item, payer, fee)?.quote(scope, time(NOW))?.gross)
}

fn unpaid(start: &str) -> Fee {
    running(start, start, FAR)
}

#[test]
fn unit_amounts_and_three_months_of_them() {
    let fee = unpaid("2024-01-01");
    let with = |additional: &str| ItemTerms { additional_amount: decimal(additional), ..item() };
    let area = with("100");
    let fixed = ItemTerms { formula: Formula::Fixed, price: Decimal::ZERO, ..with("120") };
    // Examples 1 and 3.
    for (item, one, three) in [(area, "350.00", "1050.00"), (fixed, "120.00", "360.00")] {
        assert_eq!(priced(&item, &room(), &fee, months("1")), Ok(decimal(one)));
        assert_eq!(priced(&item, &room(), &fee, months("3")), Ok(decimal(three)));
    }
    // Example 5.
    let reading = Reading { previous: decimal("100"), current: decimal("156.5"), price: None };
    let read = Fee { reading: Some(reading), ..unpaid("2024-01-01") };
    let by_reading = ItemTerms { formula: Formula::Reading, price: decimal("3.85"), ..item() };
    assert_eq!(priced(&by_reading, &room(), &read, months("1")), Ok(decimal("217.53")));
    // Example 7.
    let custom = |text: &str| ItemTerms { formula: Formula::Custom, expression: Some(text.parse().unwrap()), ..item() };
    let seven = Payer::Room(Room {
        built_up_area: Some(decimal("88.88")),
        coefficient: Some(decimal("1.2")),
        ..Room::default()
    });
    assert_eq!(priced(&custom("R*2.5+X*10"), &seven, &fee, months("1")), Ok(decimal("234.20")));
    assert!(matches!(priced(&custom("R*2.5-1000"), &seven, &fee, months("1")), Err(QuoteError::Amount(_))));
}

#[test]
fn due_instants_and_what_is_owed() {
    let quarterly = ItemTerms { cycle: cycle(3), ..item() };
    let postpaid_quarterly = ItemTerms { cycle: cycle(3), ..postpaid() };
    let cases = [
        // Examples 9, 11, 13.
        (item(), unpaid("2024-01-01"), NOW, "2024-03-31 23:59:59", "750.00"),
        (quarterly.clone(), unpaid("2024-01-01"), NOW, "2024-03-31 23:59:59", "750.00"),
        (quarterly, unpaid("2024-01-01"), "2024-04-02 00:00:00", "2024-06-30 23:59:59", "1500.00"),
        (item(), unpaid("2024-01-15"), NOW, "2024-04-14 23:59:59", "750.00"),
        // What the reference system gets wrong.
        (postpaid(), running("2024-01-01", "2024-03-01", FAR), NOW, "2024-03-01 00:00:00", "0"),
        (postpaid_quarterly.clone(), unpaid("2024-01-01"), NOW, "2024-01-01 00:00:00", "0"),
        // The last postpaid period is over when the limit that cuts it is.
        (
            postpaid_quarterly.clone(),
            running("2024-01-01", "2024-01-01", "2024-02-29"),
            "2024-03-15 00:00:00",
            "2024-02-29 23:59:59",
            "500.00",
        ),
        (
            postpaid_quarterly,
            running("2024-01-01", "2024-01-01", "2024-02-29"),
            "2024-02-29 23:59:59",
            "2024-01-01 00:00:00",
            "0",
        ),
        // The second month is not due while the first one runs, whatever fraction its days have.
        (item(), unpaid("2023-01-15"), "2023-02-14 12:00:00", "2023-02-14 23:59:59", "250.00"),
        (item(), unpaid("2023-01-15"), "2023-02-15 00:00:00", "2023-03-14 23:59:59", "500.00"),
    ];
    for (item, fee, now, deadline, amount) in cases {
        let found = owed_at(&item, &fee, now);
        assert_eq!(found.deadline.to_string(), deadline, "{fee:?} at {now}");
        assert_eq!(found.net, decimal(amount), "{fee:?} at {now}");
    }
}

#[test]
fn a_limit_cuts_the_last_month() {
    // Example 15.
    let item = ItemTerms { price: decimal("1.104013"), ..item() };
    let fee = running("2024-01-01", "2024-01-01", "2024-03-15");
    let found = owed(&item, &room(), &fee, time(NOW), None).unwrap();
    assert_eq!(shown(&found), ("2024-03-15 23:59:59".to_owned(), "274.23".to_owned()));
    assert_eq!(found.lines[0].length().to_string(), "2.4839");
}

#[test]
fn payments_until_a_date_by_months_and_by_amount() {
    let item = item();
    let quote = |fee: &Fee, scope| Pricing::new(&item, &room(), fee).unwrap().quote(scope, time(NOW));
    let fee = unpaid("2024-01-01");
    // Example 17.
    let until = quote(&fee, PaymentScope::Until(day("2024-02-15"))).unwrap();
    assert_eq!((until.months.to_string(), until.due.to_string()), ("1.5172".to_owned(), "379.30".to_owned()));
    assert_eq!(until.paid_through, time("2024-02-16"));
    // Example 19: whole days, and the rest is credit.
    let half = quote(&fee, months("1.5")).unwrap();
    assert_eq!(
        (half.due, half.lines[0].amount, half.credit_after),
        (decimal("375"), decimal("370.70"), decimal("4.30"))
    );
    assert_eq!(half.paid_through, time("2024-02-15"));
    // Example 21: 100.00 pay twelve days, and the credit lowers what is owed.
    let hundred = quote(&fee, PaymentScope::Amount(decimal("100"))).unwrap();
    assert_eq!((hundred.lines[0].amount, hundred.credit_after), (decimal("96.78"), decimal("3.22")));
    assert_eq!((hundred.months.to_string(), hundred.paid_through), ("0.4000".to_owned(), time("2024-01-13")));
    let rest = with_credit(running("2024-01-01", "2024-01-13", FAR), "3.22");
    let rest = owed(&item, &room(), &rest, time("2024-01-20"), None).unwrap();
    assert_eq!((rest.gross, rest.net), (decimal("153.22"), decimal("150.00")));
    // Example 23.
    let short = running("2024-01-01", "2024-01-01", "2024-02-29");
    let error = quote(&short, months("3")).unwrap_err();
    assert_eq!(error.text(), "缴费周期超过 缴费结束时间,请用按结束时间方式缴费");
}

#[test]
fn a_one_off_fee_is_owed_once() {
    // Example 25.
    let item = ItemTerms { formula: Formula::Fixed, additional_amount: decimal("300"), ..item() };
    let course = OneOff { start: time("2024-03-01"), deadline: time("2024-12-31 23:59:59") };
    let fee = Fee::of(Course::OneOff(course));
    for (now, amount) in [("2024-02-29 23:59:59", "0"), ("2024-03-01 00:00:00", "300"), ("2025-03-01 00:00:00", "300")]
    {
        let found = owed_at(&item, &fee, now);
        assert_eq!((found.net, found.deadline), (decimal(amount), time("2024-12-31 23:59:59")), "{now}");
    }
    let windowed = ItemTerms { window_days: 10, ..item.clone() };
    assert_eq!(owed_at(&windowed, &fee, "2024-02-20 00:00:00").net, decimal("300"), "the window includes its start");
    assert_eq!(owed_at(&windowed, &fee, "2024-02-19 23:59:59").net, decimal("0"));
    let postpaid = ItemTerms { timing: PaymentTiming::Postpaid, ..windowed };
    assert_eq!(owed_at(&postpaid, &fee, "2024-02-29 23:59:59").net, decimal("0"), "postpaid has no window");
    assert_eq!(owed_at(&postpaid, &fee, "2024-03-01 00:00:00").net, decimal("300"), "and is owed from its start");
    let paid = Fee { ended: true, ..fee };
    assert_eq!(owed_at(&item, &paid, NOW).net, decimal("0"));
}

#[test]
fn rent_rises_block_by_block() {
    // Example 31.
    let item = ItemTerms { formula: Formula::EscalatingRent, ..item() };
    let payer = Payer::Room(Room { rent: Some(decimal("1000")), ..Room::default() });
    let escalation = |from| Escalation { from: day(from), every: cycle(12), rate: decimal("0.05") };
    let fee = |start, limit, from| Fee { escalation: Some(escalation(from)), ..running(start, start, limit) };
    let all = |fee: &Fee, now| owed(&item, &payer, fee, time(now), None).unwrap();
    let example = fee("2023-01-01", "2024-06-30", "2024-01-01");
    assert_eq!(all(&example, "2024-07-01").net, decimal("18300.00"));
    // The day of the escalation is that of the anchor, wherever in the month it is given.
    let late = fee("2023-01-01", "2024-06-30", "2024-01-20");
    assert_eq!(all(&late, "2024-07-01").net, decimal("18300.00"));
    // An escalation before the start counts: the fee starts in its block.
    let before = fee("2023-01-01", "2023-01-31", "2021-06-01");
    assert_eq!(all(&before, "2023-02-01").net, decimal("1102.50"));
    // Each step is rounded to four places, half up.
    let third = Escalation { from: day("2023-01-01"), every: cycle(1), rate: decimal("0.0333") };
    let steps = Fee { escalation: Some(third), ..running("2023-01-01", "2023-01-01", FAR) };
    let pricing = Pricing::new(&item, &payer, &steps).unwrap();
    assert_eq!(pricing.exact(Months::ONE).unwrap(), decimal("1033.3000"));
    assert_eq!(pricing.exact(Months::whole(2)).unwrap(), decimal("2101.0089"));
    assert_eq!(pricing.exact(Months::whole(3)).unwrap(), decimal("3204.2725"));
    // The rent that is shown is the one in force at the paid-through time.
    let paid = Fee { escalation: Some(escalation("2024-01-01")), ..running("2023-01-01", "2024-01-01", FAR) };
    assert_eq!(Pricing::new(&item, &payer, &paid).unwrap().unit_in_force(), Ok(decimal("1050.0000")));
    let unescalated = running("2023-01-01", "2023-01-01", FAR);
    let error = owed(&item, &payer, &unescalated, time(NOW), None).unwrap_err();
    assert_eq!(error.text(), "缺少租金递增");
}

#[test]
fn amounts_are_rounded_once_by_mode_and_places() {
    let cases = [
        ("2682.904", Rounding::Up, 2, "2682.91"),
        ("2682.909", Rounding::Down, 2, "2682.90"),
        ("2682.905", Rounding::HalfUp, 2, "2682.91"),
        ("2682.5", Rounding::HalfUp, 0, "2683"),
        ("2682.1", Rounding::Up, 0, "2683"),
        ("2682.9", Rounding::Down, 0, "2682"),
        ("33.3333", Rounding::Up, 2, "33.34"),
        ("33.3333", Rounding::HalfUp, 3, "33.333"),
        ("10.01", Rounding::HalfUp, 2, "10.01"),
        ("2682.905", Rounding::Unspecified, 2, "2682.91"),
    ];
    for (price, mode, places, expected) in cases {
        let rounding = AmountRounding { mode, places };
        let item = ItemTerms { price: decimal(price), rounding, ..item() };
        assert_eq!(priced(&item, &room_of("1"), &unpaid("2024-01-01"), months("1")), Ok(decimal(expected)), "{price}");
    }
    let half = ItemTerms { price: decimal("10.01"), ..item() };
    assert_eq!(priced(&half, &room_of("1"), &unpaid("2024-01-01"), months("0.5")), Ok(decimal("5.01")));
    // The unit is not cut to four places first, which would give 726.54.
    let long = ItemTerms { price: decimal("1.0079"), ..item() };
    assert_eq!(priced(&long, &room_of("60.07"), &unpaid("2024-01-01"), months("12")), Ok(decimal("726.53")));
}

#[test]
fn with_rounding_up_the_months_differ_by_a_step_and_add_up() {
    let rounding = AmountRounding { mode: Rounding::Up, places: 2 };
    let item = ItemTerms { price: decimal("33.3333"), rounding, ..item() };
    let payer = room_of("1");
    let of_month = |paid, last| {
        let fee = running("2024-01-01", paid, FAR);
        priced(&item, &payer, &fee, PaymentScope::Until(day(last))).unwrap().to_string()
    };
    let found = [
        of_month("2024-01-01", "2024-01-31"),
        of_month("2024-02-01", "2024-02-29"),
        of_month("2024-03-01", "2024-03-31"),
        of_month("2024-01-01", "2024-03-31"),
    ];
    assert_eq!(found, ["33.34", "33.33", "33.33", "100.00"]);
}

#[test]
fn the_month_end_comes_back_after_each_payment() {
    let item = item();
    let mut paid = "2024-01-31".to_owned();
    for expected in ["2024-02-29", "2024-03-31", "2024-04-30", "2024-05-31"] {
        let fee = running("2024-01-31", &paid, FAR);
        let quote = Pricing::new(&item, &room(), &fee).unwrap().quote(months("1"), time(NOW)).unwrap();
        assert_eq!((quote.due, quote.credit_after), (decimal("250"), decimal("0")));
        paid = quote.paid_through.date().to_string();
        assert_eq!(paid, expected);
    }
}

#[test]
fn a_month_from_a_day_that_is_no_anchor_costs_a_month() {
    let fee = running("2024-01-01", "2024-02-16", FAR);
    let item = item();
    let quote = Pricing::new(&item, &room(), &fee).unwrap().quote(months("1"), time(NOW)).unwrap();
    assert_eq!(
        (quote.due, quote.lines[0].amount, quote.credit_after),
        (decimal("250"), decimal("249.73"), decimal("0.27"))
    );
    assert_eq!(quote.paid_through, time("2024-03-17"));
    // Paid to 15 February, that is to the morning of the 15th.
    let fee = running("2024-01-01", "2024-02-15", FAR);
    let quote = Pricing::new(&item, &room(), &fee).unwrap().quote(months("1"), time(NOW)).unwrap();
    assert_eq!((quote.lines[0].amount, quote.credit_after), (decimal("242.20"), decimal("7.80")));
    assert_eq!(quote.paid_through, time("2024-03-15"));
}

#[test]
fn an_amount_pays_the_whole_days_whose_price_fits() {
    let item = item();
    let by_amount = |start, amount: &str| {
        let fee = unpaid(start);
        let quote = Pricing::new(&item, &room(), &fee)
            .unwrap()
            .quote(PaymentScope::Amount(decimal(amount)), time(NOW))
            .unwrap();
        (quote.paid_through.date().to_string(), quote.credit_after.to_string())
    };
    assert_eq!(by_amount("2024-01-31", "375.00"), ("2024-03-15".to_owned(), "4.02".to_owned()));
    // 379.29 is a cent less than the price of the days that 1.5172 months have.
    assert_eq!(by_amount("2024-01-01", "379.29"), ("2024-02-15".to_owned(), "8.59".to_owned()));
    assert_eq!(by_amount("2024-01-01", "379.30"), ("2024-02-16".to_owned(), "0.00".to_owned()));
    assert_eq!(by_amount("2023-02-15", "250.00"), ("2023-03-15".to_owned(), "0.00".to_owned()));
}

#[test]
fn bills_count_their_months_from_the_start_of_the_rule() {
    let item = item();
    let bill = |from, until| {
        let span = Span { from: day(from), until: day(until) };
        let fee = Fee::of(Course::Bill(Bill { rule_start: day("2024-01-15"), span }));
        let found = owed(&item, &room(), &fee, time("2024-03-20"), None).unwrap();
        assert_eq!(found.deadline, span.last_second());
        found.net
    };
    let bills = [
        bill("2024-01-15", "2024-02-01"),
        bill("2024-02-01", "2024-03-01"),
        bill("2024-03-01", "2024-04-01"),
        // Made on 20 March, and owed from then on.
        bill("2024-04-01", "2024-04-15"),
    ];
    assert_eq!(bills, ["137.10", "250.00", "250.00", "112.90"].map(decimal));
    assert_eq!(bills.iter().sum::<Decimal>(), decimal("750.00"));
}

#[test]
fn a_gap_is_owed_and_the_paid_days_behind_it_are_not() {
    let paid = vec![Span { from: day("2024-02-01"), until: day("2024-04-01") }];
    let course =
        |paid_through| Running::new(time("2024-01-01"), time(paid_through), None, time(FAR), paid.clone()).unwrap();
    let fee = Fee::of(Course::Running(course("2024-01-01")));
    let found = owed_at(&item(), &fee, NOW);
    assert_eq!(found.net, decimal("250.00"));
    assert_eq!(found.lines.len(), 1);
    let item = item();
    let pricing = Pricing::new(&item, &room(), &fee).unwrap();
    let quote = pricing.quote(PaymentScope::Owed(None), time(NOW)).unwrap();
    assert_eq!(quote.paid_through, time("2024-04-01"), "past the days that are paid");
    for scope in [months("1.1"), PaymentScope::Amount(decimal("250.01")), PaymentScope::Until(day("2024-02-01"))] {
        assert_eq!(pricing.quote(scope, time(NOW)), Err(QuoteError::PaidAlready), "{scope:?}");
    }
    let behind = pricing.quote(PaymentScope::Between(day("2024-05-01"), day("2024-05-31")), time(NOW)).unwrap();
    assert_eq!((behind.due, behind.paid_through), (decimal("250"), time("2024-01-01")), "a gap stays");
}
