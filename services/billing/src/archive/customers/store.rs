//! The statements of customers and of the codes that prove their phones. Every query is bound by the company.
//!
//! Lock order: codes by their hashes; then customers, which are locked by nobody else.

use std::collections::HashMap;

use communal_kit::call::Call;
use communal_kit::database::Statement as _;
use communal_proto::Coded as _;
use communal_proto::billing::v1::{AttestationType, NewCustomer};
use rust_decimal::Decimal;
use sqlx::{PgConnection, PgExecutor};

use super::verify_codes::{GOOD_FOR, TRIES};
use crate::vocabulary::personal::PersonalKeys;

/// The encrypted numbers of customers, a column each.
#[derive(Debug, Default)]
pub struct Numbers {
    certificates: Vec<Option<Vec<u8>>>,
    tax_numbers: Vec<Option<Vec<u8>>>,
    bank_accounts: Vec<Option<Vec<u8>>>,
}

impl Numbers {
    /// Encrypts the numbers of new customers.
    ///
    /// # Errors
    /// Never for keys that were parsed.
    pub fn seal(
        keys: &PersonalKeys,
        company_id: &str,
        customer_ids: &[String],
        customers: &[NewCustomer],
    ) -> anyhow::Result<Self> {
        let mut numbers = Self::default();
        for (id, customer) in customer_ids.iter().zip(customers) {
            numbers.certificates.push(keys.seal(company_id, id, &customer.certificate_number)?);
            numbers.tax_numbers.push(keys.seal(company_id, id, &customer.tax_number)?);
            numbers.bank_accounts.push(keys.seal(company_id, id, &customer.bank_account)?);
        }
        Ok(numbers)
    }
}

/// Issues a code for a phone; the one before is void.
///
/// # Errors
/// Returns the database's error.
pub async fn issue(tx: &mut PgConnection, call: &Call, phone_hash: &[u8], code_hash: &[u8]) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO verify_code (company_id, phone_hash, code_hash, expires_at, tries_left) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (company_id, phone_hash) DO UPDATE
         SET (code_hash, expires_at, tries_left) = (excluded.code_hash, excluded.expires_at, excluded.tries_left)",
        call.tenant.id,
        phone_hash,
        code_hash,
        call.at + GOOD_FOR,
        TRIES,
    )
    .execute(tx)
    .named("verify_code_issue")
    .await?;
    Ok(())
}

/// Takes a try of the codes of phones, and returns the codes that had one, by phone.
///
/// # Errors
/// Returns the database's error.
pub async fn take_tries(
    executor: impl PgExecutor<'_>,
    call: &Call,
    phone_hashes: &[Vec<u8>],
) -> Result<HashMap<Vec<u8>, Vec<u8>>, communal_kit::refusal::Refusal> {
    let codes = sqlx::query!(
        "UPDATE verify_code SET tries_left = tries_left - 1
         WHERE company_id = $1 AND phone_hash = ANY($2) AND tries_left > 0 AND expires_at > $3
         RETURNING phone_hash, code_hash",
        call.tenant.id,
        phone_hashes,
        call.at,
    )
    .fetch_all(executor)
    .named("verify_code_try")
    .await?;
    Ok(codes.into_iter().map(|row| (row.phone_hash, row.code_hash)).collect())
}

/// Uses codes up, and returns those that were still there, by phone.
///
/// # Errors
/// Returns the database's error.
pub async fn use_codes(
    tx: &mut PgConnection,
    call: &Call,
    code_hashes: &[Vec<u8>],
) -> Result<HashMap<Vec<u8>, Vec<u8>>, sqlx::Error> {
    let used = sqlx::query!(
        "DELETE FROM verify_code WHERE company_id = $1 AND code_hash = ANY($2) RETURNING phone_hash, code_hash",
        call.tenant.id,
        code_hashes,
    )
    .fetch_all(tx)
    .named("verify_code_use")
    .await?;
    Ok(used.into_iter().map(|row| (row.phone_hash, row.code_hash)).collect())
}

