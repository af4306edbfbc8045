//! The plan of what a request does to the versions of catalogue prices, made before anything is written.
//!
//! A version in force is closed and the next one opened, so that a bill that is calculated for an earlier day finds
//! the price of that day. What a bill has used does not change for days before today; a version that none has used may be
//! corrected in place. Either every row of a request can be carried out, or all objections are named. Pure: the
//! versions are read under the company's lock and passed in.

use std::collections::{HashMap, HashSet};

use chrono::NaiveDate;
use communal_kit::objections::{Objection, Objections};
use communal_proto::billing::v1::fields::main_price as fields;
use communal_proto::billing::v1::{Reason, YesNo};
use communal_proto::contract::v1::Reason as Common;
use communal_proto::{Fault, FieldName, Reason as _};

use super::row::{AskedPrice, PriceOperation, place};
use super::{Key, Version, VersionValues};
use crate::vocabulary::lifetime::Lifetime;
use crate::vocabulary::matrix::ladder_gaps;
use crate::vocabulary::tariff::Utility;

/// The items of the company's catalogue that a request may name.
#[derive(Clone, Debug, Default)]
pub struct KnownItems {
    /// Account items with their utility.
    pub account_items: HashSet<(String, Utility)>,
    /// Category items with their utility, and yes for a surcharge.
    pub category_items: HashSet<(i64, Utility, YesNo)>,
}

/// Objects to items that the catalogue does not have.
#[must_use]
pub fn unknown_items(asked: &[AskedPrice], known: &KnownItems) -> Objections {
    let mut objections = Objections::default();
    for asked in asked {
        let tariff = &asked.key.tariff;
        let mut object = |reason: Reason, field| {
            let fault = Fault::rule(place(asked.row, field), "is none of the company and utility", reason.text());
            objections.push(reason, fault);
        };
        if !known.account_items.contains(&(tariff.account_item.clone(), tariff.utility)) {
            object(Reason::AccountItemNotFound, fields::ACCOUNT_ITEM);
        }
        if !known.category_items.contains(&(asked.main_item, tariff.utility, YesNo::No)) {
            object(Reason::CategoryItemNotFound, fields::MAIN_CATEGORY_ITEM);
        }
        let surcharge = asked.key.attached.map(|(_, surcharge)| (surcharge, tariff.utility, YesNo::Yes));
        if surcharge.is_some_and(|surcharge| !known.category_items.contains(&surcharge)) {
            object(Reason::CategoryItemNotFound, fields::SURCHARGE_ITEM);
        }
    }
    objections
}

/// Everything that a request does to versions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VersionPlan {
    /// Versions whose price, unit or stop date changes, as they are after it.
    pub changed: Vec<Version>,
    /// Versions that are opened.
    pub opened: Vec<Version>,
}

/// Plans the operations of a request. `known` are all versions of its account items. The plan counts only if there is
/// no objection.
pub fn plan(known: Vec<Version>, asked: &[AskedPrice], today: NaiveDate, objections: &mut Objections) -> VersionPlan {
    let mut versions = known.clone();
    let mut seen = HashMap::new();
    for asked in asked {
        if let Some(first) = seen.insert(&asked.key, asked.row) {
            let chinese = format!("与{}是同一价格", place(first, fields::ACCOUNT_ITEM));
            let english = format!("names the price of row {first}");
            objections
                .push(Common::FieldMalformed, Fault::rule(place(asked.row, fields::ACCOUNT_ITEM), english, chinese));
        } else if let Err(objection) = carry_out(&mut versions, asked, today) {
            objections.extend([*objection]);
        }
    }
    if objections.is_empty() {
        object_to_broken_ladders(&versions, asked, objections);
    }
    objections.sort_by_row();
    let (opened, kept): (Vec<_>, Vec<_>) = versions.into_iter().partition(|version| version.price_id.is_none());
    let changed = kept.into_iter().zip(known).filter(|(after, before)| after != before).map(|(after, _)| after);
    VersionPlan { changed: changed.collect(), opened }
}

/// Carries out one operation on the versions.
fn carry_out(versions: &mut Vec<Version>, asked: &AskedPrice, today: NaiveDate) -> Result<(), Box<Objection>> {
    match asked.operation {
        PriceOperation::Add { start } => {
            let values =
                asked.price.map(|price| VersionValues { price, unit: asked.unit.clone(), limits: asked.limits });
            let values = values.ok_or_else(|| asked.objection(Common::FieldMissing, fields::PRICE, "is required"))?;
            open(versions, asked, start, values)
        }
        PriceOperation::Adjust { start } => {
            let current = of_key(versions, &asked.key).find(|version| version.span.covers(start));
            let current = asked.of_its_item(current)?;
            asked.leaves_bills(current, start, today)?;
            current.span.stop = Some(start);
            let values = VersionValues { limits: asked.limits, ..asked.over(&current.values) };
            open(versions, asked, start, values)
        }
        PriceOperation::Correct => {
            let not_over = of_key(versions, &asked.key).filter(|version| !version.span.ended(today));
            let current = asked.of_its_item(not_over.min_by_key(|version| version.span.start))?;
            if current.billed && (asked.price.is_some() || !asked.unit.is_empty()) {
                return Err(asked.objection(Reason::PriceBilled, fields::PRICE, "was used by a bill"));
            }
            current.values = asked.over(&current.values);
            if let Some(stop) = asked.stop {
                asked.leaves_bills(current, stop, today)?;
                current.span.stop = Some(stop);
                let span = current.span;
                if !span.is_forward() {
                    return Err(asked.objection(
                        Common::FieldMalformed,
                        fields::STOP_DATE,
                        "is not after the start date",
                    ));
                }
                if of_key(versions, &asked.key).filter(|other| overlap(other.span, span)).count() > 1 {
                    return Err(asked.objection(Reason::PriceExists, fields::STOP_DATE, "is beyond the next version"));
                }
            }
            Ok(())
        }
        PriceOperation::Close => {
            let day = asked.stop.unwrap_or(today);
            // Without a stop date, a row that has not begun today never begins. A stop date that is given leaves it a day.
            let first = of_key(versions, &asked.key).filter_map(|version| version.span.start).min();
            if asked.stop.is_some() && first.is_some_and(|first| day <= first) {
                let english = "is not after the start date of the first version";
                return Err(asked.objection(Common::FieldMalformed, fields::STOP_DATE, english));
            }
            let mut closed = false;
            for version in of_key(versions, &asked.key).filter(|version| !version.span.ended(day)) {
                let version = asked.of_its_item(Some(version))?;
                asked.leaves_bills(version, day, today)?;
                version.span = version.span.cut(day);
                closed = true;
            }
            if closed { Ok(()) } else { asked.of_its_item(None).map(drop) }
        }
    }
}

