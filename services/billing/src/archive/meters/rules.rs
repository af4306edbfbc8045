//! The rules of meters. Pure.

use communal_proto::billing::v1::fields::new_meter;
use communal_proto::billing::v1::{ChangedMeter, DeviceType, NewMeter};
use communal_proto::{Coded as _, Fault, FieldName, FieldPath, parse_decimal};
use rust_decimal::Decimal;

use crate::vocabulary::tariff::Utility;

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

/// Returns true if a kind of device measures a utility. Hot water is sold as water or as heat, a flow meter measures what
/// flows in a pipe, and a heat meter measures cooling by the same difference of temperatures.
#[must_use]
pub fn measures(kind: DeviceType, utility: Utility) -> bool {
    use DeviceType as Kind;
    match utility {
        Utility::Water => matches!(kind, Kind::ColdWater | Kind::HotWater | Kind::Flow),
        Utility::Electricity => matches!(kind, Kind::Electricity | Kind::VoltageTransformer | Kind::CurrentTransformer),
        Utility::Gas => matches!(kind, Kind::Gas | Kind::Flow),
        Utility::Heat => matches!(kind, Kind::Heat | Kind::HotWater | Kind::Flow),
        Utility::Cooling => matches!(kind, Kind::Heat | Kind::Flow),
        Utility::Property | Utility::Lease | Utility::Unspecified => false,
    }
}

/// Judges the kind of a device: it is one that measures the utility. What is not given is no fault of this rule.
#[must_use]
pub fn kind_fault(kind: DeviceType, utility: Utility, field: FieldPath) -> Option<Fault> {
    let given = kind != DeviceType::Unspecified && utility != Utility::Unspecified;
    let chinese = || format!("{}不计量{}", kind.title(), utility.title());
    (given && !measures(kind, utility)).then(|| Fault::rule(field, "does not measure the utility", chinese()))
}

/// Judges the kind and the digits of a new meter.
pub fn faults(meter: &NewMeter, at: impl Fn(FieldName) -> FieldPath) -> impl Iterator<Item = Fault> {
    let kind = kind_fault(meter.meter_kind(), meter.utility(), at(new_meter::METER_KIND));
    kind.into_iter().chain(digits_fault(meter.meter_kind(), meter.digits, at(new_meter::DIGITS)))
}

/// What a meter measures by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measure {
    /// Utility.
    pub utility: Utility,
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
    fn a_kind_of_device_measures_its_utilities() {
        use DeviceType as Kind;
        let kinds = [
            Kind::HotWater,
            Kind::ColdWater,
            Kind::Gas,
            Kind::Flow,
            Kind::Electricity,
            Kind::Heat,
            Kind::VoltageTransformer,
            Kind::CurrentTransformer,
        ];
        let fitting = |utility| {
            let fits = |kind: &Kind| kind_fault(*kind, utility, "DEVICE_TYPE".into()).is_none();
            kinds.into_iter().filter(fits).map(DeviceType::code).collect::<Vec<_>>()
        };
        assert_eq!(fitting(NetworkType::Water), ["1", "2", "4"]);
        assert_eq!(fitting(NetworkType::Electricity), ["5", "7", "8"]);
        assert_eq!(fitting(NetworkType::Gas), ["3", "4"]);
        assert_eq!(fitting(NetworkType::Heat), ["1", "4", "6"]);
        assert_eq!(fitting(NetworkType::Cooling), ["4", "6"]);
        assert!(fitting(NetworkType::Property).is_empty() && fitting(NetworkType::Lease).is_empty());
        // What is missing is told by the contract, once.
        assert_eq!(fitting(NetworkType::Unspecified).len(), kinds.len());
        assert_eq!(kind_fault(Kind::Unspecified, NetworkType::Water, "DEVICE_TYPE".into()), None);
        let fault = kind_fault(Kind::ColdWater, NetworkType::Electricity, "DEVICE_TYPE".into()).unwrap();
        assert_eq!((fault.field.to_string().as_str(), fault.text.as_str()), ("DEVICE_TYPE", "冷水表不计量电"));
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
