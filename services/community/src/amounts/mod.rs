//! Amounts: what a fee costs, and why. Pure: a caller passes in the terms of the fee item, the facts
//! of the payer object, the fee and the time; nothing is read and nothing is written.
//!
//! The computation has one pipeline. A [`unit`] amount at full precision, from a documented formula
//! or a custom one ([`formula`]); times [`months`] at four places; rounded once, at the end
//! ([`rounding`]). With M(t) as the months from the start of a fee to the day t, a span costs
//! round(unit × M(until)) − round(unit × M(from)). So the parts of a span add up to the whole, to
//! the cent, however it is cut.
//!
//! [`owed`] is the entry for lists, arrears and bills, [`Pricing::quote`] for quotes and payments.
//! Both keep their steps as values, so a caller can show them.

pub mod due;
pub mod escalation;
pub mod explanation;
pub mod fee;
pub mod formula;
pub mod item;
pub mod months;
pub mod payer;
pub mod pricing;
pub mod quote;
pub mod rounding;
#[cfg(test)]
mod tests;
pub mod unit;

pub use fee::{Bill, Course, Escalation, Fee, OneOff, Reading, Running, Span};
pub use item::ItemTerms;
pub use months::Months;
pub use payer::{Car, Contract, Payer, Room};
pub use pricing::{Line, Owed, Pricing};
pub use quote::{PaymentScope, Quote, QuoteError};
pub use rounding::AmountRounding;
pub use unit::{AmountError, Fact, Input, Unit};

use chrono::{NaiveDate, NaiveDateTime};

/// Returns the amount that a fee owes at `now`, with its steps. A `target` replaces the due instant
/// of a periodic or indirect fee: it is the last day to charge.
///
/// # Errors
/// Returns an [`AmountError`] if the fee has no amount: a fact is missing, the unit amount is
/// negative, or the decimals cannot hold it.
pub fn owed(
    item: &ItemTerms,
    payer: &Payer,
    fee: &Fee,
    now: NaiveDateTime,
    target: Option<NaiveDate>,
) -> Result<Owed, AmountError> {
    Pricing::new(item, payer, fee)?.owed(now, target)
}
