//! The registers of an account's meter: which it needs, which readings are given, and what a meter has measured when it
//! is taken off. Pure.

use std::collections::{BTreeMap, BTreeSet};

use communal_kit::money::round;
use communal_kit::objections::Objections;
use communal_proto::billing::v1::fields::boundary_reading as fields;
use communal_proto::billing::v1::fields::settle_device_verify_request::READINGS;
use communal_proto::billing::v1::{
    BoundaryReading, EnergyFlowType, NormalRetroType, ReadingsType, Reason, TurnUpsideType,
};
use communal_proto::contract::v1::FaultKind;
use communal_proto::{Checker, Coded as _, Fault, FieldPath, parse_decimal};
use rust_decimal::Decimal;

use crate::vocabulary::movement::{Miscount, Movement, register_of};
use crate::vocabulary::quantity::QUANTITY_SCALE;
use crate::vocabulary::tariff::{TimeOfUse, periods};

/// A register of a meter: its direction and what it counts.
pub type Register = (EnergyFlowType, ReadingsType);

/// What decides which registers an account needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// The splits of the day of its packages, the temporary one among them.
    pub times_of_use: Vec<TimeOfUse>,
    /// True if a power factor is assessed.
    pub reactive: bool,
    /// True if a basic fee is by demand.
    pub demand: bool,
}

impl Needs {
    /// The registers that are needed, all forward.
    #[must_use]
    pub fn registers(&self) -> BTreeSet<ReadingsType> {
        let periods = self.times_of_use.iter().flat_map(|time_of_use| periods(*time_of_use));
        let mut needed: BTreeSet<_> = periods.map(|period| register_of(*period)).collect();
        if self.reactive {
            needed.insert(ReadingsType::Reactive);
        }
        if self.demand {
            needed.insert(ReadingsType::Demand);
        }
        needed
    }

    /// Names the registers that are needed and not there; `None` if all are.
    #[must_use]
    pub fn missing(&self, there: impl IntoIterator<Item = Register>) -> Option<String> {
        let there: BTreeSet<_> = there.into_iter().collect();
        let missing = self.registers().into_iter().filter(|r| !there.contains(&(EnergyFlowType::Forward, *r)));
        let names: Vec<_> = missing.map(|register| format!("{}-{}", register.code(), register.title())).collect();
        (!names.is_empty()).then(|| names.join("、"))
    }
}

/// A reading of a register, as it is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// Its place in the request.
    pub row: usize,
    /// The reading.
    pub reading: Decimal,
    /// The movement of the register since the last reading.
    pub turn: TurnUpsideType,
}

/// The readings of a request by meter and register.
pub type Readings = BTreeMap<String, BTreeMap<Register, Given>>;

/// Reads the readings; what is given twice, or is of a retro run, goes to the checker.
pub fn read(given: &[BoundaryReading], checker: &mut Checker) -> Readings {
    let mut readings = Readings::new();
    for (row, given) in given.iter().enumerate() {
        if given.run_kind() == NormalRetroType::Retro {
            let field = READINGS.at(row).then(fields::RUN_KIND);
            let (description, text) = ("is 2: a retro run has no readings".to_owned(), "追补没有表底".to_owned());
            checker.push(Fault { field, kind: FaultKind::Code, description, text });
        }
        let register = (given.energy_flow(), given.register());
        let reading = parse_decimal(&given.reading).unwrap_or_default();
        let turn = given.turn();
        let of_meter = readings.entry(given.meter_id.clone()).or_default();
        if let Some(first) = of_meter.insert(register, Given { row, reading, turn }) {
            let (here, first) = (READINGS.at(row), READINGS.at(first.row));
            checker.push(Fault::rule(
                here,
                format!("is the register of {first} again"),
                format!("与{first}的示数重复"),
            ));
        }
    }
    readings
}

/// Returns true if a register of so many digits cannot show a reading.
#[must_use]
pub fn is_beyond(reading: Decimal, digits: i32) -> bool {
    let end = u32::try_from(digits).ok().and_then(|digits| 10_i64.checked_pow(digits)).map(Decimal::from);
    end.is_none_or(|end| reading >= end)
}

/// Returns the fault of a reading that a register of so many digits cannot show.
fn beyond(reading: Decimal, digits: i32, row: usize) -> Option<Fault> {
    let field = READINGS.at(row).then(fields::READING);
    is_beyond(reading, digits)
        .then(|| Fault::rule(field, format!("is not below 10^{digits}"), format!("表底超出表码位数{digits}位")))
}

/// Why two readings of a register give no quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mismeasure {
    /// The movement does not fit them.
    Movement,
    /// The quantity has more than 14 digits.
    Beyond,
}

