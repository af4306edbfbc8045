//! What is outstanding: locked, and paid.

use chrono::NaiveDate;
use communal_kit::call::Call;
use communal_kit::database::Statement as _;
use communal_kit::database::errors::broken;
use communal_kit::database::stored::decoded;
use communal_proto::billing::v1::ReceivableLine;
use prost::Message as _;
use rust_decimal::Decimal;
use sqlx::PgConnection;

use crate::receivables::allocation::Rank;
use crate::vocabulary::dates::{AccountMonth, day};

/// What a customer owes of open lines that say so, whoever has their accounts now.
#[derive(Clone, Copy, Debug)]
pub struct Owed {
    /// The lines.
    pub lines: i64,
    /// What is outstanding of them.
    pub outstanding: Decimal,
}

/// Returns what a customer of a company owes of open lines that it sees as network or retail company. Lines that were brought
/// along name their customer in their own bytes alone, so that all open lines of the company are read: no call does this.
///
/// # Errors
/// Returns the database's error.
pub async fn owed_by(tx: &mut PgConnection, company_id: &str, customer_id: &str) -> Result<Owed, sqlx::Error> {
    // The field as it stands in an encoded line.
    let named = ReceivableLine { customer_id: customer_id.to_owned(), ..ReceivableLine::default() }.encode_to_vec();
    sqlx::query_as!(
        Owed,
        r#"SELECT count(*) AS "lines!", coalesce(sum(fee - paid_total), 0) AS "outstanding!"
           FROM (SELECT fee, paid_total, issued FROM receivable_open WHERE network_company_id = $1
                 UNION ALL
                 SELECT fee, paid_total, issued FROM receivable_open
                 WHERE retail_company_id = $1 AND retail_company_id <> network_company_id) AS of_company
           WHERE position($2::bytea IN issued) > 0"#,
        company_id,
        named,
    )
    .fetch_one(tx)
    .named("receivable_owed_by")
    .await
}

/// A line that is outstanding, locked.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // the columns of the table, documented there
pub struct OpenLine {
    pub network_company_id: String,
    pub book_id: String,
    pub settlement_account_id: String,
    pub account_month: i32,
    pub charge_off_id: String,
    pub line_number: i64,
    pub retail_company_id: String,
    pub fee: Decimal,
    pub paid_total: Decimal,
    pub levy_date: Option<NaiveDate>,
    /// An encoded `ReceivableLine` without the fields that payments change.
    pub issued: Vec<u8>,
}

impl OpenLine {
    /// The line as it was billed.
    ///
    /// # Errors
    /// Returns an error of decoding if it cannot be read.
    pub fn issued(&self) -> Result<ReceivableLine, sqlx::Error> {
        decoded(&self.issued)
    }

    /// Returns true if another system billed it.
    #[must_use]
    pub fn is_imported(&self) -> bool {
        self.line_number < 0
    }

    /// What is outstanding of it.
    ///
    /// # Errors
    /// Returns an error of encoding if it is out of range.
    pub fn outstanding(&self) -> Result<Decimal, sqlx::Error> {
        self.fee.checked_sub(self.paid_total).ok_or_else(|| broken("a sum is out of range"))
    }

    /// Its place in the order of payment, given the line as it was billed.
    ///
    /// # Errors
    /// Returns an error of encoding if that has no day of its charge-off.
    pub fn rank(&self, issued: &ReceivableLine) -> Result<Rank, sqlx::Error> {
        let charge_off_date =
            day(issued.charge_off_date).ok_or_else(|| broken("a line has no day of its charge-off"))?;
        Ok(Rank::of(issued, charge_off_date, self.line_number))
    }
}

/// Locks the open lines of settlement accounts of a company, which is the network or the retail company of each, and returns
/// them by account, account month, charge-off and number. That is also the order of the locks.
///
/// Plans rely on [`communal_kit::database::look_up_by_keys`].
///
/// # Errors
/// Returns the database's error.
pub async fn lock_open_of(
    tx: &mut PgConnection,
    company_id: &str,
    settlement_account_ids: &[&str],
) -> Result<Vec<OpenLine>, sqlx::Error> {
    sqlx::query_as!(
        OpenLine,
        "SELECT o.network_company_id, o.book_id, o.settlement_account_id, o.account_month, o.charge_off_id, o.line_number,
             o.retail_company_id, o.fee, o.paid_total, o.levy_date, o.issued
         FROM unnest($1::text[], $2::text[]) AS own (company_id, settlement_account_id)
         JOIN receivable_open o ON o.settlement_account_id = own.settlement_account_id
             AND (o.network_company_id = own.company_id OR o.retail_company_id = own.company_id)
         ORDER BY o.settlement_account_id, o.account_month, o.charge_off_id, o.line_number, o.network_company_id
         FOR UPDATE OF o",
        vec![company_id; settlement_account_ids.len()] as _,
        settlement_account_ids as _,
    )
    .fetch_all(tx)
    .named("line_open_lock")
    .await
}

