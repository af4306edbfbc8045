//! The statements of delivery prices. Every query is bound by the company.
//!
//! Lock order: the delivery prices of a company, by an advisory lock, because tiers that fit each other may have no row
//! yet; then the versions of a request, row by row.

use chrono::NaiveDate;
use communal_kit::call::Call;
use communal_kit::database::Statement as _;
use communal_kit::database::stored::Stored;
use communal_kit::dates::to_number;
use communal_kit::money::at_scale;
use communal_proto::Coded as _;
use communal_proto::billing::v1::{
    DeliveryFeeType, DeliveryPrice, DeliveryPriceFilter, DeliveryPriceType, LadderNumType, StateType,
};
use rust_decimal::Decimal;
use sqlx::{PgConnection, PgExecutor};

use super::{Key, Version};
use crate::reference::store::place_of;
use crate::vocabulary::dates::day_number;
use crate::vocabulary::lifetime::Lifetime;
use crate::vocabulary::quantity::{QUANTITY_SCALE, UNIT_PRICE_SCALE};
use crate::vocabulary::tariff::{Ladder, Period, Season, Tier, TierLimits, TimeOfUse, Utility, YesNo};

/// Locks the delivery prices of the company until the transaction ends.
///
/// # Errors
/// Returns the database's error.
pub async fn lock_all(tx: &mut PgConnection, call: &Call) -> Result<(), sqlx::Error> {
    sqlx::query!("SELECT pg_advisory_xact_lock(hashtextextended($1, 23))", call.tenant.id)
        .execute(tx)
        .named("delivery_price_lock_all")
        .await?;
    Ok(())
}

/// Returns all versions in tiers of account items.
///
/// # Errors
/// Returns the database's error.
pub async fn in_tiers(tx: &mut PgConnection, call: &Call, account_items: &[&str]) -> Result<Vec<Version>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT account_item, utility AS "utility: Stored<Utility>", kind AS "kind: Stored<DeliveryPriceType>",
               delivery_grade, power_range, time_of_use AS "time_of_use: Stored<TimeOfUse>",
               period AS "period: Stored<Period>", ladder AS "ladder: Stored<Ladder>",
               tiers AS "tiers: Stored<LadderNumType>", tier AS "tier: Stored<Tier>", season AS "season: Stored<Season>",
               price, price_unit, lower_limit, upper_limit, loss_rate, fee_kind AS "fee_kind: Stored<DeliveryFeeType>",
               agreement_price AS "agreement_price: Stored<YesNo>", start_date, stop_date
           FROM delivery_price
           WHERE company_id = $1 AND account_item = ANY($2) AND ladder <> $3
           ORDER BY price_id"#,
        call.tenant.id,
        account_items as _,
        Ladder::None.stored(),
    )
    .fetch_all(tx)
    .named("delivery_price_in_tiers")
    .await?;
    let versions = rows.into_iter().map(|row| Version {
        key: Key {
            account_item: row.account_item,
            utility: row.utility.0,
            kind: row.kind.0,
            delivery_grade: row.delivery_grade,
            power_range: row.power_range,
            time_of_use: row.time_of_use.0,
            period: row.period.0,
            ladder: row.ladder.0,
            tiers: row.tiers.0,
            tier: row.tier.0,
            season: Stored::given(row.season),
        },
        price: row.price,
        unit: row.price_unit,
        limits: TierLimits { lower: row.lower_limit, upper: row.upper_limit },
        loss_rate: row.loss_rate,
        fee_kind: row.fee_kind.0,
        agreement_price: Stored::given(row.agreement_price),
        start: row.start_date,
        stop: row.stop_date,
    });
    Ok(versions.collect())
}

/// The tariff of delivery prices on a day: what all its rows share.
#[derive(Clone, Debug)]
pub struct TariffOnDay<'k> {
    /// Network company.
    pub company_id: &'k str,
    /// Account item.
    pub account_item: &'k str,
    /// Utility.
    pub utility: Utility,
    /// For guaranteed or for market packages.
    pub kind: DeliveryPriceType,
    /// Delivery grade.
    pub delivery_grade: &'k str,
    /// Power range; empty for every power.
    pub power_range: &'k str,
    /// The day.
    pub day: NaiveDate,
}

