//! The readings of a billing point as they are kept: one message for all registers of its meter. Pure.
//!
//! The stored form follows the same rules as the snapshot of a point.

use communal_proto::billing::v1::{EnergyFlowType, ReadingsType, TurnUpsideType};
use rust_decimal::Decimal;

use crate::archive::verification::registers::Register;
use crate::metering::points::snapshot::{Snapshot, decimals};
use crate::vocabulary::quantity::{QUANTITY_SCALE, READING_SCALE};

/// The readings of a point, by direction and register.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Readings {
    /// The registers that are read.
    #[prost(message, repeated, tag = "1")]
    pub registers: Vec<RegisterRead>,
}

/// A register that is read.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RegisterRead {
    /// Direction.
    #[prost(enumeration = "EnergyFlowType", tag = "1")]
    pub flow: i32,
    /// Register.
    #[prost(enumeration = "ReadingsType", tag = "2")]
    pub register: i32,
    /// The reading.
    #[prost(sint64, tag = "3")]
    pub reading: i64,
    /// The day of the reading, yyyyMMdd.
    #[prost(int32, tag = "4")]
    pub read_on: i32,
    /// The time of the reading, HHmmss.
    #[prost(int32, tag = "5")]
    pub read_time: i32,
    /// The movement since the last reading.
    #[prost(enumeration = "TurnUpsideType", tag = "6")]
    pub turn: i32,
    /// The difference of the readings times the multiplier.
    #[prost(sint64, tag = "7")]
    pub metered: i64,
    /// The quantity that is billed: that and what meters before it measured. None of what flows backwards, and of demand.
    #[prost(sint64, tag = "8")]
    pub quantity: i64,
}

decimals!(RegisterRead {
    /// The reading.
    reading: READING_SCALE,
    /// The difference of the readings times the multiplier.
    metered: QUANTITY_SCALE,
    /// The quantity that is billed.
    quantity: QUANTITY_SCALE,
});

impl RegisterRead {
    /// The register.
    #[must_use]
    pub fn key(&self) -> Register {
        (self.flow(), self.register())
    }
}

impl Readings {
    /// The reading of a register.
    #[must_use]
    pub fn of(&self, register: Register) -> Option<&RegisterRead> {
        self.registers.iter().find(|read| read.key() == register)
    }

    /// Enters a reading in the place of an earlier one of its register.
    pub fn enter(&mut self, read: RegisterRead) {
        self.registers.retain(|earlier| earlier.key() != read.key());
        self.registers.push(read);
        self.registers.sort_by_key(|read| (read.flow, read.register));
    }

    /// Returns true if every forward register of a point is read.
    #[must_use]
    pub fn are_complete(&self, point: &Snapshot) -> bool {
        let mut forward = point.registers.iter().map(|register| (register.flow(), register.register()));
        forward.all(|register| register.0 != EnergyFlowType::Forward || self.of(register).is_some())
    }

    /// The latest day on which a register that is billed was read, which decides the prices; `None` if none is read.
    #[must_use]
    pub fn latest_day(&self) -> Option<i32> {
        let billed = self.registers.iter().filter(|read| read.flow() == EnergyFlowType::Forward);
        billed.map(|read| read.read_on).max()
    }

    /// The number of registers that are read.
    #[must_use]
    pub fn count(&self) -> i32 {
        i32::try_from(self.registers.len()).unwrap_or(i32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metering::points::snapshot::PointRegister;

    fn read(flow: EnergyFlowType, register: ReadingsType, read_on: i32) -> RegisterRead {
        RegisterRead { flow: flow.into(), register: register.into(), read_on, ..RegisterRead::default() }
    }

    #[test]
    fn readings_are_complete_when_every_forward_register_has_one() {
        use EnergyFlowType::{Forward, Reverse};
        use ReadingsType::{Peak, Valley};
        let register = |flow: EnergyFlowType, register: ReadingsType| PointRegister {
            flow: flow.into(),
            register: register.into(),
            ..PointRegister::default()
        };
        let registers = vec![register(Forward, Peak), register(Forward, Valley), register(Reverse, Peak)];
        let point = Snapshot { registers, ..Snapshot::default() };
        let mut readings = Readings::default();
        assert_eq!((readings.are_complete(&point), readings.latest_day()), (false, None));
        readings.enter(read(Forward, Valley, 20_240_302));
        readings.enter(read(Reverse, Peak, 20_240_309));
        assert!(!readings.are_complete(&point));
        readings.enter(read(Forward, Peak, 20_240_301));
        readings.enter(read(Forward, Peak, 20_240_303));
        assert!(readings.are_complete(&point));
        assert_eq!((readings.count(), readings.latest_day()), (3, Some(20_240_303)));
        assert!(Readings::default().are_complete(&Snapshot::default()), "without a meter there is nothing to read");
    }
}
