//! Bill rules in the database. They are read through the view `bill_rule` alone: whether a
//! rule is ended follows from its item as well.

use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use communal_kit::call::Call;
use communal_kit::database::Statement as _;
use communal_kit::idempotency::{self, Claim};
use communal_kit::pool::Pool;
use communal_kit::refusal::Refusal;
use communal_kit::write::retrying;
use communal_proto::Coded;
use communal_proto::community::v1::{CreateBillRulesRequest, CreateBillRulesResponse, FeeState};
use prost::Message;
use sqlx::{FromRow, PgConnection};

use super::NAMES;
use crate::fee_items;
use crate::fee_items::store::View;
use crate::payer_objects;
use crate::vocabulary::periods::ChargedPeriod;

/// Creates bill rules, or repeats the answer of the same request before.
///
/// # Errors
/// `FEE_ITEM_NOT_FOUND`, `FEE_ITEM_STOPPED`, `PAYER_OBJECT_NOT_FOUND`, `REQUEST_ID_REUSED`.
pub async fn create(
    pool: &Pool,
    call: &Call,
    request: &CreateBillRulesRequest,
    periods: &[ChargedPeriod],
    now: DateTime<Utc>,
) -> Result<CreateBillRulesResponse, Refusal> {
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
    request: &CreateBillRulesRequest,
    periods: &[ChargedPeriod],
    now: DateTime<Utc>,
) -> Result<CreateBillRulesResponse, Refusal> {
    let item = fee_items::store::lock_for_charging(connection, call, &request.config_id).await?;
    if let Claim::Answered(reply) = idempotency::claim(connection, call, request).await? {
        return CreateBillRulesResponse::decode(reply).map_err(Refusal::internal);
    }
    let item = fee_items::rules::chargeable(item, periods, NAMES)?;
    let objects: Vec<_> = periods.iter().map(|period| period.payer_obj_id.clone()).collect();
    let types = payer_objects::store::types(connection, call, &objects).await?;
    let types = payer_objects::rules::known(types, periods, NAMES)?;
    let starts: Vec<_> = periods.iter().map(|period| period.start).collect();
    let ends: Vec<_> = periods.iter().map(|period| period.end).collect();
    let rule_ids = sqlx::query_scalar!(
        r#"WITH numbered AS MATERIALIZED (
               SELECT '93' || lpad(nextval('bill_rule_number')::text, 16, '0') AS rule_id, given.*
               FROM unnest($3::text[], $4::text[], $5::timestamp[], $6::timestamp[])
                    WITH ORDINALITY AS given (payer_obj_id, payer_obj_type, start_time, max_time, place)
           ), created AS (
               INSERT INTO pay_fee_rule
                   (community_id, rule_id, config_id, payer_obj_id, payer_obj_type, state, epoch, start_time, max_time,
                    cur_year_month, created_at, operator_id, channel_id, trace_id)
               SELECT $1, rule_id, $2, payer_obj_id, payer_obj_type, $7, $8, start_time, max_time, start_time::date,
                      $9, $10, $11, $12
               FROM numbered ORDER BY place
           )
           SELECT rule_id AS "rule_id!" FROM numbered ORDER BY place"#,
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
    .named("bill_rule_insert")
    .await?;
    let reply = CreateBillRulesResponse { rule_ids };
    idempotency::record(connection, call, &reply).await?;
    Ok(reply)
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
    /// Code.
    pub payer_obj_type: String,
    /// Code.
    pub fee_flag: String,
    /// Code.
    pub state: String,
    /// Start.
    pub start_time: NaiveDateTime,
    /// Where billing stops.
    pub max_time: NaiveDateTime,
    /// Start of the next span to bill.
    pub cur_year_month: NaiveDate,
    /// When it was ended.
    pub ended_at: Option<DateTime<Utc>>,
}

/// Where [`RuleRow`]s are read.
pub const VIEW: View = View {
    select:
        "SELECT rule_id, config_id, payer_obj_id, payer_obj_type, fee_flag, state, start_time, max_time, cur_year_month,
             ended_at
             FROM bill_rule WHERE community_id = ",
    key: "rule_id",
    name: "bill_rule_list",
};
