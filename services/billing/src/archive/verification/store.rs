//! The statements of verification. Every query is bound by the company.
//!
//! Lock order: the user account to which a transfer leads, the settlement account, its meters by identifier.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use communal_kit::call::Call;
use communal_kit::database::Statement as _;
use communal_kit::database::stored::Stored;
use communal_proto::Coded as _;
use communal_proto::billing::v1::{
    AttestationType, BasicFeesType, BusCategType, BusStateType, EnergyFlowType, ForRateValidType, InstalledMeter,
    PackStateType, ReadingsType, ServedSettlementAccount, VerifiedMeterPoint, VerifiedSettlementAccount,
};
use rust_decimal::Decimal;
use sqlx::PgConnection;

use super::parameters::{Book, Figures, Package};
use super::registers::{Closed, Given, Installed, Register};
use crate::archive::settlement_accounts::lifecycle::AccountState;
use crate::archive::settlement_accounts::store::{self as accounts, LockedAccount};
use crate::packages::kind::PackageKind;
use crate::vocabulary::dates::day;
use crate::vocabulary::lifetime::Lifetime;
use crate::vocabulary::tariff::{TimeOfUse, Utility, YesNo};

/// Locks an account, and before it the user account to which its open transfer leads. Returns it if it exists.
///
/// # Errors
/// Returns the database's error.
pub async fn lock(tx: &mut PgConnection, call: &Call, id: &str) -> Result<Option<LockedAccount>, sqlx::Error> {
    sqlx::query!(
        "SELECT FROM user_account
         WHERE company_id = $1 AND user_account_id = (
             SELECT new_user_account_id FROM business_process
             WHERE company_id = $1 AND settlement_account_id = $2 AND completed_at IS NULL)
         FOR UPDATE",
        call.tenant.id,
        id,
    )
    .execute(&mut *tx)
    .named("transfer_lock")
    .await?;
    Ok(accounts::lock(tx, call, &[id]).await?.pop())
}

/// Reads a book of the company; it keeps its utility until this transaction ends.
///
/// # Errors
/// Returns the database's error.
pub async fn book(tx: &mut PgConnection, call: &Call, book_id: &str) -> Result<Option<Book>, sqlx::Error> {
    let row = sqlx::query!(
        r#"SELECT utility AS "utility: Stored<Utility>", read AS "read: Stored<YesNo>"
           FROM book WHERE company_id = $1 AND book_id = $2 FOR SHARE"#,
        call.tenant.id,
        book_id,
    )
    .fetch_optional(tx)
    .named("book_share")
    .await?;
    Ok(row.map(|row| Book { utility: row.utility.0, read: row.read.0 }))
}

/// Reads a package by which the company may bill in a store of the network company: its own, and as a network company
/// also those of retail companies in its area.
///
/// # Errors
/// Returns the database's error.
pub async fn package(
    tx: &mut PgConnection,
    call: &Call,
    package_id: &str,
    network_store_id: &str,
) -> Result<Option<Package>, sqlx::Error> {
    let row = sqlx::query!(
        r#"SELECT package_id, retail_company_id, network_company_id, utility AS "utility: Stored<Utility>",
               state AS "state: Stored<PackStateType>", start_date, stop_date,
               kind = ANY($4) OR EXISTS (
                   SELECT FROM package_store s
                   WHERE s.company_id = p.retail_company_id AND s.package_id = p.package_id
                       AND s.network_store_id = $3) AS "offered!",
               time_of_use AS "time_of_use: Stored<TimeOfUse>",
               basic_fee_kind AS "basic_fee_kind: Stored<BasicFeesType>"
           FROM package p WHERE package_id = $2 AND (retail_company_id = $1 OR network_company_id = $1)"#,
        call.tenant.id,
        package_id,
        network_store_id,
        &PackageKind::Retail.codes().iter().map(|kind| kind.code().to_owned()).collect::<Vec<_>>(),
    )
    .fetch_optional(tx)
    .named("package_billable")
    .await?;
    Ok(row.map(|row| Package {
        package_id: row.package_id,
        retail_company_id: row.retail_company_id,
        network_company_id: row.network_company_id,
        utility: row.utility.0,
        state: row.state.0,
        lifetime: Lifetime { start: row.start_date, stop: row.stop_date },
        offered: row.offered,
        time_of_use: row.time_of_use.0,
        basic_fee_kind: Stored::given(row.basic_fee_kind),
    }))
}

