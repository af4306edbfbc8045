//! The scales of quantities and unit prices, and how checked texts become decimals.

use communal_kit::money::round;
use communal_proto::parse_decimal;
use rust_decimal::Decimal;

/// Digits after the point of a quantity (用量).
pub const QUANTITY_SCALE: u32 = 2;
/// Digits after the point of a unit price (单价).
pub const UNIT_PRICE_SCALE: u32 = 6;
/// Digits after the point of a ratio (比例、系数).
pub const RATIO_SCALE: u32 = 4;
/// Digits after the point of a coordinate (坐标).
pub const COORDINATE_SCALE: u32 = 8;
/// Digits after the point of a reading (表底).
pub const READING_SCALE: u32 = 6;
/// Digits after the point of a multiplier (倍率).
pub const MULTIPLIER_SCALE: u32 = 2;

/// Reads a decimal. The field rules have read the text before; what they refuse never gets here.
#[must_use]
pub fn checked_decimal(text: &str) -> Decimal {
    parse_decimal(text).unwrap_or_default()
}

/// Reads a unit price at its scale.
#[must_use]
pub fn unit_price(text: &str) -> Decimal {
    at_unit_price_scale(checked_decimal(text))
}

/// The same price with exactly [`UNIT_PRICE_SCALE`] digits after the point. PostgreSQL sends a zero
/// without any.
#[must_use]
pub fn at_unit_price_scale(price: Decimal) -> Decimal {
    let mut price = round(price, UNIT_PRICE_SCALE);
    price.rescale(UNIT_PRICE_SCALE);
    price
}
