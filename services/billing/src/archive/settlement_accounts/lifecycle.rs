//! The life of a settlement account, and of the business processes that move it.
//!
//! ```text
//!              new: parameters ──► meter ─┐
//!                        └─ no meter ─────┤
//!                                         ▼
//!   change, transfer: parameters ──► archived ◄── meter :swap
//!                                         │
//!                                   close: meter
//!                                         ▼
//!                                      closed
//!
//!   any process: withdrawn ──► archived as before; a new connection: withdrawn
//! ```
//!
//! An account has one open process at most. Applying opens it, verification carries it out, and until then it can be withdrawn. Pure: the store locks the
//! account and passes its standing in.

use communal_proto::billing::v1::{BusCategType, BusStateType, Reason};
use communal_proto::{Coded, Fault, FieldPath, Reason as _};

/// The state of an account. The documents have no code for it; these are ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccountState {
    /// A new connection is under way.
    #[default]
    Connecting,
    /// It can be billed.
    Archived,
    /// It is closed.
    Closed,
    /// Its new connection was withdrawn; it was never supplied.
    Withdrawn,
}

impl Coded for AccountState {
    const NAME: &'static str = "AccountState";

    fn stored(self) -> Option<&'static str> {
        Some(match self {
            Self::Connecting => "1",
            Self::Archived => "2",
            Self::Closed => "3",
            Self::Withdrawn => "4",
        })
    }

    fn title(self) -> &'static str {
        match self {
            Self::Connecting => "新装中",
            Self::Archived => "已归档",
            Self::Closed => "已销户",
            Self::Withdrawn => "新装已撤销",
        }
    }

    fn from_code(code: &str) -> Option<Self> {
        let states = [Self::Connecting, Self::Archived, Self::Closed, Self::Withdrawn];
        states.into_iter().find(|state| state.stored() == Some(code))
    }
}

impl AccountState {
    /// Returns true if the account was archived, whether or not it is closed now: it has a bill or will have one.
    #[must_use]
    pub fn was_archived(self) -> bool {
        match self {
            Self::Archived | Self::Closed => true,
            Self::Connecting | Self::Withdrawn => false,
        }
    }
}

/// Where an account stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Its state.
    pub state: AccountState,
    /// Kind and state of its open process.
    pub open: Option<(BusCategType, BusStateType)>,
    /// True if a meter is installed.
    pub metered: bool,
}

/// A step in the life of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Opens a process of a kind on an account that exists.
    Apply(BusCategType),
    /// Sets the parameters of the meter point, in a process of a kind.
    SetParameters {
        /// The kind of process that the caller carries out.
        kind: BusCategType,
        /// True if the meter point has a meter by these parameters.
        metered: bool,
    },
    /// Installs, swaps or takes off the meter, in a process of a kind.
    ServeMeter(BusCategType),
    /// Withdraws the open process, which is of a kind.
    Withdraw(BusCategType),
}

/// What a step leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The process is open and waits for this.
    Waits(BusStateType),
    /// The process is complete and the account archived.
    Archived,
    /// The process is complete and the account closed.
    Closed,
    /// The process is withdrawn, and the account in this state.
    Withdrawn(AccountState),
}

/// Returns what a step leads to; `None` if the account does not take it.
#[must_use]
pub fn outcome(standing: Standing, step: Step) -> Option<Outcome> {
    use AccountState::{Archived, Closed, Connecting, Withdrawn};
    use BusCategType::{Change, Close, MeterSwap, New, Transfer};
    use BusStateType::{Meter, Parameters};
    match (standing.state, standing.open, step) {
        // An archived account without an open process takes an application; a swap needs a meter.
        (Archived, None, Step::Apply(Change | Transfer)) => Some(Outcome::Waits(Parameters)),
        (Archived, None, Step::Apply(Close)) => Some(Outcome::Waits(Meter)),
        (Archived, None, Step::Apply(MeterSwap)) if standing.metered => Some(Outcome::Waits(Meter)),
        // A new connection gets its parameters, then its meter if it has one.
        (Connecting, Some((New, Parameters)), Step::SetParameters { kind: New, metered: true }) => {
            Some(Outcome::Waits(Meter))
        }
        (Connecting, Some((New, Parameters)), Step::SetParameters { kind: New, metered: false }) => {
            Some(Outcome::Archived)
        }
        (Connecting, Some((New, Meter)), Step::ServeMeter(New)) => Some(Outcome::Archived),
        // Other parameters, or another user account, and the same meter as before: none or one.
        (Archived, Some((Change, Parameters)), Step::SetParameters { kind: Change, metered })
        | (Archived, Some((Transfer, Parameters)), Step::SetParameters { kind: Transfer, metered })
            if metered == standing.metered =>
        {
            Some(Outcome::Archived)
        }
        // Another meter, or none any more.
        (Archived, Some((MeterSwap, Meter)), Step::ServeMeter(MeterSwap)) => Some(Outcome::Archived),
        (Archived, Some((Close, Meter)), Step::ServeMeter(Close)) => Some(Outcome::Closed),
        // Nothing of a process counts before it is complete, so that the account is as before without it.
        (Connecting, Some((New, _)), Step::Withdraw(New)) => Some(Outcome::Withdrawn(Withdrawn)),
        (Archived, Some((kind, _)), Step::Withdraw(asked)) if kind == asked => Some(Outcome::Withdrawn(Archived)),
        (Connecting | Archived | Closed | Withdrawn, _, _) => None,
    }
}

