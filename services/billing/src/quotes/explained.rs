//! A bill as it is answered, with the rule behind each line. Pure.

use communal_kit::money::{CENTS, at_scale};
use communal_proto::billing::v1::quoted_line::Rule as Shown;
use communal_proto::billing::v1::{
    AreaRule, CalcFeeType, CapacityRule, DemandRule, EmptyBillRule, EnergyRule, EnergyShare, FixedFeeRule, PartMonth,
    PopulationRule, PowerFactorRule, QuotedBill, QuotedLine, ReadingsType, RetroFeeRule, SurchargeRule,
};
use rust_decimal::Decimal;

use crate::rating::bill::{self, Bill, FeeLine, LineRule};
use crate::vocabulary::dates::day_number;
use crate::vocabulary::quantity::{QUANTITY_SCALE, RATIO_SCALE, UNIT_PRICE_SCALE};

/// Returns a bill as it is answered.
#[must_use]
pub fn bill(bill: &Bill) -> QuotedBill {
    let money = |kind| at_scale(bill.total_of(kind), CENTS);
    let of = |register| quantity(bill.quantities.of(register));
    QuotedBill {
        fee_kind: bill.kind.into(),
        guaranteed_total: money(CalcFeeType::Guaranteed),
        retail_total: money(CalcFeeType::Retail),
        delivery_total: money(CalcFeeType::Delivery),
        total_quantity: quantity(bill.quantities.energy),
        total_register_quantity: of(ReadingsType::Total),
        sharp_quantity: of(ReadingsType::Sharp),
        peak_quantity: of(ReadingsType::Peak),
        flat_quantity: of(ReadingsType::Flat),
        valley_quantity: of(ReadingsType::Valley),
        deep_valley_quantity: of(ReadingsType::DeepValley),
        demand: quantity(bill.quantities.demand),
        active_energy: quantity(bill.quantities.active),
        reactive_energy: of(ReadingsType::Reactive),
        power_factor: bill.quantities.power_factor.map(ratio).unwrap_or_default(),
        year_quantity: quantity(bill.after.year),
        month_quantity: quantity(bill.after.month),
        total_register_gap: bill.warnings.total_register_gap.map(quantity).unwrap_or_default(),
        negative_power: bill.warnings.negative_power,
        no_delivery_price: bill.warnings.no_delivery_price,
        lines: (1..).zip(&bill.lines).map(|(number, fee_line)| line(number, fee_line)).collect(),
    }
}

fn quantity(value: Decimal) -> String {
    at_scale(value, QUANTITY_SCALE)
}

fn ratio(value: Decimal) -> String {
    at_scale(value, RATIO_SCALE)
}

fn line(line_number: i32, line: &FeeLine) -> QuotedLine {
    QuotedLine {
        line_number,
        fee_kind: line.kind.into(),
        category_item: line.category_item,
        surcharge_item: line.surcharge_item,
        season: line.season.into(),
        period: line.period.into(),
        tier: line.tier.into(),
        start_date: day_number(line.start),
        quantity: quantity(line.quantity),
        unit_price: at_scale(line.price, UNIT_PRICE_SCALE),
        fee: at_scale(line.fee, CENTS),
        rule: Some(rule(&line.rule)),
    }
}

fn rule(rule: &LineRule) -> Shown {
    match rule {
        LineRule::Energy { part, share } => Shown::Energy(EnergyRule {
            lower_limit: part.map(|part| quantity(part.lower)).unwrap_or_default(),
            upper_limit: part.and_then(|part| part.upper).map(quantity).unwrap_or_default(),
            accumulated_before: part.map(|part| quantity(part.from)).unwrap_or_default(),
            accumulated_after: part.map(|part| quantity(part.to)).unwrap_or_default(),
            share: share.map(|share| EnergyShare {
                tier_quantity: quantity(share.of_tier),
                period_quantity: quantity(share.of_period),
                whole_quantity: quantity(share.whole),
            }),
        }),
        LineRule::Surcharge => Shown::Surcharge(SurchargeRule {}),
        LineRule::Capacity { capacity, month } => {
            Shown::ByCapacity(CapacityRule { capacity: quantity(*capacity), month: Some(part_month(*month)) })
        }
        LineRule::Demand(demand) => Shown::ByDemand(DemandRule {
            demand: quantity(demand.measured),
            approved_demand: quantity(demand.approved),
            over_approval_ratio: ratio(demand.over_approval_ratio),
            approval_factor: ratio(demand.approval_factor),
            whole_month: quantity(demand.whole_month),
            month: Some(part_month(demand.month)),
        }),
        LineRule::PowerFactor(figures) => Shown::ByPowerFactor(PowerFactorRule {
            power_factor_standard: figures.standard.into(),
            active_energy: quantity(figures.active),
            reactive_energy: quantity(figures.reactive),
            power_factor: ratio(figures.reached),
            row_power_factor: ratio(figures.row),
            base: at_scale(figures.base, CENTS),
        }),
        LineRule::Area { area, factor, vacancy_ratio } => Shown::ByArea(AreaRule {
            area: quantity(*area),
            area_factor: ratio(*factor),
            vacancy_ratio: ratio(*vacancy_ratio),
        }),
        LineRule::Population { persons } => {
            Shown::ByPopulation(PopulationRule { population: i32::try_from(*persons).unwrap_or(i32::MAX) })
        }
        LineRule::FixedFee { fixed, apportioned, divided } => Shown::FixedFees(FixedFeeRule {
            fixed_fee: at_scale(*fixed, CENTS),
            apportioned_part: at_scale(*apportioned, CENTS),
            divided_fee: at_scale(*divided, CENTS),
        }),
        LineRule::RetroFee => Shown::RetroFee(RetroFeeRule {}),
        LineRule::Empty => Shown::EmptyBill(EmptyBillRule {}),
    }
}

fn part_month(month: bill::PartMonth) -> PartMonth {
    PartMonth {
        supplied_days: i32::try_from(month.supplied).unwrap_or(i32::MAX),
        month_days: i32::try_from(month.days).unwrap_or(i32::MAX),
        part_month_rule: month.rule.into(),
    }
}
