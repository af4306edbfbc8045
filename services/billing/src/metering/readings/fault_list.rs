//! The list of readings that deserve a look: its rows, and the place at which a page of it begins. Pure.

use std::fmt;

use communal_kit::money::at_scale;
use communal_kit::refusal::Refusal;
use communal_proto::billing::v1::ReadingFault;
use communal_proto::contract::v1::Reason as Common;

use super::rules::{OutOfRange, ReadingBounds, reading_fault};
use super::shown::daily;
use super::store::ReadPoint;
use super::stored::RegisterRead;
use crate::vocabulary::quantity::{QUANTITY_SCALE, READING_SCALE};

/// A place in the list: after so many faults of an account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The book.
    pub book_id: String,
    /// The account.
    pub settlement_account_id: String,
    /// How many of its faults are before the place.
    pub faults: usize,
}

impl Place {
    /// Reads a place from a page token; the empty one is the beginning of a list, which may be that of a book.
    ///
    /// # Errors
    /// Returns `PAGE_INVALID` if there is no such place.
    pub fn read(after: &str, book_id: &str) -> Result<Self, Refusal> {
        if after.is_empty() {
            return Ok(Self { book_id: book_id.to_owned(), ..Self::default() });
        }
        let unknown = || Refusal::new(Common::PageInvalid, "分页标记不正确，请从第一页重新查询");
        let mut parts = after.split(' ');
        let (Some(book_id), Some(account), Some(faults), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(unknown());
        };
        let faults = faults.parse().map_err(|_| unknown())?;
        Ok(Self { book_id: book_id.to_owned(), settlement_account_id: account.to_owned(), faults })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.book_id, self.settlement_account_id, self.faults)
    }
}

/// The faults of the registers of a point.
///
/// # Errors
/// Returns an error if a quantity is out of range.
pub fn faults_of(book_id: &str, point: &ReadPoint, bounds: &ReadingBounds) -> Result<Vec<ReadingFault>, OutOfRange> {
    let mut faults = Vec::new();
    let Some(meter) = &point.snapshot.meter else { return Ok(faults) };
    for register in &point.snapshot.registers {
        let read = point.readings.of((register.flow(), register.register()));
        let Some(kind) = reading_fault(meter, register, read, bounds)? else { continue };
        faults.push(ReadingFault {
            kind: kind.into(),
            book_id: book_id.to_owned(),
            settlement_account_id: point.key.settlement_account_id.clone(),
            meter_id: meter.meter_id.clone(),
            register: register.register,
            last_reading_date: register.last_read_on,
            last_reading: at_scale(register.last_reading(), READING_SCALE),
            reading_date: read.map_or(0, |read| read.read_on),
            reading: at_scale(read.map(RegisterRead::reading).unwrap_or_default(), READING_SCALE),
            metered_quantity: at_scale(read.map(RegisterRead::metered).unwrap_or_default(), QUANTITY_SCALE),
            average_metered_quantity: at_scale(daily(register.metered_total(), register.billed_days), QUANTITY_SCALE),
        });
    }
    Ok(faults)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_place_is_read_as_it_is_written_and_no_other() {
        let place = Place { book_id: "B1".into(), settlement_account_id: "A1".into(), faults: usize::MAX };
        assert_eq!(Place::read(&place.to_string(), "").unwrap(), place);
        assert_eq!(Place::read("", "B1").unwrap(), Place { book_id: "B1".into(), ..Place::default() });
        for unknown in ["B1", "B1 A1", "B1 A1 x", "B1 A1 1 1", "B1 A1 -1"] {
            assert_eq!(Place::read(unknown, "").unwrap_err().reason(), "PAGE_INVALID", "{unknown}");
        }
    }
}
