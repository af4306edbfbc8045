//! How a request for a quote is read, and the refusal of an account that has no bill. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;

use communal_kit::refusal::Refusal;
use communal_proto::billing::v1::fields::{
    quote_fees_request, quoted_account, quoted_adjust_ratio, quoted_delivery, quoted_package, quoted_price,
    quoted_register, stored_account, stored_account_reading,
};
use communal_proto::billing::v1::{
    EnergyFlowType, NormalRetroType, QuoteFeesRequest, QuotedAccount, QuotedDelivery, QuotedPackage, QuotedPrice,
    QuotedRegister, ReadingsType, Reason, RewardPunishType, StoredAccount, TurnUpsideType,
};
use communal_proto::contract::v1::FaultKind;
use communal_proto::{Checker, Coded as _, Fault, FieldName, FieldPath};
use rust_decimal::Decimal;

use super::{Asked, QuotedFacts, StoredQuote};
use crate::calculation::facts::Uncalculated;
use crate::metering::readings::rules::Entered;
use crate::rating::error::NeededFact;
use crate::rating::hundredths::Hundredths;
use crate::rating::rates::{AdjustRow, Approval, ItemPrice, PopulationRow, RowError, SurchargePrice};
use crate::rating::{
    Accumulators, Movement, Parameters, PriceMatrix, Rates, RatingError, RegisterFacts, Supply, UnitPrice,
};
use crate::vocabulary::dates::{AccountMonth, day};
use crate::vocabulary::movement::Miscount;
use crate::vocabulary::position::Given;
use crate::vocabulary::quantity::{checked_decimal, unit_price};
use crate::vocabulary::tariff::{
    Dimensions, HeatBasis, Ladder, PropertyBasis, Season, Shape, Tier, TierLimits, TimeOfUse, Utility, YesNo, or,
};

/// The most tiers of a ladder.
const MOST_TIERS: i32 = 5;

/// Returns the refusal of an account that has no bill under a package, both of them given. It names the one of which something is
/// missing.
#[must_use]
pub fn refusal(error: &RatingError) -> Refusal {
    let field = match error {
        RatingError::NoPrice { .. }
        | RatingError::NoLimits { .. }
        | RatingError::NoSpacePrice(_)
        | RatingError::NoMeteredPrice
        | RatingError::NoBasicFeePrice(_)
        | RatingError::NoApprovalRatio
        | RatingError::NoAdjustRatio { .. }
        | RatingError::NotGiven(NeededFact::PackageKind) => quote_fees_request::PACKAGE.into(),
        RatingError::NoRegister(_)
        | RatingError::RegisterTwice(_)
        | RatingError::Movement { .. }
        | RatingError::NotInRetro(_)
        | RatingError::NotGiven(NeededFact::Register | NeededFact::EnergyFlow) => {
            quote_fees_request::ACCOUNT.then(quoted_account::REGISTERS)
        }
        RatingError::OutOfRange
        | RatingError::NoPartMonthRule
        | RatingError::NotGiven(NeededFact::RunKind | NeededFact::Season) => quote_fees_request::ACCOUNT.into(),
    };
    without_bill(error.reason(), field, error, error.chinese())
}

/// Returns the refusal of a stored account that has no bill.
#[must_use]
pub fn refusal_of_stored(error: &Uncalculated) -> Refusal {
    without_bill(error.reason(), stored_account_place(), error, error.chinese())
}

fn without_bill(reason: Reason, field: FieldPath, english: impl fmt::Display, chinese: String) -> Refusal {
    let fault = Fault::rule(field, format!("gives no bill: {english}"), chinese.clone());
    Refusal::new(reason, chinese).fault(fault)
}

/// The place of a stored account in a request.
#[must_use]
pub fn stored_account_place() -> FieldPath {
    quote_fees_request::STORED_ACCOUNT.then(stored_account::SETTLEMENT_ACCOUNT_ID)
}

