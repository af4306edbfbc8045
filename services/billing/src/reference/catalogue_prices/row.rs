//! A requested row of the catalogue: which price row it names, and what it asks for.
//!
//! What the codes of a row say against each other goes to the checker, field by field.

use chrono::NaiveDate;
use communal_proto::billing::v1::fields::attached_price_change::OPERATION;
use communal_proto::billing::v1::fields::{add_main_price_request, main_price as fields};
use communal_proto::billing::v1::{
    AttachedPriceChange, BasicFeePriceChange, BasicFeesType, LadderNumType, MainPrice, OperationType,
};
use communal_proto::contract::v1::FaultKind;
use communal_proto::{Checker, Fault, FieldName, FieldPath};
use rust_decimal::Decimal;

use super::{Key, Tariff};
use crate::vocabulary::dates::day;
use crate::vocabulary::lifetime::Lifetime;
use crate::vocabulary::position::Given;
use crate::vocabulary::quantity::unit_price;
use crate::vocabulary::tariff::{HeatBasis, Ladder, TierLimits, TimeOfUse, or};

/// The place of a field in a row of the request. All requests have the same names.
#[must_use]
pub fn place(row: usize, field: FieldName) -> FieldPath {
    add_main_price_request::PRICES.at(row).then(field)
}

/// An operation on a price row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PriceOperation {
    /// Opens a first version, or one after a pause.
    Add {
        /// Its first day.
        start: NaiveDate,
    },
    /// Closes the version in force on a day and opens the next one.
    Adjust {
        /// The first day of the next one.
        start: NaiveDate,
    },
    /// Corrects the version in force, or else the next one.
    Correct,
    /// Closes the row from the stop date on, or from today.
    Close,
}

/// A row of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskedPrice {
    /// Its number in the request.
    pub row: usize,
    /// The operation.
    pub operation: PriceOperation,
    /// The price row.
    pub key: Key,
    /// The main category item.
    pub main_item: i64,
    /// The price, if it is given.
    pub price: Option<Decimal>,
    /// The unit; what is empty stays as it was.
    pub unit: String,
    /// The quantities that its tier covers.
    pub limits: TierLimits,
    /// First day no longer in force, if it is given.
    pub stop: Option<NaiveDate>,
}

/// Reads the rows of a request; those at fault are left out, with their faults in the checker.
pub fn read<'m, M: 'm>(
    rows: &'m [M],
    checker: &mut Checker,
    read: impl Fn(&'m M, &mut RowFaults<'_>) -> Option<AskedPrice>,
) -> Vec<AskedPrice> {
    rows.iter()
        .enumerate()
        .filter_map(|(row, given)| read(given, &mut RowFaults { checker: &mut *checker, row }))
        .collect()
}

/// The faults of one row.
#[derive(Debug)]
pub struct RowFaults<'c> {
    checker: &'c mut Checker,
    row: usize,
}

impl RowFaults<'_> {
    fn push(&mut self, kind: FaultKind, field: FieldName, english: &str, chinese: String) {
        self.checker.push(Fault { kind, ..Fault::rule(place(self.row, field), english, chinese) });
    }

    fn rule(&mut self, field: FieldName, english: &str, chinese: &str) {
        self.push(FaultKind::Rule, field, english, chinese.to_owned());
    }

    fn missing(&mut self, field: FieldName, english: &str, chinese: &str) {
        self.push(FaultKind::Missing, field, english, chinese.to_owned());
    }

    /// Objects to a surcharge on a price that is none.
    fn no_surcharge(&mut self, surcharge_item: i64) {
        if surcharge_item != 0 {
            self.rule(fields::SURCHARGE_ITEM, "is not 0", "主价和基本费单价的分类项目附编号应为0");
        }
    }

    fn span(&mut self, start: Option<NaiveDate>, stop: Option<NaiveDate>) {
        if !(Lifetime { start, stop }).is_forward() {
            self.rule(
                fields::STOP_DATE,
                "is not after the start date",
                "停用日期应晚于启用日期（停用日期当天不再有效）",
            );
        }
    }
}

