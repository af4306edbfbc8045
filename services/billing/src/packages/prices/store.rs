//! Where price rows and their versions are kept. Every query is bound by the retail company.

use std::collections::HashMap;

use chrono::NaiveDate;
use communal_kit::call::Call;
use communal_kit::database::Statement as _;
use communal_kit::idempotency::RequestKey;
use communal_proto::billing::v1::PackStateType;
use rust_decimal::Decimal;
use sqlx::PgExecutor;

use super::change::{OpenRow, Plan, PricedPackage};
use super::row::Values;
use crate::packages::lifecycle::Step;
use crate::packages::store::{enumerated, number};
use crate::vocabulary::lifetime::Lifetime;
use crate::vocabulary::quantity::at_unit_price_scale;
use crate::vocabulary::tariff::{Dimensions, Shape, TierLimits, YesNo};

/// Reads packages of the caller with their open rows, in one statement.
///
/// # Errors
/// Storage faults.
pub async fn read(
    executor: impl PgExecutor<'_>,
    call: &Call,
    package_ids: &[String],
) -> Result<HashMap<String, PricedPackage>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT p.package_id, p.version, p.state, p.start_date, p.stop_date, p.account_item, p.utility,
               p.agreement_price, p.seasonal, p.heat_basis, p.property_basis, p.time_of_use, p.ladder, p.ladder_tiers,
               r.price_id AS "price_id?", r.account_item AS "row_account_item?", r.season AS "season?",
               r.agreement_price AS "row_agreement_price?", r.heat_basis AS "row_heat_basis?",
               r.property_basis AS "row_property_basis?", r.time_of_use AS "row_time_of_use?", r.period AS "period?",
               r.ladder AS "row_ladder?", r.tier AS "tier?", r.price AS "price?", r.price_unit AS "price_unit?",
               r.lower_limit AS "lower_limit?", r.upper_limit AS "upper_limit?", r.start_date AS "row_start_date?"
           FROM sales_package p
           LEFT JOIN sales_price r
             ON r.retail_company_id = p.retail_company_id AND r.package_id = p.package_id AND r.stop_date IS NULL
           WHERE p.retail_company_id = $1 AND p.package_id = ANY($2)"#,
        call.tenant.id,
        package_ids,
    )
    .fetch_all(executor)
    .named("tariff_read")
    .await?;

    let mut packages: HashMap<String, PricedPackage> = HashMap::new();
    for row in rows {
        let package = packages.entry(row.package_id).or_insert_with_key(|package_id| PricedPackage {
            package_id: package_id.clone(),
            version: row.version,
            state: enumerated::<PackStateType>(row.state),
            lifetime: Lifetime { start: row.start_date, stop: row.stop_date },
            shape: Shape {
                account_item: row.account_item,
                utility: enumerated(row.utility),
                agreement_price: enumerated(row.agreement_price),
                seasonal: enumerated::<YesNo>(row.seasonal) == YesNo::Yes,
                heat_basis: enumerated(row.heat_basis),
                property_basis: enumerated(row.property_basis),
                time_of_use: enumerated(row.time_of_use),
                ladder: enumerated(row.ladder),
                tiers: i32::from(row.ladder_tiers).max(1),
            },
            rows: Vec::new(),
        });
        // A package without open rows comes as one row of which this half is empty.
        let Some(price_id) = row.price_id else { continue };
        package.rows.push(OpenRow {
            price_id,
            dimensions: Dimensions {
                account_item: row.row_account_item.unwrap_or_default(),
                agreement_price: enumerated(row.row_agreement_price.unwrap_or_default()),
                season: enumerated(row.season.unwrap_or_default()),
                heat_basis: enumerated(row.row_heat_basis.unwrap_or_default()),
                property_basis: enumerated(row.row_property_basis.unwrap_or_default()),
                time_of_use: enumerated(row.row_time_of_use.unwrap_or_default()),
                period: enumerated(row.period.unwrap_or_default()),
                ladder: enumerated(row.row_ladder.unwrap_or_default()),
                tier: enumerated(row.tier.unwrap_or_default()),
            },
            values: Values {
                price: at_unit_price_scale(row.price.unwrap_or_default()),
                unit: row.price_unit.unwrap_or_default(),
                limits: TierLimits {
                    lower: row.lower_limit.unwrap_or_default(),
                    upper: row.upper_limit.unwrap_or_default(),
                },
            },
            start: row.row_start_date,
        });
    }
    Ok(packages)
}

/// What became of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It was carried out.
    Done,
    /// A package was written to since the plan was made; nothing was done.
    Stale,
    /// The request id is known; nothing was done.
    AnsweredBefore,
}

