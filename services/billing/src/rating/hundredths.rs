//! Quantities as whole hundredths, so that a split of them is exact and fast.

use rust_decimal::Decimal;

use crate::vocabulary::quantity::QUANTITY_SCALE;

/// Hundredths of a unit in a whole.
const IN_A_UNIT: i64 = 100;

/// A quantity of whole hundredths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hundredths(i64);

impl Hundredths {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// So many hundredths.
    #[must_use]
    pub const fn new(number: i64) -> Self {
        Self(number)
    }

    /// So many whole units; `None` if it is out of range.
    #[must_use]
    pub fn of_units(units: i64) -> Option<Self> {
        units.checked_mul(IN_A_UNIT).map(Self)
    }

    /// A decimal of at most two places; `None` if it has more or is out of range.
    ///
    /// ```
    /// use communal_billing::rating::hundredths::Hundredths;
    /// use rust_decimal::Decimal;
    /// assert_eq!(Hundredths::exactly(Decimal::new(5, 0)), Some(Hundredths::new(500)));
    /// assert_eq!(Hundredths::exactly(Decimal::new(-1_500, 3)), Some(Hundredths::new(-150)));
    /// assert_eq!(Hundredths::exactly(Decimal::new(1, 3)), None);
    /// ```
    #[must_use]
    pub fn exactly(value: Decimal) -> Option<Self> {
        let short = if value.scale() > QUANTITY_SCALE { value.normalize() } else { value };
        let places = QUANTITY_SCALE.checked_sub(short.scale())?;
        let number = short.mantissa().checked_mul(10_i128.checked_pow(places)?)?;
        i64::try_from(number).ok().map(Self)
    }

    /// The number of hundredths.
    #[must_use]
    pub const fn number(self) -> i64 {
        self.0
    }

    /// The quantity as a decimal with two places.
    #[must_use]
    pub fn decimal(self) -> Decimal {
        Decimal::new(self.0, QUANTITY_SCALE)
    }

    /// True if there is nothing.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// True if it is below zero.
    #[must_use]
    pub const fn is_negative(self) -> bool {
        self.0 < 0
    }

    /// The sum; `None` if it is out of range.
    #[must_use]
    pub fn plus(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The difference; `None` if it is out of range.
    #[must_use]
    pub fn minus(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }
}
