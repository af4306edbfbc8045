//! The rules of fee items: how a request is read, and which changes and charges an item admits.

use chrono::{NaiveDateTime, TimeDelta};
use communal_kit::clock::Clock;
use communal_kit::refusal::Refusal;
use communal_proto::community::v1::fields::{list_fee_configs_request, update_fee_config_request as fields};
use communal_proto::community::v1::{
    Choice, DecimalPlace, DefaultItem, Formula, ItemState, ListFeeConfigsRequest, PaymentTiming,
    QueryHisFeeConfigRequest, Reason, Rounding, SaveFeeConfigRequest, UpdateFeeConfigRequest,
};
use communal_proto::contract::v1::FaultKind;
use communal_proto::{Checker, Coded, Fault, parse_decimal};
use rust_decimal::Decimal;

use super::{HistoryFilter, ListFilter, PrepaymentWindow, StoredItem, Terms};
use crate::amounts::formula::{AreaFormula, Expression};
use crate::vocabulary::codes::given;
use crate::vocabulary::spans::{ChargedSpan, RowFields, outside};
use crate::vocabulary::times;

/// Most months of a period.
pub const LONGEST_CYCLE: i16 = 999;
/// A payment cycle of one month, as the save document writes it.
const MONTH: &str = "MONTH";

/// Reads the terms of a new item; `None` if anything is at fault. Faults go to the checker, which
/// has those of the field rules already.
pub fn of_save(request: &SaveFeeConfigRequest, checker: &mut Checker) -> Option<Terms> {
    let terms = terms(&as_update(request), checker)?;
    if terms.formula == Formula::Custom && terms.formula_text.is_none() {
        checker.push(formula_text_missing());
        return None;
    }
    Some(with_defaults(terms))
}

/// Reads the new terms of an item that exists; otherwise as [`of_save`]. Whether a custom formula
/// that is not given is there already is judged by [`may_change`].
pub fn of_update(request: &UpdateFeeConfigRequest, checker: &mut Checker) -> Option<Terms> {
    terms(request, checker)
}

/// Fills in what the save of an item does not have.
fn with_defaults(terms: Terms) -> Terms {
    Terms {
        payment: terms.payment.or(Some(PaymentTiming::Prepaid)),
        payment_cycle: terms.payment_cycle.or(Some(1)),
        state: terms.state.or(Some(ItemState::InUse)),
        deduct_from: terms.deduct_from.or(Some(Choice::Yes)),
        pay_online: terms.pay_online.or(Some(Choice::Yes)),
        rounding: terms.rounding.or(Some(Rounding::HalfUp)),
        decimal_place: terms.decimal_place.or(Some(DecimalPlace::Two)),
        units: terms.units.or_else(|| Some("元".to_owned())),
        ..terms
    }
}

/// Reads what a list asks for; `None` if anything is at fault. `now` is the local time.
pub fn of_list(request: &ListFeeConfigsRequest, now: NaiveDateTime, checker: &mut Checker) -> Option<ListFilter> {
    let payment_cycle = payment_cycle(&request.payment_cycle);
    if payment_cycle.is_none() && !request.payment_cycle.is_empty() {
        checker.push(payment_cycle_fault());
    }
    // The documents have 1 alone; other systems that were written for them may send 0.
    let flags = [
        (&request.valid, list_fee_configs_request::VALID, "有效"),
        (&request.is_flag, list_fee_configs_request::IS_FLAG, "不分页标志"),
    ];
    for (flag, field, title) in flags {
        if !matches!(flag.as_str(), "" | "0" | "1") {
            checker.push(Fault::rule(field, "is not 0 or 1", format!("{title}只能是0或1")));
        }
    }
    checker.is_clean().then(|| ListFilter {
        config_id: text(&request.config_id),
        name_part: text(&request.fee_name),
        name: text(&request.fee_name_eq),
        fee_type: given(request.fee_type_cd()),
        fee_flag: given(request.fee_flag()),
        bill_type: given(request.bill_type()),
        payment: given(request.payment_cd()),
        payment_cycle,
        formula: given(request.computing_formula()),
        is_default: given(request.is_default()),
        deduct_from: given(request.deduct_from()),
        prepayment_window: request.prepayment_period.parse().ok(),
        state: given(request.state()),
        start_time: times::start(&request.start_time),
        end_time: times::end(&request.end_time),
        ends_after: (request.valid == "1").then_some(now),
    })
}