/// Returns the fault of a field that names an account which does not take the step.
#[must_use]
pub fn unfit(standing: Standing, field: impl Into<FieldPath>) -> Fault {
    let state = standing.state;
    let Some((kind, waits)) = standing.open else {
        let text = format!("结算户{}，没有在办业务，不能办理此业务", state.title());
        return Fault::rule(field, format!("is in state {} without an open process", state.code()), text);
    };
    let text = format!("结算户{}，在办业务为{}（{}），不能办理此业务", state.title(), kind.title(), waits.title());
    let english = format!("is in state {} with process {} in state {}", state.code(), kind.code(), waits.code());
    Fault::rule(field, english, text)
}

/// Returns the fault of a field that names an account which the company does not have.
#[must_use]
pub fn unknown_account(field: impl Into<FieldPath>) -> Fault {
    Fault::rule(field, "is no settlement account of the calling company", Reason::SettlementAccountNotFound.text())
}

/// Returns the fault of a field by which a transfer leads to the customer who has the account already: nobody would have
/// another account by it, and the open billing point would be outdated all the same.
#[must_use]
pub fn same_owner(owner: &str, new_owner: &str, field: impl Into<FieldPath>) -> Option<Fault> {
    let english = "leads to the customer who has the account already";
    (owner == new_owner).then(|| Fault::rule(field, english, "过户的用户账户属于结算户现有客户，无需过户"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [BusCategType; 6] = [
        BusCategType::New,
        BusCategType::Change,
        BusCategType::MeterSwap,
        BusCategType::Close,
        BusCategType::Retro,
        BusCategType::Transfer,
    ];

    fn standing(state: AccountState, open: Option<(BusCategType, BusStateType)>, metered: bool) -> Standing {
        Standing { state, open, metered }
    }

    /// All steps that a standing takes.
    fn taken(standing: Standing) -> Vec<(Step, Outcome)> {
        let of = |kind| {
            let parameters = [false, true].map(|metered| Step::SetParameters { kind, metered });
            [Step::Apply(kind), parameters[0], parameters[1], Step::ServeMeter(kind), Step::Withdraw(kind)]
        };
        KINDS.into_iter().flat_map(of).filter_map(|step| Some((step, outcome(standing, step)?))).collect()
    }

    #[test]
    fn each_standing_takes_its_steps_and_no_other() {
        use AccountState::{Archived, Closed, Connecting, Withdrawn};
        use BusCategType::{Change, Close, MeterSwap, New, Transfer};
        use BusStateType::{Archive, Meter, Parameters};
        let wait = Outcome::Waits;
        let withdrawn = |kind, state| (Step::Withdraw(kind), Outcome::Withdrawn(state));
        let applied = [
            (Step::Apply(Change), wait(Parameters)),
            (Step::Apply(Close), wait(Meter)),
            (Step::Apply(Transfer), wait(Parameters)),
        ];
        assert_eq!(taken(standing(Archived, None, false)), applied);
        let swap = (Step::Apply(MeterSwap), wait(Meter));
        assert_eq!(taken(standing(Archived, None, true)), [applied[0], swap, applied[1], applied[2]]);
        assert_eq!(
            taken(standing(Connecting, Some((New, Parameters)), false)),
            [
                (Step::SetParameters { kind: New, metered: false }, Outcome::Archived),
                (Step::SetParameters { kind: New, metered: true }, wait(Meter)),
                withdrawn(New, Withdrawn),
            ]
        );
        assert_eq!(
            taken(standing(Connecting, Some((New, Meter)), false)),
            [(Step::ServeMeter(New), Outcome::Archived), withdrawn(New, Withdrawn)]
        );
        for kind in [Change, Transfer] {
            for metered in [false, true] {
                let step = Step::SetParameters { kind, metered };
                let steps = [(step, Outcome::Archived), withdrawn(kind, Archived)];
                assert_eq!(taken(standing(Archived, Some((kind, Parameters)), metered)), steps);
            }
        }
        assert_eq!(
            taken(standing(Archived, Some((MeterSwap, Meter)), true)),
            [(Step::ServeMeter(MeterSwap), Outcome::Archived), withdrawn(MeterSwap, Archived)]
        );
        assert_eq!(
            taken(standing(Archived, Some((Close, Meter)), true)),
            [(Step::ServeMeter(Close), Outcome::Closed), withdrawn(Close, Archived)]
        );
        // Everything else is a dead end.
        let dead_ends = KINDS
            .into_iter()
            .flat_map(|kind| [Parameters, Meter, Archive].map(|waits| (kind, waits)))
            .flat_map(|open| [Closed, Withdrawn].map(|state| standing(state, Some(open), true)));
        let without = [Closed, Withdrawn, Connecting].map(|state| standing(state, None, false));
        for dead_end in dead_ends.chain(without) {
            assert_eq!(taken(dead_end), [], "{dead_end:?}");
        }
    }
}
