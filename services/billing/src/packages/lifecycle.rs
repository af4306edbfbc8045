//! The life cycle of a package: draft, submitted, on sale, cancelled; and which step fits which state.
//!
//! ```text
//! draft ──submit──► submitted ──put on sale──► on sale
//!   └────────────────────┴──────cancel───────────┴────► cancelled
//! ```
//!
//! The code table has "approved" and "rejected" too. No documented call leads there for a retail
//! package, so no step fits them. Pure: the store locks the package and passes its state in.

use chrono::NaiveDate;
use communal_proto::billing::v1::{PackStateType, StateType};

use crate::vocabulary::lifetime::Lifetime;

/// A step in the life of a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Replaces the draft.
    Edit,
    /// Adds price rows.
    AddPrices,
    /// Changes price rows.
    ChangePrices,
    /// Submits for sale.
    Submit,
    /// Puts on sale.
    PutOnSale,
    /// Ends the life.
    Cancel,
}

impl Step {
    /// All steps.
    pub const ALL: [Self; 6] =
        [Self::Edit, Self::AddPrices, Self::ChangePrices, Self::Submit, Self::PutOnSale, Self::Cancel];

    /// The name of the step in Chinese.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Edit => "修改套餐",
            Self::AddPrices => "添加价格",
            Self::ChangePrices => "修改价格",
            Self::Submit => "申请上架",
            Self::PutOnSale => "上架",
            Self::Cancel => "作废",
        }
    }

    /// The name kept in the history.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Edit => "edit",
            Self::AddPrices => "add_prices",
            Self::ChangePrices => "change_prices",
            Self::Submit => "submit",
            Self::PutOnSale => "put_on_sale",
            Self::Cancel => "cancel",
        }
    }

    /// Returns true if a package in this state takes the step.
    #[must_use]
    pub fn fits(self, state: PackStateType) -> bool {
        use PackStateType::{Approved, Cancelled, Draft, OnSale, Rejected, Submitted, Unspecified};
        match (state, self) {
            (Draft, Self::Edit | Self::AddPrices | Self::ChangePrices | Self::Submit | Self::Cancel)
            | (Submitted, Self::PutOnSale | Self::Cancel)
            | (OnSale, Self::ChangePrices | Self::Cancel) => true,
            (Draft | Submitted | OnSale | Cancelled | Approved | Rejected | Unspecified, _) => false,
        }
    }
}

/// Returns whether a package can be sold on a day.
#[must_use]
pub fn sellable(state: PackStateType, lifetime: Lifetime, day: NaiveDate) -> StateType {
    if state == PackStateType::OnSale && lifetime.covers(day) { StateType::Enabled } else { StateType::Disabled }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn day(day: u32) -> NaiveDate {
        NaiveDate::from_ymd_opt(2024, 3, day).unwrap()
    }

    #[test]
    fn each_state_takes_its_steps_and_no_other() {
        use PackStateType as S;
        let taken = |state: S| Step::ALL.into_iter().filter(|step| step.fits(state)).collect::<Vec<_>>();
        assert_eq!(taken(S::Draft), [Step::Edit, Step::AddPrices, Step::ChangePrices, Step::Submit, Step::Cancel]);
        assert_eq!(taken(S::Submitted), [Step::PutOnSale, Step::Cancel]);
        assert_eq!(taken(S::OnSale), [Step::ChangePrices, Step::Cancel]);
        for dead_end in [S::Cancelled, S::Approved, S::Rejected, S::Unspecified] {
            assert_eq!(taken(dead_end), [], "{dead_end:?}");
        }
    }

    #[test]
    fn the_stop_date_is_the_first_day_no_longer_in_force() {
        let march = Lifetime { start: Some(day(5)), stop: Some(day(10)) };
        for (when, expected) in
            [(4, StateType::Disabled), (5, StateType::Enabled), (9, StateType::Enabled), (10, StateType::Disabled)]
        {
            assert_eq!(sellable(PackStateType::OnSale, march, day(when)), expected, "on day {when}");
        }
        assert_eq!(sellable(PackStateType::Submitted, march, day(6)), StateType::Disabled);
        assert_eq!(sellable(PackStateType::OnSale, Lifetime::default(), day(6)), StateType::Disabled);
    }
}
