//! What a request does to price rows, worked out before anything is written.
//!
//! A change of a row in a draft happens in place: it never was in force. A change in a package
//! on sale closes the row in force and opens a new version, so that bills already calculated
//! keep their price; the closed version stays for ever. A row that would not change is left
//! alone. Either every row of a request can be carried out, or all that is wrong is named.

use std::collections::{BTreeMap, HashMap};

use chrono::NaiveDate;
use communal_proto::Coded;
use communal_proto::billing::v1::{PackStateType, SalePackagePriceRow};

use super::matrix::{Gap, tier_gaps};
use super::row::{Grounds, Objection, Values, resolve};
use crate::packages::lifecycle::Step;
use crate::vocabulary::lifetime::Lifetime;
use crate::vocabulary::tariff::{Dimensions, Shape, TierLimits};

/// A price row that is not closed.
#[derive(Clone, Debug)]
pub struct OpenRow {
    /// Its number in the storage.
    pub price_id: i64,
    /// Its dimensions.
    pub dimensions: Dimensions,
    /// Its price, unit and limits.
    pub values: Values,
    /// First day in force; none in a draft.
    pub start: Option<NaiveDate>,
}

/// A package as it was read, with its open rows.
#[derive(Clone, Debug)]
pub struct PricedPackage {
    /// Identifier.
    pub package_id: String,
    /// Counts its writes; the plan is good only while it stays.
    pub version: i64,
    /// State.
    pub state: PackStateType,
    /// Days in force.
    pub lifetime: Lifetime,
    /// What decides which prices it has.
    pub shape: Shape,
    /// Its open price rows.
    pub rows: Vec<OpenRow>,
}

/// A row that changes in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// Package.
    pub package_id: String,
    /// The row.
    pub price_id: i64,
    /// What it becomes.
    pub values: Values,
}

/// A row that is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// Package.
    pub package_id: String,
    /// The row.
    pub price_id: i64,
    /// First day no longer in force.
    pub stop: NaiveDate,
}

/// A row that is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// Package.
    pub package_id: String,
    /// Its dimensions.
    pub dimensions: Dimensions,
    /// Its price, unit and limits.
    pub values: Values,
    /// First day in force; none in a draft.
    pub start: Option<NaiveDate>,
}

/// Everything a request does to price rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Changes in place.
    pub edits: Vec<Edit>,
    /// Versions that end.
    pub closes: Vec<Close>,
    /// Rows and versions that begin.
    pub opens: Vec<Open>,
}

impl Plan {
    /// Whether nothing is to be done.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.edits.is_empty() && self.closes.is_empty() && self.opens.is_empty()
    }
}

/// A request's row whose package takes the step and whose dimensions fit it.
struct Fitting<'a> {
    index: usize,
    package: &'a PricedPackage,
    dimensions: Dimensions,
    row: &'a SalePackagePriceRow,
}

/// Plans the addition of rows to drafts.
///
/// # Errors
/// Every row that cannot be added.
pub fn plan_additions(
    packages: &HashMap<String, PricedPackage>,
    rows: &[SalePackagePriceRow],
    today: NaiveDate,
) -> Result<Plan, Vec<Objection>> {
    let (fitting, mut objections) = fit(packages, rows, Step::AddPrices, today);
    let mut plan = Plan::default();
    for Fitting { index, package, dimensions, row } in fitting {
        if package.rows.iter().any(|r| r.dimensions == dimensions) {
            objections.push(Objection::new(
                Grounds::Exists,
                index,
                "CHARGE_PACK_DID",
                "and the dimensions are those of a row that exists",
                "相同维度的价格已存在",
            ));
        } else {
            let package_id = package.package_id.clone();
            plan.opens.push(Open { package_id, dimensions, values: row.into(), start: None });
        }
    }
    finish(plan, objections)
}

/// Plans the change of rows.
///
/// # Errors
/// Every row that cannot be changed.
pub fn plan_changes(
    packages: &HashMap<String, PricedPackage>,
    rows: &[SalePackagePriceRow],
    today: NaiveDate,
) -> Result<Plan, Vec<Objection>> {
    let (fitting, mut objections) = fit(packages, rows, Step::ChangePrices, today);
    let known: HashMap<(&str, &Dimensions), &OpenRow> =
        packages.values().flat_map(|p| p.rows.iter().map(|r| ((p.package_id.as_str(), &r.dimensions), r))).collect();
    let mut plan = Plan::default();
    // What becomes of the rows on sale: package and dimensions to limits and the request's row.
    let mut changed: HashMap<(&str, &Dimensions), (usize, TierLimits)> = HashMap::new();
    for Fitting { index, package, dimensions, row } in &fitting {
        let Some(open) = known.get(&(package.package_id.as_str(), dimensions)) else {
            objections.push(Objection::new(
                Grounds::Unknown,
                *index,
                "CHARGE_PACK_DID",
                "and the dimensions are those of no row",
                "相应维度的价格不存在",
            ));
            continue;
        };
        let values = Values::from(*row);
        if package.state == PackStateType::OnSale {
            changed.insert((&package.package_id, dimensions), (*index, values.limits));
        }
        if values == open.values {
            continue;
        }
        let package_id = package.package_id.clone();
        match (package.state, open.start) {
            (PackStateType::OnSale, Some(start)) => {
                // Before the first day the new version replaces the old one, whose span then
                // is empty; and a clock that went back must not turn a span around.
                let from = package.lifetime.start.map_or(today, |first| first.max(today)).max(start);
                plan.closes.push(Close { package_id: package_id.clone(), price_id: open.price_id, stop: from });
                plan.opens.push(Open { package_id, dimensions: dimensions.clone(), values, start: Some(from) });
            }
            _ => plan.edits.push(Edit { package_id, price_id: open.price_id, values }),
        }
    }
    if objections.is_empty() {
        objections.extend(broken_ladders(packages, &changed));
    }
    finish(plan, objections)
}

