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

use crate::vocabulary::position::Given;
use crate::vocabulary::quantity::unit_price;
use crate::vocabulary::tariff::{Dimensions, HeatBasis, PropertyBasis, Shape, TierLimits};

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

    let part = match (row.heat_basis(), shape.heat_bases()) {
        (HeatBasis::Unspecified, [only]) => shape.part(*only),
        (HeatBasis::Unspecified, _) => {
            let chinese = "套餐按面积和热量计费，暖气计费类型不能为空".into();
            object(fields::HEAT_BASIS, "is required in a package charged by area and heat", chinese);
            shape.clone()
        }
        (basis, fitting) if fitting.contains(&basis) => shape.part(basis),
        (_, fitting) => {
            let titles: Vec<_> = fitting.iter().map(|basis| basis.title()).collect();
            let chinese = format!("暖气计费类型与套餐不符，应为{}", titles.join("、"));
            object(fields::HEAT_BASIS, "is no basis of the package", chinese);
            shape.clone()
        }
    };
    if !matches!(row.property_basis(), PropertyBasis::Unspecified) && row.property_basis() != shape.property_basis {
        object(fields::PROPERTY_BASIS, "is not the package's", "物业计费类型应与套餐一致".into());
    }
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
    if row.time_of_use() != part.time_of_use {
        let chinese = format!("分时计费类型应与套餐一致（{}）", part.time_of_use.title());
        object(fields::TIME_OF_USE, "is not the package's", chinese);
    }
    if row.ladder() != part.ladder {
        object(fields::LADDER, "is not the package's", format!("阶梯类型应与套餐一致（{}）", part.ladder.title()));
    }

    let given = Given {
        season: row.season(),
        period: row.period(),
        tier: row.tier(),
        limits: TierLimits { lower: row.lower_limit, upper: row.upper_limit },
    };
    let (season, period, tier) = given.position(&part, &mut object);
    // Another account item than the package's makes no fault before the package is submitted: a draft may change.
    let account_item = row.account_item.clone();
    fits.then(|| Dimensions { account_item, ..part.dimensions(season, period, tier) })
}
