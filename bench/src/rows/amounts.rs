//! The computation of amounts alone: those that the fees of a community owe, in one thread.

use std::hint::black_box;
use std::num::NonZeroU32;

use anyhow::{Context, ensure};
use chrono::{Days, NaiveDate, NaiveDateTime, NaiveTime};
use communal_community::amounts::{
    AmountRounding, Contract, Course, Escalation, Fee, ItemTerms, OneOff, Payer, Reading, Room, Running, owed,
};
use communal_proto::community::v1::{Formula, PaymentTiming, Rounding};
use rust_decimal::Decimal;

use super::{Run, figure};
use crate::arithmetic::Target;
use crate::processor;
use crate::report::Measurement;

/// Fees of the community.
const FEES: u32 = 60_000;
/// One fee in so many is late: the others owe one period or nothing.
const LATE: u32 = 4;

/// A fee with the facts that its amount depends on.
struct Case {
    item: ItemTerms,
    payer: Payer,
    fee: Fee,
}

/// The twelve items of the community: between them they use every formula and both timings.
fn items() -> anyhow::Result<Vec<ItemTerms>> {
    let formulas = [
        (Formula::BuiltUpArea, ""),
        (Formula::BuiltUpArea, ""),
        (Formula::Fixed, ""),
        (Formula::IndoorArea, ""),
        (Formula::Dynamic, ""),
        (Formula::Reading, ""),
        (Formula::Usage, ""),
        (Formula::Custom, "R*2.5+X*10"),
        (Formula::ManualDynamic, ""),
        (Formula::MeterPrice, ""),
        (Formula::Rent, ""),
        (Formula::EscalatingRent, ""),
    ];
    let item = |(number, (formula, text)): (u32, (Formula, &str))| {
        Ok(ItemTerms {
            formula,
            expression: if text.is_empty() { None } else { Some(text.parse()?) },
            price: Decimal::new(22_513, 4),
            additional_amount: Decimal::new(1_200, 2),
            timing: if number.is_multiple_of(3) { PaymentTiming::Postpaid } else { PaymentTiming::Prepaid },
            cycle: NonZeroU32::new([1, 3, 12][number as usize % 3]).context("a cycle of zero months")?,
            window_days: 15,
            rounding: AmountRounding { mode: Rounding::HalfUp, places: 2 },
        })
    };
    (0..).zip(formulas).map(item).collect()
}

fn cases(today: NaiveDate) -> anyhow::Result<Vec<Case>> {
    let items = items()?;
    let midnight = |day: NaiveDate| day.and_time(NaiveTime::MIN);
    let earlier = |days: u32| today.checked_sub_days(Days::new(u64::from(days))).context("before the calendar");
    let limit = midnight(NaiveDate::from_ymd_opt(2050, 1, 1).context("no such day")?);
    let case = |number: u32| {
        let item = items[number as usize % items.len()].clone();
        let room = Room {
            built_up_area: Some(Decimal::new(i64::from(4_000 + number % 9_000), 2)),
            indoor_area: Some(Decimal::new(i64::from(3_500 + number % 9_000), 2)),
            coefficient: Some(Decimal::new(12, 1)),
            rent: Some(Decimal::new(180_000, 2)),
            ..Room::default()
        };
        let payer = if number.is_multiple_of(7) && item.formula == Formula::Rent {
            Payer::Contract(Contract { rooms: vec![room.clone(), room] })
        } else {
            Payer::Room(room)
        };
        let start = earlier(720 + number % 31)?;
        let paid = if number.is_multiple_of(LATE) { earlier(100 + number % 300)? } else { earlier(number % 40)? };
        let one_off = matches!(item.formula, Formula::Reading | Formula::MeterPrice | Formula::Usage);
        let course = if one_off {
            Course::OneOff(OneOff { start: midnight(paid), deadline: midnight(today) })
        } else {
            Course::Running(Running::new(midnight(start), midnight(paid), None, limit, Vec::new())?)
        };
        let fee = Fee {
            amount: Some(Decimal::new(8_850, 2)),
            reading: Some(Reading {
                previous: Decimal::new(1_000, 1),
                current: Decimal::new(1_565, 1),
                price: Some(Decimal::new(385, 2)),
            }),
            escalation: Some(Escalation {
                from: earlier(200)?,
                every: NonZeroU32::new(12).context("a block of zero months")?,
                rate: Decimal::new(5, 2),
            }),
            ..Fee::of(course)
        };
        Ok(Case { item, payer, fee })
    };
    (0..FEES).map(case).collect()
}

/// The sum of the amounts that the fees owe.
fn total(cases: &[Case], now: NaiveDateTime) -> anyhow::Result<Decimal> {
    let mut total = Decimal::ZERO;
    for Case { item, payer, fee } in cases {
        let owed = owed(black_box(item), black_box(payer), black_box(fee), now, None)?;
        total = total.checked_add(black_box(owed).net).context("the sum is out of range")?;
    }
    Ok(total)
}

pub(super) fn measure(run: Run<'_>) -> anyhow::Result<()> {
    let today = NaiveDate::from_ymd_opt(2026, 3, 20).context("no such day")?;
    let now = today.and_time(NaiveTime::MIN);
    let cases = cases(today)?;
    let known = total(&cases, now)?;
    ensure!(known > Decimal::from(FEES), "the fees owe {known}, which is less than they should");
    let mut rates = Vec::new();
    for round in 0..=run.extent.rounds {
        let began = processor::own_nanoseconds();
        let (mut computed, mut used) = (0, 0.0);
        // CPU time of this process, in which nothing else runs: a busy machine changes nothing.
        while used < run.extent.seconds {
            ensure!(total(&cases, now)? == known, "the same fees owe something else");
            computed += FEES;
            used = processor::own_nanoseconds().saturating_sub(began) as f64 / 1e9;
        }
        if round > 0 {
            rates.push(f64::from(computed) / used);
        }
    }
    let rate = figure(rates.into_iter());
    let measure = "owed amounts with their steps, one core";
    run.report.measurements.push(Measurement::alone("amounts", measure, "/s", rate, Target::AtLeast(1e6)));
    run.report.remarks.push(format!("amounts: {FEES} fees of twelve items, one in {LATE} late, owe {known} in all"));
    Ok(())
}