/// Reads what a history asks for. An end day is taken to its last second.
#[must_use]
pub fn of_history(request: &QueryHisFeeConfigRequest, clock: &Clock) -> HistoryFilter {
    // The end is a whole second, and changes are finer.
    let second = TimeDelta::seconds(1);
    HistoryFilter {
        config_id: text(&request.config_id),
        name_part: text(&request.fee_name_like),
        operator_part: text(&request.staff_name_like),
        from: times::start(&request.log_start_time).map(|t| clock.instant(t)),
        before: times::end(&request.log_end_time).map(|t| clock.instant(t) + second),
    }
}

/// A text that was given.
fn text(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// Returns the refusal of a name that another live item of the community has.
#[must_use]
pub fn name_taken(fee_name: &str) -> Refusal {
    Refusal::new(Reason::FeeItemNameTaken, format!("{fee_name}已存在"))
}

/// Returns whether the new terms have another fee flag than the item.
#[must_use]
pub fn changes_flag(item: &StoredItem, terms: &Terms) -> bool {
    item.fee_flag.0 != terms.fee_flag
}

/// Returns whether the new terms shorten the validity of the item.
#[must_use]
pub fn shortens(item: &StoredItem, terms: &Terms) -> bool {
    terms.start_time > item.start_time || terms.end_time < item.end_time
}

/// Returns whether the new terms stop an item that is in use.
#[must_use]
pub fn closes(item: &StoredItem, terms: &Terms) -> bool {
    item.state.0 == ItemState::InUse && terms.state == Some(ItemState::Stopped)
}

/// Judges whether an item may have new terms. `has_rules` says whether bill rules use it, `outside` how
/// many open fees and bill rules would lie outside its validity.
///
/// # Errors
/// Returns `FEES_OUTSIDE_ITEM` if there are such fees and they are not ended by the same change.
/// Returns `FEE_ITEM_HAS_RULES` if the fee flag would change while bill rules use the item, and the
/// fault of a custom formula that neither the request nor the item has.
pub fn may_change(item: &StoredItem, terms: &Terms, has_rules: bool, outside: i64) -> Result<(), Refusal> {
    if outside > 0 && !closes(item, terms) {
        let text = format!("有{outside}笔未结束的费用或出账规则在新的有效期之外，不能修改计费起止时间");
        return Err(Refusal::new(Reason::FeesOutsideItem, text));
    }
    if has_rules && changes_flag(item, terms) {
        return Err(Refusal::of(Reason::FeeItemHasRules));
    }
    if terms.formula == Formula::Custom && terms.formula_text.is_none() && !item.has_formula_text {
        return Err(Refusal::for_faults(vec![formula_text_missing()]));
    }
    Ok(())
}

/// Judges whether an item may be deleted. `in_use` says whether it has open fees or bill rules.
///
/// # Errors
/// Returns `FEE_ITEM_IS_DEFAULT` if the item came with the system, and `FEE_ITEM_IN_USE` if it is in
/// use.
pub fn may_delete(item: &StoredItem, in_use: bool) -> Result<(), Refusal> {
    if item.is_default.0 == DefaultItem::System {
        return Err(Refusal::of(Reason::FeeItemIsDefault));
    }
    if in_use { Err(Refusal::of(Reason::FeeItemInUse)) } else { Ok(()) }
}

/// Judges whether payer objects may be charged by an item for the spans of a request.
///
/// # Errors
/// Returns `FEE_ITEM_NOT_FOUND` if there is no such item, `FEE_ITEM_STOPPED` if it is stopped, and
/// the faults of rows that lie outside its validity.
pub fn chargeable(item: Option<StoredItem>, spans: &[ChargedSpan], fields: RowFields) -> Result<StoredItem, Refusal> {
    let item = item.ok_or_else(|| Refusal::of(Reason::FeeItemNotFound))?;
    if item.state.0 == ItemState::Stopped {
        return Err(Refusal::of(Reason::FeeItemStopped));
    }
    let faults = outside(spans, item.start_time, item.end_time, fields);
    if faults.is_empty() { Ok(item) } else { Err(Refusal::for_faults(faults)) }
}

/// The fault of a custom formula that neither the request nor the item has.
fn formula_text_missing() -> Fault {
    Fault {
        field: fields::COMPUTING_FORMULA_TEXT.into(),
        kind: FaultKind::Missing,
        description: "is required by computingFormula 7007".into(),
        text: "自定义公式文本不能为空".into(),
    }
}

/// Reads a payment cycle: a whole number of months, or MONTH.
fn payment_cycle(text: &str) -> Option<i16> {
    if text == MONTH {
        return Some(1);
    }
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|months| digits && (1..=LONGEST_CYCLE).contains(months))
}

