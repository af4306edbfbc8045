//! The statements that find settlement accounts, with their user accounts and meter points.

use chrono::NaiveDate;
use communal_kit::database::Statement as _;
use communal_kit::database::stored::Stored;
use communal_kit::paging::Page;
use communal_kit::pool::Pool;
use communal_proto::Coded as _;
use communal_proto::billing::v1::{
    AttestationType, BasicFeesType, BusCategType, BusStateType, ConnectModeType, ControlType, ForRateValidType,
    IndustryType, PurchaseSaleType,
};
use rust_decimal::Decimal;
use sqlx::{PgConnection, PgExecutor};

use crate::vocabulary::tariff::{HeatBasis, Ladder, PropertyBasis, TimeOfUse, Utility, YesNo};

/// The persons whose accounts are asked for. What is empty does not filter.
#[derive(Clone, Debug, Default)]
pub struct Person {
    /// Hashes that the customer's certificate has; several contradict each other.
    pub certificates: Vec<Vec<u8>>,
    /// The customer's phone.
    pub phone: String,
    /// The customer's name.
    pub name: String,
    /// The beginning of the user account's address.
    pub address: String,
}

/// A user account as it is stored.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // the fields of the contract, documented there
pub struct UserAccountRow {
    pub customer_id: String,
    pub using_customer_id: String,
    pub user_account_id: String,
    pub name: String,
    pub region: String,
    pub address: String,
    pub attestation: Stored<AttestationType>,
    pub resident: Stored<YesNo>,
    pub map_name: String,
    pub longitude: Decimal,
    pub latitude: Decimal,
    pub risk_balance: Decimal,
    pub margin_balance: Decimal,
    pub advance_limit: Decimal,
}

/// The part of a [`Person`] by which accounts are found; the other parts only narrow what is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lead {
    Certificate,
    Phone,
    Name,
    Address,
    Nothing,
}

impl Person {
    fn lead(&self) -> Lead {
        if !self.certificates.is_empty() {
            Lead::Certificate
        } else if !self.phone.is_empty() {
            Lead::Phone
        } else if !self.name.is_empty() {
            Lead::Name
        } else if !self.address.is_empty() {
            Lead::Address
        } else {
            Lead::Nothing
        }
    }
}

/// Selects a page of user accounts `u` with their customer `c`. The first condition decides by which index they are
/// found. It is an equality, so that one plan fits all values, or a range, which is planned by its values. A subquery with
/// a limit is a lookup for each of them, where EXISTS might read the whole table once. Addresses are compared from their
/// beginning, as bytes.
macro_rules! select_users {
    ($first:tt, $company_id:expr, $person:expr, $verified:expr, $page:expr) => {
        sqlx::query_as!(
            UserAccountRow,
            r#"SELECT u.customer_id, u.using_customer_id, u.user_account_id, u.name, u.region, u.address,
                   u.attestation AS "attestation: Stored<AttestationType>", u.resident AS "resident: Stored<YesNo>",
                   u.map_name, u.longitude, u.latitude, u.risk_balance, u.margin_balance, u.advance_limit
               FROM user_account u JOIN customer c USING (company_id, customer_id)
               WHERE u.company_id = $1 AND "#
                + $first
                + r#"
                   AND ($2::bytea[] = '{}' OR (c.certificate_hash = ANY($2) AND cardinality($2) = 1))
                   AND ($3 = '' OR c.phone = $3) AND ($4 = '' OR folded(c.name) = folded($4))
                   AND ($5 = '' OR folded(u.address) COLLATE "C" >= folded($5) COLLATE "C"
                        AND folded(u.address) COLLATE "C" < (folded($5) || chr(1114111)) COLLATE "C")
                   AND CASE WHEN $6
                       THEN (SELECT true FROM settlement_account a
                             WHERE a.company_id = $1 AND a.user_account_id = u.user_account_id AND a.state IN ('2', '3') LIMIT 1)
                       ELSE NOT u.connected OR (
                           SELECT true FROM settlement_account a
                           JOIN business_process p USING (company_id, settlement_account_id)
                           WHERE a.company_id = $1 AND a.user_account_id = u.user_account_id AND p.completed_at IS NULL
                           LIMIT 1) END
               ORDER BY u.user_account_id OFFSET $7 LIMIT $8"#,
            $company_id,
            $person.certificates.as_slice(),
            $person.phone,
            $person.name,
            $person.address,
            $verified,
            $page.offset(),
            $page.rows(),
        )
    };
}

