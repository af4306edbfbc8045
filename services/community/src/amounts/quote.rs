//! Quotes: the price of a payment before it is made, and the days that it covers.
//!
//! A number of months and an amount of money are money first: they have their price, cover the whole
//! days that it pays for, and the rest is credit of the fee. Dates are days first: they cost the
//! price of their days and make no new credit. The credit that the fee has is used first.

use chrono::{NaiveDate, NaiveDateTime};
use communal_kit::money::round;
use rust_decimal::Decimal;

use super::pricing::{less_credit, sum};
use super::{AmountError, Course, Line, Months, Owed, Pricing, Running, Span, months};

/// The scope of a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaymentScope {
    /// All that is owed now, or up to a day and with it.
    Owed(Option<NaiveDate>),
    /// Months from the paid-through time.
    Months(Months),
    /// An amount of money.
    Amount(Decimal),
    /// From the paid-through time to a day and with it.
    Until(NaiveDate),
    /// From a day to a day, both included.
    Between(NaiveDate, NaiveDate),
}

/// The price of a payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quote {
    /// The price of each span that is covered, in order.
    pub lines: Vec<Line>,
    /// The last second that is due; only of what is owed now.
    pub deadline: Option<NaiveDateTime>,
    /// The months that are paid for; of an amount, its quotient by the unit amount in force.
    pub months: Months,
    /// The price before credit.
    pub gross: Decimal,
    /// The amount to be received: the price less the credit of the fee.
    pub due: Decimal,
    /// The credit that the fee has afterwards.
    pub credit_after: Decimal,
    /// The paid-through time afterwards.
    pub paid_through: NaiveDateTime,
}

/// The error of a payment that cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuoteError {
    /// The fee has no amount.
    #[error(transparent)]
    Amount(#[from] AmountError),
    /// The fee is ended.
    #[error("the fee is ended")]
    Ended,
    /// More is asked than the fee charges up to its limit.
    #[error("the fee ends on {0}")]
    PastLimit(NaiveDate),
    /// A day that is asked for is paid already.
    #[error("a day of the span is paid already")]
    PaidAlready,
    /// The last day is before the first.
    #[error("the last day is before the first")]
    Backwards,
    /// The money does not pay for one day.
    #[error("the amount covers no day; the first day costs {first_day}")]
    CoversNoDay {
        /// The price of the first day that costs anything.
        first_day: Decimal,
    },
    /// A fee without a price cannot be paid by amount.
    #[error("the fee costs nothing")]
    CostsNothing,
    /// The number of months is zero, or the amount is not positive or has too many decimal places.
    #[error("not a number to pay by")]
    NotPayable,
    /// A one-off fee or a bill is paid whole.
    #[error("the fee is paid whole")]
    PaidWhole,
}

impl QuoteError {
    /// The error in Chinese.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Amount(error) => error.text(),
            Self::Ended => "收费已经结束，不能再缴费".to_owned(),
            Self::PastLimit(_) => "缴费周期超过 缴费结束时间,请用按结束时间方式缴费".to_owned(),
            Self::PaidAlready => "可能存在重复缴费，请刷新页面重新缴费".to_owned(),
            Self::Backwards => "缴费结束时间不能早于缴费开始时间".to_owned(),
            Self::CoversNoDay { first_day } => format!("缴费金额不足一天，首日费用为{first_day}"),
            Self::CostsNothing => "费用金额为零，不能按金额缴费".to_owned(),
            Self::NotPayable => "缴费周期或金额不正确".to_owned(),
            Self::PaidWhole => "一次性费用只能一次缴清".to_owned(),
        }
    }
}