/// Returns the places, from 0, of the new customers whose certificate has a customer, or comes twice.
///
/// # Errors
/// Returns the database's error.
pub async fn taken(
    tx: &mut PgConnection,
    call: &Call,
    customers: &[NewCustomer],
    certificates: &[Vec<u8>],
) -> Result<Vec<i64>, sqlx::Error> {
    let kinds: Vec<_> = customers.iter().map(|c| c.certificate_kind().code()).collect();
    sqlx::query_scalar!(
        r#"SELECT place - 1 AS "place!"
           FROM (SELECT *, row_number() OVER (PARTITION BY kind, hash ORDER BY place) AS nth
                 FROM unnest($2::text[], $3::bytea[]) WITH ORDINALITY AS given (kind, hash, place)) AS new
           WHERE nth > 1 OR EXISTS (
               SELECT FROM customer c
               WHERE c.company_id = $1 AND c.certificate_hash = new.hash AND c.certificate_kind = new.kind)
           ORDER BY place"#,
        call.tenant.id,
        kinds as _,
        certificates,
    )
    .fetch_all(tx)
    .named("customer_taken")
    .await
}

/// Makes identifiers of customers.
///
/// # Errors
/// Returns the database's error.
pub async fn new_ids(tx: &mut PgConnection, count: usize) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT 'K' || nextval('customer_number') AS "id!" FROM generate_series(1, $1)"#,
        i32::try_from(count).unwrap_or(i32::MAX),
    )
    .fetch_all(tx)
    .named("customer_ids")
    .await
}

/// Adds customers under these identifiers. They are attested: an operator has seen the certificate.
///
/// # Errors
/// Returns the database's error; it violates `customer_certificate` if a certificate has a customer.
pub async fn add(
    tx: &mut PgConnection,
    call: &Call,
    customer_ids: &[String],
    customers: &[NewCustomer],
    certificates: &[Vec<u8>],
    numbers: &Numbers,
    passwords: &[String],
) -> Result<(), sqlx::Error> {
    let column = |value: fn(&NewCustomer) -> &str| customers.iter().map(value).collect::<Vec<_>>();
    sqlx::query!(
        "INSERT INTO customer (company_id, customer_id, kind, certificate_kind, certificate_sealed, certificate_hash,
             name, phone, password_hash, region, address, tax_number_sealed, telephone, bank_account_sealed, bank_name,
             email, attestation)
         SELECT $1, new.*, $17
         FROM unnest($2::text[], $3::text[], $4::text[], $5::bytea[], $6::bytea[], $7::text[], $8::text[], $9::text[],
             $10::text[], $11::text[], $12::bytea[], $13::text[], $14::bytea[], $15::text[], $16::text[]) AS new",
        call.tenant.id,
        customer_ids,
        column(|c| c.customer_kind().code()) as _,
        column(|c| c.certificate_kind().code()) as _,
        numbers.certificates.as_slice() as _,
        certificates,
        column(|c| &c.customer_name) as _,
        column(|c| &c.mobile_phone) as _,
        passwords,
        column(|c| &c.region_code) as _,
        column(|c| &c.address) as _,
        numbers.tax_numbers.as_slice() as _,
        column(|c| &c.telephone) as _,
        numbers.bank_accounts.as_slice() as _,
        column(|c| &c.bank_name) as _,
        column(|c| &c.email) as _,
        AttestationType::Attested.stored(),
    )
    .execute(tx)
    .named("customer_add")
    .await?;
    Ok(())
}

/// Returns whether the company has a customer that is not forgotten.
///
/// # Errors
/// Returns the database's error.
pub async fn exists(tx: &mut PgConnection, call: &Call, customer_id: &str) -> Result<bool, sqlx::Error> {
    let found = sqlx::query_scalar!(
        r#"SELECT forgotten_at IS NULL AS "known!" FROM customer WHERE company_id = $1 AND customer_id = $2 FOR KEY SHARE"#,
        call.tenant.id,
        customer_id,
    )
    .fetch_optional(tx)
    .named("customer_known")
    .await?;
    Ok(found.unwrap_or_default())
}

/// What stands against forgetting a customer.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // the names say it
pub struct Standing {
    pub forgotten: bool,
    pub open_accounts: i64,
    /// Transfers under way that lead to it.
    pub transfers: i64,
    /// What its accounts owe.
    pub outstanding: Decimal,
    /// Its funds that are not at nothing: what it owes for an account that others have now, or has to its credit.
    pub funds: Decimal,
}