/// Carries out a plan in one statement, if no package was written to since it was read: locks
/// the packages in the order of their identifiers, compares their versions, claims the request
/// id, closes, opens and edits rows, raises the versions and leaves the events.
///
/// A row of the plan that is not there any more would mean that the version does not guard
/// what it should; then the version becomes null, and the whole statement fails with nothing
/// done.
///
/// # Errors
/// Storage faults.
pub async fn apply(
    executor: impl PgExecutor<'_>,
    call: &Call,
    step: Step,
    packages: &HashMap<String, PricedPackage>,
    plan: &Plan,
    key: Option<&RequestKey>,
) -> Result<Applied, sqlx::Error> {
    let (ids, versions): (Vec<_>, Vec<_>) = packages.values().map(|p| (p.package_id.clone(), p.version)).unzip();
    let edits = Values::columns(plan.edits.iter().map(|e| &e.values));
    let opens = Values::columns(plan.opens.iter().map(|o| &o.values));
    let of_opens = |code: fn(&Dimensions) -> i16| plan.opens.iter().map(|o| code(&o.dimensions)).collect::<Vec<_>>();
    let outcome = sqlx::query!(
        r#"WITH expected AS (
               SELECT package_id, version FROM unnest($2::text[], $3::bigint[]) AS e (package_id, version)
           ), locked AS MATERIALIZED (
               SELECT package_id, version FROM sales_package
               WHERE retail_company_id = $1 AND package_id = ANY($2) ORDER BY package_id FOR UPDATE
           ), fits AS MATERIALIZED (
               SELECT count(*) = cardinality($2) AS ok FROM locked JOIN expected USING (package_id, version)
           ), claimed AS (
               INSERT INTO platform.answered_request
                   (tenant_id, method, request_id, request_hash, reply, channel_id, operator_id, trace_id)
               SELECT $1, $4, $5::text, $6::bytea, '', $8, $7, $9 FROM fits WHERE ok AND $5 IS NOT NULL
               ON CONFLICT DO NOTHING RETURNING request_id
           ), go AS MATERIALIZED (
               SELECT ok AND ($5 IS NULL OR EXISTS (SELECT FROM claimed)) AS ok FROM fits
           ), edited AS (
               UPDATE sales_price r
               SET price = e.price, price_unit = e.price_unit, lower_limit = e.lower_limit,
                   upper_limit = e.upper_limit, operator_id = $7, channel_id = $8, trace_id = $9, written_at = now()
               FROM unnest($11::text[], $12::bigint[], $13::numeric[], $14::text[], $15::bigint[], $16::bigint[])
                   AS e (package_id, price_id, price, price_unit, lower_limit, upper_limit)
               WHERE (SELECT ok FROM go) AND r.retail_company_id = $1 AND r.package_id = e.package_id
                 AND r.price_id = e.price_id AND r.stop_date IS NULL
               RETURNING r.package_id
           ), closed AS (
               UPDATE sales_price r SET stop_date = c.stop_date
               FROM unnest($17::text[], $18::bigint[], $19::date[]) AS c (package_id, price_id, stop_date)
               WHERE (SELECT ok FROM go) AND r.retail_company_id = $1 AND r.package_id = c.package_id
                 AND r.price_id = c.price_id AND r.stop_date IS NULL
               RETURNING r.package_id
           ), opened AS (
               -- Counting what was closed also makes the closing come first, so that the
               -- constraints never see two open versions.
               INSERT INTO sales_price (
                   retail_company_id, package_id, account_item, agreement_price, season, heat_basis, property_basis,
                   time_of_use, period, ladder, tier, price, price_unit, lower_limit, upper_limit, start_date,
                   operator_id, channel_id, trace_id)
               SELECT $1, o.*, $7, $8, $9
               FROM unnest($20::text[], $21::text[], $22::smallint[], $23::smallint[], $24::smallint[],
                   $25::smallint[], $26::smallint[], $27::smallint[], $28::smallint[], $29::smallint[],
                   $30::numeric[], $31::text[], $32::bigint[], $33::bigint[], $34::date[]) AS o
               WHERE (SELECT ok FROM go) AND (SELECT count(*) FROM closed) = cardinality($17)
               RETURNING package_id
           ), changed AS (
               SELECT package_id, count(*) AS price_rows FROM unnest($11 || $20) AS c (package_id) GROUP BY package_id
           ), raised AS (
               UPDATE sales_package p
               SET version = CASE WHEN (SELECT count(*) FROM edited) = cardinality($11)
                                   AND (SELECT count(*) FROM closed) = cardinality($17)
                                   AND (SELECT count(*) FROM opened) = cardinality($20) THEN p.version + 1 END
               FROM changed c
               WHERE (SELECT ok FROM go) AND p.retail_company_id = $1 AND p.package_id = c.package_id
               RETURNING p.package_id, p.version, c.price_rows
           ), noted AS (
               INSERT INTO sales_package_event
                   (retail_company_id, package_id, version, step, price_rows, operator_id, channel_id, trace_id)
               SELECT $1, package_id, version, $10, price_rows, $7, $8, $9 FROM raised
           )
           SELECT fits.ok AS "fits!", go.ok AS "done!" FROM fits, go"#,
        call.tenant.id,
        &ids,
        &versions,
        call.method,
        key.map(|k| k.request_id.as_str()),
        key.map(|k| &k.hash[..]),
        call.operator_id,
        call.channel_id,
        call.trace_id,
        step.name(),
        &plan.edits.iter().map(|e| e.package_id.clone()).collect::<Vec<_>>(),
        &plan.edits.iter().map(|e| e.price_id).collect::<Vec<_>>(),
        &edits.prices,
        &edits.units,
        &edits.lower,
        &edits.upper,
        &plan.closes.iter().map(|c| c.package_id.clone()).collect::<Vec<_>>(),
        &plan.closes.iter().map(|c| c.price_id).collect::<Vec<_>>(),
        &plan.closes.iter().map(|c| c.stop).collect::<Vec<_>>(),
        &plan.opens.iter().map(|o| o.package_id.clone()).collect::<Vec<_>>(),
        &plan.opens.iter().map(|o| o.dimensions.account_item.clone()).collect::<Vec<_>>(),
        &of_opens(|d| number(d.agreement_price)),
        &of_opens(|d| number(d.season)),
        &of_opens(|d| number(d.heat_basis)),
        &of_opens(|d| number(d.property_basis)),
        &of_opens(|d| number(d.time_of_use)),
        &of_opens(|d| number(d.period)),
        &of_opens(|d| number(d.ladder)),
        &of_opens(|d| number(d.tier)),
        &opens.prices,
        &opens.units,
        &opens.lower,
        &opens.upper,
        &plan.opens.iter().map(|o| o.start).collect::<Vec<_>>() as &[Option<NaiveDate>],
    )
    .fetch_one(executor)
    .named("price_apply")
    .await?;
    Ok(match (outcome.fits, outcome.done) {
        (false, _) => Applied::Stale,
        (true, false) => Applied::AnsweredBefore,
        (true, true) => Applied::Done,
    })
}

