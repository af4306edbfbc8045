//! The rules of the grammar, by tables and by properties.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Result<Expression, FormulaError> {
    text.parse()
}

fn decimal(text: &str) -> Decimal {
    text.parse().unwrap()
}

/// A room: C 10000, F 2000, U 600, R 88.88, X 1.2, L 3, RL7 4, price 2.5, additional 10.
fn room(variable: &Variable) -> Option<Decimal> {
    Some(decimal(match variable {
        Variable::CommunityArea => "10000",
        Variable::BuildingArea => "2000",
        Variable::UnitArea => "600",
        Variable::BuiltUpArea => "88.88",
        Variable::Coefficient => "1.2",
        Variable::Storey => "3",
        Variable::RoomAttribute(number) if number == "7" => "4",
        Variable::RoomAttribute(_) => return None,
        Variable::Price => "2.5",
        Variable::AdditionalAmount => "10",
    }))
}

fn amount(text: &str) -> String {
    parse(text).unwrap().evaluate(room).unwrap().normalize().to_string()
}

#[test]
fn the_documented_examples_have_their_documented_amounts() {
    assert_eq!(parse("R*2.5+X*10").unwrap().evaluate(room), Ok(decimal("234.20")));
    assert_eq!(amount("面积 * 单价 + 附加费"), "232.2");
    assert_eq!(amount("R*2.2+X*3"), "199.136");
    let error = parse("R*2.5-1000").unwrap().evaluate(room).unwrap_err();
    assert_eq!(error, EvaluationError { position: 6, fault: EvaluationFault::Negative(decimal("-777.8")) });
    assert_eq!(error.text(), "公式第6个字符处：计算结果为负数(-777.8)");
}

#[test]
fn precedence_and_order_are_those_of_arithmetic() {
    for (text, expected) in [
        ("2+3*4", "14"),
        ("(2+3)*4", "20"),
        ("20-3-4", "13"),
        ("20-(3-4)", "21"),
        ("100/10/2", "5"),
        ("100/(10/2)", "20"),
        ("100/10*2", "20"),
        ("-3+5", "2"),
        ("5*-2+11", "1"),
        ("--4", "4"),
        ("-(2-5)", "3"),
        ("((((7))))", "7"),
        ("0", "0"),
        ("5-5", "0"),
    ] {
        assert_eq!(amount(text), expected, "{text}");
    }
}

#[test]
fn what_an_input_method_types_means_the_same() {
    let canonical = parse("(R+10)*2.5/4-X*1").unwrap();
    for text in [
        "（Ｒ＋１０）×２．５÷４－X＊１",
        "( R + 10 ) * 2.50 / 4 − X * 1",
        "\u{3000}(面积+10)*2.5／4-X*1.0",
        "(建筑面积+10)*2.5/4-X*1",
    ] {
        assert_eq!(parse(text).unwrap(), canonical, "{text}");
    }
    assert_eq!(parse("面积*单价+附加费用").unwrap(), parse("R*单价+附加费").unwrap());
}

