//! The statements of billing points. Every query is bound by the company.
//!
//! Lock order: the account month, the settlement accounts by identifier, their open points by identifier. The tenant travels
//! with each key, in arrays: to a planner without statistics of a new month's partition, a constant beside the keys
//! would look selective. So would kind and number, which are the same in all keys: `OFFSET 0` keeps them from becoming
//! constants. A test fills a month that begins empty.

mod open;

use std::collections::HashMap;

use chrono::NaiveDate;
use communal_kit::call::Call;
use communal_kit::database::errors::broken;
use communal_kit::database::{Statement as _, look_up_by_keys};
use communal_proto::Coded as _;
use communal_proto::billing::v1::NormalRetroType;
use prost::Message as _;
use sqlx::PgConnection;

use open::open_months;
pub use open::{OpenPoint, UnchargedPoint, discard_calculations, discard_retro, lock_open, lock_uncharged, open_from};

use super::rules::{Making, Standing};
use super::snapshot::{BeyondDigits, Snapshot};
use crate::archive::billable::{self, BillableAccount, BillableRegister};
use crate::archive::settlement_accounts;
use crate::archive::settlement_accounts::lifecycle::AccountState;
use crate::packages;
use crate::packages::store::PackageRow;
use crate::vocabulary::identifiers::PackageId;

/// What the points of some accounts are made of. The accounts are locked.
#[derive(Debug, Default)]
pub struct Basis {
    accounts: HashMap<String, BillableAccount>,
    registers: HashMap<String, Vec<BillableRegister>>,
    packages: HashMap<(String, String), PackageRow>,
    standings: HashMap<String, Standing>,
}

impl Basis {
    /// Where an account stands; `None` if the company does not have it.
    #[must_use]
    pub fn standing(&self, settlement_account_id: &str) -> Option<&Standing> {
        self.standings.get(settlement_account_id)
    }

    /// The snapshot of an account; `None` if it has no meter point.
    ///
    /// # Errors
    /// Returns an error if a decimal has more digits than its column may hold.
    fn snapshot(&self, id: &str) -> Result<Option<Snapshot>, BeyondDigits> {
        let Some(account) = self.accounts.get(id) else { return Ok(None) };
        let package = |company: &str, id: &str| self.packages.get(&(company.to_owned(), id.to_owned()));
        let Some(main) = package(&account.retail_company_id, &account.main_package_id) else { return Ok(None) };
        let temporary = account.temporary_company_id.as_deref().zip(account.temporary_package_id.as_deref());
        let temporary = temporary.and_then(|(company, id)| package(company, id));
        let registers = self.registers.get(id).map_or(&[] as &[_], Vec::as_slice);
        Snapshot::take(account, registers, main, temporary).map(Some)
    }

    /// The snapshot of an account that has a meter point.
    ///
    /// # Errors
    /// Returns an error of encoding if it has none, or holds too long a decimal.
    pub fn required_snapshot(&self, id: &str) -> Result<Snapshot, sqlx::Error> {
        self.snapshot(id).map_err(broken)?.ok_or_else(|| broken(format!("{id} has no meter point")))
    }
}

/// Locks accounts and reads what their points are made of. Returns `None` if an account went to another series of account
/// months meanwhile; the transaction has to be tried again then.
///
/// # Errors
/// Returns the database's error.
pub async fn basis(
    tx: &mut PgConnection,
    call: &Call,
    ids: &[&str],
    today: NaiveDate,
) -> Result<Option<Basis>, sqlx::Error> {
    look_up_by_keys(tx).await?;
    let months = billable::store::open_months(tx, call, ids, today).await?;
    let locked = settlement_accounts::store::lock(tx, call, ids).await?;
    let mut basis = present(tx, call, ids).await?;
    let open = open_months(tx, call, ids).await?;
    for account in locked {
        let id = account.settlement_account_id;
        let mut standing =
            Standing { state: account.state.0, open_point: open.get(&id).copied(), ..Standing::default() };
        if let Some(account) = basis.accounts.get(&id) {
            let Some(month) = months.get(&account.series()) else { return Ok(None) };
            standing.open_month = *month;
        }
        basis.standings.insert(id, standing);
    }
    note_charged_off(tx, call, &mut basis.standings).await?;
    Ok(Some(basis))
}

