//! The rules of month controls. Pure.

use chrono::NaiveDate;
use communal_kit::objections::Objections;
use communal_proto::billing::v1::fields::month_control::{START_DATE, STOP_DATE};
use communal_proto::billing::v1::{
    ChargeRuleType, MonthControl, MonthControlChange, Reason, SettleMonthControl, SettleMonthControlChange,
};
use communal_proto::contract::v1::{FaultKind, Reason as Common};
use communal_proto::{Checker, Fault, FieldName, FieldPath};

use super::{Kind, Series};
use crate::vocabulary::dates::{AccountMonth, day};

/// A month to open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMonth {
    /// The months that it joins.
    pub series: Series,
    /// The month.
    pub month: AccountMonth,
    /// The part-month rule; a settle month has none.
    pub part_month_rule: ChargeRuleType,
    /// The first day on which it is open.
    pub start: NaiveDate,
    /// The first day on which it is no longer open.
    pub stop: NaiveDate,
}

impl NewMonth {
    /// Reads an account month; a window that does not run forward goes to the checker.
    pub fn read(given: &MonthControl, checker: &mut Checker) -> Option<Self> {
        let series = Series::of(Kind::Account, &given.network_company_id, &given.network_store_id, given.utility());
        Self::within(series, given.account_month, (given.start_date, given.stop_date), given.part_month_rule(), checker)
    }

    /// Reads a settle month.
    pub fn read_settle(given: &SettleMonthControl, checker: &mut Checker) -> Option<Self> {
        let series = Series::of(Kind::Settle, &given.network_company_id, &given.network_store_id, given.utility());
        let none = ChargeRuleType::Unspecified;
        Self::within(series, given.settled_month, (given.start_date, given.stop_date), none, checker)
    }

    fn within(
        series: Series,
        month: i32,
        (start, stop): (i32, i32),
        part_month_rule: ChargeRuleType,
        checker: &mut Checker,
    ) -> Option<Self> {
        let (start, stop) = (day(start)?, day(stop)?);
        if start >= stop {
            checker.push(not_forward(series.kind));
        }
        Some(Self { series, month: AccountMonth::read(month)?, part_month_rule, start, stop })
    }
}

fn at(kind: Kind, field: FieldName) -> FieldPath {
    FieldPath::from(kind.block()).then(field)
}

fn not_forward(kind: Kind) -> Fault {
    let text = "停用日期应晚于启用日期（停用日期当天不再有效）";
    Fault::rule(at(kind, STOP_DATE), "is not after the start date", text)
}

/// The first month that a company may open. Earlier ones are mistypings.
const FIRST: i32 = 200_001;

/// Judges whether a month may be opened on a day: it is at most a year ahead. Months are opened in their order, so that one
/// far ahead would leave no place for those before it, and its partitions would stand for nothing. Its days may lie
/// further ahead, because a month may be open for good.
#[must_use]
pub fn out_of_reach(new: &NewMonth, today: NaiveDate) -> Option<Fault> {
    let latest = AccountMonth::of(today).a_year_later().number();
    let kind = new.series.kind;
    (!(FIRST..=latest).contains(&new.month.number())).then(|| Fault {
        field: at(kind, kind.month()),
        kind: FaultKind::Range,
        description: format!("is not between {FIRST} and {latest}, a year after the business month"),
        text: format!("月份必须在{FIRST}到{latest}之间，最晚为业务月份之后12个月"),
    })
}

/// The latest month of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LatestMonth {
    /// The month, yyyyMM.
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
    let kind = new.series.kind;
    if new.month.number() <= account_month {
        let text = format!("月份应晚于已有的最后月份{account_month}");
        let fault = Fault::rule(at(kind, kind.month()), format!("is not after {account_month}"), text);
        objections.push(Reason::MonthNotLater, fault);
    }
    if new.start < stop_date {
        let text = format!("启用日期不能早于上一月份的停用日期{stop_date}");
        let fault =
            Fault::rule(at(kind, START_DATE), format!("is before {stop_date}, the end of the month before"), text);
        objections.push(Reason::MonthNotLater, fault);
    }
    objections
}

/// A change of a month; what is `None` or unspecified stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The months that it is one of.
    pub series: Series,
    /// The month.
    pub month: AccountMonth,
    /// The new part-month rule.
    pub part_month_rule: ChargeRuleType,
    /// The new first day on which it is open.
    pub start: Option<NaiveDate>,
    /// The new first day on which it is no longer open.
    pub stop: Option<NaiveDate>,
}

impl Change {
    /// Reads a change of an account month.
    #[must_use]
    pub fn read(given: &MonthControlChange) -> Option<Self> {
        Some(Self {
            series: Series::of(Kind::Account, &given.network_company_id, &given.network_store_id, given.utility()),
            month: AccountMonth::read(given.account_month)?,
            part_month_rule: given.part_month_rule(),
            start: day(given.start_date),
            stop: day(given.stop_date),
        })
    }