/// Reads a main price to add or, with `adjust`, to adjust.
pub fn main(given: &MainPrice, adjust: bool, faults: &mut RowFaults<'_>) -> Option<AskedPrice> {
    let (start, stop) = (day(given.start_date)?, day(given.stop_date));
    faults.no_surcharge(given.surcharge_item());
    faults.span(Some(start), stop);
    let (ladder, tiers) = (given.ladder(), or(given.ladder_tiers(), LadderNumType::One));
    if (ladder == Ladder::None) != (tiers == LadderNumType::One) {
        let chinese = "有阶梯时阶梯数不能小于2，无阶梯时只能为1或空";
        faults.rule(fields::LADDER_TIERS, "is at least 2 with a ladder, and 1 or absent without", chinese);
    }
    let heat_basis = or(given.heat_basis(), HeatBasis::None);
    if heat_basis == HeatBasis::AreaAndHeat {
        let chinese = "单价按面积或按热量，应分别添加";
        faults.rule(fields::HEAT_BASIS, "is the basis of one price: 2 (area) or 3 (heat)", chinese);
    }
    let split = given.time_of_use() != TimeOfUse::One || ladder != Ladder::None;
    if heat_basis == HeatBasis::Area && split {
        let chinese = "按面积计费的单价不分时、无阶梯";
        faults.rule(fields::HEAT_BASIS, "has no time of use and no ladder if it is 2 (area)", chinese);
    }
    let tariff = Tariff {
        retail_grade: given.retail_level.clone(),
        property_grade: given.property_grade.clone(),
        heat_basis,
        property_basis: given.property_basis(),
        basic_fee_kind: given.basic_fee_kind(),
        seasonal: given.seasonal(),
        time_of_use: given.time_of_use(),
        ladder,
        tiers,
        ..Tariff::plain(&given.account_item, given.utility(), given.supply_kind())
    };
    let limits = TierLimits { lower: given.lower_limit, upper: given.upper_limit };
    let position = Given { season: given.season(), period: given.period(), tier: given.tier(), limits };
    let mut object = |field, english: &str, chinese| faults.push(FaultKind::Rule, field, english, chinese);
    let (season, period, tier) = position.position(&tariff.shape(), &mut object);
    Some(AskedPrice {
        row: faults.row,
        operation: if adjust { PriceOperation::Adjust { start } } else { PriceOperation::Add { start } },
        key: Key { tariff, season, period, tier, attached: None },
        main_item: given.main_category_item,
        price: Some(unit_price(&given.price)),
        unit: given.price_unit.clone(),
        limits,
        stop,
    })
}

/// Reads an operation on an attached price.
pub fn attached(given: &AttachedPriceChange, faults: &mut RowFaults<'_>) -> Option<AskedPrice> {
    let tariff = Tariff::plain(&given.account_item, given.utility(), given.supply_kind());
    let key = Key::single(tariff, Some((given.main_category_item, given.surcharge_item)));
    let dates = (given.start_date, given.stop_date);
    maintained(key, given.main_category_item, &given.price, &given.price_unit, dates, given.operation(), faults)
}

/// Reads an operation on a basic-fee price.
pub fn basic_fee(given: &BasicFeePriceChange, faults: &mut RowFaults<'_>) -> Option<AskedPrice> {
    faults.no_surcharge(given.surcharge_item());
    if given.basic_fee_kind() == BasicFeesType::None {
        let chinese = "基本费单价的基本费计费类型应为容量计费或需量计费";
        faults.rule(fields::BASIC_FEE_KIND, "is not 2 (capacity) or 3 (demand)", chinese);
    }
    let plain = Tariff::plain(&given.account_item, given.utility(), given.supply_kind());
    let key = Key::single(Tariff { basic_fee_kind: given.basic_fee_kind(), ..plain }, None);
    let dates = (given.start_date, given.stop_date);
    maintained(key, given.main_category_item, &given.price, &given.price_unit, dates, given.operation(), faults)
}

/// Reads what an operation asks for: adding needs a price and a start date, a correction something to correct.
fn maintained(
    key: Key,
    main_item: i64,
    price: &str,
    unit: &str,
    (start_date, stop_date): (i32, i32),
    operation: OperationType,
    faults: &mut RowFaults<'_>,
) -> Option<AskedPrice> {
    let price = (!price.is_empty()).then(|| unit_price(price));
    let (start, stop) = (day(start_date), day(stop_date));
    let operation = match (operation, start) {
        (OperationType::Unspecified, _) => return None,
        (OperationType::Add, start) => {
            if price.is_none() {
                faults.missing(fields::PRICE, "is required to add", "新增时分类项目单价不能为空");
            }
            let Some(start) = start else {
                faults.missing(fields::START_DATE, "is required to add", "新增时启用日期不能为空");
                return None;
            };
            PriceOperation::Add { start }
        }
        (OperationType::Change, Some(start)) => PriceOperation::Adjust { start },
        (OperationType::Change, None) => {
            if price.is_none() && unit.is_empty() && stop.is_none() {
                faults.missing(
                    OPERATION,
                    "changes nothing: no price, unit or date is given",
                    "变更时应给出单价、单位或日期",
                );
            }
            PriceOperation::Correct
        }
        (OperationType::Delete, _) => PriceOperation::Close,
    };
    if operation != PriceOperation::Close {
        faults.span(start, stop);
    }
    let (row, unit, limits) = (faults.row, unit.to_owned(), TierLimits::default());
    Some(AskedPrice { row, operation, key, main_item, price, unit, limits, stop })
}
