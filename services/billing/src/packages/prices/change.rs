//! The plan of what a request does to price rows, made before anything is written.
//!
//! A change of a row in a draft happens in place: it never was in force. A change in a package on sale
//! closes the row in force and opens a new version, so that bills already calculated keep their price;
//! the closed version stays forever. A row that would not change is left alone. Either every row of a
//! request can be carried out, or all objections are named. Pure: the rows are read under the
//! packages' locks and passed in.

use std::collections::{BTreeMap, HashMap};

use chrono::NaiveDate;
use communal_kit::objections::Objections;
use communal_proto::billing::v1::fields::sale_package_price_row as fields;
use communal_proto::billing::v1::fields::update_sale_package_price_request::ROWS;
use communal_proto::billing::v1::{PackStateType, Reason, SalePackagePriceRow};
use communal_proto::contract::v1::Reason as Common;
use communal_proto::{Fault, Reason as _};

use super::row::{Values, place, resolve};
use crate::packages::lifecycle::{Step, unfit};
use crate::reasons::unknown_package;
use crate::vocabulary::identifiers::PackageId;
use crate::vocabulary::lifetime::Lifetime;
use crate::vocabulary::matrix::{Column, at_a_requested_row, limit_gaps};
use crate::vocabulary::tariff::{Dimensions, Period, Shape, Tier, TierLimits};

/// A price row that is not closed.
#[derive(Clone, Debug)]
pub struct OpenRow {
    /// Package.
    pub package_id: PackageId,
    /// Its number in the storage.
    pub price_id: i64,
    /// Its dimensions.
    pub dimensions: Dimensions,
    /// Its price, unit and limits.
    pub values: Values,
    /// First day in force; `None` in a draft.
    pub start: Option<NaiveDate>,
}

/// A locked package with its open rows.
#[derive(Clone, Debug)]
pub struct PricedPackage {
    /// State.
    pub state: PackStateType,
    /// Days in force.
    pub lifetime: Lifetime,
    /// The properties that decide which prices it has.
    pub shape: Shape,
    /// Its open price rows.
    pub rows: Vec<OpenRow>,
}

/// The packages of a request that exist.
pub type PricedPackages = HashMap<PackageId, PricedPackage>;

/// A row that changes in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// Package.
    pub package_id: PackageId,
    /// The row.
    pub price_id: i64,
    /// Its new values.
    pub values: Values,
}

/// A version that is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// Package.
    pub package_id: PackageId,
    /// The row.
    pub price_id: i64,
    /// First day no longer in force.
    pub stop: NaiveDate,
}

/// A row or version that is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// Package.
    pub package_id: PackageId,
    /// Its dimensions.
    pub dimensions: Dimensions,
    /// Its price, unit and limits.
    pub values: Values,
    /// First day in force; `None` in a draft.
    pub start: Option<NaiveDate>,
}

/// Everything that a request does to price rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Changes in place.
    pub edits: Vec<Edit>,
    /// Versions that end.
    pub closes: Vec<Close>,
    /// Rows and versions that begin.
    pub opens: Vec<Open>,
}

/// From which day the changes of a plan hold, by package; `None` in a draft. Rows of one package that hold from
/// several days, which a version opened by a clock that was ahead can cause, count by the last.
#[must_use]
pub fn days_of_changes(plan: &Plan) -> BTreeMap<PackageId, Option<NaiveDate>> {
    let drafts = plan.edits.iter().map(|edit| (&edit.package_id, None));
    let versions = plan.opens.iter().map(|open| (&open.package_id, open.start));
    let mut days = BTreeMap::new();
    for (package_id, start) in drafts.chain(versions) {
        let day = days.entry(package_id.clone()).or_insert(start);
        *day = (*day).max(start);
    }
    days
}

/// A row of the request whose package takes the step and whose dimensions fit it.
struct Fitting<'a> {
    index: usize,
    package: &'a PricedPackage,
    package_id: PackageId,
    dimensions: Dimensions,
    row: &'a SalePackagePriceRow,
}

/// Plans the addition of rows to drafts. The plan counts only if there is no objection.
pub fn plan_additions(
    packages: &PricedPackages,
    rows: &[SalePackagePriceRow],
    today: NaiveDate,
    objections: &mut Objections,
) -> Plan {
    let mut plan = Plan::default();
    for Fitting { index, package, package_id, dimensions, row } in
        fitting(packages, rows, Step::AddPrices, today, objections)
    {
        if package.rows.iter().any(|r| r.dimensions == dimensions) {
            let english = "and the dimensions are those of a row that exists";
            let fault = Fault::rule(place(index, fields::PACKAGE_ID), english, "相同维度的价格已存在");
            objections.push(Reason::PriceExists, fault);
        } else {
            plan.opens.push(Open { package_id, dimensions, values: row.into(), start: None });
        }
    }
    objections.sort_by_row();
    plan
}

