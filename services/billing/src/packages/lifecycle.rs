//! The life cycle of a package: draft, submitted, on sale, cancelled; and which step fits which state.
//!
//! ```text
//! draft ──submit──► submitted ──put on sale──► on sale
//!   └────────────────────┴──────cancel───────────┴────► cancelled
//! ```
//!
//! The code table has "approved" and "rejected" too. No documented call leads there, so no step fits them. Pure: the store locks the package and passes its state in.

use std::collections::HashMap;

use chrono::NaiveDate;
use communal_kit::objections::Objections;
use communal_proto::billing::v1::fields::sale_package_start;
use communal_proto::billing::v1::{GuaranteedPackageStart, PackStateType, Reason, SalePackageStart, StateType};
use communal_proto::{Coded, Fault, FieldPath};

use crate::reasons::unknown_package;
use crate::vocabulary::dates::day;
use crate::vocabulary::identifiers::PackageId;
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

/// Judges whether packages take a step. `named` are the packages of a request with their fields;
/// `states` are the states of those that exist.
#[must_use]
pub fn judge(step: Step, named: &[(FieldPath, PackageId)], states: &HashMap<&str, PackStateType>) -> Objections {
    let mut objections = Objections::default();
    for (field, package_id) in named {
        match states.get(package_id.as_str()) {
            None => objections.push(Reason::PackageNotFound, unknown_package(field.clone())),
            Some(state) if !step.fits(*state) => {
                objections.push(Reason::PackageState, unfit(step, *state, field.clone()));
            }
            Some(_) => {}
        }
    }
    objections
}

/// Returns the fault of a field that names a package in a state which the step does not fit.
#[must_use]
pub fn unfit(step: Step, state: PackStateType, field: impl Into<FieldPath>) -> Fault {
    let chinese = format!("套餐当前状态为{}，不能{}", state.title(), step.title());
    Fault::rule(field, format!("is in state {}, which does not take this", state.code()), chinese)
}

/// The beginning of a sale: which package, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SaleStart {
    /// Package.
    pub package_id: PackageId,
    /// Days in force.
    pub lifetime: Lifetime,
}

impl From<&SalePackageStart> for SaleStart {
    fn from(start: &SalePackageStart) -> Self {
        let lifetime = Lifetime { start: day(start.start_date), stop: day(start.stop_date) };
        Self { package_id: start.package_id.as_str().into(), lifetime }
    }
}

impl From<&GuaranteedPackageStart> for SaleStart {
    fn from(start: &GuaranteedPackageStart) -> Self {
        let lifetime = Lifetime { start: day(start.start_date), stop: day(start.stop_date) };
        Self { package_id: start.package_id.as_str().into(), lifetime }
    }
}

impl SaleStart {
    /// The contradictions, as far as the dates are dates at all: a package goes on sale today at the
    /// earliest, and stops after it starts. `place` is the package in the request.
    #[must_use]
    pub fn faults(&self, place: &FieldPath, today: NaiveDate) -> Vec<Fault> {
        let mut faults = Vec::new();
        if self.lifetime.start.is_some_and(|start| start < today) {
            let field = place.clone().then(sale_package_start::START_DATE);
            faults.push(Fault::rule(field, "is before today", "启用日期不能早于今天"));
        }
        if !self.lifetime.is_forward() {
            faults.push(stops_too_early(place.clone().then(sale_package_start::STOP_DATE)));
        }
        faults
    }
}

/// Returns the fault of a stop date that is not after its start date.
#[must_use]
pub fn stops_too_early(field: FieldPath) -> Fault {
    Fault::rule(field, "is not after the start date", "停用日期应晚于启用日期")
}

/// Returns the lifetime of a package that is cancelled today. One that never was on sale keeps what its
/// draft planned.
#[must_use]
pub fn cancelled(state: PackStateType, lifetime: Lifetime, today: NaiveDate) -> Lifetime {
    if state == PackStateType::OnSale { lifetime.cut(today) } else { lifetime }
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
