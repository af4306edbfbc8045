//! The receivable lines of every benchmark. They are made from their number alone, so that all contestants have the same,
//! and have the size of real ones: about 500 bytes on the wire, a tenth of them Chinese.

use communal_fixtures::receivables;
use communal_proto::billing::v1::ReceivableLine;

/// The fee of a line in cents, which is never zero.
#[must_use]
pub fn cents(index: u64) -> u64 {
    1_000 + index.wrapping_mul(7_919) % 90_000
}

/// The identifier of a book.
#[must_use]
pub fn book_id(book: u64) -> String {
    format!("B{book:015}")
}

/// The sum of a book's fees in cents.
#[must_use]
pub fn total_cents(lines: u64) -> u64 {
    (0..lines).map(cents).sum()
}

/// Line `index` of a book. Twelve lines in a row belong to one account.
#[must_use]
pub fn line(book: u64, index: u64) -> ReceivableLine {
    let fee = cents(index);
    let month = i32::try_from(index % 12).unwrap_or_default() + 1;
    let point = index / 12;
    let id = |letter: char| format!("{letter}{:015}", point + 1);
    ReceivableLine {
        node_id: id('D'),
        package_id: format!("P{:015}", point % 40 + 1),
        book_id: book_id(book),
        settlement_account_id: format!("A{:07}{point:08}", book % 10_000_000),
        customer_id: id('C'),
        using_customer_id: id('U'),
        user_account_id: id('K'),
        tier: i32::try_from(index % 3).unwrap_or_default() + 1,
        account_item: "电费-居民生活用电".to_owned(),
        category_item: 10_001,
        quantity: format!("{}.00", fee / 300),
        unit_price: "3.450000".to_owned(),
        fee: format!("{}.{:02}", fee / 100, fee % 100),
        charge_off_date: 20_250_028 + month * 100,
        charge_off_id: format!("{:016}", 1_000_000 + index),
        // The twentieth of the month after.
        penalty_from: if month == 12 { 20_260_120 } else { 20_250_120 + month * 100 },
        ..receivables::line(1, 202_500 + month)
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    #[test]
    fn lines_differ_and_have_the_size_of_real_ones() {
        let (first, second) = (line(1, 0), line(1, 12));
        assert_ne!(first.settlement_account_id, second.settlement_account_id);
        assert!((350..700).contains(&first.encoded_len()), "{}", first.encoded_len());
        assert_eq!(total_cents(2), cents(0) + cents(1));
    }
}
