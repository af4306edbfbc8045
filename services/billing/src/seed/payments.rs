//! The payments of the bills that Communal made itself: within some days most customers pay, as what they owe is written off
//! by money that came in.

use std::collections::{BTreeMap, HashMap, HashSet};

use anyhow::Context;
use chrono::{Days, NaiveDate};
use communal_kit::call::Call;
use communal_kit::database::errors::{all_found, broken};
use communal_kit::database::{Statement as _, look_up_by_keys};
use communal_kit::money::{CENTS, round};
use communal_kit::pool::Pool;
use communal_kit::write::run_as;
use rust_decimal::Decimal;
use sqlx::{PgConnection, PgExecutor};

use super::lines::Account;
use super::usage::{Paid, month_day, month_end, usage};
use crate::charge_off::draw::levy_after;
use crate::ledger;
use crate::ledger::chain::Posting;
use crate::ledger::movements::Event;
use crate::receivables::allocation::{allocate, due};
use crate::receivables::store::{OpenLine, Payment, lock_open_of, pay};
use crate::vocabulary::dates::AccountMonth;

/// Payments in one transaction.
const PAYMENTS: usize = 1_000;

/// A bill that is paid.
struct Payer {
    account_id: String,
    customer_id: String,
    payment_id: String,
    paid: Paid,
}

/// Those of the accounts that pay the bill of a month, by the days on which they do.
fn payers(accounts: &[Account], month: u32) -> anyhow::Result<BTreeMap<NaiveDate, Vec<Payer>>> {
    let (account_month, charged_off) = (AccountMonth::of(month_day(month)?), month_end(month)?);
    let mut payers = BTreeMap::<_, Vec<_>>::new();
    for account in accounts {
        let used = usage(account, month + 1).last().context("a month of the demo data has no usage")?;
        if used.paid == Paid::NotAtAll {
            continue;
        }
        let paid_on = charged_off.checked_add_days(Days::new(used.days_to_pay)).context("a day is out of range")?;
        payers.entry(paid_on).or_default().push(Payer {
            account_id: account.id(),
            customer_id: account.customer_id(),
            payment_id: account.payment_id(account_month),
            paid: used.paid,
        });
    }
    Ok(payers)
}

/// Pays the bills of a month, which is its place from the demo's first on. What is paid already stays.
pub(super) async fn pay_bills(pool: &Pool, call: &Call, accounts: &[Account], month: u32) -> anyhow::Result<()> {
    let account_month = AccountMonth::of(month_day(month)?);
    for (paid_on, payers) in payers(accounts, month)? {
        for payers in payers.chunks(PAYMENTS) {
            let done = run_as(pool, call, async |tx| {
                look_up_by_keys(tx).await?;
                let booked = booked(&mut *tx, &call.tenant.id, paid_on, payers).await?;
                let due: Vec<_> = payers.iter().filter(|payer| !booked.contains(&payer.payment_id)).collect();
                Ok(write_off(tx, call, account_month, paid_on, &due).await?)
            });
            done.await?;
        }
    }
    Ok(())
}

/// Returns true if the bills of a month are paid by all who pay them.
pub(super) async fn are_paid(pool: &Pool, company_id: &str, accounts: &[Account], month: u32) -> anyhow::Result<bool> {
    for (paid_on, payers) in payers(accounts, month)? {
        if booked(pool, company_id, paid_on, &payers).await?.len() < payers.len() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Returns the serials of those of the payments that are in the ledger.
async fn booked(
    executor: impl PgExecutor<'_>,
    company_id: &str,
    paid_on: NaiveDate,
    payers: &[Payer],
) -> Result<HashSet<String>, sqlx::Error> {
    let serials = sqlx::query_scalar!(
        "SELECT l.serial
         FROM (SELECT k.*, '2' AS fund
               FROM unnest($1::text[], $2::text[], $3::integer[], $4::text[])
                   AS k (company_id, customer_id, account_month, serial)
               OFFSET 0) AS own
         JOIN ledger l ON l.company_id = own.company_id AND l.customer_id = own.customer_id AND l.fund = own.fund
             AND l.account_month = own.account_month AND l.serial = own.serial",
        vec![company_id; payers.len()] as _,
        payers.iter().map(|payer| payer.customer_id.as_str()).collect::<Vec<_>>() as _,
        &vec![AccountMonth::of(paid_on).number(); payers.len()],
        payers.iter().map(|payer| payer.payment_id.as_str()).collect::<Vec<_>>() as _,
    )
    .fetch_all(executor)
    .named("demo_payments")
    .await?;
    Ok(serials.into_iter().collect())
}

/// Writes off what payers owe for a month: a posting of all.
async fn write_off(
    tx: &mut PgConnection,
    call: &Call,
    account_month: AccountMonth,
    paid_on: NaiveDate,
    payers: &[&Payer],
) -> Result<(), sqlx::Error> {
    if payers.is_empty() {
        return Ok(());
    }
    let mut customers: Vec<_> = payers.iter().map(|payer| payer.customer_id.as_str()).collect();
    customers.sort_unstable();
    let mut posting = Posting::on(ledger::store::lock(tx, call, &customers).await?);
    let posting_id = ledger::store::posting_number(tx).await?;
    let accounts: Vec<_> = payers.iter().map(|payer| payer.account_id.as_str()).collect();
    let open = lock_open_of(tx, &call.tenant.id, &accounts).await?;
    let mut of_account = HashMap::<&str, Vec<&OpenLine>>::new();
    for line in open.iter().filter(|line| line.account_month == account_month.number()) {
        of_account.entry(line.settlement_account_id.as_str()).or_default().push(line);
    }
    let in_month = AccountMonth::of(paid_on);
    let mut payments = Vec::with_capacity(open.len());
    for payer in payers {
        let lines =
            of_account.get(payer.account_id.as_str()).ok_or_else(|| broken("a bill of the demo has no line"))?;
        let ranked = |line: &&OpenLine| Ok::<_, sqlx::Error>((line.rank(&line.issued()?)?, line.outstanding()?));
        let ranked: Vec<_> = lines.iter().map(ranked).collect::<Result<_, _>>()?;
        let whole = due(ranked.iter().map(|(_, outstanding)| *outstanding)).ok_or_else(out_of_range)?;
        let amount = match payer.paid {
            Paid::InPart => round(whole.checked_mul(Decimal::new(4, 1)).ok_or_else(out_of_range)?, CENTS),
            Paid::InFull | Paid::NotAtAll => whole,
        };
        let event = Event::write_off(amount, Decimal::ZERO).map_err(broken)?;
        posting.book(&payer.customer_id, in_month.number(), &payer.payment_id, &event).map_err(broken)?;
        for (place, amount) in allocate(&ranked, amount).map_err(broken)? {
            let Some(line) = lines.get(place) else { continue };
            payments.push(Payment {
                line,
                amount,
                paid_date: paid_on,
                payment_id: &payer.payment_id,
                levy_date: Some(levy_after(line.levy_date, paid_on)),
                settled_month: in_month,
            });
        }
    }
    all_found("line_pay", pay(tx, &payments).await?, payments.len())?;
    ledger::store::write(tx, call, posting_id, paid_on, &posting).await
}

fn out_of_range() -> sqlx::Error {
    broken("a sum is out of range")
}
