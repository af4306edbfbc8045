//! The statements of price rows and their versions. Every query is bound by the retail company. All
//! writes need the lock of the package ([`crate::packages::store::lock`]).

use chrono::NaiveDate;
use communal_kit::call::Call;
use communal_kit::database::Statement as _;
use communal_kit::database::stored::Stored;
use communal_kit::paging::Page;
use communal_proto::Coded as _;
use rust_decimal::Decimal;
use sqlx::{PgConnection, PgExecutor};

use super::change::{Close, Edit, Open, OpenRow, Plan};
use super::row::Values;
use crate::packages::store::texts;
use crate::reference::store::place_of;
use crate::vocabulary::identifiers::PackageId;
use crate::vocabulary::quantity::at_unit_price_scale;
use crate::vocabulary::tariff::{
    Dimensions, HeatBasis, Ladder, Period, PropertyBasis, Season, Tier, TierLimits, TimeOfUse, YesNo,
};

/// A version of a price row as it is stored, with its place in the list that it was read from.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // the fields of the contract, documented there
pub struct PriceRow {
    pub package_id: String,
    pub price_id: i64,
    pub account_item: String,
    pub agreement_price: Stored<YesNo>,
    pub season: Stored<Season>,
    pub heat_basis: Stored<HeatBasis>,
    pub property_basis: Option<Stored<PropertyBasis>>,
    pub time_of_use: Stored<TimeOfUse>,
    pub period: Stored<Period>,
    pub ladder: Stored<Ladder>,
    pub tier: Stored<Tier>,
    pub price: Decimal,
    pub price_unit: String,
    pub lower_limit: i64,
    pub upper_limit: i64,
    pub start_date: Option<NaiveDate>,
    pub stop_date: Option<NaiveDate>,
    pub place: i64,
    pub total: i64,
}