/// Returns a page of user accounts, oldest first: those with an archived settlement account if `verified`, else those
/// without any and those with an open process.
///
/// # Errors
/// Returns the database's error.
pub async fn users(
    executor: impl PgExecutor<'_>,
    company_id: &str,
    person: &Person,
    verified: bool,
    page: Page,
) -> Result<Vec<UserAccountRow>, sqlx::Error> {
    match (person.lead(), verified) {
        (Lead::Certificate, _) => {
            select_users!("c.certificate_hash = ($2::bytea[])[1]", company_id, person, verified, page)
                .fetch_all(executor)
                .named("user_account_by_certificate")
                .await
        }
        (Lead::Phone, _) => {
            select_users!("c.phone = $3", company_id, person, verified, page)
                .fetch_all(executor)
                .named("user_account_by_phone")
                .await
        }
        (Lead::Name, _) => {
            select_users!("folded(c.name) = folded($4)", company_id, person, verified, page)
                .fetch_all(executor)
                .named("user_account_by_name")
                .await
        }
        (Lead::Address, _) => {
            select_users!(
                r#"folded(u.address) COLLATE "C" >= folded($5) COLLATE "C"
                   AND folded(u.address) COLLATE "C" < (folded($5) || chr(1114111)) COLLATE "C""#,
                company_id,
                person,
                verified,
                page
            )
            .fetch_all(executor)
            .named("user_account_by_address")
            .await
        }
        (Lead::Nothing, true) => {
            select_users!("$6", company_id, person, verified, page)
                .fetch_all(executor)
                .named("user_account_verified")
                .await
        }
        (Lead::Nothing, false) => {
            select_users!(
                "u.user_account_id IN (
                     SELECT user_account_id FROM user_account WHERE company_id = $1 AND NOT connected
                     UNION ALL
                     SELECT (SELECT a.user_account_id FROM settlement_account a
                             WHERE a.company_id = $1 AND a.settlement_account_id = p.settlement_account_id)
                     FROM business_process p WHERE p.company_id = $1 AND p.completed_at IS NULL)",
                company_id,
                person,
                verified,
                page
            )
            .fetch_all(executor)
            .named("user_account_unverified")
            .await
        }
    }
}

/// A settlement account as it is shown.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // the fields of the contract, documented there
pub struct AccountRow {
    pub customer_id: String,
    pub customer_name: String,
    pub using_customer_id: String,
    pub using_customer_name: String,
    pub user_account_id: String,
    pub settlement_account_id: String,
    pub name: String,
    pub utility: Stored<Utility>,
    pub address: String,
    pub outstanding: Decimal,
    pub attestation: Stored<AttestationType>,
    pub control_kind: Option<Stored<ControlType>>,
    pub industry_code: String,
    pub industry_sector: Option<Stored<IndustryType>>,
    pub resident: Option<Stored<YesNo>>,
    pub urban: Option<Stored<YesNo>>,
    pub military: Option<Stored<YesNo>>,
    pub temporary: Option<Stored<YesNo>>,
    pub public_use: Option<Stored<YesNo>>,
    pub connection_kind: Option<Stored<ConnectModeType>>,
    pub inspection_cycle: i32,
    pub last_inspection_date: Option<NaiveDate>,
    pub process_id: Option<String>,
    pub business_kind: Stored<BusCategType>,
    pub process_state: Option<Stored<BusStateType>>,
    pub remark: String,
    pub contract_signed: Option<Stored<YesNo>>,
    pub contract_number: String,
    pub contract_end_date: Option<NaiveDate>,
    pub area_factor: Option<Decimal>,
    pub area: Option<Decimal>,
}

