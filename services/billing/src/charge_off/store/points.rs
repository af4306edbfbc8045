//! The points that are to be charged off, locked, with where they stand.

use std::collections::HashMap;

use chrono::NaiveDate;
use communal_kit::call::Call;
use communal_kit::database::stored::{Stored, decoded};
use communal_kit::database::{Statement as _, look_up_by_keys};
use communal_proto::Coded as _;
use communal_proto::billing::v1::NormalRetroType;
use sqlx::PgConnection;

use crate::archive::billable::{self, TemporaryPackage};
use crate::archive::settlement_accounts;
use crate::calculation::facts::temporary_months_used;
use crate::calculation::stored::Calculation;
use crate::charge_off::bill::Point;
use crate::charge_off::rules::{Began, NamedPoint, OpenPoint, Standing};
use crate::metering::points::PointKey;
use crate::reference::month_controls::{Kind, Series};
use crate::vocabulary::tariff::Utility;

/// Where the points of a call stand.
#[derive(Debug, Default)]
pub struct Standings {
    /// Where each stands; an account that the company does not have is missing.
    pub standings: HashMap<NamedPoint, Standing>,
    /// Those that are calculated.
    pub points: HashMap<NamedPoint, Point>,
}

/// Locks points of accounts, with what they depend on, and returns where they stand.
///
/// # Errors
/// Returns the database's error, and an error of decoding for a point that cannot be read.
pub async fn standings(
    tx: &mut PgConnection,
    call: &Call,
    named: &[NamedPoint],
    today: NaiveDate,
) -> Result<Standings, sqlx::Error> {
    look_up_by_keys(tx).await?;
    let mut ids: Vec<_> = named.iter().map(|(id, _)| id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    let months = billable::store::open_months(tx, call, &ids, today).await?;
    settlement_accounts::store::lock_alone(tx, call, &ids).await?;
    lock(tx, call, named).await?;
    let mut found = read(tx, call, named, &months).await?;
    note_charged_off(tx, call, &mut found).await?;
    Ok(found)
}

/// Locks the open points.
async fn lock(tx: &mut PgConnection, call: &Call, named: &[NamedPoint]) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "SELECT
         FROM (SELECT k.* FROM unnest($1::text[], $2::text[], $3::text[]) AS k (company_id, settlement_account_id, kind)
               OFFSET 0) AS own
         JOIN point_open o ON o.company_id = own.company_id AND o.settlement_account_id = own.settlement_account_id
             AND o.kind = own.kind
         ORDER BY o.settlement_account_id, o.kind
         FOR UPDATE OF o",
        vec![call.tenant.id.as_str(); named.len()] as _,
        named.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>() as _,
        named.iter().map(|(_, kind)| kind.code()).collect::<Vec<_>>() as _,
    )
    .execute(tx)
    .named("charge_off_lock")
    .await?;
    Ok(())
}

