//! The content of a draft, read from the requests, and its contradictions.

use communal_proto::billing::v1::fields::changed_sale_package as fields;
use communal_proto::billing::v1::fields::update_sale_package_request::PACKAGE;
use communal_proto::billing::v1::{
    BasicFeesType, ChangedSalePackage, DeliveryPriceType, LadderNumType, NewSalePackage, TransVoltageType,
};
use communal_proto::{Fault, FieldName};

use super::lifecycle::stops_too_early;
use crate::vocabulary::dates::day;
use crate::vocabulary::identifiers::{CompanyId, StoreId};
use crate::vocabulary::lifetime::Lifetime;
use crate::vocabulary::tariff::{HeatBasis, Ladder, PropertyBasis, TimeOfUse, Utility, YesNo, or};

/// The content of a draft.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the fields of the contract, documented there
pub struct Draft {
    pub network_company_id: CompanyId,
    pub retail_store_id: StoreId,
    pub name: String,
    pub remark: String,
    pub account_item: String,
    pub utility: Utility,
    pub resident: YesNo,
    pub deviation: YesNo,
    pub seasonal: YesNo,
    pub agreement_price: YesNo,
    pub heat_basis: HeatBasis,
    pub property_basis: PropertyBasis,
    pub basic_fee_kind: BasicFeesType,
    pub time_of_use: TimeOfUse,
    pub ladder: Ladder,
    pub tiers: LadderNumType,
    pub population: i32,
    pub may_cancel: YesNo,
    pub property_grade: String,
    pub retail_voltage_grade: String,
    pub delivery_price_kind: DeliveryPriceType,
    pub by_power: YesNo,
    pub power_range: String,
    pub delivery_grade: String,
    pub voltage: TransVoltageType,
    pub planned: Lifetime,
}

/// Reads the fields that both requests have.
macro_rules! draft {
    ($package:ident, resident: $resident:expr, planned: $planned:expr) => {
        Draft {
            network_company_id: $package.network_company_id.as_str().into(),
            retail_store_id: $package.retail_store_id.as_str().into(),
            name: $package.name.clone(),
            remark: $package.remark.clone(),
            account_item: $package.account_item.clone(),
            utility: $package.utility(),
            resident: $resident,
            deviation: $package.deviation(),
            seasonal: $package.seasonal(),
            agreement_price: or($package.agreement_price(), YesNo::No),
            heat_basis: $package.heat_basis(),
            property_basis: $package.property_basis(),
            basic_fee_kind: $package.basic_fee_kind(),
            time_of_use: or($package.time_of_use(), TimeOfUse::One),
            ladder: or($package.ladder(), Ladder::None),
            tiers: $package.ladder_tiers(),
            population: $package.population,
            may_cancel: $package.may_cancel(),
            property_grade: $package.property_grade.clone(),
            retail_voltage_grade: $package.retail_level.clone(),
            delivery_price_kind: $package.delivery_price_kind(),
            by_power: $package.by_power(),
            power_range: $package.power_range.clone(),
            delivery_grade: $package.delivery_level.clone(),
            voltage: $package.voltage(),
            planned: $planned,
        }
    };
}

impl From<&NewSalePackage> for Draft {
    /// The request has no field for residential use: a new package is not residential.
    fn from(new: &NewSalePackage) -> Self {
        draft!(new, resident: YesNo::No, planned: Lifetime::default())
    }
}

impl From<&ChangedSalePackage> for Draft {
    /// A field that is left out becomes empty. A price is not agreed, split by time or laddered
    /// unless the request has it, because prices must equal their package in these.
    fn from(changed: &ChangedSalePackage) -> Self {
        let planned = Lifetime { start: day(changed.start_date), stop: day(changed.stop_date) };
        draft!(changed, resident: changed.resident(), planned: planned)
    }
}

impl Draft {
    /// The contradictions: a ladder needs at least two tiers, an agreed price has no ladder, a package
    /// ends after it begins. Both requests have the same names.
    #[must_use]
    pub fn faults(&self) -> Vec<Fault> {
        let has_ladder = matches!(self.ladder, Ladder::Year | Ladder::Month);
        let mut faults = Vec::new();
        let mut fault = |field: FieldName, english, chinese| {
            faults.push(Fault::rule(PACKAGE.then(field), english, chinese));
        };
        if has_ladder && self.agreement_price == YesNo::Yes {
            fault(fields::LADDER, "an agreed price has no ladder", "协议价套餐不能有阶梯");
        }
        if has_ladder && self.tiers < LadderNumType::Two {
            fault(fields::LADDER_TIERS, "is at least 2 with a ladder", "有阶梯时阶梯数不能小于2");
        }
        if self.ladder == Ladder::None && self.tiers > LadderNumType::One {
            fault(fields::LADDER_TIERS, "is 1 or absent without a ladder", "无阶梯时阶梯数只能为1或空");
        }
        if !self.planned.is_forward() {
            faults.push(stops_too_early(PACKAGE.then(fields::STOP_DATE)));
        }
        faults
    }
}
