//! Rating: the worked examples of the domain as tables, and the properties of every ladder.

use std::collections::BTreeMap;

use communal_billing::rating::shares::share_out;
use communal_billing::rating::tiers::split;
use communal_billing::rating::{Rates, RatingError, Usage, rate};
use communal_billing::vocabulary::tariff::{Period, Tier, TierLimits};
use proptest::prelude::*;
use rust_decimal::Decimal;

fn decimal(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn tier(number: i32) -> Tier {
    Tier::try_from(number).unwrap()
}

/// A ladder from its steps and, for each tier, the price of each period.
fn rates(steps: &[i64], periods: &[Period], prices: &[&[&str]]) -> Rates {
    let bounds: Vec<i64> = std::iter::once(0).chain(steps.iter().copied()).collect();
    let tiers = bounds
        .iter()
        .enumerate()
        .map(|(i, lower)| TierLimits { lower: *lower, upper: bounds.get(i + 1).copied().unwrap_or(0) })
        .collect();
    let mut by_place = BTreeMap::new();
    for (number, row) in (1..).zip(prices) {
        for (period, price) in periods.iter().zip(*row) {
            by_place.insert((tier(number), *period), decimal(price));
        }
    }
    Rates { tiers, prices: by_place }
}

/// (tier, quantity, fee) of each line, and their sum.
fn bill(rates: &Rates, accumulated: &str, quantity: &str) -> (Vec<(i32, String, String)>, String) {
    let usage = Usage { accumulated: decimal(accumulated), by_period: vec![(Period::Whole, decimal(quantity))] };
    let lines = rate(rates, &usage).unwrap();
    let total: Decimal = lines.iter().map(|l| l.fee).sum();
    let lines = lines.iter().map(|l| (l.tier.into(), l.quantity.normalize().to_string(), l.fee.to_string())).collect();
    (lines, total.to_string())
}

/// A worked example: name, rates, used before, used now, the lines (tier, quantity, fee), the total.
type Case<'a> = (&'a str, &'a Rates, &'a str, &'a str, &'a [(i32, &'a str, &'a str)], &'a str);

const WHOLE: &[Period] = &[Period::Whole];

#[test]
fn ladders_bill_as_published() {
    let electricity: &[&[&str]] = &[&["0.4883"], &["0.5383"], &["0.7883"]];
    let year = rates(&[2880, 4800], WHOLE, electricity);
    let month = rates(&[240, 400], WHOLE, electricity);
    let gas = rates(&[350, 500], WHOLE, &[&["2.61"], &["2.83"], &["4.23"]]);
    let water = rates(&[180, 260], WHOLE, &[&["5"], &["7"], &["9"]]);
    let cases: &[Case<'_>] = &[
        ("year ladder across a step", &year, "2800", "300", &[(1, "80", "39.06"), (2, "220", "118.43")], "157.49"),
        ("the same as a month ladder", &month, "0", "300", &[(1, "240", "117.19"), (2, "60", "32.30")], "149.49"),
        ("gas", &gas, "340", "30", &[(1, "10", "26.10"), (2, "20", "56.60")], "82.70"),
        (
            "water for six persons is another ladder",
            &water,
            "170",
            "20",
            &[(1, "10", "50.00"), (2, "10", "70.00")],
            "120.00",
        ),
        ("a tier includes its upper limit", &year, "2880", "1", &[(2, "1", "0.54")], "0.54"),
        ("and ends with it", &year, "2879", "1", &[(1, "1", "0.49")], "0.49"),
        (
            "across all tiers",
            &year,
            "0",
            "5000",
            &[(1, "2880", "1406.30"), (2, "1920", "1033.54"), (3, "200", "157.66")],
            "2597.50",
        ),
        ("a refund walks down", &year, "3000", "-150", &[(1, "-30", "-14.65"), (2, "-120", "-64.60")], "-79.25"),
        ("nothing used, nothing billed", &year, "100", "0", &[], "0"),
    ];
    for (name, rates, accumulated, quantity, lines, total) in cases {
        let expected: Vec<_> = lines.iter().map(|(t, q, f)| (*t, (*q).to_owned(), (*f).to_owned())).collect();
        assert_eq!(bill(rates, accumulated, quantity), (expected, (*total).to_owned()), "{name}");
    }
}

#[test]
fn an_agreed_price_has_one_tier() {
    let school = rates(&[], WHOLE, &[&["6.00"]]);
    assert_eq!(bill(&school, "0", "20").1, "120.00");
}

#[test]
fn seasons_are_rates_of_their_own() {
    for (flat, total) in [("0.54", "5400.00"), ("0.60", "6000.00"), ("0.72", "7200.00")] {
        assert_eq!(bill(&rates(&[], WHOLE, &[&[flat]]), "0", "10000").1, total);
    }
}

#[test]
fn a_ladder_with_time_of_use_is_split_into_steps_first() {
    use Period::{Peak, Valley};
    let shanghai =
        rates(&[3120, 4800], &[Peak, Valley], &[&["0.617", "0.307"], &["0.677", "0.337"], &["0.977", "0.487"]]);
    let by_period = vec![(Peak, decimal("180")), (Valley, decimal("120"))];
    let lines = rate(&shanghai, &Usage { accumulated: decimal("3000"), by_period }).unwrap();
    let found: Vec<_> = lines
        .iter()
        .map(|l| (i32::from(l.tier), l.period, l.quantity.normalize().to_string(), l.fee.to_string()))
        .collect();
    let expected =
        [(1, Peak, "72", "44.42"), (1, Valley, "48", "14.74"), (2, Peak, "108", "73.12"), (2, Valley, "72", "24.26")];
    assert_eq!(found, expected.map(|(t, p, q, f)| (t, p, q.to_owned(), f.to_owned())));
    assert_eq!(lines.iter().map(|l| l.fee).sum::<Decimal>(), decimal("156.54"));
}

#[test]
fn hundredths_that_are_left_go_to_the_largest_remainder() {
    let parts = share_out(decimal("10"), &[decimal("1"), decimal("1"), decimal("1")]).unwrap();
    assert_eq!(parts, [decimal("3.34"), decimal("3.33"), decimal("3.33")]);
    let parts = share_out(decimal("1"), &[decimal("1"), decimal("2"), decimal("3"), decimal("3")]).unwrap();
    assert_eq!(parts, [decimal("0.11"), decimal("0.22"), decimal("0.34"), decimal("0.33")]);
}

#[test]
fn what_cannot_be_priced_is_an_error_and_never_zero() {
    let ends = vec![TierLimits { lower: 0, upper: 100 }];
    assert_eq!(split(&ends, Decimal::ZERO, decimal("101")), Err(RatingError::NotCovered));
    assert_eq!(split(&[], Decimal::ZERO, decimal("1")), Err(RatingError::NotCovered));
    assert_eq!(split(&ends, Decimal::MAX, Decimal::MAX), Err(RatingError::OutOfRange));
    assert_eq!(share_out(decimal("5"), &[Decimal::ZERO]), Err(RatingError::NoShares));
    let no_valley = rates(&[], &[Period::Peak], &[&["1"]]);
    let by_period = vec![(Period::Peak, decimal("1")), (Period::Valley, decimal("1"))];
    assert_eq!(rate(&no_valley, &Usage { accumulated: Decimal::ZERO, by_period }), Err(RatingError::NoPrice));
}

/// Steps of a ladder that ends open.
fn ladder() -> impl Strategy<Value = Vec<TierLimits>> {
    prop::collection::btree_set(1_i64..100_000, 0..5).prop_map(|steps| {
        let bounds: Vec<i64> = std::iter::once(0).chain(steps).collect();
        bounds
            .iter()
            .enumerate()
            .map(|(i, lower)| TierLimits { lower: *lower, upper: bounds.get(i + 1).copied().unwrap_or(0) })
            .collect()
    })
}

fn quantity() -> impl Strategy<Value = Decimal> {
    (0_i64..50_000_000).prop_map(|hundredths| Decimal::new(hundredths, 2))
}

proptest! {
    #[test]
    fn parts_add_up_to_the_whole(tiers in ladder(), before in quantity(), used in quantity(), refund in any::<bool>()) {
        let used = if refund { -used } else { used };
        let parts = split(&tiers, before, used).unwrap();
        prop_assert_eq!(parts.iter().sum::<Decimal>(), used);
        prop_assert!(parts.iter().all(|p| p.is_zero() || p.is_sign_negative() == refund));
    }

    #[test]
    fn two_bills_cost_what_one_bill_over_both_costs(tiers in ladder(), before in quantity(), a in quantity(), b in quantity()) {
        let first = split(&tiers, before, a).unwrap();
        let second = split(&tiers, before + a, b).unwrap();
        let together: Vec<_> = first.iter().zip(&second).map(|(x, y)| x + y).collect();
        prop_assert_eq!(together, split(&tiers, before, a + b).unwrap());
    }

    #[test]
    fn more_use_is_never_less_in_any_tier(tiers in ladder(), before in quantity(), a in quantity(), more in quantity()) {
        let less = split(&tiers, before, a).unwrap();
        let greater = split(&tiers, before, a + more).unwrap();
        prop_assert!(less.iter().zip(&greater).all(|(x, y)| x <= y));
    }

    #[test]
    fn a_refund_of_everything_undoes_the_bill(tiers in ladder(), before in quantity(), used in quantity()) {
        let billed = split(&tiers, before, used).unwrap();
        let undone = split(&tiers, before + used, -used).unwrap();
        prop_assert!(billed.iter().zip(&undone).all(|(x, y)| *x == -*y));
    }

    #[test]
    fn shares_add_up_and_none_is_off_by_a_hundredth(
        whole in -5_000_000_i64..5_000_000,
        shares in prop::collection::vec(0_i64..1_000_000, 1..6),
    ) {
        prop_assume!(shares.iter().any(|s| *s > 0));
        let whole = Decimal::new(whole, 2);
        let shares: Vec<_> = shares.into_iter().map(|s| Decimal::new(s, 2)).collect();
        let parts = share_out(whole, &shares).unwrap();
        prop_assert_eq!(parts.iter().sum::<Decimal>(), whole);
        let sum: Decimal = shares.iter().sum();
        for (part, share) in parts.iter().zip(&shares) {
            prop_assert!((part - whole * share / sum).abs() < Decimal::new(1, 2) + Decimal::new(1, 20));
        }
    }
}
