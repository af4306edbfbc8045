//! The ratios at which areas of vacant premises are charged (空置比例), by utility. No documented interface gives them, so they
//! are a setting.

use std::collections::BTreeMap;
use std::str::FromStr;

use communal_proto::{Coded as _, parse_decimal};
use rust_decimal::Decimal;

use super::quantity::RATIO_SCALE;
use super::tariff::Utility;

/// The ratios that are set. A utility without one charges the whole area.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VacancyRatios(BTreeMap<Utility, Decimal>);

impl VacancyRatios {
    /// The ratio of a utility.
    #[must_use]
    pub fn of(&self, utility: Utility) -> Decimal {
        self.0.get(&utility).copied().unwrap_or(Decimal::ONE)
    }
}

impl FromStr for VacancyRatios {
    type Err = &'static str;

    /// Reads `4=0.6,5=0.5`: the documented code of a utility, and its ratio from 0 to 1.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut ratios = BTreeMap::new();
        for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let (code, ratio) = pair.split_once('=').ok_or("is not a list like 4=0.6,5=0.5")?;
            let utility = Utility::from_code(code.trim()).ok_or("names a utility that is not 1 to 7")?;
            let ratio = parse_decimal(ratio.trim()).ok_or("has a ratio that is no decimal")?;
            if ratio < Decimal::ZERO || ratio > Decimal::ONE || ratio.normalize().scale() > RATIO_SCALE {
                return Err("has a ratio that is not from 0 to 1 with at most four places");
            }
            if ratios.insert(utility, ratio).is_some() {
                return Err("names a utility twice");
            }
        }
        Ok(Self(ratios))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn each_utility_has_its_ratio_and_the_others_charge_the_whole_area() {
        let ratios: VacancyRatios = " 4 = 0.6 ,5=0".parse().unwrap();
        assert_eq!([Utility::Heat, Utility::Cooling].map(|u| ratios.of(u)), [Decimal::new(6, 1), Decimal::ZERO]);
        assert_eq!(ratios.of(Utility::Property), Decimal::ONE);
        assert_eq!("".parse::<VacancyRatios>(), Ok(VacancyRatios::default()));
        for wrong in ["0.6", "8=0.6", "4=x", "4=1.1", "4=-0.1", "4=0.12345", "4=0.6,4=0.7"] {
            assert!(wrong.parse::<VacancyRatios>().is_err(), "{wrong}");
        }
    }
}
