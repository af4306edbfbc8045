//! Which funds an event moves. Pure.
//!
//! | event | fund | debit | credit | kind | inner account |
//! | --- | --- | --- | --- | --- | --- |
//! | a bill | 2 receivable | total | | 1 | revenue, credit |
//! | a bill below zero | 2 receivable | total | | 1 | revenue, credit |
//! | | 2 receivable | | total | 4 | |
//! | | 1 available | | −total | 4 | |
//! | a draw | 1 available | principal + penalty | | 3 | |
//! | | 2 receivable | | principal | 2 | |
//! | | 4 non-operating income | | penalty | 2 | |
//! | a draw for imported lines, before it | 2 receivable | their principal | | 1 | revenue, credit |
//! | a write-off | 2 receivable | | principal | 2 | cash, debit |
//! | | 4 non-operating income | | penalty | 2 | |
//! | a deposit | 1 available | | amount | 4 | cash, debit |
//!
//! Receivables grow by debits, the other funds by credits. The debits of an event less its credits are zero.

use communal_proto::billing::v1::{BusinessType, FundType};
use rust_decimal::Decimal;

/// An amount that is beyond what a ledger can hold, or funds that do not suffice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// A sum is beyond the digits of a decimal.
    #[error("an amount of the ledger is out of range")]
    OutOfRange,
    /// Available funds would be negative.
    #[error("available funds would be negative")]
    Insufficient,
    /// A fund or kind has no code.
    #[error("a fund or kind of entry is not given")]
    NotGiven,
}

/// A movement of a fund: a debit or a credit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Movement {
    /// The fund.
    pub fund: FundType,
    /// The kind of entry.
    pub kind: BusinessType,
    /// Debit.
    pub debit: Decimal,
    /// Credit.
    pub credit: Decimal,
}

/// What an event moves: funds of the customer, and the inner accounts of the company, debit positive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// The movements, in the order in which they are booked.
    pub movements: Vec<Movement>,
    /// Revenue.
    pub revenue: Decimal,
    /// Cash.
    pub cash: Decimal,
}

fn debit(fund: FundType, kind: BusinessType, amount: Decimal) -> Movement {
    Movement { fund, kind, debit: amount, credit: Decimal::ZERO }
}

fn credit(fund: FundType, kind: BusinessType, amount: Decimal) -> Movement {
    Movement { fund, kind, debit: Decimal::ZERO, credit: amount }
}

impl Event {
    /// A bill of a total. What is below zero is credited to the available funds; nothing moves for a total of zero.
    #[must_use]
    pub fn bill(total: Decimal) -> Self {
        if total.is_zero() {
            return Self::default();
        }
        let mut movements = vec![debit(FundType::Receivable, BusinessType::Receivable, total)];
        if total.is_sign_negative() {
            movements.push(credit(FundType::Receivable, BusinessType::Deposit, total));
            movements.push(credit(FundType::Available, BusinessType::Deposit, -total));
        }
        Self { movements, revenue: -total, cash: Decimal::ZERO }
    }

    /// A draw of available funds: principal of lines, and the penalty on them.
    ///
    /// # Errors
    /// Returns an error if the sum is out of range.
    pub fn draw(principal: Decimal, penalty: Decimal) -> Result<Self, LedgerError> {
        let drawn = principal.checked_add(penalty).ok_or(LedgerError::OutOfRange)?;
        let mut movements = vec![debit(FundType::Available, BusinessType::Draw, drawn)];
        movements.extend(paid(principal, penalty));
        Ok(Self { movements, ..Self::default() })
    }

    /// The same event for a principal of which this part is of imported lines. They were issued elsewhere and are in no fund, so that
    /// what is paid of them is issued here first.
    ///
    /// # Errors
    /// Returns an error if the sum is out of range.
    pub fn with_imported(mut self, principal: Decimal) -> Result<Self, LedgerError> {
        if !principal.is_zero() {
            self.movements.insert(0, debit(FundType::Receivable, BusinessType::Receivable, principal));
            self.revenue = self.revenue.checked_sub(principal).ok_or(LedgerError::OutOfRange)?;
        }
        Ok(self)
    }

