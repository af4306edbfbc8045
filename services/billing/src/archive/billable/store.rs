//! The statements behind billing points. Every query is bound by the company.

use std::collections::HashMap;

use chrono::NaiveDate;
use communal_kit::call::Call;
use communal_kit::database::Statement as _;
use communal_kit::database::stored::Stored;
use communal_proto::billing::v1::{
    BusCategType, DeviceType, EnergyFlowType, ForRateValidType, IndustryType, MeterReadChanType, ReadingsType,
};
use sqlx::{PgConnection, PgExecutor};

use super::{BillableAccount, BillableRegister, MeterPointAddress, TemporaryPackage};
use crate::archive::settlement_accounts::lifecycle::AccountState;
use crate::reference::month_controls::{self, Kind, Series};
use crate::vocabulary::tariff::{Utility, YesNo};

/// A row of a series of account months.
struct SeriesRow {
    network_company_id: String,
    network_store_id: String,
    utility: Stored<Utility>,
}

impl SeriesRow {
    fn series(self) -> Series {
        Series::of(Kind::Account, &self.network_company_id, &self.network_store_id, self.utility.0)
    }
}

/// Selects the series of account months to which the bills of some of a company's accounts belong, each once, in their order.
macro_rules! select_series {
    ($condition:tt, $company_id:expr, $value:expr) => {
        sqlx::query_as!(
            SeriesRow,
            r#"SELECT DISTINCT mp.network_company_id, mp.network_store_id, a.utility AS "utility: Stored<Utility>"
               FROM meter_point mp JOIN settlement_account a USING (company_id, settlement_account_id)
               WHERE mp.company_id = $1 AND "#
                + $condition
                + " ORDER BY 1, 2, 3",
            $company_id,
            $value,
        )
    };
}

/// Returns the series of account months to which the bills of a company's accounts belong, or of those in a book.
///
/// # Errors
/// Returns the database's error.
pub async fn series_of_book(
    executor: impl PgExecutor<'_>,
    company_id: &str,
    book_id: &str,
) -> Result<Vec<Series>, sqlx::Error> {
    let rows = select_series!("$2 IN ('', mp.book_id)", company_id, book_id);
    let rows = rows.fetch_all(executor).named("billable_series_of_book").await?;
    Ok(rows.into_iter().map(SeriesRow::series).collect())
}

/// Returns the account month that is open on a day in each series to which the bills of accounts belong, and notes that something
/// is created in it (`month_controls::store::use_open`).
///
/// # Errors
/// Returns the database's error.
pub async fn open_months(
    tx: &mut PgConnection,
    call: &Call,
    ids: &[&str],
    day: NaiveDate,
) -> Result<HashMap<Series, Option<i32>>, sqlx::Error> {
    let rows = select_series!("mp.settlement_account_id = ANY($2)", call.tenant.id, ids as _);
    let rows = rows.fetch_all(&mut *tx).named("billable_series").await?;
    let series: Vec<_> = rows.into_iter().map(SeriesRow::series).collect();
    open_in(tx, call, &series, day).await
}

/// Does the same as [`open_months`] for series that are known.
///
/// # Errors
/// Returns the database's error.
pub async fn open_in(
    tx: &mut PgConnection,
    call: &Call,
    all: &[Series],
    day: NaiveDate,
) -> Result<HashMap<Series, Option<i32>>, sqlx::Error> {
    let mut months = HashMap::with_capacity(all.len());
    for series in all {
        months.insert(series.clone(), month_controls::store::use_open(tx, call, series, day).await?);
    }
    Ok(months)
}

