//! The proof by SQL that what was charged off agrees: lines, bills, the ledger, balances, accumulators and open points.
//!
//! Some rules concern the rows of account months, so that they can be proved for one month alone; the others concern a whole
//! history.

use communal_kit::database::Statement as _;
use sqlx::PgConnection;

use crate::vocabulary::dates::AccountMonth;

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
/// The numbers of the first and last account month.
const ALL_MONTHS: (i32, i32) = (190_001, 999_912);

/// Adds what breaks a rule to what was found, by the statement that returns it.
macro_rules! breach {
    ($connection:expr, $found:expr, $rule:literal, $name:literal, $statement:literal, ($($bound:expr),*)) => {
        let keys = sqlx::query_scalar!($statement, $($bound),*).fetch_all(&mut *$connection).named($name).await?;
        $found.extend(keys.into_iter().filter_map(Option::<String>::from).map(|key| Breach { rule: $rule, key }));
    };
}

/// Rules with their statements, all bound by the same values.
macro_rules! breaches {
    ($connection:expr, $found:expr, $bounds:tt, $($rule:literal: $name:literal, $statement:literal;)*) => {$(
        breach!($connection, $found, $rule, $name, $statement, $bounds);
    )*};
}

/// Returns what breaks the books of a company, all months of it: nothing, unless the database was changed by hand.
///
/// # Errors
/// Returns the database's error.
pub async fn breaches(connection: &mut PgConnection, company_id: &str) -> Result<Vec<Breach>, sqlx::Error> {
    let mut found = of_months(connection, company_id, ALL_MONTHS).await?;
    of_histories(connection, company_id, &mut found).await?;
    Ok(found)
}

/// Returns what breaks the books of a company in an account month. Rules that concern a whole history are left out: that a
/// posting adds up, and that accumulators, balances and what is owed are what all bills and payments made of them.
///
/// # Errors
/// Returns the database's error.
pub async fn breaches_of(
    connection: &mut PgConnection,
    company_id: &str,
    month: AccountMonth,
) -> Result<Vec<Breach>, sqlx::Error> {
    of_months(connection, company_id, (month.number(), month.number())).await
}

/// What a company has of an account month.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MonthExtent {
    /// True if the month is one of the company's, open, over or to come.
    pub known: bool,
    /// True if something was billed in it, here or by another system.
    pub billed: bool,
}

/// Returns what a company has of an account month.
///
/// # Errors
/// Returns the database's error.
pub async fn extent(
    connection: &mut PgConnection,
    company_id: &str,
    month: AccountMonth,
) -> Result<MonthExtent, sqlx::Error> {
    sqlx::query_as!(
        MonthExtent,
        r#"SELECT EXISTS (SELECT FROM month_control WHERE company_id = $1 AND kind = 'account' AND account_month = $2)
                AS "known!",
            EXISTS (SELECT FROM bill WHERE company_id = $1 AND account_month = $2)
                OR EXISTS (SELECT FROM receivable_line WHERE network_company_id = $1 AND account_month = $2)
                OR EXISTS (SELECT FROM receivable_line WHERE retail_company_id = $1 AND account_month = $2) AS "billed!""#,
        company_id,
        month.number(),
    )
    .fetch_one(connection)
    .named("proof_month")
    .await
}

