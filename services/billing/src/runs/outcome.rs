//! Which accounts of a chunk are billed, and which are parked with their reason. Pure.

use std::collections::HashMap;

use chrono::NaiveDate;
use communal_proto::Reason as _;
use communal_proto::billing::v1::{NormalRetroType, Reason};

use crate::calculation::facts::{Pricing, Uncalculated, calculated, pricing};
use crate::calculation::rates::{PriceKey, RatesByKey, Unpriced};
use crate::calculation::rules::of_other_month;
use crate::calculation::store::UnpricedPoint;
use crate::charge_off::Settings;
use crate::charge_off::bill::Point;

/// An account that is not billed, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parked {
    /// The account.
    pub settlement_account_id: String,
    /// Its book.
    pub book_id: String,
    /// The reason that a call would be refused with.
    pub reason: &'static str,
    /// Its words in English.
    pub description: String,
    /// Its words for people.
    pub text: String,
}

impl Parked {
    fn new(point: &UnpricedPoint, reason: Reason, description: String, text: String) -> Self {
        Self {
            settlement_account_id: point.key.settlement_account_id.clone(),
            book_id: point.snapshot.book_id.clone(),
            reason: reason.name(),
            description,
            text,
        }
    }

    fn uncalculated(point: &UnpricedPoint, error: &Uncalculated) -> Self {
        Self::new(point, error.reason(), error.to_string(), error.chinese())
    }
}

/// A point of the month of a run, with what prices it.
#[derive(Debug)]
pub struct Priceable {
    point: UnpricedPoint,
    pricing: Pricing,
}

impl Priceable {
    /// What its rates are looked up by.
    #[must_use]
    pub fn key(&self) -> &PriceKey {
        &self.pricing.key
    }
}

/// Returns the accounts of points that were read in an earlier month and not charged off in it. Who runs this month has not said
/// that it bills what was read in that one: the points are made again by a call of their own, or readings of two months would be
/// one bill in silence.
#[must_use]
pub fn left_over(points: &HashMap<(String, NormalRetroType), UnpricedPoint>, account_month: i32) -> Vec<Parked> {
    let is_left = |point: &&UnpricedPoint| {
        point.open_month == Some(account_month)
            && point.key.account_month != account_month
            && !point.readings.registers.is_empty()
    };
    let mut left: Vec<_> = points.values().filter(is_left).collect();
    left.sort_unstable_by_key(|point| &point.key.settlement_account_id);
    let parked = |point: &UnpricedPoint| {
        let (english, chinese) = of_other_month(point.key.account_month, point.open_month, point.key.kind);
        Parked::new(point, Reason::AccountMonthNotOpen, english, chinese)
    };
    left.into_iter().map(parked).collect()
}

/// Tells points of the month that can be priced from those that are parked. Points of another month are of another run.
#[must_use]
pub fn priceable(
    mut points: HashMap<(String, NormalRetroType), UnpricedPoint>,
    account_month: i32,
    today: NaiveDate,
) -> (Vec<Priceable>, Vec<Parked>) {
    let (mut priceable, mut parked) = (Vec::with_capacity(points.len()), Vec::new());
    // Their keys are sorted instead of them: a point is large.
    let mut keys: Vec<_> = points.keys().cloned().collect();
    keys.sort_unstable();
    for point in keys.iter().filter_map(|key| points.remove(key)) {
        if point.open_month != Some(account_month) || point.key.account_month != account_month {
            continue;
        }
        match pricing(&point.facts(), today) {
            Ok(pricing) => priceable.push(Priceable { point, pricing }),
            Err(error) => parked.push(Parked::uncalculated(&point, &error)),
        }
    }
    (priceable, parked)
}

/// Calculates points and holds their bills against the bounds. Returns those to charge off; the others are parked.
#[must_use]
pub fn billable(
    priceable: Vec<Priceable>,
    rates: &RatesByKey,
    settings: &Settings,
    now: (NaiveDate, i32),
    parked: &mut Vec<Parked>,
) -> Vec<Point> {
    let mut billable = Vec::with_capacity(priceable.len());
    for Priceable { point, pricing } in priceable {
        let outcome = match rates.get(&pricing.key) {
            Some(Ok(priced)) => calculated(&point.facts(), &pricing, priced, now),
            Some(Err(unpriced)) => Err((*unpriced).into()),
            // Every key was asked for.
            None => Err(Unpriced::PackageNotInForce(pricing.key.day).into()),
        };
        let calculation = match outcome {
            Ok(calculation) => calculation,
            Err(error) => {
                parked.push(Parked::uncalculated(&point, &error));
                continue;
            }
        };
        let UnpricedPoint { key, snapshot, readings, .. } = point;
        let point = Point { key, snapshot, readings, calculation };
        match point.hold(&settings.bounds) {
            Ok(()) => billable.push(point),
            Err(bound) => parked.push(Parked {
                settlement_account_id: point.key.settlement_account_id,
                book_id: point.snapshot.book_id,
                reason: Reason::BillUnsafe.name(),
                description: bound.to_string(),
                text: bound.text(),
            }),
        }
    }
    billable
}