#[test]
fn every_error_names_its_place_counting_characters() {
    use FormulaFault::*;
    let cases: Vec<(&str, usize, FormulaFault)> = vec![
        ("", 1, Empty),
        ("   ", 1, Empty),
        ("面积*Y", 4, UnknownWord("Y".into())),
        ("面积*单位", 4, UnknownCharacter('单')),
        ("R*2.5;drop", 6, UnknownCharacter(';')),
        ("r*2", 1, UnknownWord("r".into())),
        ("RX*2", 1, UnknownWord("RX".into())),
        ("RL*2", 1, AttributeWithoutNumber),
        ("R*.5", 3, MalformedNumber(".5".into())),
        ("R*5.", 3, MalformedNumber("5.".into())),
        ("R*1.2.3", 3, MalformedNumber("1.2.3".into())),
        ("R*99999999999999999999999999999999", 3, NumberTooLong),
        ("R*", 3, OperandExpected),
        ("*R", 1, OperandExpected),
        ("+R*2", 1, OperandExpected),
        ("R*(+2)", 4, OperandExpected),
        ("()", 2, OperandExpected),
        ("2 R", 3, OperatorExpected),
        ("(2 R)", 4, OperatorExpected),
        ("R2", 2, OperatorExpected),
        ("(R*2", 1, OpenWithoutClose),
        ("((R*2)", 1, OpenWithoutClose),
        ("R*2)", 4, CloseWithoutOpen),
        ("附加费/0", 4, ZeroDivisor),
        ("附加费/0.00", 4, ZeroDivisor),
        ("附加费/(1-1)", 4, ZeroDivisor),
        ("R*(2/(3-1.5*2))", 5, ZeroDivisor),
        ("附加费/-0", 4, ZeroDivisor),
        ("R*12345678901234567890123456789", 3, NumberTooLong),
        ("R*2-9999999999999999999999999999*9999999999999999999999999999", 33, TooLarge),
        ("附加费*(9999999999*9999999999*9999999999)", 27, TooLarge),
        ("2-5", 2, NeverPositive),
        ("-1", 1, NeverPositive),
    ];
    for (text, position, fault) in cases {
        assert_eq!(parse(text), Err(FormulaError { position, fault }), "{text}");
    }
}

#[test]
fn length_and_depth_are_bounded() {
    let longest = format!("1{}", "+1".repeat(249));
    assert_eq!(longest.len() + 1, LONGEST);
    assert_eq!(amount(&format!("{longest} ")), "250");
    assert_eq!(
        parse(&format!("{longest}+1")).unwrap_err(),
        FormulaError { position: 501, fault: FormulaFault::TooLong }
    );

    let nested = |levels: usize| format!("{}1{}", "(".repeat(levels), ")".repeat(levels));
    assert!(parse(&nested(DEEPEST)).is_ok());
    assert_eq!(parse(&nested(DEEPEST + 1)).unwrap_err(), FormulaError { position: 33, fault: FormulaFault::TooDeep });
    assert_eq!(parse(&format!("{}1", "-".repeat(33))).unwrap_err().fault, FormulaFault::TooDeep);
    // Depth is of what is inside each other, not of what follows each other.
    assert_eq!(amount(&vec!["(1)"; 100].join("+")), "100");
}

#[test]
fn only_what_can_be_money_is_a_formula() {
    for good in [
        "面积*单价+附加费",
        "单价*X*R",
        "X*单价+附加费",
        "L*单价",
        "单价",
        "单价+附加费",
        "(单价*X+单价)*R",
        "附加费*X",
        "附加费/R*C",
        "R*2.5+X*10",
        "(R+10)*2.5",
        "(R-F/U*R)*3",
        "RL7",
        "RL7*R",
        "(C+F)*单价",
        "120",
        "-附加费+100",
        "R/R*附加费",
    ] {
        assert!(parse(good).is_ok(), "{good}: {:?}", parse(good));
    }
    for (bad, position, fault) in [
        ("R+单价", 2, FormulaFault::Unlike),
        ("面积*单价+面积", 6, FormulaFault::Unlike),
        ("附加费+X", 4, FormulaFault::Unlike),
        ("R-X", 2, FormulaFault::Unlike),
        ("(R+附加费)*2", 3, FormulaFault::Unlike),
        ("R", 1, FormulaFault::NotMoney),
        ("R+10", 1, FormulaFault::NotMoney),
        ("(R*C)", 2, FormulaFault::NotMoney),
        ("X*L", 1, FormulaFault::NotMoney),
        ("单价*单价", 1, FormulaFault::NotMoney),
        ("单价/单价", 1, FormulaFault::NotMoney),
        ("附加费*R", 1, FormulaFault::NotMoney),
        ("R*2.5+X", 1, FormulaFault::NotMoney),
    ] {
        assert_eq!(parse(bad), Err(FormulaError { position, fault }), "{bad}");
    }
}

