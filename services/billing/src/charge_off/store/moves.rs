//! What a charge-off moves besides lines and funds. Each function is one statement for all points.

use chrono::NaiveDate;
use communal_kit::call::Call;
use communal_kit::database::Statement as _;
use communal_kit::database::copy::CopyRows;
use communal_kit::database::errors::{all_found, broken};
use communal_proto::Coded as _;
use communal_proto::billing::v1::CalcFeeType;
use rust_decimal::Decimal;
use sqlx::PgConnection;
use sqlx::error::BoxDynError;

use super::Billed;
use crate::archive;
use crate::archive::accumulators::AccountAccumulators;
use crate::charge_off::bill::Point;
use crate::charge_off::registers::{self, RegisterAfter};
use crate::ledger::chain::in_cents;
use crate::metering::points::PointColumns;

/// Returns numbers of new bills.
pub(super) async fn bill_numbers(tx: &mut PgConnection, bills: usize) -> Result<Vec<i64>, sqlx::Error> {
    let bills = i32::try_from(bills).map_err(broken)?;
    sqlx::query_scalar!(r#"SELECT nextval('bill_number') AS "number!" FROM generate_series(1, $1)"#, bills)
        .fetch_all(tx)
        .named("bill_numbers")
        .await
}

/// Moves the accumulators on, from the version that the calculations began with.
pub(super) async fn accumulators(tx: &mut PgConnection, call: &Call, points: &[&Point]) -> Result<(), sqlx::Error> {
    let after = |point: &Point| {
        let after = point.calculation.after.as_ref().ok_or_else(|| broken("a calculation has no accumulators"))?;
        let moved = AccountAccumulators {
            account_month: Some(point.key.account_month),
            year_quantity: after.of_year(),
            month_quantity: after.of_month(),
            version: point.calculation.accumulator_version,
        };
        Ok::<_, sqlx::Error>(moved)
    };
    let moved: Vec<_> = points
        .iter()
        .map(|p| Ok((p.key.settlement_account_id.as_str(), after(p)?)))
        .collect::<Result<_, sqlx::Error>>()?;
    let found = archive::accumulators::store::move_on(tx, &call.tenant.id, &moved).await?;
    all_found("accumulator_move_on", found, points.len())
}

/// Moves the registers of normal points on to the readings that are billed. A retro point moves none.
pub(super) async fn registers(tx: &mut PgConnection, call: &Call, points: &[&Point]) -> Result<(), sqlx::Error> {
    let mut rows: Vec<(&str, RegisterAfter)> = Vec::with_capacity(points.len());
    for point in points.iter().filter(|point| point.is_normal()) {
        let after =
            registers::after(&point.snapshot, &point.readings).ok_or_else(|| broken("a register has no day"))?;
        rows.extend(after.into_iter().map(|register| (point.key.settlement_account_id.as_str(), register)));
    }
    if rows.is_empty() {
        return Ok(());
    }
    let read = |(_, register): &(&str, RegisterAfter)| register.read;
    let done = sqlx::query!(
        "UPDATE account_register r
         SET last_reading = coalesce(own.reading, r.last_reading), last_read_on = coalesce(own.read_on, r.last_read_on),
             last_read_time = coalesce(own.read_time, r.last_read_time), billed_days = r.billed_days + own.days,
             metered_total = r.metered_total + own.metered, billed_total = r.billed_total + own.billed, old_quantity = 0
         FROM (SELECT k.* FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::numeric[], $6::date[],
                       $7::integer[], $8::integer[], $9::numeric[], $10::numeric[])
                   AS k (company_id, settlement_account_id, flow, register, reading, read_on, read_time, days, metered,
                       billed)
               OFFSET 0) AS own
         WHERE r.company_id = own.company_id AND r.settlement_account_id = own.settlement_account_id
             AND r.flow = own.flow AND r.register = own.register",
        vec![call.tenant.id.as_str(); rows.len()] as _,
        rows.iter().map(|(id, _)| *id).collect::<Vec<_>>() as _,
        rows.iter().map(|(_, r)| r.flow.code()).collect::<Vec<_>>() as _,
        rows.iter().map(|(_, r)| r.register.code()).collect::<Vec<_>>() as _,
        &rows.iter().map(|row| read(row).map(|r| r.reading)).collect::<Vec<Option<Decimal>>>() as _,
        &rows.iter().map(|row| read(row).map(|r| r.read_on)).collect::<Vec<Option<NaiveDate>>>() as _,
        &rows.iter().map(|row| read(row).map(|r| r.read_time)).collect::<Vec<Option<i32>>>() as _,
        &rows.iter().map(|row| read(row).map_or(0, |r| r.days)).collect::<Vec<_>>(),
        &rows.iter().map(|row| read(row).map_or(Decimal::ZERO, |r| r.metered)).collect::<Vec<_>>(),
        &rows.iter().map(|row| read(row).map_or(Decimal::ZERO, |r| r.billed)).collect::<Vec<_>>(),
    )
    .execute(tx)
    .named("register_move")
    .await?;
    all_found("register_move", done.rows_affected(), rows.len())
}

