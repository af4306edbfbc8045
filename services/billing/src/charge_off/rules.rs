//! Which billing points may be charged off. Pure.

use communal_kit::objections::Objections;
use communal_proto::billing::v1::fields::{charge_off_request::POINTS, point_to_charge_off};
use communal_proto::billing::v1::{NormalRetroType, PointToChargeOff, Reason};
use communal_proto::{Fault, FieldPath, Reason as _};

use crate::archive::settlement_accounts::lifecycle::unknown_account;
use crate::calculation::rules::of_other_month;

/// A point as a call names it: the account, and normal or retro.
pub type NamedPoint = (String, NormalRetroType);

/// Where a point stands that is to be charged off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The account month that is open today.
    pub open_month: Option<i32>,
    /// The point that is not charged off.
    pub point: Option<OpenPoint>,
    /// True if a bill of the kind exists in the open month.
    pub charged_off: bool,
    /// The version of the account's accumulators.
    pub accumulator_version: i64,
    /// The months in which its temporary package priced it.
    pub temporary_months_used: i32,
}

/// A point that is not charged off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenPoint {
    /// Its account month.
    pub account_month: i32,
    /// True if the meter or the customer changed since it was made.
    pub outdated: bool,
    /// What its calculation began with; `None` if it has none.
    pub calculated: Option<Began>,
}

/// What a calculation began with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Began {
    /// The version of the accumulators.
    pub accumulator_version: i64,
    /// The months in which the temporary package had priced the account.
    pub temporary_months_used: i32,
}

/// What charge-off does with a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is charged off.
    ChargeOff,
    /// It was charged off before: nothing moves.
    Done,
}

/// Returns what charge-off does with a point.
///
/// # Errors
/// Returns the reason of a point that cannot be charged off, with its words in English and Chinese: `NOT_CALCULATED`,
/// `ACCOUNT_MONTH_NOT_OPEN` and `CALCULATION_OUTDATED`.
pub fn step(standing: &Standing, kind: NormalRetroType) -> Result<Step, (Reason, String, String)> {
    let refuse = |reason, english: &str, chinese: &str| Err((reason, english.to_owned(), chinese.to_owned()));
    let Some(point) = standing.point else {
        if standing.charged_off {
            return Ok(Step::Done);
        }
        return refuse(
            Reason::NotCalculated,
            "has no billing point that is not charged off: make one first",
            "没有未出账的计费信息，请先生成",
        );
    };
    if standing.open_month != Some(point.account_month) {
        let (english, chinese) = of_other_month(point.account_month, standing.open_month, kind);
        return Err((Reason::AccountMonthNotOpen, english, chinese));
    }
    if point.outdated {
        return refuse(
            Reason::NotCalculated,
            "has a billing point of a meter or customer that it has no longer: make it again, and calculate it",
            "计费信息的装置或客户已变更，请重新生成并计算",
        );
    }
    let Some(began) = point.calculated else {
        return refuse(Reason::NotCalculated, "is not calculated", Reason::NotCalculated.text());
    };
    if began.accumulator_version != standing.accumulator_version
        || began.temporary_months_used != standing.temporary_months_used
    {
        return refuse(
            Reason::CalculationOutdated,
            "was billed since it was calculated: calculate it again",
            Reason::CalculationOutdated.text(),
        );
    }
    Ok(Step::ChargeOff)
}

/// The field of a row's account.
#[must_use]
pub fn at(row: usize) -> FieldPath {
    POINTS.at(row).then(point_to_charge_off::SETTLEMENT_ACCOUNT_ID)
}

/// Judges the points of a call in their order, by where they stand; `None` stands for an account that the company does not
/// have. Returns the rows that are charged off.
pub fn judge(
    points: &[PointToChargeOff],
    standing: impl Fn(&PointToChargeOff) -> Option<Standing>,
) -> (Vec<usize>, Objections) {
    let mut objections = Objections::default();
    let mut rows = Vec::with_capacity(points.len());
    let mut moved = std::collections::HashSet::with_capacity(points.len());
    for (row, point) in points.iter().enumerate() {
        let Some(standing) = standing(point) else {
            objections.push(Reason::SettlementAccountNotFound, unknown_account(at(row)));
            continue;
        };
        match step(&standing, point.run_kind()) {
            Ok(Step::Done) => {}
            // The accumulators move with the first bill, so that the second one's calculation does not fit them.
            Ok(Step::ChargeOff) if !moved.insert(point.settlement_account_id.as_str()) => {
                let reason = Reason::CalculationOutdated;
                let english = "has two bills in this call: calculate the second one after the first is charged off";
                objections.push(reason, Fault::rule(at(row), english, reason.text()));
            }
            Ok(Step::ChargeOff) => rows.push(row),
            Err((reason, english, chinese)) => objections.push(reason, Fault::rule(at(row), english, chinese)),
        }
    }
    (rows, objections)
}

/// Returns the rows that name a point which an earlier row names.
pub fn repeated(points: &[PointToChargeOff]) -> impl Iterator<Item = usize> {
    let mut known = std::collections::HashSet::with_capacity(points.len());
    points
        .iter()
        .enumerate()
        .filter(move |(_, point)| !known.insert((point.settlement_account_id.as_str(), point.run_kind)))
        .map(|(row, _)| row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_charged_off_once_in_its_month_by_the_accumulators_of_its_calculation() {
        let began = Began { accumulator_version: 3, temporary_months_used: 1 };
        let point = OpenPoint { account_month: 202_403, outdated: false, calculated: Some(began) };
        let base = Standing {
            open_month: Some(202_403),
            point: Some(point),
            charged_off: false,
            accumulator_version: 3,
            temporary_months_used: 1,
        };
        for (standing, expected) in [
            (base, Ok(Step::ChargeOff)),
            // A retro bill in a month that has one already.
            (Standing { charged_off: true, ..base }, Ok(Step::ChargeOff)),
            (Standing { point: None, charged_off: true, ..base }, Ok(Step::Done)),
            (Standing { point: None, ..base }, Err(Reason::NotCalculated)),
            (Standing { open_month: Some(202_404), ..base }, Err(Reason::AccountMonthNotOpen)),
            (Standing { open_month: None, ..base }, Err(Reason::AccountMonthNotOpen)),
            (Standing { point: Some(OpenPoint { calculated: None, ..point }), ..base }, Err(Reason::NotCalculated)),
            (Standing { point: Some(OpenPoint { outdated: true, ..point }), ..base }, Err(Reason::NotCalculated)),
            (Standing { accumulator_version: 4, ..base }, Err(Reason::CalculationOutdated)),
            (Standing { temporary_months_used: 2, ..base }, Err(Reason::CalculationOutdated)),
        ] {
            let found = step(&standing, NormalRetroType::Normal).map_err(|(reason, ..)| reason);
            assert_eq!(found, expected, "{standing:?}");
        }
    }
}
