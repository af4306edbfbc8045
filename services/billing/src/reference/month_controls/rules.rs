//! The rules of month controls. Pure.

use chrono::NaiveDate;
use communal_kit::objections::Objections;
use communal_proto::billing::v1::fields::add_expend_month_control_request::MONTH;
use communal_proto::billing::v1::fields::month_control::{ACCOUNT_MONTH, START_DATE, STOP_DATE};
use communal_proto::billing::v1::{ChargeRuleType, MonthControl, Reason};
use communal_proto::{Checker, Fault};

use crate::vocabulary::dates::{AccountMonth, day};
use crate::vocabulary::identifiers::{CompanyId, StoreId};
use crate::vocabulary::tariff::Utility;

/// A month to open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMonth {
    /// The network company.
    pub network_company_id: CompanyId,
    /// Its store.
    pub network_store_id: StoreId,
    /// Utility.
    pub utility: Utility,
    /// The account month.
    pub month: AccountMonth,
    /// The part-month rule.
    pub part_month_rule: ChargeRuleType,
    /// The first day on which it is open.
    pub start: NaiveDate,
    /// The first day on which it is no longer open.
    pub stop: NaiveDate,
}

impl NewMonth {
    /// Reads a request; a window that does not run forward goes to the checker.
    pub fn read(given: &MonthControl, checker: &mut Checker) -> Option<Self> {
        let (start, stop) = (day(given.start_date)?, day(given.stop_date)?);
        if start >= stop {
            let text = "停用日期应晚于启用日期（停用日期当天不再有效）";
            checker.push(Fault::rule(MONTH.then(STOP_DATE), "is not after the start date", text));
        }
        Some(Self {
            network_company_id: given.network_company_id.as_str().into(),
            network_store_id: given.network_store_id.as_str().into(),
            utility: given.utility(),
            month: AccountMonth::read(given.account_month)?,
            part_month_rule: given.part_month_rule(),
            start,
            stop,
        })
    }
}

/// The latest month of a store and utility.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LatestMonth {
    /// The account month, yyyyMM.
    pub account_month: i32,
    /// The first day on which it is no longer open.
    pub stop_date: NaiveDate,
}

/// Judges whether a month may follow the latest one: both its month and its days come later. Months
/// may be left out.
#[must_use]
pub fn follows(new: &NewMonth, latest: Option<LatestMonth>) -> Objections {
    let mut objections = Objections::default();
    let Some(LatestMonth { account_month, stop_date }) = latest else { return objections };
    if new.month.number() <= account_month {
        let text = format!("账务月份应晚于已有的最后账务月份{account_month}");
        let fault = Fault::rule(MONTH.then(ACCOUNT_MONTH), format!("is not after {account_month}"), text);
        objections.push(Reason::MonthNotLater, fault);
    }
    if new.start < stop_date {
        let text = format!("启用日期不能早于上一账务月份的停用日期{stop_date}");
        let fault =
            Fault::rule(MONTH.then(START_DATE), format!("is before {stop_date}, the end of the month before"), text);
        objections.push(Reason::MonthNotLater, fault);
    }
    objections
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn month(account_month: i32, start_date: i32, stop_date: i32) -> MonthControl {
        let rule = ChargeRuleType::WholeMonth.into();
        MonthControl { account_month, start_date, stop_date, part_month_rule: rule, ..MonthControl::default() }
    }

    #[test]
    fn the_stop_date_is_the_first_day_no_longer_open() {
        let faults = |given: MonthControl| {
            let mut checker = Checker::default();
            NewMonth::read(&given, &mut checker).unwrap();
            checker.into_faults().into_iter().map(|f| f.field.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(faults(month(202_601, 20_260_101, 20_260_201)), Vec::<String>::new());
        assert_eq!(faults(month(202_601, 20_260_101, 20_260_101)), ["COM_EXPEND_CONTROL.OUTAGE_DATE"]);
    }

    #[test]
    fn a_later_month_has_later_days() {
        let latest = Some(LatestMonth { account_month: 202_601, stop_date: day(20_260_201).unwrap() });
        let objections = |given: MonthControl| {
            let new = NewMonth::read(&given, &mut Checker::default()).unwrap();
            follows(&new, latest).iter().map(|o| o.fault().field.to_string()).collect::<Vec<_>>()
        };
        // Months and days may be left out, and the window need not lie inside its month.
        assert!(objections(month(202_602, 20_260_201, 20_260_301)).is_empty());
        assert!(objections(month(202_605, 20_260_410, 20_260_420)).is_empty());
        assert_eq!(objections(month(202_602, 20_260_131, 20_260_301)), ["COM_EXPEND_CONTROL.STARTUP_DATE"]);
        let both = ["COM_EXPEND_CONTROL.ACCOUNT_MONTH", "COM_EXPEND_CONTROL.STARTUP_DATE"];
        assert_eq!(objections(month(202_601, 20_260_101, 20_260_201)), both);
    }
}
