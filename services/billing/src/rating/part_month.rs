//! The part of a month in which an account was supplied, and what a part-month rule makes of it.

use chrono::NaiveDate;
use communal_kit::money::round;
use communal_proto::billing::v1::ChargeRuleType;
use rust_decimal::Decimal;

use super::bill::PartMonth;
use super::error::RatingError;
use super::facts::Supply;
use crate::vocabulary::dates::AccountMonth;
use crate::vocabulary::quantity::QUANTITY_SCALE;

impl Supply {
    /// The part of an account month, by the days of its calendar month.
    ///
    /// # Errors
    /// Returns `NoPartMonthRule` if only some of the days are supplied and there is no rule for that.
    pub fn in_month(&self, month: AccountMonth) -> Result<PartMonth, RatingError> {
        let (first, end) = month.bounds().ok_or(RatingError::OutOfRange)?;
        let days = days_between(first, end);
        let from = self.from.map_or(first, |from| from.max(first));
        let until = self.until.map_or(end, |until| until.min(end));
        let supplied = days_between(from, until);
        let is_interrupted = self.stopped || self.stopped_from.is_some() || self.resupplied_from.is_some();
        let without = if is_interrupted {
            let stopped = self.stopped_from.map_or(from, |day| day.max(from));
            let resupplied = self.resupplied_from.map_or(until, |day| day.min(until));
            days_between(stopped, resupplied)
        } else {
            0
        };
        let supplied = supplied.saturating_sub(without);
        if self.rule == ChargeRuleType::Unspecified && supplied != 0 && supplied != days {
            return Err(RatingError::NoPartMonthRule);
        }
        Ok(PartMonth { supplied, days, rule: self.rule })
    }
}

/// Days from a day up to, and without, another; none if it is not after it.
fn days_between(from: NaiveDate, until: NaiveDate) -> u32 {
    u32::try_from((until - from).num_days()).unwrap_or_default()
}

impl PartMonth {
    /// The billed quantity of the month, rounded, of that of a whole month. All days supplied: the whole, whatever the rule;
    /// none: nothing.
    ///
    /// # Errors
    /// Returns `OutOfRange` if the decimals cannot hold it.
    pub fn share(&self, whole: Decimal) -> Result<Decimal, RatingError> {
        if self.supplied == self.days {
            return Ok(whole);
        }
        if self.supplied == 0 {
            return Ok(Decimal::ZERO);
        }
        let (part, of) = match self.rule {
            ChargeRuleType::None => return Ok(Decimal::ZERO),
            ChargeRuleType::WholeMonth => return Ok(whole),
            ChargeRuleType::HalfMonth => (1, 2),
            ChargeRuleType::ByDays => (self.supplied, self.days),
            ChargeRuleType::Unspecified => return Err(RatingError::NoPartMonthRule),
        };
        let share = whole.checked_mul(part.into()).and_then(|product| product.checked_div(of.into()));
        Ok(round(share.ok_or(RatingError::OutOfRange)?, QUANTITY_SCALE))
    }
}
