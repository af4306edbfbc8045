//! The unit amount by every formula, and each error.

use std::collections::BTreeMap;

use communal_proto::community::v1::Formula;
use rust_decimal::Decimal;

use super::super::explanation::{filled, formula};
use super::super::unit::unit;
use super::super::{AmountError, Car, Contract, Fact, Fee, ItemTerms, Payer, Reading, Room};
use super::{FAR, decimal, item, room, running};

fn full_room() -> Room {
    Room {
        built_up_area: Some(decimal("88.88")),
        indoor_area: Some(decimal("70.5")),
        coefficient: Some(decimal("1.2")),
        storey: Some(decimal("-1")),
        rent: Some(decimal("1800")),
        community_area: Some(decimal("120000")),
        building_area: Some(decimal("9000")),
        unit_area: Some(decimal("3000")),
        attributes: BTreeMap::from([("1001".to_owned(), decimal("3"))]),
    }
}

fn fee() -> Fee {
    let reading = Reading { previous: decimal("100"), current: decimal("156.5"), price: Some(decimal("3.8555")) };
    Fee { amount: Some(decimal("77.7")), reading: Some(reading), ..running("2024-01-01", "2024-01-01", FAR) }
}

fn by(formula: Formula) -> ItemTerms {
    ItemTerms { formula, price: decimal("3.85"), additional_amount: decimal("10"), ..item() }
}

fn custom(text: &str) -> ItemTerms {
    ItemTerms { expression: Some(text.parse().unwrap()), ..by(Formula::Custom) }
}

fn car() -> Payer {
    Payer::Car(Car { space_area: Some(decimal("12.5")), community_area: Some(decimal("120000")) })
}

fn contract() -> Payer {
    let second = Room { built_up_area: Some(decimal("11.12")), rent: Some(decimal("200")), ..full_room() };
    Payer::Contract(Contract { rooms: vec![full_room(), second] })
}

fn amount(item: &ItemTerms, payer: &Payer) -> Result<Decimal, AmountError> {
    unit(item, payer, &fee()).map(|unit| unit.amount)
}

#[test]
fn every_formula_has_its_unit_amount_at_full_precision() {
    let room = Payer::Room(full_room());
    let cases = [
        (by(Formula::BuiltUpArea), &room, "352.188"),
        (by(Formula::BuiltUpArea), &car(), "58.125"),
        (by(Formula::BuiltUpArea), &contract(), "395"),
        (by(Formula::Fixed), &room, "10"),
        (by(Formula::Fixed), &car(), "10"),
        (by(Formula::IndoorArea), &room, "281.425"),
        (by(Formula::Dynamic), &car(), "77.7"),
        (by(Formula::Usage), &contract(), "77.7"),
        (by(Formula::ManualDynamic), &room, "77.7"),
        (by(Formula::Reading), &room, "227.525"),
        (by(Formula::MeterPrice), &room, "227.83575"),
        (by(Formula::MeterPrice), &car(), "227.83575"),
        (by(Formula::Rent), &room, "1800"),
        (by(Formula::Rent), &contract(), "2000"),
        (by(Formula::EscalatingRent), &contract(), "2000"),
        (custom("R*2.5+X*10"), &room, "234.20"),
        (custom("面积×单价＋附加费"), &room, "352.188"),
        (custom("R*单价+附加费"), &contract(), "405"),
        (custom("C*0.001"), &car(), "120.000"),
        (custom("C/1000*1+F/100*1+U/10*1+RL1001+L*1"), &room, "512"),
        (custom("100"), &contract(), "200"),
    ];
    for (item, payer, expected) in cases {
        let label = format!("{:?} on {:?}", item.formula, payer.kind());
        assert_eq!(amount(&item, payer), Ok(decimal(expected)), "{label}");
    }
}

#[test]
fn a_missing_fact_is_named_and_never_zero() {
    let bare = Payer::Room(Room::default());
    let missing = |item: &ItemTerms, payer: &Payer| match amount(item, payer) {
        Err(AmountError::Missing { fact, room }) => (fact.title(), room),
        other => panic!("{other:?}"),
    };
    assert_eq!(missing(&by(Formula::BuiltUpArea), &bare), ("建筑面积".to_owned(), None));
    assert_eq!(missing(&by(Formula::BuiltUpArea), &Payer::Car(Car::default())), ("建筑面积".to_owned(), None));
    assert_eq!(missing(&by(Formula::IndoorArea), &bare), ("室内面积".to_owned(), None));
    assert_eq!(missing(&by(Formula::Rent), &bare), ("租金".to_owned(), None));
    let half = Payer::Contract(Contract { rooms: vec![full_room(), Room::default()] });
    assert_eq!(missing(&by(Formula::BuiltUpArea), &half), ("建筑面积".to_owned(), Some(1)));
    let empty = Payer::Contract(Contract::default());
    for item in [by(Formula::BuiltUpArea), by(Formula::Rent), custom("R*1")] {
        assert_eq!(missing(&item, &empty), ("合同房屋".to_owned(), None));
    }
    assert_eq!(missing(&by(Formula::Custom), &bare), ("自定义公式".to_owned(), None));

    let no_facts = running("2024-01-01", "2024-01-01", FAR);
    for formula in [Formula::Dynamic, Formula::Usage, Formula::ManualDynamic] {
        let error = unit(&by(formula), &bare, &no_facts).unwrap_err();
        assert_eq!(error, AmountError::Missing { fact: Fact::StoredAmount, room: None });
        assert_eq!(error.text(), "缺少费用金额");
    }
    for formula in [Formula::Reading, Formula::MeterPrice] {
        assert_eq!(unit(&by(formula), &bare, &no_facts).unwrap_err().text(), "抄表数据异常");
    }
    let reading = Reading { price: None, ..fee().reading.unwrap() };
    let unpriced = Fee { reading: Some(reading), ..fee() };
    assert_eq!(unit(&by(Formula::MeterPrice), &bare, &unpriced).unwrap_err().text(), "缺少抄表单价");
    assert!(unit(&by(Formula::Reading), &bare, &unpriced).is_ok());
}