/// Selects price rows of packages: the one list of their columns. The condition narrows them; rows are
/// numbered by package and dimensions and then from the oldest, and the first comes besides those of
/// the page (see [`Page`]).
macro_rules! select_prices {
    ($condition:tt, $company:expr, $packages:expr, $page:expr $(,)?) => {
        sqlx::query_as!(
            PriceRow,
            r#"SELECT package_id, price_id, account_item, agreement_price AS "agreement_price: Stored<YesNo>",
                   season AS "season: Stored<Season>", heat_basis AS "heat_basis: Stored<HeatBasis>",
                   property_basis AS "property_basis: Stored<PropertyBasis>",
                   time_of_use AS "time_of_use: Stored<TimeOfUse>", period AS "period: Stored<Period>",
                   ladder AS "ladder: Stored<Ladder>", tier AS "tier: Stored<Tier>", price, price_unit, lower_limit,
                   upper_limit, start_date, stop_date, place AS "place!", total AS "total!"
               FROM (SELECT *, count(*) OVER () AS total,
                         row_number() OVER (ORDER BY package_id, account_item, dimensions, price_id) AS place
                     FROM package_price
                     WHERE retail_company_id = $1 AND package_id = ANY($2) "#
                + $condition
                + r#") AS numbered
               WHERE place = 1 OR place BETWEEN $3 AND $4
               ORDER BY place"#,
            $company,
            $packages as _,
            $page.first,
            $page.last,
        )
    };
}

/// Returns a page of the open rows of packages, by their dimensions, and how many there are.
///
/// # Errors
/// Returns the database's error.
pub async fn list_open(
    executor: impl PgExecutor<'_>,
    retail_company_id: &str,
    package_ids: &[PackageId],
    page: Page,
) -> Result<(Vec<PriceRow>, i64), sqlx::Error> {
    let rows = select_prices!("AND stop_date IS NULL", retail_company_id, texts(package_ids), page)
        .fetch_all(executor)
        .named("price_list")
        .await?;
    Ok(page.cut(rows, |row| row.place, |row| row.total))
}

/// Returns a page of all versions of the rows of a package, by their dimensions and then from the
/// oldest, and how many there are.
///
/// # Errors
/// Returns the database's error.
pub async fn list_versions(
    executor: impl PgExecutor<'_>,
    retail_company_id: &str,
    package_id: &PackageId,
    page: Page,
) -> Result<(Vec<PriceRow>, i64), sqlx::Error> {
    let rows = select_prices!("", retail_company_id, [package_id.as_str()], page)
        .fetch_all(executor)
        .named("price_versions")
        .await?;
    Ok(page.cut(rows, |row| row.place, |row| row.total))
}

/// Returns all open rows of locked packages.
///
/// # Errors
/// Returns the database's error.
pub async fn open_rows(
    connection: &mut PgConnection,
    call: &Call,
    package_ids: &[PackageId],
) -> Result<Vec<OpenRow>, sqlx::Error> {
    let all = Page { first: 1, last: i64::MAX };
    let (rows, _) = list_open(connection, &call.tenant.id, package_ids, all).await?;
    Ok(rows.into_iter().map(OpenRow::from).collect())
}

/// A version that is in force on a day.
#[derive(Clone, Debug)]
pub struct VersionInForce {
    /// The place of what it was asked for.
    pub place: usize,
    /// The row.
    pub dimensions: Dimensions,
    /// Unit price, at its scale.
    pub price: Decimal,
    /// The quantities that its tier covers.
    pub limits: TierLimits,
    /// First day in force.
    pub start: Option<NaiveDate>,
}

/// Returns the versions of packages that are in force, each package given with its company and a day.
///
/// # Errors
/// Returns the database's error.
pub async fn in_force(
    executor: impl PgExecutor<'_>,
    asked: &[(&str, &str, NaiveDate)],
) -> Result<Vec<VersionInForce>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT own.place AS "place!", p.account_item, p.agreement_price AS "agreement_price: Stored<YesNo>",
               p.season AS "season: Stored<Season>", p.heat_basis AS "heat_basis: Stored<HeatBasis>",
               p.property_basis AS "property_basis: Stored<PropertyBasis>",
               p.time_of_use AS "time_of_use: Stored<TimeOfUse>", p.period AS "period: Stored<Period>",
               p.ladder AS "ladder: Stored<Ladder>", p.tier AS "tier: Stored<Tier>", p.price, p.lower_limit,
               p.upper_limit, p.start_date
           FROM unnest($1::text[], $2::text[], $3::date[]) WITH ORDINALITY AS own (company_id, package_id, day, place)
           JOIN package_price p ON p.retail_company_id = own.company_id AND p.package_id = own.package_id
               AND p.start_date <= own.day AND (p.stop_date IS NULL OR p.stop_date > own.day)
           ORDER BY own.place, p.price_id"#,
        asked.iter().map(|(company, ..)| *company).collect::<Vec<_>>() as _,
        asked.iter().map(|(_, package, _)| *package).collect::<Vec<_>>() as _,
        &asked.iter().map(|(.., day)| *day).collect::<Vec<_>>(),
    )
    .fetch_all(executor)
    .named("price_in_force")
    .await?;
    let versions = rows.into_iter().map(|row| VersionInForce {
        place: place_of(row.place),
        dimensions: Dimensions {
            account_item: row.account_item,
            agreement_price: row.agreement_price.0,
            season: row.season.0,
            heat_basis: row.heat_basis.0,
            property_basis: Stored::given(row.property_basis),
            time_of_use: row.time_of_use.0,
            period: row.period.0,
            ladder: row.ladder.0,
            tier: row.tier.0,
        },
        price: at_unit_price_scale(row.price),
        limits: TierLimits { lower: row.lower_limit, upper: row.upper_limit },
        start: row.start_date,
    });
    Ok(versions.collect())
}