/// Plans the change of rows. The plan counts only if there is no objection.
pub fn plan_changes(
    packages: &PricedPackages,
    rows: &[SalePackagePriceRow],
    today: NaiveDate,
    objections: &mut Objections,
) -> Plan {
    let known: HashMap<(&PackageId, &Dimensions), &OpenRow> =
        packages.values().flat_map(|p| p.rows.iter().map(|r| ((&r.package_id, &r.dimensions), r))).collect();
    let mut plan = Plan::default();
    let mut changed = Changed::new();
    for Fitting { index, package, package_id, dimensions, row } in
        fitting(packages, rows, Step::ChangePrices, today, objections)
    {
        let Some(open) = known.get(&(&package_id, &dimensions)).copied() else {
            let english = "and the dimensions are those of no row";
            let fault = Fault::rule(place(index, fields::PACKAGE_ID), english, "相应维度的价格不存在");
            objections.push(Reason::PriceNotFound, fault);
            continue;
        };
        let values = Values::from(row);
        if package.state == PackStateType::OnSale {
            changed.insert((package_id.clone(), dimensions.clone()), (index, values.limits));
        }
        if values == open.values {
            continue;
        }
        match (package.state, open.start) {
            (PackStateType::OnSale, Some(start)) => {
                // Before the first day the new version replaces the old one, whose span then is empty.
                // A clock that went back must not turn a span around.
                let from = package.lifetime.start.map_or(today, |first| first.max(today)).max(start);
                if !may_begin(from, package, today) {
                    let english = "and its price would be in force only from a day after tomorrow";
                    let fault = Fault::rule(place(index, fields::PACKAGE_ID), english, Reason::PriceStartsLate.text());
                    objections.push(Reason::PriceStartsLate, fault);
                    continue;
                }
                plan.closes.push(Close { package_id: package_id.clone(), price_id: open.price_id, stop: from });
                plan.opens.push(Open { package_id, dimensions, values, start: Some(from) });
            }
            _ => plan.edits.push(Edit { package_id, price_id: open.price_id, values }),
        }
    }
    if objections.is_empty() {
        object_to_broken_ladders(packages, &changed, objections);
    }
    objections.sort_by_row();
    plan
}

/// Returns whether a version may begin on a day: until tomorrow, as clocks of replicas and midnight may have it, or on the
/// first day of its package. A replica whose clock was ahead may have opened a version on a day far off; a change on top
/// of it would be accepted and bill nobody for years.
fn may_begin(from: NaiveDate, package: &PricedPackage, today: NaiveDate) -> bool {
    package.lifetime.start == Some(from) || today.succ_opt().is_none_or(|tomorrow| from <= tomorrow)
}

/// The rows on sale that a request names: their place in the request and their limits after it.
type Changed = HashMap<(PackageId, Dimensions), (usize, TierLimits)>;

/// Objects to rows on sale whose limits would no longer fit each other, each at a row of the request.
fn object_to_broken_ladders(packages: &PricedPackages, changed: &Changed, objections: &mut Objections) {
    for (package_id, package) in packages.iter().filter(|(_, p)| p.state == PackStateType::OnSale) {
        let of = |dimensions: &Dimensions| changed.get(&(package_id.clone(), dimensions.clone()));
        // The columns of each season, by period.
        let mut seasons: BTreeMap<Dimensions, BTreeMap<Period, Column>> = BTreeMap::new();
        for row in &package.rows {
            let limits = of(&row.dimensions).map_or(row.values.limits, |(_, limits)| *limits);
            let season = Dimensions { period: Period::default(), tier: Tier::default(), ..row.dimensions.clone() };
            let column = seasons.entry(season).or_default().entry(row.dimensions.period).or_default();
            column.push((row.dimensions.clone(), limits));
        }
        for mut periods in seasons.into_values() {
            periods.values_mut().for_each(|column| column.sort_by_key(|(dimensions, _)| dimensions.tier));
            let columns: Vec<_> = periods.into_values().collect();
            let rows = columns.iter().flatten();
            let requested: Vec<_> = rows.filter_map(|(d, _)| of(d).map(|(index, _)| (d.clone(), *index))).collect();
            for gap in limit_gaps(&columns) {
                if let Some((index, field)) = at_a_requested_row(&gap, &requested) {
                    let fault = Fault::rule(place(index, field), gap.english(), gap.chinese());
                    objections.push(Reason::PricesIncomplete, fault);
                }
            }
        }
    }
}

/// Returns the rows that can take the step. Objects to those whose package does not exist or does not
/// take it, whose fields contradict the package, or that come twice.
fn fitting<'a>(
    packages: &'a PricedPackages,
    rows: &'a [SalePackagePriceRow],
    step: Step,
    today: NaiveDate,
    objections: &mut Objections,
) -> Vec<Fitting<'a>> {
    let mut fitting = Vec::with_capacity(rows.len());
    let mut seen: HashMap<(PackageId, Dimensions), usize> = HashMap::with_capacity(rows.len());
    for (index, row) in rows.iter().enumerate() {
        let field = place(index, fields::PACKAGE_ID);
        let Some(package) = packages.get(row.package_id.as_str()) else {
            objections.push(Reason::PackageNotFound, unknown_package(field));
            continue;
        };
        if !step.fits(package.state) {
            objections.push(Reason::PackageState, unfit(step, package.state, field));
            continue;
        }
        if package.state == PackStateType::OnSale && package.lifetime.ended(today) {
            let chinese = format!("套餐已停用，不能{}", step.title());
            objections.push(Reason::PackageState, Fault::rule(field, "is no longer in force", chinese));
            continue;
        }
        let Some(dimensions) = resolve(&package.shape, index, row, objections) else { continue };
        let package_id = PackageId::from(row.package_id.as_str());
        if let Some(first) = seen.get(&(package_id.clone(), dimensions.clone())) {
            let english = format!("and the dimensions are those of row {first}");
            let fault = Fault::rule(field, english, format!("与{}的维度重复", ROWS.at(*first)));
            match step {
                Step::AddPrices => objections.push(Reason::PriceExists, fault),
                _ => objections.push(Common::FieldMalformed, fault),
            }
            continue;
        }
        seen.insert((package_id.clone(), dimensions.clone()), index);
        fitting.push(Fitting { index, package, package_id, dimensions, row });
    }
    fitting
}
