//! How readings are read from a request, and judged by the registers of their billing point. Pure.

use std::collections::HashMap;

use communal_kit::money::round;
use communal_kit::objections::Objection;
use communal_proto::billing::v1::fields::register_reading as fields;
use communal_proto::billing::v1::{
    EnergyFlowType, NormalRetroType, ReadingFaultKind, ReadingsType, Reason, RegisterReading, TurnUpsideType,
};
use communal_proto::contract::v1::FaultKind;
use communal_proto::{Fault, Reason as _};
use rust_decimal::Decimal;

use super::stored::RegisterRead;
use crate::archive::verification::registers::{Register, is_beyond, measured_between, mismeasured};
use crate::metering::points::snapshot::{PointMeter, PointRegister, Snapshot, last_digits};
use crate::vocabulary::dates::day;
use crate::vocabulary::quantity::{QUANTITY_SCALE, READING_SCALE, checked_decimal};

/// A reading that is entered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entered {
    /// The meter.
    pub meter_id: String,
    /// The register.
    pub register: Register,
    /// The reading.
    pub reading: Decimal,
    /// The movement of the register since the last reading.
    pub turn: TurnUpsideType,
}

/// Reads readings one after another, and knows which registers came before.
#[derive(Debug, Default)]
pub struct Reader {
    /// A bit for each register of a meter.
    seen: HashMap<String, u32>,
}

impl Reader {
    /// Reads the next reading. A retro point has no readings, and a register has one.
    ///
    /// # Errors
    /// Returns the fault of the reading, its field without the row.
    pub fn read(&mut self, given: &RegisterReading) -> Result<Entered, Fault> {
        if given.run_kind() == NormalRetroType::Retro {
            let (description, text) = ("is 2: a retro run has no readings".to_owned(), "追补没有表底".to_owned());
            return Err(Fault { field: fields::RUN_KIND.into(), kind: FaultKind::Code, description, text });
        }
        let register = (given.energy_flow(), given.register());
        // Without its meter it is nobody's, whatever else is refused of it.
        let is_known = !given.meter_id.is_empty();
        let bit = 1 << (given.register + if register.0 == EnergyFlowType::Reverse { 16 } else { 0 });
        let seen = self.seen.entry(given.meter_id.clone()).or_default();
        if is_known && *seen & bit != 0 {
            return Err(Fault::rule(fields::REGISTER, "is a register that came before", "同一示数重复"));
        }
        *seen |= bit;
        Ok(Entered {
            meter_id: given.meter_id.clone(),
            register,
            reading: checked_decimal(&given.reading),
            turn: given.turn(),
        })
    }
}

/// The day and time of readings: yyyyMMdd and HHmmss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadAt {
    /// Day.
    pub day: i32,
    /// Time.
    pub time: i32,
}

/// Judges a reading by its billing point, and returns it with what the register measured.
///
/// # Errors
/// Returns the reason and fault of the reading, its field without the row: `REGISTER_NOT_FOUND`, or `None` for a fault
/// of the reading itself.
pub fn judge(entered: &Entered, point: &Snapshot, at: ReadAt) -> Result<RegisterRead, (Option<Reason>, Fault)> {
    let installed = point.registers.iter().find(|r| (r.flow(), r.register()) == entered.register);
    let (Some(meter), Some(register)) = (&point.meter, installed) else {
        let reason = Reason::RegisterNotFound;
        return Err((Some(reason), Fault::rule(fields::REGISTER, "is not installed", reason.text())));
    };
    if is_beyond(entered.reading, meter.digits) {
        let (english, chinese) =
            (format!("is not below 10^{}", meter.digits), format!("表底超出表码位数{}位", meter.digits));
        return Err((None, Fault::rule(fields::READING, english, chinese)));
    }
    let (metered, quantity) = measured(entered, meter, register).map_err(|fault| (None, fault))?;
    let digits = |value: Decimal, scale: u32| {
        let too_long = |_| (None, Fault::rule(fields::READING, "gives a quantity beyond 14 digits", "用量超出范围"));
        last_digits(value, scale).map_err(too_long)
    };
    Ok(RegisterRead {
        flow: register.flow,
        register: register.register,
        reading: digits(entered.reading, READING_SCALE)?,
        read_on: at.day,
        read_time: at.time,
        turn: entered.turn.into(),
        metered: digits(metered, QUANTITY_SCALE)?,
        quantity: digits(quantity, QUANTITY_SCALE)?,
    })
}

