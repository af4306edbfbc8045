//! The receivable lines of accounts, a third of them unpaid, a third paid in part and a third paid in full.

use communal_fixtures::receivables;
use communal_proto::billing::v1::ReceivableLine;

/// Lines of this many accounts of a retail company, from an account number on.
pub(crate) fn lines_of(company: &str, first: usize, count: usize) -> anyhow::Result<Vec<ReceivableLine>> {
    (first..first + count).map(|number| line(company, number)).collect()
}

/// The book of an account; there are twenty books.
pub(crate) fn book_of(account: usize) -> String {
    format!("B{:015}", 1 + account / 40 % 20)
}

fn line(company: &str, number: usize) -> anyhow::Result<ReceivableLine> {
    // Every account has another fee, so that no answer is right by accident.
    let cents = 10_000 + number % 90_000;
    let amount = |cents: usize| format!("{}.{:02}", cents / 100, cents % 100);
    let paid = match number % 3 {
        0 => 0,
        1 => cents / 2,
        _ => cents,
    };
    let if_paid = |text: String| if paid == 0 { String::new() } else { text };
    Ok(ReceivableLine {
        retail_company_id: company.into(),
        book_id: book_of(number),
        settled_month: if paid == cents { 202_402 } else { 0 },
        quantity: amount(cents * 2),
        fee: amount(cents),
        paid_total: amount(paid),
        latest_paid: if_paid(amount(paid)),
        latest_paid_date: if paid == 0 { 0 } else { 20_240_210 },
        latest_payment_id: if_paid(format!("W202401{number:09}")),
        ..receivables::line(u32::try_from(number)?, 202_401)
    })
}
