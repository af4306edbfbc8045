//! A requested price row: its dimensions within its package, and its values.
//!
//! A dimension that the row leaves out gets the neutral value; one that contradicts the package is an
//! objection.

use communal_kit::refusal::Refusal;
use communal_proto::billing::v1::SalePackagePriceRow;
use communal_proto::contract::v1::Reason as Common;
use communal_proto::{Coded, Fault};
use rust_decimal::Decimal;

use crate::reasons::{PACKAGE_NOT_FOUND, Reason, refuse};
use crate::vocabulary::quantity::unit_price;
use crate::vocabulary::tariff::{Dimensions, Ladder, Period, Season, Shape, Tier, TierLimits, or};

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
    pub(super) fn new(
        grounds: Grounds,
        row: usize,
        field: &str,
        english: impl Into<String>,
        chinese: impl Into<String>,
    ) -> Self {
        Self { grounds, fault: Fault::rule(format!("COM_SALES_PRICE[{row}].{field}"), english, chinese) }
    }
}

/// Refuses for price rows: the first one gives the reason, all are named.
#[must_use]
pub fn refuse_rows(objections: Vec<Objection>) -> Refusal {
    let refusal = match objections.first().map(|o| o.grounds) {
        Some(Grounds::UnknownPackage) => refuse(Reason::PackageNotFound, PACKAGE_NOT_FOUND),
        Some(Grounds::PackageState) => refuse(Reason::PackageState, "套餐当前状态不允许此操作"),
        Some(Grounds::Exists) => refuse(Reason::PriceExists, "价格已存在"),
        Some(Grounds::Unknown) => refuse(Reason::PriceNotFound, "价格不存在"),
        Some(Grounds::Incomplete) => refuse(Reason::PricesIncomplete, "价格不完整"),
        Some(Grounds::Field) | None => Refusal::new(Common::FieldMalformed, "价格不符合套餐"),
    };
    refusal.faults(objections.into_iter().map(|o| o.fault).collect())
}

/// The values of a price row: what may change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Values {
    /// Unit price, at its scale.
    pub price: Decimal,
    /// Unit of the price, like 元/千瓦时.
    pub unit: String,
    /// The quantities that its tier covers.
    pub limits: TierLimits,
}

impl From<&SalePackagePriceRow> for Values {
    fn from(row: &SalePackagePriceRow) -> Self {
        let limits = TierLimits { lower: row.lower_limit, upper: row.upper_limit };
        Self { price: unit_price(&row.price), unit: row.price_unit.clone(), limits }
    }
}

/// Returns the dimensions of a requested row within its package.
///
/// # Errors
/// Returns an objection for each field at fault.
pub fn resolve(shape: &Shape, index: usize, row: &SalePackagePriceRow) -> Result<Dimensions, Vec<Objection>> {
    let mut objections = Vec::new();
    let mut object = |field: &str, english: &str, chinese: String| {
        objections.push(Objection::new(Grounds::Field, index, field, english, chinese));
    };

    if row.utility() != shape.utility {
        object("NETWORK_TYPE", "is not the package's", format!("服务类型应与套餐一致（{}）", shape.utility.title()));
    }
    if row.agreement_price() != shape.agreement_price {
        object(
            "AGREE_PRICE_YESNO",
            "is not the package's",
            format!("是否协议价应与套餐一致（{}）", shape.agreement_price.title()),
        );
    }
    if row.time_of_use() != shape.time_of_use {
        object(
            "TIME_FEES_TYPE",
            "is not the package's",
            format!("分时计费类型应与套餐一致（{}）", shape.time_of_use.title()),
        );
    }
    if row.ladder() != shape.ladder {
        object("LADDER_TYPE", "is not the package's", format!("阶梯类型应与套餐一致（{}）", shape.ladder.title()));
    }

    let season = match row.season() {
        Season::Unspecified if shape.seasonal => {
            object(
                "ABUNDANCE_TYPE",
                "is required in a package priced by season",
                "套餐分枯计价，丰枯类型不能为空".into(),
            );
            Season::Flat
        }
        Season::Unspecified => Season::Flat,
        season if shape.seasons().contains(&season) => season,
        season => {
            object(
                "ABUNDANCE_TYPE",
                "does not fit a package without seasons",
                "套餐不分枯计价，丰枯类型只能为平或空".into(),
            );
            season
        }
    };
    let period = match (row.period(), shape.periods()) {
        (Period::Unspecified, [only]) => *only,
        (Period::Unspecified, _) => {
            object(
                "TIME_SHARING_TYPE",
                "is required in a package with time of use",
                "套餐分时计价，分时时段类型不能为空".into(),
            );
            Period::Unspecified
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
    let tier = match row.tier() {
        Tier::Unspecified if shape.ladder == Ladder::None => Tier::First,
        Tier::Unspecified => {
            object(
                "LADDER_LEVEL_TYPE",
                "is required in a package with a ladder",
                "套餐有阶梯，阶梯级次类型不能为空".into(),
            );
            Tier::Unspecified
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
    let limits = TierLimits { lower: row.lower_limit, upper: row.upper_limit };
    if !limits.are_forward() {
        object(
            "LADDER_UPPER_LIMIT",
            "is not above the lower limit (0 means without end)",
            "阶梯上限值应大于阶梯下限值（0表示无上限）".into(),
        );
    } else if shape.ladder == Ladder::None && limits != TierLimits::default() {
        object(
            "LADDER_UPPER_LIMIT",
            "and the lower limit are 0 in a package without a ladder",
            "套餐无阶梯，阶梯上下限值应为0".into(),
        );
    }

    if objections.is_empty() {
        Ok(Dimensions {
            account_item: row.account_item.clone(),
            agreement_price: shape.agreement_price,
            season,
            heat_basis: or(row.heat_basis(), shape.heat_basis_of_rows()),
            property_basis: or(row.property_basis(), shape.property_basis),
            time_of_use: shape.time_of_use,
            period,
            ladder: shape.ladder,
            tier,
        })
    } else {
        Err(objections)
    }
}
