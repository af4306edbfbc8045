//! Rating: quantities and prices in, fee lines out. Pure arithmetic on decimals; it imports the vocabulary and money alone.
//!
//! [`rate`] is the one function behind a bill, a quote and an explanation. Its steps, a file each: the [`quantities`] of the
//! registers and their spread over the periods of the day; the walk over the tiers of a [`ladder`]; the [`shares`] of tiers and
//! periods; energy lines; surcharges; the [`basic_fee`] with its [`part_month`]; the [`power_factor`]; charges by area or
//! persons; fixed fees; and the lines of delivery. Each line keeps the rule that made it, as figures and codes.
//!
//! Each printed line is rounded once, half up to the cent; a bill is the sum of its printed lines. What is missing is an error
//! that names it, and the account has no bill.

pub mod basic_fee;
pub mod bill;
mod energy;
pub mod error;
pub mod facts;
pub mod hundredths;
pub mod ladder;
pub mod part_month;
pub mod power_factor;
pub mod quantities;
pub mod rates;
pub mod shares;
mod space;
pub mod temporary;

pub use bill::{Bill, FeeLine, LineRule};
pub use error::RatingError;
pub use facts::{Accumulators, BillFacts, Movement, Parameters, RegisterFacts, Supply};
pub use rates::{PriceMatrix, Rates, UnitPrice};

use communal_proto::billing::v1::{CalcFeeType, ChargePackType, NormalRetroType};
use rust_decimal::Decimal;

use crate::vocabulary::tariff::{Ladder, Period, Season, Tier, TimeOfUse};
use bill::Warnings;
use energy::{LineTerms, add_lines, fee};
use error::NeededFact;
use hundredths::Hundredths;
use ladder::population_increase;
use quantities::{Billed, billed, rounded_product};
use rates::MOST_PERIODS;
use shares::ByPeriod;

/// Lines that most bills have.
const USUAL_LINES: usize = 4;

/// Rates an account: everything that its package charges for one run.
///
/// # Errors
/// Returns a [`RatingError`] that names what is missing or does not fit.
pub fn rate(facts: &BillFacts<'_>, rates: &Rates) -> Result<Bill, RatingError> {
    let kind = match rates.kind {
        ChargePackType::Guaranteed | ChargePackType::LowIncome => CalcFeeType::Guaranteed,
        ChargePackType::Market => CalcFeeType::Retail,
        ChargePackType::Unspecified => return Err(RatingError::NotGiven(NeededFact::PackageKind)),
    };
    let is_retro = match facts.run_kind {
        NormalRetroType::Normal => false,
        NormalRetroType::Retro => true,
        NormalRetroType::Unspecified => return Err(RatingError::NotGiven(NeededFact::RunKind)),
    };
    let season = match facts.season {
        _ if !rates.seasonal => Season::Flat,
        Season::Unspecified => return Err(RatingError::NotGiven(NeededFact::Season)),
        season => season,
    };
    let mut warnings = Warnings::default();
    let Billed { mut quantities, by_period, energy } = billed(facts, rates, &mut warnings)?;
    let before = facts.accumulators.at(facts.account_month);
    let mut lines = Vec::with_capacity(USUAL_LINES);
    let package = PackageLines { kind, season, rates };

    if let Some(matrix) = &rates.energy {
        let terms = package.terms(facts, matrix, before)?;
        add_lines(matrix, &terms, &by_period, &mut lines)?;
    }
    let mut base = total(&lines)?;
    package.add_surcharges(quantities.energy, &mut lines)?;
    if is_retro {
        package.add_fee(facts.parameters.retro_fee, LineRule::RetroFee, &mut lines);
    } else {
        let energy_lines = lines.len();
        basic_fee::add_line(facts, rates, quantities.demand, kind, season, &mut lines)?;
        base =
            base.checked_add(total(lines.get(energy_lines..).unwrap_or_default())?).ok_or(RatingError::OutOfRange)?;
        let standard = facts.parameters.power_factor_standard;
        let place = (kind, season);
        power_factor::add_line(standard, rates, &mut quantities, base, place, &mut warnings, &mut lines)?;
        space::add_line(&facts.parameters, rates, kind, season, &mut lines)?;
        package.add_fixed_fees(&facts.parameters, &mut lines)?;
    }
    if lines.is_empty() {
        lines.push(package.empty_line()?);
    }
    let total_of_customer = total(&lines)?;
    let delivery_from = lines.len();
    if by_period.iter().any(|quantity| !quantity.is_zero()) {
        let is_priced = package.add_delivery(facts, before, energy, &by_period, &mut lines)?;
        warnings.no_delivery_price = !is_priced;
    }
    let delivery_total = total(lines.get(delivery_from..).unwrap_or_default())?;
    let grown = |accumulator: Decimal| accumulator.checked_add(quantities.energy).ok_or(RatingError::OutOfRange);
    let after = Accumulators { last: before.last, year: grown(before.year)?, month: grown(before.month)? };
    Ok(Bill { kind, lines, total: total_of_customer, delivery_total, quantities, before, after, warnings })
}

/// The sum of printed lines.
fn total(lines: &[FeeLine]) -> Result<Decimal, RatingError> {
    let sum = lines.iter().try_fold(Decimal::ZERO, |sum, line| sum.checked_add(line.fee));
    sum.ok_or(RatingError::OutOfRange)
}

/// The lines that a package makes: what they have in common, and its rates.
#[derive(Clone, Copy)]
struct PackageLines<'r> {
    kind: CalcFeeType,
    season: Season,
    rates: &'r Rates,
}

