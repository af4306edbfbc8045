//! The statements of charge-off, and their order. Every query is bound by the company.
//!
//! Lock order: the account month, the settlement accounts by identifier, their open points by identifier and kind, the balances of
//! customers, open lines, and last the catalogue prices that a bill uses first. The tenant travels with each key, in arrays, as in
//! `metering/points/store/mod.rs`; a call of a thousand points has the statements of a call of one.

mod moves;
mod paying;
mod points;
pub mod proof;

use std::collections::{BTreeSet, HashMap};

use chrono::NaiveDate;
use communal_kit::call::Call;
use communal_kit::database::errors::broken;
use communal_proto::billing::v1::FundType;
use prost::Message as _;
use rust_decimal::Decimal;
use sqlx::PgConnection;

pub use points::{Standings, standings};

use super::Settings;
use super::bill::{Issue, IssuedBill, Point, issued};
use crate::ledger;
use crate::ledger::chain::Posting;
use crate::ledger::movements::Event;
use crate::receivables;
use crate::receivables::line::BilledLine;
use crate::reference::month_controls::{self, Kind, Series};
use crate::vocabulary::dates::AccountMonth;

/// What a charge-off did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Charged {
    /// Bills.
    pub bills: usize,
    /// Lines.
    pub lines: usize,
    /// The sum of the bills.
    pub total: Decimal,
    /// What available funds paid, penalties included.
    pub drawn: Decimal,
}

/// A point that is charged off, with its bill and serial.
struct Billed<'p> {
    point: &'p Point,
    charge_off_id: String,
    bill: IssuedBill<'p>,
}

/// Charges off locked points of a month that is open, an account once. They fit their accounts (`rules`) and keep the
/// bounds (`bill`).
///
/// # Errors
/// Returns the database's error: a point that has a bill violates `bill_pkey`. Returns an error of encoding if something that
/// was locked is not as it was read.
pub async fn charge_off(
    tx: &mut PgConnection,
    call: &Call,
    today: NaiveDate,
    settings: &Settings,
    points: &[&Point],
) -> Result<Charged, sqlx::Error> {
    if points.is_empty() {
        return Ok(Charged::default());
    }
    let customers: BTreeSet<_> = points.iter().map(|p| p.snapshot.customer_id.as_str()).collect();
    let customers: Vec<_> = customers.into_iter().collect();
    let mut posting = Posting::on(ledger::store::lock(tx, call, &customers).await?);
    let posting_id = ledger::store::posting_number(tx).await?;
    let mut bills: Vec<Billed<'_>> = Vec::with_capacity(points.len());
    for (point, number) in points.iter().zip(moves::bill_numbers(tx, points.len()).await?) {
        let charge_off_id = format!("E{number:015}");
        let grace_days = *settings.grace_days.of(point.snapshot.utility());
        let issue = Issue { charge_off_id: &charge_off_id, today, grace_days };
        let bill = issued(point, &issue).map_err(broken)?;
        posting
            .book(&point.snapshot.customer_id, point.key.account_month, &charge_off_id, &Event::bill(bill.total))
            .map_err(broken)?;
        bills.push(Billed { point, charge_off_id, bill });
    }
    moves::accumulators(tx, call, points).await?;
    moves::registers(tx, call, points).await?;
    moves::temporary_months(tx, call, points).await?;
    moves::open_points(tx, call, points).await?;
    moves::write_bills(tx, call, (posting_id, today), &bills).await?;
    let mut months = SettledMonths::new(today);
    let lines = write_lines(tx, call, today, &mut bills, &mut months).await?;
    let mut charged = Charged { bills: bills.len(), lines, total: Decimal::ZERO, drawn: Decimal::ZERO };
    for billed in &bills {
        charged.total = charged.total.checked_add(billed.bill.total).ok_or_else(|| broken("a sum is out of range"))?;
    }
    if settings.auto_draw {
        charged.drawn = paying::draw(tx, call, today, settings, &bills, &mut posting, &mut months).await?;
    }
    ledger::store::write(tx, call, posting_id, today, &posting).await?;
    moves::mark_prices(tx, points).await?;
    Ok(charged)
}

/// Writes the lines of bills, and returns how many.
async fn write_lines(
    tx: &mut PgConnection,
    call: &Call,
    today: NaiveDate,
    bills: &mut [Billed<'_>],
    months: &mut SettledMonths,
) -> Result<usize, sqlx::Error> {
    // The bytes of all lines, one after the other.
    let mut encoded = Vec::new();
    let mut ends = Vec::new();
    for IssuedBill { common, lines, .. } in bills.iter_mut().map(|billed| &mut billed.bill) {
        for line in lines {
            line.write(common);
            common.encode(&mut encoded).map_err(broken)?;
            ends.push(encoded.len());
        }
    }
    let (mut lines, mut from, mut ends) = (Vec::with_capacity(ends.len()), 0, ends.into_iter());
    for Billed { point, charge_off_id, bill } in &*bills {
        let account_month =
            AccountMonth::read(point.key.account_month).ok_or_else(|| broken("a point is of no account month"))?;
        for (line, line_number) in bill.lines.iter().zip(1..) {
            let to = ends.next().unwrap_or(from);
            let issued = encoded.get(from..to).unwrap_or_default();
            from = to;
            let closed = if line.closed { Some(months.of(tx, call, &point.snapshot.series()).await?) } else { None };
            lines.push(BilledLine {
                network_company_id: &bill.common.network_company_id,
                settlement_account_id: &point.key.settlement_account_id,
                account_month,
                charge_off_id,
                line_number,
                retail_company_id: &bill.common.retail_company_id,
                book_id: &bill.common.book_id,
                retail_store_id: &bill.common.retail_store_id,
                package_kind: bill.common.package_kind(),
                charge_off_date: today,
                levy_date: Some(bill.levy_date),
                fee: line.fee,
                closed,
                issued,
            });
        }
    }
    receivables::store::write_billed(tx, call, &lines).await?;
    Ok(lines.len())
}

/// The settle months of a day, looked up once a series.
struct SettledMonths {
    today: NaiveDate,
    known: HashMap<Series, AccountMonth>,
}

impl SettledMonths {
    fn new(today: NaiveDate) -> Self {
        Self { today, known: HashMap::new() }
    }

    /// The month in which a line of a series of account months is closed: the settle month that is open, else the account
    /// month that is, else the calendar month.
    async fn of(&mut self, tx: &mut PgConnection, call: &Call, series: &Series) -> Result<AccountMonth, sqlx::Error> {
        if let Some(month) = self.known.get(series) {
            return Ok(*month);
        }
        let settle = Series { kind: Kind::Settle, ..series.clone() };
        let open = match month_controls::store::use_open(tx, call, &settle, self.today).await? {
            Some(month) => Some(month),
            None => month_controls::store::use_open(tx, call, series, self.today).await?,
        };
        let month = open.and_then(AccountMonth::read).unwrap_or_else(|| AccountMonth::of(self.today));
        self.known.insert(series.clone(), month);
        Ok(month)
    }
}

/// The customers that have available funds after the bills of a posting.
fn with_funds<'b>(bills: &'b [Billed<'_>], posting: &Posting) -> BTreeSet<&'b str> {
    let customers = bills.iter().map(|billed| billed.point.snapshot.customer_id.as_str());
    customers.filter(|id| posting.balance(id, FundType::Available) > Decimal::ZERO).collect()
}
