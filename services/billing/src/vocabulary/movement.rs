//! Movements of registers: what a register counted between two readings, and which one counts a period of the day.

use communal_proto::billing::v1::{ReadingsType, TurnUpsideType};
use rust_decimal::Decimal;

use super::tariff::Period;

/// The register that counts a period of the day.
#[must_use]
pub fn register_of(period: Period) -> ReadingsType {
    match period {
        Period::Peak => ReadingsType::Peak,
        Period::Flat => ReadingsType::Flat,
        Period::Valley => ReadingsType::Valley,
        Period::Sharp => ReadingsType::Sharp,
        Period::DeepValley => ReadingsType::DeepValley,
        Period::Whole | Period::Unspecified => ReadingsType::Total,
    }
}

/// Two readings of a register and how it moved between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Movement {
    /// The last reading that was billed.
    pub last: Decimal,
    /// This reading.
    pub this: Decimal,
    /// The movement; normal if it is not given.
    pub turn: TurnUpsideType,
    /// Digits before the point: at 10^digits the register starts again at zero.
    pub digits: u32,
    /// The multiplier from a difference of readings to a quantity.
    pub multiplier: Decimal,
}

/// Why two readings have no quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Miscount {
    /// The readings contradict the movement.
    Contradiction,
    /// The decimals cannot hold the quantity.
    OutOfRange,
}

impl Movement {
    /// What the meter counted, unrounded: (this − last, over the last digit where it rolled over) × multiplier.
    ///
    /// # Errors
    /// Returns `Contradiction` for a normal register that falls, one that ran backwards and rises, and one that rolled over
    /// and does not fall; `OutOfRange` if the decimals cannot hold the quantity.
    pub fn counted(&self) -> Result<Decimal, Miscount> {
        let Self { last, this, turn, digits, multiplier } = *self;
        let fits = match turn {
            TurnUpsideType::Unspecified | TurnUpsideType::Normal => this >= last,
            TurnUpsideType::Backwards => this <= last,
            TurnUpsideType::Rollover => this < last,
        };
        if !fits {
            return Err(Miscount::Contradiction);
        }
        let difference = this.checked_sub(last);
        let difference = if turn == TurnUpsideType::Rollover {
            let end = 10_i64.checked_pow(digits).map(Decimal::from);
            difference.zip(end).and_then(|(difference, end)| difference.checked_add(end))
        } else {
            difference
        };
        difference.and_then(|difference| difference.checked_mul(multiplier)).ok_or(Miscount::OutOfRange)
    }
}
