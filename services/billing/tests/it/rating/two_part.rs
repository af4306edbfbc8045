//! Two-part tariffs: the basic fee by capacity and demand, part months, and the power factor.

use communal_billing::rating::bill::{Demand, LineRule, PartMonth, PowerFactor};
use communal_billing::rating::hundredths::Hundredths;
use communal_billing::rating::power_factor::{Reached, reached};
use communal_billing::rating::rates::{AdjustRow, Approval, ItemPrice};
use communal_billing::rating::{Parameters, Rates, RatingError, RegisterFacts, Supply};
use communal_billing::vocabulary::dates::{AccountMonth, day};
use communal_billing::vocabulary::tariff::{Ladder, TimeOfUse};
use communal_proto::billing::v1::{BasicFeesType, ChargeRuleType, ForRateValidType, ReadingsType};
use rust_decimal::Decimal;

use super::given::*;

/// Category items of the basic fee and of the power factor.
const BASIC_FEE: i64 = 2;
const POWER_FACTOR: i64 = 3;

fn two_part(kind: BasicFeesType, price: &str) -> Rates {
    Rates {
        basic_fee_kind: kind,
        basic_fee: Some(ItemPrice { category_item: BASIC_FEE, price: unit(price) }),
        approval: Some(Approval { ratio: decimal("1.05"), factor: decimal("2") }),
        ..flat("0.65")
    }
}

fn with_demand(mut given: Given, demand: &str) -> Given {
    given.registers.push(RegisterFacts {
        old: decimal(demand),
        ..RegisterFacts::of_quantity(ReadingsType::Demand, Decimal::ZERO)
    });
    given
}

#[test]
fn a_basic_fee_is_by_capacity() {
    let given = Given {
        parameters: Parameters { capacity: decimal("1250"), ..Parameters::default() },
        ..Given::total("0", "0")
    };
    let bill = given.rate(&two_part(BasicFeesType::Capacity, "32")).unwrap();
    assert_eq!(lines(&bill), (vec!["1/Whole 1250 × 32 = 40000.00".to_owned()], "40000.00".to_owned()));
    assert_eq!(bill.lines[0].category_item, BASIC_FEE);
    let month = PartMonth { supplied: 31, days: 31, rule: ChargeRuleType::Unspecified };
    assert_eq!(bill.lines[0].rule, LineRule::Capacity { capacity: decimal("1250"), month });
    let none = Given { parameters: Parameters::default(), ..given.clone() };
    let bill = none.rate(&two_part(BasicFeesType::Capacity, "32")).unwrap();
    assert_eq!(bill.lines[0].rule, LineRule::Empty, "no capacity, no basic fee");
    let unpriced = Rates { basic_fee: None, ..two_part(BasicFeesType::Capacity, "32") };
    assert_eq!(given.rate(&unpriced).unwrap_err(), RatingError::NoBasicFeePrice(BasicFeesType::Capacity));
    assert_eq!(given.retro().rate(&unpriced).unwrap().lines[0].rule, LineRule::Empty, "a retro run has no basic fee");
}