/// Returns the fault of the field that has the movement between two readings.
#[must_use]
pub fn mismeasured(mismeasure: Mismeasure, field: impl Into<FieldPath>, last: Decimal, this: Decimal) -> Fault {
    match mismeasure {
        Mismeasure::Movement => {
            let english = format!("does not fit: the reading is {this} and was {last}");
            Fault::rule(field, english, format!("与表底不符：上次表底{last}，本次表底{this}"))
        }
        Mismeasure::Beyond => Fault::rule(field, "gives a quantity beyond 14 digits", "用量超出范围"),
    }
}

/// Returns what a register measured between two readings, not rounded.
///
/// # Errors
/// Returns an error if the movement does not fit the readings, or the quantity is too large.
pub fn measured_between(
    last: Decimal,
    this: Decimal,
    turn: TurnUpsideType,
    digits: i32,
    multiplier: Decimal,
) -> Result<Decimal, Mismeasure> {
    let digits = u32::try_from(digits).map_err(|_| Mismeasure::Beyond)?;
    let quantity = Movement { last, this, turn, digits, multiplier }.counted().map_err(|miscount| match miscount {
        Miscount::Contradiction => Mismeasure::Movement,
        Miscount::OutOfRange => Mismeasure::Beyond,
    })?;
    if quantity.abs() < Decimal::from(99_999_999_999_999_i64) { Ok(quantity) } else { Err(Mismeasure::Beyond) }
}

/// Judges the opening readings of a meter: each fits its digits, and every register that is needed has one.
#[must_use]
pub fn judge_opening(readings: &BTreeMap<Register, Given>, digits: i32, needs: &Needs, meter: FieldPath) -> Objections {
    let mut objections = Objections::default();
    for given in readings.values() {
        if let Some(fault) = beyond(given.reading, digits, given.row) {
            objections.push(Reason::MeterUnfit, fault);
        }
        if !matches!(given.turn, TurnUpsideType::Unspecified | TurnUpsideType::Normal) {
            let field = READINGS.at(given.row).then(fields::TURN);
            objections
                .push(Reason::MeterUnfit, Fault::rule(field, "is not of an opening reading", "装表表底没有倒走或翻转"));
        }
    }
    if let Some(missing) = needs.missing(readings.keys().copied()) {
        let english = format!("lacks an opening reading of registers {missing}");
        objections.push(Reason::MeterUnfit, Fault::rule(meter, english, format!("缺少示数：{missing}")));
    }
    objections
}

/// Judges the opening readings of a meter that was on an account before: it shows what it showed when it was taken off. `shown` are
/// these readings; they are none of a meter that is new, or was reset since.
#[must_use]
pub fn judge_return(readings: &BTreeMap<Register, Given>, shown: &BTreeMap<Register, Decimal>) -> Objections {
    let mut objections = Objections::default();
    for (register, given) in readings {
        let Some(last) = shown.get(register).filter(|last| **last != given.reading) else { continue };
        let last = last.normalize();
        let english = format!("is not {last}, which the meter showed when it was taken off, and no reset is recorded");
        let text = format!("装置拆下时该示数为{last}，未登记检修清零（RecordMeterReset）");
        let field = READINGS.at(given.row).then(fields::READING);
        objections.push(Reason::MeterUnfit, Fault::rule(field, english, text));
    }
    objections
}

/// A register of the meter that is taken off, as it was last billed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// The register.
    pub register: Register,
    /// Its latest reading that is billed, or the opening one.
    pub last_reading: Decimal,
    /// What meters before it measured, not billed yet.
    pub old_quantity: Decimal,
}

/// What a register of a meter that is taken off has measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// The register.
    pub register: Register,
    /// The closing reading.
    pub reading: Decimal,
    /// Its movement since the last reading.
    pub turn: TurnUpsideType,
    /// The quantity since the last reading.
    pub quantity: Decimal,
    /// That and what meters before it measured: not billed yet.
    pub carried: Decimal,
}

/// A meter that is taken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TakenOff {
    /// Digits of its registers.
    pub digits: i32,
    /// The multiplier from a difference of readings to a quantity.
    pub multiplier: Decimal,
    /// The multiplier of its demand register if the account is closed with it; `None` if another meter follows, which shows the
    /// demand of the month.
    pub last_demand: Option<Decimal>,
}

