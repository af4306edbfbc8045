//! Payer objects in the database.

use chrono::{DateTime, Utc};
use communal_kit::call::Call;
use communal_kit::database::Statement as _;
use communal_kit::idempotency::{self, Claim};
use communal_kit::pool::Pool;
use communal_kit::refusal::Refusal;
use communal_kit::write::retrying;
use communal_proto::community::v1::{PayerObject, RegisterPayerObjectsRequest};
use communal_proto::{Coded, parse_decimal};
use rust_decimal::Decimal;
use sqlx::PgConnection;

use crate::paging::KeyPage;

/// Registers payer objects, replacing those that exist, or repeats the answer of the same
/// request before.
///
/// # Errors
/// `REQUEST_ID_REUSED`.
pub async fn register(
    pool: &Pool,
    call: &Call,
    request: &RegisterPayerObjectsRequest,
    now: DateTime<Utc>,
) -> Result<(), Refusal> {
    retrying(|| async {
        let mut transaction = pool.begin().named("begin").await?;
        register_in(&mut transaction, call, request, now).await?;
        transaction.commit().named("commit").await?;
        Ok(())
    })
    .await
}

/// As [`register`], in a transaction of the caller's. Locks: the request id, then the objects
/// in order of their identifiers, so that two that register the same ones do not block each
/// other for good.
///
/// # Errors
/// As [`register`].
pub async fn register_in(
    connection: &mut PgConnection,
    call: &Call,
    request: &RegisterPayerObjectsRequest,
    now: DateTime<Utc>,
) -> Result<(), Refusal> {
    if let Claim::Answered(_) = idempotency::claim(connection, call, request).await? {
        return Ok(());
    }
    let objects = &request.payer_objects;
    let texts = |of: fn(&PayerObject) -> &str| objects.iter().map(of).collect::<Vec<_>>();
    // An empty decimal is an unknown one.
    let decimals = |of: fn(&PayerObject) -> &str| {
        objects.iter().map(|object| parse_decimal(of(object))).collect::<Vec<Option<Decimal>>>()
    };
    let types: Vec<&str> = objects.iter().map(|object| object.payer_obj_type().code()).collect();
    let layers: Vec<i32> = objects.iter().map(|object| object.layer).collect();
    sqlx::query!(
        "INSERT INTO payer_object
             (community_id, payer_obj_id, payer_obj_type, name, built_up_area, room_area, fee_coefficient, layer,
              room_rent, written_at, operator_id, channel_id, trace_id)
         SELECT $1, payer_obj_id, payer_obj_type, name, built_up_area, room_area, fee_coefficient, layer, room_rent,
                $10, $11, $12, $13
         FROM unnest($2::text[], $3::text[], $4::text[], $5::numeric[], $6::numeric[], $7::numeric[], $8::int[],
                     $9::numeric[])
              AS given (payer_obj_id, payer_obj_type, name, built_up_area, room_area, fee_coefficient, layer, room_rent)
         ORDER BY payer_obj_id
         ON CONFLICT (community_id, payer_obj_id) DO UPDATE
         SET payer_obj_type = excluded.payer_obj_type, name = excluded.name, built_up_area = excluded.built_up_area,
             room_area = excluded.room_area, fee_coefficient = excluded.fee_coefficient, layer = excluded.layer,
             room_rent = excluded.room_rent, written_at = excluded.written_at, operator_id = excluded.operator_id,
             channel_id = excluded.channel_id, trace_id = excluded.trace_id",
        call.tenant.id,
        &texts(|o| &o.payer_obj_id) as &[&str],
        &types as &[&str],
        &texts(|o| &o.name) as &[&str],
        &decimals(|o| &o.built_up_area) as &[Option<Decimal>],
        &decimals(|o| &o.room_area) as &[Option<Decimal>],
        &decimals(|o| &o.fee_coefficient) as &[Option<Decimal>],
        &layers,
        &decimals(|o| &o.room_rent) as &[Option<Decimal>],
        now,
        call.operator_id,
        call.channel_id,
        call.trace_id,
    )
    .execute(connection)
    .named("payer_object_upsert")
    .await?;
    Ok(())
}

/// A payer object as it is stored.
#[derive(Debug)]
pub struct PayerObjectRow {
    /// Identifier.
    pub payer_obj_id: String,
    /// Code.
    pub payer_obj_type: String,
    /// Name.
    pub name: String,
    /// R.
    pub built_up_area: Option<Decimal>,
    /// Indoor area.
    pub room_area: Option<Decimal>,
    /// X.
    pub fee_coefficient: Option<Decimal>,
    /// L.
    pub layer: i32,
    /// Rent.
    pub room_rent: Option<Decimal>,
}

/// Payer objects after a key, by identifier.
///
/// # Errors
/// Storage faults.
pub async fn list(pool: &Pool, call: &Call, page: &KeyPage) -> Result<Vec<PayerObjectRow>, Refusal> {
    let rows = sqlx::query_as!(
        PayerObjectRow,
        "SELECT payer_obj_id, payer_obj_type, name, built_up_area, room_area, fee_coefficient, layer, room_rent
         FROM payer_object WHERE community_id = $1 AND payer_obj_id > $2 ORDER BY payer_obj_id LIMIT $3",
        call.tenant.id,
        page.after,
        page.limit(),
    )
    .fetch_all(pool)
    .named("payer_object_list")
    .await?;
    Ok(rows)
}

/// The types of payer objects, in the order in which they are named; `None` for an object that
/// the community does not have.
///
/// # Errors
/// Returns storage errors.
pub async fn types(
    connection: &mut PgConnection,
    call: &Call,
    payer_obj_ids: &[String],
) -> Result<Vec<Option<String>>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT o.payer_obj_type AS "payer_obj_type?"
           FROM unnest($2::text[]) WITH ORDINALITY AS asked (payer_obj_id, place)
           LEFT JOIN payer_object o ON o.community_id = $1 AND o.payer_obj_id = asked.payer_obj_id
           ORDER BY place"#,
        call.tenant.id,
        payer_obj_ids,
    )
    .fetch_all(connection)
    .named("payer_object_types")
    .await
}
