//! Fees in the database. They are read through the view `fee` alone: whether a fee is ended,
//! and its flag, follow from its item as well.

use std::collections::{BTreeSet, HashMap, HashSet};

use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use communal_kit::call::Call;
use communal_kit::database::Statement as _;
use communal_kit::database::stored::Stored;
use communal_kit::paging::Page;
use communal_kit::pool::{Pool, Transaction};
use communal_proto::Coded as _;
use communal_proto::community::v1::{FeeFlag, FeeState, FeeType, Formula, PayerObjectType};
use rust_decimal::Decimal;
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgConnection, Postgres, QueryBuilder, Row as _};

use super::changes::{NewTimes, Payments};
use super::facts::Facts;
use super::{AdmittedRows, BillsOf, FeeFilter};
use crate::amounts::Span;
use crate::fee_items::store::{Keyed, View, filter, items, page_by_key};
use crate::payer_objects;

pub use crate::payer_objects::readings::store::ReadingRow;
pub use crate::payer_objects::store::ObjectRow;

/// The index that lets a charge stand only once.
pub const ONCE: &str = "pay_fee_once";

/// Inserts fees of a batch and returns their identifiers, in the order of the rows. The name and the
/// owner of each payer object are kept as they are today.
///
/// # Errors
/// Returns the database's error; its constraint is [`ONCE`] if another call made the same charge.
pub async fn insert(
    connection: &mut PgConnection,
    call: &Call,
    config_id: &str,
    batch_id: &str,
    rows: &AdmittedRows,
) -> Result<Vec<String>, sqlx::Error> {
    let escalation = rows.terms.escalation;
    sqlx::query_scalar!(
        r#"WITH numbered AS MATERIALIZED (
               SELECT '90' || lpad(nextval('fee_number')::text, 16, '0') AS fee_id, given.*
               FROM unnest($3::text[], $4::text[], $5::timestamp[], $6::timestamp[])
                    WITH ORDINALITY AS given (payer_obj_id, payer_obj_type, start_time, deadline_time, place)
           ), created AS (
               INSERT INTO pay_fee
                   (community_id, fee_id, config_id, payer_obj_id, payer_obj_type, state, epoch, start_time, end_time,
                    deadline_time, batch_id, amount, rate_cycle, rate, rate_start_time, repeatable, payer_name,
                    owner_id, owner_name, owner_tel, reading_id, fee_flag)
               SELECT $1, n.fee_id, $2, n.payer_obj_id, n.payer_obj_type, $7, $8, n.start_time, n.start_time,
                      n.deadline_time, $9, $10, $11, $12, $13, $14, o.name, w.owner_id, coalesce(w.name, ''),
                      coalesce(w.phone, ''), $15, CASE WHEN $15::text IS NOT NULL THEN '2006012' END
               FROM numbered n
               JOIN payer_object o ON o.community_id = $1 AND o.payer_obj_id = n.payer_obj_id
               LEFT JOIN owner w ON w.community_id = $1 AND w.owner_id = o.owner_id
               ORDER BY n.place
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
        batch_id,
        rows.terms.amount,
        escalation.and_then(|escalation| i16::try_from(escalation.every.get()).ok()),
        escalation.map(|escalation| escalation.rate),
        escalation.map(|escalation| escalation.from),
        rows.repeatable,
        rows.reading_id,
    )
    .fetch_all(connection)
    .named("fee_insert")
    .await
}

/// Returns the places of rows that are charged already: an open fee or bill rule has the same object,
/// item and start.
///
/// # Errors
/// Returns the database's error.
pub async fn taken(
    connection: &mut PgConnection,
    call: &Call,
    config_id: &str,
    rows: &AdmittedRows,
) -> Result<Vec<usize>, sqlx::Error> {
    let places = sqlx::query_scalar!(
        r#"SELECT place AS "place!"
           FROM unnest($3::text[], $4::timestamp[]) WITH ORDINALITY AS given (payer_obj_id, start_time, place)
           WHERE EXISTS (SELECT FROM fee f
                         WHERE f.community_id = $1 AND f.payer_obj_id = given.payer_obj_id AND f.config_id = $2
                           AND f.start_time = given.start_time AND f.epoch = $5 AND f.is_open AND f.rule_id IS NULL)
              OR EXISTS (SELECT FROM bill_rule r
                         WHERE r.community_id = $1 AND r.payer_obj_id = given.payer_obj_id AND r.config_id = $2
                           AND r.start_time = given.start_time AND r.epoch = $5 AND r.is_open)
           ORDER BY place LIMIT 500"#,
        call.tenant.id,
        config_id,
        &rows.payer_obj_ids,
        &rows.starts,
        rows.epoch,
    )
    .fetch_all(connection)
    .named("fee_taken")
    .await?;
    Ok(places.into_iter().filter_map(|place| usize::try_from(place - 1).ok()).collect())
}