impl From<PriceRow> for OpenRow {
    fn from(row: PriceRow) -> Self {
        let PriceRow {
            package_id,
            price_id,
            account_item,
            agreement_price: Stored(agreement_price),
            season: Stored(season),
            heat_basis: Stored(heat_basis),
            property_basis,
            time_of_use: Stored(time_of_use),
            period: Stored(period),
            ladder: Stored(ladder),
            tier: Stored(tier),
            price,
            price_unit: unit,
            lower_limit: lower,
            upper_limit: upper,
            start_date: start,
            stop_date: _,
            place: _,
            total: _,
        } = row;
        Self {
            package_id: package_id.into(),
            price_id,
            dimensions: Dimensions {
                account_item,
                agreement_price,
                season,
                heat_basis,
                property_basis: Stored::given(property_basis),
                time_of_use,
                period,
                ladder,
                tier,
            },
            values: Values { price: at_unit_price_scale(price), unit, limits: TierLimits { lower, upper } },
            start,
        }
    }
}

/// Carries out a plan: closes versions, opens rows and edits rows. The packages are locked since before the
/// plan's rows were read.
///
/// # Errors
/// Returns the database's error; `RowNotFound` if a row of the plan is not open any more, which the
/// lock prevents.
pub async fn carry_out(connection: &mut PgConnection, call: &Call, plan: &Plan) -> Result<(), sqlx::Error> {
    // Closing comes first: at most one version of a row is open at any time.
    close(connection, call, &plan.closes).await?;
    open(connection, call, &plan.opens).await?;
    edit(connection, call, &plan.edits).await
}

async fn close(connection: &mut PgConnection, call: &Call, closes: &[Close]) -> Result<(), sqlx::Error> {
    if closes.is_empty() {
        return Ok(());
    }
    let done = sqlx::query!(
        "UPDATE package_price r SET stop_date = c.stop_date
         FROM unnest($2::text[], $3::bigint[], $4::date[]) AS c (package_id, price_id, stop_date)
         WHERE r.retail_company_id = $1 AND r.package_id = c.package_id AND r.price_id = c.price_id
           AND r.stop_date IS NULL",
        call.tenant.id,
        closes.iter().map(|c| c.package_id.as_str()).collect::<Vec<_>>() as _,
        &closes.iter().map(|c| c.price_id).collect::<Vec<_>>(),
        &closes.iter().map(|c| c.stop).collect::<Vec<_>>(),
    )
    .execute(connection)
    .named("price_close")
    .await?;
    all_found(done.rows_affected(), closes.len())
}

async fn open(connection: &mut PgConnection, call: &Call, opens: &[Open]) -> Result<(), sqlx::Error> {
    if opens.is_empty() {
        return Ok(());
    }
    let Columns { prices, units, lower, upper } = Columns::of(opens.iter().map(|o| &o.values));
    let codes = |code: fn(&Dimensions) -> Option<&'static str>| -> Vec<_> {
        opens.iter().map(|o| code(&o.dimensions)).collect()
    };
    sqlx::query!(
        "INSERT INTO package_price (
             retail_company_id, package_id, account_item, agreement_price, season, heat_basis, property_basis,
             time_of_use, period, ladder, tier, price, price_unit, lower_limit, upper_limit, start_date)
         SELECT $1, o.*
         FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
             $10::text[], $11::text[], $12::numeric[], $13::text[], $14::bigint[], $15::bigint[], $16::date[]) AS o",
        call.tenant.id,
        opens.iter().map(|o| o.package_id.as_str()).collect::<Vec<_>>() as _,
        opens.iter().map(|o| o.dimensions.account_item.as_str()).collect::<Vec<_>>() as _,
        codes(|d| d.agreement_price.stored()) as _,
        codes(|d| d.season.stored()) as _,
        codes(|d| d.heat_basis.stored()) as _,
        codes(|d| d.property_basis.stored()) as _,
        codes(|d| d.time_of_use.stored()) as _,
        codes(|d| d.period.stored()) as _,
        codes(|d| d.ladder.stored()) as _,
        codes(|d| d.tier.stored()) as _,
        &prices,
        units as _,
        &lower,
        &upper,
        opens.iter().map(|o| o.start).collect::<Vec<_>>() as _,
    )
    .execute(connection)
    .named("price_open")
    .await?;
    Ok(())
}

