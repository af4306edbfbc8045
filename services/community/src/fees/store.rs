//! Fees in the database. They are read through the view `fee` alone: whether a fee is ended,
//! and its flag, follow from its item as well.

use chrono::{DateTime, NaiveDateTime, Utc};
use communal_kit::call::Call;
use communal_kit::database::Statement as _;
use communal_kit::idempotency::{self, Claim};
use communal_kit::pool::Pool;
use communal_kit::refusal::Refusal;
use communal_kit::write::retrying;
use communal_proto::Coded;
use communal_proto::community::v1::{CreateFeesRequest, CreateFeesResponse, FeeState};
use prost::Message;
use sqlx::{FromRow, PgConnection};

use super::NAMES;
use crate::fee_items;
use crate::fee_items::store::View;
use crate::payer_objects;
use crate::vocabulary::periods::ChargedPeriod;

/// Creates fees, or repeats the answer of the same request before.
///
/// # Errors
/// `FEE_ITEM_NOT_FOUND`, `FEE_ITEM_STOPPED`, `PAYER_OBJECT_NOT_FOUND`, `REQUEST_ID_REUSED`.
pub async fn create(
    pool: &Pool,
    call: &Call,
    request: &CreateFeesRequest,
    periods: &[ChargedPeriod],
    now: DateTime<Utc>,
) -> Result<CreateFeesResponse, Refusal> {
    retrying(|| async {
        let mut transaction = pool.begin().named("begin").await?;
        let reply = create_in(&mut transaction, call, request, periods, now).await?;
        transaction.commit().named("commit").await?;
        Ok(reply)
    })
    .await
}

/// As [`create`], in a transaction of the caller's. Locks: the item (share), then the request id.
///
/// # Errors
/// As [`create`].
pub async fn create_in(
    connection: &mut PgConnection,
    call: &Call,
    request: &CreateFeesRequest,
    periods: &[ChargedPeriod],
    now: DateTime<Utc>,
) -> Result<CreateFeesResponse, Refusal> {
    let item = fee_items::store::lock_for_charging(connection, call, &request.config_id).await?;
    if let Claim::Answered(reply) = idempotency::claim(connection, call, request).await? {
        return CreateFeesResponse::decode(reply).map_err(Refusal::internal);
    }
    let item = fee_items::rules::chargeable(item, periods, NAMES)?;
    let objects: Vec<_> = periods.iter().map(|period| period.payer_obj_id.clone()).collect();
    let types = payer_objects::store::types(connection, call, &objects).await?;
    let types = payer_objects::rules::known(types, periods, NAMES)?;
    let starts: Vec<_> = periods.iter().map(|period| period.start).collect();
    let ends: Vec<_> = periods.iter().map(|period| period.end).collect();
    let fee_ids = sqlx::query_scalar!(
        r#"WITH numbered AS MATERIALIZED (
               SELECT '90' || lpad(nextval('fee_number')::text, 16, '0') AS fee_id, given.*
               FROM unnest($3::text[], $4::text[], $5::timestamp[], $6::timestamp[])
                    WITH ORDINALITY AS given (payer_obj_id, payer_obj_type, start_time, deadline_time, place)
           ), created AS (
               INSERT INTO pay_fee
                   (community_id, fee_id, config_id, payer_obj_id, payer_obj_type, state, epoch, start_time, end_time,
                    deadline_time, created_at, operator_id, channel_id, trace_id)
               SELECT $1, fee_id, $2, payer_obj_id, payer_obj_type, $7, $8, start_time, start_time, deadline_time,
                      $9, $10, $11, $12
               FROM numbered ORDER BY place
           )
           SELECT fee_id AS "fee_id!" FROM numbered ORDER BY place"#,
        call.tenant.id,
        request.config_id,
        &objects,
        &types,
        &starts,
        &ends as &[Option<NaiveDateTime>],
        FeeState::Charging.code(),
        item.closures,
        now,
        call.operator_id,
        call.channel_id,
        call.trace_id,
    )
    .fetch_all(&mut *connection)
    .named("fee_insert")
    .await?;
    let reply = CreateFeesResponse { fee_ids };
    idempotency::record(connection, call, &reply).await?;
    Ok(reply)
}

/// A fee as it is now.
#[derive(Debug, FromRow)]
pub struct FeeRow {
    /// Identifier.
    pub fee_id: String,
    /// Fee item.
    pub config_id: String,
    /// Payer object.
    pub payer_obj_id: String,
    /// Code.
    pub payer_obj_type: String,
    /// Code.
    pub fee_flag: String,
    /// Code.
    pub state: String,
    /// Start.
    pub start_time: NaiveDateTime,
    /// Paid through.
    pub end_time: NaiveDateTime,
    /// Where charging stops.
    pub deadline_time: NaiveDateTime,
    /// When it was ended.
    pub ended_at: Option<DateTime<Utc>>,
}

/// Where [`FeeRow`]s are read.
pub const VIEW: View = View {
    select:
        "SELECT fee_id, config_id, payer_obj_id, payer_obj_type, fee_flag, state, start_time, end_time, deadline_time,
             ended_at
             FROM fee WHERE community_id = ",
    key: "fee_id",
    name: "fee_list",
};