/// Values by column, as a statement takes them.
struct Columns {
    prices: Vec<Decimal>,
    units: Vec<String>,
    lower: Vec<i64>,
    upper: Vec<i64>,
}

impl Values {
    fn columns<'a>(values: impl Iterator<Item = &'a Self>) -> Columns {
        let mut columns = Columns { prices: Vec::new(), units: Vec::new(), lower: Vec::new(), upper: Vec::new() };
        for value in values {
            columns.prices.push(value.price);
            columns.units.push(value.unit.clone());
            columns.lower.push(value.limits.lower);
            columns.upper.push(value.limits.upper);
        }
        columns
    }
}

/// A version of a price row as it is stored; codes are the numbers of the contract's enums.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // the fields of the contract, documented there
pub struct PriceRow {
    pub account_item: String,
    pub agreement_price: i16,
    pub season: i16,
    pub heat_basis: i16,
    pub property_basis: i16,
    pub time_of_use: i16,
    pub period: i16,
    pub ladder: i16,
    pub tier: i16,
    pub price: Decimal,
    pub price_unit: String,
    pub lower_limit: i64,
    pub upper_limit: i64,
    pub start_date: Option<NaiveDate>,
    pub stop_date: Option<NaiveDate>,
}

/// How many rows of a package are open.
///
/// # Errors
/// Storage faults.
pub async fn count_open(
    executor: impl PgExecutor<'_>,
    retail_company_id: &str,
    package_id: &str,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM sales_price
           WHERE retail_company_id = $1 AND package_id = $2 AND stop_date IS NULL"#,
        retail_company_id,
        package_id,
    )
    .fetch_one(executor)
    .named("price_count")
    .await
}

/// The open rows of a package by their dimensions: at most `limit` after the first `offset`.
///
/// # Errors
/// Storage faults.
pub async fn list_open(
    executor: impl PgExecutor<'_>,
    retail_company_id: &str,
    package_id: &str,
    limit: i64,
    offset: i64,
) -> Result<Vec<PriceRow>, sqlx::Error> {
    sqlx::query_as!(
        PriceRow,
        "SELECT account_item, agreement_price, season, heat_basis, property_basis, time_of_use, period, ladder, tier,
             price, price_unit, lower_limit, upper_limit, start_date, stop_date
         FROM sales_price
         WHERE retail_company_id = $1 AND package_id = $2 AND stop_date IS NULL
         ORDER BY account_item, dimensions, price_id
         LIMIT $3 OFFSET $4",
        retail_company_id,
        package_id,
        limit,
        offset,
    )
    .fetch_all(executor)
    .named("price_list")
    .await
}

/// All versions of the rows of a package, by their dimensions and then from the oldest; at most
/// `limit`.
///
/// # Errors
/// Storage faults.
pub async fn list_versions(
    executor: impl PgExecutor<'_>,
    retail_company_id: &str,
    package_id: &str,
    limit: i64,
) -> Result<Vec<PriceRow>, sqlx::Error> {
    sqlx::query_as!(
        PriceRow,
        "SELECT account_item, agreement_price, season, heat_basis, property_basis, time_of_use, period, ladder, tier,
             price, price_unit, lower_limit, upper_limit, start_date, stop_date
         FROM sales_price
         WHERE retail_company_id = $1 AND package_id = $2
         ORDER BY account_item, dimensions, price_id
         LIMIT $3",
        retail_company_id,
        package_id,
        limit,
    )
    .fetch_all(executor)
    .named("price_versions")
    .await
}