/// The rules that concern the rows of account months.
async fn of_months(
    connection: &mut PgConnection,
    company_id: &str,
    (from, to): (i32, i32),
) -> Result<Vec<Breach>, sqlx::Error> {
    let mut found = Vec::new();
    breaches! {
        connection, found, (company_id, from, to, MOST),
        "a bill is the sum of its lines": "proof_lines",
        "SELECT b.charge_off_id FROM bill b
         LEFT JOIN LATERAL (SELECT sum(r.fee) AS total, count(*) AS lines FROM receivable_line r
                            WHERE r.network_company_id = b.network_company_id
                                AND r.settlement_account_id = b.settlement_account_id
                                AND r.account_month = b.account_month AND r.charge_off_id = b.charge_off_id) AS l ON true
         WHERE b.company_id = $1 AND b.account_month BETWEEN $2 AND $3
             AND (l.total IS DISTINCT FROM b.total OR l.lines <> b.lines) LIMIT $4";
        "a line is open or closed, never both, never neither": "proof_open_or_closed",
        "SELECT r.settlement_account_id || ' ' || r.charge_off_id || ' ' || r.line_number FROM receivable_line r
         LEFT JOIN receivable_open o ON o.network_company_id = r.network_company_id AND o.book_id = r.book_id
             AND o.settlement_account_id = r.settlement_account_id AND o.account_month = r.account_month
             AND o.charge_off_id = r.charge_off_id AND o.line_number = r.line_number
         LEFT JOIN receivable_closing c ON c.network_company_id = r.network_company_id
             AND c.settlement_account_id = r.settlement_account_id AND c.account_month = r.account_month
             AND c.charge_off_id = r.charge_off_id AND c.line_number = r.line_number
         WHERE (r.network_company_id = $1 OR r.retail_company_id = $1) AND r.account_month BETWEEN $2 AND $3
             AND (o.line_number IS NULL) = (c.line_number IS NULL) LIMIT $4";
        "what is open or closed is a line": "proof_states_of_lines",
        "SELECT s.settlement_account_id || ' ' || s.charge_off_id || ' ' || s.line_number
         FROM (SELECT network_company_id, settlement_account_id, account_month, charge_off_id, line_number
               FROM receivable_open
               WHERE (network_company_id = $1 OR retail_company_id = $1) AND account_month BETWEEN $2 AND $3
               UNION ALL
               SELECT network_company_id, settlement_account_id, account_month, charge_off_id, line_number
               FROM receivable_closing WHERE network_company_id = $1 AND account_month BETWEEN $2 AND $3) AS s
         WHERE NOT EXISTS (SELECT FROM receivable_line r WHERE r.network_company_id = s.network_company_id
                 AND r.settlement_account_id = s.settlement_account_id AND r.account_month = s.account_month
                 AND r.charge_off_id = s.charge_off_id AND r.line_number = s.line_number) LIMIT $4";
        "a bill is issued once in the ledger": "proof_issued",
        "SELECT b.charge_off_id FROM bill b
         LEFT JOIN (SELECT company_id, customer_id, serial, account_month, sum(debit) AS issued, count(*) AS entries
                    FROM ledger WHERE company_id = $1 AND account_month BETWEEN $2 AND $3 AND fund = '2'
                        AND business_kind = '1'
                    GROUP BY company_id, customer_id, serial, account_month) AS e
             ON e.company_id = b.company_id AND e.customer_id = b.customer_id AND e.serial = b.charge_off_id
             AND e.account_month = b.account_month
         WHERE b.company_id = $1 AND b.account_month BETWEEN $2 AND $3
             AND (coalesce(e.issued, 0) <> b.total OR coalesce(e.entries, 0) > 1) LIMIT $4";
        "an entry that issues is of a bill, or of what was paid of imported lines": "proof_bills",
        "SELECT e.serial FROM ledger e
         WHERE e.company_id = $1 AND e.account_month BETWEEN $2 AND $3 AND e.fund = '2' AND e.business_kind = '1'
             AND NOT EXISTS (
                 SELECT FROM bill b WHERE b.company_id = $1 AND b.account_month = e.account_month
                     AND b.customer_id = e.customer_id AND b.charge_off_id = e.serial)
             AND NOT EXISTS (
                 SELECT FROM (SELECT payment_id, account_month, sum(amount) AS imported FROM payment_part
                              WHERE company_id = $1 AND account_month BETWEEN $2 AND $3 AND line_number < 0
                              GROUP BY payment_id, account_month) AS p
                 WHERE p.payment_id = e.serial AND p.account_month = e.account_month AND p.imported = e.debit) LIMIT $4";
        // Draws from before parts were kept have none.
        "the parts of a draw are what it paid": "proof_parts",
        "SELECT coalesce(e.serial, p.payment_id) FROM (
             SELECT serial, sum(credit) AS principal FROM ledger
             WHERE company_id = $1 AND account_month BETWEEN $2 AND $3 AND fund = '2' AND business_kind = '2'
                 AND serial LIKE 'Q%' AND serial >= (SELECT min(payment_id) FROM payment_part WHERE company_id = $1)
             GROUP BY serial) AS e
         FULL JOIN (SELECT payment_id, sum(amount) AS principal FROM payment_part
                    WHERE company_id = $1 AND account_month BETWEEN $2 AND $3 GROUP BY payment_id) AS p
             ON p.payment_id = e.serial
         WHERE e.principal IS DISTINCT FROM p.principal LIMIT $4";
        "a part was paid of its line": "proof_paid_parts",
        "SELECT p.settlement_account_id || ' ' || p.charge_off_id || ' ' || p.line_number
         FROM (SELECT network_company_id, settlement_account_id, line_month, charge_off_id, line_number, sum(amount) AS paid
               FROM payment_part WHERE company_id = $1 AND account_month BETWEEN $2 AND $3
               GROUP BY network_company_id, settlement_account_id, line_month, charge_off_id, line_number) AS p
         LEFT JOIN receivable_open o ON o.network_company_id = p.network_company_id
             AND o.settlement_account_id = p.settlement_account_id AND o.account_month = p.line_month
             AND o.charge_off_id = p.charge_off_id AND o.line_number = p.line_number
         LEFT JOIN receivable_closing c ON c.network_company_id = p.network_company_id
             AND c.settlement_account_id = p.settlement_account_id AND c.account_month = p.line_month
             AND c.charge_off_id = p.charge_off_id AND c.line_number = p.line_number
         WHERE coalesce(CASE sign(p.paid) WHEN 1 THEN p.paid > coalesce(c.paid_total, o.paid_total)
                        ELSE p.paid < coalesce(c.paid_total, o.paid_total) END, true) LIMIT $4";
        // The entry before one may be of another month.
        "the entries of a fund chain without a gap": "proof_chain",
        "SELECT customer_id || ' ' || fund || ' ' || entry FROM (
             SELECT customer_id, fund, entry, previous, lag(entry) OVER w AS before, lag(balance) OVER w AS left_before
             FROM ledger WHERE company_id = $1 AND account_month BETWEEN $2 AND $3
             WINDOW w AS (PARTITION BY customer_id, fund ORDER BY entry)) AS e
         WHERE CASE WHEN e.before = e.entry THEN true
                    WHEN e.before = e.entry - 1 THEN e.previous <> e.left_before
                    WHEN e.entry = 1 THEN e.previous <> 0
                    ELSE NOT EXISTS (SELECT FROM ledger p WHERE p.company_id = $1 AND p.customer_id = e.customer_id
                             AND p.fund = e.fund AND p.entry = e.entry - 1 AND p.balance = e.previous) END LIMIT $4";
        "no entry is after that at which its fund stands": "proof_last_entries",
        "SELECT e.customer_id || ' ' || e.fund || ' ' || e.entry
         FROM (SELECT DISTINCT ON (customer_id, fund) customer_id, fund, entry, balance FROM ledger
               WHERE company_id = $1 AND account_month BETWEEN $2 AND $3 ORDER BY customer_id, fund, entry DESC) AS e
         LEFT JOIN balance b ON b.company_id = $1 AND b.customer_id = e.customer_id AND b.fund = e.fund
         WHERE b.entry IS NULL OR b.entry < e.entry OR b.entry = e.entry AND b.balance <> e.balance LIMIT $4";
        "an entry is of a posting": "proof_entries",
        "SELECT e.customer_id || ' ' || e.fund || ' ' || e.entry FROM ledger e
         WHERE e.company_id = $1 AND e.account_month BETWEEN $2 AND $3 AND NOT EXISTS (
             SELECT FROM posting p WHERE p.company_id = $1 AND p.posting_id = e.posting_id) LIMIT $4";
        "a point that has a bill is not open": "proof_points",
        "SELECT o.settlement_account_id FROM point_open o
         JOIN bill b ON b.company_id = o.company_id AND b.settlement_account_id = o.settlement_account_id
             AND b.account_month = o.account_month AND b.kind = o.kind AND b.number = o.number
         WHERE o.company_id = $1 AND o.account_month BETWEEN $2 AND $3 LIMIT $4";
    }
    Ok(found)
}