/// Opens a version, unless its row has another on one of its days or its tariff another main item.
fn open(
    versions: &mut Vec<Version>,
    asked: &AskedPrice,
    start: NaiveDate,
    values: VersionValues,
) -> Result<(), Box<Objection>> {
    let span = Lifetime { start: Some(start), stop: asked.stop };
    let key = &asked.key;
    for other in versions.iter().filter(|other| other.key.tariff == key.tariff && overlap(other.span, span)) {
        if key.attached.is_none() && other.main_item != asked.main_item {
            return Err(asked.objection(
                Reason::MainItemDiffers,
                fields::MAIN_CATEGORY_ITEM,
                "is not that of the tariff",
            ));
        }
        if other.key == *key {
            return Err(asked.objection(Reason::PriceExists, fields::ACCOUNT_ITEM, "has a price on one of these days"));
        }
    }
    let (key, main_item) = (key.clone(), asked.main_item);
    versions.push(Version { price_id: None, key, main_item, values, span, billed: false });
    Ok(())
}

/// The versions of a row that are in force on any day.
fn of_key<'v>(versions: &'v mut [Version], key: &Key) -> impl Iterator<Item = &'v mut Version> {
    versions.iter_mut().filter(move |version| version.key == *key && version.span.is_forward())
}

/// Returns true if both are in force on some day.
fn overlap(a: Lifetime, b: Lifetime) -> bool {
    let begins_before_end =
        |a: Lifetime, b: Lifetime| b.stop.is_none_or(|stop| a.start.is_some_and(|start| start < stop));
    a.is_forward() && b.is_forward() && begins_before_end(a, b) && begins_before_end(b, a)
}

impl AskedPrice {
    fn objection(&self, reason: impl communal_proto::Reason, field: FieldName, english: &str) -> Box<Objection> {
        let text = reason.text();
        Box::new(Objection::new(reason, Fault::rule(place(self.row, field), english, text)))
    }

    /// Returns the version, unless there is none or it is booked on another main item.
    fn of_its_item<'v>(&self, version: Option<&'v mut Version>) -> Result<&'v mut Version, Box<Objection>> {
        let missing = || self.objection(Reason::PriceNotFound, fields::ACCOUNT_ITEM, "has no such price on this day");
        let version = version.ok_or_else(missing)?;
        if version.main_item != self.main_item {
            return Err(self.objection(
                Reason::MainItemDiffers,
                fields::MAIN_CATEGORY_ITEM,
                "is not that of the price",
            ));
        }
        Ok(version)
    }

    /// Refuses to change a version that a bill has used for a day before today.
    fn leaves_bills(&self, version: &Version, from: NaiveDate, today: NaiveDate) -> Result<(), Box<Objection>> {
        if version.billed && from < today {
            return Err(self.objection(
                Reason::PriceBilled,
                fields::ACCOUNT_ITEM,
                "has a price that was used by a bill",
            ));
        }
        Ok(())
    }

    /// The values after the request: what it leaves out stays.
    fn over(&self, before: &VersionValues) -> VersionValues {
        VersionValues {
            price: self.price.unwrap_or(before.price),
            unit: if self.unit.is_empty() { before.unit.clone() } else { self.unit.clone() },
            limits: before.limits,
        }
    }
}

/// Objects to tariffs whose tiers would not fit each other on a day on which the request opens a version. Tiers that are not
/// all there yet are not judged.
fn object_to_broken_ladders(versions: &[Version], asked: &[AskedPrice], objections: &mut Objections) {
    let mut judged = HashSet::new();
    for first in asked {
        let (PriceOperation::Add { start } | PriceOperation::Adjust { start }) = first.operation else { continue };
        let tariff = &first.key.tariff;
        if first.key.attached.is_some() || !judged.insert((tariff, start)) {
            continue;
        }
        let in_force = versions.iter().filter(|v| v.key.tariff == *tariff && v.span.covers(start));
        let in_force = in_force.map(|version| (version.key.dimensions(), version.values.limits));
        let of_tariff = asked.iter().filter(|asked| asked.key.tariff == *tariff);
        let requested: Vec<_> = of_tariff.map(|asked| (asked.key.dimensions(), asked.row)).collect();
        let whole = usize::try_from(tariff.tiers as i32).unwrap_or_default();
        for (row, field, gap) in ladder_gaps(whole, in_force, &requested) {
            let fault = Fault::rule(place(row, field), gap.english(), gap.chinese());
            objections.push(Reason::PricesIncomplete, fault);
        }
    }
}