/// A version that is in force on a day.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // the columns of the table, documented there
pub struct VersionInForce {
    /// The place of the tariff that was asked for.
    pub place: usize,
    pub price_id: i64,
    pub time_of_use: TimeOfUse,
    pub period: Period,
    pub ladder: Ladder,
    pub tier: Tier,
    /// Unspecified of a price for every season.
    pub season: Season,
    pub price: Decimal,
    pub limits: TierLimits,
    pub start: NaiveDate,
}

/// Returns the versions of tariffs that are in force.
///
/// # Errors
/// Returns the database's error.
pub async fn in_force_at(
    executor: impl PgExecutor<'_>,
    asked: &[TariffOnDay<'_>],
) -> Result<Vec<VersionInForce>, sqlx::Error> {
    let text = |value: fn(&TariffOnDay<'_>) -> Option<String>| asked.iter().map(value).collect::<Vec<_>>();
    let rows = sqlx::query!(
        r#"SELECT own.place AS "place!", p.price_id, p.time_of_use AS "time_of_use: Stored<TimeOfUse>",
               p.period AS "period: Stored<Period>", p.ladder AS "ladder: Stored<Ladder>",
               p.tier AS "tier: Stored<Tier>", p.season AS "season: Stored<Season>", p.price, p.lower_limit, p.upper_limit,
               p.start_date
           FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::date[])
               WITH ORDINALITY
               AS own (company_id, account_item, utility, kind, delivery_grade, power_range, day, place)
           JOIN delivery_price p ON p.company_id = own.company_id AND p.account_item = own.account_item
               AND p.utility = own.utility AND p.kind = own.kind AND p.delivery_grade = own.delivery_grade
               AND p.power_range = own.power_range
               AND p.start_date <= own.day AND (p.stop_date IS NULL OR p.stop_date > own.day)
           ORDER BY own.place, p.price_id"#,
        text(|asked| Some(asked.company_id.to_owned())) as _,
        text(|asked| Some(asked.account_item.to_owned())) as _,
        text(|asked| asked.utility.stored().map(str::to_owned)) as _,
        text(|asked| asked.kind.stored().map(str::to_owned)) as _,
        text(|asked| Some(asked.delivery_grade.to_owned())) as _,
        text(|asked| Some(asked.power_range.to_owned())) as _,
        &asked.iter().map(|asked| asked.day).collect::<Vec<_>>(),
    )
    .fetch_all(executor)
    .named("delivery_price_in_force_at")
    .await?;
    let versions = rows.into_iter().map(|row| VersionInForce {
        place: place_of(row.place),
        price_id: row.price_id,
        time_of_use: row.time_of_use.0,
        period: row.period.0,
        ladder: row.ladder.0,
        tier: row.tier.0,
        season: Stored::given(row.season),
        price: row.price,
        limits: TierLimits { lower: row.lower_limit, upper: row.upper_limit },
        start: row.start_date,
    });
    Ok(versions.collect())
}

/// Adds a version. Returns false if its price has one on some of its days, or its tariff another split.
///
/// # Errors
/// Returns the database's error; the violated constraint is `delivery_price_account_item` if the company has no such
/// account item of the utility.
pub async fn add(tx: &mut PgConnection, call: &Call, new: &Version) -> Result<bool, sqlx::Error> {
    let key = &new.key;
    let done = sqlx::query!(
        "INSERT INTO delivery_price (company_id, account_item, utility, kind, delivery_grade, power_range, time_of_use,
             period, ladder, tiers, tier, season, price, price_unit, lower_limit, upper_limit, loss_rate, fee_kind,
             agreement_price, start_date, stop_date)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)
         ON CONFLICT DO NOTHING",
        call.tenant.id,
        key.account_item,
        key.utility.stored(),
        key.kind.stored(),
        key.delivery_grade,
        key.power_range,
        key.time_of_use.stored(),
        key.period.stored(),
        key.ladder.stored(),
        key.tiers.stored(),
        key.tier.stored(),
        key.season.stored(),
        new.price,
        new.unit,
        new.limits.lower,
        new.limits.upper,
        new.loss_rate,
        new.fee_kind.stored(),
        new.agreement_price.stored(),
        new.start,
        new.stop,
    );
    Ok(done.execute(tx).named("delivery_price_add").await?.rows_affected() == 1)
}

