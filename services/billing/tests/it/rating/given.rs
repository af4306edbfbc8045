//! Rates and facts of the tests, in few words.

use std::num::NonZeroU32;

use communal_billing::rating::hundredths::Hundredths;
use communal_billing::rating::rates::PopulationRow;
use communal_billing::rating::{
    Accumulators, Bill, BillFacts, FeeLine, Parameters, PriceMatrix, Rates, RatingError, RegisterFacts, UnitPrice, rate,
};
use communal_billing::vocabulary::dates::{AccountMonth, day};
use communal_billing::vocabulary::movement::register_of;
use communal_billing::vocabulary::tariff::{Ladder, Period, Season, Tier, TierLimits, TimeOfUse, periods};
use communal_kit::money::{CENTS, at_scale};
use communal_proto::billing::v1::{ChargePackType, NormalRetroType};
use rust_decimal::Decimal;

/// The category item of energy lines.
pub(super) const ENERGY: i64 = 1;

pub(super) fn decimal(text: &str) -> Decimal {
    text.parse().unwrap()
}

pub(super) fn tier(number: i32) -> Tier {
    Tier::try_from(number).unwrap()
}

pub(super) fn unit(price: &str) -> UnitPrice {
    UnitPrice { price: decimal(price), start: day(20_240_101), version: None }
}

/// The limits of tiers that end at these steps; the last has no end.
pub(super) fn limits(steps: &[i64]) -> Vec<TierLimits> {
    let lower = std::iter::once(0).chain(steps.iter().copied());
    let upper = steps.iter().copied().chain(std::iter::once(0));
    lower.zip(upper).map(|(lower, upper)| TierLimits { lower, upper }).collect()
}

/// Adds the prices of a season: by tier, then by period in the order of the matrix.
pub(super) fn add_season(matrix: &mut PriceMatrix, season: Season, steps: &[i64], prices: &[&[&str]]) {
    for ((number, of_tier), limits) in (1..).zip(prices).zip(limits(steps)) {
        for (period, price) in matrix.periods().iter().zip(*of_tier) {
            matrix.set(season, *period, tier(number), limits, unit(price)).unwrap();
        }
    }
}

pub(super) fn matrix(time_of_use: TimeOfUse, ladder: Ladder, steps: &[i64], prices: &[&[&str]]) -> PriceMatrix {
    let mut matrix = PriceMatrix::new(time_of_use, ladder);
    add_season(&mut matrix, Season::Flat, steps, prices);
    matrix
}

/// A retail package with these prices.
pub(super) fn retail(time_of_use: TimeOfUse, ladder: Ladder, steps: &[i64], prices: &[&[&str]]) -> Rates {
    let energy = Some(matrix(time_of_use, ladder, steps, prices));
    Rates { energy, ..Rates::new(ChargePackType::Market, ENERGY) }
}

/// A retail package with one price for each tier.
pub(super) fn tiered(ladder: Ladder, steps: &[i64], prices: &[&str]) -> Rates {
    let by_tier: Vec<_> = prices.iter().map(std::slice::from_ref).collect();
    retail(TimeOfUse::One, ladder, steps, &by_tier)
}

/// A retail package with one price.
pub(super) fn flat(price: &str) -> Rates {
    tiered(Ladder::None, &[], &[price])
}

pub(super) fn population(base: u32, increment: u32, increase: &str) -> PopulationRow {
    PopulationRow {
        base,
        increment: NonZeroU32::new(increment).unwrap(),
        increase: Hundredths::exactly(decimal(increase)).unwrap(),
    }
}

/// Everything of [`BillFacts`], with its registers.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) month: i32,
    pub(super) run_kind: NormalRetroType,
    pub(super) season: Season,
    pub(super) accumulators: Accumulators,
    pub(super) metered: bool,
    pub(super) registers: Vec<RegisterFacts>,
    pub(super) parameters: Parameters,
}

impl Given {
    /// An account of January 2026 that used so much in the periods of a time of use, after so much in the year and month.
    pub(super) fn used(time_of_use: TimeOfUse, accumulated: &str, quantities: &[&str]) -> Self {
        let registers =
            periods(time_of_use).iter().zip(quantities).map(|(period, quantity)| counted(*period, quantity));
        let accumulated = decimal(accumulated);
        let last = AccountMonth::read(202_601);
        Self {
            month: 202_601,
            run_kind: NormalRetroType::Normal,
            season: Season::Flat,
            accumulators: Accumulators { last, year: accumulated, month: accumulated },
            metered: true,
            registers: registers.collect(),
            parameters: Parameters::default(),
        }
    }

    /// An account whose meter counts the whole day.
    pub(super) fn total(accumulated: &str, quantity: &str) -> Self {
        Self::used(TimeOfUse::One, accumulated, &[quantity])
    }

    /// An account without a meter.
    pub(super) fn unmetered(parameters: Parameters) -> Self {
        Self { metered: false, registers: Vec::new(), parameters, ..Self::total("0", "0") }
    }

    pub(super) fn retro(self) -> Self {
        Self { run_kind: NormalRetroType::Retro, ..self }
    }

    pub(super) fn rate(&self, rates: &Rates) -> Result<Bill, RatingError> {
        let facts = BillFacts {
            account_month: AccountMonth::read(self.month).unwrap(),
            run_kind: self.run_kind,
            season: self.season,
            accumulators: self.accumulators,
            metered: self.metered,
            registers: &self.registers,
            parameters: self.parameters.clone(),
        };
        rate(&facts, rates)
    }
}

pub(super) fn counted(period: Period, quantity: &str) -> RegisterFacts {
    RegisterFacts::of_quantity(register_of(period), decimal(quantity))
}

/// A line in one text: tier, period, quantity × price = fee.
pub(super) fn shown(line: &FeeLine) -> String {
    let (quantity, price) = (line.quantity.normalize(), line.price.normalize());
    format!("{}/{:?} {quantity} × {price} = {}", i32::from(line.tier), line.period, at_scale(line.fee, CENTS))
}

/// All lines of a bill in texts, and the total of the customer's kind.
pub(super) fn lines(bill: &Bill) -> (Vec<String>, String) {
    (bill.lines.iter().map(shown).collect(), at_scale(bill.total, CENTS))
}
