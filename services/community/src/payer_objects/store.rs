//! Payer objects in the database.

use communal_kit::call::Call;
use communal_kit::database::Statement as _;
use communal_kit::database::stored::Stored;
use communal_kit::paging::KeyPage;
use communal_proto::community::v1::{PayerObject, PayerObjectType};
use communal_proto::parse_decimal;
use rust_decimal::Decimal;
use sqlx::{PgConnection, PgExecutor};

use crate::vocabulary::spans::ChargedSpan;

/// Stores payer objects and replaces those that exist. Locks: the objects, in the order of their
/// identifiers, so that two calls with the same objects do not wait for each other.
///
/// # Errors
/// Returns the database's error.
pub async fn upsert(connection: &mut PgConnection, call: &Call, objects: &[PayerObject]) -> Result<(), sqlx::Error> {
    let texts = |of: fn(&PayerObject) -> &str| objects.iter().map(of).collect::<Vec<_>>();
    // An empty decimal is an unknown one.
    let decimals = |of: fn(&PayerObject) -> &str| {
        objects.iter().map(|object| parse_decimal(of(object))).collect::<Vec<Option<Decimal>>>()
    };
    let types: Vec<_> = objects.iter().map(|object| Stored(object.payer_obj_type())).collect();
    let layers: Vec<i32> = objects.iter().map(|object| object.layer).collect();
    sqlx::query!(
        "INSERT INTO payer_object
             (community_id, payer_obj_id, payer_obj_type, name, built_up_area, room_area, fee_coefficient, layer,
              room_rent)
         SELECT $1, payer_obj_id, payer_obj_type, name, built_up_area, room_area, fee_coefficient, layer, room_rent
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
        &types as &[Stored<PayerObjectType>],
        &texts(|o| &o.name) as &[&str],
        &decimals(|o| &o.built_up_area) as &[Option<Decimal>],
        &decimals(|o| &o.room_area) as &[Option<Decimal>],
        &decimals(|o| &o.fee_coefficient) as &[Option<Decimal>],
        &layers,
        &decimals(|o| &o.room_rent) as &[Option<Decimal>],
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
    /// Kind of payer object.
    pub payer_obj_type: Stored<PayerObjectType>,
    /// Name.
    pub name: String,
    /// Built-up area: R in formulas.
    pub built_up_area: Option<Decimal>,
    /// Indoor area.
    pub room_area: Option<Decimal>,
    /// Charge coefficient: X in formulas.
    pub fee_coefficient: Option<Decimal>,
    /// Storey: L in formulas.
    pub layer: i32,
    /// Rent.
    pub room_rent: Option<Decimal>,
}

/// Reads a page of payer objects, by identifier.
///
/// # Errors
/// Returns the database's error.
pub async fn list(
    executor: impl PgExecutor<'_>,
    call: &Call,
    page: &KeyPage,
) -> Result<Vec<PayerObjectRow>, sqlx::Error> {
    sqlx::query_as!(
        PayerObjectRow,
        r#"SELECT payer_obj_id, payer_obj_type AS "payer_obj_type: Stored<PayerObjectType>", name, built_up_area,
                  room_area, fee_coefficient, layer, room_rent
           FROM payer_object WHERE community_id = $1 AND payer_obj_id > $2 ORDER BY payer_obj_id LIMIT $3"#,
        call.tenant.id,
        page.after,
        page.limit(),
    )
    .fetch_all(executor)
    .named("payer_object_list")
    .await
}

/// Reads the types of the payer objects of charged spans, in the order of the spans; `None` for
/// an object that the community does not have.
///
/// # Errors
/// Returns the database's error.
pub async fn types(
    connection: &mut PgConnection,
    call: &Call,
    spans: &[ChargedSpan],
) -> Result<Vec<Option<Stored<PayerObjectType>>>, sqlx::Error> {
    let payer_obj_ids: Vec<_> = spans.iter().map(|span| span.payer_obj_id.as_str()).collect();
    sqlx::query_scalar!(
        r#"SELECT o.payer_obj_type AS "payer_obj_type?: Stored<PayerObjectType>"
           FROM unnest($2::text[]) WITH ORDINALITY AS asked (payer_obj_id, place)
           LEFT JOIN payer_object o ON o.community_id = $1 AND o.payer_obj_id = asked.payer_obj_id
           ORDER BY place"#,
        call.tenant.id,
        &payer_obj_ids as &[&str],
    )
    .fetch_all(connection)
    .named("payer_object_types")
    .await
}