impl Standing {
    /// What stands against forgetting the customer, as what is said of it.
    #[must_use]
    pub fn against(&self) -> Option<String> {
        let Self { forgotten: _, open_accounts, transfers, outstanding, funds } = self;
        if *open_accounts > 0 {
            Some(format!("has {open_accounts} settlement accounts that are not closed"))
        } else if *transfers > 0 {
            Some(format!("is about to get {transfers} settlement accounts by transfer"))
        } else if !outstanding.is_zero() {
            Some(format!("has accounts that owe {outstanding}"))
        } else if !funds.is_zero() {
            Some(format!("owes for accounts that it had, or has to its credit: {funds} in all its funds"))
        } else {
            None
        }
    }
}

/// Locks a customer and returns what stands against forgetting it: accounts that are not closed, which it pays or uses, what
/// they owe, accounts that are about to be its, and money. `None` if the company has no such customer.
///
/// # Errors
/// Returns the database's error.
pub async fn lock_standing(
    tx: &mut PgConnection,
    call: &Call,
    customer_id: &str,
) -> Result<Option<Standing>, sqlx::Error> {
    sqlx::query!(
        "SELECT FROM customer WHERE company_id = $1 AND customer_id = $2 FOR UPDATE",
        call.tenant.id,
        customer_id,
    )
    .execute(&mut *tx)
    .named("customer_lock")
    .await?;
    sqlx::query_as!(
        Standing,
        r#"WITH accounts AS (
               SELECT a.settlement_account_id, a.state
               FROM settlement_account a JOIN user_account u USING (company_id, user_account_id)
               WHERE a.company_id = $1 AND (u.customer_id = $2 OR a.using_customer_id = $2))
           SELECT c.forgotten_at IS NOT NULL AS "forgotten!",
               (SELECT count(*) FROM accounts WHERE state NOT IN ('3', '4')) AS "open_accounts!",
               (SELECT coalesce(sum(outstanding), 0) FROM outstanding_of_accounts(
                    $1, (SELECT array_agg(settlement_account_id) FROM accounts))) AS "outstanding!",
               (SELECT count(*) FROM user_account u JOIN business_process p
                    ON p.company_id = u.company_id AND p.new_user_account_id = u.user_account_id
                WHERE u.company_id = $1 AND u.customer_id = $2 AND p.completed_at IS NULL) AS "transfers!",
               (SELECT coalesce(sum(abs(b.balance)), 0) FROM balance b
                WHERE b.company_id = $1 AND b.customer_id = $2) AS "funds!"
           FROM customer c WHERE c.company_id = $1 AND c.customer_id = $2"#,
        call.tenant.id,
        customer_id,
    )
    .fetch_optional(tx)
    .named("customer_standing")
    .await
}

/// Blanks what is personal of a locked customer, of its user accounts and of what hangs on them. Identifiers, states and
/// quantities stay: the history of the money refers to them.
///
/// # Errors
/// Returns the database's error.
pub async fn forget(tx: &mut PgConnection, call: &Call, customer_id: &str) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE meter_point p SET address = ''
         FROM settlement_account a JOIN user_account u USING (company_id, user_account_id)
         WHERE a.company_id = $1 AND u.customer_id = $2 AND p.company_id = $1
             AND p.settlement_account_id = a.settlement_account_id",
        call.tenant.id,
        customer_id,
    )
    .execute(&mut *tx)
    .named("meter_point_forget")
    .await?;
    sqlx::query!(
        "UPDATE settlement_account a SET name = '', address = '', remark = '', contract_number = ''
         FROM user_account u
         WHERE a.company_id = $1 AND u.company_id = $1 AND u.customer_id = $2 AND a.user_account_id = u.user_account_id",
        call.tenant.id,
        customer_id,
    )
    .execute(&mut *tx)
    .named("settlement_account_forget")
    .await?;
    sqlx::query!(
        "UPDATE user_account SET name = '', region = '', address = '', map_name = '', longitude = 0, latitude = 0
         WHERE company_id = $1 AND customer_id = $2",
        call.tenant.id,
        customer_id,
    )
    .execute(&mut *tx)
    .named("user_account_forget")
    .await?;
    sqlx::query!(
        "UPDATE customer SET forgotten_at = $3, certificate_sealed = NULL, certificate_hash = NULL, name = '', phone = '',
             password_hash = '', region = '', address = '', tax_number_sealed = NULL, telephone = '',
             bank_account_sealed = NULL, bank_name = '', email = ''
         WHERE company_id = $1 AND customer_id = $2",
        call.tenant.id,
        customer_id,
        call.at,
    )
    .execute(tx)
    .named("customer_forget")
    .await?;
    Ok(())
}