/// Reads what points of accounts are made of at present.
async fn present(tx: &mut PgConnection, call: &Call, ids: &[&str]) -> Result<Basis, sqlx::Error> {
    let mut basis = Basis::default();
    for account in billable::store::accounts(tx, call, ids).await? {
        basis.accounts.insert(account.settlement_account_id.clone(), account);
    }
    for register in billable::store::registers(tx, call, ids).await? {
        basis.registers.entry(register.settlement_account_id.clone()).or_default().push(register);
    }
    for account in basis.accounts.values() {
        let temporary = account.temporary_company_id.as_ref().zip(account.temporary_package_id.as_ref());
        for (company, id) in [(&account.retail_company_id, &account.main_package_id)].into_iter().chain(temporary) {
            let key = (company.clone(), id.clone());
            if !basis.packages.contains_key(&key)
                && let Some(package) = packages::store::read(&mut *tx, company, &PackageId::from(id.as_str())).await?
            {
                basis.packages.insert(key, package);
            }
        }
    }
    Ok(basis)
}

/// Returns the snapshots that points of accounts would have if they were made now. Nothing is locked or written.
///
/// # Errors
/// Returns the database's error, and an error of encoding as [`make`] does.
pub async fn preview(
    connection: &mut PgConnection,
    call: &Call,
    ids: &[&str],
) -> Result<HashMap<String, Snapshot>, sqlx::Error> {
    let basis = present(connection, call, ids).await?;
    ids.iter().map(|id| Ok(((*id).to_owned(), basis.required_snapshot(id)?))).collect()
}

/// Makes outdated points of locked accounts again, in the account months that they are of.
///
/// # Errors
/// Returns the database's error, and an error of encoding as [`make`] does.
pub async fn remake(tx: &mut PgConnection, call: &Call, ids: &[&str]) -> Result<(), sqlx::Error> {
    let basis = present(tx, call, ids).await?;
    let open = open_months(tx, call, ids).await?;
    let again = |id: &&'_ str| open.get(*id).map(|month| Making::Again { from: *month, month: *month });
    let makings: Vec<_> = ids.iter().filter_map(|id| Some((*id, again(id)?))).collect();
    make(tx, call, &basis, &makings).await
}

/// Notes which accounts are charged off in their open month, and which closed ones finally: they have a point that is not
/// open.
async fn note_charged_off(
    tx: &mut PgConnection,
    call: &Call,
    standings: &mut HashMap<String, Standing>,
) -> Result<(), sqlx::Error> {
    let asked = standings.iter().filter_map(|(id, standing)| Some((id.clone(), standing.open_month?)));
    let (ids, months): (Vec<_>, Vec<_>) = asked.unzip();
    let in_month = sqlx::query_scalar!(
        "SELECT p.settlement_account_id
         FROM (SELECT k.*, '1' AS kind, 0 AS number
               FROM unnest($1::text[], $2::text[], $3::integer[])
                   AS k (company_id, settlement_account_id, account_month)
               OFFSET 0) AS own
         JOIN billing_point p ON p.company_id = own.company_id AND p.settlement_account_id = own.settlement_account_id
             AND p.account_month = own.account_month AND p.kind = own.kind AND p.number = own.number",
        vec![call.tenant.id.as_str(); ids.len()] as _,
        &ids,
        &months,
    )
    .fetch_all(&mut *tx)
    .named("billing_point_of_month")
    .await?;
    for id in in_month {
        if let Some(standing) = standings.get_mut(&id) {
            standing.charged_off = standing.open_point != standing.open_month;
        }
    }
    let closed: Vec<_> =
        standings.iter().filter(|(_, s)| s.state == AccountState::Closed).map(|(id, _)| id.clone()).collect();
    if closed.is_empty() {
        return Ok(());
    }
    // Few accounts are closed, so that all months are searched.
    let finals = sqlx::query!(
        "SELECT p.settlement_account_id, p.account_month
         FROM (SELECT k.*, '1' AS kind, 0 AS number
               FROM unnest($1::text[], $2::text[])
                   AS k (company_id, settlement_account_id)
               OFFSET 0) AS own
         JOIN billing_point p ON p.company_id = own.company_id AND p.settlement_account_id = own.settlement_account_id
             AND p.kind = own.kind AND p.final",
        vec![call.tenant.id.as_str(); closed.len()] as _,
        &closed,
    )
    .fetch_all(tx)
    .named("billing_point_final")
    .await?;
    for row in finals {
        if let Some(standing) = standings.get_mut(&row.settlement_account_id) {
            standing.finally_billed |= standing.open_point != Some(row.account_month);
        }
    }
    Ok(())
}

/// A point to write.
#[derive(Debug)]
struct Point<'p> {
    id: &'p str,
    making: Making,
    snapshot: Snapshot,
}

