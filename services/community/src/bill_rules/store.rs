//! Bill rules in the database. They are read through the view `bill_rule` alone: whether a rule
//! is ended follows from its item as well.

use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use communal_kit::call::Call;
use communal_kit::database::Statement as _;
use communal_kit::database::stored::Stored;
use communal_kit::paging::Page;
use communal_proto::Coded as _;
use communal_proto::community::v1::{FeeFlag, FeeState, FeeType, PayerObjectType};
use rust_decimal::Decimal;
use sqlx::{FromRow, PgConnection, PgExecutor, Postgres, QueryBuilder};

use super::changes::Change;
use crate::amounts::Span;
use crate::fee_items::store::{Keyed, View, filter, page_by_key};
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
    /// Batch.
    pub batch_id: Option<String>,
    /// Stored amount.
    pub amount: Option<Decimal>,
    /// The last second of validity of its item.
    pub item_end: NaiveDateTime,
}

/// The view of [`RuleRow`]s.
pub const VIEW: View = View {
    select:
        "SELECT rule_id, config_id, payer_obj_id, payer_obj_type, fee_flag, state, start_time, max_time, cur_year_month,
             ended_at, batch_id, amount, item_end
             FROM bill_rule WHERE community_id = ",
    key: "rule_id",
    name: "bill_rule_list",
};

/// A connection in a transaction.
pub type Connection = PgConnection;

/// A rule that a run has locked.
#[derive(Debug)]
pub struct Claimed {
    /// Identifier.
    pub rule_id: String,
    /// Fee item.
    pub config_id: String,
    /// Start.
    pub start_time: NaiveDateTime,
    /// The cursor.
    pub cur_year_month: NaiveDate,
    /// The last second to bill for.
    pub max_time: NaiveDateTime,
}

/// A bill to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewBill {
    /// Its rule.
    pub rule_id: String,
    /// Its days.
    pub span: Span,
}

/// A cursor that moves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// The rule.
    pub rule_id: String,
    /// The new cursor.
    pub cursor: NaiveDate,
}

/// Counts the open rules of a community.
///
/// # Errors
/// Returns the database's error.
pub async fn count_open(executor: impl PgExecutor<'_>, call: &Call) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM bill_rule WHERE community_id = $1 AND is_open"#,
        call.tenant.id
    )
    .fetch_one(executor)
    .named("bill_rule_count_open")
    .await
}

/// Locks the next rules after an identifier. Rules that another run holds are passed, unless this one
/// `waits` for them. Locks: the rules by identifier.
///
/// # Errors
/// Returns the database's error.
pub async fn claim(
    connection: &mut PgConnection,
    call: &Call,
    after: &str,
    rules: i64,
    waits: bool,
) -> Result<Vec<String>, sqlx::Error> {
    let statement = if waits {
        "SELECT rule_id FROM pay_fee_rule WHERE community_id = $1 AND rule_id > $2 AND state <> '2009001' AND deleted_at IS NULL ORDER BY rule_id LIMIT $3 FOR UPDATE"
    } else {
        "SELECT rule_id FROM pay_fee_rule WHERE community_id = $1 AND rule_id > $2 AND state <> '2009001' AND deleted_at IS NULL ORDER BY rule_id LIMIT $3 FOR UPDATE SKIP LOCKED"
    };
    let query = sqlx::query_scalar(statement).bind(&call.tenant.id).bind(after).bind(rules);
    query.fetch_all(connection).named("bill_rule_claim").await
}

/// Reads the open ones of locked rules.
///
/// # Errors
/// Returns the database's error.
pub async fn claimed(
    connection: &mut PgConnection,
    call: &Call,
    rule_ids: &[String],
) -> Result<Vec<Claimed>, sqlx::Error> {
    sqlx::query_as!(
        Claimed,
        r#"SELECT rule_id AS "rule_id!", config_id AS "config_id!", start_time AS "start_time!",
                  cur_year_month AS "cur_year_month!", max_time AS "max_time!"
           FROM bill_rule WHERE community_id = $1 AND rule_id = ANY ($2) AND is_open ORDER BY rule_id"#,
        call.tenant.id,
        rule_ids,
    )
    .fetch_all(connection)
    .named("bill_rule_claimed")
    .await
}