/// A version in force on some day of a new one, which therefore cannot begin.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    /// True if it is of the same price, false if its tariff is split another way.
    pub same_split: bool,
    /// Its days.
    pub days: Lifetime,
}

/// Returns the version that a new one was not added for. The prices of the company are locked.
///
/// # Errors
/// Returns the database's error; `RowNotFound` if no version stands against it.
pub async fn standing_against(tx: &mut PgConnection, call: &Call, new: &Version) -> Result<Standing, sqlx::Error> {
    let key = &new.key;
    let row = sqlx::query!(
        r#"SELECT same_split AS "same_split!", start_date, stop_date
           FROM (SELECT time_of_use = $6 AND ladder = $7 AND tiers = $8 AND (season IS NULL) = ($9::text IS NULL)
                     AS same_split, season IS NOT DISTINCT FROM $9 AND period = $10 AND tier = $11 AS same_row,
                     start_date, stop_date
                 FROM delivery_price
                 WHERE company_id = $1 AND account_item = $2 AND kind = $3 AND delivery_grade = $4 AND power_range = $5
                   AND daterange(start_date, stop_date) && daterange($12, $13)) AS other
           WHERE same_row OR NOT same_split
           ORDER BY same_split, start_date LIMIT 1"#,
        call.tenant.id,
        key.account_item,
        key.kind.stored(),
        key.delivery_grade,
        key.power_range,
        key.time_of_use.stored(),
        key.ladder.stored(),
        key.tiers.stored(),
        key.season.stored(),
        key.period.stored(),
        key.tier.stored(),
        new.start,
        new.stop,
    );
    let row = row.fetch_one(tx).named("delivery_price_standing").await?;
    let days = Lifetime { start: Some(row.start_date), stop: row.stop_date };
    Ok(Standing { same_split: row.same_split, days })
}

/// Returns the first day on which a version of a price is in force, if there is one.
///
/// # Errors
/// Returns the database's error.
pub async fn first_day(tx: &mut PgConnection, call: &Call, key: &Key) -> Result<Option<NaiveDate>, sqlx::Error> {
    sqlx::query_scalar!(
        "SELECT min(start_date) FROM delivery_price
         WHERE company_id = $1 AND account_item = $2 AND utility = $3 AND kind = $4 AND delivery_grade = $5
           AND power_range = $6 AND time_of_use = $7 AND period = $8 AND ladder = $9 AND tiers = $10 AND tier = $11
           AND season IS NOT DISTINCT FROM $12 AND stop_date IS DISTINCT FROM start_date",
        call.tenant.id,
        key.account_item,
        key.utility.stored(),
        key.kind.stored(),
        key.delivery_grade,
        key.power_range,
        key.time_of_use.stored(),
        key.period.stored(),
        key.ladder.stored(),
        key.tiers.stored(),
        key.tier.stored(),
        key.season.stored(),
    )
    .fetch_one(tx)
    .named("delivery_price_first_day")
    .await
}

/// A locked version.
#[derive(Clone, Copy, Debug)]
pub struct LockedVersion {
    /// Its number in the storage.
    pub price_id: i64,
    /// Its price.
    pub price: Decimal,
    /// Yes if the price was agreed.
    pub agreement_price: Option<Stored<YesNo>>,
    /// True once a bill has used it.
    pub billed: bool,
}

/// Locks the version of a price that is not over on a day: the one that began on `start`, or the one in force.
///
/// # Errors
/// Returns the database's error.
pub async fn lock(
    tx: &mut PgConnection,
    call: &Call,
    key: &Key,
    start: Option<NaiveDate>,
    day: NaiveDate,
) -> Result<Option<LockedVersion>, sqlx::Error> {
    sqlx::query_as!(
        LockedVersion,
        r#"SELECT price_id, price, agreement_price AS "agreement_price: Stored<YesNo>", billed
           FROM delivery_price
           WHERE company_id = $1 AND account_item = $2 AND utility = $3 AND kind = $4 AND delivery_grade = $5
             AND power_range = $6 AND time_of_use = $7 AND period = $8 AND ladder = $9 AND tiers = $10 AND tier = $11
             AND season IS NOT DISTINCT FROM $12
             AND CASE WHEN $13::date IS NULL THEN start_date <= $14 ELSE start_date = $13 END
             AND (stop_date IS NULL OR stop_date > greatest(start_date, $14))
           FOR UPDATE"#,
        call.tenant.id,
        key.account_item,
        key.utility.stored(),
        key.kind.stored(),
        key.delivery_grade,
        key.power_range,
        key.time_of_use.stored(),
        key.period.stored(),
        key.ladder.stored(),
        key.tiers.stored(),
        key.tier.stored(),
        key.season.stored(),
        start,
        day,
    )
    .fetch_optional(tx)
    .named("delivery_price_lock")
    .await
}