async fn read(
    tx: &mut PgConnection,
    call: &Call,
    named: &[NamedPoint],
    months: &HashMap<Series, Option<i32>>,
) -> Result<Standings, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT own.settlement_account_id AS "settlement_account_id!", own.kind AS "kind!: Stored<NormalRetroType>",
               a.utility AS "utility: Stored<Utility>", mp.network_company_id AS "network_company_id?",
               mp.network_store_id AS "network_store_id?", mp.temporary_company_id AS "temporary_company_id?",
               mp.temporary_package_id AS "temporary_package_id?", mp.temporary_months AS "temporary_months?",
               mp.temporary_months_used AS "temporary_months_used?",
               x.version AS "version?", o.account_month AS "account_month?", o.number AS "number?",
               o.outdated AS "outdated?", p.snapshot AS "snapshot?", r.readings AS "readings?",
               c.calculation AS "calculation?"
           FROM (SELECT k.* FROM unnest($1::text[], $2::text[], $3::text[]) AS k (company_id, settlement_account_id, kind)
                 OFFSET 0) AS own
           JOIN settlement_account a ON a.company_id = own.company_id
               AND a.settlement_account_id = own.settlement_account_id
           LEFT JOIN meter_point mp ON mp.company_id = own.company_id
               AND mp.settlement_account_id = own.settlement_account_id
           LEFT JOIN account_accumulator x ON x.company_id = own.company_id
               AND x.settlement_account_id = own.settlement_account_id
           LEFT JOIN point_open o ON o.company_id = own.company_id
               AND o.settlement_account_id = own.settlement_account_id AND o.kind = own.kind
           LEFT JOIN billing_point p ON p.company_id = o.company_id
               AND p.settlement_account_id = o.settlement_account_id AND p.account_month = o.account_month
               AND p.kind = o.kind AND p.number = o.number
           LEFT JOIN point_reading r ON r.company_id = o.company_id
               AND r.settlement_account_id = o.settlement_account_id AND r.account_month = o.account_month
               AND r.kind = o.kind AND r.number = o.number
           LEFT JOIN point_calculation c ON c.company_id = o.company_id
               AND c.settlement_account_id = o.settlement_account_id AND c.account_month = o.account_month
               AND c.kind = o.kind AND c.number = o.number"#,
        vec![call.tenant.id.as_str(); named.len()] as _,
        named.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>() as _,
        named.iter().map(|(_, kind)| kind.code()).collect::<Vec<_>>() as _,
    )
    .fetch_all(tx)
    .named("charge_off_points")
    .await?;
    let mut found = Standings::default();
    for row in rows {
        let kind = row.kind.0;
        let name = (row.settlement_account_id, kind);
        let series = row
            .network_company_id
            .zip(row.network_store_id)
            .map(|(company, store)| Series::of(Kind::Account, &company, &store, row.utility.0));
        let mut standing = Standing {
            open_month: series.and_then(|series| months.get(&series).copied().flatten()),
            accumulator_version: row.version.unwrap_or_default(),
            ..Standing::default()
        };
        let temporary = TemporaryPackage {
            company_id: row.temporary_company_id,
            package_id: row.temporary_package_id,
            months: row.temporary_months.unwrap_or_default(),
            months_used: row.temporary_months_used.unwrap_or_default(),
        };
        if let (Some(account_month), Some(number)) = (row.account_month, row.number) {
            let calculated = row.calculation.as_deref().map(decoded::<Calculation>).transpose()?;
            let began = calculated.as_ref().map(|calculation| Began {
                accumulator_version: calculation.accumulator_version,
                temporary_months_used: calculation.temporary_months_used,
            });
            let outdated = row.outdated.unwrap_or_default();
            standing.point = Some(OpenPoint { account_month, outdated, calculated: began });
            if let Some(calculation) = calculated {
                let point = Point {
                    key: PointKey { settlement_account_id: name.0.clone(), account_month, kind, number },
                    snapshot: decoded(row.snapshot.as_deref().unwrap_or_default())?,
                    readings: decoded(row.readings.as_deref().unwrap_or_default())?,
                    calculation,
                };
                standing.temporary_months_used = temporary_months_used(&point.snapshot, &temporary);
                found.points.insert(name.clone(), point);
            }
        }
        found.standings.insert(name, standing);
    }
    Ok(found)
}

/// Notes which of the points that are not open have a bill in the open month.
async fn note_charged_off(tx: &mut PgConnection, call: &Call, found: &mut Standings) -> Result<(), sqlx::Error> {
    let asked: Vec<_> = found
        .standings
        .iter()
        .filter(|(_, standing)| standing.point.is_none())
        .filter_map(|(name, standing)| Some((name.clone(), standing.open_month?)))
        .collect();
    if asked.is_empty() {
        return Ok(());
    }
    let rows = sqlx::query!(
        r#"SELECT DISTINCT b.settlement_account_id, b.kind AS "kind: Stored<NormalRetroType>"
           FROM (SELECT k.* FROM unnest($1::text[], $2::text[], $3::integer[], $4::text[])
                     AS k (company_id, settlement_account_id, account_month, kind)
                 OFFSET 0) AS own
           JOIN bill b ON b.company_id = own.company_id AND b.settlement_account_id = own.settlement_account_id
               AND b.account_month = own.account_month AND b.kind = own.kind"#,
        vec![call.tenant.id.as_str(); asked.len()] as _,
        asked.iter().map(|((id, _), _)| id.as_str()).collect::<Vec<_>>() as _,
        &asked.iter().map(|(_, month)| *month).collect::<Vec<_>>(),
        asked.iter().map(|((_, kind), _)| kind.code()).collect::<Vec<_>>() as _,
    )
    .fetch_all(tx)
    .named("charge_off_bills")
    .await?;
    for row in rows {
        if let Some(standing) = found.standings.get_mut(&(row.settlement_account_id, row.kind.0)) {
            standing.charged_off = true;
        }
    }
    Ok(())
}
