//! Accumulators (累计用量): the quantities that a settlement account was billed so far, which decide its tier. They belong to the
//! account and stay with it, whatever its customer, meter or package. Charge-off moves them, and nothing else.

use rust_decimal::Decimal;

pub mod store;

/// The accumulators of an account, which has them from its first day on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccountAccumulators {
    /// The account month of the last bill, yyyyMM: the quantities are of it and of its year. `None` before the first bill.
    pub account_month: Option<i32>,
    /// Quantity billed in the year.
    pub year_quantity: Decimal,
    /// Quantity billed in the month.
    pub month_quantity: Decimal,
    /// Counts the changes.
    pub version: i64,
}