/// Reads a request for a quote: a package and an account, or a stored account.
pub fn asked(request: &QuoteFeesRequest, checker: &mut Checker) -> Option<Asked> {
    let missing = |field: FieldName, chinese: &str| Fault {
        field: field.into(),
        kind: FaultKind::Missing,
        description: "is required".to_owned(),
        text: chinese.to_owned(),
    };
    if let Some(stored) = &request.stored_account {
        if request.package.is_some() || request.account.is_some() {
            let english = "stands beside a package or an account";
            checker.push(Fault::rule(
                quote_fees_request::STORED_ACCOUNT,
                english,
                "已建档结算户不能与套餐或结算户同时给出",
            ));
        }
        return Some(Asked::Stored(stored_quote(stored, checker)));
    }
    if request.package.is_none() {
        checker.push(missing(quote_fees_request::PACKAGE, "套餐不能为空"));
    }
    if request.account.is_none() {
        checker.push(missing(quote_fees_request::ACCOUNT, "结算户不能为空"));
    }
    let (package, of_account) = request.package.as_ref().zip(request.account.as_ref())?;
    let rates = rates(package, quote_fees_request::PACKAGE, checker);
    let facts = account(of_account, quote_fees_request::ACCOUNT, checker)?;
    Some(Asked::Given(Box::new(rates), Box::new(facts)))
}

/// The place of a reading of a stored account.
#[must_use]
pub fn reading_place(row: usize, field: FieldPath) -> FieldPath {
    quote_fees_request::STORED_ACCOUNT.then(stored_account::READINGS.at(row)).then(field)
}

fn stored_quote(stored: &StoredAccount, checker: &mut Checker) -> StoredQuote {
    let mut readings: Vec<Entered> = Vec::with_capacity(stored.readings.len());
    for (row, given) in stored.readings.iter().enumerate() {
        let register = (or(given.energy_flow(), EnergyFlowType::Forward), given.register());
        if readings.iter().any(|other| other.register == register) {
            let field = reading_place(row, stored_account_reading::REGISTER.into());
            checker.push(Fault::rule(field, "is a register that came before", "同一示数重复"));
        }
        let reading = checked_decimal(&given.reading);
        readings.push(Entered { meter_id: String::new(), register, reading, turn: given.turn() });
    }
    StoredQuote { settlement_account_id: stored.settlement_account_id.clone(), readings }
}

/// Faults within one message of a request.
struct Within<'c> {
    at: FieldPath,
    checker: &'c mut Checker,
}

impl Within<'_> {
    fn fault(&mut self, field: impl Into<FieldPath>, english: &str, chinese: &str) {
        self.checker.push(Fault::rule(self.at.clone().then(field), english, chinese));
    }
}

/// Reads a package; what is at fault goes to the checker, which has the faults of the field rules already. `at` is its place in
/// the request.
pub fn rates(package: &QuotedPackage, at: impl Into<FieldPath>, checker: &mut Checker) -> Rates {
    let mut within = Within { at: at.into(), checker };
    let shape = shape(package, &mut within);
    let mut rates = Rates::new(package.package_kind(), package.main_category_item);
    rates.take_shape(&shape);
    let mut rows = Rows::default();
    for (row, price) in package.prices.iter().enumerate() {
        let place = quoted_package::PRICES.at(row);
        let Some(dimensions) = dimensions(&shape, price, &place, &mut within) else { continue };
        let outcome = rates.add_row(&dimensions, limits(price), priced(&price.price, price.start_date));
        rows.note(&dimensions, price, place, outcome, &mut within);
    }
    rates.surcharges = package
        .surcharges
        .iter()
        .map(|surcharge| SurchargePrice {
            category_item: package.main_category_item,
            surcharge_item: surcharge.surcharge_item,
            price: priced(&surcharge.price, surcharge.start_date),
        })
        .collect();
    rates.basic_fee_kind = package.basic_fee_kind();
    rates.basic_fee = package
        .basic_fee
        .as_ref()
        .map(|fee| ItemPrice { category_item: fee.main_category_item, price: priced(&fee.price, fee.start_date) });
    rates.approval = package.approval.as_ref().map(|approval| Approval {
        ratio: checked_decimal(&approval.over_approval_ratio),
        factor: checked_decimal(&approval.approval_factor),
    });
    rates.adjust_ratios = adjust_ratios(package, &mut within);
    rates.population_rows = population_rows(package);
    rates.population = u32::try_from(package.population).unwrap_or_default();
    if !package.vacancy_ratio.is_empty() {
        rates.vacancy_ratio = checked_decimal(&package.vacancy_ratio);
    }
    rates.delivery = package.delivery.as_ref().map(|delivery| delivery_prices(delivery, &shape, &mut within));
    rates
}

