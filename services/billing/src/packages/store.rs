//! The statements of packages. Every query is bound by the retail company.
//!
//! Lock order of everything that writes to packages: the packages, by identifier; then their prices.
//! Every write to a package raises its version. Prices have versions of their own.

use chrono::NaiveDate;
use communal_kit::call::Call;
use communal_kit::database::Statement as _;
use communal_kit::database::stored::Stored;
use communal_proto::Coded as _;
use communal_proto::billing::v1::{
    BasicFeesType, ChargePackType, DeliveryPriceType, LadderNumType, PackStateType, PurchaseSaleType, TransVoltageType,
};
use sqlx::{PgConnection, PgExecutor};

use super::draft::Draft;
use crate::reference::catalogue_prices::Tariff;
use crate::vocabulary::identifiers::{CompanyId, PackageId, StoreId};
use crate::vocabulary::lifetime::Lifetime;
use crate::vocabulary::tariff::{HeatBasis, Ladder, PropertyBasis, Shape, TimeOfUse, Utility, YesNo, or};

/// A package as it is stored.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // the fields of the contract, documented there
pub struct PackageRow {
    pub retail_company_id: String,
    pub package_id: String,
    pub network_company_id: String,
    pub retail_store_id: Option<String>,
    pub kind: Stored<ChargePackType>,
    pub supply_kind: Stored<PurchaseSaleType>,
    pub name: String,
    pub remark: String,
    pub account_item: String,
    pub utility: Stored<Utility>,
    pub resident: Stored<YesNo>,
    pub deviation: Option<Stored<YesNo>>,
    pub seasonal: Option<Stored<YesNo>>,
    pub agreement_price: Stored<YesNo>,
    pub heat_basis: Option<Stored<HeatBasis>>,
    pub property_basis: Option<Stored<PropertyBasis>>,
    pub basic_fee_kind: Option<Stored<BasicFeesType>>,
    pub time_of_use: Stored<TimeOfUse>,
    pub ladder: Stored<Ladder>,
    pub tiers: Option<Stored<LadderNumType>>,
    pub population: i32,
    pub may_cancel: Option<Stored<YesNo>>,
    pub property_grade: String,
    pub retail_voltage_grade: String,
    pub delivery_price_kind: Option<Stored<DeliveryPriceType>>,
    pub by_power: Option<Stored<YesNo>>,
    pub power_range: String,
    pub delivery_grade: String,
    pub voltage: Option<Stored<TransVoltageType>>,
    pub state: Stored<PackStateType>,
    pub start_date: Option<NaiveDate>,
    pub stop_date: Option<NaiveDate>,
}

impl PackageRow {
    /// The days in force.
    #[must_use]
    pub fn lifetime(&self) -> Lifetime {
        Lifetime { start: self.start_date, stop: self.stop_date }
    }

    /// What names the account item that books its lines: network company, code and utility.
    #[must_use]
    pub fn booked_by(&self) -> (&str, &str, Utility) {
        (&self.network_company_id, &self.account_item, self.utility.0)
    }

    /// The codes by which the catalogue prices it.
    #[must_use]
    pub fn tariff(&self) -> Tariff {
        Tariff {
            retail_grade: self.retail_voltage_grade.clone(),
            property_grade: self.property_grade.clone(),
            heat_basis: or(Stored::given(self.heat_basis), HeatBasis::None),
            property_basis: Stored::given(self.property_basis),
            basic_fee_kind: or(Stored::given(self.basic_fee_kind), BasicFeesType::None),
            seasonal: or(Stored::given(self.seasonal), YesNo::No),
            time_of_use: self.time_of_use.0,
            ladder: self.ladder.0,
            tiers: or(Stored::given(self.tiers), LadderNumType::One),
            ..Tariff::plain(&self.account_item, self.utility.0, self.supply_kind.0)
        }
    }

    /// The properties that decide its prices.
    #[must_use]
    pub fn shape(&self) -> Shape {
        Shape {
            account_item: self.account_item.clone(),
            utility: self.utility.0,
            agreement_price: self.agreement_price.0,
            seasonal: Stored::given(self.seasonal) == YesNo::Yes,
            heat_basis: Stored::given(self.heat_basis),
            property_basis: Stored::given(self.property_basis),
            time_of_use: self.time_of_use.0,
            ladder: self.ladder.0,
            tiers: i32::from(Stored::given(self.tiers)).max(1),
        }
    }
}

