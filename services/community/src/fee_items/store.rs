//! Fee items in the database: what changes them.
//!
//! Saving and updating are one statement each, in the usual case one round trip: the claim of
//! the request id, the item, its closure and its history. Whoever locks an item and claims a
//! request id does it in this order.

use chrono::{DateTime, Utc};
use communal_kit::call::Call;
use communal_kit::database::{Statement as _, constraint};
use communal_kit::idempotency::{self, Claim, RequestKey};
use communal_kit::pool::Pool;
use communal_kit::refusal::Refusal;
use communal_kit::write::retrying;
use communal_proto::Coded;
use communal_proto::community::v1::{
    DecimalPlace, DeleteFeeConfigRequest, FeeFlag, FeeState, Formula, PaymentTiming, Rounding, SaveFeeConfigRequest,
    UpdateFeeConfigRequest,
};
use communal_proto::contract::v1::Reason as Common;
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgConnection, PgExecutor, Postgres, QueryBuilder};

use super::ItemToCharge;
use super::rules::{PrepaymentPeriod, Terms, formula_text_missing};
use crate::paging::KeyPage;
use crate::reasons;
use crate::vocabulary::codes::digits;

/// The index that holds names unique among the live items of a community.
const LIVE_NAME: &str = "pay_fee_config_live_name";

/// What an item is when its save leaves it open.
mod defaults {
    pub(super) const UNITS: &str = "元";
    pub(super) const PAYMENT_CYCLE: i16 = 1;
}

/// Creates an item, or repeats the answer of the same request before.
///
/// # Errors
/// `FEE_ITEM_NAME_TAKEN`, `REQUEST_ID_REUSED`.
pub async fn save(
    pool: &Pool,
    call: &Call,
    request: &SaveFeeConfigRequest,
    terms: &Terms,
    now: DateTime<Utc>,
) -> Result<(), Refusal> {
    let key = call.request_key(request);
    retrying(|| async {
        match insert(pool, call, key.as_ref(), None, terms, now).await? {
            Some(_) => Ok(()),
            None => repeat_answer(pool, call, key.as_ref(), "保存费用项失败").await,
        }
    })
    .await
}

/// Inserts an item with its history; `None` where the request id was claimed before.
/// An identifier is drawn where none is given.
///
/// # Errors
/// `FEE_ITEM_NAME_TAKEN`.
pub async fn insert(
    executor: impl PgExecutor<'_>,
    call: &Call,
    key: Option<&RequestKey>,
    config_id: Option<&str>,
    terms: &Terms,
    now: DateTime<Utc>,
) -> Result<Option<String>, Refusal> {
    let prepayment = match terms.prepayment_period {
        PrepaymentPeriod::Days(days) => Some(days),
        PrepaymentPeriod::Unsaid | PrepaymentPeriod::Cleared => None,
    };
    let inserted = sqlx::query_scalar!(
        r#"WITH claim AS (
               INSERT INTO platform.answered_request
                   (tenant_id, method, request_id, request_hash, reply, channel_id, operator_id, trace_id)
               SELECT $1, $2, $3, $4, '', $5, $6, $7 WHERE $3::text IS NOT NULL
               ON CONFLICT DO NOTHING
               RETURNING request_id
           ), item AS (
               INSERT INTO pay_fee_config
                   (community_id, config_id, fee_type_cd, fee_name, fee_flag, start_time, end_time,
                    computing_formula, computing_formula_text, square_price, additional_amount, is_default,
                    bill_type, payment_cd, payment_cycle, deduct_from, pay_online, scale, decimal_place, units,
                    prepayment_period, stopped, created_at, written_at, operator_id, channel_id, trace_id)
               SELECT $1, coalesce($9, '92' || lpad(nextval('fee_item_number')::text, 16, '0')), $10, $11, $12, $13,
                      $14, $15, $16, $17, $18, false, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $29,
                      $6, $5, $7
               WHERE $3::text IS NULL OR EXISTS (SELECT FROM claim)
               RETURNING *
           ), image AS (
               INSERT INTO fee_item_image
                   (community_id, change_number, operate, changed_at, operator_id, operator_name, channel_id, trace_id,
                    config_id, fee_type_cd, fee_name, fee_flag, start_time, end_time, computing_formula,
                    computing_formula_text, square_price, additional_amount, is_default, bill_type, payment_cd,
                    payment_cycle, deduct_from, pay_online, scale, decimal_place, units, prepayment_period, stopped,
                    deleted)
               SELECT community_id, nextval('fee_item_change_number'), 'ADD', written_at, operator_id, $8, channel_id,
                      trace_id, config_id, fee_type_cd, fee_name, fee_flag, start_time, end_time, computing_formula,
                      computing_formula_text, square_price, additional_amount, is_default, bill_type, payment_cd,
                      payment_cycle, deduct_from, pay_online, scale, decimal_place, units, prepayment_period, stopped,
                      false
               FROM item
           )
           SELECT config_id FROM item"#,
        call.tenant.id,
        call.method,
        key.map(|k| k.request_id.as_str()),
        key.map(|k| k.hash.as_slice()),
        call.channel_id,
        call.operator_id,
        call.trace_id,
        call.operator_name,
        config_id,
        terms.fee_type.code(),
        terms.fee_name,
        terms.fee_flag.code(),
        terms.start_time,
        terms.end_time,
        terms.formula.code(),
        terms.formula_text,
        terms.square_price,
        terms.additional_amount,
        terms.bill_type.code(),
        terms.payment.unwrap_or(PaymentTiming::Prepaid).code(),
        terms.payment_cycle.unwrap_or(defaults::PAYMENT_CYCLE),
        terms.deduct_from.unwrap_or(true),
        terms.pay_online.unwrap_or(true),
        terms.rounding.unwrap_or(Rounding::HalfUp).code(),
        digits(terms.decimal_place.unwrap_or(DecimalPlace::Two)),
        terms.units.as_deref().unwrap_or(defaults::UNITS),
        prepayment,
        terms.stopped.unwrap_or(false),
        now,
    )
    .fetch_optional(executor)
    .named("fee_item_insert")
    .await;
    inserted.map_err(|error| name_taken_or(error, &terms.fee_name))
}