/// Selects settlement accounts, each with its latest business process that is not withdrawn and what it owes.
macro_rules! select_accounts {
    ($rest:tt, $($argument:expr),* $(,)?) => {
        sqlx::query_as!(
            AccountRow,
            r#"SELECT u.customer_id, c.name AS customer_name, a.using_customer_id, uc.name AS using_customer_name,
                   a.user_account_id, a.settlement_account_id, a.name, a.utility AS "utility: Stored<Utility>", a.address,
                   coalesce(o.outstanding, 0) AS "outstanding!", a.attestation AS "attestation: Stored<AttestationType>",
                   a.control_kind AS "control_kind: Stored<ControlType>", a.industry_code,
                   a.industry_sector AS "industry_sector: Stored<IndustryType>",
                   a.resident AS "resident: Stored<YesNo>", a.urban AS "urban: Stored<YesNo>",
                   a.military AS "military: Stored<YesNo>", a.temporary AS "temporary: Stored<YesNo>",
                   a.public_use AS "public_use: Stored<YesNo>",
                   a.connection_kind AS "connection_kind: Stored<ConnectModeType>", a.inspection_cycle,
                   a.last_inspection_date, p.process_id AS "process_id?",
                   coalesce(p.kind, a.business_kind) AS "business_kind!: Stored<BusCategType>",
                   p.state AS "process_state?: Stored<BusStateType>", a.remark,
                   a.contract_signed AS "contract_signed: Stored<YesNo>", a.contract_number, a.contract_end_date,
                   mp.area_factor AS "area_factor?", mp.area AS "area?"
               FROM settlement_account a
               JOIN user_account u USING (company_id, user_account_id)
               JOIN customer c ON c.company_id = a.company_id AND c.customer_id = u.customer_id
               JOIN customer uc ON uc.company_id = a.company_id AND uc.customer_id = a.using_customer_id
               LEFT JOIN meter_point mp ON mp.company_id = a.company_id
                   AND mp.settlement_account_id = a.settlement_account_id
               LEFT JOIN LATERAL (
                   SELECT process_id, kind, state, completed_at FROM business_process p
                   WHERE p.company_id = a.company_id AND p.settlement_account_id = a.settlement_account_id
                       AND NOT p.withdrawn
                   ORDER BY process_id DESC LIMIT 1) AS p ON true
               LEFT JOIN LATERAL outstanding_of_accounts($1, ARRAY[a.settlement_account_id]) AS o ON true
               WHERE a.company_id = $1 "#
                + $rest,
            $($argument),*
        )
    };
}

/// Returns the settlement accounts of user accounts that were archived, and their meter points.
///
/// # Errors
/// Returns the database's error.
pub async fn verified_of(
    pool: &Pool,
    company_id: &str,
    user_account_ids: &[&str],
) -> Result<(Vec<AccountRow>, Vec<MeterPointRow>), sqlx::Error> {
    let mut lookup = pool.begin_lookup().named("begin").await?;
    let accounts = accounts_of(&mut lookup, company_id, user_account_ids, true).await?;
    let ids: Vec<_> = accounts.iter().map(|account| account.settlement_account_id.as_str()).collect();
    let points = meter_points(&mut lookup, company_id, &ids).await?;
    lookup.commit().named("commit").await?;
    Ok((accounts, points))
}

/// Returns the settlement accounts of user accounts that have an open process.
///
/// # Errors
/// Returns the database's error.
pub async fn unverified_of(
    pool: &Pool,
    company_id: &str,
    user_account_ids: &[&str],
) -> Result<Vec<AccountRow>, sqlx::Error> {
    let mut lookup = pool.begin_lookup().named("begin").await?;
    let accounts = accounts_of(&mut lookup, company_id, user_account_ids, false).await?;
    lookup.commit().named("commit").await?;
    Ok(accounts)
}

/// Returns settlement accounts of user accounts: those that were archived if `verified`, else those with an open process.
async fn accounts_of(
    connection: &mut PgConnection,
    company_id: &str,
    user_account_ids: &[&str],
    verified: bool,
) -> Result<Vec<AccountRow>, sqlx::Error> {
    select_accounts!(
        "AND a.user_account_id = ANY($2) AND CASE WHEN $3 THEN a.state IN ('2', '3')
             ELSE p.process_id IS NOT NULL AND p.completed_at IS NULL END
         ORDER BY a.settlement_account_id",
        company_id,
        user_account_ids as _,
        verified,
    )
    .fetch_all(connection)
    .named("settlement_account_of_users")
    .await
}

/// A place in a page of settlement accounts.
#[derive(Clone, Debug)]
struct PlaceRow {
    settlement_account_id: String,
    place: i64,
    total: i64,
}

/// Selects the places of a page of settlement accounts `a` with their user account `u` and customer `c`.
macro_rules! select_places {
    ($first:tt, $company_id:expr, $person:expr, $user_account_id:expr, $utility:expr, $page:expr) => {
        sqlx::query_as!(
            PlaceRow,
            r#"SELECT settlement_account_id AS "settlement_account_id!", place AS "place!", total AS "total!"
               FROM (SELECT a.settlement_account_id, count(*) OVER () AS total,
                         row_number() OVER (ORDER BY a.settlement_account_id) AS place
                     FROM settlement_account a
                     JOIN user_account u USING (company_id, user_account_id)
                     JOIN customer c ON c.company_id = a.company_id AND c.customer_id = u.customer_id
                     WHERE a.company_id = $1 AND "#
                + $first
                + r#"
                         AND ($2::bytea[] = '{}' OR (c.certificate_hash = ANY($2) AND cardinality($2) = 1))
                         AND ($3 = '' OR c.phone = $3) AND ($4 = '' OR folded(c.name) = folded($4))
                         AND ($5 = '' OR folded(u.address) COLLATE "C" >= folded($5) COLLATE "C"
                              AND folded(u.address) COLLATE "C" < (folded($5) || chr(1114111)) COLLATE "C")
                         AND ($6 = '' OR a.user_account_id = $6) AND ($7::text IS NULL OR a.utility = $7)) AS found
               WHERE place = 1 OR place BETWEEN $8 AND $9
               ORDER BY place"#,
            $company_id,
            $person.certificates.as_slice(),
            $person.phone,
            $person.name,
            $person.address,
            $user_account_id,
            $utility.stored(),
            $page.first,
            $page.last,
        )
    };
}

