//! The chain of a fund's entries: each has the number after the last one and begins with its balance. Pure.

use std::collections::{BTreeMap, BTreeSet};

use communal_kit::money::CENTS;
use communal_proto::billing::v1::FundType;
use rust_decimal::Decimal;

use super::movements::{Event, LedgerError, Movement};

/// The funds of customers, by customer and fund, in the order in which their rows are locked.
pub type Balances = BTreeMap<(String, Fund), Balance>;

/// A fund, ordered by its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fund(i32);

impl Fund {
    /// The fund of the contract.
    #[must_use]
    pub fn of(fund: FundType) -> Self {
        Self(fund.into())
    }

    /// The fund of the contract.
    #[must_use]
    pub fn get(self) -> FundType {
        FundType::try_from(self.0).unwrap_or_default()
    }
}

/// Where a fund stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    /// The number of its last entry.
    pub entry: i64,
    /// Its balance.
    pub amount: Decimal,
}

/// An entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The customer.
    pub customer_id: String,
    /// The account month in which it is booked.
    pub account_month: i32,
    /// The bill, draw or receipt that made it.
    pub serial: String,
    /// Its number.
    pub number: i64,
    /// The balance before.
    pub previous: Decimal,
    /// What it moves.
    pub movement: Movement,
    /// The balance after.
    pub balance: Decimal,
}

/// What a transaction books.
#[derive(Clone, Debug, Default)]
pub struct Posting {
    /// The funds that had a row when it began.
    known: BTreeSet<(String, Fund)>,
    balances: Balances,
    /// The entries, in the order in which they were booked.
    pub entries: Vec<Entry>,
    /// Revenue, debit positive.
    pub revenue: Decimal,
    /// Cash, debit positive.
    pub cash: Decimal,
}

impl Posting {
    /// Begins with the balances of locked funds. A fund without a row has no entry yet.
    #[must_use]
    pub fn on(balances: Balances) -> Self {
        Self { known: balances.keys().cloned().collect(), balances, ..Self::default() }
    }

    /// The balance of a fund of a customer.
    #[must_use]
    pub fn balance(&self, customer_id: &str, fund: FundType) -> Decimal {
        self.of(customer_id, fund).amount
    }

    fn of(&self, customer_id: &str, fund: FundType) -> Balance {
        self.balances.get(&(customer_id.to_owned(), Fund::of(fund))).copied().unwrap_or_default()
    }

    /// Books an event of a customer.
    ///
    /// # Errors
    /// Returns an error if an amount is out of range, or available funds would be negative.
    pub fn book(
        &mut self,
        customer_id: &str,
        account_month: i32,
        serial: &str,
        event: &Event,
    ) -> Result<(), LedgerError> {
        for movement in &event.movements {
            let fund = movement.fund;
            let Balance { entry, amount: previous } = self.of(customer_id, fund);
            let grown = match fund {
                FundType::Receivable => movement.debit.checked_sub(movement.credit),
                FundType::Available | FundType::Payable | FundType::NonOperating => {
                    movement.credit.checked_sub(movement.debit)
                }
                FundType::Unspecified => return Err(LedgerError::NotGiven),
            };
            let balance = grown.and_then(|grown| previous.checked_add(grown)).ok_or(LedgerError::OutOfRange)?;
            if fund == FundType::Available && balance.is_sign_negative() && !balance.is_zero() {
                return Err(LedgerError::Insufficient);
            }
            let number = entry.checked_add(1).ok_or(LedgerError::OutOfRange)?;
            self.balances.insert((customer_id.to_owned(), Fund::of(fund)), Balance { entry: number, amount: balance });
            self.entries.push(Entry {
                customer_id: customer_id.to_owned(),
                account_month,
                serial: serial.to_owned(),
                number,
                previous,
                movement: *movement,
                balance,
            });
        }
        self.revenue = self.revenue.checked_add(event.revenue).ok_or(LedgerError::OutOfRange)?;
        self.cash = self.cash.checked_add(event.cash).ok_or(LedgerError::OutOfRange)?;
        Ok(())
    }