/// Makes retro points of locked accounts in their open account months, each with its snapshot. An account has no other that is
/// not charged off.
///
/// # Errors
/// Returns the database's error; it violates `point_open_pkey` if an account has an open one.
pub async fn add_retro(
    tx: &mut PgConnection,
    call: &Call,
    points: &[(&str, i32, Snapshot)],
) -> Result<(), sqlx::Error> {
    let meter = |snapshot: &Snapshot| snapshot.meter.as_ref().map(|meter| meter.meter_id.clone());
    let order = |snapshot: &Snapshot| snapshot.meter.as_ref().map_or(0, |meter| meter.reading_order);
    sqlx::query!(
        "WITH new AS (
             SELECT * FROM unnest($1::text[], $2::text[], $3::integer[], $5::bytea[], $6::text[], $7::text[], $8::integer[],
                 $9::integer[])
                 AS own (company_id, settlement_account_id, account_month, snapshot, book_id, meter_id, reading_order,
                         registers)),
         made AS (
             INSERT INTO billing_point (company_id, settlement_account_id, account_month, kind, number, final, snapshot)
             SELECT own.company_id, own.settlement_account_id, own.account_month, $4, coalesce((
                     SELECT max(p.number) FROM billing_point p
                     WHERE p.company_id = own.company_id AND p.settlement_account_id = own.settlement_account_id
                         AND p.account_month = own.account_month AND p.kind = $4), 0) + 1, false, own.snapshot
             FROM new AS own
             RETURNING company_id, settlement_account_id, account_month, kind, number)
         INSERT INTO point_open (company_id, settlement_account_id, kind, account_month, number, book_id, meter_id,
             reading_order, registers)
         SELECT own.company_id, own.settlement_account_id, m.kind, m.account_month, m.number, own.book_id, own.meter_id,
             own.reading_order, own.registers
         FROM new AS own
         JOIN made m ON m.company_id = own.company_id AND m.settlement_account_id = own.settlement_account_id",
        vec![call.tenant.id.as_str(); points.len()] as _,
        points.iter().map(|(id, ..)| *id).collect::<Vec<_>>() as _,
        &points.iter().map(|(_, month, _)| *month).collect::<Vec<_>>(),
        NormalRetroType::Retro.stored(),
        &points.iter().map(|(.., snapshot)| snapshot.encode_to_vec()).collect::<Vec<_>>(),
        points.iter().map(|(.., snapshot)| snapshot.book_id.as_str()).collect::<Vec<_>>() as _,
        points.iter().map(|(.., snapshot)| meter(snapshot)).collect::<Vec<_>>() as _,
        &points.iter().map(|(.., snapshot)| order(snapshot)).collect::<Vec<_>>(),
        &points.iter().map(|(.., snapshot)| snapshot.registers_to_read()).collect::<Vec<_>>(),
    )
    .execute(tx)
    .named("billing_point_add_retro")
    .await?;
    Ok(())
}

/// Makes the points of accounts of a basis.
///
/// # Errors
/// Returns the database's error, and an error of encoding if a snapshot lacks its account or holds too long a decimal.
pub async fn make(
    tx: &mut PgConnection,
    call: &Call,
    basis: &Basis,
    makings: &[(&str, Making)],
) -> Result<(), sqlx::Error> {
    let mut points = Vec::with_capacity(makings.len());
    for (id, making) in makings {
        points.push(Point { id, making: *making, snapshot: basis.required_snapshot(id)? });
    }
    let (new, again): (Vec<_>, Vec<_>) = points.iter().partition(|point| matches!(point.making, Making::New { .. }));
    if !new.is_empty() {
        insert(tx, call, &new).await?;
    }
    if !again.is_empty() {
        replace(tx, call, &again).await?;
    }
    open(tx, call, &points).await
}

async fn insert(tx: &mut PgConnection, call: &Call, points: &[&Point<'_>]) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO billing_point (company_id, settlement_account_id, account_month, kind, number, final, snapshot)
         SELECT $1, settlement_account_id, account_month, $2, 0, final, snapshot
         FROM unnest($3::text[], $4::integer[], $5::boolean[], $6::bytea[])
             AS new (settlement_account_id, account_month, final, snapshot)",
        call.tenant.id,
        NormalRetroType::Normal.stored(),
        points.iter().map(|p| p.id).collect::<Vec<_>>() as _,
        &points.iter().map(|p| p.making.month()).collect::<Vec<_>>(),
        &points.iter().map(|p| p.snapshot.closed_on != 0).collect::<Vec<_>>(),
        &points.iter().map(|p| p.snapshot.encode_to_vec()).collect::<Vec<_>>(),
    )
    .execute(tx)
    .named("billing_point_insert")
    .await?;
    Ok(())
}