/// Changes an item, or repeats the answer of the same request before.
///
/// In the usual case one statement does it all. Where that changes nothing (no such item, a
/// new fee flag, a custom formula that is nowhere, a request that comes again), a transaction
/// that locks the item first finds out why, and carries out what is allowed.
///
/// # Errors
/// `FEE_ITEM_NOT_FOUND`, `FEE_ITEM_NAME_TAKEN`, `FEE_ITEM_HAS_RULES`, `REQUEST_ID_REUSED`.
pub async fn update(
    pool: &Pool,
    call: &Call,
    request: &UpdateFeeConfigRequest,
    terms: &Terms,
    now: DateTime<Utc>,
) -> Result<(), Refusal> {
    let key = call.request_key(request);
    retrying(|| async {
        let flag = Some(terms.fee_flag);
        let done = change(pool, call, key.as_ref(), &request.config_id, flag, terms, now).await?;
        if done.changed {
            done.count();
            return Ok(());
        }
        update_locked(pool, call, request, terms, now).await
    })
    .await
}

/// Locks: the item, then the request id.
async fn update_locked(
    pool: &Pool,
    call: &Call,
    request: &UpdateFeeConfigRequest,
    terms: &Terms,
    now: DateTime<Utc>,
) -> Result<(), Refusal> {
    let mut transaction = pool.begin().named("begin").await?;
    // Creating fees or bill rules takes a share lock on the item: from here on there is none
    // on its way.
    let stored = sqlx::query!(
        "SELECT fee_flag, computing_formula_text IS NOT NULL AS \"has_text!\" FROM pay_fee_config
         WHERE community_id = $1 AND config_id = $2 AND deleted_at IS NULL FOR NO KEY UPDATE",
        call.tenant.id,
        request.config_id,
    )
    .fetch_optional(&mut *transaction)
    .named("fee_item_lock")
    .await?;
    if let Claim::Answered(_) = idempotency::claim(&mut transaction, call, request).await? {
        return Ok(());
    }
    let stored = stored.ok_or_else(reasons::item_not_found)?;
    if stored.fee_flag != terms.fee_flag.code() && has_rules(&mut transaction, call, &request.config_id).await? {
        return Err(reasons::item_has_rules());
    }
    if terms.formula == Formula::Custom && terms.formula_text.is_none() && !stored.has_text {
        return Err(Refusal::for_faults(vec![formula_text_missing()]));
    }
    let done = change(&mut *transaction, call, None, &request.config_id, None, terms, now).await?;
    if !done.changed {
        return Err(unexplained("修改费用项失败"));
    }
    transaction.commit().named("commit").await?;
    done.count();
    Ok(())
}

/// Whether any bill rule of the item exists. Ended ones count as well: the bills they made
/// were made for the flag they had, and an item that changed it would contradict them. The
/// document forbids the change while rules "are associated", not while they run.
async fn has_rules(connection: &mut PgConnection, call: &Call, config_id: &str) -> Result<bool, Refusal> {
    let exists = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM bill_rule WHERE community_id = $1 AND config_id = $2) AS "exists!""#,
        call.tenant.id,
        config_id,
    )
    .fetch_one(connection)
    .named("fee_item_has_rules")
    .await?;
    Ok(exists)
}

