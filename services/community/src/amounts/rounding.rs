//! The rounding of an amount: the mode and the decimal places of its fee item (进位方式, 保留小数位).

use communal_kit::money;
use communal_proto::community::v1::Rounding;
use rust_decimal::Decimal;

/// The rounding of an amount, once, at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AmountRounding {
    /// The rounding mode. Unspecified, like the legacy codes 2 and 5, is half up.
    pub mode: Rounding,
    /// Digits kept after the point.
    pub places: u32,
}

impl AmountRounding {
    /// Rounds an amount. All modes mirror negative amounts.
    #[must_use]
    pub fn round(self, amount: Decimal) -> Decimal {
        match self.mode {
            Rounding::HalfUp | Rounding::Unspecified => money::round(amount, self.places),
            Rounding::Up => money::round_up(amount, self.places),
            Rounding::Down => money::round_down(amount, self.places),
        }
    }
}