async fn edit(connection: &mut PgConnection, call: &Call, edits: &[Edit]) -> Result<(), sqlx::Error> {
    if edits.is_empty() {
        return Ok(());
    }
    let Columns { prices, units, lower, upper } = Columns::of(edits.iter().map(|e| &e.values));
    let done = sqlx::query!(
        "UPDATE package_price r
         SET price = e.price, price_unit = e.price_unit, lower_limit = e.lower_limit, upper_limit = e.upper_limit,
             operator_id = DEFAULT, channel_id = DEFAULT, trace_id = DEFAULT, written_at = DEFAULT
         FROM unnest($2::text[], $3::bigint[], $4::numeric[], $5::text[], $6::bigint[], $7::bigint[])
             AS e (package_id, price_id, price, price_unit, lower_limit, upper_limit)
         WHERE r.retail_company_id = $1 AND r.package_id = e.package_id AND r.price_id = e.price_id
           AND r.stop_date IS NULL",
        call.tenant.id,
        edits.iter().map(|e| e.package_id.as_str()).collect::<Vec<_>>() as _,
        &edits.iter().map(|e| e.price_id).collect::<Vec<_>>(),
        &prices,
        units as _,
        &lower,
        &upper,
    )
    .execute(connection)
    .named("price_edit")
    .await?;
    all_found(done.rows_affected(), edits.len())
}

/// Starts the open rows of a locked package on its first day.
///
/// # Errors
/// Returns the database's error.
pub async fn start(
    connection: &mut PgConnection,
    call: &Call,
    package_id: &PackageId,
    first: Option<NaiveDate>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE package_price SET start_date = $3
         WHERE retail_company_id = $1 AND package_id = $2 AND stop_date IS NULL",
        call.tenant.id,
        package_id.as_str(),
        first,
    )
    .execute(connection)
    .named("price_start")
    .await?;
    Ok(())
}

/// Ends the open rows of locked packages on a day. Those that have not begun by then never begin.
///
/// # Errors
/// Returns the database's error.
pub async fn end(
    connection: &mut PgConnection,
    call: &Call,
    package_ids: &[PackageId],
    day: NaiveDate,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE package_price SET start_date = coalesce(start_date, $3), stop_date = greatest(start_date, $3)
         WHERE retail_company_id = $1 AND package_id = ANY($2) AND stop_date IS NULL",
        call.tenant.id,
        texts(package_ids) as _,
        day,
    )
    .execute(connection)
    .named("price_end")
    .await?;
    Ok(())
}

/// Checks that a statement found each row of a plan.
fn all_found(found: u64, rows: usize) -> Result<(), sqlx::Error> {
    if usize::try_from(found).is_ok_and(|found| found == rows) { Ok(()) } else { Err(sqlx::Error::RowNotFound) }
}

/// Values by column, as a statement takes them.
struct Columns<'a> {
    prices: Vec<Decimal>,
    units: Vec<&'a str>,
    lower: Vec<i64>,
    upper: Vec<i64>,
}

impl<'a> Columns<'a> {
    fn of(values: impl Iterator<Item = &'a Values>) -> Self {
        let mut columns = Self { prices: Vec::new(), units: Vec::new(), lower: Vec::new(), upper: Vec::new() };
        for Values { price, unit, limits: TierLimits { lower, upper } } in values {
            columns.prices.push(*price);
            columns.units.push(unit);
            columns.lower.push(*lower);
            columns.upper.push(*upper);
        }
        columns
    }
}