/// The fault of a payment cycle that cannot be read.
fn payment_cycle_fault() -> Fault {
    Fault::rule(
        fields::PAYMENT_CYCLE,
        format!("is not MONTH or a whole number of months from 1 to {LONGEST_CYCLE}"),
        format!("缴费周期必须是1到{LONGEST_CYCLE}的整数(月)"),
    )
}

/// A save as the update that says the same: both requests have the same fields. A new one does not
/// compile until it is named.
fn as_update(request: &SaveFeeConfigRequest) -> UpdateFeeConfigRequest {
    let SaveFeeConfigRequest {
        fee_type_cd,
        fee_name,
        fee_flag,
        start_time,
        end_time,
        computing_formula,
        square_price,
        additional_amount,
        community_id,
        bill_type,
        payment_cd,
        payment_cycle,
        state,
        computing_formula_text,
        deduct_from,
        pay_online,
        scale,
        decimal_place,
        units,
        prepayment_period,
    } = request.clone();
    UpdateFeeConfigRequest {
        config_id: String::new(),
        fee_type_cd,
        fee_name,
        fee_flag,
        start_time,
        end_time,
        computing_formula,
        square_price,
        additional_amount,
        community_id,
        bill_type,
        payment_cd,
        payment_cycle,
        state,
        computing_formula_text,
        deduct_from,
        pay_online,
        scale,
        decimal_place,
        units,
        prepayment_period,
    }
}

fn terms(request: &UpdateFeeConfigRequest, checker: &mut Checker) -> Option<Terms> {
    let span = span(request, checker);
    // A malformed amount is reported by the field rules.
    let amounts = parse_decimal(&request.square_price).zip(parse_decimal(&request.additional_amount));
    let formula = formula(request, amounts.map(|(_, additional)| additional), checker);
    let cycle = match request.payment_cycle.as_str() {
        "" => Some(None),
        text => {
            let months = payment_cycle(text);
            if months.is_none() {
                checker.push(payment_cycle_fault());
            }
            months.map(Some)
        }
    };
    let window = match request.prepayment_period.as_deref() {
        None => Some(PrepaymentWindow::Absent),
        Some("") => Some(PrepaymentWindow::Cleared),
        Some(days) => days.parse().ok().map(PrepaymentWindow::Days),
    };
    let ((start_time, end_time), (square_price, additional_amount)) = span.zip(amounts)?;
    let (formula, formula_text) = formula?;
    checker.is_clean().then_some(Terms {
        fee_type: request.fee_type_cd(),
        fee_name: request.fee_name.clone(),
        fee_flag: request.fee_flag(),
        start_time,
        end_time,
        formula,
        formula_text,
        square_price,
        additional_amount,
        bill_type: request.bill_type(),
        payment: given(request.payment_cd()),
        payment_cycle: cycle?,
        state: given(request.state()),
        deduct_from: given(request.deduct_from()),
        pay_online: given(request.pay_online()),
        rounding: given(request.scale()),
        decimal_place: given(request.decimal_place()),
        units: text(&request.units),
        prepayment_window: window?,
    })
}