/// Returns a page of settlement accounts, oldest first, and how many there are.
///
/// # Errors
/// Returns the database's error.
pub async fn list(
    pool: &Pool,
    company_id: &str,
    person: &Person,
    user_account_id: &str,
    utility: Utility,
    page: Page,
) -> Result<(Vec<AccountRow>, i64), sqlx::Error> {
    let lead = if user_account_id.is_empty() { Some(person.lead()) } else { None };
    let places = match lead {
        None => {
            select_places!("a.user_account_id = $6", company_id, person, user_account_id, utility, page)
                .fetch_all(pool)
                .named("settlement_account_by_user")
                .await?
        }
        Some(Lead::Certificate) => {
            select_places!("c.certificate_hash = ($2::bytea[])[1]", company_id, person, user_account_id, utility, page)
                .fetch_all(pool)
                .named("settlement_account_by_certificate")
                .await?
        }
        Some(Lead::Phone) => {
            select_places!("c.phone = $3", company_id, person, user_account_id, utility, page)
                .fetch_all(pool)
                .named("settlement_account_by_phone")
                .await?
        }
        Some(Lead::Name) => {
            select_places!("folded(c.name) = folded($4)", company_id, person, user_account_id, utility, page)
                .fetch_all(pool)
                .named("settlement_account_by_name")
                .await?
        }
        Some(Lead::Address) => {
            select_places!(
                r#"folded(u.address) COLLATE "C" >= folded($5) COLLATE "C"
                   AND folded(u.address) COLLATE "C" < (folded($5) || chr(1114111)) COLLATE "C""#,
                company_id,
                person,
                user_account_id,
                utility,
                page
            )
            .fetch_all(pool)
            .named("settlement_account_by_address")
            .await?
        }
        Some(Lead::Nothing) => return shown(pool, company_id, all(pool, company_id, utility, page).await?).await,
    };
    let (places, total) = page.cut(places, |row| row.place, |row| row.total);
    let ids = places.into_iter().map(|row| row.settlement_account_id).collect();
    shown(pool, company_id, (ids, total)).await
}

/// Returns a page of all accounts, and how many there are, which is counted already. Who is whose customer does not matter.
async fn all(pool: &Pool, company_id: &str, utility: Utility, page: Page) -> Result<(Vec<String>, i64), sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT total.accounts AS "total!", a.settlement_account_id AS "settlement_account_id?"
           FROM (SELECT coalesce(sum(accounts), 0)::bigint AS accounts FROM counted_accounts
                 WHERE company_id = $1 AND ($2::text IS NULL OR utility = $2)) AS total
           LEFT JOIN (SELECT settlement_account_id FROM settlement_account
                      WHERE company_id = $1 AND ($2::text IS NULL OR utility = $2)
                      ORDER BY settlement_account_id OFFSET $3 LIMIT $4) AS a ON true
           ORDER BY a.settlement_account_id"#,
        company_id,
        utility.stored(),
        page.offset(),
        page.rows(),
    )
    .fetch_all(pool)
    .named("settlement_account_all")
    .await?;
    let total = rows.first().map_or(0, |row| row.total);
    Ok((rows.into_iter().filter_map(|row| row.settlement_account_id).collect(), total))
}

/// Returns accounts of a page, which knows how many there are.
async fn shown(
    pool: &Pool,
    company_id: &str,
    (settlement_account_ids, total): (Vec<String>, i64),
) -> Result<(Vec<AccountRow>, i64), sqlx::Error> {
    let mut lookup = pool.begin_lookup().named("begin").await?;
    let accounts = select_accounts!(
        "AND a.settlement_account_id = ANY($2) ORDER BY a.settlement_account_id",
        company_id,
        &settlement_account_ids,
    )
    .fetch_all(&mut *lookup)
    .named("settlement_account_show")
    .await?;
    lookup.commit().named("commit").await?;
    Ok((accounts, total))
}