/// What a payment does to an open line.
#[derive(Clone, Copy, Debug)]
pub struct Payment<'p> {
    /// The line, as it was locked.
    pub line: &'p OpenLine,
    /// The amount, with the sign of the line; 0 moves the levy date alone.
    pub amount: Decimal,
    /// The business date.
    pub paid_date: NaiveDate,
    /// The serial of the payment.
    pub payment_id: &'p str,
    /// Day from which the late-payment penalty counts from now on.
    pub levy_date: Option<NaiveDate>,
    /// The settle month, in which the line is closed if it is paid in full.
    pub settled_month: AccountMonth,
}

/// Pays open lines: those that are paid in full are closed, the others stay with what was paid. No line is in it twice. Returns
/// how many lines it found; fewer than payments if one is not as it was locked.
///
/// Plans rely on [`communal_kit::database::look_up_by_keys`].
///
/// # Errors
/// Returns the database's error; it violates `receivable_open_never_overpaid` if a payment is more than what is due.
pub async fn pay(tx: &mut PgConnection, payments: &[Payment<'_>]) -> Result<u64, sqlx::Error> {
    let is_full =
        |payment: &&Payment<'_>| payment.line.fee.checked_sub(payment.line.paid_total) == Some(payment.amount);
    let (full, part): (Vec<_>, Vec<_>) = payments.iter().partition(is_full);
    Ok(pay_in_full(tx, &full).await? + pay_in_part(tx, &part).await?)
}

/// A value of each payment.
fn each<'p, T>(payments: &[&'p Payment<'p>], value: impl Fn(&'p Payment<'p>) -> T) -> Vec<T> {
    payments.iter().copied().map(value).collect()
}

async fn pay_in_full(tx: &mut PgConnection, payments: &[&Payment<'_>]) -> Result<u64, sqlx::Error> {
    if payments.is_empty() {
        return Ok(0);
    }
    let done = sqlx::query!(
        "WITH gone AS (
             DELETE FROM receivable_open o
             USING unnest($1::text[], $2::text[], $3::text[], $4::integer[], $5::text[], $6::bigint[], $7::numeric[],
                     $8::numeric[], $9::date[], $10::text[], $11::date[], $12::integer[])
                 AS own (network_company_id, book_id, settlement_account_id, account_month, charge_off_id, line_number,
                     paid_total, amount, paid_date, payment_id, levy_date, settled_month)
             WHERE o.network_company_id = own.network_company_id AND o.book_id = own.book_id
                 AND o.settlement_account_id = own.settlement_account_id AND o.account_month = own.account_month
                 AND o.charge_off_id = own.charge_off_id AND o.line_number = own.line_number
                 AND o.paid_total = own.paid_total
             RETURNING o.network_company_id, o.settlement_account_id, o.account_month, o.charge_off_id, o.line_number,
                 own.paid_total + own.amount AS paid_total, own.amount, own.paid_date, own.payment_id, o.latest_paid_date,
                 o.latest_payment_id, own.levy_date, own.settled_month)
         INSERT INTO receivable_closing (network_company_id, settlement_account_id, account_month, charge_off_id, line_number,
             paid_total, latest_paid, latest_paid_date, latest_payment_id, previous_paid_date, previous_payment_id,
             levy_date, settled_month, with_line)
         SELECT gone.*, false FROM gone",
        each(payments, |payment| payment.line.network_company_id.as_str()) as _,
        each(payments, |payment| payment.line.book_id.as_str()) as _,
        each(payments, |payment| payment.line.settlement_account_id.as_str()) as _,
        &each(payments, |payment| payment.line.account_month),
        each(payments, |payment| payment.line.charge_off_id.as_str()) as _,
        &each(payments, |payment| payment.line.line_number),
        &each(payments, |payment| payment.line.paid_total),
        &each(payments, |payment| payment.amount),
        &each(payments, |payment| payment.paid_date),
        each(payments, |payment| payment.payment_id) as _,
        each(payments, |payment| payment.levy_date) as _,
        &each(payments, |payment| payment.settled_month.number()),
    );
    Ok(done.execute(tx).named("line_close").await?.rows_affected())
}

