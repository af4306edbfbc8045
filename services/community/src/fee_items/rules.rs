//! The rules of what a fee item may say. Pure: from a request to terms that can be stored,
//! or faults.

use chrono::NaiveDateTime;
use communal_kit::refusal::Refusal;
use communal_proto::community::v1::{
    BillType, Choice, DecimalPlace, FeeFlag, FeeType, Formula, ItemState, PaymentTiming, Rounding,
    SaveFeeConfigRequest, UpdateFeeConfigRequest,
};
use communal_proto::contract::v1::FaultKind;
use communal_proto::{Checker, Coded, Fault, parse_decimal};
use rust_decimal::Decimal;

use super::ItemToCharge;
use crate::amounts::formula::{AreaFormula, Expression};
use crate::reasons;
use crate::vocabulary::periods::{ChargedPeriod, Names, starting_after};
use crate::vocabulary::times;

/// Most months of a payment period.
pub const LONGEST_CYCLE: i16 = 999;
/// How the save document writes a payment period of one month.
const MONTH: &str = "MONTH";

/// What a save or an update says of an item. `None` in an optional field: not said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// What is charged for.
    pub fee_type: FeeType,
    /// Name.
    pub fee_name: String,
    /// How often it falls due.
    pub fee_flag: FeeFlag,
    /// First second of validity.
    pub start_time: NaiveDateTime,
    /// Last second of validity.
    pub end_time: NaiveDateTime,
    /// How an amount is computed.
    pub formula: Formula,
    /// The custom formula, which parses.
    pub formula_text: Option<String>,
    /// Unit price.
    pub square_price: Decimal,
    /// Additional amount.
    pub additional_amount: Decimal,
    /// When bills are made.
    pub bill_type: BillType,
    /// Whether a period is paid before or after.
    pub payment: Option<PaymentTiming>,
    /// Months in a payment period.
    pub payment_cycle: Option<i16>,
    /// Whether the item is stopped.
    pub stopped: Option<bool>,
    /// Whether the owner's account may pay it.
    pub deduct_from: Option<bool>,
    /// Whether it may be paid on-line.
    pub pay_online: Option<bool>,
    /// How the amount is rounded.
    pub rounding: Option<Rounding>,
    /// Digits kept after the point.
    pub decimal_place: Option<DecimalPlace>,
    /// Unit of the amount.
    pub units: Option<String>,
    /// Days before the paid-through date at which the next period opens.
    pub prepayment_period: PrepaymentPeriod,
}

/// What is said of the prepayment period, the one optional field that can be cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrepaymentPeriod {
    /// Nothing.
    Unsaid,
    /// That there is none.
    Cleared,
    /// So many days.
    Days(i16),
}

/// The terms of a new item.
///
/// Faults go to the checker, where those of the field rules already are; `None` where there
/// are any, of either kind.
pub fn of_save(request: &SaveFeeConfigRequest, checker: &mut Checker) -> Option<Terms> {
    let terms = terms(&Given::from(request), checker)?;
    if terms.formula == Formula::Custom && terms.formula_text.is_none() {
        checker.push(formula_text_missing());
        return None;
    }
    Some(terms)
}

/// The new terms of an item that exists; otherwise as [`of_save`]. Whether a custom formula
/// that is not given is there already, only the store knows.
pub fn of_update(request: &UpdateFeeConfigRequest, checker: &mut Checker) -> Option<Terms> {
    terms(&Given::from(request), checker)
}

/// The fault of a custom formula that is nowhere.
#[must_use]
pub fn formula_text_missing() -> Fault {
    Fault {
        field: "computingFormulaText".into(),
        kind: FaultKind::Missing,
        description: "is required by computingFormula 7007".into(),
        text: "自定义公式文本不能为空".into(),
    }
}

