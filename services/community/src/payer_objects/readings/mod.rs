//! Meter readings (抄表): the degrees by which formulas 5005 and 9009 charge.

pub mod rules;
pub mod store;

use chrono::NaiveDateTime;
use communal_proto::community::v1::MeterType;
use rust_decimal::Decimal;

/// A reading, read from a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewReading {
    /// Payer object.
    pub payer_obj_id: String,
    /// Fee item that charges by it.
    pub config_id: String,
    /// Type of the meter.
    pub meter_type: MeterType,
    /// Previous degrees.
    pub pre_degrees: Decimal,
    /// Current degrees.
    pub cur_degrees: Decimal,
    /// Time of the previous reading.
    pub pre_reading_time: NaiveDateTime,
    /// Time of this reading.
    pub cur_reading_time: NaiveDateTime,
    /// Unit price of formula 9009.
    pub price: Option<Decimal>,
    /// Remark.
    pub remark: String,
}
