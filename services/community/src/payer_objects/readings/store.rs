//! Meter readings in the database.

use std::collections::HashMap;

use chrono::NaiveDateTime;
use communal_kit::call::Call;
use communal_kit::database::Statement as _;
use communal_kit::database::stored::Stored;
use communal_proto::Coded as _;
use communal_proto::community::v1::MeterType;
use rust_decimal::Decimal;
use sqlx::PgConnection;

use super::NewReading;
use super::rules::Unknown;

/// The index that lets a meter be read once at a time.
pub const LIVE: &str = "meter_reading_live";

/// Inserts a reading and returns its identifier.
///
/// # Errors
/// Returns the database's error; its constraint is [`LIVE`] if the meter was read at this time.
pub async fn insert(connection: &mut PgConnection, call: &Call, reading: &NewReading) -> Result<String, sqlx::Error> {
    sqlx::query_scalar!(
        "INSERT INTO meter_reading (community_id, reading_id, payer_obj_id, config_id, meter_type, pre_degrees,
             cur_degrees, pre_reading_time, cur_reading_time, price, remark)
         VALUES ($1, '94' || lpad(nextval('meter_reading_number')::text, 16, '0'), $2, $3, $4, $5, $6, $7, $8, $9, $10)
         RETURNING reading_id",
        call.tenant.id,
        reading.payer_obj_id,
        reading.config_id,
        reading.meter_type.stored(),
        reading.pre_degrees,
        reading.cur_degrees,
        reading.pre_reading_time,
        reading.cur_reading_time,
        reading.price,
        reading.remark,
    )
    .fetch_one(connection)
    .named("meter_reading_insert")
    .await
}

/// A reading that a fee charges by.
#[derive(Clone, Debug)]
pub struct ReadingRow {
    /// The fee.
    pub fee_id: String,
    /// Previous degrees.
    pub pre_degrees: Decimal,
    /// Current degrees.
    pub cur_degrees: Decimal,
    /// Time of the previous reading.
    pub pre_reading_time: NaiveDateTime,
    /// Time of the reading.
    pub cur_reading_time: NaiveDateTime,
    /// Unit price of formula 9009.
    pub price: Option<Decimal>,
}

/// Reads the readings of fees: its own of a fee that a reading made, otherwise the latest of the object
/// and item. A key is the fee, its own reading, its object and its item.
///
/// # Errors
/// Returns the database's error.
pub async fn of_fees(
    connection: &mut PgConnection,
    call: &Call,
    keys: &[(String, Option<String>, String, String)],
) -> Result<HashMap<String, ReadingRow>, sqlx::Error> {
    let fee_ids: Vec<_> = keys.iter().map(|(fee, ..)| fee.as_str()).collect();
    let reading_ids: Vec<_> = keys.iter().map(|(_, reading, ..)| reading.as_deref()).collect();
    let payer_obj_ids: Vec<_> = keys.iter().map(|(_, _, object, _)| object.as_str()).collect();
    let config_ids: Vec<_> = keys.iter().map(|(_, _, _, item)| item.as_str()).collect();
    let rows = sqlx::query_as!(
        ReadingRow,
        r#"WITH asked AS MATERIALIZED (
               SELECT * FROM unnest($2::text[], $3::text[], $4::text[], $5::text[])
                        AS given (fee_id, reading_id, payer_obj_id, config_id)
           )
           SELECT a.fee_id AS "fee_id!", r.pre_degrees AS "pre_degrees!", r.cur_degrees AS "cur_degrees!",
                  r.pre_reading_time AS "pre_reading_time!", r.cur_reading_time AS "cur_reading_time!", r.price
           FROM asked a JOIN meter_reading r ON r.community_id = $1 AND r.reading_id = a.reading_id
           UNION ALL
           SELECT a.fee_id, r.pre_degrees, r.cur_degrees, r.pre_reading_time, r.cur_reading_time, r.price
           FROM asked a
           CROSS JOIN LATERAL (
               SELECT * FROM meter_reading r
               WHERE r.community_id = $1 AND r.payer_obj_id = a.payer_obj_id AND r.config_id = a.config_id
                 AND r.deleted_at IS NULL
               ORDER BY r.cur_reading_time DESC LIMIT 1
           ) r
           WHERE a.reading_id IS NULL"#,
        call.tenant.id,
        &fee_ids as &[&str],
        &reading_ids as &[Option<&str>],
        &payer_obj_ids as &[&str],
        &config_ids as &[&str],
    )
    .fetch_all(connection)
    .named("meter_readings_of_fees")
    .await?;
    Ok(rows.into_iter().map(|row| (row.fee_id.clone(), row)).collect())
}