/// The objection to a reading, for a reason or for a fault of the reading itself.
#[must_use]
pub fn objection(reason: Option<Reason>, fault: Fault) -> Objection {
    match reason {
        Some(reason) => Objection::new(reason, fault),
        None => fault.into(),
    }
}

/// What a register measured since the last bill, and what is billed of it; each is rounded once.
fn measured(entered: &Entered, meter: &PointMeter, register: &PointRegister) -> Result<(Decimal, Decimal), Fault> {
    let (flow, kind) = entered.register;
    if kind == ReadingsType::Demand {
        // Its reading is the demand itself: there is no difference, and no movement.
        return match entered.turn {
            TurnUpsideType::Unspecified | TurnUpsideType::Normal => Ok((Decimal::ZERO, Decimal::ZERO)),
            _ => Err(Fault::rule(fields::TURN, "is not of a demand register", "需量没有倒走或翻转")),
        };
    }
    let last = register.last_reading();
    let product = measured_between(last, entered.reading, entered.turn, meter.digits, meter.multiplier())
        .map_err(|error| mismeasured(error, fields::TURN, last, entered.reading))?;
    let billed = if flow == EnergyFlowType::Forward {
        // Both are within 14 digits, as their columns and the measure are.
        round(product + register.old_quantity() + register.added_quantity(), QUANTITY_SCALE)
    } else {
        Decimal::ZERO
    };
    Ok((round(product, QUANTITY_SCALE), billed))
}

/// The bounds beyond which a reading deserves a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadingBounds {
    /// How many times its daily average, or what part of it, a register may measure.
    pub factor: Decimal,
    /// How much a register may move that has no average.
    pub first_movement: Decimal,
}

/// Returns true if a register that has no average to compare with moved further than it may: the meter's multiplier does not
/// count, so that one bound is of small and large customers.
///
/// # Errors
/// Returns an error if a quantity is out of range.
pub fn is_beyond_first(metered: Decimal, multiplier: Decimal, bound: Decimal) -> Result<bool, OutOfRange> {
    Ok(metered.abs() > bound.checked_mul(multiplier).ok_or(OutOfRange)?)
}

/// Returns the fault of a forward register of a meter: it is not read, or measured far more or less a day than in the
/// bills before. Before its first bill, it moved backwards or further than a register may that has no average. Demand has none.
///
/// # Errors
/// Returns an error if a quantity is out of range.
pub fn reading_fault(
    meter: &PointMeter,
    register: &PointRegister,
    read: Option<&RegisterRead>,
    bounds: &ReadingBounds,
) -> Result<Option<ReadingFaultKind>, OutOfRange> {
    if register.flow() != EnergyFlowType::Forward {
        return Ok(None);
    }
    let Some(read) = read else { return Ok(Some(ReadingFaultKind::Missing)) };
    if register.register() == ReadingsType::Demand {
        return Ok(None);
    }
    let is_backwards = read.metered().is_sign_negative() && !read.metered().is_zero();
    if register.billed_days <= 0 {
        let is_high = is_beyond_first(read.metered(), meter.multiplier(), bounds.first_movement)?;
        let of_first = is_high.then_some(ReadingFaultKind::High);
        return Ok(if is_backwards { Some(ReadingFaultKind::Low) } else { of_first });
    }
    // Whole days, at least the one on which it was read: quantities of as many days are compared.
    let days =
        day(read.read_on).zip(day(register.last_read_on)).map_or(1, |(now, last)| (now - last).num_days().max(1));
    let now = read.metered().checked_mul(Decimal::from(register.billed_days)).ok_or(OutOfRange)?;
    let before = register.metered_total().checked_mul(Decimal::from(days)).ok_or(OutOfRange)?;
    let too_high = before.checked_mul(bounds.factor).ok_or(OutOfRange)?;
    let too_low = now.checked_mul(bounds.factor).ok_or(OutOfRange)?;
    Ok(if is_backwards || too_low < before {
        Some(ReadingFaultKind::Low)
    } else if now > too_high {
        Some(ReadingFaultKind::High)
    } else {
        None
    })
}

