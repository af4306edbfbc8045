//! The statements of runs. Every query is bound by the company.
//!
//! Lock order: a chunk of a run, then what a charge-off locks (`charge_off/store/mod.rs`). Who plans a run of a scope holds an
//! advisory lock of it.

use std::time::Duration;

use chrono::NaiveDate;
use communal_kit::call::Call;
use communal_kit::database::{Statement as _, look_up_by_keys};
use communal_kit::pool::Pool;
use communal_proto::billing::v1::ParkedAccount;
use rust_decimal::Decimal;
pub use sqlx::PgConnection as Connection;
use sqlx::PgExecutor;

use super::outcome::Parked;
use super::run::{Progress, Scope};
use crate::charge_off::store::Charged;

/// Accounts of a chunk.
const CHUNK: i64 = 1_000;

/// A claimed chunk.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// Its number.
    pub chunk: i32,
    /// The book of its first account.
    pub from_book: String,
    /// Its first account.
    pub from_account: String,
    /// The book of its last account.
    pub to_book: String,
    /// Its last account.
    pub to_account: String,
}

/// What became of a chunk.
#[derive(Clone, Debug, Default)]
pub struct Done {
    /// What was charged off.
    pub charged: Charged,
    /// Accounts that were not billed.
    pub parked: Vec<Parked>,
}

/// Waits.
pub async fn wait(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// Returns true if an account month is open on a day, for any of a company's series.
///
/// # Errors
/// Returns the database's error.
pub async fn is_open(
    executor: impl PgExecutor<'_>,
    company_id: &str,
    account_month: i32,
    day: NaiveDate,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (
               SELECT FROM month_control
               WHERE company_id = $1 AND kind = 'account' AND account_month = $2 AND start_date <= $3 AND $3 < stop_date)
           AS "open!""#,
        company_id,
        account_month,
        day,
    )
    .fetch_one(executor)
    .named("run_month_open")
    .await
}

/// Returns the run of a scope that is not finished, or plans one.
///
/// # Errors
/// Returns the database's error.
pub async fn join_or_plan(tx: &mut Connection, call: &Call, scope: &Scope) -> Result<i64, sqlx::Error> {
    sqlx::query!(
        "SELECT pg_advisory_xact_lock(hashtextextended(concat_ws(' ', $1::text, $2::integer, $3::text), 5))",
        call.tenant.id,
        scope.account_month,
        scope.book_id,
    )
    .execute(&mut *tx)
    .named("run_lock")
    .await?;
    let unfinished = sqlx::query_scalar!(
        "SELECT r.run_id FROM billing_run r
         WHERE r.company_id = $1 AND r.account_month = $2 AND r.book_id = $3
             AND EXISTS (SELECT FROM run_chunk c WHERE c.company_id = $1 AND c.run_id = r.run_id AND NOT c.done)
         ORDER BY r.run_id DESC LIMIT 1",
        call.tenant.id,
        scope.account_month,
        scope.book_id,
    )
    .fetch_optional(&mut *tx)
    .named("run_unfinished")
    .await?;
    if let Some(run_id) = unfinished {
        return Ok(run_id);
    }
    let run_id = sqlx::query_scalar!(
        "INSERT INTO billing_run (company_id, account_month, book_id) VALUES ($1, $2, $3) RETURNING run_id",
        call.tenant.id,
        scope.account_month,
        scope.book_id,
    )
    .fetch_one(&mut *tx)
    .named("run_begin")
    .await?;
    sqlx::query!(
        "INSERT INTO run_chunk (company_id, run_id, chunk, from_book, from_account, to_book, to_account, accounts)
         SELECT $1, $2, (place - 1) / $4 + 1, min(book_id) FILTER (WHERE (place - 1) % $4 = 0),
             min(settlement_account_id) FILTER (WHERE (place - 1) % $4 = 0),
             min(book_id) FILTER (WHERE place % $4 = 0 OR place = total),
             min(settlement_account_id) FILTER (WHERE place % $4 = 0 OR place = total), count(*)
         FROM (SELECT book_id, settlement_account_id,
                   row_number() OVER (ORDER BY book_id, settlement_account_id) AS place, count(*) OVER () AS total
               FROM meter_point WHERE company_id = $1 AND $3 IN ('', book_id)) AS ordered
         GROUP BY (place - 1) / $4",
        call.tenant.id,
        run_id,
        scope.book_id,
        CHUNK,
    )
    .execute(tx)
    .named("run_plan")
    .await?;
    Ok(run_id)
}

