//! Accumulators, limits that persons raise, and shares with both margins exact.

use communal_billing::rating::hundredths::Hundredths;
use communal_billing::rating::ladder::population_increase;
use communal_billing::rating::rates::RowError;
use communal_billing::rating::shares::{ByPeriod, ByTier, cross, spread};
use communal_billing::rating::{Accumulators, PriceMatrix, Rates};
use communal_billing::vocabulary::dates::AccountMonth;
use communal_billing::vocabulary::tariff::{Ladder, Period, Season, TierLimits, TimeOfUse};

use super::given::*;

fn month(number: i32) -> AccountMonth {
    AccountMonth::read(number).unwrap()
}

#[test]
fn accumulators_count_for_their_own_year_and_month_alone() {
    let kept = Accumulators { last: Some(month(202_512)), year: decimal("2800"), month: decimal("230") };
    let at = |number| {
        let found = kept.at(month(number));
        assert_eq!(found.last, Some(month(number)));
        (found.year, found.month)
    };
    assert_eq!(at(202_512), (decimal("2800"), decimal("230")));
    assert_eq!(at(202_511), (decimal("2800"), decimal("0")));
    assert_eq!(at(202_601), (decimal("0"), decimal("0")));
    assert_eq!(at(202_612), (decimal("0"), decimal("0")), "December of another year");
    assert_eq!(Accumulators::NONE.at(month(202_601)).year, decimal("0"));
}

#[test]
fn a_bill_moves_both_accumulators_whatever_the_ladder() {
    for rates in [flat("1"), tiered(Ladder::Year, &[100], &["1", "2"]), tiered(Ladder::Month, &[100], &["1", "2"])] {
        let last = Some(month(202_512));
        let accumulators = Accumulators { last, year: decimal("70"), month: decimal("30") };
        let given = Given { month: 202_512, accumulators, ..Given::total("0", "12.5") };
        let after = given.rate(&rates).unwrap().after;
        assert_eq!(after, Accumulators { last, year: decimal("82.5"), month: decimal("42.5") });
        let next = Given { month: 202_601, ..given }.rate(&rates).unwrap().after;
        let first = Accumulators { last: Some(month(202_601)), year: decimal("12.5"), month: decimal("12.5") };
        assert_eq!(next, first);
    }
}

#[test]
fn a_year_ladder_counts_the_year_and_a_month_ladder_the_month() {
    let accumulators = Accumulators { last: Some(month(202_601)), year: decimal("95"), month: decimal("40") };
    let given = Given { accumulators, ..Given::total("0", "10") };
    let tiers = |ladder| lines(&given.rate(&tiered(ladder, &[100], &["1", "2"])).unwrap()).0;
    assert_eq!(tiers(Ladder::Year), ["1/Whole 5 × 1 = 5.00", "2/Whole 5 × 2 = 10.00"]);
    assert_eq!(tiers(Ladder::Month), ["1/Whole 10 × 1 = 10.00"]);
}

#[test]
fn each_whole_increment_of_persons_above_the_base_raises_the_limits() {
    let one = [population(5, 1, "30")];
    let two = [population(5, 1, "30"), population(7, 2, "10")];
    let falls = [population(4, 1, "-25.5")];
    let cases = [
        (0, &one[..], 0),
        (5, &one, 0),
        (6, &one, 3_000),
        (8, &one, 9_000),
        (8, &two, 9_000),
        (9, &two, 13_000),
        (10, &two, 16_000),
        (6, &falls, -5_100),
        (6, &[], 0),
    ];
    for (persons, rows, increase) in cases {
        assert_eq!(population_increase(persons, rows), Some(Hundredths::new(increase)), "{persons} by {rows:?}");
    }
    assert_eq!(population_increase(u32::MAX, &[population(0, 1, "90000000000000")]), None);
}

#[test]
fn persons_of_the_meter_point_count_before_those_of_the_package() {
    let ladder = tiered(Ladder::Year, &[100, 200], &["1", "2", "3"]);
    let rates = Rates { population: 6, population_rows: vec![population(5, 1, "30")], ..ladder };
    let mut given = Given::total("100", "50");
    assert_eq!(lines(&given.rate(&rates).unwrap()).0, ["1/Whole 30 × 1 = 30.00", "2/Whole 20 × 2 = 40.00"]);
    given.parameters.population = 7;
    assert_eq!(lines(&given.rate(&rates).unwrap()).0, ["1/Whole 50 × 1 = 50.00"]);
    given.parameters.population = 1;
    assert_eq!(lines(&given.rate(&rates).unwrap()).0, ["2/Whole 50 × 2 = 100.00"]);
}