/// What became of an item.
struct Change {
    /// It has the new terms.
    changed: bool,
    /// It was running and is stopped, and with it all that was open.
    closed: bool,
}

impl Change {
    /// To be called when it is stored for good.
    fn count(&self) {
        if self.closed {
            metrics::counter!("communal_community_item_closures_total").increment(1);
        }
    }
}

/// The one statement of an update: locks the item, claims the request id, changes the item,
/// closes it where it is stopped now, and writes its history. Nothing is changed where the
/// item is not there or not as expected (its flag, a stored formula where none is given), or
/// the request id was claimed before; nothing is written then.
///
/// The claim comes after the lock and only for an item that is as expected, so that no claim
/// stays behind for a change that was not made.
async fn change(
    executor: impl PgExecutor<'_>,
    call: &Call,
    key: Option<&RequestKey>,
    config_id: &str,
    expected_flag: Option<FeeFlag>,
    terms: &Terms,
    now: DateTime<Utc>,
) -> Result<Change, Refusal> {
    let (sets_prepayment, prepayment) = match terms.prepayment_period {
        PrepaymentPeriod::Unsaid => (false, None),
        PrepaymentPeriod::Cleared => (true, None),
        PrepaymentPeriod::Days(days) => (true, Some(days)),
    };
    let changed = sqlx::query_as!(
        Change,
        r#"WITH before AS (
               SELECT * FROM pay_fee_config
               WHERE community_id = $1 AND config_id = $9 AND deleted_at IS NULL
                 AND ($10::text IS NULL OR fee_flag = $10)
                 AND ($16 <> '7007' OR $17::text IS NOT NULL OR computing_formula_text IS NOT NULL)
               FOR NO KEY UPDATE
           ), claim AS (
               INSERT INTO platform.answered_request
                   (tenant_id, method, request_id, request_hash, reply, channel_id, operator_id, trace_id)
               SELECT $1, $2, $3, $4, '', $5, $6, $7 FROM before WHERE $3::text IS NOT NULL
               ON CONFLICT DO NOTHING
               RETURNING request_id
           ), going AS MATERIALIZED (
               SELECT before.*, nextval('fee_item_change_number') AS change_number,
                      (coalesce($23, stopped) AND NOT stopped) AS closes
               FROM before WHERE $3::text IS NULL OR EXISTS (SELECT FROM claim)
           ), after AS (
               UPDATE pay_fee_config c
               SET fee_type_cd = $11, fee_name = $12, fee_flag = $13, start_time = $14, end_time = $15,
                   computing_formula = $16, computing_formula_text = coalesce($17, g.computing_formula_text),
                   square_price = $18, additional_amount = $19, bill_type = $20,
                   payment_cd = coalesce($21, g.payment_cd), payment_cycle = coalesce($22, g.payment_cycle),
                   stopped = coalesce($23, g.stopped), closures = g.closures + g.closes::int,
                   deduct_from = coalesce($24, g.deduct_from), pay_online = coalesce($25, g.pay_online),
                   scale = coalesce($26, g.scale), decimal_place = coalesce($27, g.decimal_place),
                   units = coalesce($28, g.units),
                   prepayment_period = CASE WHEN $29 THEN $30 ELSE g.prepayment_period END,
                   written_at = $31, operator_id = $6, channel_id = $5, trace_id = $7
               FROM going g
               WHERE c.community_id = g.community_id AND c.config_id = g.config_id
               RETURNING c.*, g.change_number
           ), closure AS (
               INSERT INTO fee_item_closure
                   (community_id, config_id, closure, ended_at, operator_id, channel_id, trace_id)
               SELECT community_id, config_id, closures + 1, $31, $6, $5, $7 FROM going WHERE closes
           ), images AS (
               INSERT INTO fee_item_image
                   (community_id, change_number, operate, changed_at, operator_id, operator_name, channel_id, trace_id,
                    config_id, fee_type_cd, fee_name, fee_flag, start_time, end_time, computing_formula,
                    computing_formula_text, square_price, additional_amount, is_default, bill_type, payment_cd,
                    payment_cycle, deduct_from, pay_online, scale, decimal_place, units, prepayment_period, stopped,
                    deleted)
               SELECT community_id, change_number, 'DEL', $31, $6, $8, $5, $7,
                      config_id, fee_type_cd, fee_name, fee_flag, start_time, end_time, computing_formula,
                      computing_formula_text, square_price, additional_amount, is_default, bill_type, payment_cd,
                      payment_cycle, deduct_from, pay_online, scale, decimal_place, units, prepayment_period, stopped,
                      false
               FROM going
               UNION ALL
               SELECT community_id, change_number, 'ADD', $31, $6, $8, $5, $7,
                      config_id, fee_type_cd, fee_name, fee_flag, start_time, end_time, computing_formula,
                      computing_formula_text, square_price, additional_amount, is_default, bill_type, payment_cd,
                      payment_cycle, deduct_from, pay_online, scale, decimal_place, units, prepayment_period, stopped,
                      false
               FROM after
           )
           SELECT EXISTS (SELECT FROM after) AS "changed!", EXISTS (SELECT FROM going WHERE closes) AS "closed!""#,
        call.tenant.id,
        call.method,
        key.map(|k| k.request_id.as_str()),
        key.map(|k| k.hash.as_slice()),
        call.channel_id,
        call.operator_id,
        call.trace_id,
        call.operator_name,
        config_id,
        expected_flag.map(Coded::code),
        terms.fee_type.code(),
        terms.fee_name,
        terms.fee_flag.code(),
        terms.start_time,
        terms.end_time,
        terms.formula.code(),
        terms.formula_text,
        terms.square_price,
        terms.additional_amount,
        terms.bill_type.code(),
        terms.payment.map(Coded::code),
        terms.payment_cycle,
        terms.stopped,
        terms.deduct_from,
        terms.pay_online,
        terms.rounding.map(Coded::code),
        terms.decimal_place.map(digits),
        terms.units,
        sets_prepayment,
        prepayment,
        now,
    )
    .fetch_one(executor)
    .named("fee_item_change")
    .await;
    changed.map_err(|error| name_taken_or(error, &terms.fee_name))
}

