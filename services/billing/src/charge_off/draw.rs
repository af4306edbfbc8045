//! What available funds pay after a charge-off. Pure.
//!
//! Details, an account's month each, are paid oldest month first, then by account. In a detail the penalty of today comes
//! first and in full, then principal. A detail whose penalty would leave nothing for principal is not paid, and drawing stops there.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use rust_decimal::Decimal;

use crate::receivables::allocation::{AllocationError, Rank, allocate, due};
use crate::receivables::penalty::{Late, PenaltyRates};

/// An open line of a customer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenLine {
    /// The account month.
    pub account_month: i32,
    /// The account.
    pub settlement_account_id: String,
    /// Its place in the order of payment.
    pub rank: Rank,
    /// What its penalty depends on, with what is outstanding.
    pub late: Late,
}

/// What a draw pays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Draw {
    /// The parts of lines, by their places among the open lines.
    pub parts: Vec<(usize, Decimal)>,
    /// The places of the lines of the details that are paid: their levy date moves, paid or not.
    pub touched: Vec<usize>,
    /// The principal that is paid.
    pub principal: Decimal,
    /// The penalty that is paid.
    pub penalty: Decimal,
}

/// Returns what available funds pay of a customer's open lines.
///
/// # Errors
/// Returns an error if a sum is out of range.
pub fn draw(
    available: Decimal,
    lines: &[OpenLine],
    rates: &PenaltyRates,
    today: NaiveDate,
) -> Result<Draw, AllocationError> {
    let mut details = BTreeMap::<(i32, &str), Vec<usize>>::new();
    for (place, line) in lines.iter().enumerate() {
        details.entry((line.account_month, line.settlement_account_id.as_str())).or_default().push(place);
    }
    let (mut left, mut drawn) = (available, Draw::default());
    let out_of_range = AllocationError::OutOfRange;
    for places in details.into_values() {
        let of_detail = || places.iter().filter_map(|place| lines.get(*place));
        let due = due(of_detail().map(|line| line.late.outstanding)).ok_or(out_of_range)?;
        if due <= Decimal::ZERO {
            continue;
        }
        let penalty = rates.of_detail(of_detail().map(|line| line.late), today).ok_or(out_of_range)?;
        let principal = left.checked_sub(penalty).ok_or(out_of_range)?.min(due);
        if principal <= Decimal::ZERO {
            break;
        }
        let ranked: Vec<_> = of_detail().map(|line| (line.rank.clone(), line.late.outstanding)).collect();
        for (place, part) in allocate(&ranked, principal)? {
            if let Some(place) = places.get(place) {
                drawn.parts.push((*place, part));
            }
        }
        drawn.touched.extend_from_slice(&places);
        drawn.principal = drawn.principal.checked_add(principal).ok_or(out_of_range)?;
        drawn.penalty = drawn.penalty.checked_add(penalty).ok_or(out_of_range)?;
        left = left.checked_sub(principal).and_then(|left| left.checked_sub(penalty)).ok_or(out_of_range)?;
    }
    Ok(drawn)
}

/// The levy date of a line after a payment of its detail: it never begins earlier than it did.
#[must_use]
pub fn levy_after(levy_date: Option<NaiveDate>, paid_on: NaiveDate) -> NaiveDate {
    levy_date.map_or(paid_on, |levy| levy.max(paid_on))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::vocabulary::dates::day;
    use crate::vocabulary::tariff::{Utility, YesNo};

    fn line(month: i32, account: &str, number: i64, cents: i64, levy: i32) -> OpenLine {
        let charge_off_date = day(month * 100 + 5).unwrap();
        OpenLine {
            account_month: month,
            settlement_account_id: account.to_owned(),
            rank: Rank {
                charge_off_date,
                charge_off_id: format!("E{month}{account}"),
                is_surcharge: false,
                category_item: 1,
                surcharge_item: 0,
                tier: 1,
                period: 1,
                line_number: number,
            },
            late: Late {
                utility: Utility::Electricity,
                resident: YesNo::Yes,
                outstanding: Decimal::new(cents, 2),
                charge_off_date,
                levy_date: day(levy),
            },
        }
    }

    fn drawn(available: i64, lines: &[OpenLine]) -> (Vec<(usize, Decimal)>, Decimal, Decimal) {
        let today = day(20_240_405).unwrap();
        let draw = draw(Decimal::new(available, 2), lines, &PenaltyRates::default(), today).unwrap();
        (draw.parts, draw.principal, draw.penalty)
    }

    #[test]
    fn the_oldest_detail_is_paid_first_and_its_penalty_before_its_principal() {
        let cents = |cents| Decimal::new(cents, 2);
        // The older one is 16 days late: 1.60 on 100.00.
        let lines = [line(202_404, "A1", 1, 5_000, 20_240_420), line(202_403, "A2", 1, 10_000, 20_240_320)];
        assert_eq!(drawn(5_160, &lines), (vec![(1, cents(5_000))], cents(5_000), cents(160)));
        assert_eq!(drawn(12_160, &lines), (vec![(1, cents(10_000)), (0, cents(2_000))], cents(12_000), cents(160)));
        assert_eq!(drawn(99_999, &lines).1, cents(15_000), "no more than what is due");
        // The penalty alone would use the money up.
        assert_eq!(drawn(160, &lines), (vec![], cents(0), cents(0)));
        assert_eq!(drawn(161, &lines), (vec![(1, cents(1))], cents(1), cents(160)));
    }

    #[test]
    fn details_of_a_month_are_paid_by_account() {
        let lines = [line(202_404, "A2", 1, 100, 20_240_420), line(202_404, "A1", 1, 100, 20_240_420)];
        assert_eq!(drawn(150, &lines).0, [(1, Decimal::new(100, 2)), (0, Decimal::new(50, 2))]);
    }

    #[test]
    fn a_payment_within_the_days_of_grace_does_not_begin_the_penalty_early() {
        assert_eq!(levy_after(day(20_240_420), day(20_240_405).unwrap()), day(20_240_420).unwrap());
        assert_eq!(levy_after(day(20_240_401), day(20_240_405).unwrap()), day(20_240_405).unwrap());
    }
}