/// Judges whether payer objects may be charged by an item for the periods of a request.
///
/// # Errors
/// Returns `FEE_ITEM_NOT_FOUND` if there is no such item, `FEE_ITEM_STOPPED` if it is stopped,
/// and a fault of each row that starts after the end of the item.
pub fn chargeable(
    item: Option<ItemToCharge>,
    periods: &[ChargedPeriod],
    names: Names,
) -> Result<ItemToCharge, Refusal> {
    let item = item.ok_or_else(reasons::item_not_found)?;
    if item.stopped {
        return Err(reasons::item_is_stopped());
    }
    let faults = starting_after(periods, item.end_time, names);
    if faults.is_empty() { Ok(item) } else { Err(Refusal::for_faults(faults)) }
}

/// Months of a payment period: a whole number, or MONTH.
#[must_use]
pub fn payment_cycle(text: &str) -> Option<i16> {
    if text == MONTH {
        return Some(1);
    }
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|months| digits && (1..=LONGEST_CYCLE).contains(months))
}

/// The fault of a payment period that is none.
#[must_use]
pub fn payment_cycle_fault() -> Fault {
    Fault::rule(
        "paymentCycle",
        format!("is not MONTH or a whole number of months from 1 to {LONGEST_CYCLE}"),
        format!("缴费周期必须是1到{LONGEST_CYCLE}的整数(月)"),
    )
}

/// The fields that both requests have.
struct Given<'a> {
    fee_type: FeeType,
    fee_name: &'a str,
    fee_flag: FeeFlag,
    start_time: &'a str,
    end_time: &'a str,
    formula: &'a str,
    formula_text: &'a str,
    square_price: &'a str,
    additional_amount: &'a str,
    bill_type: BillType,
    payment: PaymentTiming,
    payment_cycle: &'a str,
    state: ItemState,
    deduct_from: Choice,
    pay_online: Choice,
    rounding: Rounding,
    decimal_place: DecimalPlace,
    units: &'a str,
    prepayment_period: Option<&'a str>,
}

/// The two requests have the same fields and share no type.
macro_rules! given {
    ($request:ident) => {
        Self {
            fee_type: $request.fee_type_cd(),
            fee_name: &$request.fee_name,
            fee_flag: $request.fee_flag(),
            start_time: &$request.start_time,
            end_time: &$request.end_time,
            formula: &$request.computing_formula,
            formula_text: &$request.computing_formula_text,
            square_price: &$request.square_price,
            additional_amount: &$request.additional_amount,
            bill_type: $request.bill_type(),
            payment: $request.payment_cd(),
            payment_cycle: &$request.payment_cycle,
            state: $request.state(),
            deduct_from: $request.deduct_from(),
            pay_online: $request.pay_online(),
            rounding: $request.scale(),
            decimal_place: $request.decimal_place(),
            units: &$request.units,
            prepayment_period: $request.prepayment_period.as_deref(),
        }
    };
}

impl<'a> From<&'a SaveFeeConfigRequest> for Given<'a> {
    fn from(request: &'a SaveFeeConfigRequest) -> Self {
        given!(request)
    }
}

impl<'a> From<&'a UpdateFeeConfigRequest> for Given<'a> {
    fn from(request: &'a UpdateFeeConfigRequest) -> Self {
        given!(request)
    }
}

fn terms(given: &Given<'_>, checker: &mut Checker) -> Option<Terms> {
    let name = fee_name(given.fee_name, checker);
    let span = span(given, checker);
    // A malformed amount is the field rules' to report.
    let amounts = parse_decimal(given.square_price).zip(parse_decimal(given.additional_amount));
    let formula = formula(given, amounts.map(|(_, additional)| additional), checker);
    let cycle = match given.payment_cycle {
        "" => Some(None),
        text => {
            let months = payment_cycle(text);
            if months.is_none() {
                checker.push(payment_cycle_fault());
            }
            months.map(Some)
        }
    };
    let prepayment = match given.prepayment_period {
        None => Some(PrepaymentPeriod::Unsaid),
        Some("") => Some(PrepaymentPeriod::Cleared),
        Some(days) => days.parse().ok().map(PrepaymentPeriod::Days),
    };
    let ((start_time, end_time), (square_price, additional_amount)) = span.zip(amounts)?;
    let (formula, formula_text) = formula?;
    checker.is_clean().then_some(Terms {
        fee_type: given.fee_type,
        fee_name: name?,
        fee_flag: given.fee_flag,
        start_time,
        end_time,
        formula,
        formula_text,
        square_price,
        additional_amount,
        bill_type: given.bill_type,
        payment: said(given.payment),
        payment_cycle: cycle?,
        stopped: said(given.state).map(|state| state == ItemState::Stopped),
        deduct_from: said(given.deduct_from).map(|choice| choice == Choice::Yes),
        pay_online: said(given.pay_online).map(|choice| choice == Choice::Yes),
        rounding: said(given.rounding),
        decimal_place: said(given.decimal_place),
        units: (!given.units.is_empty()).then(|| given.units.to_owned()),
        prepayment_period: prepayment?,
    })
}

