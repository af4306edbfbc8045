//! The statements of an archive that is brought along. Every query is bound by the company.
//!
//! A row that exists, by its identifier or by what is unique of it, is not written: each statement returns what it wrote.

use std::collections::{BTreeMap, HashSet};

use chrono::NaiveDate;
use communal_kit::call::Call;
use communal_kit::database::Statement as _;
use communal_kit::refusal::Refusal;
use communal_proto::billing::v1::{
    AttestationType, BroughtCustomer, BroughtMeter, BroughtSettlementAccount, BroughtUserAccount, BusCategType,
    VerifiedMeterPoint, VerifiedSettlementAccount,
};
use communal_proto::{Coded as _, parse_decimal};
use rust_decimal::Decimal;
use sqlx::PgConnection;

use super::brought::Brought;
use crate::archive::accumulators;
use crate::archive::settlement_accounts::lifecycle::AccountState;
use crate::archive::verification::parameters::{Figures, Package};
use crate::archive::verification::registers::Register;
use crate::vocabulary::dates::day;
use crate::vocabulary::identifiers::BatchId;
use crate::vocabulary::personal::PersonalKeys;

/// An imported batch.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // the columns of the table, documented there
pub struct Batch {
    pub content_hash: Vec<u8>,
    pub customers: i64,
    pub user_accounts: i64,
    pub settlement_accounts: i64,
    pub meters: i64,
}

/// Reserves a batch for this transaction and announces it to the triggers of the rows that are written; returns false if
/// another is importing it.
///
/// # Errors
/// Returns the database's error.
pub async fn reserve(tx: &mut PgConnection, call: &Call, batch_id: &BatchId) -> Result<bool, sqlx::Error> {
    let reserved = sqlx::query!(
        r#"SELECT pg_try_advisory_xact_lock(hashtextextended($1 || ' ' || $2, 40)) AS "reserved!",
               set_config('communal.batch_id', $2, true) AS announced"#,
        call.tenant.id,
        batch_id.as_str(),
    )
    .fetch_one(tx)
    .named("archive_batch_reserve")
    .await?;
    Ok(reserved.reserved)
}

/// Returns the batch of an identifier.
///
/// # Errors
/// Returns the database's error.
pub async fn batch(tx: &mut PgConnection, call: &Call, batch_id: &BatchId) -> Result<Option<Batch>, sqlx::Error> {
    sqlx::query_as!(
        Batch,
        "SELECT content_hash, customers, user_accounts, settlement_accounts, meters FROM archive_batch
         WHERE company_id = $1 AND batch_id = $2",
        call.tenant.id,
        batch_id.as_str(),
    )
    .fetch_optional(tx)
    .named("archive_batch_read")
    .await
}

/// Records a batch as imported.
///
/// # Errors
/// Returns the database's error.
pub async fn record(tx: &mut PgConnection, call: &Call, batch_id: &BatchId, batch: &Batch) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO archive_batch (company_id, batch_id, content_hash, customers, user_accounts, settlement_accounts,
             meters)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        call.tenant.id,
        batch_id.as_str(),
        batch.content_hash,
        batch.customers,
        batch.user_accounts,
        batch.settlement_accounts,
        batch.meters,
    )
    .execute(tx)
    .named("archive_batch_record")
    .await?;
    Ok(())
}

