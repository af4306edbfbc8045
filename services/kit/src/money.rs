//! Rounding of money, which no other module does.
//!
//! Money is a decimal with checked operations. It is rounded half up, away from zero, at named points
//! only: a printed line. A bill's total is the sum of its printed lines, so a total is never rounded
//! again.

use rust_decimal::{Decimal, RoundingStrategy};

/// The decimal places of an amount of money.
pub const CENTS: u32 = 2;

/// Rounds half up (four down, five up; negative amounts mirror positive ones).
///
/// ```
/// use communal_kit::money::round;
/// use rust_decimal::Decimal;
/// assert_eq!(round(Decimal::new(1_184_26, 3), 2), Decimal::new(118_43, 2)); // 220 × 0.5383
/// assert_eq!(round(Decimal::new(-5_005, 3), 2), Decimal::new(-5_01, 2));
/// ```
#[must_use]
pub fn round(value: Decimal, scale: u32) -> Decimal {
    value.round_dp_with_strategy(scale, RoundingStrategy::MidpointAwayFromZero)
}

/// Rounds up, away from zero, whatever the remainder is.
///
/// ```
/// use communal_kit::money::round_up;
/// use rust_decimal::Decimal;
/// assert_eq!(round_up(Decimal::new(2_682_904, 3), 2), Decimal::new(2_682_91, 2));
/// ```
#[must_use]
pub fn round_up(value: Decimal, scale: u32) -> Decimal {
    value.round_dp_with_strategy(scale, RoundingStrategy::AwayFromZero)
}

/// Rounds down, towards zero, whatever the remainder is.
///
/// ```
/// use communal_kit::money::round_down;
/// use rust_decimal::Decimal;
/// assert_eq!(round_down(Decimal::new(2_682_909, 3), 2), Decimal::new(2_682_90, 2));
/// ```
#[must_use]
pub fn round_down(value: Decimal, scale: u32) -> Decimal {
    value.round_dp_with_strategy(scale, RoundingStrategy::ToZero)
}

/// Formats a value with exactly `scale` decimal places. PostgreSQL returns zero without any, so every
/// decimal in an answer is formatted here.
///
/// ```
/// use communal_kit::money::at_scale;
/// use rust_decimal::Decimal;
/// assert_eq!(at_scale(Decimal::ZERO, 2), "0.00");
/// assert_eq!(at_scale(Decimal::new(5, 1), 6), "0.500000");
/// ```
#[must_use]
pub fn at_scale(value: Decimal, scale: u32) -> String {
    let mut value = round(value, scale);
    value.rescale(scale);
    value.to_string()
}
