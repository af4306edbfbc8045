//! Tests of amounts: tables of the worked examples, and properties.
#![allow(clippy::unwrap_used)]

mod examples;
mod months;
mod properties;
mod quotes;
mod units;

use std::num::NonZeroU32;

use chrono::{NaiveDate, NaiveDateTime};
use communal_proto::community::v1::{Formula, PaymentTiming, Rounding};
use rust_decimal::Decimal;

use super::{AmountRounding, Course, Fee, ItemTerms, Payer, Room, Running};
use crate::vocabulary::times;

fn decimal(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn day(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

/// A date means its first second.
fn time(text: &str) -> NaiveDateTime {
    times::start(text).unwrap()
}

const FAR: &str = "2050-01-01";

/// The item of the worked examples: 100 m² at 2.5, prepaid each month, half up to the cent.
fn item() -> ItemTerms {
    ItemTerms {
        formula: Formula::BuiltUpArea,
        expression: None,
        price: decimal("2.5"),
        additional_amount: Decimal::ZERO,
        timing: PaymentTiming::Prepaid,
        cycle: NonZeroU32::MIN,
        window_days: 0,
        rounding: AmountRounding { mode: Rounding::HalfUp, places: 2 },
    }
}

fn cycle(months: u32) -> NonZeroU32 {
    NonZeroU32::new(months).unwrap()
}

fn postpaid() -> ItemTerms {
    ItemTerms { timing: PaymentTiming::Postpaid, ..item() }
}

fn room_of(area: &str) -> Payer {
    Payer::Room(Room { built_up_area: Some(decimal(area)), ..Room::default() })
}

fn room() -> Payer {
    room_of("100")
}

fn running(start: &str, paid_through: &str, limit: &str) -> Fee {
    let course = Running::new(time(start), time(paid_through), None, times::end(limit).unwrap(), Vec::new()).unwrap();
    Fee::of(Course::Running(course))
}

fn with_credit(fee: Fee, credit: &str) -> Fee {
    Fee { credit: decimal(credit), ..fee }
}
