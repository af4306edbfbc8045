//! How calculations and their points are answered. Pure.

use chrono::NaiveDateTime;
use communal_kit::money::{CENTS, at_scale};
use communal_proto::billing::v1::{
    CalcFeeType, CalculablePoint, PackageOfPoint, PointDetail, ReadingsType, UnchargedBill, UnchargedLine,
};
use rust_decimal::Decimal;

use super::facts::package_of;
use super::store::{self, CalculatedPoint, OpenDetail};
use super::stored::{CalculatedLine, Calculation, Unreadable};
use crate::archive::accumulators::AccountAccumulators;
use crate::archive::billable::MeterPointAddress;
use crate::metering::points::snapshot::{BilledPackage, Snapshot};
use crate::packages::store::PackageRow;
use crate::vocabulary::dates::{day_number, instant};
use crate::vocabulary::quantity::{QUANTITY_SCALE, RATIO_SCALE, UNIT_PRICE_SCALE};

fn quantity(value: Decimal) -> String {
    at_scale(value, QUANTITY_SCALE)
}

fn ratio(value: Decimal) -> String {
    at_scale(value, RATIO_SCALE)
}

/// The package identifier, empty without a package.
fn package_id(package: Option<&BilledPackage>) -> String {
    package.map(|package| package.package_id.clone()).unwrap_or_default()
}

/// A point that can be calculated.
#[must_use]
pub fn calculable(point: &store::CalculablePoint) -> CalculablePoint {
    let snapshot = &point.snapshot;
    CalculablePoint {
        settlement_account_id: point.settlement_account_id.clone(),
        meter_id: snapshot.meter_id().to_owned(),
        run_kind: point.kind.into(),
        customer_id: snapshot.customer_id.clone(),
        metered: snapshot.metered,
        main_package_id: package_id(snapshot.main_package.as_ref()),
        temporary_package_id: package_id(snapshot.temporary_package.as_ref()),
        temporary_months: snapshot.temporary_months,
        stopped_or_vacant: snapshot.stopped_or_vacant,
        fixed_quantity: quantity(snapshot.fixed_quantity()),
        fixed_fee: quantity(fixed_fee(snapshot)),
    }
}

/// The fixed fee of a point; of a retro point the fee that it adds.
fn fixed_fee(snapshot: &Snapshot) -> Decimal {
    if snapshot.retro_fee == 0 { snapshot.fixed_fee() } else { snapshot.retro_fee() }
}

/// A bill that is not charged off.
///
/// # Errors
/// Returns an error if the calculation has a code that is not known.
pub fn uncharged_bill(point: &CalculatedPoint) -> Result<UnchargedBill, Unreadable> {
    let CalculatedPoint { key, snapshot, calculation } = point;
    let bill = calculation.bill()?;
    let money = |kind| at_scale(bill.total_of(kind), CENTS);
    Ok(UnchargedBill {
        customer_id: snapshot.customer_id.clone(),
        using_customer_id: snapshot.using_customer_id.clone(),
        user_account_id: snapshot.user_account_id.clone(),
        settlement_account_id: key.settlement_account_id.clone(),
        meter_id: snapshot.meter_id().to_owned(),
        run_kind: key.kind.into(),
        utility: snapshot.utility,
        guaranteed_total: money(CalcFeeType::Guaranteed),
        retail_total: money(CalcFeeType::Retail),
        delivery_total: money(CalcFeeType::Delivery),
        calculation_date: calculation.calculated_on,
        calculation_time: calculation.calculated_time,
    })
}

/// The fee lines of points, of one fee kind if it is given: those of a point together, by fee kind and line number.
pub fn uncharged_lines(points: &[CalculatedPoint], kind: CalcFeeType) -> Vec<UnchargedLine> {
    let mut shown = Vec::new();
    for point in points {
        let lines = point.calculation.lines.iter();
        let mut lines: Vec<_> = lines.filter(|line| kind == CalcFeeType::Unspecified || line.kind() == kind).collect();
        // A stable sort keeps the line numbers.
        lines.sort_by_key(|line| line.kind);
        shown.extend(lines.into_iter().map(|line| uncharged_line(point, line)));
    }
    shown
}