/// A code that was given; the unspecified value is every enum's default.
fn said<C: Default + PartialEq>(code: C) -> Option<C> {
    (code != C::default()).then_some(code)
}

/// A name of spaces alone is none; nobody could tell two of them apart.
fn fee_name(name: &str, checker: &mut Checker) -> Option<String> {
    if !name.is_empty() && name.trim().is_empty() {
        checker.push(Fault {
            field: "feeName".into(),
            kind: FaultKind::Missing,
            description: "is blank".into(),
            text: "必填，请填写收费项目".into(),
        });
        return None;
    }
    Some(name.to_owned())
}

fn span(given: &Given<'_>, checker: &mut Checker) -> Option<(NaiveDateTime, NaiveDateTime)> {
    let (start, end) = times::start(given.start_time).zip(times::end(given.end_time))?;
    if start > end {
        checker.push(Fault::rule("endTime", "is before startTime", "计费终止时间不能早于计费起始时间"));
        return None;
    }
    Some((start, end))
}

/// The code of the formula and its text: a documented code, or the formula itself, which
/// becomes 1001 where it is that formula and 7007 otherwise.
fn formula(
    given: &Given<'_>,
    additional_amount: Option<Decimal>,
    checker: &mut Checker,
) -> Option<(Formula, Option<String>)> {
    // A text that is given is parsed whatever the code is: what is stored always parses, and
    // a later change to 7007 may rely on it.
    let text = match given.formula_text {
        "" => None,
        text => match text.parse::<Expression>() {
            Ok(expression) => Some((text, expression)),
            Err(error) => {
                checker.push(Fault::rule("computingFormulaText", error.to_string(), error.text()));
                return None;
            }
        },
    };
    let as_stored = |text: Option<(&str, Expression)>| text.map(|(text, _)| text.to_owned());
    if let Some(code) = Formula::from_code(given.formula) {
        return Some((code, as_stored(text)));
    }
    if given.formula.is_empty() {
        return None;
    }
    if given.formula.bytes().all(|b| b.is_ascii_digit()) {
        // It would parse, as an amount; but it is a code that nobody knows.
        checker.push(Fault {
            field: "computingFormula".into(),
            kind: FaultKind::Code,
            description: "is not one of the documented codes".into(),
            text: "计费公式不在规定的代码范围内".into(),
        });
        return None;
    }
    let expression = match given.formula.parse::<Expression>() {
        Ok(expression) => expression,
        Err(error) => {
            checker.push(Fault::rule("computingFormula", error.to_string(), error.text()));
            return None;
        }
    };
    let is_documented = match expression.as_area_formula() {
        Some(AreaFormula::WithAdditionalAmount) => true,
        Some(AreaFormula::WithoutAdditionalAmount) => additional_amount.is_some_and(|amount| amount.is_zero()),
        None => false,
    };
    if is_documented {
        return Some((Formula::BuiltUpArea, as_stored(text)));
    }
    if text.is_some_and(|(_, other)| other != expression) {
        checker.push(Fault::rule(
            "computingFormulaText",
            "is another formula than computingFormula",
            "自定义公式文本与计费公式不一致",
        ));
        return None;
    }
    Some((Formula::Custom, Some(given.formula.to_owned())))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use communal_proto::Checked;

    use super::*;

    fn request() -> UpdateFeeConfigRequest {
        UpdateFeeConfigRequest {
            config_id: "123456".into(),
            fee_type_cd: FeeType::Property.into(),
            fee_name: "物业费".into(),
            fee_flag: FeeFlag::Periodic.into(),
            start_time: "2024-01-01".into(),
            end_time: "2024-12-31".into(),
            computing_formula: "1001".into(),
            square_price: "2.5".into(),
            additional_amount: "100".into(),
            community_id: "10001".into(),
            bill_type: BillType::Monthly.into(),
            ..UpdateFeeConfigRequest::default()
        }
    }

    fn read(change: impl FnOnce(&mut UpdateFeeConfigRequest)) -> Result<Terms, Vec<Fault>> {
        let mut request = request();
        change(&mut request);
        let mut checker = Checker::default();
        request.check(&mut checker);
        let terms = of_update(&request, &mut checker);
        let faults = checker.into_faults();
        // Terms and faults exclude each other, so that accepting a call without faults has terms.
        assert_eq!(terms.is_some(), faults.is_empty(), "{faults:?}");
        terms.ok_or(faults)
    }

    fn only_fault(change: impl FnOnce(&mut UpdateFeeConfigRequest)) -> (String, FaultKind, String) {
        let faults = read(change).unwrap_err();
        assert_eq!(faults.len(), 1, "{faults:?}");
        let fault = faults.into_iter().next().unwrap();
        (fault.field.to_string(), fault.kind, fault.text)
    }

    #[test]
    fn an_end_date_is_inclusive() {
        let terms = read(|_| ()).unwrap();
        assert_eq!(times::print(terms.start_time), "2024-01-01 00:00:00");
        assert_eq!(times::print(terms.end_time), "2024-12-31 23:59:59");
        // One day is a span; so is one second.
        assert!(read(|r| r.end_time = "2024-01-01".into()).is_ok());
        assert!(read(|r| r.end_time = "2024-01-01 00:00:00".into()).is_ok());
        let (field, _, text) = only_fault(|r| r.end_time = "2023-12-31".into());
        assert_eq!((field.as_str(), text.as_str()), ("endTime", "计费终止时间不能早于计费起始时间"));
    }

    #[test]
    fn free_text_becomes_a_documented_formula_or_a_custom_one() {
        let formula = |text: &str, additional: &str| {
            let terms = read(|r| {
                r.computing_formula = text.into();
                r.additional_amount = additional.into();
            });
            terms.map(|t| (t.formula, t.formula_text))
        };
        let custom = |text: &str| Ok((Formula::Custom, Some(text.to_owned())));
        assert_eq!(formula("面积 * 单价 + 附加费", "100"), Ok((Formula::BuiltUpArea, None)));
        assert_eq!(formula("附加费＋单价×面积", "0"), Ok((Formula::BuiltUpArea, None)));
        // Without the additional amount it is 1001 only where there is none.
        assert_eq!(formula("面积*单价", "0.00"), Ok((Formula::BuiltUpArea, None)));
        assert_eq!(formula("面积*单价", "100"), custom("面积*单价"));
        assert_eq!(formula("R*2.5+X*10", "0"), custom("R*2.5+X*10"));
        for (code, expected) in
            [("1001", Formula::BuiltUpArea), ("2002", Formula::Fixed), ("9999", Formula::TemporaryCar)]
        {
            assert_eq!(formula(code, "0"), Ok((expected, None)));
        }
    }

    #[test]
    fn a_formula_that_does_not_parse_is_a_fault_with_its_place() {
        assert_eq!(
            only_fault(|r| r.computing_formula = "面积*单价+".into()),
            ("computingFormula".into(), FaultKind::Rule, "公式第7个字符处：缺少数字或变量".into())
        );
        assert_eq!(
            only_fault(|r| r.computing_formula = "1234".into()),
            ("computingFormula".into(), FaultKind::Code, "计费公式不在规定的代码范围内".into())
        );
        assert_eq!(
            only_fault(|r| r.computing_formula_text = "R*y".into()),
            ("computingFormulaText".into(), FaultKind::Rule, "公式第3个字符处：不认识“y”".into())
        );
    }

    #[test]
    fn code_and_text_of_a_formula_must_agree() {
        let both = |code: &str, text: &str| {
            let terms = read(|r| {
                r.computing_formula = code.into();
                r.computing_formula_text = text.into();
            });
            terms.map(|t| (t.formula, t.formula_text))
        };
        assert_eq!(both("7007", "R*2"), Ok((Formula::Custom, Some("R*2".into()))));
        assert_eq!(both("R*2", "面积 × 2.0"), Ok((Formula::Custom, Some("R*2".into()))));
        assert_eq!(both("R*2", "R*3").unwrap_err().len(), 1);
        // An update may rely on the stored text; the store knows it.
        assert_eq!(both("7007", ""), Ok((Formula::Custom, None)));
    }

    #[test]
    fn a_new_custom_item_needs_its_formula() {
        let mut checker = Checker::default();
        let request = SaveFeeConfigRequest {
            fee_name: "a".into(),
            start_time: "2024-01-01".into(),
            end_time: "2024-01-02".into(),
            computing_formula: "7007".into(),
            square_price: "1".into(),
            additional_amount: "0".into(),
            ..SaveFeeConfigRequest::default()
        };
        assert_eq!(of_save(&request, &mut checker), None);
        let faults = checker.into_faults();
        assert_eq!(
            faults.first().map(|f| (f.field.to_string(), f.kind)),
            Some(("computingFormulaText".to_owned(), FaultKind::Missing))
        );
    }

    #[test]
    fn a_payment_cycle_is_a_number_of_months() {
        assert_eq!([payment_cycle("MONTH"), payment_cycle("1"), payment_cycle("999")], [Some(1), Some(1), Some(999)]);
        for bad in ["0", "1000", "-1", "+1", "1.5", "month", "一", " 1", "99999999999"] {
            assert_eq!(payment_cycle(bad), None, "{bad}");
        }
        assert_eq!(only_fault(|r| r.payment_cycle = "0".into()).0, "paymentCycle");
        assert_eq!(read(|r| r.payment_cycle = "MONTH".into()).unwrap().payment_cycle, Some(1));
    }

    #[test]
    fn what_is_not_said_is_told_from_what_is_cleared() {
        let terms = read(|_| ()).unwrap();
        assert_eq!((terms.payment, terms.payment_cycle, terms.stopped, terms.units), (None, None, None, None));
        assert_eq!(terms.prepayment_period, PrepaymentPeriod::Unsaid);
        let period = |text: &str| read(|r| r.prepayment_period = Some(text.into())).unwrap().prepayment_period;
        assert_eq!(
            [period(""), period("15"), period("0000")],
            [PrepaymentPeriod::Cleared, PrepaymentPeriod::Days(15), PrepaymentPeriod::Days(0)]
        );
        assert_eq!(only_fault(|r| r.prepayment_period = Some("1x".into())).1, FaultKind::Format);
    }

    #[test]
    fn a_blank_name_is_missing() {
        let (field, kind, text) = only_fault(|r| r.fee_name = " \u{3000}".into());
        assert_eq!((field.as_str(), kind, text.as_str()), ("feeName", FaultKind::Missing, "必填，请填写收费项目"));
    }

    #[test]
    fn faults_of_fields_and_of_rules_are_told_together() {
        let faults = read(|r| {
            r.fee_name = String::new();
            r.square_price = "2.55555".into();
            r.end_time = "2023-01-01".into();
            r.computing_formula = "R+".into();
        })
        .unwrap_err();
        let fields: Vec<_> = faults.iter().map(|f| f.field.to_string()).collect();
        assert_eq!(fields, ["feeName", "squarePrice", "endTime", "computingFormula"]);
    }

    #[test]
    fn states_are_stopped_or_not() {
        assert_eq!(read(|r| r.state = ItemState::Stopped.into()).unwrap().stopped, Some(true));
        assert_eq!(read(|r| r.state = ItemState::InUse.into()).unwrap().stopped, Some(false));
    }
}
