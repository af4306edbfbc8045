//! The statements of catalogue prices. Every query is bound by the company.
//!
//! Lock order: the catalogue prices of a company, by an advisory lock, because the first price of a row has no row yet.
//! Price lists change a few times a year.

use std::collections::BTreeSet;

use chrono::NaiveDate;
use communal_kit::call::Call;
use communal_kit::database::Statement as _;
use communal_kit::database::stored::Stored;
use communal_proto::Coded as _;
use communal_proto::billing::v1::{BasicFeesType, LadderNumType, PurchaseSaleType};
use rust_decimal::Decimal;
use sqlx::{PgConnection, PgExecutor};

use super::change::{KnownItems, VersionPlan};
use super::row::AskedPrice;
use super::{Key, Part, Tariff, Version, VersionValues};
use crate::reference::store::place_of;
use crate::vocabulary::lifetime::Lifetime;
use crate::vocabulary::quantity::at_unit_price_scale;
use crate::vocabulary::tariff::{
    HeatBasis, Ladder, Period, PropertyBasis, Season, Tier, TierLimits, TimeOfUse, Utility, YesNo,
};

/// A version as it is stored.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // the fields of the contract, documented there
pub struct PriceRow {
    pub price_id: i64,
    pub account_item: String,
    pub utility: Stored<Utility>,
    pub supply_kind: Stored<PurchaseSaleType>,
    pub main_item: i64,
    pub surcharge_item: i64,
    pub surcharge_name: Option<String>,
    pub retail_grade: String,
    pub property_grade: String,
    pub heat_basis: Stored<HeatBasis>,
    pub property_basis: Option<Stored<PropertyBasis>>,
    pub basic_fee_kind: Stored<BasicFeesType>,
    pub seasonal: Stored<YesNo>,
    pub time_of_use: Stored<TimeOfUse>,
    pub ladder: Stored<Ladder>,
    pub tiers: Stored<LadderNumType>,
    pub season: Stored<Season>,
    pub period: Stored<Period>,
    pub tier: Stored<Tier>,
    pub price: Decimal,
    pub price_unit: String,
    pub lower_limit: i64,
    pub upper_limit: i64,
    pub start_date: NaiveDate,
    pub stop_date: Option<NaiveDate>,
    pub billed: bool,
}

/// Selects versions of a part of a company's catalogue: the one list of their columns, followed by the rest of the
/// statement. Versions that are in force on no day are left out.
macro_rules! select_versions {
    ($rest:tt, $company:expr, $part:expr, $($argument:expr),* $(,)?) => {
        sqlx::query_as!(
            PriceRow,
            r#"SELECT p.price_id, p.account_item, p.utility AS "utility: Stored<Utility>",
                   p.supply_kind AS "supply_kind: Stored<PurchaseSaleType>", p.main_item, p.surcharge_item,
                   (SELECT i.name FROM category_item i
                    WHERE i.company_id = p.company_id AND i.category_item = p.surcharge_key) AS surcharge_name,
                   p.retail_grade, p.property_grade, p.heat_basis AS "heat_basis: Stored<HeatBasis>",
                   p.property_basis AS "property_basis: Stored<PropertyBasis>",
                   p.basic_fee_kind AS "basic_fee_kind: Stored<BasicFeesType>", p.seasonal AS "seasonal: Stored<YesNo>",
                   p.time_of_use AS "time_of_use: Stored<TimeOfUse>", p.ladder AS "ladder: Stored<Ladder>",
                   p.tiers AS "tiers: Stored<LadderNumType>", p.season AS "season: Stored<Season>",
                   p.period AS "period: Stored<Period>", p.tier AS "tier: Stored<Tier>", p.price, p.price_unit,
                   p.lower_limit, p.upper_limit, p.start_date, p.stop_date, p.billed
               FROM catalogue_price p
               WHERE p.company_id = $1 AND p.part = $2 AND p.stop_date IS DISTINCT FROM p.start_date "#
                + $rest,
            $company,
            $part.stored(),
            $($argument),*
        )
    };
}