/// Selects packages: the one list of their columns, followed by the rest of the statement.
macro_rules! select_packages {
    ($rest:tt, $($argument:expr),* $(,)?) => {
        sqlx::query_as!(
            PackageRow,
            r#"SELECT retail_company_id, package_id, network_company_id, retail_store_id,
                   kind AS "kind: Stored<ChargePackType>", supply_kind AS "supply_kind: Stored<PurchaseSaleType>", name,
                   remark, account_item, utility AS "utility: Stored<Utility>", resident AS "resident: Stored<YesNo>",
                   deviation AS "deviation: Stored<YesNo>", seasonal AS "seasonal: Stored<YesNo>",
                   agreement_price AS "agreement_price: Stored<YesNo>",
                   heat_basis AS "heat_basis: Stored<HeatBasis>",
                   property_basis AS "property_basis: Stored<PropertyBasis>",
                   basic_fee_kind AS "basic_fee_kind: Stored<BasicFeesType>",
                   time_of_use AS "time_of_use: Stored<TimeOfUse>", ladder AS "ladder: Stored<Ladder>",
                   tiers AS "tiers: Stored<LadderNumType>", population, may_cancel AS "may_cancel: Stored<YesNo>",
                   property_grade, retail_voltage_grade,
                   delivery_price_kind AS "delivery_price_kind: Stored<DeliveryPriceType>",
                   by_power AS "by_power: Stored<YesNo>", power_range, delivery_grade,
                   voltage AS "voltage: Stored<TransVoltageType>", state AS "state: Stored<PackStateType>",
                   start_date, stop_date
               FROM package "#
                + $rest,
            $($argument),*
        )
    };
}

/// Runs a statement over the content of a draft. Its parameters are the company, a package identifier,
/// and then the columns of the draft in the order of [`Draft`].
macro_rules! with_draft {
    ($call:ident, $package_id:expr, $draft:ident, $statement:tt, $($argument:expr),* $(,)?) => {
        sqlx::query_scalar!(
            $statement,
            $call.tenant.id,
            $package_id,
            $draft.network_company_id.as_ref().map(CompanyId::as_str),
            $draft.retail_store_id.as_ref().map(StoreId::as_str),
            $draft.name,
            $draft.remark,
            $draft.account_item,
            $draft.utility.stored(),
            $draft.resident.stored(),
            $draft.deviation.stored(),
            $draft.seasonal.stored(),
            $draft.agreement_price.stored(),
            $draft.heat_basis.stored(),
            $draft.property_basis.stored(),
            $draft.basic_fee_kind.stored(),
            $draft.time_of_use.stored(),
            $draft.ladder.stored(),
            $draft.tiers.stored(),
            $draft.population,
            $draft.may_cancel.stored(),
            $draft.property_grade,
            $draft.retail_voltage_grade,
            $draft.delivery_price_kind.stored(),
            $draft.by_power.stored(),
            $draft.power_range,
            $draft.delivery_grade,
            $draft.voltage.stored(),
            $draft.planned.start,
            $draft.planned.stop,
            $draft.kind.stored(),
            $($argument),*
        )
    };
}

/// Adds a draft and returns its identifier.
///
/// # Errors
/// Returns the database's error; it violates `package_live_name` if the name is taken.
pub async fn add(connection: &mut PgConnection, call: &Call, draft: &Draft) -> Result<PackageId, sqlx::Error> {
    let package_id = with_draft!(
        call,
        None::<&str>,
        draft,
        "INSERT INTO package (
             retail_company_id, package_id, network_company_id, retail_store_id, name, remark, account_item, utility,
             resident, deviation, seasonal, agreement_price, heat_basis, property_basis, basic_fee_kind, time_of_use,
             ladder, tiers, population, may_cancel, property_grade, retail_voltage_grade, delivery_price_kind, by_power,
             power_range, delivery_grade, voltage, start_date, stop_date, kind, supply_kind, state)
         VALUES ($1, coalesce($2, 'P' || lpad(nextval('package_number')::text, 15, '0')), coalesce($3, $1), $4, $5, $6, $7, $8, $9,
             $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30,
             $31, $32)
         RETURNING package_id",
        PurchaseSaleType::Direct.stored(),
        PackStateType::Draft.stored(),
    )
    .fetch_one(connection)
    .named("package_insert")
    .await?;
    Ok(package_id.into())
}

