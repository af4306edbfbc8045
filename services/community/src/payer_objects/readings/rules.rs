//! The rules of meter readings: how they are read, and what they refer to.

use std::collections::HashSet;

use communal_kit::refusal::Refusal;
use communal_proto::community::v1::fields::meter_reading as fields;
use communal_proto::community::v1::fields::register_meter_readings_request::READINGS;
use communal_proto::community::v1::{MeterReading, Reason, RegisterMeterReadingsRequest};
use communal_proto::{Checker, Fault, FieldName, parse_decimal};

use super::NewReading;
use crate::vocabulary::times;

/// A reading that names a fee item or a payer object which the community does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// Place in the request, from 0.
    pub row: usize,
    /// The fee item is unknown; otherwise the payer object.
    pub is_item: bool,
    /// The identifier.
    pub id: String,
}

/// Reads the readings of a request; `None` if anything is at fault.
pub fn of_register(request: &RegisterMeterReadingsRequest, checker: &mut Checker) -> Option<Vec<NewReading>> {
    let mut taken = HashSet::new();
    let mut readings = Vec::with_capacity(request.readings.len());
    for (row, reading) in request.readings.iter().enumerate() {
        // A malformed value is reported by the field rules.
        let Some(reading) = read(reading) else { continue };
        for fault in faults_of(&reading, &mut taken) {
            checker.push(Fault { field: READINGS.at(row).then(fault.field), ..fault });
        }
        readings.push(reading);
    }
    checker.is_clean().then_some(readings)
}

/// Reads a reading; `None` if a value is malformed.
#[must_use]
pub fn read(reading: &MeterReading) -> Option<NewReading> {
    Some(NewReading {
        payer_obj_id: reading.payer_obj_id.clone(),
        config_id: reading.config_id.clone(),
        meter_type: reading.meter_type(),
        pre_degrees: parse_decimal(&reading.pre_degrees)?,
        cur_degrees: parse_decimal(&reading.cur_degrees)?,
        pre_reading_time: times::start(&reading.pre_reading_time)?,
        cur_reading_time: times::start(&reading.cur_reading_time)?,
        price: parse_decimal(&reading.price),
        remark: String::new(),
    })
}

/// Finds what is wrong with a reading beyond its field rules. `taken` are the readings before it.
pub fn faults_of(reading: &NewReading, taken: &mut HashSet<(String, String, String)>) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut push = |field: FieldName, english: &str, chinese: &str| faults.push(Fault::rule(field, english, chinese));
    if reading.cur_degrees < reading.pre_degrees {
        push(fields::CUR_DEGREES, "is below preDegrees", "当前读数小于上期读数");
    }
    if reading.cur_reading_time < reading.pre_reading_time {
        push(fields::CUR_READING_TIME, "is before preReadingTime", "本期读表时间不能早于上期读表时间");
    }
    let key = (reading.payer_obj_id.clone(), reading.config_id.clone(), times::print(reading.cur_reading_time));
    if !taken.insert(key) {
        push(fields::CUR_READING_TIME, "is the same reading as another row", "抄表重复");
    }
    faults
}

/// Judges whether the fee items and payer objects of readings exist.
///
/// # Errors
/// Returns `FEE_ITEM_NOT_FOUND` or `PAYER_OBJECT_NOT_FOUND`, as the first unknown one is, with the
/// rows of all.
pub fn known(unknown: &[Unknown]) -> Result<(), Refusal> {
    let Some(first) = unknown.first() else { return Ok(()) };
    let fault = |unknown: &Unknown| {
        let (field, chinese) = if unknown.is_item {
            (fields::CONFIG_ID, format!("费用项{}不存在", unknown.id))
        } else {
            (fields::PAYER_OBJ_ID, format!("付费对象{}不存在", unknown.id))
        };
        Fault::rule(READINGS.at(unknown.row).then(field), "is none of the community", chinese)
    };
    let reason = if first.is_item { Reason::FeeItemNotFound } else { Reason::PayerObjectNotFound };
    Err(Refusal::new(reason, fault(first).text).faults(unknown.iter().map(fault).collect()))
}