/// A fee as it is now.
#[derive(Clone, Debug)]
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
    /// Batch.
    pub batch_id: Option<String>,
    /// Owner on the day of creation.
    pub owner_id: Option<String>,
    /// Name of that owner.
    pub owner_name: String,
    /// Phone number of that owner.
    pub owner_tel: String,
    /// Name of the payer object on the day of creation.
    pub payer_name: String,
    /// Stored amount.
    pub amount: Option<Decimal>,
    /// Months between two rises of a rent.
    pub rate_cycle: Option<i16>,
    /// The rise.
    pub rate: Option<Decimal>,
    /// A day in the month of the first rise.
    pub rate_start_time: Option<NaiveDate>,
    /// Credit.
    pub credit: Decimal,
    /// The reading that made it.
    pub reading_id: Option<String>,
    /// The rule of a bill.
    pub rule_id: Option<String>,
    /// The start of that rule.
    pub rule_start: Option<NaiveDate>,
    /// The day after the last one of a bill.
    pub bill_until: Option<NaiveDate>,
    /// Fee type of its item.
    pub fee_type_cd: Stored<FeeType>,
}

/// By position, in the order of [`FEE`]: names would be looked up again in each of 60,000 rows.
impl FromRow<'_, PgRow> for FeeRow {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            fee_id: row.try_get(0)?,
            config_id: row.try_get(1)?,
            payer_obj_id: row.try_get(2)?,
            payer_obj_type: row.try_get(3)?,
            fee_flag: row.try_get(4)?,
            state: row.try_get(5)?,
            start_time: row.try_get(6)?,
            end_time: row.try_get(7)?,
            deadline_time: row.try_get(8)?,
            ended_at: row.try_get(9)?,
            batch_id: row.try_get(10)?,
            owner_id: row.try_get(11)?,
            owner_name: row.try_get(12)?,
            owner_tel: row.try_get(13)?,
            payer_name: row.try_get(14)?,
            amount: row.try_get(15)?,
            rate_cycle: row.try_get(16)?,
            rate: row.try_get(17)?,
            rate_start_time: row.try_get(18)?,
            credit: row.try_get(19)?,
            reading_id: row.try_get(20)?,
            rule_id: row.try_get(21)?,
            rule_start: row.try_get(22)?,
            bill_until: row.try_get(23)?,
            fee_type_cd: row.try_get(24)?,
        })
    }
}

/// The columns of a [`FeeRow`].
const FEE: &str = "fee_id, config_id, payer_obj_id, payer_obj_type, fee_flag, state, start_time, end_time,
    deadline_time, ended_at, batch_id, owner_id, owner_name, owner_tel, payer_name, amount, rate_cycle, rate,
    rate_start_time, credit, reading_id, rule_id, rule_start, bill_until, fee_type_cd";

/// The view of [`FeeRow`]s.
pub const VIEW: View = View {
    select:
        "SELECT fee_id, config_id, payer_obj_id, payer_obj_type, fee_flag, state, start_time, end_time, deadline_time,
             ended_at, batch_id, owner_id, owner_name, owner_tel, payer_name, amount, rate_cycle, rate, rate_start_time,
             credit, reading_id, rule_id, rule_start, bill_until, fee_type_cd
             FROM fee WHERE community_id = ",
    key: "fee_id",
    name: "fee_list",
};

