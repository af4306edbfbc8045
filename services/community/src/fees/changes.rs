//! Changes of a fee: which of them its payments admit. Pure: the store locks the fee and passes it in.

use chrono::{NaiveDate, NaiveDateTime, NaiveTime, TimeDelta};
use communal_kit::refusal::Refusal;
use communal_proto::community::v1::fields::update_fee_request as fields;
use communal_proto::community::v1::{FeeFlag, FeeState, Reason, UpdateFeeRequest};
use communal_proto::{Checker, Fault};

use super::store::FeeRow;
use crate::fee_items::StoredItem;
use crate::vocabulary::spans::{self, ChargedSpan, RowFields};
use crate::vocabulary::times;

/// The fields of a change that faults name.
const FIELDS: RowFields =
    RowFields { rows: None, payer_obj_id: fields::FEE_ID, start: fields::START_TIME, end: fields::MAX_END_TIME };

/// The payment lines of a fee.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Payments {
    /// Live lines: what they cover is paid.
    pub live: i64,
    /// The day after the last one that a live line covers.
    pub until: Option<NaiveDate>,
}

/// The times that a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewTimes {
    /// Start.
    pub start: NaiveDateTime,
    /// Paid-through time.
    pub paid_through: NaiveDateTime,
    /// The last second to charge for.
    pub limit: NaiveDateTime,
}

/// Reads the times of a request; `None` if they contradict each other.
pub fn of_update(request: &UpdateFeeRequest, checker: &mut Checker) -> Option<NewTimes> {
    let start = times::start(&request.start_time)?;
    let paid_through = times::start(&request.end_time)?;
    let limit = times::end(&request.max_end_time)?;
    if paid_through < start {
        checker.push(Fault::rule(fields::END_TIME, "is before startTime", "计费起始时间不能早于建账时间"));
    }
    if paid_through > limit + TimeDelta::seconds(1) {
        checker.push(Fault::rule(fields::MAX_END_TIME, "is before endTime", "计费结束时间不能早于计费起始时间"));
    }
    checker.is_clean().then_some(NewTimes { start, paid_through, limit })
}

/// Judges new times of a fee, and returns whether they end it: every day to the limit is paid.
///
/// # Errors
/// Returns `FEE_ENDED` if the fee is ended, `FEE_HAS_PAYMENTS` for a bill, whose span is that of its
/// rule, and `PAYMENTS_CONTRADICT` if payments would no longer fit.
pub fn may_move(fee: &FeeRow, payments: Payments, new: NewTimes) -> Result<bool, Refusal> {
    if fee.state.0 == FeeState::Ended {
        return Err(Refusal::new(Reason::FeeEnded, "费用已结束，不能修改"));
    }
    if fee.rule_id.is_some() {
        return Err(Refusal::new(Reason::PaymentsContradict, "账单的时间由账单规则决定，不能修改"));
    }
    if payments.live == 0 {
        return Ok(false);
    }
    // Times of periodic fees mean their day.
    let same = |a: NaiveDateTime, b: NaiveDateTime| match fee.fee_flag.0 {
        FeeFlag::OneOff | FeeFlag::Unspecified => a == b,
        FeeFlag::Periodic | FeeFlag::Indirect => a.date() == b.date(),
    };
    if !same(new.start, fee.start_time) || !same(new.paid_through, fee.end_time) {
        return Err(Refusal::of(Reason::PaymentsContradict));
    }
    let Some(until) = payments.until else { return Ok(false) };
    let end = new.limit + TimeDelta::seconds(1);
    if end < until.and_time(NaiveTime::MIN) {
        return Err(Refusal::new(Reason::PaymentsContradict, "计费结束时间不能早于已缴费的时间"));
    }
    Ok(fee.end_time.date() >= new.limit.date().succ_opt().unwrap_or(new.limit.date()))
}

/// Judges whether a fee with new times would lie within the validity of its item.
///
/// # Errors
/// Returns the fault of a start after the end of the item, or of an end before its start.
pub fn within_item(fee: &FeeRow, item: &StoredItem, new: NewTimes) -> Result<(), Refusal> {
    let span = ChargedSpan { payer_obj_id: fee.payer_obj_id.clone(), start: new.start, end: Some(new.limit) };
    let faults = spans::outside(&[span], item.start_time, item.end_time, FIELDS);
    if faults.is_empty() { Ok(()) } else { Err(Refusal::for_faults(faults)) }
}

/// Judges whether a fee may be ended by hand.
///
/// # Errors
/// Returns `FEE_CANNOT_FINISH` if it is ended.
pub fn may_finish(fee: &FeeRow) -> Result<(), Refusal> {
    if fee.state.0 == FeeState::Ended { Err(Refusal::of(Reason::FeeCannotFinish)) } else { Ok(()) }
}

/// Judges whether a fee may be deleted.
///
/// # Errors
/// Returns `FEE_HAS_PAYMENTS` if a payment line is live.
pub fn may_delete(payments: Payments) -> Result<(), Refusal> {
    if payments.live > 0 { Err(Refusal::of(Reason::FeeHasPayments)) } else { Ok(()) }
}