#[test]
fn demand_is_billed_beside_its_approval() {
    // Measured, approved → billed.
    let cases = [
        ("1200", "1000", "1350"),
        ("1050", "1000", "1000"),
        ("1050.01", "1000", "1050.02"),
        ("0", "1000", "1000"),
        ("900", "0", "900"),
        ("123.45", "100.01", "141.89"),
    ];
    for (measured, approved, billed) in cases {
        let parameters = Parameters { approved_demand: decimal(approved), ..Parameters::default() };
        let given = with_demand(Given { parameters, ..Given::total("0", "0") }, measured);
        let bill = given.rate(&two_part(BasicFeesType::Demand, "48")).unwrap();
        assert_eq!(bill.lines[0].quantity, decimal(billed), "{measured} of {approved}");
        let LineRule::Demand(Demand { whole_month, .. }) = bill.lines[0].rule else { panic!("{:?}", bill.lines[0]) };
        assert_eq!((whole_month, bill.quantities.demand), (decimal(billed), decimal(measured)));
    }
    let parameters = Parameters { approved_demand: decimal("1000"), ..Parameters::default() };
    let given = with_demand(Given { parameters, ..Given::total("0", "0") }, "1200");
    assert_eq!(given.rate(&two_part(BasicFeesType::Demand, "48")).unwrap().total, decimal("64800.00"));
    let without = Rates { approval: None, ..two_part(BasicFeesType::Demand, "48") };
    assert_eq!(given.rate(&without).unwrap_err(), RatingError::NoApprovalRatio);
    let unread = Given { registers: given.registers[..1].to_vec(), ..given };
    let missing = RatingError::NoRegister(ReadingsType::Demand);
    assert_eq!(unread.rate(&two_part(BasicFeesType::Demand, "48")).unwrap_err(), missing);
}

#[test]
fn days_of_supply_are_those_of_the_calendar_month() {
    let supply = Supply { rule: ChargeRuleType::ByDays, ..Supply::default() };
    let on = |number: i32| day(number);
    let cases = [
        ("always", supply, 31),
        ("from the day on which it was installed", Supply { from: on(20_260_122), ..supply }, 10),
        ("up to, and without, the day on which it was closed", Supply { until: on(20_260_111), ..supply }, 10),
        ("in between", Supply { from: on(20_260_105), until: on(20_260_111), ..supply }, 6),
        ("installed later", Supply { from: on(20_260_201), ..supply }, 0),
        ("closed before", Supply { until: on(20_251_231), ..supply }, 0),
        ("stopped and back", Supply { stopped_from: on(20_260_111), resupplied_from: on(20_260_121), ..supply }, 21),
        ("stopped for good", Supply { stopped: true, stopped_from: on(20_260_111), ..supply }, 10),
        ("stopped since nobody knows when", Supply { stopped: true, ..supply }, 0),
        ("back from a stop of long ago", Supply { resupplied_from: on(20_260_111), ..supply }, 21),
        (
            "stopped in another month",
            Supply { stopped_from: on(20_251_101), resupplied_from: on(20_251_201), ..supply },
            31,
        ),
        (
            "stopped before it was installed",
            Supply { from: on(20_260_115), stopped_from: on(20_260_110), resupplied_from: on(20_260_120), ..supply },
            12,
        ),
    ];
    let month = AccountMonth::read(202_601).unwrap();
    for (name, supply, supplied) in cases {
        let rule = ChargeRuleType::ByDays;
        assert_eq!(supply.in_month(month), Ok(PartMonth { supplied, days: 31, rule }), "{name}");
    }
    let february = Supply { from: day(20_240_229), ..supply }.in_month(AccountMonth::read(202_402).unwrap());
    assert_eq!(february, Ok(PartMonth { supplied: 1, days: 29, rule: ChargeRuleType::ByDays }));
}

#[test]
fn a_part_month_reduces_the_quantity_and_a_whole_month_nothing() {
    use ChargeRuleType::{ByDays, HalfMonth, None, Unspecified, WholeMonth};
    let share = |supplied, rule| PartMonth { supplied, days: 31, rule }.share(decimal("1250"));
    for (rule, expected) in [(None, "0"), (WholeMonth, "1250"), (HalfMonth, "625"), (ByDays, "403.23")] {
        assert_eq!(share(10, rule), Ok(decimal(expected)), "{rule:?}");
        assert_eq!(share(31, rule), Ok(decimal("1250")), "{rule:?} of a whole month");
        assert_eq!(share(0, rule), Ok(Decimal::ZERO), "{rule:?} of no day");
    }
    assert_eq!(share(10, Unspecified), Err(RatingError::NoPartMonthRule));
    let supply = Supply { from: day(20_260_122), rule: ByDays, ..Supply::default() };
    let parameters = Parameters { capacity: decimal("1250"), supply, ..Parameters::default() };
    let given = Given { parameters, ..Given::total("0", "0") };
    let bill = given.rate(&two_part(BasicFeesType::Capacity, "32")).unwrap();
    assert_eq!(lines(&bill).0, ["1/Whole 403.23 × 32 = 12903.36"], "every printed line is quantity × price");
    let mut without = given.clone();
    without.parameters.supply.rule = Unspecified;
    let refused = without.rate(&two_part(BasicFeesType::Capacity, "32")).unwrap_err();
    assert_eq!(refused, RatingError::NoPartMonthRule);
    assert!(without.rate(&flat("0.65")).is_ok(), "without a basic fee no rule is needed");
}