/// Rows on sale whose tiers would no longer touch. Each is reported at a row of the request.
fn broken_ladders(
    packages: &HashMap<String, PricedPackage>,
    changed: &HashMap<(&str, &Dimensions), (usize, TierLimits)>,
) -> Vec<Objection> {
    let mut objections = Vec::new();
    for package in packages.values().filter(|p| p.state == PackStateType::OnSale) {
        let id = package.package_id.as_str();
        let mut columns: BTreeMap<Dimensions, Vec<(Dimensions, TierLimits)>> = BTreeMap::new();
        for row in &package.rows {
            let limits = changed.get(&(id, &row.dimensions)).map_or(row.values.limits, |(_, limits)| *limits);
            let column = Dimensions { tier: Default::default(), ..row.dimensions.clone() };
            columns.entry(column).or_default().push((row.dimensions.clone(), limits));
        }
        for mut column in columns.into_values() {
            if !column.iter().any(|(d, _)| changed.contains_key(&(id, d))) {
                continue;
            }
            column.sort_by_key(|(dimensions, _)| dimensions.tier);
            for gap in tier_gaps(&column) {
                objections.extend(at_a_requested_row(&gap, id, &column, changed));
            }
        }
    }
    objections.sort_by_key(|(index, _)| *index);
    objections.into_iter().map(|(_, objection)| objection).collect()
}

/// The tier of the gap if the request names it, else the nearest one that it names.
fn at_a_requested_row(
    gap: &Gap,
    package_id: &str,
    column: &[(Dimensions, TierLimits)],
    changed: &HashMap<(&str, &Dimensions), (usize, TierLimits)>,
) -> Option<(usize, Objection)> {
    let place = gap.dimensions().tier as i32;
    let (index, tier) = column
        .iter()
        .filter_map(|(d, _)| Some((changed.get(&(package_id, d))?.0, d.tier as i32)))
        .min_by_key(|(_, tier)| (tier - place).abs())?;
    let field = match gap {
        Gap::Lower(..) if tier >= place => "LADDER_LOWER_LIMIT",
        Gap::Lower(..) | Gap::Upper(_) | Gap::Missing(_) | Gap::Stray(_) => "LADDER_UPPER_LIMIT",
    };
    Some((index, Objection::new(Grounds::Incomplete, index, field, gap.english(), gap.chinese())))
}

/// Sorts out the rows whose package is unknown or does not take the step, whose fields
/// contradict the package, or which come twice.
fn fit<'a>(
    packages: &'a HashMap<String, PricedPackage>,
    rows: &'a [SalePackagePriceRow],
    step: Step,
    today: NaiveDate,
) -> (Vec<Fitting<'a>>, Vec<Objection>) {
    let mut fitting = Vec::with_capacity(rows.len());
    let mut objections = Vec::new();
    let mut seen: HashMap<(&str, Dimensions), usize> = HashMap::with_capacity(rows.len());
    for (index, row) in rows.iter().enumerate() {
        let object = |grounds, english: &str, chinese: String| {
            Objection::new(grounds, index, "CHARGE_PACK_DID", english, chinese)
        };
        let Some(package) = packages.get(&row.package_id) else {
            let chinese = crate::reasons::PACKAGE_NOT_FOUND.to_owned();
            objections.push(object(Grounds::UnknownPackage, "is no package of the calling company", chinese));
            continue;
        };
        if !step.fits(package.state) {
            let chinese = format!("套餐当前状态为{}，不能{}", package.state.title(), step.title());
            objections.push(object(Grounds::PackageState, "is in a state that does not take this", chinese));
            continue;
        }
        if package.state == PackStateType::OnSale && package.lifetime.ended(today) {
            let chinese = format!("套餐已停用，不能{}", step.title());
            objections.push(object(Grounds::PackageState, "is no longer in force", chinese));
            continue;
        }
        match resolve(&package.shape, index, row) {
            Err(more) => objections.extend(more),
            Ok(dimensions) => {
                if let Some(first) = seen.get(&(row.package_id.as_str(), dimensions.clone())) {
                    let grounds = if step == Step::AddPrices { Grounds::Exists } else { Grounds::Field };
                    let english = format!("and the dimensions are those of row {first}");
                    objections.push(object(grounds, &english, format!("与COM_SALES_PRICE[{first}]的维度重复")));
                } else {
                    seen.insert((&row.package_id, dimensions.clone()), index);
                    fitting.push(Fitting { index, package, dimensions, row });
                }
            }
        }
    }
    (fitting, objections)
}

fn finish(plan: Plan, mut objections: Vec<Objection>) -> Result<Plan, Vec<Objection>> {
    if objections.is_empty() {
        return Ok(plan);
    }
    // Rows were looked at more than once; tell them in the order in which they came.
    objections.sort_by_key(|o| o.fault.field.row().unwrap_or_default());
    Err(objections)
}
