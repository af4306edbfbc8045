//! The arithmetic of tariffs: the worked examples of the domain as tables, and what holds for
//! every ladder.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::collections::BTreeMap;

use communal_billing::prices::tariff::{
    Dimensions, Gap, Limits, Rates, Shape, TariffError, gaps, periods, price, seasons, share_out, split,
};
use communal_proto::billing::v1::{
    AbundanceType, GarbChargeType, HeatChargeType, LadderLevelType, LadderType, NetworkType, TimeFeesType,
    TimeSharingType, YesNo,
};
use proptest::prelude::*;
use rust_decimal::Decimal;

fn decimal(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn tier(number: i32) -> LadderLevelType {
    LadderLevelType::try_from(number).unwrap()
}

/// A ladder from its steps and, for each tier, the price of each period.
fn rates(steps: &[i64], periods: &[TimeSharingType], prices: &[&[&str]]) -> Rates {
    let bounds: Vec<i64> = std::iter::once(0).chain(steps.iter().copied()).collect();
    let tiers = bounds
        .iter()
        .enumerate()
        .map(|(i, lower)| Limits { lower: *lower, upper: bounds.get(i + 1).copied().unwrap_or(0) })
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
    let used = [(TimeSharingType::Whole, decimal(quantity))];
    let lines = price(rates, decimal(accumulated), &used).unwrap();
    let total: Decimal = lines.iter().map(|l| l.fee).sum();
    let lines = lines.iter().map(|l| (l.tier.into(), l.quantity.normalize().to_string(), l.fee.to_string())).collect();
    (lines, total.to_string())
}

/// A worked example: name, rates, used before, used now, the lines (tier, quantity, fee), the total.
type Case<'a> = (&'a str, &'a Rates, &'a str, &'a str, &'a [(i32, &'a str, &'a str)], &'a str);

const WHOLE: &[TimeSharingType] = &[TimeSharingType::Whole];

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
    use TimeSharingType::{Peak, Valley};
    let shanghai =
        rates(&[3120, 4800], &[Peak, Valley], &[&["0.617", "0.307"], &["0.677", "0.337"], &["0.977", "0.487"]]);
    let lines = price(&shanghai, decimal("3000"), &[(Peak, decimal("180")), (Valley, decimal("120"))]).unwrap();
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
    let ends = vec![Limits { lower: 0, upper: 100 }];
    assert_eq!(split(&ends, Decimal::ZERO, decimal("101")), Err(TariffError::NotCovered));
    assert_eq!(split(&[], Decimal::ZERO, decimal("1")), Err(TariffError::NotCovered));
    assert_eq!(split(&ends, Decimal::MAX, Decimal::MAX), Err(TariffError::OutOfRange));
    assert_eq!(share_out(decimal("5"), &[Decimal::ZERO]), Err(TariffError::NoShares));
    let no_valley = rates(&[], &[TimeSharingType::Peak], &[&["1"]]);
    let used = [(TimeSharingType::Peak, decimal("1")), (TimeSharingType::Valley, decimal("1"))];
    assert_eq!(price(&no_valley, Decimal::ZERO, &used), Err(TariffError::NoPrice));
}

fn shape(seasonal: bool, time_of_use: TimeFeesType, ladder: LadderType, tiers: i32) -> Shape {
    Shape {
        account_item: "居民生活".into(),
        utility: NetworkType::Electricity,
        agreement: YesNo::No,
        seasonal,
        heat: HeatChargeType::Unspecified,
        property: GarbChargeType::Unspecified,
        time_of_use,
        ladder,
        tiers,
    }
}

/// The complete matrix of a shape, its tiers 100 units each.
fn complete(shape: &Shape) -> Vec<(Dimensions, Limits)> {
    let mut rows = Vec::new();
    for &season in seasons(shape.seasonal) {
        for &period in periods(shape.time_of_use) {
            for number in 1..=shape.tiers {
                let upper = if number == shape.tiers { 0 } else { i64::from(number) * 100 };
                rows.push((
                    Dimensions {
                        account_item: shape.account_item.clone(),
                        agreement: shape.agreement,
                        season,
                        heat: HeatChargeType::None,
                        property: shape.property,
                        time_of_use: shape.time_of_use,
                        period,
                        ladder: shape.ladder,
                        tier: tier(number),
                    },
                    Limits { lower: i64::from(number - 1) * 100, upper },
                ));
            }
        }
    }
    rows
}

#[test]
fn a_matrix_is_complete_only_with_every_season_period_and_tier() {
    let kinds = [
        (TimeFeesType::One, 1),
        (TimeFeesType::Two, 2),
        (TimeFeesType::Three, 3),
        (TimeFeesType::Four, 4),
        (TimeFeesType::Five, 5),
    ];
    for (kind, count) in kinds {
        assert_eq!(periods(kind).len(), count);
        for seasonal in [false, true] {
            for (ladder, tiers) in [(LadderType::None, 1), (LadderType::Year, 3), (LadderType::Month, 5)] {
                let shape = shape(seasonal, kind, ladder, tiers);
                let rows = complete(&shape);
                assert_eq!(gaps(&shape, &rows), [], "{kind:?} {seasonal} {ladder:?}");
                for missing in 0..rows.len() {
                    let mut rows = rows.clone();
                    let (dimensions, _) = rows.remove(missing);
                    // Of a matrix of one row nothing is left; the package's own account item is asked for.
                    assert!(gaps(&shape, &rows).contains(&Gap::Missing(dimensions)), "without row {missing}");
                }
            }
        }
    }
}

#[test]
fn tiers_touch_begin_at_zero_and_only_the_last_has_no_end() {
    let shape = shape(false, TimeFeesType::One, LadderType::Year, 3);
    let with = |index: usize, limits: Limits| {
        let mut rows = complete(&shape);
        rows.get_mut(index).unwrap().1 = limits;
        gaps(&shape, &rows)
    };
    let limits = |lower, upper| Limits { lower, upper };
    assert!(matches!(with(0, limits(1, 100)).as_slice(), [Gap::Lower(_, 0)]), "first from 0");
    assert!(matches!(with(1, limits(101, 200)).as_slice(), [Gap::Lower(_, 100)]), "a gap of one unit");
    assert!(matches!(with(1, limits(99, 200)).as_slice(), [Gap::Lower(_, 100)]), "an overlap of one unit");
    assert!(matches!(with(2, limits(200, 300)).as_slice(), [Gap::Upper(_)]), "last without end");
    assert!(with(1, limits(100, 0)).iter().any(|gap| matches!(gap, Gap::Upper(_))), "no end in the middle");
}

#[test]
fn prices_that_the_package_does_not_have_any_more_are_strays() {
    let before = shape(true, TimeFeesType::Two, LadderType::None, 1);
    let now = shape(false, TimeFeesType::Two, LadderType::None, 1);
    let gaps = gaps(&now, &complete(&before));
    assert_eq!(gaps.len(), 4);
    assert!(gaps.iter().all(|gap| matches!(gap, Gap::Stray(d) if d.season != AbundanceType::Flat)));
}

/// Steps of a ladder that ends open.
fn ladder() -> impl Strategy<Value = Vec<Limits>> {
    prop::collection::btree_set(1_i64..100_000, 0..5).prop_map(|steps| {
        let bounds: Vec<i64> = std::iter::once(0).chain(steps).collect();
        bounds
            .iter()
            .enumerate()
            .map(|(i, lower)| Limits { lower: *lower, upper: bounds.get(i + 1).copied().unwrap_or(0) })
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
