//! Arrears lines to measure with: made from their number alone, so that every contestant has
//! the same, and as long as real ones (about 500 bytes on the wire, a tenth of them Chinese).

use communal_proto::billing::v1::ReceivableLine;

/// Who bills, in every benchmark.
pub const RETAIL_COMPANY: &str = "S000000000000001";
/// Whose network it is.
pub const NETWORK_COMPANY: &str = "N000000000000001";
/// The store of the retail company.
pub const STORE: &str = "H000000000000001";

/// The fee of a line, in cents: never zero.
#[must_use]
pub fn cents(index: u64) -> u64 {
    1_000 + index.wrapping_mul(7_919) % 90_000
}

/// The identifier of a book.
#[must_use]
pub fn book_id(book: u64) -> String {
    format!("B{book:015}")
}

/// What the lines of a book come to, in cents.
#[must_use]
pub fn total_cents(lines: u64) -> u64 {
    (0..lines).map(cents).sum()
}

/// Line `index` of a book.
#[must_use]
pub fn line(book: u64, index: u64) -> ReceivableLine {
    let fee = cents(index);
    let month = i32::try_from(index % 12).unwrap_or_default() + 1;
    let point = index / 12;
    let id = |letter: char| format!("{letter}{:015}", point + 1);
    ReceivableLine {
        node_id: id('D'),
        network_company_id: NETWORK_COMPANY.to_owned(),
        network_store_id: "H000000000000009".to_owned(),
        retail_company_id: RETAIL_COMPANY.to_owned(),
        retail_store_id: STORE.to_owned(),
        retail_dimension: "华东区-居民-一户一表".to_owned(),
        network_dimension: "城区管网-第三供水所".to_owned(),
        package_id: format!("P{:015}", point % 40 + 1),
        book_id: book_id(book),
        utility: 1,
        settlement_account_id: format!("A{:07}{point:08}", book % 10_000_000),
        run_kind: 1,
        customer_id: id('C'),
        using_customer_id: id('U'),
        user_account_id: id('K'),
        industry_code: "7810".to_owned(),
        industry_sector: 1,
        assessed: 1,
        resident: 2,
        public_use: 1,
        temporary: 1,
        urban: 2,
        military: 1,
        supply_kind: 1,
        stopped_or_vacant: 1,
        business_kind: 1,
        basic_fee_kind: 1,
        seasonal: 1,
        season: 1,
        time_of_use: 1,
        period: 1,
        agreement_price: 1,
        ladder: 2,
        ladder_tiers: 3,
        tier: i32::try_from(index % 3).unwrap_or_default() + 1,
        power_factor_standard: 0,
        heat_basis: 0,
        property_basis: 0,
        account_item: "水费-居民生活用水".to_owned(),
        category_item: 10_001,
        surcharge_item: 0,
        start_date: 20_250_101,
        account_month: 202_500 + month,
        settled_month: 0,
        quantity: format!("{}.00", fee / 300),
        unit_price: "3.450000".to_owned(),
        fee: format!("{}.{:02}", fee / 100, fee % 100),
        package_kind: 1,
        voltage: 0,
        delivery_level: "01".to_owned(),
        retail_level: "01".to_owned(),
        property_grade: String::new(),
        charge_off_date: 20_250_028 + month * 100,
        charge_off_id: format!("{:016}", 1_000_000 + index),
        penalty_from: 20_250_020 + (month % 12 + 1) * 100,
        previous_paid_date: 0,
        previous_payment_id: String::new(),
        paid_total: String::new(),
        latest_paid: String::new(),
        latest_paid_date: 0,
        latest_payment_id: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    #[test]
    fn lines_differ_and_are_as_long_as_real_ones() {
        let (first, second) = (line(1, 0), line(1, 12));
        assert_ne!(first.settlement_account_id, second.settlement_account_id);
        assert!((350..700).contains(&first.encoded_len()), "{}", first.encoded_len());
        assert_eq!(total_cents(2), cents(0) + cents(1));
    }
}