/// A fee line. Codes of the package and the account are the same on all lines of a bill.
fn uncharged_line(point: &CalculatedPoint, line: &CalculatedLine) -> UnchargedLine {
    let CalculatedPoint { key, snapshot, calculation } = point;
    let none = BilledPackage::default();
    let package = package_of(snapshot, calculation.temporary).unwrap_or(&none);
    UnchargedLine {
        settlement_account_id: key.settlement_account_id.clone(),
        run_kind: key.kind.into(),
        utility: snapshot.utility,
        stopped_or_vacant: snapshot.stopped_or_vacant,
        business_kind: snapshot.business_kind,
        package_id: package.package_id.clone(),
        basic_fee_kind: package.basic_fee_kind,
        seasonal: package.seasonal,
        season: line.season,
        time_of_use: package.time_of_use,
        period: line.period,
        agreement_price: package.agreement_price,
        ladder: package.ladder,
        tier: line.tier,
        power_factor_standard: snapshot.power_factor_standard,
        resident: snapshot.resident,
        account_item: package.account_item.clone(),
        category_item: line.category_item,
        surcharge_item: line.surcharge_item,
        start_date: line.start,
        account_month: key.account_month,
        quantity: quantity(line.quantity()),
        unit_price: at_scale(line.price(), UNIT_PRICE_SCALE),
        fee: at_scale(line.fee(), CENTS),
        fee_kind: line.kind,
        calculation_date: calculation.calculated_on,
        calculation_time: calculation.calculated_time,
    }
}

/// When a calculation was made.
#[must_use]
pub fn calculated_at(calculation: &Calculation) -> Option<NaiveDateTime> {
    instant(calculation.calculated_on, calculation.calculated_time)
}

/// A package of a point, as it is sold now.
#[must_use]
pub fn package(row: &PackageRow) -> PackageOfPoint {
    use communal_kit::database::stored::Stored;
    PackageOfPoint {
        package_id: row.package_id.clone(),
        package_kind: row.kind.0.into(),
        package_name: row.name.clone(),
        package_remark: row.remark.clone(),
        account_item: row.account_item.clone(),
        utility: row.utility.0.into(),
        supply_kind: row.supply_kind.0.into(),
        basic_fee_kind: Stored::given(row.basic_fee_kind).into(),
        resident: row.resident.0.into(),
        deviation: Stored::given(row.deviation).into(),
        seasonal: Stored::given(row.seasonal).into(),
        agreement_price: row.agreement_price.0.into(),
        time_of_use: row.time_of_use.0.into(),
        ladder: row.ladder.0.into(),
        population: row.population,
        start_date: day_number(row.start_date),
        stop_date: day_number(row.stop_date),
    }
}

/// The account of a point, with what is not in its snapshot.
#[derive(Clone, Debug)]
pub struct DetailedAccount<'d> {
    /// Its identifier.
    pub settlement_account_id: &'d str,
    /// The address of its meter point.
    pub address: MeterPointAddress,
    /// Its accumulators.
    pub accumulators: AccountAccumulators,
}

