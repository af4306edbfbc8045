//! The statements of meters. Every query is bound by the company.
//!
//! Lock order: settlement accounts, then meters by identifier.

use std::collections::BTreeMap;

use communal_kit::call::Call;
use communal_kit::database::Statement as _;
use communal_kit::database::stored::Stored;
use communal_kit::paging::Page;
use communal_proto::billing::v1::{
    ChangedMeter, DeviceType, EnergyFlowType, InstallType, MeterFilter, MeterReadChanType, NewMeter, ReadingsType,
};
use communal_proto::{Coded as _, parse_decimal};
use rust_decimal::Decimal;
use sqlx::{PgConnection, PgExecutor};

use super::rules::Measure;
use crate::vocabulary::tariff::{Utility, YesNo};

/// A meter as it is stored.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // the fields of the contract, documented there
pub struct MeterRow {
    pub meter_id: String,
    pub store_id: String,
    pub factory_number: String,
    pub utility: Stored<Utility>,
    pub kind: Stored<DeviceType>,
    pub digits: Option<i32>,
    pub multiplier: Decimal,
    pub quantity_unit: String,
    pub settlement_account_id: Option<String>,
    pub location: String,
    pub read_channel: Option<Stored<MeterReadChanType>>,
    pub remote: Option<Stored<YesNo>>,
    pub reading_order: i32,
}

impl MeterRow {
    /// Returns true if the meter is on an account.
    #[must_use]
    pub fn is_installed(&self) -> bool {
        self.settlement_account_id.is_some()
    }

    /// What it measures by.
    #[must_use]
    pub fn measure(&self) -> Measure {
        Measure {
            utility: self.utility.0,
            kind: self.kind.0,
            digits: self.digits.unwrap_or_default(),
            multiplier: self.multiplier,
        }
    }
}

/// Selects meters: the one list of their columns, followed by the rest of the statement.
macro_rules! select_meters {
    ($rest:tt, $($argument:expr),* $(,)?) => {
        sqlx::query_as!(
            MeterRow,
            r#"SELECT meter_id, store_id, factory_number, utility AS "utility: Stored<Utility>",
                   kind AS "kind: Stored<DeviceType>", digits, multiplier, quantity_unit, settlement_account_id, location,
                   read_channel AS "read_channel: Stored<MeterReadChanType>", remote AS "remote: Stored<YesNo>",
                   reading_order
               FROM meter
               WHERE company_id = $1 "#
                + $rest,
            $($argument),*
        )
    };
}

/// Returns the places, from 0, of the factory numbers that are taken, by a stored meter or by one before them.
///
/// # Errors
/// Returns the database's error.
pub async fn taken(tx: &mut PgConnection, call: &Call, numbers: &[&str]) -> Result<Vec<i64>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT place - 1 AS "place!"
           FROM (SELECT place, folded(number) AS number,
                     row_number() OVER (PARTITION BY folded(number) ORDER BY place) AS nth
                 FROM unnest($2::text[]) WITH ORDINALITY AS given (number, place)) AS new
           WHERE nth > 1 OR EXISTS (
               SELECT FROM meter m WHERE m.company_id = $1 AND folded(m.factory_number) = new.number)
           ORDER BY place"#,
        call.tenant.id,
        numbers as _,
    )
    .fetch_all(tx)
    .named("meter_taken")
    .await
}

/// Registers meters. Returns their identifiers in this order.
///
/// # Errors
/// Returns the database's error; it violates `meter_factory_number` if a number is taken.
pub async fn add(tx: &mut PgConnection, call: &Call, meters: &[NewMeter]) -> Result<Vec<String>, sqlx::Error> {
    let column = |value: fn(&NewMeter) -> &str| meters.iter().map(value).collect::<Vec<_>>();
    let digits: Vec<_> = meters.iter().map(|m| (m.digits > 0).then_some(m.digits)).collect();
    let multipliers: Vec<_> = meters.iter().map(|m| parse_decimal(&m.meter_multiplier).unwrap_or_default()).collect();
    sqlx::query_scalar!(
        "INSERT INTO meter (company_id, store_id, factory_number, utility, kind, digits, multiplier, quantity_unit)
         SELECT $1, store_id, factory_number, utility, kind, digits, multiplier, quantity_unit
         FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::int[], $7::numeric[], $8::text[])
             WITH ORDINALITY AS new (store_id, factory_number, utility, kind, digits, multiplier, quantity_unit, place)
         ORDER BY place
         RETURNING meter_id",
        call.tenant.id,
        column(|m| &m.store_id) as _,
        column(|m| &m.factory_number) as _,
        column(|m| m.utility().code()) as _,
        column(|m| m.meter_kind().code()) as _,
        digits as _,
        &multipliers,
        column(|m| &m.quantity_unit) as _,
    )
    .fetch_all(tx)
    .named("meter_add")
    .await
}

/// Locks meters by identifier and returns those that exist.
///
/// # Errors
/// Returns the database's error.
pub async fn lock(tx: &mut PgConnection, call: &Call, meter_ids: &[&str]) -> Result<Vec<MeterRow>, sqlx::Error> {
    select_meters!("AND meter_id = ANY($2) ORDER BY meter_id FOR UPDATE", call.tenant.id, meter_ids as _)
        .fetch_all(tx)
        .named("meter_lock")
        .await
}

/// Returns those of the meters that the company has.
///
/// # Errors
/// Returns the database's error.
pub async fn read(
    executor: impl PgExecutor<'_>,
    company_id: &str,
    meter_ids: &[&str],
) -> Result<Vec<MeterRow>, sqlx::Error> {
    select_meters!("AND meter_id = ANY($2)", company_id, meter_ids as _).fetch_all(executor).named("meter_read").await
}

