//! The statements of the ledger. Every query is bound by the company.
//!
//! Lock order: the balances of customers by customer and fund, after everything of the archive and of billing points. The
//! tenant travels with each key, in arrays, as in `metering/points/store/mod.rs`.

use chrono::NaiveDate;
use communal_kit::call::Call;
use communal_kit::database::Statement as _;
use communal_kit::database::copy::CopyRows;
use communal_kit::database::errors::{all_found, broken};
use communal_kit::database::stored::Stored;
use communal_proto::Coded as _;
use communal_proto::billing::v1::FundType;
use rust_decimal::Decimal;
use sqlx::PgConnection;

use super::chain::{Balance, Balances, Fund, Posting, in_cents};

/// Locks the funds of customers and returns their balances. A customer's receivable is the lock of all its funds; one that
/// has none yet gets it.
///
/// # Errors
/// Returns the database's error.
pub async fn lock(tx: &mut PgConnection, call: &Call, customer_ids: &[&str]) -> Result<Balances, sqlx::Error> {
    let companies = vec![call.tenant.id.clone(); customer_ids.len()];
    let mut balances = receivables(tx, &companies, customer_ids).await?;
    if balances.len() < customer_ids.len() {
        let is_new = |id: &&&str| !balances.contains_key(&((**id).to_owned(), Fund::of(FundType::Receivable)));
        sqlx::query!(
            "INSERT INTO balance (company_id, customer_id, fund, entry, balance)
             SELECT $1, customer_id, '2', 0, 0 FROM unnest($2::text[]) AS new (customer_id) ORDER BY customer_id
             ON CONFLICT DO NOTHING",
            call.tenant.id,
            customer_ids.iter().filter(is_new).copied().collect::<Vec<_>>() as _,
        )
        .execute(&mut *tx)
        .named("balance_begin")
        .await?;
        balances = receivables(tx, &companies, customer_ids).await?;
    }
    // Read under the lock: rows that another transaction added before it was ours are seen.
    let rows = sqlx::query!(
        r#"SELECT b.customer_id, b.fund AS "fund: Stored<FundType>", b.entry, b.balance
           FROM (SELECT k.* FROM unnest($1::text[], $2::text[]) AS k (company_id, customer_id) OFFSET 0) AS own
           JOIN balance b ON b.company_id = own.company_id AND b.customer_id = own.customer_id AND b.fund <> '2'"#,
        &companies,
        customer_ids as _,
    )
    .fetch_all(tx)
    .named("balance_read")
    .await?;
    balances.extend(
        rows.into_iter()
            .map(|row| ((row.customer_id, Fund::of(row.fund.0)), Balance { entry: row.entry, amount: row.balance })),
    );
    Ok(balances)
}

async fn receivables(
    tx: &mut PgConnection,
    companies: &[String],
    customer_ids: &[&str],
) -> Result<Balances, sqlx::Error> {
    let rows = sqlx::query!(
        "SELECT b.customer_id, b.entry, b.balance
         FROM (SELECT k.*, '2' AS fund FROM unnest($1::text[], $2::text[]) AS k (company_id, customer_id)
               OFFSET 0) AS own
         JOIN balance b ON b.company_id = own.company_id AND b.customer_id = own.customer_id AND b.fund = own.fund
         ORDER BY b.customer_id
         FOR UPDATE OF b",
        companies,
        customer_ids as _,
    )
    .fetch_all(tx)
    .named("balance_lock")
    .await?;
    let receivable = Fund::of(FundType::Receivable);
    let balance = |entry, amount| Balance { entry, amount };
    Ok(rows.into_iter().map(|r| ((r.customer_id, receivable), balance(r.entry, r.balance))).collect())
}