/// A point with the figures of its calculation.
#[must_use]
pub fn detail(
    account: &DetailedAccount<'_>,
    kind: communal_proto::billing::v1::NormalRetroType,
    point: &OpenDetail,
) -> PointDetail {
    let OpenDetail { snapshot, calculation, .. } = point;
    let none = BilledPackage::default();
    let temporary = calculation.as_ref().is_some_and(|calculation| calculation.temporary);
    let package = package_of(snapshot, temporary).unwrap_or(&none);
    let figures = calculation.clone().unwrap_or_default();
    let of = |register: ReadingsType| quantity(billed(&figures, register));
    let accumulators = &account.accumulators;
    let (year_quantity, month_quantity) = match &figures.after {
        Some(after) => (after.of_year(), after.of_month()),
        None => (accumulators.year_quantity, accumulators.month_quantity),
    };
    PointDetail {
        settlement_account_id: account.settlement_account_id.to_owned(),
        run_kind: kind.into(),
        address: account.address.0.clone(),
        book_id: snapshot.book_id.clone(),
        node_id: snapshot.node_id.clone(),
        utility: snapshot.utility,
        customer_id: snapshot.customer_id.clone(),
        using_customer_id: snapshot.using_customer_id.clone(),
        user_account_id: snapshot.user_account_id.clone(),
        metered: snapshot.metered,
        meter_id: snapshot.meter_id().to_owned(),
        // Real estate, floors, sets and approved quantities have no documented source.
        real_estate_id: String::new(),
        assessed: snapshot.assessed,
        energy_load: quantity(snapshot.energy_load()),
        account_item: package.account_item.clone(),
        agreement_price: package.agreement_price,
        stopped_or_vacant: snapshot.stopped_or_vacant,
        stopped_from: snapshot.stopped_on,
        resupplied_from: snapshot.resumed_on,
        main_package_id: package_id(snapshot.main_package.as_ref()),
        temporary_package_id: package_id(snapshot.temporary_package.as_ref()),
        temporary_months: snapshot.temporary_months,
        basic_fee_kind: package.basic_fee_kind,
        capacity: quantity(snapshot.capacity()),
        demand_multiplier: quantity(snapshot.demand_multiplier()),
        approved_demand: quantity(snapshot.approved_demand()),
        seasonal: package.seasonal,
        time_of_use: package.time_of_use,
        ladder: package.ladder,
        heat_basis: package.heat_basis,
        property_basis: package.property_basis,
        total_quantity: quantity(figures.energy()),
        total_register_quantity: of(ReadingsType::Total),
        sharp_quantity: of(ReadingsType::Sharp),
        peak_quantity: of(ReadingsType::Peak),
        flat_quantity: of(ReadingsType::Flat),
        valley_quantity: of(ReadingsType::Valley),
        deep_valley_quantity: of(ReadingsType::DeepValley),
        demand: quantity(figures.demand()),
        power_factor_standard: snapshot.power_factor_standard,
        active_energy: quantity(figures.active()),
        reactive_energy: of(ReadingsType::Reactive),
        power_factor: ratio(figures.power_factor.map(|factor| Decimal::new(factor, RATIO_SCALE)).unwrap_or_default()),
        deviation: package.deviation,
        approved_quantity: quantity(Decimal::ZERO),
        fixed_quantity: quantity(snapshot.fixed_quantity()),
        fixed_fee: quantity(fixed_fee(snapshot)),
        apportioned_total: quantity(snapshot.apportioned_total()),
        apportioned_fee: quantity(snapshot.apportioned_fee()),
        floor: 0,
        floor_height: quantity(Decimal::ZERO),
        area_factor: ratio(snapshot.area_factor()),
        area: quantity(snapshot.area()),
        population: snapshot.population,
        households: snapshot.households,
        sets: 0,
        apportion_ratio: ratio(snapshot.apportion_ratio()),
        division_ratio: ratio(snapshot.division_ratio()),
        divided_quantity: quantity(snapshot.divided_quantity()),
        divided_fee: quantity(snapshot.divided_fee()),
        month_quantity: quantity(month_quantity),
        year_quantity: quantity(year_quantity),
    }
}

/// The billed quantity of a register.
fn billed(calculation: &Calculation, register: ReadingsType) -> Decimal {
    let place = usize::try_from(i32::from(register) - 1).ok();
    let number = place.and_then(|place| calculation.registers.get(place)).copied().unwrap_or_default();
    Decimal::new(number, QUANTITY_SCALE)
}