#[test]
fn a_failure_is_an_error_and_never_zero() {
    let fault = |text: &str| parse(text).unwrap().evaluate(room).unwrap_err();
    assert_eq!(fault("附加费/(L-3)"), EvaluationError { position: 4, fault: EvaluationFault::DivisionByZero });
    let missing = EvaluationFault::Missing(Variable::RoomAttribute("8".into()));
    assert_eq!(fault("附加费+RL8"), EvaluationError { position: 5, fault: missing });
    let big = "9999999999999999999999999999";
    assert_eq!(
        fault(&format!("{big}*附加费*{big}")),
        EvaluationError { position: 29, fault: EvaluationFault::Overflow }
    );
    assert!(matches!(fault("附加费-附加费*2").fault, EvaluationFault::Negative(_)));
    assert_eq!(fault("附加费+RL8").text(), "公式第5个字符处：RL8没有取值");
}

#[test]
fn area_times_price_is_recognised_in_any_order() {
    use AreaFormula::*;
    for text in
        ["面积 * 单价 + 附加费", "附加费+单价*面积", "(R*单价)+附加费", "单价×R＋附加费用", "建筑面积*单价+附加费"]
    {
        assert_eq!(parse(text).unwrap().as_area_formula(), Some(WithAdditionalAmount), "{text}");
    }
    for text in ["面积*单价", "单价*R", "((面积)*(单价))"] {
        assert_eq!(parse(text).unwrap().as_area_formula(), Some(WithoutAdditionalAmount), "{text}");
    }
    for text in [
        "R*2.5+附加费",
        "面积*单价-附加费",
        "面积*单价+附加费*2",
        "F*单价+附加费",
        "面积*单价*1+附加费",
        "-面积*单价+附加费",
    ] {
        assert_eq!(parse(text).unwrap().as_area_formula(), None, "{text}");
    }
}

/// Any tree that the grammar can write, whether or not it makes sense as money.
fn trees() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        (0_i64..1_000_000, 0_u32..5).prop_map(|(digits, scale)| Node::Number(Decimal::new(digits, scale).normalize())),
        prop_oneof![
            Just(Variable::BuiltUpArea),
            Just(Variable::Coefficient),
            Just(Variable::Price),
            Just(Variable::AdditionalAmount),
            "[0-9]{1,6}".prop_map(Variable::RoomAttribute),
        ]
        .prop_map(Node::Variable),
    ]
    .prop_map(|node| Tree { node, position: 0 });
    leaf.prop_recursive(6, 24, 2, |inner| {
        let operation = prop_oneof![
            Just(Operation::Add),
            Just(Operation::Subtract),
            Just(Operation::Multiply),
            Just(Operation::Divide)
        ];
        prop_oneof![
            inner.clone().prop_map(|tree| Tree { node: Node::Negative(Box::new(tree)), position: 0 }),
            (operation, inner.clone(), inner).prop_map(|(o, left, right)| Tree::operation(o, left, right, 0)),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_printed_parses_to_the_same_formula(tree in trees()) {
        let printed = Expression { tree: tree.clone() }.to_string();
        let tokens = lexer::tokens(&printed).unwrap();
        let again = parser::tree(&tokens, printed.chars().count()).unwrap();
        prop_assert_eq!(&again, &tree, "{}", printed);
        prop_assert_eq!(Expression { tree: again }.to_string(), printed);
    }

    #[test]
    fn canonical_form_never_grows(text in "[CFURXL0-9.+*/()（）×÷ 面积单价附加费-]{0,60}") {
        if let Ok(formula) = parse(&text) {
            let printed = formula.to_string();
            prop_assert!(printed.chars().count() <= text.chars().count(), "{} became {}", text, printed);
            prop_assert_eq!(parse(&printed), Ok(formula));
        }
    }

    #[test]
    fn any_text_is_a_formula_or_an_error_inside_or_just_after_it(text in "\\PC{0,80}") {
        if let Err(error) = parse(&text) {
            prop_assert!((1..=text.chars().count() + 1).contains(&error.position));
        }
    }

    #[test]
    fn an_amount_is_never_negative(tree in trees()) {
        if let Ok(amount) = (Expression { tree }).evaluate(room) {
            prop_assert!(amount >= Decimal::ZERO);
        }
    }
}
