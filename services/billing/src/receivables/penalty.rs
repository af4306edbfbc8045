//! The late-payment penalty (违约金). Pure.
//!
//! A line bears outstanding × rate for each day from its levy date, included, to the day of the payment, excluded. Negative
//! lines bear none and reduce nothing. The penalty of a detail, an account's month, is the exact sum over its lines,
//! rounded once.

use chrono::{Datelike, NaiveDate};
use communal_kit::money::{CENTS, round};
use rust_decimal::Decimal;

use crate::vocabulary::tariff::{ByUtility, Utility, YesNo};

/// The rates of a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PenaltyRates {
    /// Of electricity, residents.
    pub resident: Decimal,
    /// Of electricity, others, on days of the year of the charge-off.
    pub other: Decimal,
    /// Of electricity, others, on days after that year.
    pub other_later: Decimal,
    /// Of every other utility.
    pub of_other_utilities: ByUtility<Decimal>,
}

impl Default for PenaltyRates {
    fn default() -> Self {
        let permille = |rate| Decimal::new(rate, 3);
        Self {
            resident: permille(1),
            other: permille(2),
            other_later: permille(3),
            of_other_utilities: ByUtility::all(permille(1)),
        }
    }
}

/// What the penalty of a line depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Late {
    /// Utility.
    pub utility: Utility,
    /// Yes for a resident.
    pub resident: YesNo,
    /// What is outstanding.
    pub outstanding: Decimal,
    /// The day of the charge-off; its year is that of the debt.
    pub charge_off_date: NaiveDate,
    /// The first day that counts; `None` if none does.
    pub levy_date: Option<NaiveDate>,
}

impl PenaltyRates {
    /// Returns the penalty of a detail's lines on a day; `None` if it is out of range.
    #[must_use]
    pub fn of_detail(&self, lines: impl IntoIterator<Item = Late>, today: NaiveDate) -> Option<Decimal> {
        let mut lines = lines.into_iter();
        let sum = lines.try_fold(Decimal::ZERO, |sum, line| sum.checked_add(self.of_line(&line, today)?));
        sum.map(|sum| round(sum, CENTS))
    }

    /// Returns the exact penalty of a line.
    fn of_line(&self, line: &Late, today: NaiveDate) -> Option<Decimal> {
        let Some(levy) = line.levy_date.filter(|levy| *levy < today) else { return Some(Decimal::ZERO) };
        if line.outstanding <= Decimal::ZERO {
            return Some(Decimal::ZERO);
        }
        let next_year = NaiveDate::from_ymd_opt(line.charge_off_date.year().checked_add(1)?, 1, 1)?;
        let (current, later) = match (line.utility, line.resident) {
            (Utility::Electricity, YesNo::Yes) => (self.resident, self.resident),
            (Utility::Electricity, _) => (self.other, self.other_later),
            (utility, _) => {
                let rate = *self.of_other_utilities.of(utility);
                (rate, rate)
            }
        };
        let days = |from: NaiveDate, to: NaiveDate| Decimal::from((to - from).num_days().max(0));
        let at_current = days(levy, today.min(next_year)).checked_mul(current)?;
        let at_later = days(levy.max(next_year), today).checked_mul(later)?;
        line.outstanding.checked_mul(at_current.checked_add(at_later)?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::vocabulary::dates::day;

    fn late(utility: Utility, resident: YesNo, cents: i64, charged_off: i32, levy: i32) -> Late {
        Late {
            utility,
            resident,
            outstanding: Decimal::new(cents, 2),
            charge_off_date: day(charged_off).unwrap(),
            levy_date: day(levy),
        }
    }

    #[test]
    fn penalties_of_the_worked_examples() {
        use Utility::{Electricity, Water};
        use YesNo::{No, Yes};
        let rates = PenaltyRates::default();
        for (line, today, expected) in [
            (late(Electricity, Yes, 15_749, 20_200_111, 20_200_126), 20_200_210, 236),
            // Eleven days of 2019 at 2‰ and ten of 2020 at 3‰.
            (late(Electricity, No, 650_000, 20_191_206, 20_191_221), 20_200_111, 33_800),
            (late(Electricity, Yes, 650_000, 20_191_206, 20_191_221), 20_200_111, 13_650),
            (late(Water, No, 10_000, 20_191_206, 20_191_221), 20_200_111, 210),
            // The year is that of the charge-off, whatever a payment made of the levy date.
            (late(Electricity, No, 10_000, 20_191_206, 20_200_105), 20_200_111, 180),
            // The levy date counts, the day of the payment does not.
            (late(Electricity, Yes, 100_000, 20_240_301, 20_240_316), 20_240_316, 0),
            (late(Electricity, Yes, 100_000, 20_240_301, 20_240_316), 20_240_317, 100),
            (late(Electricity, Yes, 100_000, 20_240_301, 20_240_401), 20_240_317, 0),
            (late(Electricity, Yes, 100_000, 20_240_301, 0), 20_240_317, 0),
            (late(Electricity, Yes, -100_000, 20_240_301, 20_240_316), 20_240_401, 0),
        ] {
            let penalty = rates.of_detail([line], day(today).unwrap());
            assert_eq!(penalty, Some(Decimal::new(expected, 2)), "{line:?} on {today}");
        }
    }

    #[test]
    fn a_detail_is_rounded_once() {
        let line = late(Utility::Electricity, YesNo::Yes, 250, 20_240_301, 20_240_316);
        let today = day(20_240_318).unwrap();
        // Twice 0.005 is 0.01; each alone would be rounded to 0.01.
        assert_eq!(PenaltyRates::default().of_detail([line, line], today), Some(Decimal::new(1, 2)));
        assert_eq!(PenaltyRates::default().of_detail([line], today), Some(Decimal::new(1, 2)));
    }
}