/// Reads the spans of bills that reach beyond the cursor of their rule.
///
/// # Errors
/// Returns the database's error.
pub async fn billed_ahead(
    connection: &mut PgConnection,
    call: &Call,
    rules: &[Claimed],
) -> Result<Vec<(String, Span)>, sqlx::Error> {
    let rule_ids: Vec<_> = rules.iter().map(|rule| rule.rule_id.as_str()).collect();
    let cursors: Vec<_> = rules.iter().map(|rule| rule.cur_year_month).collect();
    let rows = sqlx::query!(
        r#"SELECT given.rule_id AS "rule_id!", bill.span_from AS "span_from!", bill.bill_until AS "span_until!"
           FROM unnest($2::text[], $3::date[]) AS given (rule_id, cursor)
           CROSS JOIN LATERAL (
               SELECT start_time::date AS span_from, bill_until FROM fee
               WHERE community_id = $1 AND rule_id = given.rule_id AND bill_until > given.cursor
               -- A search by index for each rule, whatever the statistics of the tables are.
               OFFSET 0
           ) bill"#,
        call.tenant.id,
        &rule_ids as &[&str],
        &cursors,
    )
    .fetch_all(connection)
    .named("bill_rule_billed_ahead")
    .await?;
    Ok(rows.into_iter().map(|row| (row.rule_id, Span { from: row.span_from, until: row.span_until })).collect())
}

/// Inserts bills of locked rules. The name and the owner of each payer object are kept as they are today.
/// They end with their rule's item, like the rule.
///
/// # Errors
/// Returns the database's error.
pub async fn insert_bills(connection: &mut PgConnection, call: &Call, bills: &[NewBill]) -> Result<(), sqlx::Error> {
    if bills.is_empty() {
        return Ok(());
    }
    let rule_ids: Vec<_> = bills.iter().map(|bill| bill.rule_id.as_str()).collect();
    let starts: Vec<_> = bills.iter().map(|bill| bill.span.from).collect();
    let untils: Vec<_> = bills.iter().map(|bill| bill.span.until).collect();
    sqlx::query!(
        "INSERT INTO pay_fee
             (community_id, fee_id, config_id, payer_obj_id, payer_obj_type, fee_flag, state, epoch, start_time,
              end_time, deadline_time, batch_id, amount, rule_id, bill_until, payer_name, owner_id, owner_name,
              owner_tel)
         SELECT $1, '90' || lpad(nextval('fee_number')::text, 16, '0'), r.config_id, r.payer_obj_id, r.payer_obj_type,
                '2006012', '2008001', r.epoch, given.span_from, given.span_from,
                given.span_until - interval '1 second', r.batch_id, r.amount, r.rule_id, given.span_until, o.name,
                w.owner_id, coalesce(w.name, ''), coalesce(w.phone, '')
         FROM unnest($2::text[], $3::date[], $4::date[]) AS given (rule_id, span_from, span_until)
         JOIN bill_rule r ON r.community_id = $1 AND r.rule_id = given.rule_id
         JOIN payer_object o ON o.community_id = $1 AND o.payer_obj_id = r.payer_obj_id
         LEFT JOIN owner w ON w.community_id = $1 AND w.owner_id = o.owner_id",
        call.tenant.id,
        &rule_ids as &[&str],
        &starts,
        &untils,
    )
    .execute(connection)
    .named("bill_insert")
    .await?;
    Ok(())
}