impl PackageLines<'_> {
    fn terms(
        self,
        facts: &BillFacts<'_>,
        matrix: &PriceMatrix,
        before: Accumulators,
    ) -> Result<LineTerms, RatingError> {
        let (accumulated, increase) = if matrix.ladder() == Ladder::None {
            (Hundredths::ZERO, Hundredths::ZERO)
        } else {
            let persons = match facts.parameters.population {
                0 => self.rates.population,
                persons => persons,
            };
            let increase = population_increase(persons, &self.rates.population_rows);
            let accumulated = Hundredths::exactly(before.of(matrix.ladder()));
            accumulated.zip(increase).ok_or(RatingError::OutOfRange)?
        };
        let Self { kind, season, .. } = self;
        Ok(LineTerms { kind, category_item: self.energy_item(), season, accumulated, increase })
    }

    /// The category item of energy lines. Delivery prices name none.
    fn energy_item(self) -> i64 {
        let of_rows = self.rates.energy_item.filter(|_| self.kind != CalcFeeType::Delivery);
        of_rows.unwrap_or(self.rates.main_item)
    }

    /// Adds a line that has no price row, unless its fee is zero.
    fn add_fee(self, fee: Decimal, rule: LineRule, lines: &mut Vec<FeeLine>) {
        if fee.is_zero() {
            return;
        }
        lines.push(FeeLine {
            kind: self.kind,
            category_item: self.rates.main_item,
            surcharge_item: 0,
            season: self.season,
            period: Period::Whole,
            tier: Tier::First,
            start: None,
            version: None,
            quantity: Decimal::ZERO,
            price: Decimal::ZERO,
            fee,
            rule,
        });
    }

    /// Adds a line for each surcharge, on the whole energy quantity. Prices of retail packages include surcharges.
    fn add_surcharges(self, energy: Decimal, lines: &mut Vec<FeeLine>) -> Result<(), RatingError> {
        if self.kind != CalcFeeType::Guaranteed || energy.is_zero() {
            return Ok(());
        }
        for surcharge in &self.rates.surcharges {
            lines.push(FeeLine {
                kind: self.kind,
                category_item: surcharge.category_item,
                surcharge_item: surcharge.surcharge_item,
                season: self.season,
                period: Period::Whole,
                tier: Tier::First,
                start: surcharge.price.start,
                version: surcharge.price.version,
                quantity: energy,
                price: surcharge.price.price,
                fee: fee(energy, surcharge.price.price)?,
                rule: LineRule::Surcharge,
            });
        }
        Ok(())
    }

    /// Adds the line of fixed, apportioned and divided fees: one line, and none if they add up to nothing.
    fn add_fixed_fees(self, parameters: &Parameters, lines: &mut Vec<FeeLine>) -> Result<(), RatingError> {
        let apportioned = rounded_product(parameters.apportioned_fee, parameters.division_ratio)?;
        let (fixed, divided) = (parameters.fixed_fee, parameters.divided_fee);
        let sum = fixed.checked_add(apportioned).and_then(|sum| sum.checked_add(divided));
        let sum = sum.ok_or(RatingError::OutOfRange)?;
        self.add_fee(sum, LineRule::FixedFee { fixed, apportioned, divided }, lines);
        Ok(())
    }

    /// The line of a bill that has no other: nothing, in the first tier and period, at its price.
    fn empty_line(self) -> Result<FeeLine, RatingError> {
        let (period, category_item, price) = match (&self.rates.energy, &self.rates.space) {
            (Some(matrix), _) => {
                let period = matrix.periods().first().copied().unwrap_or(Period::Whole);
                (period, self.energy_item(), matrix.price(self.season, period, Tier::First)?)
            }
            (None, Some(space)) => (Period::Whole, self.rates.main_item, space.price(self.season)?),
            (None, None) => {
                let (season, period, tier) = (self.season, Period::Whole, Tier::First);
                return Err(RatingError::NoPrice { season, period, tier });
            }
        };
        Ok(FeeLine {
            kind: self.kind,
            category_item,
            surcharge_item: 0,
            season: self.season,
            period,
            tier: Tier::First,
            start: price.start,
            version: price.version,
            quantity: Decimal::ZERO,
            price: price.price,
            fee: Decimal::ZERO,
            rule: LineRule::Empty,
        })
    }

    /// Adds the lines of delivery on the whole energy quantity. Returns false, without a line, if there is no delivery price for
    /// a part of it, or the prices are by periods that the package does not measure.
    fn add_delivery(
        self,
        facts: &BillFacts<'_>,
        before: Accumulators,
        energy: Hundredths,
        by_period: &ByPeriod,
        lines: &mut Vec<FeeLine>,
    ) -> Result<bool, RatingError> {
        let Some(matrix) = &self.rates.delivery else { return Ok(false) };
        let mut whole = [Hundredths::ZERO; MOST_PERIODS];
        let by_period = if matrix.time_of_use() == TimeOfUse::One {
            if let Some(first) = whole.first_mut() {
                *first = energy;
            }
            &whole
        } else if self.rates.energy.as_ref().is_some_and(|own| own.time_of_use() == matrix.time_of_use()) {
            by_period
        } else {
            return Ok(false);
        };
        let known = lines.len();
        let terms = Self { kind: CalcFeeType::Delivery, ..self }.terms(facts, matrix, before)?;
        match add_lines(matrix, &terms, by_period, lines) {
            Ok(()) => Ok(true),
            Err(RatingError::NoPrice { .. } | RatingError::NoLimits { .. }) => {
                lines.truncate(known);
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}
