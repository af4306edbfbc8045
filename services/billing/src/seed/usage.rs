//! What the accounts of the demo use and pay, month by month: the same each time.

use chrono::{Months, NaiveDate};

use super::catalogue::{DemoTariff, first_day};
use super::lines::Account;
use crate::vocabulary::tariff::Period;

/// Bills that are not paid in full, in percent.
const UNPAID_PERCENT: u64 = 3;
/// One in this many of those is partly paid.
const PARTLY_PAID: u64 = 4;
/// Days after the charge-off within which a bill is paid.
const DAYS_TO_PAY: u64 = 4;
/// Months of a calendar year.
const MONTHS: u32 = 12;

/// A generator of pseudo-random numbers (SplitMix64) that does not change with a library.
#[derive(Clone, Debug)]
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from `low` to `high`, both included.
    fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }
}

/// The payment of a bill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Paid {
    InFull,
    InPart,
    NotAtAll,
}

/// What an account uses in a month, and how it pays the bill.
#[derive(Clone, Debug)]
pub(super) struct Usage {
    /// The quantity of each period that is priced apart.
    pub(super) quantities: Vec<(Period, u64)>,
    /// How much of the bill is paid.
    pub(super) paid: Paid,
    /// Days from the charge-off to the payment.
    pub(super) days_to_pay: u64,
}

/// The first day of a month, by its place from the demo's first on.
pub(super) fn month_day(place: u32) -> anyhow::Result<NaiveDate> {
    let day = first_day().and_then(|day| day.checked_add_months(Months::new(place)));
    day.ok_or_else(|| anyhow::anyhow!("month {place} of the demo data is out of range"))
}

/// The last day of a month: its registers are read and its bills charged off on it.
pub(super) fn month_end(place: u32) -> anyhow::Result<NaiveDate> {
    let end = month_day(place.saturating_add(1))?.pred_opt();
    end.ok_or_else(|| anyhow::anyhow!("month {place} of the demo data is out of range"))
}

/// What an account uses in each of the first months, in their order.
pub(super) fn usage(account: &Account, months: u32) -> impl Iterator<Item = Usage> {
    let tariff = account.tariff;
    let seed = u64::try_from(account.number).unwrap_or_default() << 8;
    let years = (0..months.div_ceil(MONTHS)).flat_map(move |year| {
        let mut numbers = Numbers(seed | u64::from(year));
        (0..MONTHS).map(move |_| of_month(tariff, &mut numbers))
    });
    years.take(usize::try_from(months).unwrap_or(usize::MAX))
}

fn of_month(tariff: &DemoTariff, numbers: &mut Numbers) -> Usage {
    let (least, most) = tariff.usage;
    let total = numbers.between(least, most);
    let quantities = by_period(tariff, total, numbers);
    let paid = match numbers.between(1, 100) {
        n if n > UNPAID_PERCENT => Paid::InFull,
        _ if numbers.between(1, PARTLY_PAID) == 1 => Paid::InPart,
        _ => Paid::NotAtAll,
    };
    Usage { quantities, paid, days_to_pay: numbers.between(1, DAYS_TO_PAY) }
}

/// Splits a quantity over the periods: some 60 % of it at peak time if that is priced apart.
fn by_period(tariff: &DemoTariff, total: u64, numbers: &mut Numbers) -> Vec<(Period, u64)> {
    match tariff.periods() {
        [peak, valley] => {
            let at_peak = total * numbers.between(50, 70) / 100;
            vec![(*peak, at_peak), (*valley, total - at_peak)]
        }
        periods => periods.iter().map(|period| (*period, total)).collect(),
    }
}

/// What the registers of an account show after the first months, by period.
pub(super) fn readings(account: &Account, months: u32) -> Vec<(Period, u64)> {
    let opening = 1_000 + u64::try_from(account.number).unwrap_or_default() % 1_000;
    let mut readings: Vec<_> = account.tariff.periods().iter().map(|period| (*period, opening)).collect();
    for used in usage(account, months) {
        for ((_, reading), (_, quantity)) in readings.iter_mut().zip(used.quantities) {
            *reading += quantity;
        }
    }
    readings
}
