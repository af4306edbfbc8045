//! How the registers of billing points are shown. Pure.

use chrono::NaiveDateTime;
use communal_kit::dates::to_number;
use communal_kit::money::{at_scale, round};
use communal_proto::billing::v1::{MeasuredRegister, NormalRetroType, PendingReading, ReadingsType};
use rust_decimal::Decimal;

use super::stored::{Readings, RegisterRead};
use crate::archive::meters::store::MeterRow;
use crate::metering::points::snapshot::{PointMeter, PointRegister, Snapshot};
use crate::vocabulary::dates::time_number;
use crate::vocabulary::quantity::{MULTIPLIER_SCALE, QUANTITY_SCALE, READING_SCALE};

/// A point whose registers are shown.
#[derive(Clone, Debug)]
pub struct ShownPoint {
    /// What it holds.
    pub snapshot: Snapshot,
    /// Its readings.
    pub readings: Readings,
    /// When it was calculated.
    pub calculated: Option<NaiveDateTime>,
    /// Normal, or retro: then it has no readings and shows what is added.
    pub run_kind: NormalRetroType,
    /// Its meter as it is registered now.
    pub meter: Option<MeterRow>,
}

/// The average of a day; none before the first bill.
#[must_use]
pub fn daily(total: Decimal, days: i32) -> Decimal {
    if days <= 0 { Decimal::ZERO } else { round(total / Decimal::from(days), QUANTITY_SCALE) }
}

/// What is left until a register starts again at zero.
fn margin(meter: &PointMeter, register: &PointRegister, read: Option<&RegisterRead>) -> Decimal {
    if register.register() == ReadingsType::Demand {
        return Decimal::ZERO;
    }
    let end = u32::try_from(meter.digits).ok().and_then(|digits| 10_i64.checked_pow(digits)).unwrap_or_default();
    let now = read.map_or_else(|| register.last_reading(), RegisterRead::reading);
    round((Decimal::from(end) - now) * meter.multiplier(), QUANTITY_SCALE)
}

impl ShownPoint {
    /// The registers of the point, read or not.
    pub fn pending(&self) -> impl Iterator<Item = PendingReading> {
        let of_meter = self.snapshot.meter.iter();
        let registers = of_meter.flat_map(|meter| self.snapshot.registers.iter().map(move |r| (meter, r)));
        registers.map(|(meter, register)| self.register(meter, register))
    }

    /// The registers of the point that are read.
    pub fn measured(&self) -> impl Iterator<Item = MeasuredRegister> {
        self.pending().filter(|shown| shown.reading_date != 0).map(measured)
    }

    fn register(&self, meter: &PointMeter, register: &PointRegister) -> PendingReading {
        let read = self.readings.of((register.flow(), register.register()));
        let value = |value: fn(&RegisterRead) -> Decimal| read.map(value).unwrap_or_default();
        let number = |number: fn(&RegisterRead) -> i32| read.map(number).unwrap_or_default();
        let quantity = |quantity: Decimal| at_scale(quantity, QUANTITY_SCALE);
        let registered = self.meter.as_ref();
        PendingReading {
            meter_id: meter.meter_id.clone(),
            factory_number: registered.map(|m| m.factory_number.clone()).unwrap_or_default(),
            meter_location: registered.map(|m| m.location.clone()).unwrap_or_default(),
            meter_kind: meter.kind,
            digits: meter.digits,
            energy_flow: register.flow,
            register: register.register,
            last_reading_date: register.last_read_on,
            last_reading_time: register.last_read_time,
            last_reading: at_scale(register.last_reading(), READING_SCALE),
            average_metered_quantity: quantity(daily(register.metered_total(), register.billed_days)),
            // No documented call gives a quantity to deduct.
            average_reduced_quantity: quantity(Decimal::ZERO),
            average_quantity: quantity(daily(register.billed_total(), register.billed_days)),
            reading_date: number(|read| read.read_on),
            reading_time: number(|read| read.read_time),
            reading: at_scale(value(RegisterRead::reading), READING_SCALE),
            metered_quantity: quantity(value(RegisterRead::metered)),
            reduced_quantity: quantity(Decimal::ZERO),
            quantity: quantity(match self.run_kind {
                NormalRetroType::Retro => register.added_quantity(),
                _ => value(RegisterRead::quantity),
            }),
            old_meter_quantity: quantity(register.old_quantity()),
            added_quantity: quantity(register.added_quantity()),
            meter_margin: quantity(margin(meter, register, read)),
            reading_channel: meter.reading_channel,
            run_kind: self.run_kind.into(),
            reading_order: meter.reading_order,
            multiplier: at_scale(meter.multiplier(), MULTIPLIER_SCALE),
            turn: number(|read| read.turn),
            // No documented call gives a picture of a reading.
            url: String::new(),
            calculation_date: self.calculated.map_or(0, |at| to_number(at.date())),
            calculation_time: self.calculated.map_or(0, time_number),
        }
    }
}

fn measured(shown: PendingReading) -> MeasuredRegister {
    MeasuredRegister {
        run_kind: shown.run_kind,
        meter_id: shown.meter_id,
        factory_number: shown.factory_number,
        meter_location: shown.meter_location,
        meter_kind: shown.meter_kind,
        digits: shown.digits,
        energy_flow: shown.energy_flow,
        register: shown.register,
        last_reading_date: shown.last_reading_date,
        last_reading_time: shown.last_reading_time,
        last_reading: shown.last_reading,
        average_metered_quantity: shown.average_metered_quantity,
        average_reduced_quantity: shown.average_reduced_quantity,
        average_quantity: shown.average_quantity,
        reading_date: shown.reading_date,
        reading_time: shown.reading_time,
        reading: shown.reading,
        metered_quantity: shown.metered_quantity,
        reduced_quantity: shown.reduced_quantity,
        quantity: shown.quantity,
        old_meter_quantity: shown.old_meter_quantity,
        added_quantity: shown.added_quantity,
        reading_channel: shown.reading_channel,
        multiplier: shown.multiplier,
        turn: shown.turn,
    }
}
