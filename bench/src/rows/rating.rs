//! Rating alone: the bills of accounts under the packages of the demo data, in one thread.

use std::hint::black_box;

use anyhow::{Context, ensure};
use communal_billing::rating::{Accumulators, BillFacts, Movement, Parameters, Rates, RegisterFacts, rate};
use communal_billing::seed::demo_rates;
use communal_billing::vocabulary::dates::AccountMonth;
use communal_billing::vocabulary::movement::register_of;
use communal_billing::vocabulary::tariff::{Period, Season};
use communal_proto::billing::v1::{EnergyFlowType, NormalRetroType, TurnUpsideType};
use rust_decimal::Decimal;

use super::{Run, figure};
use crate::arithmetic::Target;
use crate::processor;
use crate::report::Measurement;

/// Accounts of the mix.
const ACCOUNTS: u32 = 60_000;

/// An account with the readings of its registers.
struct Account {
    package: usize,
    accumulators: Accumulators,
    registers: Vec<RegisterFacts>,
}

/// An account whose meter counted so much. Its accumulator lies anywhere in the year, so that some bills cross a tier.
fn account(number: u32, package: usize, periods: &[Period], month: AccountMonth) -> Account {
    let read = |(place, period): (u32, &Period)| {
        let last = Decimal::new(i64::from(number % 9_000) * 100 + 25, 2);
        let used = Decimal::new(i64::from(1_000 + number * 7 % 30_000 + place * 1_111), 2);
        let movement =
            Movement { last, this: last + used, turn: TurnUpsideType::Normal, digits: 5, multiplier: Decimal::ONE };
        RegisterFacts {
            register: register_of(*period),
            flow: EnergyFlowType::Forward,
            movement: Some(movement),
            reduced: Decimal::ZERO,
            old: Decimal::ZERO,
            added: Decimal::ZERO,
        }
    };
    Account {
        package,
        accumulators: Accumulators {
            last: Some(month),
            year: Decimal::new(i64::from(number * 13 % 320_000), 2),
            month: Decimal::ZERO,
        },
        registers: (0..).zip(periods).map(read).collect(),
    }
}

/// The sum of the bills, and the number of their lines.
fn total(accounts: &[Account], rates: &[Rates], month: AccountMonth) -> anyhow::Result<(Decimal, usize)> {
    let (mut sum, mut lines) = (Decimal::ZERO, 0);
    for Account { package, accumulators, registers } in accounts {
        let facts = BillFacts {
            account_month: month,
            run_kind: NormalRetroType::Normal,
            season: Season::Flat,
            accumulators: *accumulators,
            metered: true,
            registers,
            parameters: Parameters::default(),
        };
        let rates = rates.get(*package).context("no such package")?;
        let bill = black_box(rate(black_box(&facts), black_box(rates))?);
        sum = sum.checked_add(bill.total).context("the sum is out of range")?;
        lines += bill.lines.len();
    }
    Ok((sum, lines))
}

pub(super) fn measure(run: Run<'_>) -> anyhow::Result<()> {
    let rates = demo_rates()?;
    let month = AccountMonth::read(202_603).context("no such month")?;
    let packages = rates.iter().enumerate().cycle();
    let accounts: Vec<_> = (0..ACCOUNTS)
        .zip(packages)
        .filter_map(|(number, (package, rates))| {
            Some(account(number, package, rates.energy.as_ref()?.periods(), month))
        })
        .collect();
    let (known, lines) = total(&accounts, &rates, month)?;
    ensure!(accounts.len() == ACCOUNTS as usize && lines > accounts.len(), "{lines} lines are too few");
    let mut figures = Vec::new();
    for round in 0..=run.extent.rounds {
        let began = processor::own_nanoseconds();
        let (mut rated, mut used) = (0, 0.0);
        // CPU time of this process, in which nothing else runs: a busy machine changes nothing.
        while used < run.extent.seconds {
            ensure!(total(&accounts, &rates, month)?.0 == known, "the same accounts are billed something else");
            rated += ACCOUNTS;
            used = processor::own_nanoseconds().saturating_sub(began) as f64 / 1e9;
        }
        if round > 0 {
            figures.push(f64::from(rated) / used);
        }
    }
    let figure = figure(figures.into_iter());
    let measure = "accounts with the rule of each line, one core";
    run.report.measurements.push(Measurement::alone("rating", measure, "/s", figure, Target::AtLeast(1e6)));
    let packages = rates.len();
    let remark = format!("rating: {ACCOUNTS} accounts of {packages} packages have {lines} lines of {known} in all");
    run.report.remarks.push(remark);
    Ok(())
}