/// Writes customers and returns the identifiers of those that were written.
///
/// # Errors
/// Returns the database's error.
pub async fn add_customers(
    tx: &mut PgConnection,
    call: &Call,
    keys: &PersonalKeys,
    customers: &[&BroughtCustomer],
) -> Result<HashSet<String>, Refusal> {
    let company_id = call.tenant.id.as_str();
    let (mut hashes, mut sealed, mut tax_numbers, mut bank_accounts) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for customer in customers {
        let seal = |number: &str| keys.seal(company_id, &customer.customer_id, number).map_err(Refusal::internal);
        hashes.push(keys.certificate(company_id, &customer.certificate_number).map_err(Refusal::internal)?);
        sealed.push(seal(&customer.certificate_number)?);
        tax_numbers.push(seal(&customer.tax_number)?);
        bank_accounts.push(seal(&customer.bank_account)?);
    }
    let column = |value: fn(&BroughtCustomer) -> &str| customers.iter().map(|c| value(c)).collect::<Vec<_>>();
    let written = sqlx::query_scalar!(
        "INSERT INTO customer (company_id, customer_id, kind, certificate_kind, certificate_sealed, certificate_hash,
             name, phone, region, address, tax_number_sealed, telephone, bank_account_sealed, bank_name, email,
             password_hash, attestation)
         SELECT $1, new.*, '', $16
         FROM unnest($2::text[], $3::text[], $4::text[], $5::bytea[], $6::bytea[], $7::text[], $8::text[], $9::text[],
             $10::text[], $11::bytea[], $12::text[], $13::bytea[], $14::text[], $15::text[]) AS new
         ON CONFLICT DO NOTHING
         RETURNING customer_id",
        company_id,
        column(|c| &c.customer_id) as _,
        column(|c| c.customer_kind().code()) as _,
        column(|c| c.certificate_kind().code()) as _,
        sealed.as_slice() as _,
        &hashes,
        column(|c| &c.customer_name) as _,
        column(|c| &c.mobile_phone) as _,
        column(|c| &c.region_code) as _,
        column(|c| &c.address) as _,
        tax_numbers.as_slice() as _,
        column(|c| &c.telephone) as _,
        bank_accounts.as_slice() as _,
        column(|c| &c.bank_name) as _,
        column(|c| &c.email) as _,
        AttestationType::Attested.stored(),
    )
    .fetch_all(tx)
    .named("archive_customer_add")
    .await?;
    Ok(written.into_iter().collect())
}

/// Has the rows counted that the transaction wrote into tables of which nothing is known: see the migration.
///
/// # Errors
/// Returns the database's error.
pub async fn count_rows(tx: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!("SELECT count_brought_rows() AS counted").fetch_one(tx).named("archive_rows_count").await?;
    Ok(())
}

/// Returns the places, from 0, of the customers that the company does not have.
///
/// # Errors
/// Returns the database's error.
pub async fn unknown_customers(tx: &mut PgConnection, call: &Call, ids: &[&str]) -> Result<Vec<i64>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT place - 1 AS "place!" FROM unnest($2::text[]) WITH ORDINALITY AS given (customer_id, place)
           WHERE NOT EXISTS (SELECT FROM customer c WHERE c.company_id = $1 AND c.customer_id = given.customer_id
                             AND c.forgotten_at IS NULL)"#,
        call.tenant.id,
        ids as _,
    )
    .fetch_all(tx)
    .named("archive_customer_unknown")
    .await
}

