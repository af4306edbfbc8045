//! The content of a draft, read from the requests, and its contradictions.

use communal_proto::billing::v1::fields::changed_guaranteed_package::PACKAGE_KIND;
use communal_proto::billing::v1::fields::changed_sale_package as fields;
use communal_proto::billing::v1::{
    BasicFeesType, ChangedGuaranteedPackage, ChangedSalePackage, ChargePackType, DeliveryPriceType, LadderNumType,
    NewGuaranteedPackage, NewSalePackage, TransVoltageType,
};
use communal_proto::contract::v1::FaultKind;
use communal_proto::{Coded as _, Fault, FieldName, FieldPath};

use super::kind::PackageKind;
use super::lifecycle::stops_too_early;
use crate::vocabulary::dates::day;
use crate::vocabulary::identifiers::{CompanyId, StoreId};
use crate::vocabulary::lifetime::Lifetime;
use crate::vocabulary::tariff::{HeatBasis, Ladder, PropertyBasis, TimeOfUse, Utility, YesNo, or};

/// The content of a draft.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the fields of the contract, documented there
pub struct Draft {
    pub kind: ChargePackType,
    /// `None`: the calling company itself.
    pub network_company_id: Option<CompanyId>,
    /// `None` on a guaranteed package.
    pub retail_store_id: Option<StoreId>,
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

/// Reads the fields that all requests have; those in braces are the request's own.
macro_rules! draft {
    ($package:ident, { $($own:tt)* }) => {
        Draft {
            $($own)*
            name: $package.name.clone(),
            remark: $package.remark.clone(),
            account_item: $package.account_item.clone(),
            utility: $package.utility(),
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
            property_grade: $package.property_grade.clone(),
            retail_voltage_grade: $package.retail_level.clone(),
            by_power: $package.by_power(),
            power_range: $package.power_range.clone(),
            delivery_grade: $package.delivery_level.clone(),
            voltage: $package.voltage(),
        }
    };
}

impl From<&NewSalePackage> for Draft {
    /// The request has no field for residential use: a new package is not residential.
    fn from(new: &NewSalePackage) -> Self {
        draft!(new, {
            kind: ChargePackType::Market,
            network_company_id: Some(new.network_company_id.as_str().into()),
            retail_store_id: Some(new.retail_store_id.as_str().into()),
            resident: YesNo::No,
            may_cancel: new.may_cancel(),
            delivery_price_kind: new.delivery_price_kind(),
            planned: Lifetime::default(),
        })
    }
}

impl From<&ChangedSalePackage> for Draft {
    /// A field that is left out becomes empty. A price is not agreed, split by time or laddered
    /// unless the request has it, because prices must equal their package in these.
    fn from(changed: &ChangedSalePackage) -> Self {
        draft!(changed, {
            kind: ChargePackType::Market,
            network_company_id: Some(changed.network_company_id.as_str().into()),
            retail_store_id: Some(changed.retail_store_id.as_str().into()),
            resident: changed.resident(),
            may_cancel: changed.may_cancel(),
            delivery_price_kind: changed.delivery_price_kind(),
            planned: Lifetime { start: day(changed.start_date), stop: day(changed.stop_date) },
        })
    }
}

impl From<&NewGuaranteedPackage> for Draft {
    fn from(new: &NewGuaranteedPackage) -> Self {
        draft!(new, {
            kind: new.package_kind(),
            network_company_id: None,
            retail_store_id: None,
            resident: or(new.resident(), YesNo::No),
            may_cancel: YesNo::Unspecified,
            delivery_price_kind: DeliveryPriceType::Unspecified,
            planned: Lifetime::default(),
        })
    }
}

impl From<&ChangedGuaranteedPackage> for Draft {
    fn from(changed: &ChangedGuaranteedPackage) -> Self {
        draft!(changed, {
            kind: changed.package_kind(),
            network_company_id: None,
            retail_store_id: None,
            resident: changed.resident(),
            may_cancel: YesNo::Unspecified,
            delivery_price_kind: DeliveryPriceType::Unspecified,
            planned: Lifetime { start: day(changed.start_date), stop: day(changed.stop_date) },
        })
    }
}

impl Draft {
    /// The contradictions: a ladder needs at least two tiers, an agreed price has no ladder, a package
    /// ends after it begins, and its documented kind is one of those that the method makes. All requests have the same
    /// names; `place` is the package in the request.
    #[must_use]
    pub fn faults(&self, kind: PackageKind, place: &FieldPath) -> Vec<Fault> {
        let has_ladder = matches!(self.ladder, Ladder::Year | Ladder::Month);
        let mut faults = Vec::new();
        if self.kind != ChargePackType::Unspecified && !kind.includes(self.kind) {
            let codes: Vec<_> = kind.codes().iter().map(|code| code.code()).collect();
            let text = format!("只能为{}", codes.join("、"));
            let fault = Fault::rule(place.clone().then(PACKAGE_KIND), "is a kind of other packages", text);
            faults.push(Fault { kind: FaultKind::Code, ..fault });
        }
        let mut fault = |field: FieldName, english, chinese| {
            faults.push(Fault::rule(place.clone().then(field), english, chinese));
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
            faults.push(stops_too_early(place.clone().then(fields::STOP_DATE)));
        }
        faults
    }
}