/// Closes a locked version on a day; one that has not begun by then never begins.
///
/// # Errors
/// Returns the database's error.
pub async fn close(tx: &mut PgConnection, call: &Call, price_id: i64, day: NaiveDate) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE delivery_price SET stop_date = greatest(start_date, $3) WHERE company_id = $1 AND price_id = $2",
        call.tenant.id,
        price_id,
        day,
    )
    .execute(tx)
    .named("delivery_price_close")
    .await?;
    Ok(())
}

/// Returns the versions of a company's prices that any of the filters names, or all without a filter, at most `limit`. Versions
/// that are in force on no day are left out.
/// `region` is that of the company.
///
/// # Errors
/// Returns the database's error.
pub async fn list(
    executor: impl PgExecutor<'_>,
    company_id: &str,
    region: &str,
    filters: &[DeliveryPriceFilter],
    today: NaiveDate,
    limit: i64,
) -> Result<Vec<DeliveryPrice>, sqlx::Error> {
    let of_region = filters.iter().filter(|filter| ["", region].contains(&filter.region_code.as_str()));
    let account_items: Vec<_> = of_region.map(|filter| filter.account_item.as_str()).collect();
    let rows = sqlx::query!(
        r#"SELECT p.company_id, p.account_item, i.name, p.utility AS "utility: Stored<Utility>",
               kind AS "kind: Stored<DeliveryPriceType>", loss_rate, power_range,
               fee_kind AS "fee_kind: Stored<DeliveryFeeType>", delivery_grade,
               time_of_use AS "time_of_use: Stored<TimeOfUse>", period AS "period: Stored<Period>",
               ladder AS "ladder: Stored<Ladder>", tiers AS "tiers: Stored<LadderNumType>", tier AS "tier: Stored<Tier>",
               upper_limit, lower_limit, price, price_unit, start_date, stop_date,
               agreement_price AS "agreement_price: Stored<YesNo>", season AS "season: Stored<Season>"
           FROM delivery_price p JOIN account_item i USING (company_id, account_item)
           WHERE company_id = $1 AND ($2 OR '' = ANY($3) OR account_item = ANY($3))
             AND p.stop_date IS DISTINCT FROM p.start_date
           ORDER BY account_item, kind, delivery_grade, power_range, position, start_date, price_id LIMIT $4"#,
        company_id,
        filters.is_empty(),
        account_items as _,
        limit,
    )
    .fetch_all(executor)
    .named("delivery_price_list")
    .await?;
    let prices = rows.into_iter().map(|row| DeliveryPrice {
        network_company_id: row.company_id,
        account_item: row.account_item,
        account_item_name: row.name,
        region_code: region.to_owned(),
        utility: row.utility.0.into(),
        delivery_price_kind: row.kind.0.into(),
        loss_rate: row.loss_rate.map(|rate| at_scale(rate, QUANTITY_SCALE)).unwrap_or_default(),
        by_power: if row.power_range.is_empty() { YesNo::No } else { YesNo::Yes }.into(),
        power_range: row.power_range,
        delivery_fee_kind: row.fee_kind.0.into(),
        delivery_grade: row.delivery_grade,
        time_of_use: row.time_of_use.0.into(),
        period: row.period.0.into(),
        ladder: row.ladder.0.into(),
        ladder_tiers: row.tiers.0.into(),
        tier: row.tier.0.into(),
        upper_limit: row.upper_limit,
        lower_limit: row.lower_limit,
        price: at_scale(row.price, UNIT_PRICE_SCALE),
        price_unit: row.price_unit,
        start_date: to_number(row.start_date),
        stop_date: day_number(row.stop_date),
        agreement_price: Stored::given(row.agreement_price).into(),
        season: Stored::given(row.season).into(),
        enabled: if row.stop_date.is_some_and(|stop| stop <= today) { StateType::Disabled } else { StateType::Enabled }
            .into(),
    });
    Ok(prices.collect())
}