/// A quantity of a comparison is out of range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a quantity is out of range")]
pub struct OutOfRange;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const AT: ReadAt = ReadAt { day: 20_240_315, time: 100_000 };

    fn decimal(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    fn point(flow: EnergyFlowType, register: ReadingsType, last: &str, multiplier: &str, old: &str) -> Snapshot {
        let register = PointRegister {
            flow: flow.into(),
            register: register.into(),
            last_reading: last_digits(decimal(last), 6).unwrap(),
            old_quantity: last_digits(decimal(old), 2).unwrap(),
            ..PointRegister::default()
        };
        let multiplier = last_digits(decimal(multiplier), 2).unwrap();
        let meter = Some(PointMeter { digits: 5, multiplier, ..PointMeter::default() });
        Snapshot { meter, registers: vec![register], ..Snapshot::default() }
    }

    fn entered(flow: EnergyFlowType, register: ReadingsType, reading: &str, turn: TurnUpsideType) -> Entered {
        Entered { meter_id: "M".into(), register: (flow, register), reading: decimal(reading), turn }
    }

    #[test]
    fn a_register_measures_its_difference_and_rounds_once() {
        use TurnUpsideType::{Backwards, Normal, Rollover, Unspecified};
        let total = |last: &str, this: &str, turn, rate: &str, old: &str| {
            let (flow, register) = (EnergyFlowType::Forward, ReadingsType::Total);
            judge(&entered(flow, register, this, turn), &point(flow, register, last, rate, old), AT)
                .map(|read| (read.metered().to_string(), read.quantity().to_string()))
                .map_err(|(reason, fault)| (reason, fault.field.to_string()))
        };
        let ok = |metered: &str, quantity: &str| Ok((metered.to_owned(), quantity.to_owned()));
        assert_eq!(total("100", "150.5", Normal, "1", "0"), ok("50.50", "50.50"));
        assert_eq!(total("100", "100", Unspecified, "1", "7.25"), ok("0.00", "7.25"));
        assert_eq!(total("99980", "25", Rollover, "20", "0"), ok("900.00", "900.00"));
        assert_eq!(total("110", "100", Backwards, "20", "250"), ok("-200.00", "50.00"));
        // The product alone is half a hundredth below zero, which is rounded away from it; the sum is rounded once.
        assert_eq!(total("100.005", "100", Backwards, "1", "1"), ok("-0.01", "1.00"));
        for (last, this, turn) in [("110", "100", Normal), ("100", "110", Backwards), ("100", "100", Rollover)] {
            assert_eq!(total(last, this, turn, "1", "0"), Err((None, "TURN_UPSIDE_TYPE".into())), "{last} {this}");
        }
        assert_eq!(total("0", "100000", Normal, "1", "0"), Err((None, "THE_METER_READ".into())));
        assert_eq!(total("0", "99999", Normal, "9999999999.99", "0"), Err((None, "TURN_UPSIDE_TYPE".into())));
    }

    #[test]
    fn demand_is_no_difference_and_what_flows_backwards_is_not_billed() {
        use EnergyFlowType::{Forward, Reverse};
        use ReadingsType::{Demand, Peak, Total};
        use TurnUpsideType::{Normal, Rollover};
        let judged = |given: Entered, point: Snapshot| {
            judge(&given, &point, AT)
                .map(|read| (read.metered().to_string(), read.quantity().to_string()))
                .map_err(|(reason, fault)| (reason, fault.field.to_string()))
        };
        let demand = || point(Forward, Demand, "50", "40", "0");
        let zero = Ok(("0.00".to_owned(), "0.00".to_owned()));
        assert_eq!(judged(entered(Forward, Demand, "1.5", Normal), demand()), zero, "it may be below the last");
        assert_eq!(judged(entered(Forward, Demand, "60", Rollover), demand()), Err((None, "TURN_UPSIDE_TYPE".into())));
        let reverse = judged(entered(Reverse, Total, "60", Normal), point(Reverse, Total, "50", "2", "3"));
        assert_eq!(reverse, Ok(("20.00".to_owned(), "0.00".to_owned())));
        let other = judged(entered(Forward, Peak, "60", Normal), point(Forward, Total, "50", "2", "0"));
        assert_eq!(other, Err((Some(Reason::RegisterNotFound), "READINGS_TYPE".into())));
        let without = Snapshot { meter: None, ..point(Forward, Total, "50", "2", "0") };
        let closed = judged(entered(Forward, Total, "60", Normal), without);
        assert_eq!(closed, Err((Some(Reason::RegisterNotFound), "READINGS_TYPE".into())));
    }

    #[test]
    fn a_reading_is_compared_with_the_daily_average_of_the_bills_before() {
        use ReadingFaultKind::{High, Low, Missing};
        use ReadingsType::{Demand, Total};
        // 300 in 60 days, and ten days since: 50 are expected.
        let register = |kind: ReadingsType, total: i64, days: i32| PointRegister {
            flow: EnergyFlowType::Forward.into(),
            register: kind.into(),
            last_read_on: 20_240_301,
            billed_days: days,
            metered_total: total * 100,
            ..PointRegister::default()
        };
        let read =
            |metered: i64| RegisterRead { read_on: 20_240_311, metered: metered * 100, ..RegisterRead::default() };
        // It moves 10 a time, 400 with the multiplier.
        let meter = PointMeter { multiplier: last_digits(decimal("40"), 2).unwrap(), ..PointMeter::default() };
        let bounds = ReadingBounds { factor: Decimal::from(3), first_movement: Decimal::from(10) };
        let judge = |register: &PointRegister, read: Option<&RegisterRead>| {
            reading_fault(&meter, register, read, &bounds).unwrap()
        };
        let fault = |register: PointRegister, metered: i64| judge(&register, Some(&read(metered)));
        let total = || register(Total, 300, 60);
        for (metered, expected) in
            [(50, None), (150, None), (151, Some(High)), (17, None), (16, Some(Low)), (-1, Some(Low))]
        {
            assert_eq!(fault(total(), metered), expected, "{metered}");
        }
        assert_eq!((fault(register(Total, 0, 60), 0), fault(register(Total, 0, 60), 1)), (None, Some(High)));
        // Before the first bill there is no average.
        for (metered, expected) in [(0, None), (400, None), (401, Some(High)), (-1, Some(Low)), (-401, Some(Low))] {
            assert_eq!(fault(register(Total, 0, 0), metered), expected, "{metered}");
        }
        assert_eq!(fault(register(Demand, 300, 60), 1_000), None);
        assert_eq!(judge(&total(), None), Some(Missing));
        let reverse = PointRegister { flow: EnergyFlowType::Reverse.into(), ..total() };
        assert_eq!(judge(&reverse, None), None);
        // On the day of the last reading one day is taken.
        let same_day = RegisterRead { read_on: 20_240_301, metered: 1_600, ..RegisterRead::default() };
        assert_eq!(judge(&total(), Some(&same_day)), Some(High));
    }

    #[test]
    fn a_register_is_read_once_and_not_of_a_retro_run() {
        let given = RegisterReading {
            meter_id: "M1".into(),
            run_kind: NormalRetroType::Normal.into(),
            energy_flow: EnergyFlowType::Forward.into(),
            register: ReadingsType::Total.into(),
            reading: "12.5".into(),
            turn: 0,
        };
        let mut reader = Reader::default();
        assert_eq!(reader.read(&given).unwrap().reading, decimal("12.5"));
        assert_eq!(reader.read(&given).unwrap_err().field.to_string(), "READINGS_TYPE");
        assert!(reader.read(&RegisterReading { meter_id: "M2".into(), ..given.clone() }).is_ok());
        let nameless = RegisterReading { meter_id: String::new(), ..given.clone() };
        assert!(reader.read(&nameless).is_ok() && reader.read(&nameless).is_ok(), "each may be of a meter of its own");
        let retro = RegisterReading { run_kind: NormalRetroType::Retro.into(), ..given };
        assert_eq!(reader.read(&retro).unwrap_err().field.to_string(), "NORMAL_RETRO_TYPE");
    }
}