/// Sets what an account and its meter point are verified with.
///
/// # Errors
/// Returns the database's error; it violates `settlement_account_name` if the name is taken.
pub async fn set_parameters(
    tx: &mut PgConnection,
    call: &Call,
    account: &VerifiedSettlementAccount,
    point: &VerifiedMeterPoint,
    main: &Package,
    temporary: Option<&Package>,
) -> Result<(), sqlx::Error> {
    // A transfer's account goes to its new user account before its name is set: there it has to be free.
    sqlx::query!(
        "UPDATE settlement_account a
         SET user_account_id = coalesce(u.user_account_id, a.user_account_id),
             using_customer_id = coalesce(u.using_customer_id, a.using_customer_id), name = $3, address = $4,
             control_kind = $5, industry_code = $6, industry_sector = $7, resident = $8, urban = $9, military = $10,
             temporary = $11, public_use = $12, inspection_cycle = $13, remark = $14
         FROM business_process p
             LEFT JOIN user_account u ON u.company_id = p.company_id AND u.user_account_id = p.new_user_account_id
         WHERE a.company_id = $1 AND a.settlement_account_id = $2 AND p.company_id = a.company_id
             AND p.settlement_account_id = a.settlement_account_id AND p.completed_at IS NULL",
        call.tenant.id,
        account.settlement_account_id,
        account.settlement_account_name,
        account.address,
        account.control_kind().stored(),
        account.industry_code,
        account.industry_sector().stored(),
        account.resident().stored(),
        account.urban().stored(),
        account.military().stored(),
        account.temporary().stored(),
        account.public_use().stored(),
        account.inspection_cycle.unwrap_or_default(),
        account.remark,
    )
    .execute(&mut *tx)
    .named("settlement_account_verify")
    .await?;
    sqlx::query!(
        "UPDATE user_account SET connected = true
         WHERE company_id = $1 AND NOT connected AND user_account_id = (
             SELECT user_account_id FROM settlement_account WHERE company_id = $1 AND settlement_account_id = $2)",
        call.tenant.id,
        account.settlement_account_id,
    )
    .execute(&mut *tx)
    .named("user_account_connect")
    .await?;
    let figures = Figures::from(point);
    sqlx::query!(
        "INSERT INTO meter_point (company_id, settlement_account_id, address, book_id, node_id, metered,
             network_company_id, network_store_id, retail_company_id, main_package_id, temporary_company_id,
             temporary_package_id, temporary_months, assessed, stopped_or_vacant, stopped_on, resumed_on, energy_load,
             capacity, demand_multiplier, approved_demand, power_factor_standard, fixed_quantity, fixed_fee,
             apportioned_total, apportioned_fee, apportion_ratio, division_ratio, divided_quantity, divided_fee,
             area_factor, area, households)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23,
             $24, $25, $26, $27, $28, $29, $30, $31, $32, $33)
         ON CONFLICT (company_id, settlement_account_id) DO UPDATE
         SET (address, book_id, node_id, metered, network_company_id, network_store_id, retail_company_id,
              main_package_id, temporary_company_id, temporary_package_id, temporary_months, temporary_months_used,
              assessed, stopped_or_vacant, stopped_on, resumed_on, energy_load, capacity, demand_multiplier,
              approved_demand, power_factor_standard, fixed_quantity, fixed_fee, apportioned_total, apportioned_fee,
              apportion_ratio, division_ratio, divided_quantity, divided_fee, area_factor, area, households)
           = (excluded.address, excluded.book_id, excluded.node_id, excluded.metered, excluded.network_company_id,
              excluded.network_store_id, excluded.retail_company_id, excluded.main_package_id,
              excluded.temporary_company_id, excluded.temporary_package_id, excluded.temporary_months, 0,
              excluded.assessed, excluded.stopped_or_vacant, excluded.stopped_on, excluded.resumed_on,
              excluded.energy_load, excluded.capacity, excluded.demand_multiplier, excluded.approved_demand,
              excluded.power_factor_standard, excluded.fixed_quantity, excluded.fixed_fee, excluded.apportioned_total,
              excluded.apportioned_fee, excluded.apportion_ratio, excluded.division_ratio, excluded.divided_quantity,
              excluded.divided_fee, excluded.area_factor, excluded.area, excluded.households)",
        call.tenant.id,
        account.settlement_account_id,
        point.address,
        point.book_id,
        point.node_id,
        point.metered().stored(),
        main.network_company_id,
        point.network_store_id,
        main.retail_company_id,
        main.package_id,
        temporary.map(|package| package.retail_company_id.as_str()),
        temporary.map(|package| package.package_id.as_str()),
        point.temporary_months,
        point.assessed().stored(),
        point.stopped_or_vacant().stored(),
        day(point.stopped_from),
        day(point.resupplied_from),
        figures.energy_load,
        figures.capacity,
        figures.demand_multiplier,
        figures.approved_demand,
        point.power_factor_standard().stored(),
        figures.fixed_quantity,
        figures.fixed_fee,
        figures.apportioned_total,
        figures.apportioned_fee,
        figures.apportion_ratio,
        figures.division_ratio,
        figures.divided_quantity,
        figures.divided_fee,
        figures.area_factor,
        figures.area,
        point.households,
    )
    .execute(tx)
    .named("meter_point_set")
    .await?;
    Ok(())
}

