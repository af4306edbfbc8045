//! The parameters of a meter point, read from the request, and what they must fit. Pure.

use chrono::NaiveDate;
use communal_kit::objections::Objections;
use communal_proto::billing::v1::fields::user_settle_verify_request::{METER_POINT, SETTLEMENT_ACCOUNT};
use communal_proto::billing::v1::fields::{verified_meter_point as fields, verified_settlement_account};
use communal_proto::billing::v1::{
    BasicFeesType, ForRateValidType, PackStateType, Reason, UserSettleVerifyRequest, VerifiedMeterPoint,
};
use communal_proto::{Checker, Coded as _, Fault, FieldName, Reason as _, parse_decimal};
use rust_decimal::Decimal;

use crate::archive::books;
use crate::vocabulary::dates::day;
use crate::vocabulary::lifetime::Lifetime;
use crate::vocabulary::tariff::{TimeOfUse, Utility, YesNo};

/// Judges what contradicts itself in a request.
pub fn check(request: &UserSettleVerifyRequest, checker: &mut Checker) {
    let (Some(account), Some(point)) = (&request.settlement_account, &request.meter_point) else { return };
    let mut fault = |field: FieldName, english: &str, chinese: &str| {
        checker.push(Fault::rule(METER_POINT.then(field), english, chinese));
    };
    if account.business_kind != point.business_kind {
        let other = SETTLEMENT_ACCOUNT.then(verified_settlement_account::BUSINESS_KIND);
        fault(fields::BUSINESS_KIND, &format!("is not that of {other}"), "业务类别与结算户的业务类别不一致");
    }
    if point.temporary_package_id.is_empty() != (point.temporary_months == 0) {
        let chinese = "临时套餐号与临时月数应同时填写";
        fault(fields::TEMPORARY_MONTHS, "comes with a temporary package, and it with months", chinese);
    }
    if let (Some(stopped), Some(resumed)) = (day(point.stopped_from), day(point.resupplied_from))
        && resumed < stopped
    {
        fault(fields::RESUPPLIED_FROM, "is before the day on which supply stopped", "复供日期不能早于停供/空置日期");
    }
}

/// The decimals of a meter point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the fields of the contract, documented there
pub struct Figures {
    pub energy_load: Decimal,
    pub capacity: Decimal,
    pub demand_multiplier: Decimal,
    pub approved_demand: Decimal,
    pub fixed_quantity: Decimal,
    pub fixed_fee: Decimal,
    pub apportioned_total: Decimal,
    pub apportioned_fee: Decimal,
    pub apportion_ratio: Decimal,
    pub division_ratio: Decimal,
    pub divided_quantity: Decimal,
    pub divided_fee: Decimal,
    pub area_factor: Decimal,
    pub area: Decimal,
}

impl From<&VerifiedMeterPoint> for Figures {
    /// What is left out is zero.
    fn from(point: &VerifiedMeterPoint) -> Self {
        let number = |text: &str| parse_decimal(text).unwrap_or_default();
        Self {
            energy_load: number(&point.energy_load),
            capacity: number(&point.capacity),
            demand_multiplier: number(&point.demand_multiplier),
            approved_demand: number(&point.approved_demand),
            fixed_quantity: number(&point.fixed_quantity),
            fixed_fee: number(&point.fixed_fee),
            apportioned_total: number(&point.apportioned_total),
            apportioned_fee: number(&point.apportioned_fee),
            apportion_ratio: number(&point.apportion_ratio),
            division_ratio: number(&point.division_ratio),
            divided_quantity: number(&point.divided_quantity),
            divided_fee: number(&point.divided_fee),
            area_factor: number(&point.area_factor),
            area: number(&point.area),
        }
    }
}

/// A book, as far as a meter point must fit it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Book {
    /// Its utility.
    pub utility: Utility,
    /// Whether its meters are read.
    pub read: YesNo,
}

/// A package that the company may bill by, as far as an account must fit it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// Its identifier.
    pub package_id: String,
    /// The retail company that owns it; the network company itself of a guaranteed one.
    pub retail_company_id: String,
    /// The network company in whose area it is sold.
    pub network_company_id: String,
    /// Its utility.
    pub utility: Utility,
    /// Its state.
    pub state: PackStateType,
    /// The days on which it is in force.
    pub lifetime: Lifetime,
    /// Whether it is offered in the network store of the account. A retail package is offered in all of them.
    pub offered: bool,
    /// Into how many periods it splits the day.
    pub time_of_use: TimeOfUse,
    /// Its basic fee.
    pub basic_fee_kind: BasicFeesType,
}

