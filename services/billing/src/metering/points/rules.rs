//! When a normal billing point may be made, and what becomes of the one before. Pure.
//!
//! ```text
//!  no point ──► open ──► charged off ──► (the next month) no point
//!               │  ▲
//!               └──┘ made again; in the next month it moves there
//! ```

use communal_proto::billing::v1::Reason;
use communal_proto::{Coded as _, Fault, FieldPath, Reason as _};

use crate::archive::settlement_accounts::lifecycle::AccountState;

/// Where an account stands before its point is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Its state.
    pub state: AccountState,
    /// The account month that is open today.
    pub open_month: Option<i32>,
    /// The account month of its point that is not charged off.
    pub open_point: Option<i32>,
    /// True if it is charged off in the open month.
    pub charged_off: bool,
    /// True if it was charged off after it was closed.
    pub finally_billed: bool,
}

/// How a point is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Making {
    /// The account has no open point.
    New {
        /// The account month.
        month: i32,
    },
    /// The open point gets a fresh snapshot, and goes into the open month if it is of another one.
    Again {
        /// Its account month.
        from: i32,
        /// The open account month.
        month: i32,
    },
}

impl Making {
    /// The account month of the point.
    #[must_use]
    pub fn month(self) -> i32 {
        match self {
            Self::New { month } | Self::Again { month, .. } => month,
        }
    }
}

/// Returns how the point of an account is made.
///
/// # Errors
/// Returns the reason and fault of an account whose point cannot be made: `ACCOUNT_STATE` if it is not archived, or is
/// closed and finally billed, `ACCOUNT_MONTH_NOT_OPEN`, and `ACCOUNT_CHARGED_OFF`.
pub fn making(standing: &Standing, field: impl Into<FieldPath>) -> Result<Making, (Reason, Fault)> {
    let state = standing.state;
    if !state.was_archived() || state == AccountState::Closed && standing.finally_billed {
        let text = format!("结算户{}，不能生成计费信息", state.title());
        let english = format!("is in state {} and cannot be billed", state.code());
        return Err((Reason::AccountState, Fault::rule(field, english, text)));
    }
    let Some(month) = standing.open_month else {
        let reason = Reason::AccountMonthNotOpen;
        return Err((reason, Fault::rule(field, "has no account month that is open today", reason.text())));
    };
    if let Some(from) = standing.open_point.filter(|from| *from == month || !standing.charged_off) {
        return Ok(Making::Again { from, month });
    }
    if standing.charged_off {
        let text = format!("结算户{month}账务月份已出账");
        return Err((Reason::AccountChargedOff, Fault::rule(field, format!("is charged off in {month}"), text)));
    }
    Ok(Making::New { month })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_made_once_a_month_and_again_until_it_is_charged_off() {
        use AccountState::{Archived, Closed, Connecting, Withdrawn};
        let base = Standing { state: Archived, open_month: Some(202_402), ..Standing::default() };
        let made = |standing: Standing| making(&standing, "A").map_err(|(reason, _)| reason);
        let again = |from| Ok(Making::Again { from, month: 202_402 });
        let new = Ok(Making::New { month: 202_402 });
        for (standing, expected) in [
            (base, new),
            (Standing { open_point: Some(202_402), ..base }, again(202_402)),
            // The point of an earlier month moves to the open one.
            (Standing { open_point: Some(202_401), ..base }, again(202_401)),
            (Standing { charged_off: true, ..base }, Err(Reason::AccountChargedOff)),
            // An account that moved to a store whose open month it is charged off in already.
            (Standing { open_point: Some(202_403), charged_off: true, ..base }, Err(Reason::AccountChargedOff)),
            (Standing { open_month: None, ..base }, Err(Reason::AccountMonthNotOpen)),
            (Standing { open_month: None, open_point: Some(202_401), ..base }, Err(Reason::AccountMonthNotOpen)),
            (Standing { state: Connecting, ..base }, Err(Reason::AccountState)),
            (Standing { state: Withdrawn, ..base }, Err(Reason::AccountState)),
            (Standing { state: Closed, ..base }, new),
            (Standing { state: Closed, open_point: Some(202_401), ..base }, again(202_401)),
            // Its last bill waits for the next month.
            (Standing { state: Closed, charged_off: true, ..base }, Err(Reason::AccountChargedOff)),
            (Standing { state: Closed, finally_billed: true, ..base }, Err(Reason::AccountState)),
        ] {
            assert_eq!(made(standing), expected, "{standing:?}");
        }
    }
}
