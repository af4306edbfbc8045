//! Bill rules in the database. They are read through the view `bill_rule` alone: whether a rule
//! is ended follows from its item as well.

use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use communal_kit::call::Call;
use communal_kit::database::Statement as _;
use communal_kit::database::stored::Stored;
use communal_proto::Coded as _;
use communal_proto::community::v1::{FeeFlag, FeeState, PayerObjectType};
use sqlx::{FromRow, PgConnection};

use crate::fee_items::store::View;
use crate::fees::AdmittedRows;

/// The index that lets a rule stand only once.
pub const ONCE: &str = "pay_fee_rule_once";

/// Inserts bill rules of a batch and returns their identifiers, in the order of the rows.
///
/// # Errors
/// Returns the database's error; its constraint is [`ONCE`] if another call made the same rule.
pub async fn insert(
    connection: &mut PgConnection,
    call: &Call,
    config_id: &str,
    batch_id: &str,
    rows: &AdmittedRows,
) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"WITH numbered AS MATERIALIZED (
               SELECT '93' || lpad(nextval('bill_rule_number')::text, 16, '0') AS rule_id, given.*
               FROM unnest($3::text[], $4::text[], $5::timestamp[], $6::timestamp[])
                    WITH ORDINALITY AS given (payer_obj_id, payer_obj_type, start_time, max_time, place)
           ), created AS (
               INSERT INTO pay_fee_rule
                   (community_id, rule_id, config_id, payer_obj_id, payer_obj_type, state, epoch, start_time, max_time,
                    cur_year_month, batch_id, amount, repeatable)
               SELECT $1, rule_id, $2, payer_obj_id, payer_obj_type, $7, $8, start_time, max_time, start_time::date,
                      $9, $10, $11
               FROM numbered ORDER BY place
           )
           SELECT rule_id AS "rule_id!" FROM numbered ORDER BY place"#,
        call.tenant.id,
        config_id,
        &rows.payer_obj_ids,
        &rows.types as &[Stored<PayerObjectType>],
        &rows.starts,
        &rows.ends as &[Option<NaiveDateTime>],
        FeeState::Charging.stored(),
        rows.epoch,
        batch_id,
        rows.terms.amount,
        rows.repeatable,
    )
    .fetch_all(connection)
    .named("bill_rule_insert")
    .await
}

/// A bill rule as it is now.
#[derive(Debug, FromRow)]
pub struct RuleRow {
    /// Identifier.
    pub rule_id: String,
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
    /// The last second to bill for.
    pub max_time: NaiveDateTime,
    /// The cursor: start of the next span to bill.
    pub cur_year_month: NaiveDate,
    /// The instant at which it was ended.
    pub ended_at: Option<DateTime<Utc>>,
}

/// The view of [`RuleRow`]s.
pub const VIEW: View = View {
    select:
        "SELECT rule_id, config_id, payer_obj_id, payer_obj_type, fee_flag, state, start_time, max_time, cur_year_month,
             ended_at
             FROM bill_rule WHERE community_id = ",
    key: "rule_id",
    name: "bill_rule_list",
};
