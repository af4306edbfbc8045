//! Payer objects in the database.

use std::collections::BTreeMap;

use communal_kit::call::Call;
use communal_kit::database::Statement as _;
use communal_kit::database::stored::Stored;
use communal_kit::paging::KeyPage;
use communal_proto::community::v1::{CarState, PayerObject, PayerObjectType, RoomAttribute, RoomState};
use communal_proto::{Coded as _, parse_decimal};
use rust_decimal::Decimal;
use sqlx::{PgConnection, PgExecutor};

use crate::vocabulary::spans::ChargedSpan;

/// Stores payer objects with their owners and replaces those that exist. Locks: the owners, then the
/// objects, each in the order of their identifiers, so that two calls with the same objects do not wait
/// for each other.
///
/// # Errors
/// Returns the database's error.
pub async fn upsert(connection: &mut PgConnection, call: &Call, objects: &[PayerObject]) -> Result<(), sqlx::Error> {
    upsert_owners(&mut *connection, call, objects).await?;
    let texts = |of: fn(&PayerObject) -> &str| objects.iter().map(of).collect::<Vec<_>>();
    // An empty text is an unknown one.
    let given = |of: fn(&PayerObject) -> &str| {
        objects.iter().map(|object| Some(of(object)).filter(|text| !text.is_empty())).collect::<Vec<_>>()
    };
    let decimals = |of: fn(&PayerObject) -> &str| {
        objects.iter().map(|object| parse_decimal(of(object))).collect::<Vec<Option<Decimal>>>()
    };
    // Digits and decimals need no quotes in the literal of an array.
    let attributes = |of: fn(&RoomAttribute) -> &str| {
        let literal = |object: &PayerObject| object.attributes.iter().map(of).collect::<Vec<_>>().join(",");
        objects.iter().map(|object| format!("{{{}}}", literal(object))).collect::<Vec<_>>()
    };
    let types: Vec<_> = objects.iter().map(|object| Stored(object.payer_obj_type())).collect();
    let layers: Vec<i32> = objects.iter().map(|object| object.layer).collect();
    let room_states: Vec<_> = objects.iter().map(|object| object.room_state().stored()).collect();
    let car_states: Vec<_> = objects.iter().map(|object| object.car_state().stored()).collect();
    sqlx::query!(
        "INSERT INTO payer_object
             (community_id, payer_obj_id, payer_obj_type, name, built_up_area, room_area, fee_coefficient, layer,
              room_rent, community_area, building_area, unit_area, attribute_numbers, attribute_values, owner_id,
              room_state, car_state, car_park_id, room_num, floor_id, unit_id, room_sub_type)
         SELECT $1, payer_obj_id, payer_obj_type, name, built_up_area, room_area, fee_coefficient, layer, room_rent,
                community_area, building_area, unit_area, attribute_numbers::text[], attribute_values::numeric[],
                owner_id, room_state, car_state, car_park_id, room_num, floor_id, unit_id, room_sub_type
         FROM unnest($2::text[], $3::text[], $4::text[], $5::numeric[], $6::numeric[], $7::numeric[], $8::int[],
                     $9::numeric[], $10::numeric[], $11::numeric[], $12::numeric[], $13::text[], $14::text[],
                     $15::text[], $16::text[], $17::text[], $18::text[], $19::text[], $20::text[], $21::text[],
                     $22::text[])
              AS given (payer_obj_id, payer_obj_type, name, built_up_area, room_area, fee_coefficient, layer,
                        room_rent, community_area, building_area, unit_area, attribute_numbers, attribute_values,
                        owner_id, room_state, car_state, car_park_id, room_num, floor_id, unit_id, room_sub_type)
         ORDER BY payer_obj_id
         ON CONFLICT (community_id, payer_obj_id) DO UPDATE
         SET payer_obj_type = excluded.payer_obj_type, name = excluded.name, built_up_area = excluded.built_up_area,
             room_area = excluded.room_area, fee_coefficient = excluded.fee_coefficient, layer = excluded.layer,
             room_rent = excluded.room_rent, community_area = excluded.community_area,
             building_area = excluded.building_area, unit_area = excluded.unit_area,
             attribute_numbers = excluded.attribute_numbers, attribute_values = excluded.attribute_values,
             owner_id = excluded.owner_id, room_state = excluded.room_state, car_state = excluded.car_state,
             car_park_id = excluded.car_park_id, room_num = excluded.room_num, floor_id = excluded.floor_id,
             unit_id = excluded.unit_id, room_sub_type = excluded.room_sub_type, written_at = excluded.written_at,
             operator_id = excluded.operator_id, channel_id = excluded.channel_id, trace_id = excluded.trace_id",
        call.tenant.id,
        &texts(|o| &o.payer_obj_id) as &[&str],
        &types as &[Stored<PayerObjectType>],
        &texts(|o| &o.name) as &[&str],
        &decimals(|o| &o.built_up_area) as &[Option<Decimal>],
        &decimals(|o| &o.room_area) as &[Option<Decimal>],
        &decimals(|o| &o.fee_coefficient) as &[Option<Decimal>],
        &layers,
        &decimals(|o| &o.room_rent) as &[Option<Decimal>],
        &decimals(|o| &o.community_area) as &[Option<Decimal>],
        &decimals(|o| &o.building_area) as &[Option<Decimal>],
        &decimals(|o| &o.unit_area) as &[Option<Decimal>],
        &attributes(|a| &a.name),
        &attributes(|a| &a.value),
        &given(|o| &o.owner_id) as &[Option<&str>],
        &room_states as &[Option<&str>],
        &car_states as &[Option<&str>],
        &given(|o| &o.car_park_id) as &[Option<&str>],
        &given(|o| &o.room_num) as &[Option<&str>],
        &given(|o| &o.floor_id) as &[Option<&str>],
        &given(|o| &o.unit_id) as &[Option<&str>],
        &given(|o| &o.room_sub_type) as &[Option<&str>],
    )
    .execute(&mut *connection)
    .named("payer_object_upsert")
    .await?;
    let contracts: Vec<_> =
        objects.iter().filter(|object| object.payer_obj_type() == PayerObjectType::Contract).collect();
    if contracts.is_empty() { Ok(()) } else { replace_rooms(connection, call, &contracts).await }
}

