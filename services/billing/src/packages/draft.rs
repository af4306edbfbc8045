//! What a retail company says about a package while it is a draft, and which of it contradicts
//! itself.

use communal_proto::Fault;
use communal_proto::billing::v1::{
    BasicFeesType, ChangedSalePackage, DeliveryPriceType, LadderNumType, NewSalePackage, TransVoltageType,
};

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
    /// The request cannot say that a package is residential: it is not, until it is changed.
    fn from(new: &NewSalePackage) -> Self {
        draft!(new, resident: YesNo::No, planned: Lifetime::default())
    }
}

impl From<&ChangedSalePackage> for Draft {
    /// A field that is left out becomes empty. A price is not agreed, split by time or laddered
    /// unless the change says so, because prices must equal their package in these.
    fn from(changed: &ChangedSalePackage) -> Self {
        let planned = Lifetime { start: day(changed.start_date), stop: day(changed.stop_date) };
        draft!(changed, resident: changed.resident(), planned: planned)
    }
}

impl Draft {
    /// The contradictions: a ladder needs at least two tiers, an agreed price has no ladder, a
    /// package ends after it begins.
    #[must_use]
    pub fn faults(&self) -> Vec<Fault> {
        let fault = |field: &str, english: &str, chinese: &str| {
            Fault::rule(format!("COM_SALES_PACK.{field}"), english, chinese)
        };
        let has_ladder = matches!(self.ladder, Ladder::Year | Ladder::Month);
        let mut faults = Vec::new();
        if has_ladder && self.agreement_price == YesNo::Yes {
            faults.push(fault("LADDER_TYPE", "an agreed price has no ladder", "协议价套餐不能有阶梯"));
        }
        if has_ladder && self.tiers < LadderNumType::Two {
            faults.push(fault("LADDER_NUM_TYPE", "is at least 2 with a ladder", "有阶梯时阶梯数不能小于2"));
        }
        if self.ladder == Ladder::None && self.tiers > LadderNumType::One {
            faults.push(fault("LADDER_NUM_TYPE", "is 1 or absent without a ladder", "无阶梯时阶梯数只能为1或空"));
        }
        if !self.planned.is_forward() {
            faults.push(fault("OUTAGE_DATE", "is not after the start date", "停用日期应晚于启用日期"));
        }
        faults
    }
}