    /// A write-off by money that came in: principal of lines, and the penalty on them.
    ///
    /// # Errors
    /// Returns an error if the sum is out of range.
    pub fn write_off(principal: Decimal, penalty: Decimal) -> Result<Self, LedgerError> {
        let cash = principal.checked_add(penalty).ok_or(LedgerError::OutOfRange)?;
        Ok(Self { movements: paid(principal, penalty).collect(), revenue: Decimal::ZERO, cash })
    }

    /// A deposit: money that came in and pays nothing yet.
    #[must_use]
    pub fn deposit(amount: Decimal) -> Self {
        let movements = vec![credit(FundType::Available, BusinessType::Deposit, amount)];
        Self { movements, revenue: Decimal::ZERO, cash: amount }
    }
}

/// What a payment of lines moves.
fn paid(principal: Decimal, penalty: Decimal) -> impl Iterator<Item = Movement> {
    let principal = credit(FundType::Receivable, BusinessType::WriteOff, principal);
    let penalty = credit(FundType::NonOperating, BusinessType::WriteOff, penalty);
    [principal, penalty].into_iter().filter(|movement| !movement.credit.is_zero())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn cents(amount: i64) -> Decimal {
        Decimal::new(amount, 2)
    }

    /// Debits less credits of an event, the inner accounts included.
    fn sum(event: &Event) -> Decimal {
        let moved: Decimal = event.movements.iter().map(|m| m.debit - m.credit).sum();
        moved + event.revenue + event.cash
    }

    #[test]
    fn every_event_adds_up_to_zero() {
        for event in [
            Event::bill(cents(15_749)),
            Event::bill(cents(-7_925)),
            Event::bill(Decimal::ZERO),
            Event::draw(cents(15_749), cents(236)).unwrap(),
            Event::draw(cents(15_749), Decimal::ZERO).unwrap(),
            Event::draw(cents(15_749), cents(236)).unwrap().with_imported(cents(5_749)).unwrap(),
            Event::draw(cents(15_749), cents(236)).unwrap().with_imported(cents(-251)).unwrap(),
            Event::write_off(cents(650_000), cents(33_800)).unwrap(),
            Event::deposit(cents(10_000)),
        ] {
            assert_eq!(sum(&event), Decimal::ZERO, "{event:?}");
        }
    }

    #[test]
    fn an_event_moves_the_funds_of_its_kind() {
        use BusinessType::{Deposit, Draw, Receivable, WriteOff};
        let rows = |event: &Event| -> Vec<_> {
            let row = |m: &Movement| (m.fund.into(), m.kind, m.debit.to_string(), m.credit.to_string());
            event.movements.iter().map(row).collect::<Vec<(i32, _, _, _)>>()
        };
        let row = |fund, kind, debit: &str, credit: &str| (fund, kind, debit.to_owned(), credit.to_owned());
        assert_eq!(rows(&Event::bill(cents(15_749))), [row(2, Receivable, "157.49", "0")]);
        // The receivable goes and comes back, and the customer has it as available funds.
        assert_eq!(
            rows(&Event::bill(cents(-7_925))),
            [row(2, Receivable, "-79.25", "0"), row(2, Deposit, "0", "-79.25"), row(1, Deposit, "0", "79.25")]
        );
        assert_eq!(rows(&Event::bill(Decimal::ZERO)), []);
        assert_eq!(
            rows(&Event::draw(cents(15_749), cents(236)).unwrap()),
            [row(1, Draw, "159.85", "0"), row(2, WriteOff, "0", "157.49"), row(4, WriteOff, "0", "2.36")]
        );
        let with_imported = Event::draw(cents(15_749), Decimal::ZERO).unwrap().with_imported(cents(5_749)).unwrap();
        assert_eq!(
            rows(&with_imported),
            [row(2, Receivable, "57.49", "0"), row(1, Draw, "157.49", "0"), row(2, WriteOff, "0", "157.49")]
        );
        assert_eq!(
            rows(&Event::write_off(cents(100), Decimal::ZERO).unwrap()),
            [row(2, WriteOff, "0", "1.00")],
            "without a penalty there is no entry of it"
        );
        assert_eq!(rows(&Event::deposit(cents(100))), [row(1, Deposit, "0", "1.00")]);
    }
}