/// Writes user accounts, each connected if it is one of `connected`, and returns the identifiers of those that were
/// written.
///
/// # Errors
/// Returns the database's error.
pub async fn add_users(
    tx: &mut PgConnection,
    call: &Call,
    users: &[&BroughtUserAccount],
    connected: &HashSet<String>,
) -> Result<HashSet<String>, sqlx::Error> {
    let new: Vec<_> = users.iter().map(|user| user.account.clone().unwrap_or_default()).collect();
    let column =
        |value: fn(&communal_proto::billing::v1::NewUserAccount) -> &str| new.iter().map(value).collect::<Vec<_>>();
    let number = |value: fn(&communal_proto::billing::v1::NewUserAccount) -> &str| {
        new.iter().map(|u| parse_decimal(value(u)).unwrap_or_default()).collect::<Vec<Decimal>>()
    };
    let written = sqlx::query_scalar!(
        "INSERT INTO user_account (company_id, user_account_id, customer_id, using_customer_id, name, region, address,
             map_name, longitude, latitude, resident, risk_balance, margin_balance, advance_limit, connected,
             attestation)
         SELECT $1, user_account_id, customer_id, customer_id, name, region, address, map_name, longitude, latitude,
             resident, risk_balance, margin_balance, advance_limit, connected, $15
         FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::numeric[],
                 $9::numeric[], $10::text[], $11::numeric[], $12::numeric[], $13::numeric[], $14::boolean[])
             AS new (user_account_id, customer_id, name, region, address, map_name, longitude, latitude, resident,
                 risk_balance, margin_balance, advance_limit, connected)
         ON CONFLICT DO NOTHING
         RETURNING user_account_id",
        call.tenant.id,
        users.iter().map(|user| user.user_account_id.as_str()).collect::<Vec<_>>() as _,
        column(|u| &u.customer_id) as _,
        column(|u| &u.user_name) as _,
        column(|u| &u.region_code) as _,
        column(|u| &u.address) as _,
        column(|u| &u.map_name) as _,
        &number(|u| &u.longitude),
        &number(|u| &u.latitude),
        column(|u| u.resident().code()) as _,
        &number(|u| &u.risk_balance),
        &number(|u| &u.margin_balance),
        &number(|u| &u.advance_limit),
        &users.iter().map(|user| connected.contains(&user.user_account_id)).collect::<Vec<_>>(),
        AttestationType::None.stored(),
    )
    .fetch_all(tx)
    .named("archive_user_account_add")
    .await?;
    Ok(written.into_iter().collect())
}

/// A settlement account with the packages that it may be billed by.
#[derive(Clone, Debug)]
pub struct NewAccount {
    /// The row.
    pub brought: BroughtSettlementAccount,
    /// What it is verified with.
    pub account: VerifiedSettlementAccount,
    /// The parameters of its meter point.
    pub point: VerifiedMeterPoint,
    /// Its main package.
    pub main: Package,
    /// Its temporary package.
    pub temporary: Option<Package>,
}

/// What an account was billed before it was brought along, and the month up to which.
fn billed_before(new: &NewAccount) -> (&str, Option<i32>, Decimal, Decimal) {
    let quantity = |text: &str| parse_decimal(text).unwrap_or_default();
    let BroughtSettlementAccount { year_quantity, month_quantity, account_month, .. } = &new.brought;
    let month = Some(*account_month).filter(|month| *month != 0);
    (&new.account.settlement_account_id, month, quantity(year_quantity), quantity(month_quantity))
}