/// Claims the next chunk of a run that is neither done nor held by another process.
///
/// # Errors
/// Returns the database's error.
pub async fn claim(tx: &mut Connection, call: &Call, run_id: i64) -> Result<Option<Chunk>, sqlx::Error> {
    look_up_by_keys(tx).await?;
    sqlx::query_as!(
        Chunk,
        "SELECT chunk, from_book, from_account, to_book, to_account FROM run_chunk
         WHERE company_id = $1 AND run_id = $2 AND NOT done ORDER BY chunk LIMIT 1
         FOR UPDATE SKIP LOCKED",
        call.tenant.id,
        run_id,
    )
    .fetch_optional(tx)
    .named("run_claim")
    .await
}

/// Locks the accounts of a chunk and returns them, by identifier.
///
/// # Errors
/// Returns the database's error.
pub async fn lock_accounts(tx: &mut Connection, call: &Call, chunk: &Chunk) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!(
        "SELECT a.settlement_account_id
         FROM meter_point mp
         JOIN settlement_account a ON a.company_id = mp.company_id AND a.settlement_account_id = mp.settlement_account_id
         WHERE mp.company_id = $1 AND (mp.book_id, mp.settlement_account_id) >= ($2, $3)
             AND (mp.book_id, mp.settlement_account_id) <= ($4, $5)
         ORDER BY a.settlement_account_id
         FOR UPDATE OF a",
        call.tenant.id,
        chunk.from_book,
        chunk.from_account,
        chunk.to_book,
        chunk.to_account,
    )
    .fetch_all(tx)
    .named("run_accounts")
    .await
}

/// Returns those of the accounts that have no bill of a normal point of the month.
///
/// # Errors
/// Returns the database's error.
pub async fn unbilled<'i>(
    tx: &mut Connection,
    call: &Call,
    account_month: i32,
    ids: &[&'i str],
) -> Result<Vec<&'i str>, sqlx::Error> {
    let billed = sqlx::query_scalar!(
        "SELECT b.settlement_account_id
         FROM (SELECT k.*, '1' AS kind, 0 AS number
               FROM unnest($1::text[], $2::text[], $3::integer[])
                   AS k (company_id, settlement_account_id, account_month)
               OFFSET 0) AS own
         JOIN bill b ON b.company_id = own.company_id AND b.settlement_account_id = own.settlement_account_id
             AND b.account_month = own.account_month AND b.kind = own.kind AND b.number = own.number",
        vec![call.tenant.id.as_str(); ids.len()] as _,
        ids as _,
        &vec![account_month; ids.len()],
    )
    .fetch_all(tx)
    .named("run_billed")
    .await?;
    let billed: std::collections::HashSet<_> = billed.iter().map(String::as_str).collect();
    Ok(ids.iter().copied().filter(|id| !billed.contains(id)).collect())
}

/// Notes which accounts of a chunk are parked; what an earlier run noted of the others is gone. The accounts are by identifier.
///
/// # Errors
/// Returns the database's error.
pub async fn park(
    tx: &mut Connection,
    call: &Call,
    account_month: i32,
    run_id: i64,
    ids: &[&str],
    parked: &[Parked],
) -> Result<(), sqlx::Error> {
    if were_parked(tx, call, account_month, ids).await? {
        sqlx::query!(
            "DELETE FROM parked_account
             WHERE company_id = $1 AND account_month = $2 AND settlement_account_id = ANY($3)",
            call.tenant.id,
            account_month,
            ids as _,
        )
        .execute(&mut *tx)
        .named("parked_forget")
        .await?;
    }
    if parked.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "INSERT INTO parked_account (company_id, account_month, settlement_account_id, book_id, reason, description,
             description_text, run_id)
         SELECT $1, $2, settlement_account_id, book_id, reason, description, description_text, $3
         FROM unnest($4::text[], $5::text[], $6::text[], $7::text[], $8::text[])
             AS new (settlement_account_id, book_id, reason, description, description_text)
         ORDER BY settlement_account_id",
        call.tenant.id,
        account_month,
        run_id,
        parked.iter().map(|p| p.settlement_account_id.as_str()).collect::<Vec<_>>() as _,
        parked.iter().map(|p| p.book_id.as_str()).collect::<Vec<_>>() as _,
        parked.iter().map(|p| p.reason).collect::<Vec<_>>() as _,
        parked.iter().map(|p| p.description.as_str()).collect::<Vec<_>>() as _,
        parked.iter().map(|p| p.text.as_str()).collect::<Vec<_>>() as _,
    )
    .execute(tx)
    .named("parked_note")
    .await?;
    Ok(())
}