/// Counts the month of normal points that a temporary package priced.
pub(super) async fn temporary_months(tx: &mut PgConnection, call: &Call, points: &[&Point]) -> Result<(), sqlx::Error> {
    let counted: Vec<_> = points
        .iter()
        .filter(|point| point.is_normal() && point.calculation.temporary)
        .map(|point| point.key.settlement_account_id.as_str())
        .collect();
    if counted.is_empty() {
        return Ok(());
    }
    let done = sqlx::query!(
        "UPDATE meter_point mp SET temporary_months_used = temporary_months_used + 1
         FROM (SELECT k.* FROM unnest($1::text[], $2::text[]) AS k (company_id, settlement_account_id) OFFSET 0) AS own
         WHERE mp.company_id = own.company_id AND mp.settlement_account_id = own.settlement_account_id",
        vec![call.tenant.id.as_str(); counted.len()] as _,
        counted.as_slice() as _,
    )
    .execute(tx)
    .named("temporary_month_count")
    .await?;
    all_found("temporary_month_count", done.rows_affected(), counted.len())
}

/// Takes the points off those that are open.
pub(super) async fn open_points(tx: &mut PgConnection, call: &Call, points: &[&Point]) -> Result<(), sqlx::Error> {
    let PointColumns { companies, accounts, months, kinds, numbers } =
        PointColumns::of(&call.tenant.id, points.iter().map(|point| &point.key));
    let done = sqlx::query!(
        "DELETE FROM point_open o
         USING (SELECT k.* FROM unnest($1::text[], $2::text[], $3::text[], $4::integer[], $5::integer[])
                    AS k (company_id, settlement_account_id, kind, account_month, number)
                OFFSET 0) AS own
         WHERE o.company_id = own.company_id AND o.settlement_account_id = own.settlement_account_id
             AND o.kind = own.kind AND o.account_month = own.account_month AND o.number = own.number",
        companies as _,
        accounts as _,
        kinds as _,
        &months,
        &numbers,
    )
    .execute(tx)
    .named("point_open_close")
    .await?;
    all_found("point_open_close", done.rows_affected(), points.len())
}

/// Writes bills. A second one of a point violates their key.
pub(super) async fn write_bills(
    tx: &mut PgConnection,
    call: &Call,
    (posting_id, today): (i64, NaiveDate),
    bills: &[Billed<'_>],
) -> Result<(), sqlx::Error> {
    let mut rows = CopyRows::new(15);
    for bill in bills {
        put_bill(&mut rows, call, (posting_id, today), bill).map_err(sqlx::Error::Encode)?;
    }
    let statement = "COPY bill (company_id, settlement_account_id, account_month, kind, number, charge_off_id, \
        charge_off_date, posting_id, customer_id, book_id, network_company_id, retail_company_id, lines, total, quantity) \
        FROM STDIN WITH (FORMAT binary)";
    rows.send(tx, statement).named("bill_copy").await
}

fn put_bill(
    rows: &mut CopyRows,
    call: &Call,
    (posting_id, today): (i64, NaiveDate),
    Billed { point, charge_off_id, bill }: &Billed<'_>,
) -> Result<(), BoxDynError> {
    rows.begin_row();
    rows.put(call.tenant.id.as_str())?;
    rows.put(point.key.settlement_account_id.as_str())?;
    rows.put(point.key.account_month)?;
    rows.put(point.key.kind.code())?;
    rows.put(point.key.number)?;
    rows.put(charge_off_id.as_str())?;
    rows.put(today)?;
    rows.put(posting_id)?;
    rows.put(point.snapshot.customer_id.as_str())?;
    rows.put(point.snapshot.book_id.as_str())?;
    rows.put(point.snapshot.network_company_id.as_str())?;
    rows.put(bill.common.retail_company_id.as_str())?;
    rows.put(i32::try_from(bill.lines.len())?)?;
    rows.put(in_cents(bill.total))?;
    rows.put(in_cents(point.calculation.energy()))
}

/// Notes versions of prices of a table as billed, those that are not yet.
macro_rules! mark_billed {
    ($tx:expr, $used:expr, $table:tt) => {
        if !$used.is_empty() {
            let (companies, versions): (Vec<_>, Vec<_>) = $used.into_iter().unzip();
            sqlx::query!(
                "UPDATE "
                    + $table
                    + " p SET billed = true
                 FROM (SELECT q.company_id, q.price_id FROM unnest($1::text[], $2::bigint[]) AS k (company_id, price_id)
                       JOIN "
                    + $table
                    + " q ON q.company_id = k.company_id AND q.price_id = k.price_id AND NOT q.billed
                       ORDER BY q.company_id, q.price_id FOR UPDATE OF q) AS own
                 WHERE p.company_id = own.company_id AND p.price_id = own.price_id",
                companies.as_slice() as _,
                &versions,
            )
            .execute(&mut *$tx)
            .named(concat!($table, "_billed"))
            .await?;
        }
    };
}

/// Notes the versions of catalogue and delivery prices that the bills used: from now on they do not change for days before
/// today. Those that are noted already are not locked, so that runs do not wait for each other.
pub(super) async fn mark_prices(tx: &mut PgConnection, points: &[&Point]) -> Result<(), sqlx::Error> {
    let (mut catalogue, mut delivery) = (Vec::new(), Vec::new());
    for point in points {
        let company = point.snapshot.network_company_id.as_str();
        for line in &point.calculation.lines {
            if let Some(version) = line.version {
                let used = if line.kind() == CalcFeeType::Delivery { &mut delivery } else { &mut catalogue };
                used.push((company, version));
            }
        }
    }
    for used in [&mut catalogue, &mut delivery] {
        used.sort_unstable();
        used.dedup();
    }
    mark_billed!(tx, catalogue, "catalogue_price");
    mark_billed!(tx, delivery, "delivery_price");
    Ok(())
}
