//! Quantities of registers, what is added to them, and how that spreads over the periods.

use communal_billing::rating::{Movement, Parameters, RatingError, RegisterFacts};
use communal_billing::vocabulary::movement::Miscount;
use communal_billing::vocabulary::tariff::{Ladder, Period, TimeOfUse};
use communal_proto::billing::v1::{EnergyFlowType, ReadingsType, TurnUpsideType};
use rust_decimal::Decimal;

use super::given::*;

fn moved(last: &str, this: &str, turn: TurnUpsideType, digits: u32, multiplier: &str) -> Movement {
    Movement { last: decimal(last), this: decimal(this), turn, digits, multiplier: decimal(multiplier) }
}

fn read(register: ReadingsType, movement: Movement) -> RegisterFacts {
    RegisterFacts { movement: Some(movement), ..RegisterFacts::of_quantity(register, Decimal::ZERO) }
}

#[test]
fn a_register_counts_forward_backwards_and_over_its_last_digit() {
    use TurnUpsideType::{Backwards, Normal, Rollover, Unspecified};
    let cases = [
        ("rollover", moved("99980", "25", Rollover, 5, "20"), Some("900")),
        ("forward", moved("100", "156.5", Normal, 5, "1"), Some("56.5")),
        ("standing still", moved("100", "100", Unspecified, 5, "1"), Some("0")),
        ("backwards", moved("150", "140.5", Backwards, 5, "10"), Some("-95")),
        ("not backwards after all", moved("150", "150", Backwards, 5, "10"), Some("0")),
        ("a fall that is called normal", moved("150", "149", Normal, 5, "1"), None),
        ("a rise that is called backwards", moved("150", "151", Backwards, 5, "1"), None),
        ("no fall at a rollover", moved("150", "150", Rollover, 5, "1"), None),
    ];
    for (name, movement, counted) in cases {
        assert_eq!(movement.counted(), counted.map(decimal).ok_or(Miscount::Contradiction), "{name}");
        let quantity = read(ReadingsType::Total, movement).quantity();
        let contradiction = RatingError::Movement { register: ReadingsType::Total, turn: movement.turn };
        assert_eq!(quantity.map(|q| q.billed), counted.map(decimal).ok_or(contradiction), "{name}");
    }
}

#[test]
fn a_quantity_is_rounded_once_half_away_from_zero() {
    let facts = RegisterFacts {
        reduced: decimal("1.00"),
        old: decimal("12.34"),
        added: decimal("-3.50"),
        ..read(ReadingsType::Total, moved("10.000", "20.0025", TurnUpsideType::Normal, 5, "1.1"))
    };
    let quantity = facts.quantity().unwrap();
    assert_eq!((quantity.metered, quantity.billed), (decimal("11.00"), decimal("18.84")));
    let back = read(ReadingsType::Total, moved("10", "4.995", TurnUpsideType::Backwards, 5, "1"));
    assert_eq!(back.quantity().unwrap().billed, decimal("-5.01"));
}

#[test]
fn what_is_read_is_billed() {
    let given = Given {
        registers: vec![read(ReadingsType::Total, moved("99980", "25", TurnUpsideType::Rollover, 5, "20"))],
        ..Given::total("0", "0")
    };
    let bill = given.rate(&flat("0.5")).unwrap();
    assert_eq!(bill.total, decimal("450.00"));
    assert_eq!(bill.quantities.of(ReadingsType::Total), decimal("900"));
    assert_eq!((bill.quantities.energy, bill.quantities.active), (decimal("900"), decimal("900")));
}

#[test]
fn demand_is_no_difference_and_no_quantity() {
    let demand = read(ReadingsType::Demand, moved("0.9", "0.6154", TurnUpsideType::Normal, 2, "200"));
    assert_eq!(demand.demand(Decimal::ZERO).unwrap(), decimal("123.08"));
    assert_eq!(demand.demand(decimal("2000")).unwrap(), decimal("1230.80"));
    assert_eq!(demand.quantity().unwrap().billed, Decimal::ZERO, "not a contradiction either");
    let removed = RegisterFacts { movement: None, old: decimal("88"), ..demand };
    assert_eq!(removed.demand(decimal("2000")).unwrap(), decimal("88"));
    let mut given = Given::total("0", "10");
    given.registers.push(demand);
    let bill = given.rate(&flat("1")).unwrap();
    assert_eq!((bill.quantities.demand, bill.quantities.energy), (decimal("123.08"), decimal("10")));
}

