//! Decimals as the fee-item lists write them.

use rust_decimal::Decimal;

/// The text of a decimal as a double prints it, which is what the documented lists have: no
/// needless zeros, but always a digit after the point. Never in scientific notation: that a
/// double would change to it at 10,000,000 is no part of the contract.
///
/// ```
/// use communal_community::vocabulary::decimals::as_double_prints;
/// use rust_decimal::Decimal;
/// assert_eq!(as_double_prints(Decimal::new(25_000, 4)), "2.5");
/// assert_eq!(as_double_prints(Decimal::new(100, 0)), "100.0");
/// assert_eq!(as_double_prints(Decimal::ZERO), "0.0");
/// assert_eq!(as_double_prints(Decimal::new(99_999_999_9999, 4)), "99999999.9999");
/// ```
#[must_use]
pub fn as_double_prints(value: Decimal) -> String {
    let mut value = value.normalize();
    if value.scale() == 0 {
        value.rescale(1);
    }
    value.to_string()
}