/// Locks the catalogue prices of the company until the transaction ends.
///
/// # Errors
/// Returns the database's error.
pub async fn lock(tx: &mut PgConnection, call: &Call) -> Result<(), sqlx::Error> {
    sqlx::query!("SELECT pg_advisory_xact_lock(hashtextextended($1, 30))", call.tenant.id)
        .execute(tx)
        .named("catalogue_price_lock")
        .await?;
    Ok(())
}

/// Returns the items of the company's catalogue that a request names.
///
/// # Errors
/// Returns the database's error.
pub async fn known_items(tx: &mut PgConnection, call: &Call, asked: &[AskedPrice]) -> Result<KnownItems, sqlx::Error> {
    let account_items = account_items(asked);
    let attached = asked.iter().filter_map(|asked| asked.key.attached).map(|(_, surcharge)| surcharge);
    let category_items: BTreeSet<_> = asked.iter().map(|asked| asked.main_item).chain(attached).collect();
    let accounts = sqlx::query!(
        r#"SELECT account_item, utility AS "utility: Stored<Utility>" FROM account_item
           WHERE company_id = $1 AND account_item = ANY($2)"#,
        call.tenant.id,
        account_items as _,
    )
    .fetch_all(&mut *tx)
    .named("account_item_known")
    .await?;
    let categories = sqlx::query!(
        r#"SELECT category_item, utility AS "utility: Stored<Utility>", surcharge AS "surcharge: Stored<YesNo>"
           FROM category_item WHERE company_id = $1 AND category_item = ANY($2)"#,
        call.tenant.id,
        &category_items.into_iter().collect::<Vec<_>>(),
    )
    .fetch_all(tx)
    .named("category_item_known")
    .await?;
    Ok(KnownItems {
        account_items: accounts.into_iter().map(|row| (row.account_item, row.utility.0)).collect(),
        category_items: categories.into_iter().map(|r| (r.category_item, r.utility.0, r.surcharge.0)).collect(),
    })
}

/// Returns all versions of the account items of a request.
///
/// # Errors
/// Returns the database's error.
pub async fn versions(
    tx: &mut PgConnection,
    call: &Call,
    part: Part,
    asked: &[AskedPrice],
) -> Result<Vec<Version>, sqlx::Error> {
    let rows = select_versions!(
        "AND p.account_item = ANY($3) ORDER BY p.price_id",
        call.tenant.id,
        part,
        account_items(asked) as _
    );
    Ok(rows.fetch_all(tx).named("catalogue_price_versions").await?.into_iter().map(Version::from).collect())
}

/// Returns the versions of account items that are in force on a day.
///
/// # Errors
/// Returns the database's error.
pub async fn in_force(
    executor: impl PgExecutor<'_>,
    company_id: &str,
    part: Part,
    account_items: &[&str],
    day: NaiveDate,
) -> Result<Vec<Version>, sqlx::Error> {
    let rows = select_versions!(
        "AND p.account_item = ANY($3) AND p.start_date <= $4 AND (p.stop_date IS NULL OR p.stop_date > $4)
         ORDER BY p.price_id",
        company_id,
        part,
        account_items as _,
        day,
    );
    Ok(rows.fetch_all(executor).named("catalogue_price_in_force").await?.into_iter().map(Version::from).collect())
}