/// The national table of 1983 for the standard 0.90, from the least power factor on.
fn table() -> Vec<AdjustRow> {
    let row = |hundredths: i64| {
        let ratio = match hundredths {
            ..=64 => Decimal::new(150 + (65 - hundredths) * 20, 3),
            65..=69 => Decimal::new(10 + 70 - hundredths, 2),
            70..=89 => Decimal::new((90 - hundredths) * 5, 3),
            90..=94 => -Decimal::new((hundredths - 90) * 15, 4),
            _ => -Decimal::new(75, 4),
        };
        AdjustRow {
            standard: ForRateValidType::P90,
            power_factor: Decimal::new(hundredths, 2),
            ratio,
            category_item: Some(POWER_FACTOR),
            start: day(19_831_202),
        }
    };
    (0..=95).map(row).collect()
}

fn assessed(active: &str, reactive: &str) -> Given {
    let mut given = Given::total("0", active);
    given.registers.push(RegisterFacts::of_quantity(ReadingsType::Reactive, decimal(reactive)));
    given.parameters.power_factor_standard = ForRateValidType::P90;
    given
}

#[test]
fn a_power_factor_is_rewarded_or_punished_on_energy_and_basic_fee() {
    let rates = Rates { adjust_ratios: table(), ..two_part(BasicFeesType::Demand, "48") };
    let mut given = with_demand(assessed("120000", "72000"), "1200");
    given.parameters.approved_demand = decimal("1000");
    given.parameters.fixed_fee = decimal("100");
    let bill = given.rate(&rates).unwrap();
    let expected = [
        "1/Whole 120000 × 0.65 = 78000.00",
        "1/Whole 1350 × 48 = 64800.00",
        "1/Whole 0 × 0.02 = 2856.00",
        "1/Whole 0 × 0 = 100.00",
    ];
    assert_eq!(lines(&bill).0, expected, "fixed fees are not in the base");
    let figures = PowerFactor {
        standard: ForRateValidType::P90,
        active: decimal("120000"),
        reactive: decimal("72000"),
        reached: decimal("0.86"),
        row: decimal("0.86"),
        base: decimal("142800"),
    };
    let line = bill.lines[2];
    assert_eq!(
        (line.rule, line.category_item, line.start),
        (LineRule::PowerFactor(figures), POWER_FACTOR, day(19_831_202))
    );
    assert_eq!(bill.quantities.power_factor, Some(decimal("0.86")));

    let rewarded = assessed("1000", "100").rate(&Rates { adjust_ratios: table(), ..flat("0.67") }).unwrap();
    assert_eq!(lines(&rewarded).0[1..], ["1/Whole 0 × -0.0075 = -5.03"], "half away from zero");
    let plain = Rates { adjust_ratios: table(), ..flat("0.67") };
    let own_item = Rates { adjust_ratios: vec![AdjustRow { category_item: None, ..table()[50] }], ..plain.clone() };
    assert_eq!(assessed("1000", "1700").rate(&own_item).unwrap().lines[1].category_item, ENERGY);
    let at_standard = assessed("900", "435.9").rate(&plain).unwrap();
    assert_eq!((at_standard.lines.len(), at_standard.quantities.power_factor), (1, Some(decimal("0.90"))));
}

