//! Which points a call may calculate. Pure.

use std::collections::{BTreeSet, HashSet};

use chrono::NaiveDate;
use communal_kit::objections::Objections;
use communal_proto::billing::v1::fields::{calculate_fees_request::POINTS, point_to_calculate};
use communal_proto::billing::v1::{NormalRetroType, PointToCalculate, Reason};
use communal_proto::{Checker, Fault, FieldPath, Reason as _};

use super::facts::{Pricing, Uncalculated, calculated, pricing};
use super::rates::{PriceKey, RatesByKey};
use super::store::{Found, UnpricedPoint};
use super::stored::Calculation;
use crate::archive::settlement_accounts::lifecycle::unknown_account;
use crate::metering::points::PointKey;

/// The place of a point in the request.
fn place(row: usize) -> FieldPath {
    POINTS.at(row).then(point_to_calculate::SETTLEMENT_ACCOUNT_ID)
}

/// Reads the points of a request; a point that comes twice is at fault.
pub fn asked(points: &[PointToCalculate], checker: &mut Checker) -> Vec<(String, NormalRetroType)> {
    let mut seen = HashSet::new();
    let mut asked = Vec::with_capacity(points.len());
    for (row, point) in points.iter().enumerate() {
        let point = (point.settlement_account_id.clone(), point.run_kind());
        if !seen.insert(point.clone()) {
            checker.push(Fault::rule(place(row), "is a point that came before", "同一结算户的计费信息重复"));
        }
        asked.push(point);
    }
    asked
}

/// A point of the request that can be priced.
#[derive(Debug)]
pub struct Priceable<'f> {
    row: usize,
    point: &'f UnpricedPoint,
    pricing: Pricing,
}

/// Judges the points of a request, row by row, and returns those that can be priced.
pub fn priceable<'f>(
    asked: &[(String, NormalRetroType)],
    found: &'f Found,
    today: NaiveDate,
    objections: &mut Objections,
) -> Vec<Priceable<'f>> {
    let mut priceable = Vec::with_capacity(asked.len());
    for (row, (id, kind)) in asked.iter().enumerate() {
        if !found.accounts.contains(id) {
            objections.push(Reason::SettlementAccountNotFound, unknown_account(place(row)));
            continue;
        }
        let Some(point) = found.points.get(&(id.clone(), *kind)) else {
            let reason = Reason::PointNotOpen;
            let english = "has no billing point of this kind that is not charged off";
            objections.push(reason, Fault::rule(place(row), english, reason.text()));
            continue;
        };
        if let Some((reason, fault)) = not_open(point, place(row)) {
            objections.push(reason, fault);
            continue;
        }
        match pricing(&point.facts(), today) {
            Ok(pricing) => priceable.push(Priceable { row, point, pricing }),
            Err(error) => objections.push(error.reason(), fault(row, &error)),
        }
    }
    priceable
}

/// The fault of a point that is not of the month that is open.
fn not_open(point: &UnpricedPoint, field: FieldPath) -> Option<(Reason, Fault)> {
    let month = point.key.account_month;
    if point.open_month == Some(month) {
        return None;
    }
    let (english, chinese) = of_other_month(month, point.open_month, point.key.kind);
    Some((Reason::AccountMonthNotOpen, Fault::rule(field, english, chinese)))
}

/// The words, in English and Chinese, for a point of an account month that is not the one that is open, and what to do with it.
#[must_use]
pub fn of_other_month(month: i32, open: Option<i32>, kind: NormalRetroType) -> (String, String) {
    let Some(open) = open else {
        let english = "has no account month that is open today".to_owned();
        return (english, Reason::AccountMonthNotOpen.text().to_owned());
    };
    // Nothing moves a retro point into another month: it is discarded, and made of what is right now.
    let (english, chinese) = match kind {
        NormalRetroType::Retro => ("discard it (DiscardBillingPoint)", "请废弃（DiscardBillingPoint）后重新追补"),
        _ => ("make it again (CreateBillingInfo)", "请重新生成（CreateBillingInfo）"),
    };
    (
        format!("has a billing point of {month}, and {open} is open: {english}"),
        format!("计费信息属于{month}账务月份，当前开放{open}，{chinese}"),
    )
}

fn fault(row: usize, error: &Uncalculated) -> Fault {
    Fault::rule(place(row), error.to_string(), error.chinese())
}

/// What the points are priced by, each once.
#[must_use]
pub fn keys(points: &[Priceable<'_>]) -> BTreeSet<PriceKey> {
    points.iter().map(|point| point.pricing.key.clone()).collect()
}

/// Calculates the points; those that cannot be calculated are objected to.
pub fn calculations<'f>(
    points: &[Priceable<'f>],
    rates: &RatesByKey,
    now: (NaiveDate, i32),
    objections: &mut Objections,
) -> Vec<(&'f PointKey, Calculation)> {
    let mut calculations = Vec::with_capacity(points.len());
    for Priceable { row, point, pricing } in points {
        let outcome = match rates.get(&pricing.key) {
            Some(Ok(priced)) => calculated(&point.facts(), pricing, priced, now),
            Some(Err(unpriced)) => Err((*unpriced).into()),
            // Every key was asked for.
            None => Err(super::rates::Unpriced::PackageNotInForce(pricing.key.day).into()),
        };
        match outcome {
            Ok(calculation) => calculations.push((&point.key, calculation)),
            Err(error) => objections.push(error.reason(), fault(*row, &error)),
        }
    }
    calculations
}