/// Returns the versions of all parts that are in force, each with the place of what it was asked by: a company, an account item
/// and a day.
///
/// # Errors
/// Returns the database's error.
pub async fn in_force_at(
    executor: impl PgExecutor<'_>,
    asked: &[(&str, &str, NaiveDate)],
) -> Result<Vec<(usize, Part, Version)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT own.place AS "place!", p.part, p.price_id, p.account_item, p.utility AS "utility: Stored<Utility>",
               p.supply_kind AS "supply_kind: Stored<PurchaseSaleType>", p.main_item, p.surcharge_item, p.retail_grade,
               p.property_grade, p.heat_basis AS "heat_basis: Stored<HeatBasis>",
               p.property_basis AS "property_basis: Stored<PropertyBasis>",
               p.basic_fee_kind AS "basic_fee_kind: Stored<BasicFeesType>", p.seasonal AS "seasonal: Stored<YesNo>",
               p.time_of_use AS "time_of_use: Stored<TimeOfUse>", p.ladder AS "ladder: Stored<Ladder>",
               p.tiers AS "tiers: Stored<LadderNumType>", p.season AS "season: Stored<Season>",
               p.period AS "period: Stored<Period>", p.tier AS "tier: Stored<Tier>", p.price, p.price_unit, p.lower_limit,
               p.upper_limit, p.start_date, p.stop_date, p.billed
           FROM unnest($1::text[], $2::text[], $3::date[]) WITH ORDINALITY AS own (company_id, account_item, day, place)
           JOIN catalogue_price p ON p.company_id = own.company_id AND p.account_item = own.account_item
               AND p.start_date <= own.day AND (p.stop_date IS NULL OR p.stop_date > own.day)
           ORDER BY own.place, p.price_id"#,
        asked.iter().map(|(company, ..)| *company).collect::<Vec<_>>() as _,
        asked.iter().map(|(_, item, _)| *item).collect::<Vec<_>>() as _,
        &asked.iter().map(|(.., day)| *day).collect::<Vec<_>>(),
    )
    .fetch_all(executor)
    .named("catalogue_price_in_force_at")
    .await?;
    let versions = rows.into_iter().map(|row| {
        let part = [Part::Main, Part::Attached, Part::BasicFee].into_iter().find(|part| part.stored() == row.part);
        let part =
            part.ok_or_else(|| sqlx::Error::Decode(format!("{} is no part of the catalogue", row.part).into()))?;
        let version = PriceRow {
            price_id: row.price_id,
            account_item: row.account_item,
            utility: row.utility,
            supply_kind: row.supply_kind,
            main_item: row.main_item,
            surcharge_item: row.surcharge_item,
            surcharge_name: None,
            retail_grade: row.retail_grade,
            property_grade: row.property_grade,
            heat_basis: row.heat_basis,
            property_basis: row.property_basis,
            basic_fee_kind: row.basic_fee_kind,
            seasonal: row.seasonal,
            time_of_use: row.time_of_use,
            ladder: row.ladder,
            tiers: row.tiers,
            season: row.season,
            period: row.period,
            tier: row.tier,
            price: row.price,
            price_unit: row.price_unit,
            lower_limit: row.lower_limit,
            upper_limit: row.upper_limit,
            start_date: row.start_date,
            stop_date: row.stop_date,
            billed: row.billed,
        };
        Ok((place_of(row.place), part, Version::from(version)))
    });
    versions.collect()
}

/// A selection of versions; a field that is `None` or unspecified does not narrow it.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)] // the fields of the contract, documented there
pub struct VersionFilter {
    pub account_item: Option<String>,
    pub utility: Utility,
    pub seasonal: YesNo,
    pub season: Season,
    pub time_of_use: TimeOfUse,
    pub period: Period,
    pub ladder: Ladder,
    pub tier: Tier,
    pub tiers: LadderNumType,
    pub start: Option<NaiveDate>,
}

/// Returns the versions of a company, by row and then from the oldest, at most `limit`.
///
/// # Errors
/// Returns the database's error.
pub async fn list(
    executor: impl PgExecutor<'_>,
    company_id: &str,
    part: Part,
    filter: &VersionFilter,
    limit: i64,
) -> Result<Vec<PriceRow>, sqlx::Error> {
    select_versions!(
        "AND ($3::text IS NULL OR p.account_item = $3) AND ($4::text IS NULL OR p.utility = $4)
         AND ($5::text IS NULL OR p.seasonal = $5) AND ($6::text IS NULL OR p.season = $6)
         AND ($7::text IS NULL OR p.time_of_use = $7) AND ($8::text IS NULL OR p.period = $8)
         AND ($9::text IS NULL OR p.ladder = $9) AND ($10::text IS NULL OR p.tier = $10)
         AND ($11::text IS NULL OR p.tiers = $11) AND ($12::date IS NULL OR p.start_date = $12)
         ORDER BY p.account_item, p.class, p.retail_grade, p.property_grade, p.main_item, p.surcharge_item, p.position,
             p.start_date
         LIMIT $13",
        company_id,
        part,
        filter.account_item.as_deref(),
        filter.utility.stored(),
        filter.seasonal.stored(),
        filter.season.stored(),
        filter.time_of_use.stored(),
        filter.period.stored(),
        filter.ladder.stored(),
        filter.tier.stored(),
        filter.tiers.stored(),
        filter.start,
        limit,
    )
    .fetch_all(executor)
    .named("catalogue_price_list")
    .await
}