/// Adds the conditions of a filter to a statement over the view `fee`.
fn conditions(query: &mut QueryBuilder<Postgres>, call: &Call, asked: &FeeFilter) {
    let FeeFilter {
        fee_id,
        config_ids,
        payer_obj_ids,
        payer_obj_type,
        state,
        fee_type,
        fee_flag,
        owner_id,
        owner_part,
        batch_id,
        payer_part,
        floor_id,
        unit_id,
        room_sub_type,
        room_part,
        bills_of,
    } = asked.clone();
    let several = |ids: Vec<String>| (!ids.is_empty()).then_some(ids);
    filter(query, "fee_id = ", fee_id, "");
    filter(query, "config_id = ANY (", several(config_ids), ")");
    filter(query, "payer_obj_id = ANY (", several(payer_obj_ids), ")");
    filter(query, "payer_obj_type = ", payer_obj_type.map(Stored), "");
    filter(query, "state = ", state.map(Stored), "");
    filter(query, "fee_type_cd = ", fee_type.map(Stored), "");
    filter(query, "fee_flag = ", fee_flag.map(Stored), "");
    filter(query, "owner_id = ", owner_id, "");
    // strpos takes the part literally, % and _ included.
    filter(query, "strpos(lower(owner_name), lower(", owner_part, ")) > 0");
    filter(query, "batch_id = ", batch_id, "");
    filter(query, "strpos(lower(payer_name), lower(", payer_part, ")) > 0");
    let of_rooms = [("floor_id", floor_id), ("unit_id", unit_id), ("room_sub_type", room_sub_type)];
    for (column, value) in of_rooms.into_iter().filter_map(|(column, value)| Some((column, value?))) {
        query.push(" AND payer_obj_id IN (SELECT payer_obj_id FROM payer_object WHERE community_id = ");
        query.push_bind(call.tenant.id.clone());
        query.push(" AND ").push(column).push(" = ").push_bind(value).push(")");
    }
    if let Some(part) = room_part {
        query.push(" AND payer_obj_id IN (SELECT payer_obj_id FROM payer_object WHERE community_id = ");
        query.push_bind(call.tenant.id.clone());
        query.push(" AND strpos(room_num, ").push_bind(part).push(") > 0)");
    }
    if let Some(BillsOf { rule_id, fee_id, from, name_part }) = bills_of {
        query.push(" AND rule_id IS NOT NULL");
        filter(query, "rule_id = ", rule_id, "");
        filter(query, "start_time::date = ", from, "");
        filter(query, "strpos(fee_name || to_char(start_time, 'YYYY年MM月'), ", name_part, ") > 0");
        if let Some(fee_id) = fee_id {
            query.push(" AND rule_id = (SELECT rule_id FROM fee WHERE community_id = ");
            query.push_bind(call.tenant.id.clone());
            query.push(" AND fee_id = ").push_bind(fee_id).push(")");
        }
    }
}

/// Reads a page of fees, newest first, and returns it with the number of fees in all. Numbers are drawn from one
/// sequence, so the primary key has the fees in their order, and a page is read from it without the rest of
/// the community.
///
/// # Errors
/// Returns the database's error.
pub async fn page(
    connection: &mut PgConnection,
    call: &Call,
    asked: &FeeFilter,
    page: Page,
) -> Result<(Vec<FeeRow>, i64), sqlx::Error> {
    let list = Keyed { select: VIEW.select, table: "fee", key: VIEW.key, names: ["fee_count", "fee_page"] };
    page_by_key(connection, call, list, |query| conditions(query, call, asked), page).await
}

/// Reads all open fees of a filter, in no order: the database would sort whole rows, and on disk those of a large
/// community.
///
/// # Errors
/// Returns the database's error.
pub async fn open(connection: &mut PgConnection, call: &Call, asked: &FeeFilter) -> Result<Vec<FeeRow>, sqlx::Error> {
    let mut query = QueryBuilder::<Postgres>::new(format!("SELECT {FEE} FROM fee WHERE community_id = "));
    query.push_bind(call.tenant.id.clone());
    query.push(" AND is_open");
    conditions(&mut query, call, asked);
    query.build_query_as().fetch_all(connection).named("fee_open").await
}

