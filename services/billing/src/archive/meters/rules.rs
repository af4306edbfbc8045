//! The rules of meters. Pure.

use communal_proto::billing::v1::{ChangedMeter, DeviceType};
use communal_proto::{Fault, FieldPath, parse_decimal};
use rust_decimal::Decimal;

/// Returns true if a device counts; a transformer only scales what its meter counts, and its ratio is part of the
/// meter's multiplier.
#[must_use]
pub fn counts(kind: DeviceType) -> bool {
    !matches!(kind, DeviceType::VoltageTransformer | DeviceType::CurrentTransformer | DeviceType::Unspecified)
}

/// Judges the digits of a device: a meter has 1 to 10, a transformer none. 0 is "none".
#[must_use]
pub fn digits_fault(kind: DeviceType, digits: i32, field: FieldPath) -> Option<Fault> {
    match (kind, digits) {
        (DeviceType::Unspecified, _) => None,
        (kind, 0) if counts(kind) => Some(Fault::rule(field, "is required of a meter", "计量表必须有表码位数")),
        (kind, 1..) if !counts(kind) => Some(Fault::rule(field, "is not for a transformer", "互感器没有表码位数")),
        _ => None,
    }
}

/// What a meter measures by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measure {
    /// Utility.
    pub utility: crate::vocabulary::tariff::Utility,
    /// Kind.
    pub kind: DeviceType,
    /// Digits of a register; 0 for none.
    pub digits: i32,
    /// Factor from a difference of readings to a quantity.
    pub multiplier: Decimal,
}

impl Measure {
    /// Returns what a meter measures by after a change; what the change leaves out stays.
    #[must_use]
    pub fn changed(self, by: &ChangedMeter) -> Self {
        let given = |kind: DeviceType| kind != DeviceType::Unspecified;
        let kind = if given(by.meter_kind()) { by.meter_kind() } else { self.kind };
        // A meter that becomes a transformer loses its digits.
        let digits = if by.digits > 0 {
            by.digits
        } else if counts(kind) {
            self.digits
        } else {
            0
        };
        Self {
            utility: crate::vocabulary::tariff::or(by.utility(), self.utility),
            kind,
            digits,
            multiplier: parse_decimal(&by.meter_multiplier).unwrap_or(self.multiplier),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use communal_proto::billing::v1::NetworkType;

    use super::*;

    #[test]
    fn a_meter_has_digits_and_a_transformer_none() {
        let fault = |kind, digits| digits_fault(kind, digits, "METER_BIT".into()).is_some();
        assert!(!fault(DeviceType::Electricity, 6) && !fault(DeviceType::CurrentTransformer, 0));
        assert!(fault(DeviceType::Electricity, 0) && fault(DeviceType::CurrentTransformer, 6));
    }

    #[test]
    fn what_a_change_leaves_out_stays() {
        let measure =
            Measure { utility: NetworkType::Water, kind: DeviceType::ColdWater, digits: 5, multiplier: Decimal::ONE };
        assert_eq!(measure.changed(&ChangedMeter::default()), measure);
        let by = ChangedMeter { digits: 6, meter_multiplier: "2.5".into(), ..ChangedMeter::default() };
        assert_eq!(measure.changed(&by), Measure { digits: 6, multiplier: Decimal::new(25, 1), ..measure });
        let by = ChangedMeter { meter_kind: DeviceType::CurrentTransformer.into(), ..ChangedMeter::default() };
        assert_eq!(measure.changed(&by).digits, 0);
    }
}