/// Returns false if no account between the first and the last one is parked, which is so of most chunks.
async fn were_parked(tx: &mut Connection, call: &Call, account_month: i32, ids: &[&str]) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (
               SELECT FROM parked_account
               WHERE company_id = $1 AND account_month = $2 AND settlement_account_id BETWEEN $3 AND $4) AS "were!""#,
        call.tenant.id,
        account_month,
        ids.first().copied().unwrap_or_default(),
        ids.last().copied().unwrap_or_default(),
    )
    .fetch_one(tx)
    .named("parked_between")
    .await
}

/// Notes a claimed chunk as done.
///
/// # Errors
/// Returns the database's error.
pub async fn finish(
    tx: &mut Connection,
    call: &Call,
    run_id: i64,
    chunk: &Chunk,
    done: &Done,
) -> Result<(), sqlx::Error> {
    let Charged { bills, lines: _, total, drawn } = done.charged;
    let count = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
    sqlx::query!(
        "UPDATE run_chunk SET done = true, bills = $4, parked = $5, total = $6, drawn = $7
         WHERE company_id = $1 AND run_id = $2 AND chunk = $3",
        call.tenant.id,
        run_id,
        chunk.chunk,
        count(bills),
        count(done.parked.len()),
        total,
        drawn,
    )
    .execute(tx)
    .named("run_finish")
    .await?;
    Ok(())
}

/// Returns how far a run is.
///
/// # Errors
/// Returns the database's error.
pub async fn progress(executor: impl PgExecutor<'_>, company_id: &str, run_id: i64) -> Result<Progress, sqlx::Error> {
    sqlx::query_as!(
        Progress,
        r#"SELECT count(*) AS "chunks!", count(*) FILTER (WHERE done) AS "chunks_done!",
               coalesce(sum(accounts), 0)::bigint AS "accounts!",
               coalesce(sum(accounts) FILTER (WHERE done), 0)::bigint AS "accounts_done!",
               coalesce(sum(bills), 0)::bigint AS "bills!", coalesce(sum(parked), 0)::bigint AS "parked!",
               coalesce(sum(total), 0) AS "total!: Decimal", coalesce(sum(drawn), 0) AS "drawn!: Decimal"
           FROM run_chunk WHERE company_id = $1 AND run_id = $2"#,
        company_id,
        run_id,
    )
    .fetch_one(executor)
    .named("run_progress")
    .await
}

/// Gives the partitions of a month statistics.
///
/// # Errors
/// Returns the database's error.
pub async fn analyze(pool: &Pool, account_month: i32) -> Result<(), sqlx::Error> {
    sqlx::query!("SELECT FROM analyze_account_month($1)", account_month).execute(pool).named("run_analyze").await?;
    Ok(())
}

/// Accounts of a month that are parked for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParkedFor {
    /// The reason.
    pub reason: String,
    /// How many there are.
    pub accounts: i64,
}

/// Returns how many accounts of a scope are parked, by reason, most first.
///
/// # Errors
/// Returns the database's error.
pub async fn parked_by_reason(
    executor: impl PgExecutor<'_>,
    company_id: &str,
    scope: &Scope,
) -> Result<Vec<ParkedFor>, sqlx::Error> {
    sqlx::query_as!(
        ParkedFor,
        r#"SELECT reason, count(*) AS "accounts!" FROM parked_account
           WHERE company_id = $1 AND account_month = $2 AND $3 IN ('', book_id)
           GROUP BY reason ORDER BY count(*) DESC, reason"#,
        company_id,
        scope.account_month,
        scope.book_id,
    )
    .fetch_all(executor)
    .named("parked_by_reason")
    .await
}

/// Returns parked accounts of a month, of all books or one, by account, after an account.
///
/// # Errors
/// Returns the database's error.
pub async fn parked(
    executor: impl PgExecutor<'_>,
    company_id: &str,
    scope: &Scope,
    after: &str,
    limit: i64,
) -> Result<Vec<ParkedAccount>, sqlx::Error> {
    sqlx::query_as!(
        ParkedAccount,
        "SELECT settlement_account_id, book_id, reason, description_text AS text, description FROM parked_account
         WHERE company_id = $1 AND account_month = $2 AND $3 IN ('', book_id) AND settlement_account_id > $4
         ORDER BY settlement_account_id LIMIT $5",
        company_id,
        scope.account_month,
        scope.book_id,
        after,
        limit,
    )
    .fetch_all(executor)
    .named("parked_list")
    .await
}