/// Finds the readings whose fee item or payer object the community does not have.
///
/// # Errors
/// Returns the database's error.
pub async fn unknown(
    connection: &mut PgConnection,
    call: &Call,
    readings: &[NewReading],
) -> Result<Vec<Unknown>, sqlx::Error> {
    let config_ids: Vec<_> = readings.iter().map(|reading| reading.config_id.as_str()).collect();
    let payer_obj_ids: Vec<_> = readings.iter().map(|reading| reading.payer_obj_id.as_str()).collect();
    let rows = sqlx::query!(
        r#"SELECT given.place AS "place!", given.config_id AS "config_id!", given.payer_obj_id AS "payer_obj_id!",
                  c.config_id IS NULL AS "is_item!"
           FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS given (config_id, payer_obj_id, place)
           LEFT JOIN pay_fee_config c
                  ON c.community_id = $1 AND c.config_id = given.config_id AND c.deleted_at IS NULL
           LEFT JOIN payer_object o ON o.community_id = $1 AND o.payer_obj_id = given.payer_obj_id
           WHERE c.config_id IS NULL OR o.payer_obj_id IS NULL
           ORDER BY given.place LIMIT 500"#,
        call.tenant.id,
        &config_ids as &[&str],
        &payer_obj_ids as &[&str],
    )
    .fetch_all(connection)
    .named("meter_reading_unknown")
    .await?;
    let unknown = rows.into_iter().map(|row| Unknown {
        row: usize::try_from(row.place - 1).unwrap_or_default(),
        is_item: row.is_item,
        id: if row.is_item { row.config_id } else { row.payer_obj_id },
    });
    Ok(unknown.collect())
}

/// Stores readings and replaces those of the same object, item and time. Locks: the readings by these.
///
/// # Errors
/// Returns the database's error.
pub async fn upsert(connection: &mut PgConnection, call: &Call, readings: &[NewReading]) -> Result<(), sqlx::Error> {
    let texts = |of: fn(&NewReading) -> &str| readings.iter().map(of).collect::<Vec<_>>();
    let times = |of: fn(&NewReading) -> NaiveDateTime| readings.iter().map(of).collect::<Vec<_>>();
    let types: Vec<_> = readings.iter().map(|reading| Stored(reading.meter_type)).collect();
    let previous: Vec<_> = readings.iter().map(|reading| reading.pre_degrees).collect();
    let current: Vec<_> = readings.iter().map(|reading| reading.cur_degrees).collect();
    let prices: Vec<_> = readings.iter().map(|reading| reading.price).collect();
    sqlx::query!(
        "INSERT INTO meter_reading (community_id, reading_id, payer_obj_id, config_id, meter_type, pre_degrees,
             cur_degrees, pre_reading_time, cur_reading_time, price)
         SELECT $1, '94' || lpad(nextval('meter_reading_number')::text, 16, '0'), given.*
         FROM (SELECT * FROM unnest($2::text[], $3::text[], $4::text[], $5::numeric[], $6::numeric[], $7::timestamp[],
                                    $8::timestamp[], $9::numeric[])
                        AS rows (payer_obj_id, config_id, meter_type, pre_degrees, cur_degrees, pre_reading_time,
                                 cur_reading_time, price)
               ORDER BY payer_obj_id, config_id, cur_reading_time) given
         ON CONFLICT (community_id, payer_obj_id, config_id, cur_reading_time) WHERE deleted_at IS NULL DO UPDATE
         SET meter_type = excluded.meter_type, pre_degrees = excluded.pre_degrees,
             cur_degrees = excluded.cur_degrees, pre_reading_time = excluded.pre_reading_time, price = excluded.price,
             operator_id = excluded.operator_id, channel_id = excluded.channel_id, trace_id = excluded.trace_id",
        call.tenant.id,
        &texts(|r| &r.payer_obj_id) as &[&str],
        &texts(|r| &r.config_id) as &[&str],
        &types as &[Stored<MeterType>],
        &previous as &[Decimal],
        &current as &[Decimal],
        &times(|r| r.pre_reading_time),
        &times(|r| r.cur_reading_time),
        &prices as &[Option<Decimal>],
    )
    .execute(connection)
    .named("meter_reading_upsert")
    .await?;
    Ok(())
}