/// The rules that concern a whole history.
async fn of_histories(
    connection: &mut PgConnection,
    company_id: &str,
    found: &mut Vec<Breach>,
) -> Result<(), sqlx::Error> {
    breaches! {
        connection, found, (company_id, MOST),
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
        "accumulators move once a bill": "proof_accumulators",
        "SELECT a.settlement_account_id FROM account_accumulator a
         LEFT JOIN (SELECT company_id, settlement_account_id, count(*) AS bills FROM bill WHERE company_id = $1
                    GROUP BY company_id, settlement_account_id) AS b
             ON b.company_id = a.company_id AND b.settlement_account_id = a.settlement_account_id
         WHERE a.company_id = $1 AND a.version <> coalesce(b.bills, 0) LIMIT $2";
        "what a customer owes is the balance of the receivable": "proof_outstanding",
        "SELECT b.customer_id FROM balance b
         LEFT JOIN (SELECT i.customer_id, sum(o.fee - o.paid_total) AS outstanding
                    FROM bill i JOIN receivable_open o ON o.network_company_id = i.network_company_id
                        AND o.book_id = i.book_id AND o.settlement_account_id = i.settlement_account_id
                        AND o.account_month = i.account_month AND o.charge_off_id = i.charge_off_id AND o.line_number > 0
                    WHERE i.company_id = $1 GROUP BY i.customer_id) AS l ON l.customer_id = b.customer_id
         WHERE b.company_id = $1 AND b.fund = '2' AND b.balance <> coalesce(l.outstanding, 0) LIMIT $2";
    }
    Ok(())
}
