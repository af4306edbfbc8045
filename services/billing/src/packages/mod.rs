//! Packages (零售套餐): what a retail company sells.
//!
//! [`life`] knows which step fits which state; [`Draft`] what a package may look like; both are
//! pure. [`store`] keeps packages, [`rpc`] serves the calls.

pub mod life;
pub mod rpc;
pub mod store;

use chrono::NaiveDate;
use communal_kit::dates;
use communal_proto::Fault;
use communal_proto::billing::v1::{ChangedSalePackage, LadderType, NewSalePackage, TimeFeesType, YesNo};

use life::Lifetime;

/// The words for a package that does not exist and for one of another company: a caller never
/// learns which it was.
pub const NOT_FOUND: &str = "套餐不存在";

/// What a retail company says about a package while it is a draft. Codes are the numbers of
/// the contract's enums; the field rules have refused every other number before.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the fields of the contract, documented there
pub struct Draft {
    pub network_company_id: String,
    pub retail_store_id: String,
    pub name: String,
    pub remark: String,
    pub account_item: String,
    pub utility: i32,
    pub resident: i32,
    pub deviation: i32,
    pub seasonal: i32,
    pub agreement_price: i32,
    pub heat_basis: i32,
    pub property_basis: i32,
    pub basic_fee_kind: i32,
    pub time_of_use: i32,
    pub ladder: i32,
    pub ladder_tiers: i32,
    pub population: i32,
    pub may_cancel: i32,
    pub property_grade: String,
    pub retail_level: String,
    pub delivery_price_kind: i32,
    pub by_power: i32,
    pub power_range: String,
    pub delivery_level: String,
    pub voltage: i32,
    pub planned: Lifetime,
}

impl From<NewSalePackage> for Draft {
    /// Whether residential cannot be said when a package is added: it is not, until it is changed.
    fn from(new: NewSalePackage) -> Self {
        Self {
            network_company_id: new.network_company_id,
            retail_store_id: new.retail_store_id,
            name: new.name,
            remark: new.remark,
            account_item: new.account_item,
            utility: new.utility,
            resident: YesNo::No.into(),
            deviation: new.deviation,
            seasonal: new.seasonal,
            agreement_price: new.agreement_price,
            heat_basis: new.heat_basis,
            property_basis: new.property_basis,
            basic_fee_kind: new.basic_fee_kind,
            time_of_use: new.time_of_use,
            ladder: new.ladder,
            ladder_tiers: new.ladder_tiers,
            population: new.population,
            may_cancel: new.may_cancel,
            property_grade: new.property_grade,
            retail_level: new.retail_level,
            delivery_price_kind: new.delivery_price_kind,
            by_power: new.by_power,
            power_range: new.power_range,
            delivery_level: new.delivery_level,
            voltage: new.voltage,
            planned: Lifetime::default(),
        }
    }
}

impl From<ChangedSalePackage> for Draft {
    /// What is left out becomes empty; a price is not agreed, split by time or laddered unless
    /// the change says so, because prices must equal their package in these.
    fn from(changed: ChangedSalePackage) -> Self {
        let or = |number: i32, default: i32| if number == 0 { default } else { number };
        Self {
            network_company_id: changed.network_company_id,
            retail_store_id: changed.retail_store_id,
            name: changed.name,
            remark: changed.remark,
            account_item: changed.account_item,
            utility: changed.utility,
            resident: changed.resident,
            deviation: changed.deviation,
            seasonal: changed.seasonal,
            agreement_price: or(changed.agreement_price, YesNo::No.into()),
            heat_basis: changed.heat_basis,
            property_basis: changed.property_basis,
            basic_fee_kind: changed.basic_fee_kind,
            time_of_use: or(changed.time_of_use, TimeFeesType::One.into()),
            ladder: or(changed.ladder, LadderType::None.into()),
            ladder_tiers: changed.ladder_tiers,
            population: changed.population,
            may_cancel: changed.may_cancel,
            property_grade: changed.property_grade,
            retail_level: changed.retail_level,
            delivery_price_kind: changed.delivery_price_kind,
            by_power: changed.by_power,
            power_range: changed.power_range,
            delivery_level: changed.delivery_level,
            voltage: changed.voltage,
            planned: Lifetime { start: date(changed.start_date), stop: date(changed.stop_date) },
        }
    }
}

impl Draft {
    /// What contradicts itself: a ladder needs at least two tiers, an agreed price has no
    /// ladder, a package ends after it begins.
    #[must_use]
    pub fn faults(&self) -> Vec<Fault> {
        let fault = |field: &str, english: &str, chinese: &str| {
            Fault::rule(format!("COM_SALES_PACK.{field}"), english, chinese)
        };
        let has_ladder = self.ladder > i32::from(LadderType::None);
        let mut faults = Vec::new();
        if has_ladder && self.agreement_price == i32::from(YesNo::Yes) {
            faults.push(fault("LADDER_TYPE", "an agreed price has no ladder", "协议价套餐不能有阶梯"));
        }
        if has_ladder && self.ladder_tiers < 2 {
            faults.push(fault("LADDER_NUM_TYPE", "is at least 2 with a ladder", "有阶梯时阶梯数不能小于2"));
        }
        if self.ladder == i32::from(LadderType::None) && self.ladder_tiers > 1 {
            faults.push(fault("LADDER_NUM_TYPE", "is 1 or absent without a ladder", "无阶梯时阶梯数只能为1或空"));
        }
        if !self.planned.is_forward() {
            faults.push(fault("OUTAGE_DATE", "is not after the start date", "停用日期应晚于启用日期"));
        }
        faults
    }
}

/// The day of a documented number; 0 is none.
#[must_use]
pub fn date(number: i32) -> Option<NaiveDate> {
    dates::from_number(number)
}

/// The documented number of a day; none is 0.
#[must_use]
pub fn date_number(date: Option<NaiveDate>) -> i32 {
    date.map_or(0, dates::to_number)
}