#[test]
fn a_custom_formula_names_the_variable_and_the_room_that_lacks_it() {
    let half = Payer::Contract(Contract { rooms: vec![full_room(), Room::default()] });
    assert_eq!(amount(&custom("2*R"), &half).unwrap_err().text(), "第2间房屋：公式第3个字符处：R没有取值");
    assert_eq!(amount(&custom("R*2"), &car()).unwrap_err().text(), "公式第1个字符处：R没有取值");
    assert_eq!(amount(&custom("R*RL7"), &room()).unwrap_err().text(), "公式第3个字符处：RL7没有取值");
    assert_eq!(amount(&custom("R*2.5-1000"), &room()).unwrap_err().text(), "公式第6个字符处：计算结果为负数(-750)");
    assert_eq!(
        amount(&custom("9/(X-1.2)"), &Payer::Room(full_room())).unwrap_err().text(),
        "公式第2个字符处：除数为零"
    );
}

#[test]
fn a_formula_that_does_not_fit_the_payer_object_is_refused() {
    for formula in [Formula::IndoorArea, Formula::Rent, Formula::EscalatingRent, Formula::ManualDynamic] {
        assert!(matches!(amount(&by(formula), &car()), Err(AmountError::NotForPayer { .. })), "{formula:?}");
    }
    let error = amount(&by(Formula::IndoorArea), &contract()).unwrap_err();
    assert_eq!(error.text(), "合同不能按“室内面积*单价+附加费”计费");
    for formula in [Formula::TemporaryCar, Formula::Unspecified] {
        assert_eq!(amount(&by(formula), &room()).unwrap_err().text(), "暂不支持该类公式");
    }
}

#[test]
fn a_negative_or_enormous_unit_amount_is_an_error() {
    let reading = Reading { previous: decimal("200"), current: decimal("100"), price: None };
    let backwards = Fee { reading: Some(reading), ..fee() };
    let error = unit(&by(Formula::Reading), &room(), &backwards).unwrap_err();
    assert_eq!(error, AmountError::Negative(decimal("-375")));
    assert_eq!(error.text(), "计费金额为负数(-375)");
    let huge = ItemTerms { price: Decimal::MAX, ..by(Formula::BuiltUpArea) };
    assert_eq!(amount(&huge, &room()), Err(AmountError::OutOfRange));
}

#[test]
fn the_values_put_into_a_formula_are_kept_in_order() {
    let room = Payer::Room(full_room());
    let item = custom("R*2.5+X*10+R*1-L*1");
    let found = unit(&item, &room, &fee()).unwrap();
    let inputs: Vec<_> = found.inputs.iter().map(|input| (input.fact.title(), input.value.to_string())).collect();
    let expected = [("建筑面积", "88.88"), ("算费系数", "1.2"), ("楼层", "-1")];
    assert_eq!(inputs, expected.map(|(title, value)| (title.to_owned(), value.to_owned())));
    assert_eq!(filled(&item, &found), "88.88*2.5+1.2*10+88.88*1--1*1");
    assert_eq!(formula(item.formula, item.expression.as_ref()), "R*2.5+X*10+R*1-L*1");
}

#[test]
fn every_formula_is_shown_with_its_values() {
    let cases = [
        (by(Formula::BuiltUpArea), contract(), "(88.88+11.12)*3.85+10"),
        (by(Formula::BuiltUpArea), car(), "12.5*3.85+10"),
        (by(Formula::IndoorArea), Payer::Room(full_room()), "70.5*3.85+10"),
        (by(Formula::Fixed), car(), "10"),
        (by(Formula::Usage), car(), "77.7"),
        (by(Formula::Reading), car(), "(156.5-100)*3.85+10"),
        (by(Formula::MeterPrice), car(), "(156.5-100)*3.8555+10"),
        (by(Formula::Rent), contract(), "(1800+200)"),
        (custom("R*2"), contract(), "(88.88*2)+(11.12*2)"),
        (custom("5"), contract(), "(5)+(5)"),
    ];
    for (item, payer, expected) in cases {
        assert_eq!(filled(&item, &unit(&item, &payer, &fee()).unwrap()), expected);
    }
}
