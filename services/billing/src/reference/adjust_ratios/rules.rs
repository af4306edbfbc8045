//! The rules of adjust ratios. Pure.

use communal_proto::billing::v1::fields::adjust_ratio::STOP_DATE;
use communal_proto::{Checker, Fault, FieldPath};

use crate::vocabulary::dates::day;
use crate::vocabulary::lifetime::Lifetime;

/// Reads the days of a ratio; days that do not run forward go to the checker.
pub fn days(start_date: i32, stop_date: i32, place: FieldPath, checker: &mut Checker) -> Lifetime {
    let days = Lifetime { start: day(start_date), stop: day(stop_date) };
    if !days.is_forward() {
        let text = "停用日期应晚于启用日期（停用日期当天不再有效）";
        checker.push(Fault::rule(place.then(STOP_DATE), "is not after the start date", text));
    }
    days
}
