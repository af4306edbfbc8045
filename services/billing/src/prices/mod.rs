//! Prices of packages (零售套餐价格).
//!
//! [`tariff`] knows what a price matrix must look like and what a quantity costs; [`change`]
//! plans what a request does to the rows; both are pure. [`store`] keeps the versions, [`rpc`]
//! serves the calls.

pub mod change;
pub mod rpc;
pub mod store;
pub mod tariff;

use communal_kit::money::round;
use communal_proto::billing::v1::{
    AbundanceType, GarbChargeType, HeatChargeType, LadderLevelType, LadderType, NetworkType, SalePackagePriceRow,
    TimeFeesType, TimeSharingType, YesNo,
};
use communal_proto::{Coded, Fault, parse_decimal};
use rust_decimal::Decimal;

use tariff::{Dimensions, Limits, Shape};

/// Digits after the point of a unit price.
pub const PRICE_SCALE: u32 = 6;

/// Why a price row is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grounds {
    /// No such package of the caller.
    UnknownPackage,
    /// The package is in a state that the call does not fit.
    PackageState,
    /// The row exists already, or twice in the request.
    Exists,
    /// There is no such row.
    Unknown,
    /// The tiers would no longer touch.
    Incomplete,
    /// A field contradicts the package or the rest of the row.
    Field,
}

/// A price row that is refused: why, and which field of which row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objection {
    /// Why.
    pub grounds: Grounds,
    /// Where, and the words.
    pub fault: Fault,
}

impl Objection {
    fn new(grounds: Grounds, row: usize, field: &str, english: impl Into<String>, chinese: impl Into<String>) -> Self {
        Self { grounds, fault: Fault::rule(format!("COM_SALES_PRICE[{row}].{field}"), english, chinese) }
    }
}

/// What of a price row may change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Values {
    /// Unit price, at six places.
    pub price: Decimal,
    /// Unit of the price, like 元/千瓦时.
    pub unit: String,
    /// The quantities its tier covers.
    pub limits: Limits,
}

impl Values {
    fn of(row: &SalePackagePriceRow) -> Self {
        // The field rules have read the price already; what they refuse never gets here.
        let mut price = round(parse_decimal(&row.price).unwrap_or_default(), PRICE_SCALE);
        price.rescale(PRICE_SCALE);
        let limits = Limits { lower: row.lower_limit, upper: row.upper_limit };
        Self { price, unit: row.price_unit.clone(), limits }
    }
}

/// The dimensions of a requested row within its package: what the row leaves out gets the
/// neutral value, and what contradicts the package is an objection.
///
/// # Errors
/// One objection for each field at fault.
fn resolve(shape: &Shape, index: usize, row: &SalePackagePriceRow) -> Result<Dimensions, Vec<Objection>> {
    let mut objections = Vec::new();
    let mut object = |field: &str, english: &str, chinese: String| {
        objections.push(Objection::new(Grounds::Field, index, field, english, chinese));
    };

    let utility = NetworkType::try_from(row.utility).unwrap_or_default();
    if utility != shape.utility {
        object("NETWORK_TYPE", "is not the package's", format!("服务类型应与套餐一致（{}）", shape.utility.title()));
    }
    let agreement = YesNo::try_from(row.agreement_price).unwrap_or_default();
    if agreement != shape.agreement {
        object(
            "AGREE_PRICE_YESNO",
            "is not the package's",
            format!("是否协议价应与套餐一致（{}）", shape.agreement.title()),
        );
    }
    let time_of_use = TimeFeesType::try_from(row.time_of_use).unwrap_or_default();
    if time_of_use != shape.time_of_use {
        object(
            "TIME_FEES_TYPE",
            "is not the package's",
            format!("分时计费类型应与套餐一致（{}）", shape.time_of_use.title()),
        );
    }
    let ladder = LadderType::try_from(row.ladder).unwrap_or_default();
    if ladder != shape.ladder {
        object("LADDER_TYPE", "is not the package's", format!("阶梯类型应与套餐一致（{}）", shape.ladder.title()));
    }

    let season = match AbundanceType::try_from(row.season).unwrap_or_default() {
        AbundanceType::Unspecified if shape.seasonal => {
            object(
                "ABUNDANCE_TYPE",
                "is required in a package priced by season",
                "套餐分枯计价，丰枯类型不能为空".into(),
            );
            AbundanceType::Flat
        }
        AbundanceType::Unspecified => AbundanceType::Flat,
        season if tariff::seasons(shape.seasonal).contains(&season) => season,
        season => {
            object(
                "ABUNDANCE_TYPE",
                "does not fit a package without seasons",
                "套餐不分枯计价，丰枯类型只能为平或空".into(),
            );
            season
        }
    };
    let fitting = tariff::periods(shape.time_of_use);
    let period = match (TimeSharingType::try_from(row.period).unwrap_or_default(), fitting) {
        (TimeSharingType::Unspecified, [only]) => *only,
        (TimeSharingType::Unspecified, _) => {
            object(
                "TIME_SHARING_TYPE",
                "is required in a package with time of use",
                "套餐分时计价，分时时段类型不能为空".into(),
            );
            TimeSharingType::Unspecified
        }
        (period, fitting) if fitting.contains(&period) => period,
        (period, fitting) => {
            let titles: Vec<_> = fitting.iter().map(|p| p.title()).collect();
            object(
                "TIME_SHARING_TYPE",
                "is no period of the package's time of use",
                format!("分时时段与套餐的{}不符，应为{}", shape.time_of_use.title(), titles.join("、")),
            );
            period
        }
    };
    let tier = match LadderLevelType::try_from(row.tier).unwrap_or_default() {
        LadderLevelType::Unspecified if shape.ladder == LadderType::None => LadderLevelType::First,
        LadderLevelType::Unspecified => {
            object(
                "LADDER_LEVEL_TYPE",
                "is required in a package with a ladder",
                "套餐有阶梯，阶梯级次类型不能为空".into(),
            );
            LadderLevelType::Unspecified
        }
        tier if (tier as i32) <= shape.tiers => tier,
        tier => {
            object(
                "LADDER_LEVEL_TYPE",
                "is beyond the package's tiers",
                format!("阶梯级次超过套餐的阶梯数{}", shape.tiers),
            );
            tier
        }
    };
    let limits = Limits { lower: row.lower_limit, upper: row.upper_limit };
    if !limits.are_forward() {
        object(
            "LADDER_UPPER_LIMIT",
            "is not above the lower limit (0 means without end)",
            "阶梯上限值应大于阶梯下限值（0表示无上限）".into(),
        );
    } else if shape.ladder == LadderType::None && limits != Limits::default() {
        object(
            "LADDER_UPPER_LIMIT",
            "and the lower limit are 0 in a package without a ladder",
            "套餐无阶梯，阶梯上下限值应为0".into(),
        );
    }

    let heat = match HeatChargeType::try_from(row.heat_basis).unwrap_or_default() {
        HeatChargeType::Unspecified => tariff::neutral_heat(shape.heat),
        heat => heat,
    };
    let property = match GarbChargeType::try_from(row.property_basis).unwrap_or_default() {
        GarbChargeType::Unspecified => shape.property,
        property => property,
    };
    if objections.is_empty() {
        let account_item = row.account_item.clone();
        Ok(Dimensions { account_item, agreement, season, heat, property, time_of_use, period, ladder, tier })
    } else {
        Err(objections)
    }
}
