//! The due instant: the day up to which a running fee is owed.
//!
//! Completed periods are counted by anchors. A prepaid period is due when it begins, a postpaid one
//! when it is over; a period that the limit cuts is over when the limit is. A day is due as a whole,
//! so the result is the first day that is not due.

use chrono::{NaiveDate, NaiveDateTime};

use super::fee::{Running, days_before, midnight};
use super::{ItemTerms, months};

/// Returns the first day of a running fee that is not due at `now`.
#[must_use]
pub fn not_due_from(item: &ItemTerms, fee: &Running, now: NaiveDateTime) -> NaiveDate {
    let today = now.date();
    if today >= fee.end {
        return fee.end;
    }
    let cycle = item.cycle.get();
    let periods =
        if today < fee.start { 0 } else { months::completed(fee.start, today) / cycle + u32::from(item.is_prepaid()) };
    // A day beyond the calendar is beyond the limit.
    let end_of = |periods: u32| periods.checked_mul(cycle).and_then(|m| months::anchor(fee.start, m));
    let Some(due) = end_of(periods) else { return fee.end };
    // The prepayment window opens one more period, and only if everything before it is paid.
    let window = item.window();
    let open = window > 0 && fee.unpaid == due && now > days_before(midnight(due), window);
    let due = if open { end_of(periods + 1) } else { Some(due) };
    due.map_or(fee.end, |due| due.min(fee.end))
}