/// Stores the owners of payer objects and replaces those that exist.
async fn upsert_owners(connection: &mut PgConnection, call: &Call, objects: &[PayerObject]) -> Result<(), sqlx::Error> {
    let owners: BTreeMap<_, _> =
        objects.iter().map(|o| (o.owner_id.as_str(), (&*o.owner_name, &*o.owner_tel))).collect();
    let owners: Vec<_> = owners.into_iter().filter(|(id, _)| !id.is_empty()).collect();
    if owners.is_empty() {
        return Ok(());
    }
    let column = |of: fn(&(&'_ str, (&'_ str, &'_ str))) -> String| owners.iter().map(of).collect::<Vec<_>>();
    sqlx::query!(
        "INSERT INTO owner (community_id, owner_id, name, phone)
         SELECT $1, owner_id, name, phone
         FROM unnest($2::text[], $3::text[], $4::text[]) AS given (owner_id, name, phone) ORDER BY owner_id
         ON CONFLICT (community_id, owner_id) DO UPDATE
         SET name = excluded.name, phone = excluded.phone, written_at = excluded.written_at,
             operator_id = excluded.operator_id, channel_id = excluded.channel_id, trace_id = excluded.trace_id",
        call.tenant.id,
        &column(|(id, _)| (*id).to_owned()),
        &column(|(_, (name, _))| (*name).to_owned()),
        &column(|(_, (_, phone))| (*phone).to_owned()),
    )
    .execute(connection)
    .named("owner_upsert")
    .await?;
    Ok(())
}

/// Replaces the rooms of contracts.
async fn replace_rooms(
    connection: &mut PgConnection,
    call: &Call,
    contracts: &[&PayerObject],
) -> Result<(), sqlx::Error> {
    let contract_ids: Vec<_> = contracts.iter().map(|contract| contract.payer_obj_id.as_str()).collect();
    sqlx::query!(
        "DELETE FROM contract_room WHERE community_id = $1 AND contract_id = ANY ($2)",
        call.tenant.id,
        &contract_ids as &[&str],
    )
    .execute(&mut *connection)
    .named("contract_rooms_delete")
    .await?;
    let rooms = contracts.iter().flat_map(|c| c.room_ids.iter().map(|room| (c.payer_obj_id.as_str(), room.as_str())));
    let (contract_ids, room_ids): (Vec<_>, Vec<_>) = rooms.unzip();
    sqlx::query!(
        "INSERT INTO contract_room (community_id, contract_id, room_id)
         SELECT $1, contract_id, room_id FROM unnest($2::text[], $3::text[]) AS given (contract_id, room_id)",
        call.tenant.id,
        &contract_ids as &[&str],
        &room_ids as &[&str],
    )
    .execute(connection)
    .named("contract_rooms_insert")
    .await?;
    Ok(())
}

/// Returns contracts with a room that the community does not have, and that room. At most one: it
/// is enough to refuse.
///
/// # Errors
/// Returns the database's error.
pub async fn unknown_rooms(connection: &mut PgConnection, call: &Call) -> Result<Vec<(String, String)>, sqlx::Error> {
    let rows = sqlx::query!(
        "SELECT c.contract_id, c.room_id FROM contract_room c
         WHERE c.community_id = $1
           AND NOT EXISTS (SELECT FROM payer_object o
                           WHERE o.community_id = $1 AND o.payer_obj_id = c.room_id AND o.payer_obj_type = '3333')
         ORDER BY c.contract_id, c.room_id LIMIT 1",
        call.tenant.id,
    )
    .fetch_all(connection)
    .named("contract_rooms_unknown")
    .await?;
    Ok(rows.into_iter().map(|row| (row.contract_id, row.room_id)).collect())
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
    /// Area of the community: C in formulas.
    pub community_area: Option<Decimal>,
    /// Area of the building: F in formulas.
    pub building_area: Option<Decimal>,
    /// Area of the unit: U in formulas.
    pub unit_area: Option<Decimal>,
    /// Numbers of the attributes: RL in formulas.
    pub attribute_numbers: Vec<String>,
    /// Values of the attributes, in the order of their numbers.
    pub attribute_values: Vec<Decimal>,
    /// Owner.
    pub owner_id: Option<String>,
    /// Name of the owner.
    pub owner_name: Option<String>,
    /// Phone number of the owner.
    pub owner_tel: Option<String>,
    /// State of a room.
    pub room_state: Option<Stored<RoomState>>,
    /// State of a parking space.
    pub car_state: Option<Stored<CarState>>,
    /// Car park.
    pub car_park_id: Option<String>,
    /// Number of a room.
    pub room_num: Option<String>,
    /// Building.
    pub floor_id: Option<String>,
    /// Unit.
    pub unit_id: Option<String>,
    /// Kind of a room.
    pub room_sub_type: Option<String>,
    /// Rooms of a contract.
    pub room_ids: Vec<String>,
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
        r#"SELECT o.payer_obj_id, o.payer_obj_type AS "payer_obj_type: Stored<PayerObjectType>", o.name,
                  o.built_up_area, o.room_area, o.fee_coefficient, o.layer, o.room_rent, o.community_area,
                  o.building_area, o.unit_area, o.attribute_numbers, o.attribute_values AS "attribute_values: Vec<Decimal>", o.owner_id,
                  w.name AS "owner_name?", w.phone AS "owner_tel?",
                  o.room_state AS "room_state: Stored<RoomState>", o.car_state AS "car_state: Stored<CarState>",
                  o.car_park_id, o.room_num, o.floor_id, o.unit_id, o.room_sub_type,
                  ARRAY(SELECT room_id FROM contract_room c
                        WHERE c.community_id = $1 AND c.contract_id = o.payer_obj_id ORDER BY room_id) AS "room_ids!"
           FROM payer_object o
           LEFT JOIN owner w ON w.community_id = $1 AND w.owner_id = o.owner_id
           WHERE o.community_id = $1 AND o.payer_obj_id > $2 ORDER BY o.payer_obj_id LIMIT $3"#,
        call.tenant.id,
        page.after,
        page.limit(),
    )
    .fetch_all(executor)
    .named("payer_object_list")
    .await
}

/// What charging a payer object asks of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Kind of payer object.
    pub payer_obj_type: Stored<PayerObjectType>,
    /// It has an owner.
    pub has_owner: bool,
}

