//! The price of spans, a unit amount times months and rounded once, and the amount that a fee owes.

use chrono::{NaiveDate, NaiveDateTime};
use communal_proto::community::v1::Formula;
use rust_decimal::Decimal;

use super::escalation::Rents;
use super::fee::{days_before, last_second_before};
use super::unit::unit;
use super::{AmountError, Course, Fact, Fee, ItemTerms, Months, Payer, Span, Unit, due, months};

/// The prices of one fee: its unit amount is computed once, any number of spans is priced by it.
#[derive(Clone, Debug)]
pub struct Pricing<'a> {
    pub(super) item: &'a ItemTerms,
    pub(super) fee: &'a Fee,
    unit: Unit,
    /// The rents of an escalating rent; any other fee costs the same each month.
    rents: Option<Rents>,
    start: NaiveDate,
}

/// The price of one span, with its steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// The days; a one-off fee has none.
    pub span: Option<Span>,
    /// Months from the start of the fee to the first day and to the day after the last.
    pub months: (Months, Months),
    /// The unrounded price of the months from the start of the fee to either end.
    pub exact: (Decimal, Decimal),
    /// The price: the difference of both, each rounded.
    pub amount: Decimal,
}

impl Line {
    /// The months of the span.
    #[must_use]
    pub fn length(&self) -> Months {
        self.months.1.since(self.months.0)
    }
}

/// The amount that a fee owes, with its steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owed {
    /// The price of each unpaid span before the due instant, in order.
    pub lines: Vec<Line>,
    /// The last second that is due; the paid-through time if nothing is owed.
    pub deadline: NaiveDateTime,
    /// The sum of the lines.
    pub gross: Decimal,
    /// The sum less the credit of the fee, and never negative.
    pub net: Decimal,
}

impl<'a> Pricing<'a> {
    /// Computes the unit amount of a fee.
    ///
    /// # Errors
    /// Returns an [`AmountError`] if the fee has no unit amount.
    pub fn new(item: &'a ItemTerms, payer: &Payer, fee: &'a Fee) -> Result<Self, AmountError> {
        let unit = unit(item, payer, fee)?;
        let start = fee.course.start();
        let rents = match item.formula {
            Formula::EscalatingRent => {
                let missing = AmountError::Missing { fact: Fact::Escalation, room: None };
                Some(Rents::new(unit.amount, start, fee.escalation.ok_or(missing)?))
            }
            _ => None,
        };
        Ok(Self { item, fee, unit, rents, start })
    }

    /// The terms of the fee item.
    #[must_use]
    pub fn item(&self) -> &ItemTerms {
        self.item
    }

    /// The unit amount, with the values that were put into the formula.
    #[must_use]
    pub fn unit(&self) -> &Unit {
        &self.unit
    }

    /// The unit amount that is shown: of an escalating rent, the rent in force at the paid-through time.
    ///
    /// # Errors
    /// Returns `OutOfRange` if the decimals cannot hold the rent.
    pub fn unit_in_force(&self) -> Result<Decimal, AmountError> {
        let Some(rents) = self.rents else { return Ok(self.unit.amount) };
        let day = match &self.fee.course {
            Course::Running(running) => running.unpaid,
            Course::OneOff(_) => self.start,
            Course::Bill(bill) => bill.span.from,
        };
        rents.in_force(months::at(self.start, day)).ok_or(AmountError::OutOfRange)
    }

    /// The unrounded price of the first `months` months of the fee.
    ///
    /// # Errors
    /// Returns `OutOfRange` if the decimals cannot hold it.
    pub fn exact(&self, months: Months) -> Result<Decimal, AmountError> {
        if months == Months::ZERO {
            return Ok(Decimal::ZERO);
        }
        let exact = match &self.rents {
            Some(rents) => rents.total(months),
            None => self.unit.amount.checked_mul(months.to_decimal()),
        };
        exact.ok_or(AmountError::OutOfRange)
    }

    /// Prices the time between two counts of months.
    pub(super) fn line(&self, span: Option<Span>, months: (Months, Months)) -> Result<Line, AmountError> {
        let exact = (self.exact(months.0)?, self.exact(months.1)?);
        let rounding = self.item.rounding;
        let amount = rounding.round(exact.1).checked_sub(rounding.round(exact.0)).ok_or(AmountError::OutOfRange)?;
        Ok(Line { span, months, exact, amount })
    }

    /// Prices a span.
    ///
    /// # Errors
    /// Returns `OutOfRange` if the decimals cannot hold the price.
    pub fn price(&self, span: Span) -> Result<Line, AmountError> {
        self.line(Some(span), (months::at(self.start, span.from), months::at(self.start, span.until)))
    }

    /// The price of what is paid whole: a one-off fee or a bill. `None` for a running fee.
    pub(super) fn whole(&self) -> Result<Option<Line>, AmountError> {
        match &self.fee.course {
            Course::Running(_) => Ok(None),
            Course::OneOff(_) => self.line(None, (Months::ZERO, Months::ONE)).map(Some),
            Course::Bill(bill) => self.price(bill.span).map(Some),
        }
    }

    /// Computes what the fee owes at `now`. A `target` replaces the due instant of a running fee: it
    /// is the last day to charge.
    ///
    /// # Errors
    /// Returns `OutOfRange` if the decimals cannot hold the amount.
    pub fn owed(&self, now: NaiveDateTime, target: Option<NaiveDate>) -> Result<Owed, AmountError> {
        let (lines, deadline) = match &self.fee.course {
            Course::Running(running) if self.fee.ended => (Vec::new(), running.paid_through()),
            Course::Running(running) => {
                let not_due = match target {
                    Some(last) => last.succ_opt().map_or(running.end, |day| day.min(running.end)),
                    None => due::not_due_from(self.item, running, now),
                };
                let spans = running.unpaid_before(not_due);
                let lines = spans.into_iter().map(|span| self.price(span)).collect::<Result<Vec<_>, _>>()?;
                let deadline = if lines.is_empty() { running.paid_through() } else { last_second_before(not_due) };
                (lines, deadline)
            }
            Course::OneOff(one_off) => {
                let due = !self.fee.ended && now >= days_before(one_off.start, self.item.window());
                (self.whole_if(due)?, one_off.deadline)
            }
            Course::Bill(bill) => (self.whole_if(!self.fee.ended)?, bill.span.last_second()),
        };
        let gross = sum(lines.iter().map(|line| line.amount))?;
        Ok(Owed { lines, deadline, gross, net: less_credit(gross, self.fee.credit)? })
    }

    fn whole_if(&self, due: bool) -> Result<Vec<Line>, AmountError> {
        Ok(if due { self.whole()?.into_iter().collect() } else { Vec::new() })
    }
}

/// A sum of amounts.
pub(super) fn sum(amounts: impl IntoIterator<Item = Decimal>) -> Result<Decimal, AmountError> {
    amounts.into_iter().try_fold(Decimal::ZERO, Decimal::checked_add).ok_or(AmountError::OutOfRange)
}

/// An amount less a credit, and never negative.
pub(super) fn less_credit(gross: Decimal, credit: Decimal) -> Result<Decimal, AmountError> {
    Ok(gross.checked_sub(credit).ok_or(AmountError::OutOfRange)?.max(Decimal::ZERO))
}