/// Carries out a plan. The company's prices are locked since before its versions were read.
///
/// # Errors
/// Returns the database's error.
pub async fn carry_out(tx: &mut PgConnection, call: &Call, part: Part, plan: &VersionPlan) -> Result<(), sqlx::Error> {
    // Closing comes first: no two versions of a row are in force on one day.
    for Version { price_id, values, span, .. } in &plan.changed {
        sqlx::query!(
            "UPDATE catalogue_price SET price = $3, price_unit = $4, stop_date = $5
             WHERE company_id = $1 AND price_id = $2",
            call.tenant.id,
            *price_id,
            values.price,
            values.unit,
            span.stop,
        )
        .execute(&mut *tx)
        .named("catalogue_price_change")
        .await?;
    }
    for Version { price_id: _, key, main_item, values, span, billed: _ } in &plan.opened {
        let Key { tariff, season, period, tier, attached } = key;
        sqlx::query!(
            "INSERT INTO catalogue_price (company_id, part, account_item, utility, supply_kind, main_item, surcharge_item,
                 retail_grade, property_grade, heat_basis, property_basis, basic_fee_kind, seasonal, time_of_use, ladder,
                 tiers, season, period, tier, price, price_unit, lower_limit, upper_limit, start_date, stop_date)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22,
                 $23, $24, $25)",
            call.tenant.id,
            part.stored(),
            tariff.account_item,
            tariff.utility.stored(),
            tariff.supply_kind.stored(),
            main_item,
            attached.map_or(0, |(_, surcharge)| surcharge),
            tariff.retail_grade,
            tariff.property_grade,
            tariff.heat_basis.stored(),
            tariff.property_basis.stored(),
            tariff.basic_fee_kind.stored(),
            tariff.seasonal.stored(),
            tariff.time_of_use.stored(),
            tariff.ladder.stored(),
            tariff.tiers.stored(),
            season.stored(),
            period.stored(),
            tier.stored(),
            values.price,
            values.unit,
            values.limits.lower,
            values.limits.upper,
            span.start,
            span.stop,
        )
        .execute(&mut *tx)
        .named("catalogue_price_open")
        .await?;
    }
    Ok(())
}

impl From<PriceRow> for Version {
    fn from(row: PriceRow) -> Self {
        let PriceRow {
            price_id,
            account_item,
            utility: Stored(utility),
            supply_kind: Stored(supply_kind),
            main_item,
            surcharge_item,
            surcharge_name: _,
            retail_grade,
            property_grade,
            heat_basis: Stored(heat_basis),
            property_basis,
            basic_fee_kind: Stored(basic_fee_kind),
            seasonal: Stored(seasonal),
            time_of_use: Stored(time_of_use),
            ladder: Stored(ladder),
            tiers: Stored(tiers),
            season: Stored(season),
            period: Stored(period),
            tier: Stored(tier),
            price,
            price_unit: unit,
            lower_limit: lower,
            upper_limit: upper,
            start_date,
            stop_date: stop,
            billed,
        } = row;
        let tariff = Tariff {
            account_item,
            utility,
            supply_kind,
            retail_grade,
            property_grade,
            heat_basis,
            property_basis: Stored::given(property_basis),
            basic_fee_kind,
            seasonal,
            time_of_use,
            ladder,
            tiers,
        };
        let attached = (surcharge_item > 0).then_some((main_item, surcharge_item));
        Self {
            price_id: Some(price_id),
            key: Key { tariff, season, period, tier, attached },
            main_item,
            values: VersionValues { price: at_unit_price_scale(price), unit, limits: TierLimits { lower, upper } },
            span: Lifetime { start: Some(start_date), stop },
            billed,
        }
    }
}

/// The account items of a request.
fn account_items(asked: &[AskedPrice]) -> Vec<&str> {
    let items: BTreeSet<_> = asked.iter().map(|asked| asked.key.tariff.account_item.as_str()).collect();
    items.into_iter().collect()
}