fn span(request: &UpdateFeeConfigRequest, checker: &mut Checker) -> Option<(NaiveDateTime, NaiveDateTime)> {
    let (start, end) = times::start(&request.start_time).zip(times::end(&request.end_time))?;
    if start > end {
        checker.push(Fault::rule(fields::END_TIME, "is before startTime", "计费终止时间不能早于计费起始时间"));
        return None;
    }
    Some((start, end))
}

/// Reads the code of the formula and its text: a documented code, or the formula itself, which
/// becomes 1001 if it is that formula and 7007 otherwise.
fn formula(
    request: &UpdateFeeConfigRequest,
    additional_amount: Option<Decimal>,
    checker: &mut Checker,
) -> Option<(Formula, Option<String>)> {
    // A text that is given is parsed whatever the code is: what is stored always parses, and
    // a later change to 7007 may rely on it.
    let text = match request.computing_formula_text.as_str() {
        "" => None,
        text => match text.parse::<Expression>() {
            Ok(expression) => Some((text, expression)),
            Err(error) => {
                checker.push(Fault::rule(fields::COMPUTING_FORMULA_TEXT, error.to_string(), error.text()));
                return None;
            }
        },
    };
    let as_stored = |text: Option<(&str, Expression)>| text.map(|(text, _)| text.to_owned());
    if let Some(code) = Formula::from_code(&request.computing_formula) {
        return Some((code, as_stored(text)));
    }
    if request.computing_formula.is_empty() {
        return None;
    }
    if request.computing_formula.bytes().all(|b| b.is_ascii_digit()) {
        // It would parse, as an amount; but it is meant as a code, and an unknown one.
        checker.push(Fault {
            field: fields::COMPUTING_FORMULA.into(),
            kind: FaultKind::Code,
            description: "is not one of the documented codes".into(),
            text: "计费公式不在规定的代码范围内".into(),
        });
        return None;
    }
    let expression = match request.computing_formula.parse::<Expression>() {
        Ok(expression) => expression,
        Err(error) => {
            checker.push(Fault::rule(fields::COMPUTING_FORMULA, error.to_string(), error.text()));
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
            fields::COMPUTING_FORMULA_TEXT,
            "is another formula than computingFormula",
            "自定义公式文本与计费公式不一致",
        ));
        return None;
    }
    Some((Formula::Custom, Some(request.computing_formula.clone())))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use communal_proto::Checked;
    use communal_proto::community::v1::{BillType, FeeFlag, FeeType};

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
        // Terms and faults exclude each other, so that a request without faults can be read.
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
        // An update may rely on the stored text.
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
    fn an_absent_field_is_told_from_a_cleared_one() {
        let terms = read(|_| ()).unwrap();
        assert_eq!((terms.payment, terms.payment_cycle, terms.state, terms.units), (None, None, None, None));
        assert_eq!(terms.prepayment_window, PrepaymentWindow::Absent);
        let period = |text: &str| read(|r| r.prepayment_period = Some(text.into())).unwrap().prepayment_window;
        assert_eq!(
            [period(""), period("15"), period("0000")],
            [PrepaymentWindow::Cleared, PrepaymentWindow::Days(15), PrepaymentWindow::Days(0)]
        );
        assert_eq!(only_fault(|r| r.prepayment_period = Some("1x".into())).1, FaultKind::Format);
    }

    #[test]
    fn a_blank_name_is_missing() {
        let (field, kind, text) = only_fault(|r| r.fee_name = " \u{3000}".into());
        assert_eq!((field.as_str(), kind, text.as_str()), ("feeName", FaultKind::Missing, "必填，请填写收费项目"));
    }

    #[test]
    fn faults_of_fields_and_of_rules_are_listed_together() {
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
        assert_eq!(read(|r| r.state = ItemState::Stopped.into()).unwrap().state, Some(ItemState::Stopped));
        assert_eq!(read(|r| r.state = ItemState::InUse.into()).unwrap().state, Some(ItemState::InUse));
    }
}