/// Deletes an item that nothing open uses, or repeats the answer of the same request before.
///
/// # Errors
/// `FEE_ITEM_NOT_FOUND`, `FEE_ITEM_IS_DEFAULT`, `FEE_ITEM_IN_USE`, `REQUEST_ID_REUSED`.
pub async fn delete(
    pool: &Pool,
    call: &Call,
    request: &DeleteFeeConfigRequest,
    now: DateTime<Utc>,
) -> Result<(), Refusal> {
    retrying(|| delete_locked(pool, call, request, now)).await
}

/// Locks: the item, then the request id.
async fn delete_locked(
    pool: &Pool,
    call: &Call,
    request: &DeleteFeeConfigRequest,
    now: DateTime<Utc>,
) -> Result<(), Refusal> {
    let mut transaction = pool.begin().named("begin").await?;
    let stored = sqlx::query!(
        "SELECT is_default, closures FROM pay_fee_config
         WHERE community_id = $1 AND config_id = $2 AND deleted_at IS NULL FOR NO KEY UPDATE",
        call.tenant.id,
        request.config_id,
    )
    .fetch_optional(&mut *transaction)
    .named("fee_item_lock")
    .await?;
    if let Claim::Answered(_) = idempotency::claim(&mut transaction, call, request).await? {
        return Ok(());
    }
    let stored = stored.ok_or_else(reasons::no_item_to_delete)?;
    if stored.is_default {
        return Err(reasons::item_is_default());
    }
    // In a statement of its own: it sees what those have written who held the item before.
    // What is open was created since the last closure; naming that makes it one step in the
    // index, past any number of ended ones.
    let in_use = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM fee WHERE community_id = $1 AND config_id = $2 AND epoch = $3 AND is_open)
               OR EXISTS (SELECT FROM bill_rule
                          WHERE community_id = $1 AND config_id = $2 AND epoch = $3 AND is_open) AS "in_use!""#,
        call.tenant.id,
        request.config_id,
        stored.closures,
    )
    .fetch_one(&mut *transaction)
    .named("fee_item_in_use")
    .await?;
    if in_use {
        return Err(reasons::item_in_use());
    }
    sqlx::query!(
        r#"WITH item AS (
               UPDATE pay_fee_config
               SET deleted_at = $3, written_at = $3, operator_id = $4, channel_id = $6, trace_id = $7
               WHERE community_id = $1 AND config_id = $2
               RETURNING *
           )
           INSERT INTO fee_item_image
               (community_id, change_number, operate, changed_at, operator_id, operator_name, channel_id, trace_id,
                config_id, fee_type_cd, fee_name, fee_flag, start_time, end_time, computing_formula,
                computing_formula_text, square_price, additional_amount, is_default, bill_type, payment_cd,
                payment_cycle, deduct_from, pay_online, scale, decimal_place, units, prepayment_period, stopped,
                deleted)
           SELECT community_id, nextval('fee_item_change_number'), 'DEL', $3, $4, $5, $6, $7,
                  config_id, fee_type_cd, fee_name, fee_flag, start_time, end_time, computing_formula,
                  computing_formula_text, square_price, additional_amount, is_default, bill_type, payment_cd,
                  payment_cycle, deduct_from, pay_online, scale, decimal_place, units, prepayment_period, stopped,
                  true
           FROM item"#,
        call.tenant.id,
        request.config_id,
        now,
        call.operator_id,
        call.operator_name,
        call.channel_id,
        call.trace_id,
    )
    .execute(&mut *transaction)
    .named("fee_item_delete")
    .await?;
    transaction.commit().named("commit").await?;
    Ok(())
}