/// Closes the registers of a meter: each has a closing reading, which fits its digits and its movement.
///
/// A demand register has no quantity, and what flows backwards is never billed. The last bill of a closed account has no
/// reading: the demand that the register shows at the close is carried to it.
///
/// # Errors
/// Returns the objections to the readings.
pub fn close(
    installed: &[Installed],
    readings: &BTreeMap<Register, Given>,
    old: &TakenOff,
    meter: &FieldPath,
) -> Result<Vec<Closed>, Objections> {
    let mut objections = Objections::default();
    let mut closed = Vec::new();
    let known: BTreeSet<_> = installed.iter().map(|i| i.register).collect();
    for (_, given) in readings.iter().filter(|(register, _)| !known.contains(register)) {
        let field = READINGS.at(given.row).then(fields::REGISTER);
        objections.push(Reason::MeterUnfit, Fault::rule(field, "is not installed", "该示数未安装"));
    }
    for installed in installed {
        let Some(given) = readings.get(&installed.register) else {
            let (_, register) = installed.register;
            let english = format!("lacks a closing reading of register {}", register.code());
            let chinese = format!("缺少拆表示数：{}-{}", register.code(), register.title());
            objections.push(Reason::MeterUnfit, Fault::rule(meter.clone(), english, chinese));
            continue;
        };
        if let Some(fault) = beyond(given.reading, old.digits, given.row) {
            objections.push(Reason::MeterUnfit, fault);
            continue;
        }
        let outcome = measured(installed, given, old)
            .and_then(|quantity| Ok((quantity, carried(installed, given, quantity, old.last_demand)?)));
        match outcome {
            Err(fault) => objections.push(Reason::MeterUnfit, fault),
            Ok((quantity, carried)) => closed.push(Closed {
                register: installed.register,
                reading: given.reading,
                turn: given.turn,
                quantity,
                carried,
            }),
        }
    }
    if objections.is_empty() { Ok(closed) } else { Err(objections) }
}

/// The quantity since the last reading, rounded once.
fn measured(installed: &Installed, given: &Given, old: &TakenOff) -> Result<Decimal, Fault> {
    let (flow, register) = installed.register;
    if register == ReadingsType::Demand || flow != EnergyFlowType::Forward {
        return Ok(Decimal::ZERO);
    }
    let (this, last) = (given.reading, installed.last_reading);
    measured_between(last, this, given.turn, old.digits, old.multiplier)
        .map(|quantity| round(quantity, QUANTITY_SCALE))
        .map_err(|mismeasure| mismeasured(mismeasure, READINGS.at(given.row).then(fields::TURN), last, this))
}

/// What a register that is closed leaves to the next bill.
fn carried(
    installed: &Installed,
    given: &Given,
    quantity: Decimal,
    last_demand: Option<Decimal>,
) -> Result<Decimal, Fault> {
    let carried = match (installed.register, last_demand) {
        ((EnergyFlowType::Forward, ReadingsType::Demand), Some(multiplier)) => {
            given.reading.checked_mul(multiplier).map(|demand| round(demand, QUANTITY_SCALE))
        }
        _ => installed.old_quantity.checked_add(quantity),
    };
    let fits = |carried: &Decimal| carried.abs() < Decimal::from(99_999_999_999_999_i64);
    carried.filter(fits).ok_or_else(|| {
        let field = READINGS.at(given.row).then(fields::READING);
        Fault::rule(field, "gives a quantity beyond 14 digits", "用量超出范围")
    })
}