/// The facts by which parameters are judged.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The utility of the account.
    pub utility: Utility,
    /// The book, if the company has it.
    pub book: Option<Book>,
    /// The main package, if the company may bill by it.
    pub main: Option<Package>,
    /// The temporary package, likewise.
    pub temporary: Option<Package>,
    /// Whether the main package's network company has the store.
    pub store: bool,
    /// Whether it has the node.
    pub node: bool,
    /// Today.
    pub today: NaiveDate,
}

/// Judges whether parameters fit the account, its book, its packages and the network.
#[must_use]
pub fn judge(point: &VerifiedMeterPoint, facts: &Facts) -> Objections {
    let mut objections = Objections::default();
    let mut object = |reason: Reason, field: FieldName, english: &str, chinese: &str| {
        objections.push(reason, Fault::rule(METER_POINT.then(field), english, chinese));
    };
    if point.utility() != facts.utility {
        let chinese = format!("结算户的管网类型为{}", facts.utility.title());
        object(Reason::AccountState, fields::UTILITY, "is not that of the account", &chinese);
    }
    match facts.book {
        None => {
            object(Reason::BookNotFound, fields::BOOK_ID, books::UNKNOWN, Reason::BookNotFound.text());
        }
        Some(book) if book.utility != facts.utility => {
            object(Reason::BookUnfit, fields::BOOK_ID, "is for another utility", "抄表区段的管网类型与结算户不一致");
        }
        Some(book) if book.read == YesNo::No && point.metered() == YesNo::Yes => {
            object(
                Reason::BookUnfit,
                fields::BOOK_ID,
                "is not read, and the account has a meter",
                "有表结算户不能归入不抄表的区段",
            );
        }
        Some(_) => {}
    }
    let mut packages = vec![(fields::MAIN_PACKAGE_ID, &facts.main)];
    if !point.temporary_package_id.is_empty() {
        packages.push((fields::TEMPORARY_PACKAGE_ID, &facts.temporary));
    }
    for (field, package) in packages {
        match package {
            None => {
                let english = "is no package by which the calling company may bill";
                object(Reason::PackageNotFound, field, english, Reason::PackageNotFound.text());
            }
            Some(package) if package.state != PackStateType::OnSale || !package.lifetime.covers(facts.today) => {
                object(Reason::PackageUnfit, field, "is not on sale today", "套餐今天不在售");
            }
            Some(package) if package.utility != facts.utility => {
                object(Reason::PackageUnfit, field, "is for another utility", "套餐的管网类型与结算户不一致");
            }
            Some(package)
                if facts.main.as_ref().is_some_and(|main| main.network_company_id != package.network_company_id) =>
            {
                object(
                    Reason::PackageUnfit,
                    field,
                    "is of another network company",
                    "临时套餐与主套餐的管网公司不一致",
                );
            }
            // Of a store that is none of the network company, that alone is said.
            Some(package) if facts.store && !package.offered => {
                object(Reason::PackageUnfit, field, "is not offered in the network store", "该营业网点不提供此套餐");
            }
            Some(_) => {}
        }
    }
    // Without a main package nobody knows whose store and node they have to be.
    if facts.main.is_some() {
        let english = "is no store of the package's network company";
        if !facts.store {
            object(Reason::SupplierNotFound, fields::NETWORK_STORE_ID, english, "不是套餐所属管网公司的营业网点");
        }
        if !facts.node {
            let english = "is no node of the package's network company";
            object(Reason::NodeNotFound, fields::NODE_ID, english, "不是套餐所属管网公司的管网节点");
        }
    }
    objections
}

/// What decides which registers an account needs.
#[must_use]
pub fn needs(
    power_factor_standard: ForRateValidType,
    packages: impl IntoIterator<Item = (TimeOfUse, BasicFeesType)>,
) -> super::registers::Needs {
    let reactive = !matches!(power_factor_standard, ForRateValidType::Unspecified | ForRateValidType::None);
    let mut needs = super::registers::Needs { reactive, ..Default::default() };
    for (time_of_use, basic_fee) in packages {
        needs.times_of_use.push(time_of_use);
        needs.demand |= basic_fee == BasicFeesType::Demand;
    }
    needs
}