#[test]
fn fixed_and_apportioned_quantities_have_no_power_factor() {
    let mut given = assessed("900", "435.9");
    given.parameters.fixed_quantity = decimal("100");
    let bill = given.rate(&Rates { adjust_ratios: table(), ..flat("1") }).unwrap();
    assert_eq!((bill.quantities.active, bill.quantities.power_factor), (decimal("900"), Some(decimal("0.90"))));
    assert_eq!(bill.quantities.energy, decimal("1000"));
}

#[test]
fn of_time_of_use_the_active_quantity_is_the_sum_of_the_periods() {
    let mut given = Given::used(TimeOfUse::Two, "0", &["500", "400"]);
    given.registers.push(RegisterFacts::of_quantity(ReadingsType::Reactive, decimal("435.9")));
    given.parameters.power_factor_standard = ForRateValidType::P90;
    let rates = Rates { adjust_ratios: table(), ..retail(TimeOfUse::Two, Ladder::None, &[], &[&["1", "0.5"]]) };
    assert_eq!(given.rate(&rates).unwrap().quantities.power_factor, Some(decimal("0.90")));
}

#[test]
fn a_power_factor_without_a_row_refuses_the_account() {
    let no_table = flat("1");
    let missing = RatingError::NoAdjustRatio { standard: ForRateValidType::P90, power_factor: decimal("0.86") };
    assert_eq!(assessed("120000", "72000").rate(&no_table).unwrap_err(), missing);
    let high = Rates { adjust_ratios: table().split_off(90), ..flat("1") };
    assert_eq!(assessed("120000", "72000").rate(&high).unwrap_err(), missing, "a table begins at 0");
    let mut unread = assessed("1", "1");
    unread.registers.truncate(1);
    assert_eq!(unread.rate(&no_table).unwrap_err(), RatingError::NoRegister(ReadingsType::Reactive));
}

#[test]
fn a_power_factor_that_is_not_defined_has_no_line() {
    let rates = Rates { adjust_ratios: table(), ..flat("1") };
    let nothing = assessed("0", "0").rate(&rates).unwrap();
    assert_eq!((nothing.quantities.power_factor, nothing.warnings.negative_power), (None, false));
    for (active, reactive) in [("-5", "3"), ("5", "-3"), ("-5", "0")] {
        let bill = assessed(active, reactive).rate(&rates).unwrap();
        assert_eq!((bill.lines.len(), bill.warnings.negative_power), (1, true), "{active} and {reactive}");
    }
    let reactive_alone = assessed("0", "3").rate(&rates).unwrap();
    assert_eq!(reactive_alone.quantities.power_factor, Some(Decimal::ZERO));
    assert_eq!(reactive_alone.lines[0].rule, LineRule::Empty, "there is nothing to apply the ratio to");
}

#[test]
fn the_power_factor_is_rounded_from_the_exact_root() {
    let factor = |active: i64, reactive: i64| reached(Hundredths::new(active), Hundredths::new(reactive));
    let is = |hundredths| Some(Reached::Factor(Decimal::new(hundredths, 2)));
    assert_eq!(factor(12_000_000, 7_200_000), is(86));
    assert_eq!(factor(300, 400), is(60));
    assert_eq!(factor(1, 0), is(100));
    assert_eq!(factor(0, 1), is(0));
    // Beside a half, 0.725 = 29 / 40, where √(40² − 29²) = 27.549954627911…. No two whole quantities meet a half exactly.
    assert_eq!(factor(29_000_000_000, 27_549_954_627), is(73));
    assert_eq!(factor(29_000_000_000, 27_549_954_628), is(72));
    assert_eq!(factor(i64::MAX, i64::MAX), None, "out of range");
    assert_eq!(factor(999_999_999_999_999, 0), is(100), "the largest quantities that the contract knows");
}
