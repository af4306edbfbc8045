//! The properties that every bill has.

use communal_billing::rating::bill::LineRule;
use communal_billing::rating::hundredths::Hundredths;
use communal_billing::rating::rates::{MOST_PERIODS, MOST_TIERS, SurchargePrice};
use communal_billing::rating::shares::{ByPeriod, ByTier, cross, spread};
use communal_billing::rating::{Accumulators, Bill, FeeLine, Parameters, Rates};
use communal_billing::vocabulary::dates::AccountMonth;
use communal_billing::vocabulary::tariff::{Ladder, Season, TimeOfUse, periods};
use communal_proto::billing::v1::ChargePackType;
use proptest::prelude::*;
use rust_decimal::Decimal;

use super::given::*;

const TIMES_OF_USE: [TimeOfUse; 5] =
    [TimeOfUse::One, TimeOfUse::Two, TimeOfUse::Three, TimeOfUse::Four, TimeOfUse::Five];

/// All times of use, and that of the whole day alone.
const ALL: std::ops::Range<usize> = 0..5;
const WHOLE_DAY: std::ops::Range<usize> = 0..1;

/// A guaranteed package with any ladder and time of use, a price for each cell and two surcharges.
fn any_rates(times_of_use: std::ops::Range<usize>) -> impl Strategy<Value = (TimeOfUse, Rates)> {
    let steps = prop::collection::btree_set(1_i64..20_000, 0..5);
    let price = || 1_i64..5_000_000;
    let prices = prop::collection::vec(prop::collection::vec(price(), 5), 5);
    (times_of_use, steps, prices, any::<bool>()).prop_map(|(time_of_use, steps, prices, by_year)| {
        let time_of_use = TIMES_OF_USE[time_of_use];
        let steps: Vec<_> = steps.into_iter().collect();
        let ladder = match (steps.is_empty(), by_year) {
            (true, _) => Ladder::None,
            (false, true) => Ladder::Year,
            (false, false) => Ladder::Month,
        };
        let texts: Vec<Vec<String>> =
            prices.iter().map(|row| row.iter().map(|p| Decimal::new(*p, 6).to_string()).collect()).collect();
        let texts: Vec<Vec<&str>> = texts.iter().map(|row| row.iter().map(String::as_str).collect()).collect();
        let rows: Vec<&[&str]> = texts.iter().map(Vec::as_slice).collect();
        let surcharges = [("1.57", 101), ("0.019", 102)];
        let surcharges = surcharges.map(|(price, surcharge_item)| SurchargePrice {
            category_item: ENERGY,
            surcharge_item,
            price: unit(price),
        });
        let rates = retail(time_of_use, ladder, &steps, &rows);
        let rates = Rates { kind: ChargePackType::Guaranteed, surcharges: surcharges.to_vec(), ..rates };
        (time_of_use, rates)
    })
}

fn quantity() -> impl Strategy<Value = Decimal> {
    (0_i64..2_000_000).prop_map(|hundredths| Decimal::new(hundredths, 2))
}

fn quantities() -> impl Strategy<Value = Vec<Decimal>> {
    prop::collection::vec(prop_oneof![4 => quantity(), 1 => Just(Decimal::ZERO)], 5)
}

fn given(time_of_use: TimeOfUse, accumulated: Decimal, used: &[Decimal]) -> Given {
    let texts: Vec<_> = used.iter().map(Decimal::to_string).collect();
    let texts: Vec<_> = texts.iter().map(String::as_str).collect();
    Given::used(time_of_use, &accumulated.to_string(), &texts)
}

fn energy(bill: &Bill) -> impl Iterator<Item = &FeeLine> {
    bill.lines.iter().filter(|line| matches!(line.rule, LineRule::Energy { .. }))
}

/// The quantity of each tier.
fn by_tier(bill: &Bill) -> [Decimal; MOST_TIERS] {
    let mut sums = [Decimal::ZERO; MOST_TIERS];
    energy(bill).for_each(|line| sums[line.tier as usize - 1] += line.quantity);
    sums
}