/// Answers a request that was claimed before, as it was answered then: with nothing, as these
/// calls have empty replies.
async fn repeat_answer(pool: &Pool, call: &Call, key: Option<&RequestKey>, words: &'static str) -> Result<(), Refusal> {
    match key {
        Some(key) => idempotency::answered(pool, call, key).await.map(drop),
        None => Err(unexplained(words)),
    }
}

/// The documented words for a row that was not written. Nothing the caller did can cause it.
fn unexplained(words: &'static str) -> Refusal {
    Refusal::new(Common::Internal, words).cause("a statement that must write a row wrote none")
}

fn name_taken_or(error: sqlx::Error, fee_name: &str) -> Refusal {
    match constraint(&error) {
        Some(LIVE_NAME) => reasons::name_taken(fee_name),
        _ => error.into(),
    }
}

/// Locks a live item in share mode: others may charge by it at the same time, but it cannot be
/// stopped, changed or deleted before the transaction ends. Locks: the item.
///
/// # Errors
/// Returns storage errors.
pub async fn lock_for_charging(
    connection: &mut PgConnection,
    call: &Call,
    config_id: &str,
) -> Result<Option<ItemToCharge>, sqlx::Error> {
    sqlx::query_as!(
        ItemToCharge,
        "SELECT closures, stopped, end_time FROM pay_fee_config
         WHERE community_id = $1 AND config_id = $2 AND deleted_at IS NULL FOR SHARE",
        call.tenant.id,
        config_id,
    )
    .fetch_optional(connection)
    .named("fee_item_share_lock")
    .await
}

/// A view of rows that end with their item: fees, or bill rules.
#[derive(Clone, Copy, Debug)]
pub struct View {
    /// `SELECT … FROM … WHERE community_id = `
    pub select: &'static str,
    /// The column by which pages are ordered.
    pub key: &'static str,
    /// Name of the statement in traces and metrics.
    pub name: &'static str,
}

/// The rows of a view that a list asks for; an empty field takes any.
#[derive(Clone, Copy, Debug)]
pub struct Filter<'a> {
    /// Fee item.
    pub config_id: &'a str,
    /// Payer object.
    pub payer_obj_id: &'a str,
    /// State.
    pub state: FeeState,
}

/// Reads a page of a view, by key.
///
/// The statement is composed of the filters that are given. One statement for all of them
/// ("$2 = '' OR config_id = $2") hides from the planner that an index has the rows in order,
/// and a page then costs a sort of everything.
///
/// # Errors
/// Returns storage errors.
pub async fn page<R>(
    pool: &Pool,
    call: &Call,
    view: View,
    filter: Filter<'_>,
    page: &KeyPage,
) -> Result<Vec<R>, sqlx::Error>
where
    R: for<'r> FromRow<'r, PgRow> + Send + Unpin,
{
    let mut query = QueryBuilder::<Postgres>::new(view.select);
    query.push_bind(&call.tenant.id);
    if !filter.config_id.is_empty() {
        query.push(" AND config_id = ").push_bind(filter.config_id);
    }
    if !filter.payer_obj_id.is_empty() {
        query.push(" AND payer_obj_id = ").push_bind(filter.payer_obj_id);
    }
    match filter.state {
        FeeState::Unspecified => {}
        // Written so that the planner estimates a third of the rows. It cannot know how many
        // items were stopped; with an estimate of few it would sort all rows for one page.
        FeeState::Ended => {
            query.push(" AND is_open::int < 1");
        }
        FeeState::NotStarted | FeeState::Charging => {
            query.push(" AND is_open AND own_state = ").push_bind(filter.state.code());
        }
    }
    query.push(" AND ").push(view.key).push(" > ").push_bind(&page.after);
    query.push(" ORDER BY ").push(view.key).push(" LIMIT ").push_bind(page.limit());
    query.build_query_as().fetch_all(pool).named(view.name).await
}