/// Replaces the content of a locked draft.
///
/// # Errors
/// Returns the database's error; it violates `package_live_name` if the name is taken.
pub async fn replace(
    connection: &mut PgConnection,
    call: &Call,
    package_id: &PackageId,
    draft: &Draft,
) -> Result<(), sqlx::Error> {
    with_draft!(
        call,
        package_id.as_str(),
        draft,
        "UPDATE package SET (
             network_company_id, retail_store_id, name, remark, account_item, utility, resident, deviation, seasonal,
             agreement_price, heat_basis, property_basis, basic_fee_kind, time_of_use, ladder, tiers, population,
             may_cancel, property_grade, retail_voltage_grade, delivery_price_kind, by_power, power_range,
             delivery_grade, voltage, start_date, stop_date, kind, version)
           = (coalesce($3, $1), $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24,
             $25, $26, $27, $28, $29, $30, version + 1)
         WHERE retail_company_id = $1 AND package_id = $2
         RETURNING package_id",
    )
    .fetch_one(connection)
    .named("package_replace")
    .await?;
    Ok(())
}

/// Offers a package of a network company in its stores.
///
/// # Errors
/// Returns the database's error.
pub async fn offer(
    connection: &mut PgConnection,
    call: &Call,
    package_id: &PackageId,
    stores: &[StoreId],
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO package_store (company_id, package_id, network_store_id)
         SELECT $1, $2, s.store_id FROM unnest($3::text[]) AS s (store_id)",
        call.tenant.id,
        package_id.as_str(),
        stores.iter().map(StoreId::as_str).collect::<Vec<_>>() as _,
    )
    .execute(connection)
    .named("package_offer")
    .await?;
    Ok(())
}

/// Locks packages of the tenant, in the order of their identifiers, and returns those that exist.
///
/// # Errors
/// Returns the database's error.
pub async fn lock(
    connection: &mut PgConnection,
    call: &Call,
    package_ids: &[PackageId],
) -> Result<Vec<PackageRow>, sqlx::Error> {
    select_packages!(
        "WHERE retail_company_id = $1 AND package_id = ANY($2) ORDER BY package_id FOR UPDATE",
        call.tenant.id,
        texts(package_ids) as _
    )
    .fetch_all(connection)
    .named("package_lock")
    .await
}

/// Moves locked drafts to "submitted".
///
/// # Errors
/// Returns the database's error.
pub async fn submit(connection: &mut PgConnection, call: &Call, package_ids: &[PackageId]) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE package SET state = $3, version = version + 1 WHERE retail_company_id = $1 AND package_id = ANY($2)",
        call.tenant.id,
        texts(package_ids) as _,
        PackStateType::Submitted.stored(),
    )
    .execute(connection)
    .named("package_submit")
    .await?;
    Ok(())
}

/// Puts a locked package on sale.
///
/// # Errors
/// Returns the database's error.
pub async fn put_on_sale(
    connection: &mut PgConnection,
    call: &Call,
    package_id: &PackageId,
    lifetime: Lifetime,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE package SET state = $3, start_date = $4, stop_date = $5, version = version + 1
         WHERE retail_company_id = $1 AND package_id = $2",
        call.tenant.id,
        package_id.as_str(),
        PackStateType::OnSale.stored(),
        lifetime.start,
        lifetime.stop,
    )
    .execute(connection)
    .named("package_sell")
    .await?;
    Ok(())
}

/// Cancels locked packages, each with the day on which it stops, if it has one.
///
/// # Errors
/// Returns the database's error.
pub async fn cancel(
    connection: &mut PgConnection,
    call: &Call,
    packages: &[(PackageId, Option<NaiveDate>)],
) -> Result<(), sqlx::Error> {
    let (ids, stops): (Vec<_>, Vec<_>) = packages.iter().map(|(id, stop)| (id.as_str(), *stop)).unzip();
    sqlx::query!(
        "UPDATE package p SET state = $4, stop_date = c.stop_date, version = version + 1
         FROM unnest($2::text[], $3::date[]) AS c (package_id, stop_date)
         WHERE p.retail_company_id = $1 AND p.package_id = c.package_id",
        call.tenant.id,
        ids as _,
        stops as _,
        PackStateType::Cancelled.stored(),
    )
    .execute(connection)
    .named("package_cancel")
    .await?;
    Ok(())
}

