//! Where packages are kept. Every query is bound by the retail company.
//!
//! Lock order of everything that writes to packages: the packages, by identifier; then their
//! prices. Every write raises the package's version and leaves an event.

use chrono::NaiveDate;
use communal_kit::call::Call;
use communal_kit::database::Statement as _;
use communal_proto::billing::v1::{ChargePackType, PackStateType, PurchaseSaleType};
use sqlx::{PgConnection, PgExecutor};

use super::draft::Draft;
use super::lifecycle::Step;
use crate::vocabulary::lifetime::Lifetime;
use crate::vocabulary::tariff::{Shape, YesNo};

/// A package as it is stored; codes are the numbers of the contract's enums.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // the fields of the contract, documented there
pub struct PackageRow {
    pub retail_company_id: String,
    pub package_id: String,
    pub network_company_id: String,
    pub retail_store_id: String,
    pub package_kind: i16,
    pub supply_kind: i16,
    pub name: String,
    pub remark: String,
    pub account_item: String,
    pub utility: i16,
    pub resident: i16,
    pub deviation: i16,
    pub seasonal: i16,
    pub agreement_price: i16,
    pub heat_basis: i16,
    pub property_basis: i16,
    pub basic_fee_kind: i16,
    pub time_of_use: i16,
    pub ladder: i16,
    pub ladder_tiers: i16,
    pub population: i32,
    pub may_cancel: i16,
    pub property_grade: String,
    pub retail_level: String,
    pub delivery_price_kind: i16,
    pub by_power: i16,
    pub power_range: String,
    pub delivery_level: String,
    pub voltage: i16,
    pub state: i16,
    pub start_date: Option<NaiveDate>,
    pub stop_date: Option<NaiveDate>,
    pub version: i64,
}

impl PackageRow {
    /// State.
    #[must_use]
    pub fn state(&self) -> PackStateType {
        enumerated(self.state)
    }

    /// Days in force.
    #[must_use]
    pub fn lifetime(&self) -> Lifetime {
        Lifetime { start: self.start_date, stop: self.stop_date }
    }

    /// What decides its prices.
    #[must_use]
    pub fn shape(&self) -> Shape {
        Shape {
            account_item: self.account_item.clone(),
            utility: enumerated(self.utility),
            agreement_price: enumerated(self.agreement_price),
            seasonal: enumerated::<YesNo>(self.seasonal) == YesNo::Yes,
            heat_basis: enumerated(self.heat_basis),
            property_basis: enumerated(self.property_basis),
            time_of_use: enumerated(self.time_of_use),
            ladder: enumerated(self.ladder),
            tiers: i32::from(self.ladder_tiers).max(1),
        }
    }
}

/// The code of a stored number.
pub(crate) fn enumerated<E: TryFrom<i32> + Default>(number: i16) -> E {
    E::try_from(i32::from(number)).unwrap_or_default()
}

/// The stored number of a code. Every code table of the contract is shorter than an `i16`.
pub(crate) fn number(code: impl Into<i32>) -> i16 {
    i16::try_from(code.into()).unwrap_or_default()
}

/// Adds a draft and returns its identifier.
///
/// # Errors
/// Storage faults; `sales_package_live_name` where the name is taken.
pub async fn add(connection: &mut PgConnection, call: &Call, draft: &Draft) -> Result<String, sqlx::Error> {
    let package_id = sqlx::query_scalar!(
        r#"INSERT INTO sales_package (
               retail_company_id, package_id, network_company_id, retail_store_id, package_kind, supply_kind, name,
               remark, account_item, utility, resident, deviation, seasonal, agreement_price, heat_basis,
               property_basis, basic_fee_kind, time_of_use, ladder, ladder_tiers, population, may_cancel,
               property_grade, retail_level, delivery_price_kind, by_power, power_range, delivery_level, voltage,
               state, start_date, stop_date)
           VALUES ($1, 'P' || lpad(nextval('sales_package_number')::text, 15, '0'), $2, $3, $4, $5, $6, $7, $8, $9,
               $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29,
               $30, $31)
           RETURNING package_id"#,
        call.tenant.id,
        draft.network_company_id.as_str(),
        draft.retail_store_id.as_str(),
        number(ChargePackType::Market),
        number(PurchaseSaleType::Direct),
        draft.name,
        draft.remark,
        draft.account_item,
        number(draft.utility),
        number(draft.resident),
        number(draft.deviation),
        number(draft.seasonal),
        number(draft.agreement_price),
        number(draft.heat_basis),
        number(draft.property_basis),
        number(draft.basic_fee_kind),
        number(draft.time_of_use),
        number(draft.ladder),
        number(draft.tiers),
        draft.population,
        number(draft.may_cancel),
        draft.property_grade,
        draft.retail_voltage_grade,
        number(draft.delivery_price_kind),
        number(draft.by_power),
        draft.power_range,
        draft.delivery_grade,
        number(draft.voltage),
        number(PackStateType::Draft),
        draft.planned.start,
        draft.planned.stop,
    )
    .fetch_one(&mut *connection)
    .named("package_insert")
    .await?;
    note(connection, call, std::slice::from_ref(&package_id), "add", 0).await?;
    Ok(package_id)
}