/// A meter point as it is shown, with what its main package says of it.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // the fields of the contract, documented there
pub struct MeterPointRow {
    pub settlement_account_id: String,
    pub address: String,
    pub book_id: String,
    pub node_id: String,
    pub utility: Stored<Utility>,
    pub metered: Stored<YesNo>,
    pub meter_id: Option<String>,
    pub network_company_id: String,
    pub network_store_id: String,
    pub retail_company_id: String,
    pub retail_store_id: String,
    pub assessed: Stored<YesNo>,
    pub supply_kind: Stored<PurchaseSaleType>,
    pub energy_load: Decimal,
    pub account_item: String,
    pub agreement_price: Stored<YesNo>,
    pub stopped_or_vacant: Stored<YesNo>,
    pub stopped_on: Option<NaiveDate>,
    pub resumed_on: Option<NaiveDate>,
    pub main_package_id: String,
    pub temporary_package_id: Option<String>,
    pub temporary_months: i32,
    pub basic_fee_kind: Option<Stored<BasicFeesType>>,
    pub capacity: Decimal,
    pub demand_multiplier: Decimal,
    pub approved_demand: Decimal,
    pub deviation: Option<Stored<YesNo>>,
    pub power_factor_standard: Option<Stored<ForRateValidType>>,
    pub seasonal: Option<Stored<YesNo>>,
    pub time_of_use: Stored<TimeOfUse>,
    pub ladder: Stored<Ladder>,
    pub heat_basis: Option<Stored<HeatBasis>>,
    pub property_basis: Option<Stored<PropertyBasis>>,
    pub fixed_quantity: Decimal,
    pub fixed_fee: Decimal,
    pub divided_quantity: Decimal,
    pub apportion_ratio: Decimal,
    pub area_factor: Decimal,
    pub area: Decimal,
    pub population: i32,
    pub households: i32,
}

/// Returns the meter points of settlement accounts.
async fn meter_points(
    connection: &mut PgConnection,
    company_id: &str,
    settlement_account_ids: &[&str],
) -> Result<Vec<MeterPointRow>, sqlx::Error> {
    sqlx::query_as!(
        MeterPointRow,
        r#"SELECT mp.settlement_account_id, mp.address, mp.book_id, mp.node_id, a.utility AS "utility: Stored<Utility>",
               mp.metered AS "metered: Stored<YesNo>", m.meter_id AS "meter_id?", mp.network_company_id,
               mp.network_store_id, mp.retail_company_id, coalesce(k.retail_store_id, '') AS "retail_store_id!",
               mp.assessed AS "assessed: Stored<YesNo>", k.supply_kind AS "supply_kind: Stored<PurchaseSaleType>",
               mp.energy_load, k.account_item, k.agreement_price AS "agreement_price: Stored<YesNo>",
               mp.stopped_or_vacant AS "stopped_or_vacant: Stored<YesNo>", mp.stopped_on, mp.resumed_on,
               mp.main_package_id, mp.temporary_package_id, mp.temporary_months,
               k.basic_fee_kind AS "basic_fee_kind: Stored<BasicFeesType>", mp.capacity, mp.demand_multiplier,
               mp.approved_demand, k.deviation AS "deviation: Stored<YesNo>",
               mp.power_factor_standard AS "power_factor_standard: Stored<ForRateValidType>",
               k.seasonal AS "seasonal: Stored<YesNo>", k.time_of_use AS "time_of_use: Stored<TimeOfUse>",
               k.ladder AS "ladder: Stored<Ladder>", k.heat_basis AS "heat_basis: Stored<HeatBasis>",
               k.property_basis AS "property_basis: Stored<PropertyBasis>", mp.fixed_quantity, mp.fixed_fee,
               mp.divided_quantity, mp.apportion_ratio, mp.area_factor, mp.area, mp.population, mp.households
           FROM meter_point mp
           JOIN settlement_account a USING (company_id, settlement_account_id)
           JOIN package k ON k.retail_company_id = mp.retail_company_id AND k.package_id = mp.main_package_id
           LEFT JOIN meter m ON m.company_id = mp.company_id AND m.settlement_account_id = mp.settlement_account_id
           WHERE mp.company_id = $1 AND mp.settlement_account_id = ANY($2)
           ORDER BY mp.settlement_account_id"#,
        company_id,
        settlement_account_ids as _,
    )
    .fetch_all(connection)
    .named("meter_point_show")
    .await
}
