//! Fees in the database. They are read through the view `fee` alone: whether a fee is ended,
//! and its flag, follow from its item as well.

use chrono::{DateTime, NaiveDateTime, Utc};
use communal_kit::call::Call;
use communal_kit::database::Statement as _;
use communal_kit::database::stored::Stored;
use communal_proto::Coded as _;
use communal_proto::community::v1::{FeeFlag, FeeState, PayerObjectType};
use sqlx::{FromRow, PgConnection};

use super::AdmittedRows;
use crate::fee_items::store::View;

/// Inserts fees and returns their identifiers, in the order of the rows.
///
/// # Errors
/// Returns the database's error.
pub async fn insert(
    connection: &mut PgConnection,
    call: &Call,
    config_id: &str,
    rows: &AdmittedRows,
) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"WITH numbered AS MATERIALIZED (
               SELECT '90' || lpad(nextval('fee_number')::text, 16, '0') AS fee_id, given.*
               FROM unnest($3::text[], $4::text[], $5::timestamp[], $6::timestamp[])
                    WITH ORDINALITY AS given (payer_obj_id, payer_obj_type, start_time, deadline_time, place)
           ), created AS (
               INSERT INTO pay_fee
                   (community_id, fee_id, config_id, payer_obj_id, payer_obj_type, state, epoch, start_time, end_time,
                    deadline_time)
               SELECT $1, fee_id, $2, payer_obj_id, payer_obj_type, $7, $8, start_time, start_time, deadline_time
               FROM numbered ORDER BY place
           )
           SELECT fee_id AS "fee_id!" FROM numbered ORDER BY place"#,
        call.tenant.id,
        config_id,
        &rows.payer_obj_ids,
        &rows.types as &[Stored<PayerObjectType>],
        &rows.starts,
        &rows.ends as &[Option<NaiveDateTime>],
        FeeState::Charging.stored(),
        rows.epoch,
    )
    .fetch_all(connection)
    .named("fee_insert")
    .await
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
    /// Kind of payer object.
    pub payer_obj_type: Stored<PayerObjectType>,
    /// Fee flag: periodic, one-off or indirect.
    pub fee_flag: Stored<FeeFlag>,
    /// State.
    pub state: Stored<FeeState>,
    /// Start.
    pub start_time: NaiveDateTime,
    /// Paid-through time.
    pub end_time: NaiveDateTime,
    /// The last second to charge for.
    pub deadline_time: NaiveDateTime,
    /// The instant at which it was ended.
    pub ended_at: Option<DateTime<Utc>>,
}

/// The view of [`FeeRow`]s.
pub const VIEW: View = View {
    select:
        "SELECT fee_id, config_id, payer_obj_id, payer_obj_type, fee_flag, state, start_time, end_time, deadline_time,
             ended_at
             FROM fee WHERE community_id = ",
    key: "fee_id",
    name: "fee_list",
};