/// Changes a locked meter; a field that is not given stays.
///
/// # Errors
/// Returns the database's error; it violates `meter_factory_number` if the number is taken.
pub async fn change(
    tx: &mut PgConnection,
    call: &Call,
    changed: &ChangedMeter,
    measure: Measure,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE meter SET factory_number = coalesce(nullif($3, ''), factory_number), utility = $4, kind = $5, digits = $6,
             multiplier = $7, quantity_unit = coalesce(nullif($8, ''), quantity_unit)
         WHERE company_id = $1 AND meter_id = $2",
        call.tenant.id,
        changed.meter_id,
        changed.factory_number,
        measure.utility.stored(),
        measure.kind.stored(),
        (measure.digits > 0).then_some(measure.digits),
        measure.multiplier,
        changed.quantity_unit,
    )
    .execute(tx)
    .named("meter_change")
    .await?;
    Ok(())
}

/// Returns whether a locked meter ever was on an account.
///
/// # Errors
/// Returns the database's error.
pub async fn has_measured(tx: &mut PgConnection, call: &Call, meter_id: &str) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM boundary_reading WHERE company_id = $1 AND meter_id = $2) AS "exists!""#,
        call.tenant.id,
        meter_id,
    )
    .fetch_one(tx)
    .named("meter_has_measured")
    .await
}

/// Returns what the registers of a locked meter showed when it was last taken off, unless it was reset since: by flow and register.
/// The demand register is set back with every bill and says nothing.
///
/// # Errors
/// Returns the database's error.
pub async fn shown_last(
    tx: &mut PgConnection,
    call: &Call,
    meter_id: &str,
) -> Result<BTreeMap<(EnergyFlowType, ReadingsType), Decimal>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT DISTINCT ON (b.flow, b.register) b.flow AS "flow: Stored<EnergyFlowType>",
               b.register AS "register: Stored<ReadingsType>", b.reading
           FROM boundary_reading b JOIN meter m USING (company_id, meter_id)
           WHERE b.company_id = $1 AND b.meter_id = $2 AND NOT b.opening AND b.reading_number > m.reset_reading
               AND b.register <> $3
           ORDER BY b.flow, b.register, b.reading_number DESC"#,
        call.tenant.id,
        meter_id,
        ReadingsType::Demand.stored(),
    )
    .fetch_all(tx)
    .named("meter_shown_last")
    .await?;
    Ok(rows.into_iter().map(|row| ((row.flow.0, row.register.0), row.reading)).collect())
}

/// Notes that a locked meter was reset: what it showed before says nothing any more.
///
/// # Errors
/// Returns the database's error.
pub async fn reset(tx: &mut PgConnection, call: &Call, meter_id: &str) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE meter SET reset_reading = (
             SELECT coalesce(max(reading_number), 0) FROM boundary_reading WHERE company_id = $1 AND meter_id = $2)
         WHERE company_id = $1 AND meter_id = $2",
        call.tenant.id,
        meter_id,
    )
    .execute(tx)
    .named("meter_reset")
    .await?;
    Ok(())
}

/// Deletes a locked meter that never measured.
///
/// # Errors
/// Returns the database's error.
pub async fn delete(tx: &mut PgConnection, call: &Call, meter_id: &str) -> Result<(), sqlx::Error> {
    sqlx::query!("DELETE FROM meter WHERE company_id = $1 AND meter_id = $2", call.tenant.id, meter_id)
        .execute(tx)
        .named("meter_delete")
        .await?;
    Ok(())
}

/// Returns a page of the company's meters, oldest first.
///
/// # Errors
/// Returns the database's error.
pub async fn list(
    executor: impl PgExecutor<'_>,
    company_id: &str,
    filter: &MeterFilter,
    page: Page,
) -> Result<Vec<MeterRow>, sqlx::Error> {
    // By its number a meter is found without reading the others.
    if !filter.factory_number.is_empty() {
        return listed(executor, company_id, filter, page).await;
    }
    select_meters!(
        "AND $2 = '' AND ($3::text IS NULL OR utility = $3) AND ($4::text IS NULL OR kind = $4)
         AND ($5::boolean IS NULL OR (settlement_account_id IS NOT NULL) = $5) AND NOT $6
         ORDER BY meter_id OFFSET $7 LIMIT $8",
        company_id,
        // No meter has a name.
        filter.meter_name,
        filter.utility().stored(),
        filter.meter_kind().stored(),
        installed(filter.installation_state()),
        filter.installation_state() == InstallType::Installed,
        page.offset(),
        page.rows(),
    )
    .fetch_all(executor)
    .named("meter_list")
    .await
}

async fn listed(
    executor: impl PgExecutor<'_>,
    company_id: &str,
    filter: &MeterFilter,
    page: Page,
) -> Result<Vec<MeterRow>, sqlx::Error> {
    select_meters!(
        "AND folded(factory_number) = folded($9) AND $2 = '' AND ($3::text IS NULL OR utility = $3)
         AND ($4::text IS NULL OR kind = $4)
         AND ($5::boolean IS NULL OR (settlement_account_id IS NOT NULL) = $5) AND NOT $6
         ORDER BY meter_id OFFSET $7 LIMIT $8",
        company_id,
        filter.meter_name,
        filter.utility().stored(),
        filter.meter_kind().stored(),
        installed(filter.installation_state()),
        filter.installation_state() == InstallType::Installed,
        page.offset(),
        page.rows(),
        filter.factory_number,
    )
    .fetch_all(executor)
    .named("meter_find")
    .await
}

/// Whether a meter in this state is on an account; `None` for any state. No meter is in state "installed".
fn installed(state: InstallType) -> Option<bool> {
    match state {
        InstallType::Unspecified | InstallType::Installed => None,
        InstallType::None => Some(false),
        InstallType::Running => Some(true),
    }
}