/// Writes archived settlement accounts with their meter points, connects their user accounts, except those that are
/// `connected` already, and returns the identifiers of those that were written.
///
/// # Errors
/// Returns the database's error.
pub async fn add_accounts(
    tx: &mut PgConnection,
    call: &Call,
    new: &[&NewAccount],
    connected: &HashSet<String>,
) -> Result<HashSet<String>, sqlx::Error> {
    if new.is_empty() {
        return Ok(HashSet::new());
    }
    let text = |value: fn(&NewAccount) -> &str| new.iter().map(|a| value(a)).collect::<Vec<_>>();
    let number = |value: fn(&NewAccount) -> i32| new.iter().map(|a| value(a)).collect::<Vec<_>>();
    let date = |value: fn(&NewAccount) -> i32| new.iter().map(|a| day(value(a))).collect::<Vec<Option<NaiveDate>>>();
    let ids = text(|a| &a.account.settlement_account_id);
    let users = text(|a| &a.brought.user_account_id);
    let written = sqlx::query_scalar!(
        "INSERT INTO settlement_account (company_id, settlement_account_id, user_account_id, using_customer_id, utility,
             name, address, state, business_kind, attestation, control_kind, industry_code, industry_sector, resident,
             urban, military, temporary, public_use, inspection_cycle, remark, archived_on)
         SELECT $1, new.settlement_account_id, u.user_account_id, u.using_customer_id, new.utility, new.name, new.address,
             $2, $3, $4, new.control_kind, new.industry_code, new.industry_sector, new.resident, new.urban, new.military,
             new.temporary, new.public_use, new.inspection_cycle, new.remark, new.archived_on
         FROM unnest($5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::text[],
                 $13::text[], $14::text[], $15::text[], $16::text[], $17::text[], $18::int[], $19::text[], $20::date[])
             AS new (settlement_account_id, user_account_id, utility, name, address, control_kind, industry_code,
                 industry_sector, resident, urban, military, temporary, public_use, inspection_cycle, remark, archived_on)
         JOIN user_account u ON u.company_id = $1 AND u.user_account_id = new.user_account_id
         ON CONFLICT DO NOTHING
         RETURNING settlement_account_id",
        call.tenant.id,
        AccountState::Archived.stored(),
        BusCategType::New.stored(),
        AttestationType::Attested.stored(),
        ids.as_slice() as _,
        users.as_slice() as _,
        text(|a| a.point.utility().code()) as _,
        text(|a| &a.account.settlement_account_name) as _,
        text(|a| &a.account.address) as _,
        text(|a| a.account.control_kind().code()) as _,
        text(|a| &a.account.industry_code) as _,
        text(|a| a.account.industry_sector().code()) as _,
        text(|a| a.account.resident().code()) as _,
        text(|a| a.account.urban().code()) as _,
        text(|a| a.account.military().code()) as _,
        text(|a| a.account.temporary().code()) as _,
        text(|a| a.account.public_use().code()) as _,
        &number(|a| a.account.inspection_cycle.unwrap_or_default()),
        text(|a| &a.account.remark) as _,
        date(|a| a.brought.archived_on) as _,
    )
    .fetch_all(&mut *tx)
    .named("archive_account_add")
    .await?;
    let written: HashSet<_> = written.into_iter().collect();
    let unconnected: Vec<_> = users.into_iter().filter(|user| !connected.contains(*user)).collect();
    if !unconnected.is_empty() {
        sqlx::query!(
            "UPDATE user_account u SET connected = true
             FROM (SELECT k.* FROM unnest($1::text[], $2::text[]) AS k (company_id, user_account_id) OFFSET 0) AS own
             WHERE u.company_id = own.company_id AND u.user_account_id = own.user_account_id AND NOT u.connected",
            vec![call.tenant.id.as_str(); unconnected.len()] as _,
            unconnected as _,
        )
        .execute(&mut *tx)
        .named("user_account_connect")
        .await?;
    }

    let new: Vec<_> = new.iter().filter(|a| written.contains(&a.account.settlement_account_id)).collect();
    let billed: Vec<_> = new.iter().map(|a| billed_before(a)).collect();
    accumulators::store::begin(&mut *tx, &call.tenant.id, &billed).await?;
    let text = |value: fn(&NewAccount) -> &str| new.iter().map(|a| value(a)).collect::<Vec<_>>();
    let optional = |value: fn(&Package) -> &str| {
        new.iter().map(|a| a.temporary.as_ref().map(|t| value(t).to_owned())).collect::<Vec<Option<String>>>()
    };
    let number = |value: fn(&NewAccount) -> i32| new.iter().map(|a| value(a)).collect::<Vec<_>>();
    let date = |value: fn(&NewAccount) -> i32| new.iter().map(|a| day(value(a))).collect::<Vec<Option<NaiveDate>>>();
    let figures: Vec<_> = new.iter().map(|a| Figures::from(&a.point)).collect();
    let figure = |value: fn(&Figures) -> Decimal| figures.iter().map(value).collect::<Vec<_>>();
    sqlx::query!(
        "INSERT INTO meter_point (company_id, settlement_account_id, address, book_id, node_id, metered,
             network_company_id, network_store_id, retail_company_id, main_package_id, temporary_company_id,
             temporary_package_id, temporary_months, assessed, stopped_or_vacant, stopped_on, resumed_on,
             power_factor_standard, population, households, energy_load, capacity, demand_multiplier, approved_demand,
             fixed_quantity, fixed_fee, apportioned_total, apportioned_fee, apportion_ratio, division_ratio,
             divided_quantity, divided_fee, area_factor, area)
         SELECT $1, settlement_account_id, address, book_id, node_id, metered, network_company_id, network_store_id,
             retail_company_id, main_package_id, temporary_company_id, temporary_package_id, temporary_months, assessed,
             stopped_or_vacant, stopped_on, resumed_on, nullif(power_factor_standard, ''), population, households,
             energy_load, capacity, demand_multiplier, approved_demand, fixed_quantity, fixed_fee, apportioned_total,
             apportioned_fee, apportion_ratio, division_ratio, divided_quantity, divided_fee, area_factor, area
         FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
                 $10::text[], $11::text[], $12::text[], $13::int[], $14::text[], $15::text[], $16::date[], $17::date[],
                 $18::text[], $19::int[], $20::int[], $21::numeric[], $22::numeric[], $23::numeric[], $24::numeric[],
                 $25::numeric[], $26::numeric[], $27::numeric[], $28::numeric[], $29::numeric[], $30::numeric[],
                 $31::numeric[], $32::numeric[], $33::numeric[], $34::numeric[])
             AS new (settlement_account_id, address, book_id, node_id, metered, network_company_id, network_store_id,
                 retail_company_id, main_package_id, temporary_company_id, temporary_package_id, temporary_months,
                 assessed, stopped_or_vacant, stopped_on, resumed_on, power_factor_standard, population, households,
                 energy_load, capacity, demand_multiplier, approved_demand, fixed_quantity, fixed_fee, apportioned_total,
                 apportioned_fee, apportion_ratio, division_ratio, divided_quantity, divided_fee, area_factor, area)",
        call.tenant.id,
        text(|a| &a.account.settlement_account_id) as _,
        text(|a| &a.point.address) as _,
        text(|a| &a.point.book_id) as _,
        text(|a| &a.point.node_id) as _,
        text(|a| a.point.metered().code()) as _,
        text(|a| &a.main.network_company_id) as _,
        text(|a| &a.point.network_store_id) as _,
        text(|a| &a.main.retail_company_id) as _,
        text(|a| &a.main.package_id) as _,
        optional(|p| &p.retail_company_id) as _,
        optional(|p| &p.package_id) as _,
        &number(|a| a.point.temporary_months),
        text(|a| a.point.assessed().code()) as _,
        text(|a| a.point.stopped_or_vacant().code()) as _,
        date(|a| a.point.stopped_from) as _,
        date(|a| a.point.resupplied_from) as _,
        text(|a| a.point.power_factor_standard().code()) as _,
        &number(|a| a.brought.population),
        &number(|a| a.point.households),
        &figure(|f| f.energy_load),
        &figure(|f| f.capacity),
        &figure(|f| f.demand_multiplier),
        &figure(|f| f.approved_demand),
        &figure(|f| f.fixed_quantity),
        &figure(|f| f.fixed_fee),
        &figure(|f| f.apportioned_total),
        &figure(|f| f.apportioned_fee),
        &figure(|f| f.apportion_ratio),
        &figure(|f| f.division_ratio),
        &figure(|f| f.divided_quantity),
        &figure(|f| f.divided_fee),
        &figure(|f| f.area_factor),
        &figure(|f| f.area),
    )
    .execute(tx)
    .named("archive_meter_point_add")
    .await?;
    Ok(written)
}

