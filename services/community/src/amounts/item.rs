//! The terms of a fee item that amounts depend on.

use std::num::NonZeroU32;

use communal_proto::community::v1::{Formula, PaymentTiming};
use rust_decimal::Decimal;

use super::AmountRounding;
use super::formula::Expression;

/// The terms of a fee item. Whether a fee is periodic or one-off is its [`Course`](super::Course).
#[derive(Clone, Debug)]
pub struct ItemTerms {
    /// Code of the formula.
    pub formula: Formula,
    /// The custom formula; only code 7007 has one.
    pub expression: Option<Expression>,
    /// Unit price.
    pub price: Decimal,
    /// Additional amount; the whole amount of a fixed fee.
    pub additional_amount: Decimal,
    /// Prepaid or postpaid.
    pub timing: PaymentTiming,
    /// Payment cycle: the months of one period.
    pub cycle: NonZeroU32,
    /// Prepayment window: days before the due instant at which the next period may be paid. Postpaid
    /// items have none.
    pub window_days: u32,
    /// Rounding of the amount.
    pub rounding: AmountRounding,
}

impl ItemTerms {
    /// The prepayment window in days; zero for what is not prepaid.
    #[must_use]
    pub fn window(&self) -> u32 {
        if self.is_prepaid() { self.window_days } else { 0 }
    }

    /// Returns whether a period is due at its beginning.
    #[must_use]
    pub fn is_prepaid(&self) -> bool {
        self.timing == PaymentTiming::Prepaid
    }
}