/// Returns the number of a new posting.
///
/// # Errors
/// Returns the database's error.
pub async fn posting_number(tx: &mut PgConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(r#"SELECT nextval('posting_number') AS "number!""#).fetch_one(tx).named("posting_number").await
}

/// Writes a posting on locked funds: its entries, the balances after them, and its part of the inner accounts.
///
/// # Errors
/// Returns the database's error, and an error of encoding if the posting does not add up to zero.
pub async fn write(
    tx: &mut PgConnection,
    call: &Call,
    posting_id: i64,
    operation_date: NaiveDate,
    posting: &Posting,
) -> Result<(), sqlx::Error> {
    if posting.sum() != Some(Decimal::ZERO) {
        return Err(broken(format!("posting {posting_id} does not add up to zero")));
    }
    sqlx::query!(
        "INSERT INTO posting (company_id, posting_id, operation_date, revenue, cash) VALUES ($1, $2, $3, $4, $5)",
        call.tenant.id,
        posting_id,
        operation_date,
        in_cents(posting.revenue),
        in_cents(posting.cash),
    )
    .execute(&mut *tx)
    .named("posting_write")
    .await?;
    if posting.entries.is_empty() {
        return Ok(());
    }
    let (known, new): (Vec<_>, Vec<_>) = posting.moved().partition(|(id, fund, _)| posting.began_with(id, *fund));
    let done = sqlx::query!(
        "UPDATE balance b SET entry = own.entry, balance = own.balance
         FROM (SELECT k.* FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::numeric[])
                   AS k (company_id, customer_id, fund, entry, balance)
               OFFSET 0) AS own
         WHERE b.company_id = own.company_id AND b.customer_id = own.customer_id AND b.fund = own.fund",
        vec![call.tenant.id.as_str(); known.len()] as _,
        known.iter().map(|(id, ..)| *id).collect::<Vec<_>>() as _,
        known.iter().map(|(_, fund, _)| fund.code()).collect::<Vec<_>>() as _,
        &known.iter().map(|(.., balance)| balance.entry).collect::<Vec<_>>(),
        &known.iter().map(|(.., balance)| in_cents(balance.amount)).collect::<Vec<_>>(),
    )
    .execute(&mut *tx)
    .named("balance_move")
    .await?;
    all_found("balance_move", done.rows_affected(), known.len())?;
    if !new.is_empty() {
        sqlx::query!(
            "INSERT INTO balance (company_id, customer_id, fund, entry, balance)
             SELECT $1, customer_id, fund, entry, balance
             FROM unnest($2::text[], $3::text[], $4::bigint[], $5::numeric[])
                 AS new (customer_id, fund, entry, balance)",
            call.tenant.id,
            new.iter().map(|(id, ..)| *id).collect::<Vec<_>>() as _,
            new.iter().map(|(_, fund, _)| fund.code()).collect::<Vec<_>>() as _,
            &new.iter().map(|(.., balance)| balance.entry).collect::<Vec<_>>(),
            &new.iter().map(|(.., balance)| in_cents(balance.amount)).collect::<Vec<_>>(),
        )
        .execute(&mut *tx)
        .named("balance_add")
        .await?;
    }
    let mut entries = CopyRows::new(13);
    let mut put_all = || {
        for entry in &posting.entries {
            entries.begin_row();
            entries.put(call.tenant.id.as_str())?;
            entries.put(entry.customer_id.as_str())?;
            entries.put(entry.movement.fund.code())?;
            entries.put(entry.number)?;
            entries.put(entry.account_month)?;
            entries.put(posting_id)?;
            entries.put(operation_date)?;
            entries.put(entry.serial.as_str())?;
            entries.put(entry.movement.kind.code())?;
            entries.put(in_cents(entry.previous))?;
            entries.put(in_cents(entry.movement.debit))?;
            entries.put(in_cents(entry.movement.credit))?;
            entries.put(in_cents(entry.balance))?;
        }
        Ok(())
    };
    put_all().map_err(sqlx::Error::Encode)?;
    let copying = async {
        let table = "COPY ledger (company_id, customer_id, fund, entry, account_month, posting_id, operation_date, serial, \
            business_kind, previous, debit, credit, balance) FROM STDIN WITH (FORMAT binary)";
        entries.send(tx, table).await
    };
    copying.named("ledger_copy").await
}