#[test]
fn limits_that_fall_never_cross_each_other_nor_zero() {
    let ladder = tiered(Ladder::Year, &[100, 200], &["1", "2", "3"]);
    let rates = Rates { population: 9, population_rows: vec![population(8, 1, "-150")], ..ladder };
    let bill = Given::total("0", "60").rate(&rates).unwrap();
    assert_eq!(lines(&bill).0, ["2/Whole 50 × 2 = 100.00", "3/Whole 10 × 3 = 30.00"], "tier 1 is empty");
    // What lies below zero is of the first tier all the same.
    let refund = Given::total("60", "-70").rate(&rates).unwrap();
    let expected = ["3/Whole -10 × 3 = -30.00", "2/Whole -50 × 2 = -100.00", "1/Whole -10 × 1 = -10.00"];
    assert_eq!(lines(&refund).0, expected);
}

#[test]
fn a_matrix_takes_each_price_once_and_one_set_of_limits_a_season() {
    let mut matrix = PriceMatrix::new(TimeOfUse::Two, Ladder::Year);
    let limits = TierLimits { lower: 0, upper: 100 };
    let mut set = |season, period, number, limits| matrix.set(season, period, tier(number), limits, unit("1"));
    assert_eq!(set(Season::Flat, Period::Peak, 1, limits), Ok(()));
    assert_eq!(set(Season::Flat, Period::Peak, 1, limits), Err(RowError::Twice));
    assert_eq!(set(Season::Flat, Period::Flat, 1, limits), Err(RowError::Position));
    let others = TierLimits { lower: 0, upper: 101 };
    assert_eq!(set(Season::Flat, Period::Valley, 1, others), Err(RowError::Limits));
    assert_eq!(set(Season::Abundant, Period::Valley, 1, others), Ok(()), "seasons may differ");
    assert_eq!(set(Season::Unspecified, Period::Valley, 1, limits), Err(RowError::Position));
    let mut plain = PriceMatrix::new(TimeOfUse::One, Ladder::None);
    let second = plain.set(Season::Flat, Period::Whole, tier(2), limits, unit("1"));
    assert_eq!(second, Err(RowError::Position), "without a ladder there is one tier");
}

fn hundredths<const N: usize>(numbers: [i64; N]) -> [Hundredths; N] {
    numbers.map(Hundredths::new)
}

fn numbers(parts: &[ByPeriod]) -> Vec<[i64; 5]> {
    parts.iter().map(|row| row.map(Hundredths::number)).collect()
}

#[test]
fn hundredths_that_are_left_go_to_the_largest_remainder() {
    let spread =
        |whole, weights| spread(Hundredths::new(whole), &hundredths(weights)).map(|p| p.map(Hundredths::number));
    assert_eq!(spread(1_000, [1, 1, 1, 0, 0]), Some([334, 333, 333, 0, 0]));
    assert_eq!(spread(100, [1, 2, 3, 3, 0]), Some([11, 22, 34, 33, 0]));
    assert_eq!(spread(-100, [1, 1, 1, 0, 0]), Some([-33, -33, -34, 0, 0]));
    assert_eq!(spread(5, [0, 0, 0, 0, 0]), None);
}

#[test]
fn a_split_keeps_both_margins() {
    // Shares of a third of a hundredth everywhere: rounding each tier by itself would leave a period short.
    let tiers: ByTier = hundredths([1, 1, 1, 0, 0]);
    let periods: ByPeriod = hundredths([1, 1, 1, 0, 0]);
    let parts = cross(&tiers, &periods).unwrap();
    assert_eq!(numbers(&parts)[..3].iter().flatten().sum::<i64>(), 3);
    for (row, column) in numbers(&parts)[..3].iter().zip(0..) {
        assert_eq!(row.iter().sum::<i64>(), 1);
        assert_eq!(numbers(&parts).iter().map(|row| row[column]).sum::<i64>(), 1);
    }
    let exact = cross(&hundredths([12_000, 18_000, 0, 0, 0]), &hundredths([18_000, 12_000, 0, 0, 0])).unwrap();
    assert_eq!(numbers(&exact)[..2], [[7_200, 4_800, 0, 0, 0], [10_800, 7_200, 0, 0, 0]]);
    let negative = cross(&hundredths([-2, -1, 0, 0, 0]), &hundredths([-1, -2, 0, 0, 0])).unwrap();
    assert_eq!(numbers(&negative)[..2], [[-1, -1, 0, 0, 0], [0, -1, 0, 0, 0]]);
}

#[test]
fn margins_that_do_not_agree_have_no_split() {
    let (one, two) = (hundredths([1, 0, 0, 0, 0]), hundredths([2, 0, 0, 0, 0]));
    assert_eq!(cross(&one, &two), None);
    assert_eq!(cross(&hundredths([2, -1, 0, 0, 0]), &one), None, "parts of the other sign");
}