/// A selection of packages; a field that is `None` does not narrow it.
#[derive(Clone, Debug, Default)]
pub struct Filter<'a> {
    /// Documented kinds.
    pub kinds: &'a [ChargePackType],
    /// Account item.
    pub account_item: Option<&'a str>,
    /// State.
    pub state: PackStateType,
    /// Utility.
    pub utility: Utility,
    /// Name, in whatever width, case and spacing.
    pub name: Option<&'a str>,
    /// True for packages that can be sold on the day in question, by [`super::lifecycle::sellable`].
    pub sellable: Option<bool>,
}

/// Returns packages of a retail company, oldest first, at most `limit`.
///
/// # Errors
/// Returns the database's error.
pub async fn list(
    executor: impl PgExecutor<'_>,
    retail_company_id: &str,
    filter: &Filter<'_>,
    today: NaiveDate,
    limit: i64,
) -> Result<Vec<PackageRow>, sqlx::Error> {
    select_packages!(
        "WHERE retail_company_id = $1 AND ($2::text IS NULL OR account_item = $2)
         AND ($3::text IS NULL OR state = $3)
         AND ($4::text IS NULL OR utility = $4)
         AND ($5::boolean IS NULL
              OR $5 = (state = $6 AND start_date <= $7 AND (stop_date IS NULL OR stop_date > $7)))
           AND kind = ANY($9) AND ($10::text IS NULL OR folded(name) = folded($10))
         ORDER BY package_id
         LIMIT $8",
        retail_company_id,
        filter.account_item,
        filter.state.stored(),
        filter.utility.stored(),
        filter.sellable,
        PackStateType::OnSale.stored(),
        today,
        limit,
        filter.kinds.iter().filter_map(|kind| kind.stored()).collect::<Vec<_>>() as _,
        filter.name,
    )
    .fetch_all(executor)
    .named("package_list")
    .await
}

/// Returns a package of a retail company.
///
/// # Errors
/// Returns the database's error.
pub async fn read(
    executor: impl PgExecutor<'_>,
    retail_company_id: &str,
    package_id: &PackageId,
) -> Result<Option<PackageRow>, sqlx::Error> {
    select_packages!("WHERE retail_company_id = $1 AND package_id = $2", retail_company_id, package_id.as_str())
        .fetch_optional(executor)
        .named("package_read")
        .await
}

/// Returns packages, each given by its retail company and identifier, those that there are.
///
/// # Errors
/// Returns the database's error.
pub async fn read_all(
    executor: impl PgExecutor<'_>,
    retail_company_ids: &[&str],
    package_ids: &[&str],
) -> Result<Vec<PackageRow>, sqlx::Error> {
    select_packages!(
        "JOIN unnest($1::text[], $2::text[]) AS own (company_id, id)
             ON retail_company_id = own.company_id AND package_id = own.id
         ORDER BY retail_company_id, package_id",
        retail_company_ids as _,
        package_ids as _,
    )
    .fetch_all(executor)
    .named("package_read_all")
    .await
}

/// Identifiers as a statement takes them.
pub(super) fn texts(package_ids: &[PackageId]) -> Vec<&str> {
    package_ids.iter().map(PackageId::as_str).collect()
}

/// Returns those of the packages, each given with its retail company, that are registered, with their network
/// companies.
///
/// # Errors
/// Returns the database's error.
pub async fn registered(
    executor: impl PgExecutor<'_>,
    retail_company_ids: &[String],
    package_ids: &[String],
) -> Result<Vec<((String, String), String)>, sqlx::Error> {
    let rows = sqlx::query!(
        "SELECT p.retail_company_id, p.package_id, p.network_company_id
         FROM unnest($1::text[], $2::text[]) AS own (retail_company_id, package_id)
         JOIN package p ON p.retail_company_id = own.retail_company_id AND p.package_id = own.package_id",
        retail_company_ids,
        package_ids,
    )
    .fetch_all(executor)
    .named("packages_registered")
    .await?;
    Ok(rows.into_iter().map(|row| ((row.retail_company_id, row.package_id), row.network_company_id)).collect())
}
