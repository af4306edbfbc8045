//! The allocation of a payment to the lines of a detail, an account's month. Pure.
//!
//! Negative lines are closed first, whole, and what they give counts as money; then lines are filled in their order: by
//! charge-off date, serial, main before surcharge, category item, tier, period, and the number within the bill.

use chrono::NaiveDate;
use communal_proto::billing::v1::ReceivableLine;
use rust_decimal::Decimal;

/// What decides the place of a line. Compared field by field.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    /// Day of the charge-off.
    pub charge_off_date: NaiveDate,
    /// Its serial.
    pub charge_off_id: String,
    /// True for a surcharge.
    pub is_surcharge: bool,
    /// Category item.
    pub category_item: i64,
    /// Surcharge item.
    pub surcharge_item: i64,
    /// Tier, by its code.
    pub tier: i32,
    /// Period, by its code.
    pub period: i32,
    /// Number of the line within its bill.
    pub line_number: i64,
}

impl Rank {
    /// The rank of a line as it was billed.
    #[must_use]
    pub fn of(line: &ReceivableLine, charge_off_date: NaiveDate, line_number: i64) -> Self {
        Self {
            charge_off_date,
            charge_off_id: line.charge_off_id.clone(),
            is_surcharge: line.surcharge_item != 0,
            category_item: line.category_item,
            surcharge_item: line.surcharge_item,
            tier: line.tier,
            period: line.period,
            line_number,
        }
    }
}

/// Why an amount cannot be allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AllocationError {
    /// It is not above zero, or more than what is due.
    #[error("the amount is not above zero, or more than what is due")]
    NotDue,
    /// A sum is out of range.
    #[error("a sum is out of range")]
    OutOfRange,
}

/// Returns what is due of a detail: the sum of what is outstanding, negative lines included. `None` if it is out of range.
#[must_use]
pub fn due(outstanding: impl IntoIterator<Item = Decimal>) -> Option<Decimal> {
    outstanding.into_iter().try_fold(Decimal::ZERO, Decimal::checked_add)
}

/// Allocates an amount to lines, each given by its rank and what is outstanding. Returns the part of each line that gets one, by
/// its place among the lines, in the order of payment.
///
/// # Errors
/// Returns an error if the amount is not above zero or more than what is due, or if a sum is out of range.
pub fn allocate(lines: &[(Rank, Decimal)], amount: Decimal) -> Result<Vec<(usize, Decimal)>, AllocationError> {
    let due = due(lines.iter().map(|(_, outstanding)| *outstanding)).ok_or(AllocationError::OutOfRange)?;
    if amount <= Decimal::ZERO || amount > due {
        return Err(AllocationError::NotDue);
    }
    let mut order: Vec<_> = lines.iter().enumerate().filter(|(_, (_, outstanding))| !outstanding.is_zero()).collect();
    order.sort_by_key(|(_, (rank, outstanding))| (outstanding.is_sign_positive(), rank));
    let mut money = amount;
    let mut parts = Vec::with_capacity(order.len());
    for (place, (_, outstanding)) in order {
        let part = money.min(*outstanding);
        if part.is_zero() {
            break;
        }
        money = money.checked_sub(part).ok_or(AllocationError::OutOfRange)?;
        parts.push((place, part));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::vocabulary::dates::day;

    /// A line of the charge-off of a day.
    fn line(date: i32, surcharge_item: i64, tier: i32, number: i64, cents: i64) -> (Rank, Decimal) {
        let rank = Rank {
            charge_off_date: day(date).unwrap(),
            charge_off_id: format!("E{date}"),
            is_surcharge: surcharge_item != 0,
            category_item: 1,
            surcharge_item,
            tier,
            period: 1,
            line_number: number,
        };
        (rank, Decimal::new(cents, 2))
    }

    fn parts(lines: &[(Rank, Decimal)], cents: i64) -> Result<Vec<(usize, i64)>, AllocationError> {
        let parts = allocate(lines, Decimal::new(cents, 2))?;
        Ok(parts.into_iter().map(|(place, part)| (place, (part * Decimal::from(100)).try_into().unwrap())).collect())
    }

    #[test]
    fn lines_are_paid_in_their_order_after_the_negative_ones_are_closed() {
        let lines = [
            line(20_240_302, 0, 1, 1, 1_000),
            line(20_240_301, 9, 1, 3, 500),
            line(20_240_301, 0, 2, 2, 2_000),
            line(20_240_301, 0, 1, 1, 3_000),
            line(20_240_303, 0, 1, 1, -700),
        ];
        // The refund gives 7.00, so that 1.00 pays 8.00 of the first tier.
        assert_eq!(parts(&lines, 100), Ok(vec![(4, -700), (3, 800)]));
        assert_eq!(parts(&lines, 4_000), Ok(vec![(4, -700), (3, 3_000), (2, 1_700)]));
        assert_eq!(parts(&lines, 5_800), Ok(vec![(4, -700), (3, 3_000), (2, 2_000), (1, 500), (0, 1_000)]));
        assert_eq!(parts(&lines, 5_801), Err(AllocationError::NotDue));
        assert_eq!(parts(&lines, 0), Err(AllocationError::NotDue));
    }

    #[test]
    fn the_number_within_the_bill_is_the_last_word() {
        let lines = [line(20_240_301, 0, 1, 2, 100), line(20_240_301, 0, 1, 1, 100)];
        assert_eq!(parts(&lines, 150), Ok(vec![(1, 100), (0, 50)]));
    }

    proptest! {
        #[test]
        fn what_is_allocated_is_the_amount_and_no_line_is_overpaid(
            cents in prop::collection::vec(-5_000_i64..20_000, 1..12),
            share in 1_u32..=100,
        ) {
            let lines: Vec<_> =
                cents.iter().zip(1..).map(|(cents, number)| line(20_240_301, 0, 1, number, *cents)).collect();
            let due: i64 = cents.iter().sum();
            prop_assume!(due > 0);
            let amount = (due * i64::from(share) / 100).max(1);
            let parts = parts(&lines, amount).unwrap();
            prop_assert_eq!(parts.iter().map(|(_, part)| part).sum::<i64>(), amount);
            for (place, part) in parts {
                let line = cents[place];
                let fits = if line < 0 { part == line } else { part > 0 && part <= line };
                prop_assert!(fits);
            }
        }
    }
}