async fn pay_in_part(tx: &mut PgConnection, payments: &[&Payment<'_>]) -> Result<u64, sqlx::Error> {
    if payments.is_empty() {
        return Ok(0);
    }
    let done = sqlx::query!(
        "UPDATE receivable_open o SET levy_date = own.levy_date, paid_total = o.paid_total + own.amount,
             latest_paid = CASE own.amount WHEN 0 THEN o.latest_paid ELSE own.amount END,
             latest_paid_date = CASE own.amount WHEN 0 THEN o.latest_paid_date ELSE own.paid_date END,
             latest_payment_id = CASE own.amount WHEN 0 THEN o.latest_payment_id ELSE own.payment_id END,
             previous_paid_date = CASE own.amount WHEN 0 THEN o.previous_paid_date ELSE o.latest_paid_date END,
             previous_payment_id = CASE own.amount WHEN 0 THEN o.previous_payment_id ELSE o.latest_payment_id END
         FROM unnest($1::text[], $2::text[], $3::text[], $4::integer[], $5::text[], $6::bigint[], $7::numeric[], $8::numeric[],
                 $9::date[], $10::text[], $11::date[])
             AS own (network_company_id, book_id, settlement_account_id, account_month, charge_off_id, line_number,
                 paid_total, amount, paid_date, payment_id, levy_date)
         WHERE o.network_company_id = own.network_company_id AND o.book_id = own.book_id
             AND o.settlement_account_id = own.settlement_account_id AND o.account_month = own.account_month
             AND o.charge_off_id = own.charge_off_id AND o.line_number = own.line_number
             AND o.paid_total = own.paid_total",
        each(payments, |payment| payment.line.network_company_id.as_str()) as _,
        each(payments, |payment| payment.line.book_id.as_str()) as _,
        each(payments, |payment| payment.line.settlement_account_id.as_str()) as _,
        &each(payments, |payment| payment.line.account_month),
        each(payments, |payment| payment.line.charge_off_id.as_str()) as _,
        &each(payments, |payment| payment.line.line_number),
        &each(payments, |payment| payment.line.paid_total),
        &each(payments, |payment| payment.amount),
        &each(payments, |payment| payment.paid_date),
        each(payments, |payment| payment.payment_id) as _,
        each(payments, |payment| payment.levy_date) as _,
    );
    Ok(done.execute(tx).named("line_pay_in_part").await?.rows_affected())
}

/// What a payment paid of a line.
#[derive(Clone, Copy, Debug)]
pub struct Part<'p> {
    /// The line, as it was locked.
    pub line: &'p OpenLine,
    /// The serial of the payment.
    pub payment_id: &'p str,
    /// The account month in which the payment is booked.
    pub account_month: i32,
    /// The amount, with the sign of the line; never 0.
    pub amount: Decimal,
}

/// Keeps the parts of payments of a company: an undone payment takes them off its lines again.
///
/// # Errors
/// Returns the database's error.
pub async fn keep_parts(tx: &mut PgConnection, call: &Call, parts: &[Part<'_>]) -> Result<(), sqlx::Error> {
    if parts.is_empty() {
        return Ok(());
    }
    let kept = sqlx::query!(
        "INSERT INTO payment_part (company_id, payment_id, account_month, network_company_id, settlement_account_id, line_month,
             charge_off_id, line_number, amount)
         SELECT $1, own.* FROM unnest($2::text[], $3::integer[], $4::text[], $5::text[], $6::integer[], $7::text[], $8::bigint[],
             $9::numeric[]) AS own",
        call.tenant.id,
        parts.iter().map(|part| part.payment_id).collect::<Vec<_>>() as _,
        &parts.iter().map(|part| part.account_month).collect::<Vec<_>>(),
        parts.iter().map(|part| part.line.network_company_id.as_str()).collect::<Vec<_>>() as _,
        parts.iter().map(|part| part.line.settlement_account_id.as_str()).collect::<Vec<_>>() as _,
        &parts.iter().map(|part| part.line.account_month).collect::<Vec<_>>(),
        parts.iter().map(|part| part.line.charge_off_id.as_str()).collect::<Vec<_>>() as _,
        &parts.iter().map(|part| part.line.line_number).collect::<Vec<_>>(),
        &parts.iter().map(|part| part.amount).collect::<Vec<_>>(),
    );
    kept.execute(tx).named("payment_part_keep").await?;
    Ok(())
}