fn shape(package: &QuotedPackage, within: &mut Within<'_>) -> Shape {
    let shape = Shape {
        account_item: String::new(),
        utility: package.utility(),
        agreement_price: YesNo::No,
        seasonal: package.seasonal() == YesNo::Yes,
        heat_basis: or(package.heat_basis(), HeatBasis::None),
        property_basis: package.property_basis(),
        time_of_use: or(package.time_of_use(), TimeOfUse::One),
        ladder: or(package.ladder(), Ladder::None),
        tiers: if matches!(package.ladder(), Ladder::None | Ladder::Unspecified) { 1 } else { MOST_TIERS },
    };
    let by_space = shape.utility == Utility::Property && shape.property_basis != PropertyBasis::Unspecified;
    if by_space && (shape.time_of_use != TimeOfUse::One || shape.ladder != Ladder::None) {
        let chinese = "按人口或面积计费的物业套餐不能分时或有阶梯";
        within.fault(quoted_package::PROPERTY_BASIS, "has neither a time of use nor a ladder", chinese);
        return Shape { time_of_use: TimeOfUse::One, ladder: Ladder::None, tiers: 1, ..shape };
    }
    if shape.heat_basis != HeatBasis::None && !matches!(shape.utility, Utility::Heat | Utility::Cooling) {
        within.fault(quoted_package::HEAT_BASIS, "is of heat and cooling alone", "只有热和冷有暖气计费类型");
        return Shape { heat_basis: HeatBasis::None, ..shape };
    }
    shape
}

/// The dimensions of a price row; `None` after a fault.
fn dimensions(shape: &Shape, price: &QuotedPrice, place: &FieldPath, within: &mut Within<'_>) -> Option<Dimensions> {
    let mut fits = true;
    let mut object = |field: FieldName, english: &str, chinese: String| {
        fits = false;
        within.fault(place.clone().then(field), english, &chinese);
    };
    let part = match (price.heat_basis(), shape.heat_bases()) {
        (HeatBasis::Unspecified, [only]) => shape.part(*only),
        (basis, fitting) if fitting.contains(&basis) => shape.part(basis),
        (_, fitting) => {
            let titles: Vec<_> = fitting.iter().map(|basis| basis.title()).collect();
            let chinese = format!("暖气计费类型与套餐不符，应为{}", titles.join("、"));
            object(quoted_price::HEAT_BASIS, "is no basis of the package", chinese);
            shape.clone()
        }
    };
    let given = Given { season: price.season(), period: price.period(), tier: price.tier(), limits: limits(price) };
    let (season, period, tier) = given.position(&part, &mut object);
    fits.then(|| part.dimensions(season, period, tier))
}

fn limits(price: &QuotedPrice) -> TierLimits {
    TierLimits { lower: price.lower_limit, upper: price.upper_limit }
}

fn priced(price: &str, start_date: i32) -> UnitPrice {
    UnitPrice { price: unit_price(price), start: day(start_date), version: None }
}

/// The limits of the rows that were read, by season and tier, with the place of the first row that has them.
#[derive(Default)]
struct Rows(BTreeMap<(Season, Tier), (TierLimits, FieldPath)>);

impl Rows {
    /// Judges a row beside those before it.
    fn note(
        &mut self,
        dimensions: &Dimensions,
        price: &QuotedPrice,
        place: FieldPath,
        outcome: Result<(), RowError>,
        within: &mut Within<'_>,
    ) {
        match outcome {
            Ok(()) if dimensions.ladder == Ladder::None => {}
            Ok(()) => self.judge(dimensions, limits(price), place, within),
            Err(RowError::Twice) => within.fault(place, "is a position that another row has", "价格的位置重复"),
            Err(RowError::Limits) => {
                let chinese = "同季各时段的阶梯限值应一致";
                within.fault(place.then(quoted_price::UPPER_LIMIT), "is not that of another period", chinese);
            }
            Err(RowError::Position) => within.fault(place, "does not fit the package", "价格的位置与套餐不符"),
        }
    }