/// Replaces a draft, whose row is locked.
///
/// # Errors
/// Storage faults; `sales_package_live_name` where the name is taken.
pub async fn replace(
    connection: &mut PgConnection,
    call: &Call,
    package_id: &str,
    draft: &Draft,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE sales_package SET
             network_company_id = $3, retail_store_id = $4, name = $5, remark = $6, account_item = $7, utility = $8,
             resident = $9, deviation = $10, seasonal = $11, agreement_price = $12, heat_basis = $13,
             property_basis = $14, basic_fee_kind = $15, time_of_use = $16, ladder = $17, ladder_tiers = $18,
             population = $19, may_cancel = $20, property_grade = $21, retail_level = $22, delivery_price_kind = $23,
             by_power = $24, power_range = $25, delivery_level = $26, voltage = $27, start_date = $28,
             stop_date = $29, version = version + 1
         WHERE retail_company_id = $1 AND package_id = $2",
        call.tenant.id,
        package_id,
        draft.network_company_id.as_str(),
        draft.retail_store_id.as_str(),
        draft.name,
        draft.remark,
        draft.account_item,
        number(draft.utility),
        number(draft.resident),
        number(draft.deviation),
        number(draft.seasonal),
        number(draft.agreement_price),
        number(draft.heat_basis),
        number(draft.property_basis),
        number(draft.basic_fee_kind),
        number(draft.time_of_use),
        number(draft.ladder),
        number(draft.tiers),
        draft.population,
        number(draft.may_cancel),
        draft.property_grade,
        draft.retail_voltage_grade,
        number(draft.delivery_price_kind),
        number(draft.by_power),
        draft.power_range,
        draft.delivery_grade,
        number(draft.voltage),
        draft.planned.start,
        draft.planned.stop,
    )
    .execute(&mut *connection)
    .named("package_replace")
    .await?;
    note(connection, call, &[package_id.to_owned()], Step::Edit.name(), 0).await
}

/// Locks packages of the caller, in the order of their identifiers, and reads them.
///
/// # Errors
/// Storage faults.
pub async fn lock(
    connection: &mut PgConnection,
    call: &Call,
    package_ids: &[String],
) -> Result<Vec<PackageRow>, sqlx::Error> {
    sqlx::query_as!(
        PackageRow,
        "SELECT retail_company_id, package_id, network_company_id, retail_store_id, package_kind, supply_kind, name,
             remark, account_item, utility, resident, deviation, seasonal, agreement_price, heat_basis,
             property_basis, basic_fee_kind, time_of_use, ladder, ladder_tiers, population, may_cancel,
             property_grade, retail_level, delivery_price_kind, by_power, power_range, delivery_level, voltage,
             state, start_date, stop_date, version
         FROM sales_package
         WHERE retail_company_id = $1 AND package_id = ANY($2)
         ORDER BY package_id
         FOR UPDATE",
        call.tenant.id,
        package_ids,
    )
    .fetch_all(connection)
    .named("package_lock")
    .await
}

/// Moves locked packages to a state and leaves their dates as they are.
///
/// # Errors
/// Storage faults.
pub async fn move_to(
    connection: &mut PgConnection,
    call: &Call,
    package_ids: &[String],
    state: PackStateType,
    step: Step,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE sales_package SET state = $3, version = version + 1
         WHERE retail_company_id = $1 AND package_id = ANY($2)",
        call.tenant.id,
        package_ids,
        number(state),
    )
    .execute(&mut *connection)
    .named("package_move")
    .await?;
    note(connection, call, package_ids, step.name(), 0).await
}

/// Puts a locked package on sale. Its prices come into force on its first day.
///
/// # Errors
/// Storage faults.
pub async fn put_on_sale(
    connection: &mut PgConnection,
    call: &Call,
    package_id: &str,
    lifetime: Lifetime,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE sales_package SET state = $3, start_date = $4, stop_date = $5, version = version + 1
         WHERE retail_company_id = $1 AND package_id = $2",
        call.tenant.id,
        package_id,
        number(PackStateType::OnSale),
        lifetime.start,
        lifetime.stop,
    )
    .execute(&mut *connection)
    .named("package_sell")
    .await?;
    let rows = sqlx::query!(
        "UPDATE sales_price SET start_date = $3
         WHERE retail_company_id = $1 AND package_id = $2 AND stop_date IS NULL",
        call.tenant.id,
        package_id,
        lifetime.start,
    )
    .execute(&mut *connection)
    .named("package_sell_prices")
    .await?
    .rows_affected();
    note(connection, call, &[package_id.to_owned()], Step::PutOnSale.name(), rows).await
}