/// Judges a swap: what the old meter measured has a matching register on the new one.
#[must_use]
pub fn judge_swap(closed: &[Closed], new: &BTreeMap<Register, Given>, meter: &FieldPath) -> Objections {
    let mut objections = Objections::default();
    for closed in closed.iter().filter(|c| !c.carried.is_zero() && !new.contains_key(&c.register)) {
        let (_, register) = closed.register;
        let english = format!("has no register {} for the {} of the old meter", register.code(), closed.carried);
        let chinese =
            format!("新表没有示数{}-{}，旧表用量{}无法结转", register.code(), register.title(), closed.carried);
        objections.push(Reason::MeterUnfit, Fault::rule(meter.clone(), english, chinese));
    }
    objections
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const TOTAL: Register = (EnergyFlowType::Forward, ReadingsType::Total);

    fn decimal(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    fn given(reading: &str, turn: TurnUpsideType) -> Given {
        Given { row: 0, reading: decimal(reading), turn }
    }

    fn old(multiplier: &str, last_demand: Option<&str>) -> TakenOff {
        TakenOff { digits: 5, multiplier: decimal(multiplier), last_demand: last_demand.map(decimal) }
    }

    fn installed(register: Register, last: &str) -> Installed {
        Installed { register, last_reading: decimal(last), old_quantity: decimal("2.50") }
    }

    #[test]
    fn an_account_needs_what_its_packages_and_parameters_say() {
        use ReadingsType::{DeepValley, Demand, Flat, Peak, Reactive, Sharp, Total, Valley};
        let needed = |times_of_use: &[TimeOfUse], reactive, demand| {
            let needs = Needs { times_of_use: times_of_use.to_vec(), reactive, demand };
            needs.registers().into_iter().collect::<Vec<_>>()
        };
        assert_eq!(needed(&[TimeOfUse::One], false, false), [Total]);
        assert_eq!(needed(&[TimeOfUse::Two], false, false), [Peak, Valley]);
        assert_eq!(needed(&[TimeOfUse::Three], true, false), [Peak, Flat, Valley, Reactive]);
        assert_eq!(needed(&[TimeOfUse::Five], false, true), [Sharp, Peak, Flat, Valley, DeepValley, Demand]);
        assert_eq!(needed(&[TimeOfUse::One, TimeOfUse::Two], false, false), [Total, Peak, Valley]);
        let two = Needs { times_of_use: vec![TimeOfUse::Two], ..Needs::default() };
        let reverse_peak = (EnergyFlowType::Reverse, Peak);
        let valley = (EnergyFlowType::Forward, Valley);
        assert_eq!(two.missing([reverse_peak, valley, TOTAL]).as_deref(), Some("3-峰"), "only forward ones count");
    }

    #[test]
    fn a_closing_reading_fits_its_movement_and_is_multiplied_and_rounded_once() {
        use TurnUpsideType::{Backwards, Normal, Rollover, Unspecified};
        let quantity = |last: &str, this: &str, turn| {
            let readings = BTreeMap::from([(TOTAL, given(this, turn))]);
            close(&[installed(TOTAL, last)], &readings, &old("20", None), &"M".into())
                .map(|closed| (closed[0].quantity.to_string(), closed[0].carried.to_string()))
                .map_err(|objections| objections.iter().next().unwrap().fault().field.to_string())
        };
        let ok = |quantity: &str, carried: &str| Ok((quantity.to_owned(), carried.to_owned()));
        assert_eq!(quantity("100", "110.12345", Normal), ok("202.47", "204.97"));
        assert_eq!(quantity("100", "100", Unspecified), ok("0", "2.50"));
        assert_eq!(quantity("110", "100", Backwards), ok("-200", "-197.50"));
        assert_eq!(quantity("99980", "25", Rollover), ok("900", "902.50"));
        let turn = Err("COM_METER_INFO[0].TURN_UPSIDE_TYPE".to_owned());
        for (last, this, wrong) in [("110", "100", Normal), ("100", "110", Backwards), ("100", "100", Rollover)] {
            assert_eq!(quantity(last, this, wrong), turn, "{last} {this} {wrong:?}");
        }
        assert_eq!(quantity("0", "100000", Normal), Err("COM_METER_INFO[0].THE_METER_READ".to_owned()));
    }

    #[test]
    fn demand_and_reverse_registers_have_no_quantity() {
        for register in
            [(EnergyFlowType::Forward, ReadingsType::Demand), (EnergyFlowType::Reverse, ReadingsType::Total)]
        {
            let readings = BTreeMap::from([(register, given("1", TurnUpsideType::Normal))]);
            let closed = close(&[installed(register, "50")], &readings, &old("1", None), &"M".into()).unwrap();
            assert_eq!(closed[0].quantity, Decimal::ZERO);
        }
    }

    #[test]
    fn the_demand_at_the_close_of_an_account_is_carried_to_its_last_bill() {
        let demand = (EnergyFlowType::Forward, ReadingsType::Demand);
        let readings = BTreeMap::from([(demand, given("12.345", TurnUpsideType::Normal))]);
        let register = Installed { register: demand, last_reading: decimal("50"), old_quantity: Decimal::ZERO };
        let carried = |last_demand| {
            let closed =
                close(std::slice::from_ref(&register), &readings, &old("20", last_demand), &"M".into()).unwrap();
            (closed[0].quantity.to_string(), closed[0].carried.to_string())
        };
        assert_eq!(carried(Some("100")), ("0".to_owned(), "1234.50".to_owned()));
        assert_eq!(carried(None), ("0".to_owned(), "0".to_owned()), "the next meter shows the demand of the month");
    }

    #[test]
    fn a_swap_loses_no_quantity() {
        let readings = BTreeMap::from([(TOTAL, given("60", TurnUpsideType::Normal))]);
        let closed = close(&[installed(TOTAL, "50")], &readings, &old("1", None), &"M".into()).unwrap();
        assert!(judge_swap(&closed, &readings, &"M".into()).is_empty());
        assert!(!judge_swap(&closed, &BTreeMap::new(), &"M".into()).is_empty());
        assert!(close(&[installed(TOTAL, "50")], &BTreeMap::new(), &old("1", None), &"M".into()).is_err());
    }
}