/// Reads the facts that the amounts of fees depend on. The number of statements is the same for any
/// number of fees.
///
/// # Errors
/// Returns the database's error.
pub async fn facts(connection: &mut PgConnection, call: &Call, fees: &[FeeRow]) -> Result<Facts, sqlx::Error> {
    let distinct =
        |of: fn(&FeeRow) -> &str| fees.iter().map(of).collect::<HashSet<_>>().into_iter().collect::<Vec<_>>();
    let items = items(&mut *connection, call, &distinct(|fee| &fee.config_id)).await?;
    let reads_meter: BTreeSet<String> = items
        .iter()
        .filter(|item| matches!(item.computing_formula.0, Formula::Reading | Formula::MeterPrice))
        .map(|item| item.config_id.clone())
        .collect();
    let object_ids = distinct(|fee| &fee.payer_obj_id);
    let contracts = fees.iter().filter(|fee| fee.payer_obj_type.0 == PayerObjectType::Contract);
    let contracts: BTreeSet<_> = contracts.map(|fee| fee.payer_obj_id.as_str()).collect();
    let rooms = if contracts.is_empty() {
        Vec::new()
    } else {
        let contracts: Vec<_> = contracts.into_iter().collect();
        payer_objects::store::rooms_of(&mut *connection, call, &contracts).await?
    };
    let mut object_ids: BTreeSet<_> = object_ids.into_iter().collect();
    object_ids.extend(rooms.iter().map(|(_, room)| room.as_str()));
    let object_ids: Vec<_> = object_ids.into_iter().collect();
    let objects = payer_objects::store::facts(&mut *connection, call, &object_ids).await?;
    let mut facts = Facts::new(items, &objects, &rooms);
    let metered: Vec<_> = fees.iter().filter(|fee| reads_meter.contains(&fee.config_id)).collect();
    if !metered.is_empty() {
        let key = |fee: &&FeeRow| {
            (fee.fee_id.clone(), fee.reading_id.clone(), fee.payer_obj_id.clone(), fee.config_id.clone())
        };
        let keys: Vec<_> = metered.iter().map(key).collect();
        facts.readings = payer_objects::readings::store::of_fees(&mut *connection, call, &keys).await?;
    }
    let indirect = fees.iter().filter(|fee| fee.fee_flag.0 == FeeFlag::Indirect && fee.rule_id.is_none());
    let indirect: Vec<_> = indirect.map(|fee| fee.fee_id.clone()).collect();
    if !indirect.is_empty() {
        facts.paid = paid_ahead(connection, call, &indirect).await?;
    }
    Ok(facts)
}

/// Reads the spans that are paid beyond the paid-through time of fees.
async fn paid_ahead(
    connection: &mut PgConnection,
    call: &Call,
    fee_ids: &[String],
) -> Result<HashMap<String, Vec<Span>>, sqlx::Error> {
    let rows = sqlx::query!(
        "SELECT d.fee_id, d.span_from, d.span_until
         FROM fee f
         JOIN pay_fee_detail d ON d.community_id = $1 AND d.fee_id = f.fee_id AND d.state IN ('1400', '1000', '1200')
         WHERE f.community_id = $1 AND f.fee_id = ANY ($2) AND d.span_from >= f.end_time::date
           AND d.span_until > d.span_from
         ORDER BY d.fee_id, d.span_from",
        call.tenant.id,
        fee_ids,
    )
    .fetch_all(connection)
    .named("fee_paid_ahead")
    .await?;
    let mut paid: HashMap<String, Vec<Span>> = HashMap::new();
    for row in rows {
        paid.entry(row.fee_id).or_default().push(Span { from: row.span_from, until: row.span_until });
    }
    Ok(paid)
}

/// Begins to read: all statements see the database as it is at one instant.
///
/// # Errors
/// Returns the database's error.
pub async fn snapshot(pool: &Pool) -> Result<Transaction, sqlx::Error> {
    let mut snapshot = pool.begin().named("begin").await?;
    let statement = sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY");
    statement.execute(&mut *snapshot).named("snapshot").await?;
    Ok(snapshot)
}

/// Reads a fee with the facts that its amount depends on.
///
/// # Errors
/// Returns the database's error.
pub async fn with_facts(pool: &Pool, call: &Call, fee_id: &str) -> Result<Option<(FeeRow, Facts)>, sqlx::Error> {
    let mut snapshot = snapshot(pool).await?;
    let Some(row) = one(&mut snapshot, call, fee_id).await? else { return Ok(None) };
    let facts = facts(&mut snapshot, call, std::slice::from_ref(&row)).await?;
    snapshot.rollback().named("rollback").await?;
    Ok(Some((row, facts)))
}

/// Reads a fee.
///
/// # Errors
/// Returns the database's error.
pub async fn one(connection: &mut PgConnection, call: &Call, fee_id: &str) -> Result<Option<FeeRow>, sqlx::Error> {
    let mut query = QueryBuilder::<Postgres>::new(format!("SELECT {FEE} FROM fee WHERE community_id = "));
    query.push_bind(call.tenant.id.clone());
    query.push(" AND fee_id = ").push_bind(fee_id.to_owned());
    query.build_query_as().fetch_optional(connection).named("fee_read").await
}