#[test]
fn a_register_that_is_needed_must_be_there_once() {
    let two = retail(TimeOfUse::Two, Ladder::None, &[], &[&["1", "1"]]);
    let mut given = Given::total("0", "10");
    assert_eq!(given.rate(&two).unwrap_err(), RatingError::NoRegister(ReadingsType::Peak));
    given.registers = vec![counted(Period::Peak, "1")];
    assert_eq!(given.rate(&two).unwrap_err(), RatingError::NoRegister(ReadingsType::Valley));
    assert_eq!(given.clone().retro().rate(&two).unwrap().total, decimal("1"), "a retro run names what it adds to");
    given.registers = vec![counted(Period::Peak, "1"), counted(Period::Valley, "1"), counted(Period::Peak, "1")];
    assert_eq!(given.rate(&two).unwrap_err(), RatingError::RegisterTwice(ReadingsType::Peak));
    for register in [ReadingsType::Reactive, ReadingsType::Demand] {
        let mut retro = Given::total("0", "1").retro();
        retro.registers.push(RegisterFacts::of_quantity(register, decimal("1")));
        assert_eq!(retro.rate(&flat("1")).unwrap_err(), RatingError::NotInRetro(register));
    }
}

#[test]
fn what_flows_in_reverse_is_not_billed() {
    let mut given = Given::total("0", "10");
    let reverse = RegisterFacts { flow: EnergyFlowType::Reverse, ..counted(Period::Whole, "99") };
    given.registers.push(reverse);
    assert_eq!(given.rate(&flat("1")).unwrap().total, decimal("10"));
    given.registers[1].flow = EnergyFlowType::Unspecified;
    assert!(matches!(given.rate(&flat("1")), Err(RatingError::NotGiven(_))));
}

#[test]
fn fixed_and_apportioned_quantities_are_billed_and_climb_the_ladder() {
    let parameters = Parameters {
        fixed_quantity: decimal("3"),
        apportioned_quantity: decimal("500"),
        apportion_ratio: decimal("0.0250"),
        divided_quantity: decimal("-5.5"),
        ..Parameters::default()
    };
    let given = Given { parameters, ..Given::total("95", "10") };
    let bill = given.rate(&tiered(Ladder::Year, &[100], &["1", "2"])).unwrap();
    assert_eq!(lines(&bill).0, ["1/Whole 5 × 1 = 5.00", "2/Whole 15 × 2 = 30.00"]);
    assert_eq!((bill.quantities.additions, bill.quantities.active), (decimal("10"), decimal("10")));
    assert_eq!((bill.quantities.energy, bill.after.year), (decimal("20"), decimal("115")));
}

#[test]
fn additions_spread_over_the_periods_in_proportion_to_the_registers() {
    let three = retail(TimeOfUse::Three, Ladder::None, &[], &[&["1", "1", "1"]]);
    let added = |addition: &str, quantities: &[&str]| {
        let parameters = Parameters { fixed_quantity: decimal(addition), ..Parameters::default() };
        let given = Given { parameters, ..Given::used(TimeOfUse::Three, "0", quantities) };
        let lines = given.rate(&three).unwrap().lines;
        lines.iter().map(|line| format!("{:?} {}", line.period, line.quantity.normalize())).collect::<Vec<_>>()
    };
    assert_eq!(added("10", &["60", "30", "10"]), ["Peak 66", "Flat 33", "Valley 11"]);
    assert_eq!(added("0.10", &["1", "1", "1"]), ["Peak 1.04", "Flat 1.03", "Valley 1.03"]);
    assert_eq!(added("-0.10", &["1", "1", "1"]), ["Peak 0.97", "Flat 0.97", "Valley 0.96"]);
    assert_eq!(added("10", &["0", "0", "0"]), ["Flat 10"], "nothing read: all of it is flat");
    assert_eq!(added("8", &["30", "-10", "0"]), ["Peak 36", "Flat -8"], "in proportion to the magnitudes");
    let two = retail(TimeOfUse::Two, Ladder::None, &[], &[&["1", "1"]]);
    let parameters = Parameters { fixed_quantity: decimal("10"), ..Parameters::default() };
    let given = Given { parameters, ..Given::used(TimeOfUse::Two, "0", &["0", "0"]) };
    assert_eq!(lines(&given.rate(&two).unwrap()).0, ["1/Peak 10 × 1 = 10.00"], "without a flat period, of the first");
}

#[test]
fn periods_are_trusted_and_a_total_that_is_off_is_flagged() {
    let two = retail(TimeOfUse::Two, Ladder::None, &[], &[&["1", "1"]]);
    let with_total = |this: &str| {
        let mut given = Given::used(TimeOfUse::Two, "0", &["60", "40"]);
        given.registers.push(read(ReadingsType::Total, moved("0", this, TurnUpsideType::Normal, 5, "10")));
        given.rate(&two).unwrap()
    };
    for (this, gap) in [("10", None), ("11", None), ("9", None), ("11.01", Some("10.10")), ("8.9", Some("-11"))] {
        let bill = with_total(this);
        assert_eq!((bill.total, bill.warnings.total_register_gap), (decimal("100"), gap.map(decimal)), "{this}");
    }
}