/// Moves the cursors of locked rules.
///
/// # Errors
/// Returns the database's error.
pub async fn move_cursors(connection: &mut PgConnection, call: &Call, moved: &[Moved]) -> Result<(), sqlx::Error> {
    if moved.is_empty() {
        return Ok(());
    }
    let rule_ids: Vec<_> = moved.iter().map(|moved| moved.rule_id.as_str()).collect();
    let cursors: Vec<_> = moved.iter().map(|moved| moved.cursor).collect();
    sqlx::query!(
        "UPDATE pay_fee_rule r SET cur_year_month = given.cursor
         FROM unnest($2::text[], $3::date[]) AS given (rule_id, cursor)
         WHERE r.community_id = $1 AND r.rule_id = given.rule_id",
        call.tenant.id,
        &rule_ids as &[&str],
        &cursors,
    )
    .execute(connection)
    .named("bill_rule_move_cursors")
    .await?;
    Ok(())
}

/// Ends locked rules.
///
/// # Errors
/// Returns the database's error.
pub async fn end(connection: &mut PgConnection, call: &Call, rule_ids: &[String]) -> Result<(), sqlx::Error> {
    if rule_ids.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "UPDATE pay_fee_rule SET state = '2009001', ended_at = $3
         WHERE community_id = $1 AND rule_id = ANY ($2) AND state <> '2009001'",
        call.tenant.id,
        rule_ids,
        call.at,
    )
    .execute(connection)
    .named("bill_rule_end")
    .await?;
    Ok(())
}

/// Locks a rule and reads it. Locks: the rule.
///
/// # Errors
/// Returns the database's error.
pub async fn lock(connection: &mut PgConnection, call: &Call, rule_id: &str) -> Result<Option<RuleRow>, sqlx::Error> {
    sqlx::query!(
        "SELECT FROM pay_fee_rule WHERE community_id = $1 AND rule_id = $2 FOR UPDATE",
        call.tenant.id,
        rule_id,
    )
    .fetch_optional(&mut *connection)
    .named("bill_rule_lock")
    .await?;
    let mut query = QueryBuilder::<Postgres>::new(VIEW.select);
    query.push_bind(call.tenant.id.clone());
    query.push(" AND rule_id = ").push_bind(rule_id.to_owned());
    query.build_query_as().fetch_optional(connection).named("bill_rule_read").await
}

/// Reads the day after the last one of a locked rule that has a bill.
///
/// # Errors
/// Returns the database's error.
pub async fn billed_until(
    connection: &mut PgConnection,
    call: &Call,
    rule_id: &str,
) -> Result<Option<NaiveDate>, sqlx::Error> {
    sqlx::query_scalar!(
        "SELECT max(bill_until) FROM fee WHERE community_id = $1 AND rule_id = $2",
        call.tenant.id,
        rule_id,
    )
    .fetch_one(connection)
    .named("bill_rule_billed_until")
    .await
}

/// Changes a locked rule; `ends` ends it.
///
/// # Errors
/// Returns the database's error.
pub async fn change(
    connection: &mut PgConnection,
    call: &Call,
    rule_id: &str,
    change: Change,
    ends: bool,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE pay_fee_rule
         SET max_time = coalesce($3, max_time), cur_year_month = coalesce($4, cur_year_month),
             state = CASE WHEN $5 THEN '2009001' ELSE state END, ended_at = CASE WHEN $5 THEN $6::timestamptz END
         WHERE community_id = $1 AND rule_id = $2",
        call.tenant.id,
        rule_id,
        change.max_time,
        change.cursor,
        ends,
        call.at,
    )
    .execute(connection)
    .named("bill_rule_change")
    .await?;
    Ok(())
}