    /// Tiers of a season touch each other: the first begins at 0, and a tier where the one before ends.
    fn judge(&mut self, dimensions: &Dimensions, limits: TierLimits, place: FieldPath, within: &mut Within<'_>) {
        let Dimensions { season, tier, .. } = *dimensions;
        let neighbour =
            |step: i32| Tier::try_from(tier as i32 + step).ok().and_then(|other| self.0.get(&(season, other)));
        let lower = if tier == Tier::First { Some(0) } else { neighbour(-1).map(|(limits, _)| limits.upper) };
        let ends =
            neighbour(-1).is_some_and(|(limits, _)| limits.upper == 0) || (limits.upper == 0 && neighbour(1).is_some());
        let upper = neighbour(1).map(|(limits, _)| limits.lower);
        if ends {
            let chinese = "仅最高阶梯的上限值为0（无上限）";
            within.fault(place.then(quoted_price::UPPER_LIMIT), "0 is of the last tier alone", chinese);
        } else if lower.is_some_and(|lower| lower != limits.lower) {
            let chinese = "阶梯下限值应为前一阶梯的上限值";
            within.fault(place.then(quoted_price::LOWER_LIMIT), "is not where the tier before ends", chinese);
        } else if upper.is_some_and(|upper| upper != limits.upper) {
            let chinese = "阶梯上限值应为后一阶梯的下限值";
            within.fault(place.then(quoted_price::UPPER_LIMIT), "is not where the next tier begins", chinese);
        } else {
            self.0.entry((season, tier)).or_insert((limits, place));
        }
    }
}

fn adjust_ratios(package: &QuotedPackage, within: &mut Within<'_>) -> Vec<AdjustRow> {
    let mut rows: Vec<AdjustRow> = Vec::with_capacity(package.adjust_ratios.len());
    for (index, row) in package.adjust_ratios.iter().enumerate() {
        let ratio = checked_decimal(&row.adjust_ratio);
        let read = AdjustRow {
            standard: row.power_factor_standard(),
            power_factor: checked_decimal(&row.power_factor),
            ratio: if row.adjust_direction() == RewardPunishType::Reward { -ratio } else { ratio },
            category_item: (row.main_category_item != 0).then_some(row.main_category_item),
            start: day(row.start_date),
        };
        if rows.iter().any(|other| other.standard == read.standard && other.power_factor == read.power_factor) {
            let place = quoted_package::ADJUST_RATIOS.at(index).then(quoted_adjust_ratio::POWER_FACTOR);
            within.fault(place, "is that of another row of the standard", "同一标准的力率重复");
        }
        rows.push(read);
    }
    rows
}

fn population_rows(package: &QuotedPackage) -> Vec<PopulationRow> {
    let row = |row: &communal_proto::billing::v1::QuotedLadderPopulation| {
        Some(PopulationRow {
            base: u32::try_from(row.population_base).ok()?,
            increment: NonZeroU32::new(u32::try_from(row.population_increment).ok()?)?,
            increase: Hundredths::exactly(checked_decimal(&row.limit_increase))?,
        })
    };
    package.ladder_populations.iter().filter_map(row).collect()
}

