//! Where the registers of an account stand after a normal bill. Pure.

use chrono::NaiveDate;
use communal_proto::billing::v1::{EnergyFlowType, ReadingsType};
use rust_decimal::Decimal;

use crate::metering::points::snapshot::Snapshot;
use crate::metering::readings::stored::Readings;
use crate::vocabulary::dates::day;

/// A register after a bill. What meters before it measured is billed, so that nothing of it is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegisterAfter {
    /// Direction.
    pub flow: EnergyFlowType,
    /// Register.
    pub register: ReadingsType,
    /// The reading that was billed; `None` if the register was not read, so that the last reading stays.
    pub read: Option<ReadRegister>,
}

/// What a reading adds to the figures of a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadRegister {
    /// The reading.
    pub reading: Decimal,
    /// Its day.
    pub read_on: NaiveDate,
    /// Its time, HHmmss.
    pub read_time: i32,
    /// Days since the last reading.
    pub days: i32,
    /// What it measured.
    pub metered: Decimal,
    /// What was billed of it.
    pub billed: Decimal,
}

/// Returns the registers of a point after its bill; `None` if a day in it is none.
#[must_use]
pub fn after(point: &Snapshot, readings: &Readings) -> Option<Vec<RegisterAfter>> {
    let registers = point.registers.iter().map(|known| {
        let (flow, register) = (known.flow(), known.register());
        let Some(read) = readings.of((flow, register)) else {
            return Some(RegisterAfter { flow, register, read: None });
        };
        let (from, read_on) = (day(known.last_read_on)?, day(read.read_on)?);
        let read = ReadRegister {
            reading: read.reading(),
            read_on,
            read_time: read.read_time,
            days: i32::try_from((read_on - from).num_days().max(0)).ok()?,
            metered: read.metered(),
            billed: read.quantity(),
        };
        Some(RegisterAfter { flow, register, read: Some(read) })
    });
    registers.collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::metering::points::snapshot::PointRegister;
    use crate::metering::readings::stored::RegisterRead;

    #[test]
    fn a_register_goes_on_from_the_reading_that_was_billed() {
        let known = |register: ReadingsType| PointRegister {
            flow: EnergyFlowType::Forward.into(),
            register: register.into(),
            last_reading: 100_000_000,
            last_read_on: 20_240_228,
            ..PointRegister::default()
        };
        let point =
            Snapshot { registers: vec![known(ReadingsType::Total), known(ReadingsType::Peak)], ..Snapshot::default() };
        let mut readings = Readings::default();
        readings.enter(RegisterRead {
            flow: EnergyFlowType::Forward.into(),
            register: ReadingsType::Total.into(),
            reading: 150_500_000,
            read_on: 20_240_329,
            read_time: 93_000,
            metered: 5_050,
            quantity: 6_000,
            ..RegisterRead::default()
        });
        let registers = after(&point, &readings).unwrap();
        assert_eq!(
            registers[0].read,
            Some(ReadRegister {
                reading: Decimal::new(1_505, 1),
                read_on: day(20_240_329).unwrap(),
                read_time: 93_000,
                days: 30,
                metered: Decimal::new(5_050, 2),
                billed: Decimal::from(60),
            })
        );
        assert_eq!(registers[1].read, None, "a register that was not read stays where it is");
    }
}
