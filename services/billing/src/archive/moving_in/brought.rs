//! The rules of rows that a company brings along. Pure.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use communal_proto::billing::v1::fields::{brought_meter, brought_register, brought_settlement_account as account};
use communal_proto::billing::v1::{BroughtMeter, BroughtSettlementAccount, BusCategType};
use communal_proto::{Coded as _, Fault, FieldPath, parse_decimal};
use rust_decimal::Decimal;

use crate::archive::verification::registers::Register;
use crate::vocabulary::dates::{AccountMonth, day};

/// The first number of the identifiers that the service makes, as in the migrations.
const OWN_FROM: u64 = 500_000_000_000_000;

/// Returns true if an identifier is one that the service may make: a letter and fifteen digits, from [`OWN_FROM`] on.
#[must_use]
pub fn is_own(id: &str) -> bool {
    let digits = id.get(1..).filter(|digits| digits.len() == 15 && digits.bytes().all(|b| b.is_ascii_digit()));
    id.starts_with(|c: char| c.is_ascii_uppercase())
        && digits.and_then(|digits| digits.parse::<u64>().ok()).is_some_and(|number| number >= OWN_FROM)
}

/// Returns the fault of an identifier that a company cannot bring along.
#[must_use]
pub fn own_identifier(id: &str, field: impl Into<FieldPath>) -> Option<Fault> {
    is_own(id).then(|| Fault::rule(field, "is one that the service may make", "编号属于系统自编范围"))
}

/// Judges a settlement account: new, archived by today, and with quantities that are of a month.
#[must_use]
pub fn account_faults(brought: &BroughtSettlementAccount, today: NaiveDate) -> Vec<Fault> {
    let mut faults = Vec::new();
    let kind = brought.account.as_ref().map(|a| a.business_kind()).unwrap_or_default();
    if !matches!(kind, BusCategType::New | BusCategType::Unspecified) {
        let field =
            account::ACCOUNT.then(communal_proto::billing::v1::fields::verified_settlement_account::BUSINESS_KIND);
        faults.push(Fault::rule(field, format!("is {}, not 1", kind.code()), "业务类别应为新装"));
    }
    if day(brought.archived_on).is_some_and(|archived| archived > today) {
        faults.push(Fault::rule(account::ARCHIVED_ON, "is after today", "归档日期不能晚于今天"));
    }
    let quantity = |text: &str| parse_decimal(text).unwrap_or_default();
    let (of_year, of_month) = (quantity(&brought.year_quantity), quantity(&brought.month_quantity));
    let counted = !of_year.is_zero() || !of_month.is_zero();
    match AccountMonth::read(brought.account_month) {
        None if counted => {
            faults.push(Fault::rule(
                account::ACCOUNT_MONTH,
                "is required with accumulators",
                "有累计用量时账务月份必传",
            ));
        }
        // A month may be billed before its last day, and not before it comes.
        Some(month) if month > AccountMonth::of(today).next() => {
            faults.push(Fault::rule(account::ACCOUNT_MONTH, "is later than the month to come", "账务月份晚于下月"));
        }
        _ => {}
    }
    if of_month > of_year {
        faults.push(Fault::rule(account::MONTH_QUANTITY, "is more than that of its year", "月累计用量大于年累计用量"));
    }
    faults
}

/// A register of a meter that is brought along.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brought {
    /// Its place in the meter.
    pub row: usize,
    /// The reading that was billed last.
    pub last_reading: Decimal,
    /// The day on which it was read.
    pub last_read_on: NaiveDate,
    /// What earlier meters measured since, not billed yet.
    pub old_quantity: Decimal,
}

