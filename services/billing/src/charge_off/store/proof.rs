//! The proof by SQL that what was charged off agrees: lines, bills, the ledger, balances, accumulators and open points.

use communal_kit::database::Statement as _;
use sqlx::PgConnection;

/// What a company's books must fulfil, with a row for each breach of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// The rule.
    pub rule: &'static str,
    /// What breaks it.
    pub key: String,
}

/// The most breaches of a rule that are told.
const MOST: i64 = 20;

/// A rule, and the statement that returns what breaks it, bound by the company.
macro_rules! breaches {
    ($connection:expr, $company:expr, $found:expr, $($rule:literal: $name:literal, $statement:literal;)*) => {$(
        let keys = sqlx::query_scalar!($statement, $company, MOST).fetch_all(&mut *$connection).named($name).await?;
        $found.extend(keys.into_iter().filter_map(Option::<String>::from).map(|key| Breach { rule: $rule, key }));
    )*};
}

/// Returns what breaks the books of a company, all months of it: nothing, unless the database was changed by hand.
///
/// # Errors
/// Returns the database's error.
pub async fn breaches(connection: &mut PgConnection, company_id: &str) -> Result<Vec<Breach>, sqlx::Error> {
    let mut found = Vec::new();
    breaches! {
        connection, company_id, found,
        "a bill is the sum of its lines": "proof_lines",
        "SELECT b.charge_off_id FROM bill b
         LEFT JOIN LATERAL (SELECT sum(r.fee) AS total, count(*) AS lines FROM receivable_line r
                            WHERE r.network_company_id = b.network_company_id
                                AND r.settlement_account_id = b.settlement_account_id
                                AND r.account_month = b.account_month AND r.charge_off_id = b.charge_off_id) AS l ON true
         WHERE b.company_id = $1 AND (l.total IS DISTINCT FROM b.total OR l.lines <> b.lines) LIMIT $2";
        "a bill is issued once in the ledger": "proof_issued",
        "SELECT b.charge_off_id FROM bill b
         LEFT JOIN (SELECT company_id, customer_id, serial, account_month, sum(debit) AS issued, count(*) AS entries
                    FROM ledger WHERE company_id = $1 AND fund = '2' AND business_kind = '1'
                    GROUP BY company_id, customer_id, serial, account_month) AS e
             ON e.company_id = b.company_id AND e.customer_id = b.customer_id AND e.serial = b.charge_off_id
             AND e.account_month = b.account_month
         WHERE b.company_id = $1 AND (coalesce(e.issued, 0) <> b.total OR coalesce(e.entries, 0) > 1) LIMIT $2";
        "an entry that issues is of a bill": "proof_bills",
        "SELECT e.serial FROM ledger e
         WHERE e.company_id = $1 AND e.fund = '2' AND e.business_kind = '1' AND NOT EXISTS (
             SELECT FROM bill b WHERE b.company_id = $1 AND b.account_month = e.account_month
                 AND b.customer_id = e.customer_id AND b.charge_off_id = e.serial) LIMIT $2";
        "the entries of a fund chain without a gap": "proof_chain",
        "SELECT customer_id || ' ' || fund || ' ' || entry FROM (
             SELECT customer_id, fund, entry, previous,
                 row_number() OVER w AS place, coalesce(lag(balance) OVER w, 0) AS before
             FROM ledger WHERE company_id = $1 WINDOW w AS (PARTITION BY customer_id, fund ORDER BY entry)) AS e
         WHERE entry <> place OR previous <> before LIMIT $2";
        "a balance is that of the last entry": "proof_balances",
        "SELECT b.customer_id || ' ' || b.fund FROM balance b
         LEFT JOIN LATERAL (SELECT l.entry, l.balance FROM ledger l
                            WHERE l.company_id = b.company_id AND l.customer_id = b.customer_id AND l.fund = b.fund
                            ORDER BY l.entry DESC LIMIT 1) AS e ON true
         WHERE b.company_id = $1 AND (b.entry <> coalesce(e.entry, 0) OR b.balance <> coalesce(e.balance, 0)) LIMIT $2";
        "a posting adds up to zero": "proof_postings",
        "SELECT p.posting_id::text FROM posting p
         LEFT JOIN (SELECT company_id, posting_id, sum(debit - credit) AS moved FROM ledger WHERE company_id = $1
                    GROUP BY company_id, posting_id) AS e
             ON e.company_id = p.company_id AND e.posting_id = p.posting_id
         WHERE p.company_id = $1 AND p.revenue + p.cash + coalesce(e.moved, 0) <> 0 LIMIT $2";
        "an entry is of a posting": "proof_entries",
        "SELECT e.customer_id || ' ' || e.fund || ' ' || e.entry FROM ledger e
         WHERE e.company_id = $1 AND NOT EXISTS (
             SELECT FROM posting p WHERE p.company_id = $1 AND p.posting_id = e.posting_id) LIMIT $2";
        "accumulators move once a bill": "proof_accumulators",
        "SELECT a.settlement_account_id FROM account_accumulator a
         LEFT JOIN (SELECT company_id, settlement_account_id, count(*) AS bills FROM bill WHERE company_id = $1
                    GROUP BY company_id, settlement_account_id) AS b
             ON b.company_id = a.company_id AND b.settlement_account_id = a.settlement_account_id
         WHERE a.company_id = $1 AND a.version <> coalesce(b.bills, 0) LIMIT $2";
        "a point that has a bill is not open": "proof_points",
        "SELECT o.settlement_account_id FROM point_open o
         JOIN bill b ON b.company_id = o.company_id AND b.settlement_account_id = o.settlement_account_id
             AND b.account_month = o.account_month AND b.kind = o.kind AND b.number = o.number
         WHERE o.company_id = $1 LIMIT $2";
        "what a customer owes is the balance of the receivable": "proof_outstanding",
        "SELECT b.customer_id FROM balance b
         LEFT JOIN (SELECT i.customer_id, sum(o.fee - o.paid_total) AS outstanding
                    FROM bill i JOIN receivable_open o ON o.network_company_id = i.network_company_id
                        AND o.book_id = i.book_id AND o.settlement_account_id = i.settlement_account_id
                        AND o.account_month = i.account_month AND o.charge_off_id = i.charge_off_id
                    WHERE i.company_id = $1 GROUP BY i.customer_id) AS l ON l.customer_id = b.customer_id
         WHERE b.company_id = $1 AND b.fund = '2' AND b.balance <> coalesce(l.outstanding, 0) LIMIT $2";
    }
    Ok(found)
}