fn delivery_prices(delivery: &QuotedDelivery, package: &Shape, within: &mut Within<'_>) -> PriceMatrix {
    let ladder = or(delivery.ladder(), Ladder::None);
    let shape = Shape {
        heat_basis: HeatBasis::None,
        property_basis: PropertyBasis::Unspecified,
        time_of_use: or(delivery.time_of_use(), TimeOfUse::One),
        ladder,
        tiers: if ladder == Ladder::None { 1 } else { MOST_TIERS },
        ..package.clone()
    };
    let mut matrix = PriceMatrix::new(shape.time_of_use, ladder);
    let mut rows = Rows::default();
    for (row, price) in delivery.prices.iter().enumerate() {
        let place = quoted_package::DELIVERY.then(quoted_delivery::PRICES.at(row));
        let shape = Shape { seasonal: price.season() != Season::Unspecified, ..shape.clone() };
        let Some(dimensions) = dimensions(&shape, price, &place, within) else { continue };
        let Dimensions { season, period, tier, .. } = dimensions;
        let (limits, value) = (limits(price), priced(&price.price, price.start_date));
        let outcome = match price.season() {
            Season::Unspecified => matrix.set_in_every_season(period, tier, limits, value),
            _ => matrix.set(season, period, tier, limits, value),
        };
        rows.note(&dimensions, price, place, outcome, within);
    }
    matrix
}

/// Reads an account; what is at fault goes to the checker. `at` is its place in the request.
pub fn account(account: &QuotedAccount, at: impl Into<FieldPath>, checker: &mut Checker) -> Option<QuotedFacts> {
    let mut within = Within { at: at.into(), checker };
    let run_kind = or(account.run_kind(), NormalRetroType::Normal);
    let mut registers: Vec<RegisterFacts> = Vec::with_capacity(account.registers.len());
    for (row, register) in account.registers.iter().enumerate() {
        let place = quoted_account::REGISTERS.at(row);
        let read = register_facts(register, run_kind, &place, &mut within);
        if registers.iter().any(|other| (other.register, other.flow) == (read.register, read.flow)) {
            within.fault(place, "is a register that another row has", "示数重复");
        }
        registers.push(read);
    }
    let month = AccountMonth::read(account.account_month)?;
    let is_retro = run_kind == NormalRetroType::Retro;
    let number = checked_decimal;
    let parameters = Parameters {
        population: u32::try_from(account.population).ok()?,
        fixed_quantity: number(&account.fixed_quantity),
        apportioned_quantity: number(&account.apportioned_total),
        apportion_ratio: number(&account.apportion_ratio),
        divided_quantity: number(&account.divided_quantity),
        fixed_fee: if is_retro { Decimal::ZERO } else { number(&account.fixed_fee) },
        retro_fee: if is_retro { number(&account.fixed_fee) } else { Decimal::ZERO },
        apportioned_fee: number(&account.apportioned_fee),
        division_ratio: number(&account.division_ratio),
        divided_fee: number(&account.divided_fee),
        capacity: number(&account.capacity),
        approved_demand: number(&account.approved_demand),
        demand_multiplier: number(&account.demand_multiplier),
        power_factor_standard: account.power_factor_standard(),
        area: number(&account.area),
        area_factor: number(&account.area_factor),
        supply: supply(account, &mut within),
    };
    let (year, of_month) = (number(&account.year_quantity), number(&account.month_quantity));
    Some(QuotedFacts {
        month,
        run_kind,
        season: account.season(),
        accumulators: Accumulators { last: Some(month), year, month: of_month },
        metered: account.metered() != YesNo::No,
        registers,
        parameters,
    })
}

fn supply(account: &QuotedAccount, within: &mut Within<'_>) -> Supply {
    let supply = Supply {
        from: day(account.supplied_from),
        until: day(account.supplied_until),
        stopped: account.stopped_or_vacant() == YesNo::Yes,
        stopped_from: day(account.stopped_from),
        resupplied_from: day(account.resupplied_from),
        rule: account.part_month_rule(),
    };
    if let (Some(stopped), Some(resumed)) = (supply.stopped_from, supply.resupplied_from)
        && resumed < stopped
    {
        let chinese = "复供日期不能早于停供/空置日期";
        within.fault(quoted_account::RESUPPLIED_FROM, "is before the day on which supply stopped", chinese);
    }
    if let (Some(from), Some(until)) = (supply.from, supply.until)
        && until < from
    {
        let chinese = "供用终止日期不能早于起始日期";
        within.fault(quoted_account::SUPPLIED_UNTIL, "is before the first day of supply", chinese);
    }
    supply
}