/// Locks the bills of a locked rule and returns how many have live payment lines. Locks: the fees by
/// identifier.
///
/// # Errors
/// Returns the database's error.
pub async fn lock_bills(connection: &mut PgConnection, call: &Call, rule_id: &str) -> Result<i64, sqlx::Error> {
    sqlx::query!(
        "SELECT FROM pay_fee WHERE community_id = $1 AND rule_id = $2 AND deleted_at IS NULL ORDER BY fee_id FOR UPDATE",
        call.tenant.id,
        rule_id,
    )
    .fetch_all(&mut *connection)
    .named("bill_lock")
    .await?;
    sqlx::query_scalar!(
        r#"SELECT count(DISTINCT d.fee_id) AS "paid!"
           FROM fee f JOIN pay_fee_detail d ON d.community_id = $1 AND d.fee_id = f.fee_id
           WHERE f.community_id = $1 AND f.rule_id = $2 AND d.state IN ('1400', '1000', '1200')"#,
        call.tenant.id,
        rule_id,
    )
    .fetch_one(connection)
    .named("bill_paid")
    .await
}

/// Deletes a locked rule and its bills. The rows stay, for the history.
///
/// # Errors
/// Returns the database's error.
pub async fn delete(connection: &mut PgConnection, call: &Call, rule_id: &str) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "WITH bills AS (
             UPDATE pay_fee SET deleted_at = $3 WHERE community_id = $1 AND rule_id = $2 AND deleted_at IS NULL
         )
         UPDATE pay_fee_rule SET deleted_at = $3 WHERE community_id = $1 AND rule_id = $2",
        call.tenant.id,
        rule_id,
        call.at,
    )
    .execute(connection)
    .named("bill_rule_delete")
    .await?;
    Ok(())
}

/// The rules that a list asks for; `None` takes any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleFilter {
    /// Identifier.
    pub rule_id: Option<String>,
    /// Fee item.
    pub config_id: Option<String>,
    /// Payer object.
    pub payer_obj_id: Option<String>,
    /// Kind of payer object.
    pub payer_obj_type: Option<PayerObjectType>,
    /// State.
    pub state: Option<FeeState>,
    /// Fee type.
    pub fee_type: Option<FeeType>,
    /// Fee flag.
    pub fee_flag: Option<FeeFlag>,
    /// Batch.
    pub batch_id: Option<String>,
    /// The rule of this bill.
    pub fee_id: Option<String>,
}

/// Adds the conditions of a filter to a statement over the view `bill_rule`.
fn conditions(query: &mut QueryBuilder<Postgres>, call: &Call, asked: &RuleFilter) {
    let RuleFilter { rule_id, config_id, payer_obj_id, payer_obj_type, state, fee_type, fee_flag, batch_id, fee_id } =
        asked.clone();
    filter(query, "rule_id = ", rule_id, "");
    filter(query, "config_id = ", config_id, "");
    filter(query, "payer_obj_id = ", payer_obj_id, "");
    filter(query, "payer_obj_type = ", payer_obj_type.map(Stored), "");
    filter(query, "state = ", state.map(Stored), "");
    filter(query, "fee_type_cd = ", fee_type.map(Stored), "");
    filter(query, "fee_flag = ", fee_flag.map(Stored), "");
    filter(query, "batch_id = ", batch_id, "");
    if let Some(fee_id) = fee_id {
        query.push(" AND rule_id = (SELECT rule_id FROM fee WHERE community_id = ");
        query.push_bind(call.tenant.id.clone());
        query.push(" AND fee_id = ").push_bind(fee_id).push(")");
    }
}

/// Reads a page of rules, newest first, and returns it with the number of rules in all. As pages of fees, it is read in
/// the order of the primary key.
///
/// # Errors
/// Returns the database's error.
pub async fn page(
    connection: &mut PgConnection,
    call: &Call,
    asked: &RuleFilter,
    page: Page,
) -> Result<(Vec<RuleRow>, i64), sqlx::Error> {
    let list =
        Keyed { select: VIEW.select, table: "bill_rule", key: VIEW.key, names: ["bill_rule_count", "bill_rule_page"] };
    page_by_key(connection, call, list, |query| conditions(query, call, asked), page).await
}