/// Reads the payer objects of charged spans, in the order of the spans; `None` for an object that the
/// community does not have.
///
/// # Errors
/// Returns the database's error.
pub async fn known(
    connection: &mut PgConnection,
    call: &Call,
    spans: &[ChargedSpan],
) -> Result<Vec<Option<Known>>, sqlx::Error> {
    let payer_obj_ids: Vec<_> = spans.iter().map(|span| span.payer_obj_id.as_str()).collect();
    let rows = sqlx::query!(
        r#"SELECT o.payer_obj_type AS "payer_obj_type?: Stored<PayerObjectType>",
                  o.owner_id IS NOT NULL AS "has_owner!"
           FROM unnest($2::text[]) WITH ORDINALITY AS asked (payer_obj_id, place)
           LEFT JOIN payer_object o ON o.community_id = $1 AND o.payer_obj_id = asked.payer_obj_id
           ORDER BY place"#,
        call.tenant.id,
        &payer_obj_ids as &[&str],
    )
    .fetch_all(connection)
    .named("payer_object_known")
    .await?;
    let known =
        rows.into_iter().map(|row| Some(Known { payer_obj_type: row.payer_obj_type?, has_owner: row.has_owner }));
    Ok(known.collect())
}

/// Reads the identifiers of cars: all of the community, or those of a car park in states.
///
/// # Errors
/// Returns the database's error.
pub async fn cars(
    connection: &mut PgConnection,
    call: &Call,
    of: Option<(&str, &[String])>,
) -> Result<Vec<String>, sqlx::Error> {
    let (car_park, states) = of.unzip();
    sqlx::query_scalar!(
        "SELECT payer_obj_id FROM payer_object
         WHERE community_id = $1 AND payer_obj_type = '6666'
           AND ($2::text IS NULL OR car_park_id = $2) AND ($3::text[] IS NULL OR car_state = ANY ($3))
         ORDER BY payer_obj_id",
        call.tenant.id,
        car_park,
        states,
    )
    .fetch_all(connection)
    .named("payer_object_cars")
    .await
}

