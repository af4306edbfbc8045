//! A requested price row: its dimensions within its package, and its values.
//!
//! A dimension that the row leaves out gets the neutral value; one that contradicts the package is an
//! objection.

use communal_kit::objections::Objections;
use communal_proto::billing::v1::SalePackagePriceRow;
use communal_proto::billing::v1::fields::sale_package_price_row as fields;
use communal_proto::billing::v1::fields::update_sale_package_price_request::ROWS;
use communal_proto::contract::v1::Reason as Common;
use communal_proto::{Coded, Fault, FieldName, FieldPath};
use rust_decimal::Decimal;

use crate::vocabulary::quantity::unit_price;
use crate::vocabulary::tariff::{Dimensions, Ladder, Period, Season, Shape, Tier, TierLimits, or};

/// The place of a field in a row of the request. Both requests have the same names.
#[must_use]
pub fn place(row: usize, field: FieldName) -> FieldPath {
    ROWS.at(row).then(field)
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

/// Returns the dimensions of a requested row within its package, or `None` after an objection to each
/// field at fault.
pub fn resolve(
    shape: &Shape,
    index: usize,
    row: &SalePackagePriceRow,
    objections: &mut Objections,
) -> Option<Dimensions> {
    let mut fits = true;
    let mut object = |field: FieldName, english: &str, chinese: String| {
        fits = false;
        objections.push(Common::FieldMalformed, Fault::rule(place(index, field), english, chinese));
    };

    if row.utility() != shape.utility {
        object(fields::UTILITY, "is not the package's", format!("服务类型应与套餐一致（{}）", shape.utility.title()));
    }
    if row.agreement_price() != shape.agreement_price {
        object(
            fields::AGREEMENT_PRICE,
            "is not the package's",
            format!("是否协议价应与套餐一致（{}）", shape.agreement_price.title()),
        );
    }
    if row.time_of_use() != shape.time_of_use {
        object(
            fields::TIME_OF_USE,
            "is not the package's",
            format!("分时计费类型应与套餐一致（{}）", shape.time_of_use.title()),
        );
    }
    if row.ladder() != shape.ladder {
        object(fields::LADDER, "is not the package's", format!("阶梯类型应与套餐一致（{}）", shape.ladder.title()));
    }

    let season = match row.season() {
        Season::Unspecified if shape.seasonal => {
            object(
                fields::SEASON,
                "is required in a package priced by season",
                "套餐分枯计价，丰枯类型不能为空".into(),
            );
            Season::Flat
        }
        Season::Unspecified => Season::Flat,
        season if shape.seasons().contains(&season) => season,
        season => {
            object(
                fields::SEASON,
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
                fields::PERIOD,
                "is required in a package with time of use",
                "套餐分时计价，分时时段类型不能为空".into(),
            );
            Period::Unspecified
        }
        (period, fitting) if fitting.contains(&period) => period,
        (period, fitting) => {
            let titles: Vec<_> = fitting.iter().map(|p| p.title()).collect();
            object(
                fields::PERIOD,
                "is no period of the package's time of use",
                format!("分时时段与套餐的{}不符，应为{}", shape.time_of_use.title(), titles.join("、")),
            );
            period
        }
    };
    let tier = match row.tier() {
        Tier::Unspecified if shape.ladder == Ladder::None => Tier::First,
        Tier::Unspecified => {
            object(fields::TIER, "is required in a package with a ladder", "套餐有阶梯，阶梯级次类型不能为空".into());
            Tier::Unspecified
        }
        tier if (tier as i32) <= shape.tiers => tier,
        tier => {
            object(fields::TIER, "is beyond the package's tiers", format!("阶梯级次超过套餐的阶梯数{}", shape.tiers));
            tier
        }
    };
    let limits = TierLimits { lower: row.lower_limit, upper: row.upper_limit };
    if !limits.are_forward() {
        object(
            fields::UPPER_LIMIT,
            "is not above the lower limit (0 means without end)",
            "阶梯上限值应大于阶梯下限值（0表示无上限）".into(),
        );
    } else if shape.ladder == Ladder::None && limits != TierLimits::default() {
        object(
            fields::UPPER_LIMIT,
            "and the lower limit are 0 in a package without a ladder",
            "套餐无阶梯，阶梯上下限值应为0".into(),
        );
    }

    fits.then(|| Dimensions {
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
}