/// Moves the open process of a locked account on to its next state.
///
/// # Errors
/// Returns the database's error.
pub async fn wait(
    tx: &mut PgConnection,
    call: &Call,
    settlement_account_id: &str,
    state: BusStateType,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE business_process SET state = $3
         WHERE company_id = $1 AND settlement_account_id = $2 AND completed_at IS NULL",
        call.tenant.id,
        settlement_account_id,
        state.stored(),
    )
    .execute(tx)
    .named("business_process_wait")
    .await?;
    Ok(())
}

/// Completes the open process of a locked account, which is archived or closed today by it. Its billing point that is not
/// charged off is noted as outdated if the process concerns it.
///
/// # Errors
/// Returns the database's error.
pub async fn complete(
    tx: &mut PgConnection,
    call: &Call,
    settlement_account_id: &str,
    kind: BusCategType,
    state: AccountState,
    today: NaiveDate,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE business_process SET state = $3, completed_at = platform.instant()
         WHERE company_id = $1 AND settlement_account_id = $2 AND completed_at IS NULL",
        call.tenant.id,
        settlement_account_id,
        BusStateType::Archive.stored(),
    )
    .execute(&mut *tx)
    .named("business_process_complete")
    .await?;
    sqlx::query!(
        "UPDATE settlement_account SET state = $3, business_kind = $4, attestation = $5,
             archived_on = coalesce(archived_on, $6), closed_on = CASE WHEN $3 = '3' THEN $6::date END
         WHERE company_id = $1 AND settlement_account_id = $2",
        call.tenant.id,
        settlement_account_id,
        state.stored(),
        kind.stored(),
        AttestationType::Attested.stored(),
        today,
    )
    .execute(&mut *tx)
    .named("settlement_account_complete")
    .await?;
    // A change takes effect with the next billing point; another meter or customer concerns the present one.
    if let BusCategType::MeterSwap | BusCategType::Close | BusCategType::Transfer = kind {
        sqlx::query!(
            "SELECT outdate_point($1, $2, $3)",
            call.tenant.id,
            settlement_account_id,
            kind != BusCategType::Transfer,
        )
        .execute(tx)
        .named("billing_point_outdate")
        .await?;
    }
    Ok(())
}

/// What decides which registers an account needs, as it is stored.
///
/// # Errors
/// Returns the database's error.
pub async fn needs(
    tx: &mut PgConnection,
    call: &Call,
    settlement_account_id: &str,
) -> Result<Option<super::registers::Needs>, sqlx::Error> {
    let row = sqlx::query!(
        r#"SELECT mp.power_factor_standard AS "power_factor: Stored<ForRateValidType>",
               k.time_of_use AS "main_time: Stored<TimeOfUse>", k.basic_fee_kind AS "main_fee: Stored<BasicFeesType>",
               t.time_of_use AS "temporary_time?: Stored<TimeOfUse>",
               t.basic_fee_kind AS "temporary_fee?: Stored<BasicFeesType>"
           FROM meter_point mp
           JOIN package k ON k.retail_company_id = mp.retail_company_id AND k.package_id = mp.main_package_id
           LEFT JOIN package t ON t.retail_company_id = mp.temporary_company_id
               AND t.package_id = mp.temporary_package_id
           WHERE mp.company_id = $1 AND mp.settlement_account_id = $2"#,
        call.tenant.id,
        settlement_account_id,
    )
    .fetch_optional(tx)
    .named("meter_point_needs")
    .await?;
    Ok(row.map(|row| {
        let main = (row.main_time.0, Stored::given(row.main_fee));
        let temporary = row.temporary_time.map(|time| (time.0, Stored::given(row.temporary_fee)));
        super::parameters::needs(Stored::given(row.power_factor), std::iter::once(main).chain(temporary))
    }))
}