/// Locks a fee and reads it with its payment lines. Locks: the fee.
///
/// # Errors
/// Returns the database's error.
pub async fn lock(
    connection: &mut PgConnection,
    call: &Call,
    fee_id: &str,
) -> Result<Option<(FeeRow, Payments)>, sqlx::Error> {
    sqlx::query!("SELECT FROM pay_fee WHERE community_id = $1 AND fee_id = $2 FOR UPDATE", call.tenant.id, fee_id,)
        .fetch_optional(&mut *connection)
        .named("fee_lock")
        .await?;
    let Some(fee) = one(&mut *connection, call, fee_id).await? else { return Ok(None) };
    let payments = sqlx::query_as!(
        Payments,
        r#"SELECT count(*) AS "live!", max(span_until) AS until FROM pay_fee_detail
           WHERE community_id = $1 AND fee_id = $2 AND state IN ('1400', '1000', '1200')"#,
        call.tenant.id,
        fee_id,
    )
    .fetch_one(connection)
    .named("fee_payments")
    .await?;
    Ok(Some((fee, payments)))
}

/// Returns whether an open bill rule charges the object of a fee by the same item from a start on.
///
/// # Errors
/// Returns the database's error.
pub async fn rule_stands(
    connection: &mut PgConnection,
    call: &Call,
    fee: &FeeRow,
    start: NaiveDateTime,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM bill_rule
                          WHERE community_id = $1 AND payer_obj_id = $2 AND config_id = $3 AND start_time = $4
                            AND is_open) AS "stands!""#,
        call.tenant.id,
        fee.payer_obj_id,
        fee.config_id,
        start,
    )
    .fetch_one(connection)
    .named("fee_rule_stands")
    .await
}

/// Moves the times of a locked fee; `ends` if every day of it is paid then.
///
/// # Errors
/// Returns the database's error; its constraint is [`ONCE`] if another fee has the same start.
pub async fn move_times(
    connection: &mut PgConnection,
    call: &Call,
    fee_id: &str,
    new: NewTimes,
    escalation: Option<crate::amounts::Escalation>,
    ends: bool,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE pay_fee
         SET start_time = $3, end_time = $4, deadline_time = $5, rate_cycle = coalesce($6, rate_cycle),
             rate = coalesce($7, rate), rate_start_time = coalesce($8, rate_start_time),
             state = CASE WHEN $9 THEN '2009001' ELSE state END, ended_at = CASE WHEN $9 THEN $10::timestamptz END
         WHERE community_id = $1 AND fee_id = $2",
        call.tenant.id,
        fee_id,
        new.start,
        new.paid_through,
        new.limit,
        escalation.and_then(|escalation| i16::try_from(escalation.every.get()).ok()),
        escalation.map(|escalation| escalation.rate),
        escalation.map(|escalation| escalation.from),
        ends,
        call.at,
    )
    .execute(connection)
    .named("fee_move")
    .await?;
    Ok(())
}

/// Ends a locked fee. `waived` is what it owed, if that could be computed.
///
/// # Errors
/// Returns the database's error.
pub async fn finish(
    connection: &mut PgConnection,
    call: &Call,
    fee_id: &str,
    waived: Option<Decimal>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE pay_fee SET state = '2009001', ended_at = $3, waived = $4 WHERE community_id = $1 AND fee_id = $2",
        call.tenant.id,
        fee_id,
        call.at,
        waived,
    )
    .execute(connection)
    .named("fee_finish")
    .await?;
    Ok(())
}

/// Deletes a locked fee, and the reading that made it. The rows stay, for the history.
///
/// # Errors
/// Returns the database's error.
pub async fn delete(connection: &mut PgConnection, call: &Call, fee_id: &str) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "WITH deleted AS (
             UPDATE pay_fee SET deleted_at = $3 WHERE community_id = $1 AND fee_id = $2 RETURNING reading_id
         )
         UPDATE meter_reading SET deleted_at = $3
         WHERE community_id = $1 AND reading_id IN (SELECT reading_id FROM deleted)",
        call.tenant.id,
        fee_id,
        call.at,
    )
    .execute(connection)
    .named("fee_delete")
    .await?;
    Ok(())
}
