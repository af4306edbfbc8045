//! The rules of delivery prices: which price a row names, and how its codes and the tiers of a tariff fit each other.
//! Pure.

use std::collections::HashSet;

use chrono::NaiveDate;
use communal_kit::objections::Objections;
use communal_proto::billing::v1::fields::add_delivery_price_request::PRICES;
use communal_proto::billing::v1::fields::delivery_price::REGION_CODE;
use communal_proto::billing::v1::fields::new_delivery_price as fields;
use communal_proto::billing::v1::{
    AbundanceType as Season, DeliveryPriceChange, DeliveryPriceEnd, LadderNumType, NewDeliveryPrice, Reason,
};
use communal_proto::{Checker, Fault, FieldName, FieldPath, Reason as _};

use super::{Key, Version};
use crate::vocabulary::dates::{day, day_number};
use crate::vocabulary::lifetime::Lifetime;
use crate::vocabulary::matrix::ladder_gaps;
use crate::vocabulary::position::Given;
use crate::vocabulary::quantity::{checked_decimal, unit_price};
use crate::vocabulary::tariff::{HeatBasis, Ladder, PropertyBasis, Shape, TierLimits, YesNo, or};

/// The place of a field in a row of the request. All requests have the same names.
#[must_use]
pub fn place(row: usize, field: FieldName) -> FieldPath {
    PRICES.at(row).then(field)
}

/// Reads the rows of a request; what is at fault in them goes to the checker, and such rows are left out.
pub fn read<'m, M: 'm>(
    rows: &'m [M],
    checker: &mut Checker,
    read: impl Fn(usize, &'m M, &mut Checker) -> Option<Version>,
) -> Vec<Version> {
    rows.iter().enumerate().filter_map(|(row, given)| read(row, given, &mut *checker)).collect()
}

/// Reads a price to add.
pub fn new(row: usize, given: &NewDeliveryPrice, checker: &mut Checker) -> Option<Version> {
    let mut object = |field: FieldName, english: &str, chinese: String| {
        checker.push(Fault::rule(place(row, field), english, chinese));
    };
    let tiers = or(given.ladder_tiers(), LadderNumType::One);
    if (given.ladder() == Ladder::None) != (tiers == LadderNumType::One) {
        let chinese = "有阶梯时阶梯数不能小于2，无阶梯时只能为1或空".into();
        object(fields::LADDER_TIERS, "is at least 2 with a ladder, and 1 or absent without", chinese);
    }
    if (given.by_power() == YesNo::Yes) == given.power_range.is_empty() {
        let chinese = "分功率计价时功率范围不能为空，不分时应为空".into();
        object(fields::POWER_RANGE, "is required in prices by power, and absent in others", chinese);
    }
    let shape = Shape {
        account_item: given.account_item.clone(),
        utility: given.utility(),
        agreement_price: YesNo::No,
        seasonal: given.season() != Season::Unspecified,
        heat_basis: HeatBasis::None,
        property_basis: PropertyBasis::Unspecified,
        time_of_use: given.time_of_use(),
        ladder: given.ladder(),
        tiers: tiers.into(),
    };
    let limits = TierLimits { lower: given.lower_limit, upper: given.upper_limit };
    let position = Given { season: given.season(), period: given.period(), tier: given.tier(), limits };
    let (_, period, tier) = position.position(&shape, &mut object);
    let version = Version {
        key: Key {
            account_item: given.account_item.clone(),
            utility: given.utility(),
            kind: given.delivery_price_kind(),
            delivery_grade: given.delivery_grade.clone(),
            power_range: given.power_range.clone(),
            time_of_use: given.time_of_use(),
            period,
            ladder: given.ladder(),
            tiers,
            tier,
            season: given.season(),
        },
        price: unit_price(&given.price),
        unit: given.price_unit.clone(),
        limits,
        loss_rate: (!given.loss_rate.is_empty()).then(|| checked_decimal(&given.loss_rate)),
        fee_kind: given.delivery_fee_kind(),
        agreement_price: given.agreement_price(),
        start: day(given.start_date)?,
        stop: day(given.stop_date),
    };
    Some(version)
}

/// Reads a price whose days must run forward.
pub fn opened(row: usize, given: &NewDeliveryPrice, checker: &mut Checker) -> Option<Version> {
    let version = new(row, given, checker)?;
    if !version.days().is_forward() {
        let chinese = "截止日期应晚于启用日期（截止日期当天不再有效）";
        checker.push(Fault::rule(place(row, fields::STOP_DATE), "is not after the start date", chinese));
    }
    Some(version)
}

/// The fields of a price to add, of a message that has them all but for those given apart.
macro_rules! as_new {
    ($given:expr, $agreement_price:expr) => {{
        let given = $given.clone();
        NewDeliveryPrice {
            account_item: given.account_item,
            utility: given.utility,
            delivery_price_kind: given.delivery_price_kind,
            loss_rate: given.loss_rate,
            by_power: given.by_power,
            power_range: given.power_range,
            delivery_fee_kind: given.delivery_fee_kind,
            delivery_grade: given.delivery_grade,
            time_of_use: given.time_of_use,
            period: given.period,
            ladder: given.ladder,
            ladder_tiers: given.ladder_tiers,
            tier: given.tier,
            upper_limit: given.upper_limit,
            lower_limit: given.lower_limit,
            price: given.price,
            price_unit: given.price_unit,
            start_date: given.start_date,
            stop_date: given.stop_date,
            agreement_price: $agreement_price,
            season: given.season,
        }
    }};
}

/// Reads a new version of a price.
pub fn adjusted(row: usize, given: &DeliveryPriceChange, checker: &mut Checker) -> Option<Version> {
    opened(row, &as_new!(given, 0), checker)
}

/// Reads a version to close; a stop date that is given comes after its start. Without one, a version that has not begun today
/// never begins.
pub fn ended(row: usize, given: &DeliveryPriceEnd, checker: &mut Checker) -> Option<Version> {
    opened(row, &as_new!(given, given.agreement_price), checker)
}

/// Why a row is refused by the versions that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The row names a region that is not the company's.
    OtherRegion,
    /// The company has no price with the codes of the row.
    NoSuchPrice,
    /// The day is before the first version, which begins on this one.
    BeforeFirst(NaiveDate),
    /// On the day no version is in force.
    NotInForce,
    /// No version begins on the day, or it is over already.
    NoneBegins,
    /// The version has another price.
    OtherPrice,
    /// A version of the price is in force on some of the days.
    Overlaps(Lifetime),
    /// The tariff is split another way on some of the days.
    SplitOtherwise(Lifetime),
    /// An earlier row of the request begins a version of the price on the day.
    TwiceInRequest,
    /// A bill has used the version for a day that would change.
    Billed,
}