proptest! {
    #[test]
    fn nothing_is_lost_over_tiers_and_periods(
        (time_of_use, rates) in any_rates(ALL), before in quantity(), used in quantities(),
    ) {
        let bill = given(time_of_use, before, &used).rate(&rates).unwrap();
        for (period, used) in periods(time_of_use).iter().zip(&used) {
            let billed: Decimal = energy(&bill).filter(|line| line.period == *period).map(|line| line.quantity).sum();
            prop_assert_eq!(billed, *used);
        }
        let whole: Decimal = used.iter().take(periods(time_of_use).len()).sum();
        for line in energy(&bill) {
            let LineRule::Energy { part, share } = line.rule else { unreachable!() };
            prop_assert!(line.quantity > Decimal::ZERO);
            if let Some(part) = part {
                prop_assert!(part.from < part.to && part.lower <= part.from);
                prop_assert!(part.upper.is_none_or(|upper| part.to <= upper));
            }
            if let Some(share) = share {
                let exact = share.of_tier * share.of_period / share.whole;
                prop_assert!((line.quantity - exact).abs() < Decimal::new(1, 2), "{} of {exact}", line.quantity);
                prop_assert_eq!(share.whole, whole);
            }
        }
        prop_assert_eq!(bill.after.year, before + whole);
        prop_assert_eq!(bill.total, bill.lines.iter().map(|line| line.fee).sum::<Decimal>());
    }

    #[test]
    fn what_tiers_get_does_not_depend_on_the_number_of_bills(
        (time_of_use, rates) in any_rates(ALL), before in quantity(), a in quantities(), b in quantities(),
    ) {
        let both: Vec<_> = a.iter().zip(&b).map(|(a, b)| a + b).collect();
        let together = by_tier(&given(time_of_use, before, &both).rate(&rates).unwrap());
        let first = given(time_of_use, before, &a).rate(&rates).unwrap();
        let second = given(time_of_use, first.after.year, &b).rate(&rates).unwrap();
        let (first, second) = (by_tier(&first), by_tier(&second));
        for ((first, second), together) in first.iter().zip(second).zip(together) {
            prop_assert_eq!(first + second, together);
        }
    }

    #[test]
    fn a_refund_is_the_charge_with_the_other_sign(
        (time_of_use, rates) in any_rates(ALL), before in quantity(), used in quantities(),
    ) {
        let charged = given(time_of_use, before, &used).rate(&rates).unwrap();
        let back: Vec<_> = used.iter().map(|used| -used).collect();
        let refund = given(time_of_use, charged.after.year, &back).retro().rate(&rates).unwrap();
        prop_assert_eq!(refund.after.year, before);
        for (up, down) in by_tier(&charged).iter().zip(by_tier(&refund)) {
            prop_assert_eq!(*up, -down);
        }
        // To the cent it is the same bill where each tier has one period; rounding of parts may be another elsewhere.
        if time_of_use == TimeOfUse::One {
            prop_assert_eq!(charged.total, -refund.total);
        }
    }

    #[test]
    fn the_order_of_registers_makes_no_difference(
        (time_of_use, rates) in any_rates(ALL), before in quantity(), used in quantities(),
        addition in -5_000_i64..5_000, turn in 0..5_usize,
    ) {
        let mut one = given(time_of_use, before, &used);
        one.parameters = Parameters { fixed_quantity: Decimal::new(addition, 2), ..Parameters::default() };
        let mut other = one.clone();
        let registers = other.registers.len();
        other.registers.rotate_left(turn % registers);
        other.registers.reverse();
        prop_assert_eq!(one.rate(&rates).unwrap(), other.rate(&rates).unwrap());
    }

    #[test]
    fn more_use_is_never_less_in_any_tier(
        (_, rates) in any_rates(WHOLE_DAY), before in quantity(), used in quantity(), more in quantity(),
    ) {
        let less = by_tier(&given(TimeOfUse::One, before, &[used]).rate(&rates).unwrap());
        let greater = by_tier(&given(TimeOfUse::One, before, &[used + more]).rate(&rates).unwrap());
        prop_assert!(less.iter().zip(greater).all(|(less, greater)| *less <= greater));
    }

    #[test]
    fn a_year_of_bills_ends_where_one_bill_of_the_year_does(
        (_, rates) in any_rates(WHOLE_DAY), used in prop::collection::vec(quantity(), 12),
    ) {
        let mut accumulators = Accumulators::NONE;
        let mut months = [Decimal::ZERO; MOST_TIERS];
        for (number, used) in (202_601..).zip(&used) {
            let given = Given { accumulators, month: number, ..given(TimeOfUse::One, Decimal::ZERO, &[*used]) };
            let bill = given.rate(&rates).unwrap();
            accumulators = bill.after;
            by_tier(&bill).iter().zip(&mut months).for_each(|(part, sum)| *sum += part);
        }
        prop_assert_eq!(accumulators.year, used.iter().sum::<Decimal>());
        prop_assert_eq!(accumulators.last, AccountMonth::read(202_612));
        if rates.energy.as_ref().unwrap().ladder() != Ladder::Month {
            let whole = given(TimeOfUse::One, Decimal::ZERO, &[accumulators.year]).rate(&rates).unwrap();
            prop_assert_eq!(by_tier(&whole), months);
        }
    }

    #[test]
    fn a_part_of_a_split_is_its_share_rounded_down_or_up(
        tiers in prop::collection::vec(prop_oneof![3 => 0_i64..3_000_000, 1 => Just(0), 1 => 1_i64..4], MOST_TIERS),
        weights in prop::collection::vec(prop_oneof![3 => 0_i64..1_000_000, 1 => Just(0), 1 => 1_i64..4], MOST_PERIODS),
        negative in any::<bool>(),
    ) {
        let sign = if negative { -1 } else { 1 };
        let tiers: ByTier = std::array::from_fn(|tier| Hundredths::new(sign * tiers[tier]));
        let whole: i64 = tiers.iter().map(|tier| tier.number()).sum();
        let weights: ByPeriod = std::array::from_fn(|period| Hundredths::new(weights[period]));
        prop_assume!(weights.iter().any(|weight| !weight.is_zero()));
        // Periods with the same sum as the tiers.
        let periods = spread(Hundredths::new(whole), &weights).unwrap();
        let parts = cross(&tiers, &periods).unwrap();
        for (tier, row) in tiers.iter().zip(&parts) {
            prop_assert_eq!(row.iter().map(|part| part.number()).sum::<i64>(), tier.number());
            for (period, part) in periods.iter().zip(row) {
                let product = i128::from(tier.number()) * i128::from(period.number());
                let off = i128::from(part.number()) * i128::from(whole) - product;
                prop_assert!(off.abs() < i128::from(whole).abs().max(1), "{part:?} of {tier:?} and {period:?}");
                prop_assert!(part.is_zero() || part.is_negative() == negative);
            }
        }
        for (column, period) in periods.iter().enumerate() {
            prop_assert_eq!(parts.iter().map(|row| row[column].number()).sum::<i64>(), period.number());
        }
    }

    #[test]
    fn a_spread_keeps_its_sum_and_each_part_its_share(
        whole in -5_000_000_i64..5_000_000, weights in prop::collection::vec(-1_000_000_i64..1_000_000, MOST_PERIODS),
    ) {
        prop_assume!(weights.iter().any(|weight| *weight != 0));
        let parts = spread(Hundredths::new(whole), &std::array::from_fn(|i| Hundredths::new(weights[i]))).unwrap();
        prop_assert_eq!(parts.iter().map(|part| part.number()).sum::<i64>(), whole);
        let total: i64 = weights.iter().map(|weight| weight.abs()).sum();
        for (part, weight) in parts.iter().zip(&weights) {
            let off = i128::from(part.number()) * i128::from(total) - i128::from(whole) * i128::from(weight.abs());
            prop_assert!(off.abs() < i128::from(total));
        }
    }
}

#[test]
fn periods_of_a_season_share_its_limits() {
    let rates = retail(TimeOfUse::Five, Ladder::Year, &[10], &[&["1", "1", "1", "1", "1"], &["2", "2", "2", "2", "2"]]);
    let bill = Given::used(TimeOfUse::Five, "0", &["4", "4", "4", "4", "4"]).rate(&rates).unwrap();
    assert_eq!(by_tier(&bill)[..2], [decimal("10"), decimal("10")]);
    assert_eq!(bill.lines[0].season, Season::Flat);
}