/// A register of an account's meter as it is stored.
#[derive(Clone, Debug)]
struct RegisterRow {
    flow: Stored<EnergyFlowType>,
    register: Stored<ReadingsType>,
    last_reading: Decimal,
    old_quantity: Decimal,
}

/// Returns the registers of the account's meter.
///
/// # Errors
/// Returns the database's error.
pub async fn installed(
    tx: &mut PgConnection,
    call: &Call,
    settlement_account_id: &str,
) -> Result<Vec<Installed>, sqlx::Error> {
    let rows = sqlx::query_as!(
        RegisterRow,
        r#"SELECT flow AS "flow: Stored<EnergyFlowType>", register AS "register: Stored<ReadingsType>", last_reading,
               old_quantity
           FROM account_register WHERE company_id = $1 AND settlement_account_id = $2 AND meter_id IS NOT NULL
           ORDER BY flow, register"#,
        call.tenant.id,
        settlement_account_id,
    )
    .fetch_all(tx)
    .named("account_register_read")
    .await?;
    let register = |row: RegisterRow| Installed {
        register: (row.flow.0, row.register.0),
        last_reading: row.last_reading,
        old_quantity: row.old_quantity,
    };
    Ok(rows.into_iter().map(register).collect())
}

/// Returns the multiplier of the demand register of an account; `None` if it is the meter's.
///
/// # Errors
/// Returns the database's error.
pub async fn demand_multiplier(
    tx: &mut PgConnection,
    call: &Call,
    settlement_account_id: &str,
) -> Result<Option<Decimal>, sqlx::Error> {
    let multiplier = sqlx::query_scalar!(
        "SELECT demand_multiplier FROM meter_point WHERE company_id = $1 AND settlement_account_id = $2",
        call.tenant.id,
        settlement_account_id,
    )
    .fetch_optional(tx)
    .named("meter_point_demand_multiplier")
    .await?;
    Ok(multiplier.filter(|multiplier| !multiplier.is_zero()))
}

/// Takes a meter off its account, with its closing readings.
///
/// # Errors
/// Returns the database's error.
pub async fn take_off(
    tx: &mut PgConnection,
    call: &Call,
    account: &LockedAccount,
    meter_id: &str,
    closed: &[Closed],
    today: NaiveDate,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE meter SET settlement_account_id = NULL, location = '', read_channel = NULL, remote = NULL,
             reading_order = 0
         WHERE company_id = $1 AND meter_id = $2",
        call.tenant.id,
        meter_id,
    )
    .execute(&mut *tx)
    .named("meter_take_off")
    .await?;
    sqlx::query!(
        "UPDATE account_register r SET meter_id = NULL, last_reading = c.reading, last_read_on = $7,
             old_quantity = c.carried
         FROM unnest($3::text[], $4::text[], $5::numeric[], $6::numeric[]) AS c (flow, register, reading, carried)
         WHERE r.company_id = $1 AND r.settlement_account_id = $2 AND r.flow = c.flow AND r.register = c.register",
        call.tenant.id,
        account.settlement_account_id,
        closed.iter().map(|c| c.register.0.code()).collect::<Vec<_>>() as _,
        closed.iter().map(|c| c.register.1.code()).collect::<Vec<_>>() as _,
        &closed.iter().map(|c| c.reading).collect::<Vec<_>>(),
        &closed.iter().map(|c| c.carried).collect::<Vec<_>>(),
        today,
    )
    .execute(&mut *tx)
    .named("account_register_close")
    .await?;
    sqlx::query!(
        "INSERT INTO boundary_reading (company_id, settlement_account_id, meter_id, opening, read_on, origin, flow,
             register, reading, turn, quantity)
         SELECT $1, $2, $3, false, $4, $5, flow, register, reading, nullif(turn, ''), quantity
         FROM unnest($6::text[], $7::text[], $8::numeric[], $9::text[], $10::numeric[])
             AS closed (flow, register, reading, turn, quantity)",
        call.tenant.id,
        account.settlement_account_id,
        meter_id,
        today,
        account.process_id.as_deref().unwrap_or_default(),
        closed.iter().map(|c| c.register.0.code()).collect::<Vec<_>>() as _,
        closed.iter().map(|c| c.register.1.code()).collect::<Vec<_>>() as _,
        &closed.iter().map(|c| c.reading).collect::<Vec<_>>(),
        closed.iter().map(|c| c.turn.code()).collect::<Vec<_>>() as _,
        &closed.iter().map(|c| c.quantity).collect::<Vec<Decimal>>(),
    )
    .execute(tx)
    .named("boundary_reading_close")
    .await?;
    Ok(())
}

