//! Escalating rent (1102): a rent that rises by a rate each number of months.
//!
//! Blocks begin at anchors, so their borders are whole months. The rent of a block is the rent of
//! the block before, raised and rounded half up to four places; the first block that begins at the
//! escalation date is raised already.

use chrono::{Datelike, NaiveDate};
use communal_kit::money::round;
use rust_decimal::Decimal;

use super::{Escalation, Months};

/// Digits after the point of a rent in force.
const RENT_PLACES: u32 = 4;

/// The rents of a fee, block after block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rents {
    base: Decimal,
    /// The month, counted from the start of the fee, in which the rent first rises. It may be before
    /// the start.
    first_rise: i64,
    every: i64,
    rate: Decimal,
}

/// A block of months with one rent.
#[derive(Clone, Copy, Debug)]
struct Block {
    rent: Decimal,
    /// The month at which it ends.
    end: i64,
}

impl Rents {
    /// The rents of a fee that starts on `start`.
    #[must_use]
    pub fn new(base: Decimal, start: NaiveDate, escalation: Escalation) -> Self {
        let month = |day: NaiveDate| i64::from(day.year()) * 12 + i64::from(day.month0());
        let first_rise = month(escalation.from) - month(start);
        Self { base, first_rise, every: i64::from(escalation.every.get()), rate: escalation.rate }
    }

    /// The rents of all months up to `months`, each part of a month at its rent; `None` if the
    /// decimals cannot hold it.
    #[must_use]
    pub fn total(&self, months: Months) -> Option<Decimal> {
        let mut block = self.block_at_start()?;
        let (mut from, mut total) = (Months::ZERO, Decimal::ZERO);
        loop {
            let end = Months::whole(u32::try_from(block.end).unwrap_or(u32::MAX)).min(months);
            total = total.checked_add(block.rent.checked_mul(end.since(from).to_decimal())?)?;
            if end >= months {
                return Some(total);
            }
            from = end;
            block = self.next(block)?;
        }
    }

    /// The rent in force after so many months; `None` if the decimals cannot hold it.
    #[must_use]
    pub fn in_force(&self, months: Months) -> Option<Decimal> {
        let mut block = self.block_at_start()?;
        while block.end <= i64::from(months.completed()) {
            block = self.next(block)?;
        }
        Some(block.rent)
    }

    /// The block in which the fee starts.
    fn block_at_start(&self) -> Option<Block> {
        let mut block = Block { rent: self.base, end: self.first_rise };
        while block.end <= 0 {
            block = self.next(block)?;
        }
        Some(block)
    }

    fn next(&self, block: Block) -> Option<Block> {
        let raised = block.rent.checked_mul(Decimal::ONE.checked_add(self.rate)?)?;
        Some(Block { rent: round(raised, RENT_PLACES), end: block.end.checked_add(self.every)? })
    }
}
