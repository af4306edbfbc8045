//! The life cycle of a batch: created, asked to be undone, and decided by somebody else.

use communal_kit::refusal::Refusal;
use communal_proto::community::v1::{BatchState, Decision, Reason};

use super::Batch;

/// Judges whether a batch may be asked to be undone. A request that was refused may be made again.
///
/// # Errors
/// Returns `BATCH_NOT_FOUND` if there is none, and `BATCH_STATE` if it is asked for or done already.
pub fn may_apply(batch: Option<Batch>) -> Result<(), Refusal> {
    match batch.ok_or_else(not_found)?.state.0 {
        BatchState::Normal | BatchState::UndoRefused => Ok(()),
        BatchState::UndoRequested => Err(Refusal::new(Reason::BatchState, "该批次已申请取消")),
        BatchState::Undone | BatchState::Unspecified => Err(Refusal::new(Reason::BatchState, "该批次已取消")),
    }
}

/// Judges a decision, and returns the state that follows from it. `by` is who decides; `self_approval`
/// says whether that may be the applicant.
///
/// # Errors
/// Returns `BATCH_NOT_FOUND` if there is none, `BATCH_STATE` if nobody asked to undo it, and
/// `SELF_APPROVAL` if the applicant approves.
pub fn decide(batch: Option<Batch>, decision: Decision, by: &str, self_approval: bool) -> Result<BatchState, Refusal> {
    let batch = batch.ok_or_else(not_found)?;
    if batch.state.0 != BatchState::UndoRequested {
        return Err(Refusal::new(Reason::BatchState, "该批次没有待审核的取消申请"));
    }
    match decision {
        Decision::Approved if !self_approval && batch.applicant_id.as_deref() == Some(by) => {
            Err(Refusal::of(Reason::SelfApproval))
        }
        Decision::Approved => Ok(BatchState::Undone),
        Decision::Refused | Decision::Unspecified => Ok(BatchState::UndoRefused),
    }
}

/// Judges whether a batch may be undone: `paid` of its fees have live payment lines.
///
/// # Errors
/// Returns `FEE_HAS_PAYMENTS` with their number.
pub fn nothing_paid(paid: i64) -> Result<(), Refusal> {
    if paid == 0 {
        return Ok(());
    }
    Err(Refusal::new(Reason::FeeHasPayments, format!("该批次有{paid}笔费用存在缴费记录，不能取消，请先退费")))
}

fn not_found() -> Refusal {
    Refusal::of(Reason::BatchNotFound)
}