/// Gives open points fresh snapshots and the open month, keeps their readings if they are of the same meter, and discards
/// their calculations.
async fn replace(tx: &mut PgConnection, call: &Call, points: &[&Point<'_>]) -> Result<(), sqlx::Error> {
    let from = |point: &&Point<'_>| match point.making {
        Making::Again { from, .. } => from,
        Making::New { month } => month,
    };
    let companies = vec![call.tenant.id.clone(); points.len()];
    let ids: Vec<_> = points.iter().map(|p| p.id).collect();
    let months: Vec<_> = points.iter().map(from).collect();
    let to: Vec<_> = points.iter().map(|p| p.making.month()).collect();
    sqlx::query!(
        "UPDATE billing_point p SET account_month = own.to_month, final = own.final, snapshot = own.snapshot,
             operator_id = platform.actor('operator_id'), channel_id = platform.actor('channel_id'),
             trace_id = platform.actor('trace_id'), written_at = platform.instant()
         FROM (SELECT k.*, '1' AS kind, 0 AS number
               FROM unnest($1::text[], $2::text[], $3::integer[], $4::integer[], $5::boolean[], $6::bytea[])
                   AS k (company_id, settlement_account_id, account_month, to_month, final, snapshot)
               OFFSET 0) AS own
         WHERE p.company_id = own.company_id AND p.settlement_account_id = own.settlement_account_id
             AND p.account_month = own.account_month AND p.kind = own.kind AND p.number = own.number",
        &companies,
        ids.as_slice() as _,
        &months,
        &to,
        &points.iter().map(|p| p.snapshot.closed_on != 0).collect::<Vec<_>>(),
        &points.iter().map(|p| p.snapshot.encode_to_vec()).collect::<Vec<_>>(),
    )
    .execute(&mut *tx)
    .named("billing_point_replace")
    .await?;
    discard_calculations(tx, call, &ids, &months).await?;
    sqlx::query!(
        "DELETE FROM point_reading r
         USING (SELECT k.*, '1' AS kind, 0 AS number
               FROM unnest($1::text[], $2::text[], $3::integer[], $4::text[])
                   AS k (company_id, settlement_account_id, account_month, meter_id)
               OFFSET 0) AS own
         WHERE r.company_id = own.company_id AND r.settlement_account_id = own.settlement_account_id
             AND r.account_month = own.account_month AND r.kind = own.kind AND r.number = own.number
             AND r.meter_id <> own.meter_id",
        &companies,
        ids.as_slice() as _,
        &months,
        points.iter().map(|p| p.snapshot.meter_id()).collect::<Vec<_>>() as _,
    )
    .execute(&mut *tx)
    .named("point_reading_drop")
    .await?;
    if months != to {
        sqlx::query!(
            "UPDATE point_reading r SET account_month = own.to_month
             FROM (SELECT k.*, '1' AS kind, 0 AS number
                   FROM unnest($1::text[], $2::text[], $3::integer[], $4::integer[])
                       AS k (company_id, settlement_account_id, account_month, to_month)
                   OFFSET 0) AS own
             WHERE r.company_id = own.company_id AND r.settlement_account_id = own.settlement_account_id
                 AND r.account_month = own.account_month AND r.kind = own.kind AND r.number = own.number
                 AND own.to_month <> own.account_month",
            &companies,
            ids.as_slice() as _,
            &months,
            &to,
        )
        .execute(tx)
        .named("point_reading_take_over")
        .await?;
    }
    Ok(())
}

/// Notes points as open.
async fn open(tx: &mut PgConnection, call: &Call, points: &[Point<'_>]) -> Result<(), sqlx::Error> {
    let meter = |p: &Point<'_>| p.snapshot.meter.as_ref().map(|meter| meter.meter_id.clone());
    let order = |p: &Point<'_>| p.snapshot.meter.as_ref().map_or(0, |meter| meter.reading_order);
    sqlx::query!(
        "INSERT INTO point_open (company_id, settlement_account_id, kind, account_month, number, book_id, meter_id,
             reading_order, registers)
         SELECT $1, settlement_account_id, $2, account_month, 0, book_id, meter_id, reading_order, registers
         FROM unnest($3::text[], $4::integer[], $5::text[], $6::text[], $7::integer[], $8::integer[])
             AS new (settlement_account_id, account_month, book_id, meter_id, reading_order, registers)
         ON CONFLICT (company_id, settlement_account_id, kind) DO UPDATE
         SET (account_month, book_id, meter_id, reading_order, registers, outdated, lines)
           = (excluded.account_month, excluded.book_id, excluded.meter_id, excluded.reading_order, excluded.registers,
              false, 0)",
        call.tenant.id,
        NormalRetroType::Normal.stored(),
        points.iter().map(|p| p.id).collect::<Vec<_>>() as _,
        &points.iter().map(|p| p.making.month()).collect::<Vec<_>>(),
        points.iter().map(|p| p.snapshot.book_id.as_str()).collect::<Vec<_>>() as _,
        points.iter().map(meter).collect::<Vec<_>>() as _,
        &points.iter().map(order).collect::<Vec<_>>(),
        &points.iter().map(|p| p.snapshot.registers_to_read()).collect::<Vec<_>>(),
    )
    .execute(tx)
    .named("point_open_set")
    .await?;
    Ok(())
}
