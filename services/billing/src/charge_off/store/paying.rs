//! The draw of available funds after bills.

use std::collections::{HashMap, HashSet};

use chrono::NaiveDate;
use communal_kit::call::Call;
use communal_kit::database::Statement as _;
use communal_kit::database::errors::{all_found, broken};
use communal_proto::billing::v1::{FundType, ReceivableLine};
use rust_decimal::Decimal;
use sqlx::PgConnection;

use super::{Billed, SettledMonths, with_funds};
use crate::charge_off::Settings;
use crate::charge_off::draw::{self, OpenLine};
use crate::ledger::chain::Posting;
use crate::ledger::movements::Event;
use crate::receivables;
use crate::receivables::allocation::due;
use crate::receivables::penalty::Late;
use crate::receivables::store::{Part, Payment};
use crate::reference::month_controls::{Kind, Series};

/// Pays open lines of the customers of bills out of their available funds: a draw a customer. Returns what was drawn.
///
/// They are the lines that this company billed to the customer, also of an account that another customer has now, and imported
/// ones that name the customer: whoever issued a line, it is paid in its turn.
pub(super) async fn draw(
    tx: &mut PgConnection,
    call: &Call,
    today: NaiveDate,
    settings: &Settings,
    bills: &[Billed<'_>],
    posting: &mut Posting,
    months: &mut SettledMonths,
) -> Result<Decimal, sqlx::Error> {
    let customers = with_funds(bills, posting);
    if customers.is_empty() {
        return Ok(Decimal::ZERO);
    }
    let customers: Vec<_> = customers.into_iter().collect();
    let accounts = accounts_of(tx, call, &customers).await?;
    let accounts: Vec<_> = accounts.iter().map(String::as_str).collect();
    let open = receivables::store::lock_open_of(tx, &call.tenant.id, &accounts).await?;
    let own = own_bills(tx, call, &open).await?;
    let mut of_customer = HashMap::<String, Vec<(usize, ReceivableLine)>>::new();
    for (place, line) in open.iter().enumerate() {
        // A network company sees what others bill in its area to customers of theirs.
        let is_own = match line.is_imported() {
            true => line.retail_company_id == call.tenant.id,
            false => own.contains(&line.charge_off_id),
        };
        if is_own {
            let issued = line.issued()?;
            of_customer.entry(issued.customer_id.clone()).or_default().push((place, issued));
        }
    }
    let (mut drawn, mut payments) = (Decimal::ZERO, Vec::new());
    for customer_id in customers {
        let Some(lines) = of_customer.get(customer_id) else { continue };
        let mut candidates = Vec::with_capacity(lines.len());
        for (place, issued) in lines {
            let Some(line) = open.get(*place) else { continue };
            candidates.push(open_line(line, issued)?);
        }
        let available = posting.balance(customer_id, FundType::Available);
        let paid = draw::draw(available, &candidates, &settings.penalty_rates, today).map_err(broken)?;
        if paid.principal.is_zero() {
            continue;
        }
        let account_month = bills
            .iter()
            .filter(|billed| billed.point.snapshot.customer_id == customer_id)
            .map(|billed| billed.point.key.account_month)
            .max()
            .unwrap_or_default();
        let serial = format!("Q{:015}", draw_number(tx).await?);
        let imported = paid.parts.iter().filter_map(|(place, part)| {
            let (place, _) = lines.get(*place)?;
            open.get(*place).filter(|line| line.is_imported()).map(|_| *part)
        });
        let imported = due(imported).ok_or_else(|| broken("a sum is out of range"))?;
        let event = Event::draw(paid.principal, paid.penalty).and_then(|event| event.with_imported(imported));
        let event = event.map_err(broken)?;
        posting.book(customer_id, account_month, &serial, &event).map_err(broken)?;
        drawn = drawn
            .checked_add(paid.principal)
            .and_then(|drawn| drawn.checked_add(paid.penalty))
            .ok_or_else(|| broken("a sum is out of range"))?;
        let parts: HashMap<_, _> = paid.parts.into_iter().collect();
        for touched in paid.touched {
            let Some((place, issued)) = lines.get(touched) else { continue };
            let series =
                Series::of(Kind::Account, &issued.network_company_id, &issued.network_store_id, issued.utility());
            let settled_month = months.of(tx, call, &series).await?;
            let amount = parts.get(&touched).copied().unwrap_or_default();
            payments.push((*place, amount, serial.clone(), (settled_month, account_month)));
        }
    }
    let parts: Vec<_> = payments
        .iter()
        .filter(|(_, amount, ..)| !amount.is_zero())
        .filter_map(|(place, amount, serial, (_, account_month))| {
            Some(Part { line: open.get(*place)?, payment_id: serial, account_month: *account_month, amount: *amount })
        })
        .collect();
    receivables::store::keep_parts(tx, call, &parts).await?;
    let payments: Vec<_> = payments
        .iter()
        .filter_map(|(place, amount, serial, (settled_month, _))| {
            let line = open.get(*place)?;
            let levy_date = Some(draw::levy_after(line.levy_date, today));
            Some(Payment {
                line,
                amount: *amount,
                paid_date: today,
                payment_id: serial,
                levy_date,
                settled_month: *settled_month,
            })
        })
        .collect();
    let found = receivables::store::pay(tx, &payments).await?;
    all_found("line_pay", found, payments.len())?;
    Ok(drawn)
}

/// An open line as the rules of a draw see it.
fn open_line(line: &receivables::store::OpenLine, issued: &ReceivableLine) -> Result<OpenLine, sqlx::Error> {
    let rank = line.rank(issued)?;
    Ok(OpenLine {
        account_month: line.account_month,
        settlement_account_id: line.settlement_account_id.clone(),
        late: Late {
            utility: issued.utility(),
            resident: issued.resident(),
            outstanding: line.outstanding()?,
            charge_off_date: rank.charge_off_date,
            levy_date: line.levy_date,
        },
        rank,
    })
}

/// Returns the serials of the company's own bills among those of open lines. A serial is of one bill.
async fn own_bills(
    tx: &mut PgConnection,
    call: &Call,
    open: &[receivables::store::OpenLine],
) -> Result<HashSet<String>, sqlx::Error> {
    let bills: HashSet<_> = open
        .iter()
        .filter(|line| !line.is_imported())
        .map(|line| (line.settlement_account_id.as_str(), line.account_month, line.charge_off_id.as_str()))
        .collect();
    if bills.is_empty() {
        return Ok(HashSet::new());
    }
    let own = sqlx::query_scalar!(
        "SELECT b.charge_off_id
         FROM (SELECT k.* FROM unnest($1::text[], $2::text[], $3::integer[], $4::text[])
                   AS k (company_id, settlement_account_id, account_month, charge_off_id) OFFSET 0) AS own
         JOIN bill b ON b.company_id = own.company_id AND b.settlement_account_id = own.settlement_account_id
             AND b.account_month = own.account_month AND b.charge_off_id = own.charge_off_id",
        vec![call.tenant.id.as_str(); bills.len()] as _,
        bills.iter().map(|(account, ..)| *account).collect::<Vec<_>>() as _,
        &bills.iter().map(|(_, month, _)| *month).collect::<Vec<_>>(),
        bills.iter().map(|(.., serial)| *serial).collect::<Vec<_>>() as _,
    );
    Ok(own.fetch_all(tx).named("bill_own").await?.into_iter().collect())
}

/// Returns the settlement accounts that customers have, or had before a transfer.
async fn accounts_of(tx: &mut PgConnection, call: &Call, customer_ids: &[&str]) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT a.settlement_account_id AS "settlement_account_id!"
         FROM (SELECT k.* FROM unnest($1::text[], $2::text[]) AS k (company_id, customer_id) OFFSET 0) AS own
         JOIN user_account u ON u.company_id = own.company_id AND u.customer_id = own.customer_id
         JOIN settlement_account a ON a.company_id = u.company_id AND a.user_account_id = u.user_account_id
         UNION
         SELECT f.settlement_account_id
         FROM (SELECT k.* FROM unnest($1::text[], $2::text[]) AS k (company_id, customer_id) OFFSET 0) AS own
         JOIN former_customer f ON f.company_id = own.company_id AND f.customer_id = own.customer_id
         ORDER BY 1"#,
        vec![call.tenant.id.as_str(); customer_ids.len()] as _,
        customer_ids as _,
    )
    .fetch_all(tx)
    .named("account_of_customers")
    .await
}

/// Returns the number of a new draw.
async fn draw_number(tx: &mut PgConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(r#"SELECT nextval('draw_number') AS "number!""#).fetch_one(tx).named("draw_number").await
}