/// Reads the room that has a number.
///
/// # Errors
/// Returns the database's error.
pub async fn room(executor: impl PgExecutor<'_>, call: &Call, room_num: &str) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar!(
        "SELECT payer_obj_id FROM payer_object
         WHERE community_id = $1 AND room_num = $2 AND payer_obj_type = '3333' ORDER BY payer_obj_id LIMIT 1",
        call.tenant.id,
        room_num,
    )
    .fetch_optional(executor)
    .named("payer_object_room")
    .await
}

/// Reads the rooms of contracts, as pairs of both.
///
/// # Errors
/// Returns the database's error.
pub async fn rooms_of(
    connection: &mut PgConnection,
    call: &Call,
    contract_ids: &[&str],
) -> Result<Vec<(String, String)>, sqlx::Error> {
    let rows = sqlx::query!(
        "SELECT contract_id, room_id FROM contract_room
         WHERE community_id = $1 AND contract_id = ANY ($2) ORDER BY contract_id, room_id",
        call.tenant.id,
        contract_ids as &[&str],
    )
    .fetch_all(connection)
    .named("contract_rooms")
    .await?;
    Ok(rows.into_iter().map(|row| (row.contract_id, row.room_id)).collect())
}

/// The facts of a payer object that formulas read.
#[derive(Debug)]
pub struct ObjectRow {
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
    /// Area of the community: C in formulas.
    pub community_area: Option<Decimal>,
    /// Area of the building: F in formulas.
    pub building_area: Option<Decimal>,
    /// Area of the unit: U in formulas.
    pub unit_area: Option<Decimal>,
    /// Numbers of the attributes: RL in formulas.
    pub attribute_numbers: Vec<String>,
    /// Values of the attributes, in the order of their numbers.
    pub attribute_values: Vec<Decimal>,
}

/// Reads the facts of payer objects.
///
/// # Errors
/// Returns the database's error.
pub async fn facts(
    connection: &mut PgConnection,
    call: &Call,
    payer_obj_ids: &[&str],
) -> Result<Vec<ObjectRow>, sqlx::Error> {
    sqlx::query_as!(
        ObjectRow,
        r#"SELECT payer_obj_id, payer_obj_type AS "payer_obj_type: Stored<PayerObjectType>", name, built_up_area,
                  room_area, fee_coefficient, layer, room_rent, community_area, building_area, unit_area,
                  attribute_numbers, attribute_values AS "attribute_values: Vec<Decimal>"
           FROM payer_object WHERE community_id = $1 AND payer_obj_id = ANY ($2)"#,
        call.tenant.id,
        payer_obj_ids as &[&str],
    )
    .fetch_all(connection)
    .named("payer_object_facts")
    .await
}