/// Installs a meter on an account, with its opening readings. Registers that the account had and this meter has not are
/// gone; nothing is carried in them.
///
/// # Errors
/// Returns the database's error; it violates `meter_of_account` if the account has a meter.
pub async fn install(
    tx: &mut PgConnection,
    call: &Call,
    account: &LockedAccount,
    meter: &InstalledMeter,
    opening: &BTreeMap<Register, Given>,
    today: NaiveDate,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE meter SET settlement_account_id = $3, location = $4, read_channel = $5, remote = $6, reading_order = $7
         WHERE company_id = $1 AND meter_id = $2",
        call.tenant.id,
        meter.meter_id,
        account.settlement_account_id,
        meter.meter_location,
        meter.reading_channel().stored(),
        meter.remote_reading().stored(),
        meter.reading_order,
    )
    .execute(&mut *tx)
    .named("meter_install")
    .await?;
    let flows: Vec<_> = opening.keys().map(|(flow, _)| flow.code()).collect();
    let registers: Vec<_> = opening.keys().map(|(_, register)| register.code()).collect();
    let readings: Vec<_> = opening.values().map(|given| given.reading).collect();
    sqlx::query!(
        "DELETE FROM account_register r
         WHERE company_id = $1 AND settlement_account_id = $2 AND NOT EXISTS (
             SELECT FROM unnest($3::text[], $4::text[]) AS o (flow, register)
             WHERE o.flow = r.flow AND o.register = r.register)",
        call.tenant.id,
        account.settlement_account_id,
        flows.as_slice() as _,
        registers.as_slice() as _,
    )
    .execute(&mut *tx)
    .named("account_register_drop")
    .await?;
    sqlx::query!(
        "INSERT INTO account_register (company_id, settlement_account_id, meter_id, last_read_on, flow, register, last_reading)
         SELECT $1, $2, $3, $4, flow, register, reading
         FROM unnest($5::text[], $6::text[], $7::numeric[]) AS opening (flow, register, reading)
         ON CONFLICT (company_id, settlement_account_id, flow, register) DO UPDATE
         SET (meter_id, last_read_on, last_reading) = (excluded.meter_id, excluded.last_read_on, excluded.last_reading)",
        call.tenant.id,
        account.settlement_account_id,
        meter.meter_id,
        today,
        flows.as_slice() as _,
        registers.as_slice() as _,
        &readings,
    )
    .execute(&mut *tx)
    .named("account_register_open")
    .await?;
    sqlx::query!(
        "INSERT INTO boundary_reading (company_id, settlement_account_id, meter_id, opening, read_on, origin, flow,
             register, reading)
         SELECT $1, $2, $3, true, $4, $5, flow, register, reading
         FROM unnest($6::text[], $7::text[], $8::numeric[]) AS opening (flow, register, reading)",
        call.tenant.id,
        account.settlement_account_id,
        meter.meter_id,
        today,
        account.process_id.as_deref().unwrap_or_default(),
        flows.as_slice() as _,
        registers.as_slice() as _,
        &readings,
    )
    .execute(tx)
    .named("boundary_reading_open")
    .await?;
    Ok(())
}

/// Sets the connection of a locked account.
///
/// # Errors
/// Returns the database's error.
pub async fn set_connection(
    tx: &mut PgConnection,
    call: &Call,
    served: &ServedSettlementAccount,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE settlement_account SET connection_kind = $3 WHERE company_id = $1 AND settlement_account_id = $2",
        call.tenant.id,
        served.settlement_account_id,
        served.connection_kind().stored(),
    )
    .execute(tx)
    .named("settlement_account_connection")
    .await?;
    Ok(())
}