/// Reads a register: by two readings, or by the quantity that it counted.
fn register_facts(
    given: &QuotedRegister,
    run_kind: NormalRetroType,
    place: &FieldPath,
    within: &mut Within<'_>,
) -> RegisterFacts {
    let register = given.register();
    let mut fault = |field: FieldName, english: &str, chinese: &str| {
        within.fault(place.clone().then(field), english, chinese);
    };
    let is_demand = register == ReadingsType::Demand;
    let is_retro = run_kind == NormalRetroType::Retro;
    if is_retro && (is_demand || register == ReadingsType::Reactive) {
        fault(quoted_register::REGISTER, "is not billed in a retro run", "追补不计无功和需量");
    }
    let corrections = [&given.reduced_quantity, &given.old_quantity, &given.added_quantity];
    let has_corrections = corrections.iter().any(|text| !text.is_empty());
    if is_demand && has_corrections {
        fault(quoted_register::REGISTER, "has no reduced, old or added quantity", "需量没有套减、旧表或追加用量");
    }
    let quantity = checked_decimal(&given.quantity);
    let mut facts = RegisterFacts {
        register,
        flow: or(given.energy_flow(), EnergyFlowType::Forward),
        movement: None,
        reduced: checked_decimal(&given.reduced_quantity),
        old: checked_decimal(&given.old_quantity),
        added: checked_decimal(&given.added_quantity),
    };
    let of_readings = [&given.last_reading, &given.reading, &given.multiplier];
    let has_readings = of_readings.iter().any(|text| !text.is_empty())
        || given.digits != 0
        || given.turn() != TurnUpsideType::Unspecified;
    match (given.quantity.is_empty(), given.reading.is_empty()) {
        (false, _) if has_readings => {
            fault(quoted_register::QUANTITY, "stands beside readings", "用量和表底只能填一种");
        }
        (false, _) if is_demand => facts.old = quantity,
        (false, _) => match facts.added.checked_add(quantity) {
            Some(added) => facts.added = added,
            None => fault(quoted_register::QUANTITY, "is out of range", "用量超出范围"),
        },
        (true, true) if has_corrections && !has_readings => {}
        (true, true) => {
            let field = place.clone().then(quoted_register::READING);
            let text = "本次表底或本次计费用量不能为空".to_owned();
            let description = "or a quantity is required".to_owned();
            within.checker.push(Fault {
                field: within.at.clone().then(field),
                kind: FaultKind::Missing,
                description,
                text,
            });
        }
        (true, false) if is_retro => {
            fault(quoted_register::READING, "is not of a retro run", "追补没有表底");
        }
        (true, false) => {
            let movement = Movement {
                last: checked_decimal(&given.last_reading),
                this: checked_decimal(&given.reading),
                turn: or(given.turn(), TurnUpsideType::Normal),
                digits: u32::try_from(given.digits).unwrap_or_default(),
                multiplier: if given.multiplier.is_empty() { Decimal::ONE } else { checked_decimal(&given.multiplier) },
            };
            judge_movement(&movement, is_demand, &mut fault);
            facts.movement = Some(movement);
        }
    }
    facts
}

/// Judges readings: each fits the digits, and both fit the movement.
fn judge_movement(movement: &Movement, is_demand: bool, fault: &mut impl FnMut(FieldName, &str, &str)) {
    let end = (movement.digits > 0).then(|| 10_i64.checked_pow(movement.digits)).flatten().map(Decimal::from);
    for (field, reading) in [(quoted_register::LAST_READING, movement.last), (quoted_register::READING, movement.this)]
    {
        if end.is_some_and(|end| reading >= end) {
            fault(field, "is beyond the digits of the meter", "表底超出表码位数");
        }
    }
    if is_demand {
        return;
    }
    if movement.turn == TurnUpsideType::Rollover && end.is_none() {
        fault(quoted_register::DIGITS, "is required where the register rolled over", "翻转时表码位数不能为空");
    } else if movement.counted() == Err(Miscount::Contradiction) {
        fault(quoted_register::TURN, "does not fit the readings", "倒走翻转类型与表底不符");
    }
}