/// Reads the registers of a meter; a register that comes twice, a reading beyond the digits or of a day to come is a
/// fault.
pub fn registers(meter: &BroughtMeter, today: NaiveDate, faults: &mut Vec<Fault>) -> BTreeMap<Register, Brought> {
    let digits = meter.meter.as_ref().map_or(0, |m| m.digits);
    let end = u32::try_from(digits).ok().and_then(|digits| 10_i64.checked_pow(digits)).map(Decimal::from);
    let mut registers = BTreeMap::new();
    for (row, given) in meter.registers.iter().enumerate() {
        let at = |field| brought_meter::REGISTERS.at(row).then(field);
        let last_reading = parse_decimal(&given.last_reading).unwrap_or_default();
        if end.is_some_and(|end| last_reading >= end) {
            let english = format!("is not below 10^{digits}");
            faults.push(Fault::rule(
                at(brought_register::LAST_READING),
                english,
                format!("表底超出表码位数{digits}位"),
            ));
        }
        let Some(last_read_on) = day(given.last_read_date) else { continue };
        if last_read_on > today {
            faults.push(Fault::rule(
                at(brought_register::LAST_READ_DATE),
                "is after today",
                "上次抄表日期不能晚于今天",
            ));
        }
        let old_quantity = parse_decimal(&given.old_quantity).unwrap_or_default();
        let multiplier = meter.meter.as_ref().and_then(|m| parse_decimal(&m.meter_multiplier)).unwrap_or(Decimal::ONE);
        if end.and_then(|end| end.checked_mul(multiplier)).is_some_and(|end| old_quantity >= end) {
            let english = format!("is not below 10^{digits} times the multiplier");
            let text = format!("旧表用量超出表码位数{digits}位乘以倍率");
            faults.push(Fault::rule(at(brought_register::OLD_QUANTITY), english, text));
        }
        let brought = Brought { row, last_reading, last_read_on, old_quantity };
        if registers.insert((given.energy_flow(), given.register()), brought).is_some() {
            faults.push(Fault::rule(brought_meter::REGISTERS.at(row), "comes twice", "示数重复"));
        }
    }
    registers
}

#[cfg(test)]
mod tests {
    use communal_proto::billing::v1::{BroughtRegister, NewMeter};

    use super::*;

    #[test]
    fn only_identifiers_of_the_services_form_and_range_are_its_own() {
        for own in ["K500000000000000", "A999999999999999"] {
            assert!(is_own(own), "{own}");
        }
        for brought in ["K499999999999999", "k500000000000000", "K50000000000000", "5000000000000000", "", "客"] {
            assert!(!is_own(brought), "{brought}");
        }
    }

    fn today() -> NaiveDate {
        NaiveDate::from_ymd_opt(2026, 11, 27).unwrap_or_default()
    }

    #[test]
    fn quantities_are_of_a_month_that_is_billed_and_fit_each_other() {
        let told = |account_month: i32, month: &str, year: &str| {
            let brought = BroughtSettlementAccount {
                account_month,
                month_quantity: month.into(),
                year_quantity: year.into(),
                archived_on: 20_200_101,
                ..BroughtSettlementAccount::default()
            };
            account_faults(&brought, today()).into_iter().map(|f| f.field.to_string()).collect::<Vec<_>>()
        };
        for good in [told(202_611, "20", "300"), told(202_612, "300", "300"), told(0, "", ""), told(0, "0", "0")] {
            assert_eq!(good, [""; 0]);
        }
        assert_eq!(told(0, "20", "300"), ["ACCOUNT_MONTH"]);
        assert_eq!(told(203_001, "20", "300"), ["ACCOUNT_MONTH"]);
        assert_eq!(told(202_611, "301", "300"), ["ACCU_MONTH_CONS"]);
    }

    #[test]
    fn what_earlier_meters_measured_is_no_more_than_the_register_shows() {
        let told = |old_quantity: &str| {
            let meter = NewMeter { digits: 5, meter_multiplier: "2".into(), ..NewMeter::default() };
            let register = BroughtRegister {
                last_reading: "1".into(),
                last_read_date: 20_261_101,
                old_quantity: old_quantity.into(),
                ..BroughtRegister::default()
            };
            let meter = BroughtMeter { meter: Some(meter), registers: vec![register], ..BroughtMeter::default() };
            let mut faults = Vec::new();
            registers(&meter, today(), &mut faults);
            faults.len()
        };
        assert_eq!((told("199999.99"), told("200000"), told("")), (0, 1, 0));
    }
}