    /// Returns true if a fund had a row when the posting began.
    #[must_use]
    pub fn began_with(&self, customer_id: &str, fund: FundType) -> bool {
        self.known.contains(&(customer_id.to_owned(), Fund::of(fund)))
    }

    /// The balances after it, of the funds that it moved.
    pub fn moved(&self) -> impl Iterator<Item = (&str, FundType, Balance)> {
        let moved: BTreeSet<_> =
            self.entries.iter().map(|e| (e.customer_id.as_str(), Fund::of(e.movement.fund))).collect();
        moved.into_iter().map(|(customer_id, fund)| (customer_id, fund.get(), self.of(customer_id, fund.get())))
    }

    /// Debits less credits of all entries and inner accounts: zero, or the posting is wrong.
    #[must_use]
    pub fn sum(&self) -> Option<Decimal> {
        let inner = self.revenue.checked_add(self.cash);
        self.entries
            .iter()
            .try_fold(inner?, |sum, entry| sum.checked_add(entry.movement.debit)?.checked_sub(entry.movement.credit))
    }
}

/// Returns an amount with two digits after the point, as its column has it.
#[must_use]
pub fn in_cents(amount: Decimal) -> Decimal {
    let mut amount = communal_kit::money::round(amount, CENTS);
    amount.rescale(CENTS);
    amount
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn cents(amount: i64) -> Decimal {
        Decimal::new(amount, 2)
    }

    #[test]
    fn entries_of_a_fund_chain_without_a_gap() {
        let receivable = ("K1".to_owned(), Fund::of(FundType::Receivable));
        let mut posting = Posting::on(Balances::from([(receivable, Balance { entry: 7, amount: cents(1_000) })]));
        posting.book("K1", 202_403, "E1", &Event::bill(cents(500))).unwrap();
        posting.book("K2", 202_403, "E2", &Event::bill(cents(-300))).unwrap();
        posting.book("K1", 202_403, "E3", &Event::bill(cents(250))).unwrap();
        posting.book("K2", 202_403, "Q1", &Event::draw(cents(200), cents(100)).unwrap()).unwrap();
        let rows: Vec<_> = posting
            .entries
            .iter()
            .map(|e| (e.customer_id.as_str(), i32::from(e.movement.fund), e.number, e.previous, e.balance))
            .collect();
        assert_eq!(
            rows,
            [
                ("K1", 2, 8, cents(1_000), cents(1_500)),
                ("K2", 2, 1, cents(0), cents(-300)),
                ("K2", 2, 2, cents(-300), cents(0)),
                ("K2", 1, 1, cents(0), cents(300)),
                ("K1", 2, 9, cents(1_500), cents(1_750)),
                ("K2", 1, 2, cents(300), cents(0)),
                ("K2", 2, 3, cents(0), cents(-200)),
                ("K2", 4, 1, cents(0), cents(100)),
            ]
        );
        assert_eq!(posting.sum(), Some(Decimal::ZERO));
        let moved: Vec<_> = posting.moved().map(|(k, fund, b)| (k, i32::from(fund), b.entry, b.amount)).collect();
        assert_eq!(
            moved,
            [("K1", 2, 9, cents(1_750)), ("K2", 1, 2, cents(0)), ("K2", 2, 3, cents(-200)), ("K2", 4, 1, cents(100))]
        );
    }

    #[test]
    fn available_funds_are_never_negative() {
        let mut posting = Posting::default();
        posting.book("K1", 202_403, "C1", &Event::deposit(cents(100))).unwrap();
        let drawn = posting.book("K1", 202_403, "Q1", &Event::draw(cents(100), cents(1)).unwrap());
        assert_eq!(drawn, Err(LedgerError::Insufficient));
    }
}