/// Writes meters on their accounts with their registers, and returns the identifiers of those that were written.
///
/// # Errors
/// Returns the database's error.
pub async fn add_meters(
    tx: &mut PgConnection,
    call: &Call,
    batch_id: &BatchId,
    meters: &[(&BroughtMeter, &BTreeMap<Register, Brought>)],
) -> Result<HashSet<String>, sqlx::Error> {
    if meters.is_empty() {
        return Ok(HashSet::new());
    }
    let new: Vec<_> = meters.iter().map(|(m, _)| m.meter.clone().unwrap_or_default()).collect();
    let text = |value: fn(&BroughtMeter) -> &str| meters.iter().map(|(m, _)| value(m)).collect::<Vec<_>>();
    let of_new = |value: fn(&communal_proto::billing::v1::NewMeter) -> &str| new.iter().map(value).collect::<Vec<_>>();
    let written = sqlx::query_scalar!(
        "INSERT INTO meter (company_id, meter_id, store_id, factory_number, utility, kind, digits, multiplier,
             quantity_unit, settlement_account_id, location, read_channel, remote, reading_order)
         SELECT $1, new.*
         FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::int[], $8::numeric[], $9::text[],
             $10::text[], $11::text[], $12::text[], $13::text[], $14::int[]) AS new
         ON CONFLICT DO NOTHING
         RETURNING meter_id",
        call.tenant.id,
        text(|m| &m.meter_id) as _,
        of_new(|m| &m.store_id) as _,
        of_new(|m| &m.factory_number) as _,
        of_new(|m| m.utility().code()) as _,
        of_new(|m| m.meter_kind().code()) as _,
        &new.iter().map(|m| m.digits).collect::<Vec<_>>(),
        &new.iter().map(|m| parse_decimal(&m.meter_multiplier).unwrap_or_default()).collect::<Vec<Decimal>>(),
        of_new(|m| &m.quantity_unit) as _,
        text(|m| &m.settlement_account_id) as _,
        text(|m| &m.meter_location) as _,
        text(|m| m.reading_channel().code()) as _,
        text(|m| m.remote_reading().code()) as _,
        &meters.iter().map(|(m, _)| m.reading_order).collect::<Vec<_>>(),
    )
    .fetch_all(&mut *tx)
    .named("archive_meter_add")
    .await?;
    let written: HashSet<_> = written.into_iter().collect();
    let rows = meters.iter().filter(|(meter, _)| written.contains(&meter.meter_id));
    let rows = rows
        .flat_map(|(meter, registers)| registers.iter().map(move |(register, brought)| (*meter, register, brought)));
    let rows: Vec<_> = rows.collect();
    sqlx::query!(
        "WITH new AS MATERIALIZED (
             SELECT * FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::numeric[], $7::date[], $8::numeric[])
                 AS new (settlement_account_id, meter_id, flow, register, reading, read_on, old_quantity)),
         opened AS (
             INSERT INTO boundary_reading (company_id, settlement_account_id, meter_id, flow, register, opening, read_on,
                 reading, origin)
             SELECT $1, settlement_account_id, meter_id, flow, register, true, read_on, reading, $9 FROM new)
         INSERT INTO account_register (company_id, settlement_account_id, meter_id, flow, register, last_reading,
             last_read_on, old_quantity)
         SELECT $1, settlement_account_id, meter_id, flow, register, reading, read_on, old_quantity FROM new",
        call.tenant.id,
        rows.iter().map(|(m, ..)| m.settlement_account_id.as_str()).collect::<Vec<_>>() as _,
        rows.iter().map(|(m, ..)| m.meter_id.as_str()).collect::<Vec<_>>() as _,
        rows.iter().map(|(_, (flow, _), _)| flow.code()).collect::<Vec<_>>() as _,
        rows.iter().map(|(_, (_, register), _)| register.code()).collect::<Vec<_>>() as _,
        &rows.iter().map(|(.., b)| b.last_reading).collect::<Vec<Decimal>>(),
        &rows.iter().map(|(.., b)| b.last_read_on).collect::<Vec<NaiveDate>>(),
        &rows.iter().map(|(.., b)| b.old_quantity).collect::<Vec<Decimal>>(),
        batch_id.as_str(),
    )
    .execute(tx)
    .named("archive_register_add")
    .await?;
    Ok(written)
}
