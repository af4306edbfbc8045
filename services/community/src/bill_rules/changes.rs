//! Changes of a bill rule: its end, its cursor, and finishing it. Pure: the store locks the rule.

use chrono::{NaiveDate, NaiveDateTime};
use communal_kit::refusal::Refusal;
use communal_proto::community::v1::fields::update_pay_fee_rule_request as fields;
use communal_proto::community::v1::{FeeState, Reason, UpdatePayFeeRuleRequest};
use communal_proto::contract::v1::FaultKind;
use communal_proto::{Checker, Fault};

use super::store::RuleRow;
use crate::vocabulary::times;

/// What a request changes; `None` stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// The last second to bill.
    pub max_time: Option<NaiveDateTime>,
    /// The first day of the next span.
    pub cursor: Option<NaiveDate>,
    /// Ends the rule.
    pub finishes: bool,
}

/// Reads a change; `None` if anything is at fault.
pub fn of_update(request: &UpdatePayFeeRuleRequest, checker: &mut Checker) -> Option<Change> {
    if request.state() == FeeState::NotStarted {
        checker.push(Fault {
            field: fields::STATE.into(),
            kind: FaultKind::Code,
            description: "is no state to change to".into(),
            text: "状态只能改为已结束".into(),
        });
    }
    checker.is_clean().then(|| Change {
        max_time: times::end(&request.max_time),
        cursor: times::start(&request.cur_year_month).map(|time| time.date()),
        finishes: request.state() == FeeState::Ended,
    })
}

/// Judges a change of a locked rule, and returns whether it ends the rule. `billed_until` is the day after
/// the last one that has a bill.
///
/// # Errors
/// Returns `BILL_RULE_NOT_FOUND` if there is none, `BILL_RULE_ENDED` if it is ended, `BILLED_BEYOND` if it
/// has bills beyond its new end, and the fault of a time before its start.
pub fn may_change(rule: Option<&RuleRow>, billed_until: Option<NaiveDate>, change: Change) -> Result<bool, Refusal> {
    let rule = rule.ok_or_else(|| Refusal::of(Reason::BillRuleNotFound))?;
    if rule.state.0 == FeeState::Ended {
        return Err(Refusal::new(Reason::BillRuleEnded, "账单规则已结束，不能修改"));
    }
    let before_start = |field: communal_proto::FieldName, text: &str| {
        Err(Refusal::for_faults(vec![Fault::rule(field, "is before the start of the rule", text)]))
    };
    if change.max_time.is_some_and(|max_time| max_time < rule.start_time) {
        return before_start(fields::MAX_TIME, "终止时间不能早于计费起始时间");
    }
    if change.cursor.is_some_and(|cursor| cursor < rule.start_time.date()) {
        return before_start(fields::CUR_YEAR_MONTH, "下一账期不能早于计费起始时间");
    }
    let last_billed = billed_until.and_then(|day| day.pred_opt());
    if change.max_time.zip(last_billed).is_some_and(|(max_time, last)| max_time.date() < last) {
        return Err(Refusal::of(Reason::BilledBeyond));
    }
    let limit = change.max_time.map_or(rule.max_time, |max_time| max_time.min(rule.item_end));
    let cursor = change.cursor.unwrap_or(rule.cur_year_month);
    Ok(change.finishes || cursor > limit.date())
}

/// Judges whether a rule may be deleted; `paid` of its bills have live payment lines.
///
/// # Errors
/// Returns `BILL_RULE_NOT_FOUND` if there is none, and `BILLS_PAID` with their number.
pub fn may_delete(rule: Option<&RuleRow>, paid: i64) -> Result<(), Refusal> {
    if rule.is_none() {
        return Err(Refusal::new(Reason::BillRuleNotFound, "删除数据失败"));
    }
    if paid > 0 {
        return Err(Refusal::new(Reason::BillsPaid, format!("该规则有{paid}笔账单已缴费，不能删除")));
    }
    Ok(())
}