/// Cancels a locked package on a day. Its open prices end then, or never begin.
///
/// # Errors
/// Storage faults.
pub async fn cancel(
    connection: &mut PgConnection,
    call: &Call,
    package: &PackageRow,
    today: NaiveDate,
) -> Result<(), sqlx::Error> {
    let lifetime =
        if package.state() == PackStateType::OnSale { package.lifetime().cut(today) } else { package.lifetime() };
    sqlx::query!(
        "UPDATE sales_package SET state = $3, stop_date = $4, version = version + 1
         WHERE retail_company_id = $1 AND package_id = $2",
        call.tenant.id,
        package.package_id,
        number(PackStateType::Cancelled),
        lifetime.stop,
    )
    .execute(&mut *connection)
    .named("package_cancel")
    .await?;
    let rows = sqlx::query!(
        "UPDATE sales_price SET start_date = coalesce(start_date, $3), stop_date = greatest(start_date, $3)
         WHERE retail_company_id = $1 AND package_id = $2 AND stop_date IS NULL",
        call.tenant.id,
        package.package_id,
        today,
    )
    .execute(&mut *connection)
    .named("package_cancel_prices")
    .await?
    .rows_affected();
    note(connection, call, std::slice::from_ref(&package.package_id), Step::Cancel.name(), rows).await
}

/// Leaves an event at packages whose version this transaction has just raised.
async fn note(
    connection: &mut PgConnection,
    call: &Call,
    package_ids: &[String],
    step: &str,
    price_rows: u64,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO sales_package_event
             (retail_company_id, package_id, version, step, price_rows, operator_id, channel_id, trace_id)
         SELECT retail_company_id, package_id, version, $3, $4, $5, $6, $7
         FROM sales_package WHERE retail_company_id = $1 AND package_id = ANY($2)",
        call.tenant.id,
        package_ids,
        step,
        i32::try_from(price_rows).unwrap_or(i32::MAX),
        call.operator_id,
        call.channel_id,
        call.trace_id,
    )
    .execute(connection)
    .named("package_note")
    .await?;
    Ok(())
}

/// Which packages to list; what is `None` does not filter.
#[derive(Clone, Debug, Default)]
pub struct Filter<'a> {
    /// This package alone.
    pub package_id: Option<&'a str>,
    /// Tariff class.
    pub account_item: Option<&'a str>,
    /// State.
    pub state: Option<i16>,
    /// Utility.
    pub utility: Option<i16>,
    /// Whether it can be sold on the day asked about; the rule of [`super::lifecycle::sellable`].
    pub sellable: Option<bool>,
}

/// Packages of a retail company, oldest first; at most `limit`.
///
/// # Errors
/// Storage faults.
pub async fn list(
    executor: impl PgExecutor<'_>,
    retail_company_id: &str,
    filter: &Filter<'_>,
    today: NaiveDate,
    limit: i64,
) -> Result<Vec<PackageRow>, sqlx::Error> {
    sqlx::query_as!(
        PackageRow,
        "SELECT retail_company_id, package_id, network_company_id, retail_store_id, package_kind, supply_kind, name,
             remark, account_item, utility, resident, deviation, seasonal, agreement_price, heat_basis,
             property_basis, basic_fee_kind, time_of_use, ladder, ladder_tiers, population, may_cancel,
             property_grade, retail_level, delivery_price_kind, by_power, power_range, delivery_level, voltage,
             state, start_date, stop_date, version
         FROM sales_package
         WHERE retail_company_id = $1
           AND ($2::text IS NULL OR package_id = $2)
           AND ($3::text IS NULL OR account_item = $3)
           AND ($4::smallint IS NULL OR state = $4)
           AND ($5::smallint IS NULL OR utility = $5)
           AND ($6::boolean IS NULL
                OR $6 = (state = 5 AND start_date <= $7 AND (stop_date IS NULL OR stop_date > $7)))
         ORDER BY package_id
         LIMIT $8",
        retail_company_id,
        filter.package_id,
        filter.account_item,
        filter.state,
        filter.utility,
        filter.sellable,
        today,
        limit,
    )
    .fetch_all(executor)
    .named("package_list")
    .await
}