    /// Reads a change of a settle month.
    #[must_use]
    pub fn read_settle(given: &SettleMonthControlChange) -> Option<Self> {
        Some(Self {
            series: Series::of(Kind::Settle, &given.network_company_id, &given.network_store_id, given.utility()),
            month: AccountMonth::read(given.settled_month)?,
            part_month_rule: ChargeRuleType::Unspecified,
            start: day(given.start_date),
            stop: day(given.stop_date),
        })
    }
}

/// A month as it is, with the days that bound its window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbourhood {
    /// The first day on which it is open.
    pub start_date: NaiveDate,
    /// The first day on which it is no longer open.
    pub stop_date: NaiveDate,
    /// The first and the last day on which something was created in it.
    pub first_use: Option<NaiveDate>,
    /// The last such day.
    pub last_use: Option<NaiveDate>,
    /// The end of the month before.
    pub stop_before: Option<NaiveDate>,
    /// The beginning of the month after.
    pub start_after: Option<NaiveDate>,
}

/// Judges whether a month may change: its window runs forward, stays between its neighbours, and holds every day on
/// which something was created in it.
#[must_use]
pub fn fits(change: &Change, now: &Neighbourhood) -> Objections {
    let mut objections = Objections::default();
    let kind = change.series.kind;
    let (start, stop) = (change.start.unwrap_or(now.start_date), change.stop.unwrap_or(now.stop_date));
    if start >= stop {
        objections.push(Common::FieldMalformed, not_forward(kind));
    }
    if let Some(before) = now.stop_before.filter(|before| start < *before) {
        let text = format!("启用日期不能早于上一月份的停用日期{before}");
        let fault = Fault::rule(at(kind, START_DATE), format!("is before {before}, the end of the month before"), text);
        objections.push(Reason::MonthsOverlap, fault);
    }
    if let Some(after) = now.start_after.filter(|after| *after < stop) {
        let text = format!("停用日期不能晚于下一月份的启用日期{after}");
        let fault = Fault::rule(at(kind, STOP_DATE), format!("is after {after}, the start of the month after"), text);
        objections.push(Reason::MonthsOverlap, fault);
    }
    if let Some(first) = now.first_use.filter(|first| *first < start) {
        let text = format!("{first}已产生业务数据，启用日期不能更晚");
        objections
            .push(Reason::MonthInUse, Fault::rule(at(kind, START_DATE), format!("is after a use on {first}"), text));
    }
    if let Some(last) = now.last_use.filter(|last| *last >= stop) {
        let text = format!("{last}已产生业务数据，停用日期应更晚");
        objections
            .push(Reason::MonthInUse, Fault::rule(at(kind, STOP_DATE), format!("is not after a use on {last}"), text));
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
    fn a_month_is_opened_a_year_ahead_at_most_and_may_stay_open_for_good() {
        let today = day(20_260_315).unwrap();
        let faults = |account_month: i32| {
            let new = NewMonth::read(&month(account_month, 20_260_301, 20_991_231), &mut Checker::default()).unwrap();
            out_of_reach(&new, today).map(|fault| format!("{} {}", fault.field, fault.text))
        };
        assert_eq!((faults(200_001), faults(202_603), faults(202_703)), (None, None, None));
        let text = "COM_EXPEND_CONTROL.ACCOUNT_MONTH 月份必须在200001到202703之间，最晚为业务月份之后12个月";
        for account_month in [199_912, 202_704, 999_912] {
            assert_eq!(faults(account_month).as_deref(), Some(text), "{account_month}");
        }
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

    #[test]
    fn a_window_moves_between_its_neighbours_and_around_its_uses() {
        let now = Neighbourhood {
            start_date: day(20_260_201).unwrap(),
            stop_date: day(20_260_301).unwrap(),
            first_use: day(20_260_210),
            last_use: day(20_260_220),
            stop_before: day(20_260_201),
            start_after: day(20_260_305),
        };
        let objections = |start_date: i32, stop_date: i32| {
            let given =
                SettleMonthControlChange { settled_month: 202_602, start_date, stop_date, ..Default::default() };
            let found = fits(&Change::read_settle(&given).unwrap(), &now);
            found.iter().map(|o| format!("{} {}", o.reason(), o.fault().field)).collect::<Vec<_>>()
        };
        assert!(objections(0, 0).is_empty() && objections(20_260_210, 20_260_221).is_empty());
        assert!(objections(20_260_201, 20_260_305).is_empty());
        let (start, stop) = ("COM_SETTLE_CONTROL.STARTUP_DATE", "COM_SETTLE_CONTROL.OUTAGE_DATE");
        assert_eq!(objections(20_260_131, 0), [format!("MONTHS_OVERLAP {start}")]);
        assert_eq!(objections(0, 20_260_306), [format!("MONTHS_OVERLAP {stop}")]);
        assert_eq!(objections(20_260_211, 0), [format!("MONTH_IN_USE {start}")]);
        assert_eq!(objections(0, 20_260_220), [format!("MONTH_IN_USE {stop}")]);
        assert_eq!(objections(20_260_301, 0), [format!("FIELD_MALFORMED {stop}"), format!("MONTH_IN_USE {start}")]);
    }
}