impl Cause {
    /// Objects to a row.
    pub fn object(self, row: usize, objections: &mut Objections) {
        let reason = match self {
            Self::Overlaps(_) | Self::SplitOtherwise(_) | Self::TwiceInRequest => Reason::PriceExists,
            Self::Billed => Reason::PriceBilled,
            _ => Reason::PriceNotFound,
        };
        let field = match self {
            Self::OtherRegion => REGION_CODE,
            Self::NoSuchPrice => fields::ACCOUNT_ITEM,
            Self::OtherPrice => fields::PRICE,
            _ => fields::START_DATE,
        };
        let (english, chinese) = self.texts();
        objections.push(reason, Fault::rule(place(row, field), english, chinese));
    }

    fn texts(self) -> (String, String) {
        let (english, chinese) = match self {
            Self::OtherRegion => ("is not the region of the company", "不是本公司的行政区划"),
            Self::NoSuchPrice => ("and the codes of the row are those of no price", "没有相应的配送价"),
            Self::BeforeFirst(first) => {
                let first = first.format("%Y%m%d");
                let english = format!("is before the first version of the price, which begins on {first}");
                return (english, format!("早于该配送价的最早启用日期{first}"));
            }
            Self::NotInForce => ("is a day on which no version of the price is in force", "该日没有生效的配送价"),
            Self::NoneBegins => {
                ("is the first day of no version that is still to be closed", "没有于该日启用且尚未停用的配送价")
            }
            Self::OtherPrice => ("is not the price of the version", "与该配送价的单价不同"),
            Self::Overlaps(days) => {
                let (english, chinese) = span(days);
                let begun = format!("begins a version on days of another one of this price, {english}");
                return (begun, format!("与该配送价{chinese}的版本重叠"));
            }
            Self::SplitOtherwise(days) => {
                let (english, chinese) = span(days);
                let begun = format!("begins another split by period, tier or season than its tariff has {english}");
                return (begun, format!("与同一资费{chinese}的分时、阶梯、丰枯设置不一致"));
            }
            Self::TwiceInRequest => {
                ("is that of an earlier row for this price", "与前面的行是同一配送价的同一启用日期")
            }
            Self::Billed => ("would change what a bill has used", Reason::PriceBilled.text()),
        };
        (english.to_owned(), chinese.to_owned())
    }
}

/// The days of a version, for people.
fn span(days: Lifetime) -> (String, String) {
    let number = |day: Option<NaiveDate>| day_number(day).to_string();
    match days.stop {
        Some(_) => {
            let (start, stop) = (number(days.start), number(days.stop));
            (format!("from {start} to before {stop}"), format!("{start}起、{stop}停用"))
        }
        None => (format!("from {}", number(days.start)), format!("{}起", number(days.start))),
    }
}

/// Objects to tariffs whose tiers do not fit each other on a day on which a request opens a version. Tiers that are not
/// all there yet are not judged. `versions` are all of the account items of the request, those that it opens among them.
#[must_use]
pub fn broken_ladders(versions: &[Version], opened: &[Version]) -> Objections {
    let mut objections = Objections::default();
    let mut judged = HashSet::new();
    for new in opened.iter().filter(|new| new.key.ladder != Ladder::None) {
        let tariff = new.key.tariff();
        if !judged.insert((tariff, new.start)) {
            continue;
        }
        let in_force = versions.iter().filter(|v| v.key.tariff() == tariff && v.days().covers(new.start));
        let in_force = in_force.map(|version| (version.key.dimensions(), version.limits));
        let of_tariff = opened.iter().enumerate().filter(|(_, opened)| opened.key.tariff() == tariff);
        let requested: Vec<_> = of_tariff.map(|(row, opened)| (opened.key.dimensions(), row)).collect();
        let whole = usize::try_from(new.key.tiers as i32).unwrap_or_default();
        for (row, field, gap) in ladder_gaps(whole, in_force, &requested) {
            let fault = Fault::rule(place(row, field), gap.english(), gap.chinese());
            objections.push(Reason::PricesIncomplete, fault);
        }
    }
    objections.sort_by_row();
    objections
}