/// Returns locked accounts that have a meter point, by identifier.
///
/// # Errors
/// Returns the database's error.
pub async fn accounts(tx: &mut PgConnection, call: &Call, ids: &[&str]) -> Result<Vec<BillableAccount>, sqlx::Error> {
    sqlx::query_as!(
        BillableAccount,
        r#"SELECT a.settlement_account_id, a.user_account_id, u.customer_id, a.using_customer_id,
               a.utility AS "utility: Stored<Utility>", a.state AS "state: Stored<AccountState>",
               a.business_kind AS "business_kind: Stored<BusCategType>", a.industry_code,
               a.industry_sector AS "industry_sector: Stored<IndustryType>", a.resident AS "resident: Stored<YesNo>",
               a.urban AS "urban: Stored<YesNo>", a.military AS "military: Stored<YesNo>",
               a.temporary AS "temporary: Stored<YesNo>", a.public_use AS "public_use: Stored<YesNo>", a.archived_on,
               a.closed_on, mp.book_id, mp.node_id, mp.metered AS "metered: Stored<YesNo>", mp.network_company_id,
               mp.network_store_id, mp.retail_company_id, mp.main_package_id, mp.temporary_company_id,
               mp.temporary_package_id, mp.temporary_months, mp.temporary_months_used,
               mp.assessed AS "assessed: Stored<YesNo>", mp.stopped_or_vacant AS "stopped_or_vacant: Stored<YesNo>",
               mp.stopped_on, mp.resumed_on, mp.energy_load, mp.capacity, mp.demand_multiplier, mp.approved_demand,
               mp.power_factor_standard AS "power_factor_standard: Stored<ForRateValidType>", mp.fixed_quantity,
               mp.fixed_fee, mp.apportioned_total, mp.apportioned_fee, mp.apportion_ratio, mp.division_ratio,
               mp.divided_quantity, mp.divided_fee, mp.area_factor, mp.area, mp.population, mp.households,
               m.meter_id AS "meter_id?", m.kind AS "meter_kind?: Stored<DeviceType>", m.digits AS "digits?",
               m.multiplier AS "multiplier?", m.read_channel AS "reading_channel?: Stored<MeterReadChanType>",
               m.reading_order AS "reading_order?"
           FROM settlement_account a
           JOIN user_account u USING (company_id, user_account_id)
           JOIN meter_point mp USING (company_id, settlement_account_id)
           LEFT JOIN meter m ON m.company_id = a.company_id AND m.settlement_account_id = a.settlement_account_id
           WHERE a.company_id = $1 AND a.settlement_account_id = ANY($2)
           ORDER BY a.settlement_account_id"#,
        call.tenant.id,
        ids as _,
    )
    .fetch_all(tx)
    .named("billable_accounts")
    .await
}

/// Returns the registers of locked accounts, by account, direction and register.
///
/// # Errors
/// Returns the database's error.
pub async fn registers(tx: &mut PgConnection, call: &Call, ids: &[&str]) -> Result<Vec<BillableRegister>, sqlx::Error> {
    sqlx::query_as!(
        BillableRegister,
        r#"SELECT settlement_account_id, flow AS "flow: Stored<EnergyFlowType>",
               register AS "register: Stored<ReadingsType>", last_reading, last_read_on, last_read_time, old_quantity,
               billed_days, metered_total, billed_total
           FROM account_register
           WHERE company_id = $1 AND settlement_account_id = ANY($2)
           ORDER BY settlement_account_id, flow, register"#,
        call.tenant.id,
        ids as _,
    )
    .fetch_all(tx)
    .named("billable_registers")
    .await
}

/// Returns the temporary packages of accounts that have a meter point.
///
/// # Errors
/// Returns the database's error.
pub async fn temporary_packages(
    executor: impl PgExecutor<'_>,
    company_id: &str,
    ids: &[&str],
) -> Result<HashMap<String, TemporaryPackage>, sqlx::Error> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = sqlx::query!(
        "SELECT mp.settlement_account_id, mp.temporary_company_id, mp.temporary_package_id, mp.temporary_months,
             mp.temporary_months_used
         FROM unnest($1::text[], $2::text[]) AS own (company_id, settlement_account_id)
         JOIN meter_point mp ON mp.company_id = own.company_id
             AND mp.settlement_account_id = own.settlement_account_id",
        vec![company_id; ids.len()] as _,
        ids as _,
    )
    .fetch_all(executor)
    .named("billable_temporary_packages")
    .await?;
    let packages = rows.into_iter().map(|row| {
        let package = TemporaryPackage {
            company_id: row.temporary_company_id,
            package_id: row.temporary_package_id,
            months: row.temporary_months,
            months_used: row.temporary_months_used,
        };
        (row.settlement_account_id, package)
    });
    Ok(packages.collect())
}

/// Returns the address of an account's meter point; empty without one.
///
/// # Errors
/// Returns the database's error.
pub async fn address(
    executor: impl PgExecutor<'_>,
    company_id: &str,
    settlement_account_id: &str,
) -> Result<MeterPointAddress, sqlx::Error> {
    let address = sqlx::query_scalar!(
        "SELECT address FROM meter_point WHERE company_id = $1 AND settlement_account_id = $2",
        company_id,
        settlement_account_id,
    );
    Ok(MeterPointAddress(address.fetch_optional(executor).named("billable_address").await?.unwrap_or_default()))
}