impl Pricing<'_> {
    /// Prices a payment at `now`.
    ///
    /// # Errors
    /// Returns a [`QuoteError`] if the fee has no amount, is ended, or cannot be paid in this way.
    pub fn quote(&self, scope: PaymentScope, now: NaiveDateTime) -> Result<Quote, QuoteError> {
        if let PaymentScope::Owed(target) = scope {
            let owed = self.owed(now, target)?;
            return self.of_owed(owed);
        }
        if self.fee.ended {
            return Err(QuoteError::Ended);
        }
        let Course::Running(running) = &self.fee.course else { return self.of_whole(scope) };
        match scope {
            PaymentScope::Owed(_) => Err(QuoteError::NotPayable),
            PaymentScope::Months(months) => self.of_months(running, months),
            PaymentScope::Amount(amount) => self.of_amount(running, amount),
            PaymentScope::Until(last) => self.of_days(running, running.unpaid, last),
            PaymentScope::Between(first, last) => self.of_days(running, first, last),
        }
    }

    fn of_owed(&self, owed: Owed) -> Result<Quote, QuoteError> {
        let length = owed.lines.iter().try_fold(Months::ZERO, |months, line| months.checked_add(line.length()));
        let paid_through = match &self.fee.course {
            Course::Running(running) => {
                let covered = owed.lines.iter().filter_map(|line| line.span).next_back();
                // All gaps before the last line are paid as well.
                let unpaid = covered.map_or(running.unpaid, |span| {
                    running.unpaid_after(Span { from: running.unpaid, until: span.until })
                });
                running.shown(unpaid)
            }
            Course::OneOff(_) | Course::Bill(_) => owed.deadline,
        };
        Ok(Quote {
            months: length.ok_or(AmountError::OutOfRange)?,
            deadline: Some(owed.deadline),
            credit_after: self.credit_after(owed.net, owed.gross)?,
            gross: owed.gross,
            due: owed.net,
            lines: owed.lines,
            paid_through,
        })
    }

    /// A one-off fee or a bill: any number of months pays it whole.
    fn of_whole(&self, scope: PaymentScope) -> Result<Quote, QuoteError> {
        match scope {
            PaymentScope::Months(months) if months > Months::ZERO => {}
            PaymentScope::Months(_) => return Err(QuoteError::NotPayable),
            _ => return Err(QuoteError::PaidWhole),
        }
        let lines: Vec<_> = self.whole()?.into_iter().collect();
        let gross = sum(lines.iter().map(|line| line.amount))?;
        let deadline = match &self.fee.course {
            Course::OneOff(one_off) => one_off.deadline,
            Course::Bill(bill) => bill.span.last_second(),
            Course::Running(running) => running.paid_through(),
        };
        let net = less_credit(gross, self.fee.credit)?;
        self.of_owed(Owed { lines, deadline, gross, net })
    }

    /// Money first: the price of so many months from the paid-through time, and the days that it covers.
    fn of_months(&self, running: &Running, asked: Months) -> Result<Quote, QuoteError> {
        if asked == Months::ZERO {
            return Err(QuoteError::NotPayable);
        }
        let from = running.months_at(running.unpaid);
        let to = from.checked_add(asked).ok_or(AmountError::OutOfRange)?;
        let stop = running.next_stop();
        if running.unpaid >= running.end || to > running.months_at(running.end) {
            return Err(past_limit(running));
        }
        if to > running.months_at(stop) {
            return Err(QuoteError::PaidAlready);
        }
        let gross = self.line(None, (from, to))?.amount;
        // What costs nothing before the next paid day, or the limit, is paid as well.
        let until = if to == running.months_at(stop) {
            stop
        } else {
            months::day_reached(running.start, to).ok_or(AmountError::OutOfRange)?
        };
        self.covering(running, until, gross, asked)
    }

    /// Money first: the whole days whose price fits into an amount and the credit.
    fn of_amount(&self, running: &Running, amount: Decimal) -> Result<Quote, QuoteError> {
        let places = amount.normalize().scale();
        if amount <= Decimal::ZERO || places > self.item.rounding.places {
            return Err(QuoteError::NotPayable);
        }
        if running.unpaid >= running.end {
            return Err(past_limit(running));
        }
        let budget = amount.checked_add(self.fee.credit).ok_or(AmountError::OutOfRange)?;
        let price = |until| self.price(Span { from: running.unpaid, until }).map(|line| line.amount);
        let all = price(running.end)?;
        if all.is_zero() {
            return Err(QuoteError::CostsNothing);
        }
        if budget > all {
            return Err(past_limit(running));
        }
        let stop = running.next_stop();
        if budget > price(stop)? {
            return Err(QuoteError::PaidAlready);
        }
        // What costs nothing before the next paid day, or the limit, is paid as well.
        let until = if budget == price(stop)? { stop } else { self.day_paid(running, stop, budget)? };
        let unit = self.unit_in_force()?;
        let months = amount.checked_div(unit).and_then(|months| Months::from_decimal(round(months, months::PLACES)));
        self.covering(running, until, budget, months.ok_or(AmountError::OutOfRange)?)
    }

    /// The day up to which `budget` pays: the latest one whose price fits, or the last anchor before
    /// it if that costs the same.
    fn day_paid(&self, running: &Running, stop: NaiveDate, budget: Decimal) -> Result<NaiveDate, AmountError> {
        let price = |until| self.price(Span { from: running.unpaid, until }).map(|line| line.amount);
        let fits = |until| price(until).is_ok_and(|price| price <= budget);
        let until = months::latest(running.unpaid, stop, fits).ok_or(AmountError::OutOfRange)?;
        let anchor = months::anchor(running.start, months::completed(running.start, until));
        match anchor.filter(|anchor| *anchor >= running.unpaid) {
            Some(anchor) if price(anchor)? == price(until)? => Ok(anchor),
            _ => Ok(until),
        }
    }

    fn covering(
        &self,
        running: &Running,
        until: NaiveDate,
        gross: Decimal,
        asked: Months,
    ) -> Result<Quote, QuoteError> {
        let span = Span { from: running.unpaid, until };
        if until <= running.unpaid {
            let free = self.day_paid(running, running.next_stop(), Decimal::ZERO)?;
            let first = free.succ_opt().ok_or(AmountError::OutOfRange)?;
            let first_day = self.price(Span { from: running.unpaid, until: first })?.amount;
            return Err(QuoteError::CoversNoDay { first_day });
        }
        let line = self.price(span)?;
        let due = less_credit(gross, self.fee.credit)?;
        Ok(Quote {
            lines: vec![line],
            deadline: None,
            months: asked,
            gross,
            due,
            credit_after: self.credit_after(due, line.amount)?,
            paid_through: running.shown(running.unpaid_after(span)),
        })
    }

    /// Days first: the price of the days from `first` to `last`.
    fn of_days(&self, running: &Running, first: NaiveDate, last: NaiveDate) -> Result<Quote, QuoteError> {
        let until = last.succ_opt().ok_or(AmountError::OutOfRange)?;
        let span = Span { from: first, until };
        if until > running.end {
            return Err(past_limit(running));
        }
        if last < first && first > running.unpaid {
            return Err(QuoteError::Backwards);
        }
        if last < first || running.is_paid_within(span) {
            return Err(QuoteError::PaidAlready);
        }
        let line = self.price(span)?;
        let due = less_credit(line.amount, self.fee.credit)?;
        Ok(Quote {
            lines: vec![line],
            deadline: None,
            months: line.length(),
            gross: line.amount,
            due,
            credit_after: self.credit_after(due, line.amount)?,
            paid_through: running.shown(running.unpaid_after(span)),
        })
    }

    /// Credit afterwards: that of before and what is received, less the price of the days covered.
    fn credit_after(&self, received: Decimal, covered: Decimal) -> Result<Decimal, AmountError> {
        let money = self.fee.credit.checked_add(received).ok_or(AmountError::OutOfRange)?;
        money.checked_sub(covered).ok_or(AmountError::OutOfRange)
    }
}

fn past_limit(running: &Running) -> QuoteError {
    QuoteError::PastLimit(running.end.pred_opt().unwrap_or(running.end))
}
