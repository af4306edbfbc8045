//! Fee items in the database: their rows, their closures, their lists and their history, and how
//! rows that end with their item are listed.

use chrono::{DateTime, NaiveDateTime, Utc};
use communal_kit::call::Call;
use communal_kit::database::Statement as _;
use communal_kit::database::stored::Stored;
use communal_kit::paging::{KeyPage, Page};
use communal_proto::Coded;
use communal_proto::community::v1::{
    BillType, Choice, DecimalPlace, DefaultItem, FeeFlag, FeeState, FeeType, Formula, ItemState, PaymentTiming,
    Rounding,
};
use rust_decimal::Decimal;
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgConnection, PgExecutor, Postgres, QueryBuilder};

use super::{HistoryFilter, ListFilter, PrepaymentWindow, StoredItem, Terms};

/// The index that holds names unique among the live items of a community.
pub const LIVE_NAME: &str = "pay_fee_config_live_name";

/// The name of fee items in the change log.
const NOUN: &str = "fee_item";

/// Inserts an item, and returns its identifier, which is drawn if none is given.
///
/// # Errors
/// Returns the database's error; its constraint is [`LIVE_NAME`] if the name is taken.
pub async fn insert(
    connection: &mut PgConnection,
    call: &Call,
    config_id: Option<&str>,
    terms: &Terms,
) -> Result<String, sqlx::Error> {
    let prepayment_period = match terms.prepayment_window {
        PrepaymentWindow::Days(days) => Some(days),
        PrepaymentWindow::Absent | PrepaymentWindow::Cleared => None,
    };
    sqlx::query_scalar!(
        "INSERT INTO pay_fee_config
             (community_id, config_id, fee_type_cd, fee_name, fee_flag, start_time, end_time, computing_formula,
              computing_formula_text, square_price, additional_amount, bill_type, payment_cd, payment_cycle, state,
              deduct_from, pay_online, scale, decimal_place, units, prepayment_period)
         VALUES ($1, coalesce($2, '92' || lpad(nextval('fee_item_number')::text, 16, '0')), $3, $4, $5, $6, $7, $8, $9,
                 $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)
         RETURNING config_id",
        call.tenant.id,
        config_id,
        terms.fee_type.stored(),
        terms.fee_name,
        terms.fee_flag.stored(),
        terms.start_time,
        terms.end_time,
        terms.formula.stored(),
        terms.formula_text,
        terms.square_price,
        terms.additional_amount,
        terms.bill_type.stored(),
        terms.payment.and_then(Coded::stored),
        terms.payment_cycle,
        terms.state.and_then(Coded::stored),
        terms.deduct_from.and_then(Coded::stored),
        terms.pay_online.and_then(Coded::stored),
        terms.rounding.and_then(Coded::stored),
        terms.decimal_place.and_then(Coded::stored),
        terms.units,
        prepayment_period,
    )
    .fetch_one(connection)
    .named("fee_item_insert")
    .await
}

/// Reads a live item, and locks it as `$strength` says.
macro_rules! locked {
    ($strength:literal, $call:expr, $config_id:expr) => {
        sqlx::query_as!(
            StoredItem,
            r#"SELECT fee_flag AS "fee_flag: Stored<FeeFlag>", state AS "state: Stored<ItemState>",
                      is_default AS "is_default: Stored<DefaultItem>",
                      computing_formula_text IS NOT NULL AS "has_formula_text!",
                      computing_formula AS "formula: Stored<Formula>", start_time, end_time, closures
               FROM pay_fee_config WHERE community_id = $1 AND config_id = $2 AND deleted_at IS NULL "#
                + $strength,
            $call.tenant.id,
            $config_id,
        )
    };
}

/// Locks a live item for a change, or to make bill rules by it. Charging by it waits until the transaction
/// ends, and what was charged before can be seen by the next statement: an index keeps a fee from standing twice,
/// another one a rule, and this lock a rule beside a fee. Locks: the item.
///
/// # Errors
/// Returns the database's error.
pub async fn lock(
    connection: &mut PgConnection,
    call: &Call,
    config_id: &str,
) -> Result<Option<StoredItem>, sqlx::Error> {
    locked!("FOR NO KEY UPDATE", call, config_id).fetch_optional(connection).named("fee_item_lock").await
}

/// Locks a live item in share mode: others may charge fees by it at the same time, but it cannot be
/// stopped, changed or deleted, and no bill rule can be made by it, before the transaction ends. Locks: the item.
///
/// # Errors
/// Returns the database's error.
pub async fn lock_for_charging(
    connection: &mut PgConnection,
    call: &Call,
    config_id: &str,
) -> Result<Option<StoredItem>, sqlx::Error> {
    locked!("FOR SHARE", call, config_id).fetch_optional(connection).named("fee_item_share_lock").await
}

/// Returns whether any bill rule of the item exists. Ended ones count as well: the bills they made
/// were made for the flag they had, and an item that changed it would contradict them. The document
/// forbids the change while rules "are associated", not while they run.
///
/// # Errors
/// Returns the database's error.
pub async fn has_rules(connection: &mut PgConnection, call: &Call, config_id: &str) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM bill_rule WHERE community_id = $1 AND config_id = $2) AS "exists!""#,
        call.tenant.id,
        config_id,
    )
    .fetch_one(connection)
    .named("fee_item_has_rules")
    .await
}

/// Changes a locked item to its new terms. What they do not have stays as it is. `closures` is how
/// often the item has been stopped, this change included.
///
/// # Errors
/// Returns the database's error; its constraint is [`LIVE_NAME`] if the name is taken.
pub async fn update(
    connection: &mut PgConnection,
    call: &Call,
    config_id: &str,
    terms: &Terms,
    closures: i32,
) -> Result<(), sqlx::Error> {
    let (sets_prepayment, prepayment_period) = match terms.prepayment_window {
        PrepaymentWindow::Absent => (false, None),
        PrepaymentWindow::Cleared => (true, None),
        PrepaymentWindow::Days(days) => (true, Some(days)),
    };
    sqlx::query!(
        "UPDATE pay_fee_config
         SET fee_type_cd = $3, fee_name = $4, fee_flag = $5, start_time = $6, end_time = $7, computing_formula = $8,
             computing_formula_text = coalesce($9, computing_formula_text), square_price = $10,
             additional_amount = $11, bill_type = $12, payment_cd = coalesce($13, payment_cd),
             payment_cycle = coalesce($14, payment_cycle), state = coalesce($15, state),
             deduct_from = coalesce($16, deduct_from), pay_online = coalesce($17, pay_online),
             scale = coalesce($18, scale), decimal_place = coalesce($19, decimal_place), units = coalesce($20, units),
             prepayment_period = CASE WHEN $21 THEN $22 ELSE prepayment_period END, closures = $23
         WHERE community_id = $1 AND config_id = $2",
        call.tenant.id,
        config_id,
        terms.fee_type.stored(),
        terms.fee_name,
        terms.fee_flag.stored(),
        terms.start_time,
        terms.end_time,
        terms.formula.stored(),
        terms.formula_text,
        terms.square_price,
        terms.additional_amount,
        terms.bill_type.stored(),
        terms.payment.and_then(Coded::stored),
        terms.payment_cycle,
        terms.state.and_then(Coded::stored),
        terms.deduct_from.and_then(Coded::stored),
        terms.pay_online.and_then(Coded::stored),
        terms.rounding.and_then(Coded::stored),
        terms.decimal_place.and_then(Coded::stored),
        terms.units,
        sets_prepayment,
        prepayment_period,
        closures,
    )
    .execute(connection)
    .named("fee_item_update")
    .await?;
    Ok(())
}

/// Records that a locked item was stopped for the `closure`-th time. That ends what was created
/// while its count was one less.
///
/// # Errors
/// Returns the database's error.
pub async fn close(
    connection: &mut PgConnection,
    call: &Call,
    config_id: &str,
    closure: i32,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO fee_item_closure (community_id, config_id, closure) VALUES ($1, $2, $3)",
        call.tenant.id,
        config_id,
        closure,
    )
    .execute(connection)
    .named("fee_item_close")
    .await?;
    Ok(())
}

/// Returns whether a locked item has open fees or bill rules. What is open was created since the
/// last closure: with that in the condition the search is one step in the index, whatever the
/// number of ended rows.
///
/// # Errors
/// Returns the database's error.
pub async fn in_use(
    connection: &mut PgConnection,
    call: &Call,
    config_id: &str,
    closures: i32,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM fee WHERE community_id = $1 AND config_id = $2 AND epoch = $3 AND is_open)
               OR EXISTS (SELECT FROM bill_rule
                          WHERE community_id = $1 AND config_id = $2 AND epoch = $3 AND is_open) AS "in_use!""#,
        call.tenant.id,
        config_id,
        closures,
    )
    .fetch_one(connection)
    .named("fee_item_in_use")
    .await
}

/// Counts the open fees and bill rules of a locked item that would lie outside a validity.
///
/// # Errors
/// Returns the database's error.
pub async fn open_outside(
    connection: &mut PgConnection,
    call: &Call,
    config_id: &str,
    closures: i32,
    (start, end): (NaiveDateTime, NaiveDateTime),
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT (SELECT count(*) FROM fee
                   WHERE community_id = $1 AND config_id = $2 AND epoch = $3 AND is_open
                     AND (start_time > $5 OR deadline_time < $4))
                + (SELECT count(*) FROM bill_rule
                   WHERE community_id = $1 AND config_id = $2 AND epoch = $3 AND is_open
                     AND (start_time > $5 OR max_time < $4)) AS "outside!""#,
        call.tenant.id,
        config_id,
        closures,
        start,
        end,
    )
    .fetch_one(connection)
    .named("fee_item_open_outside")
    .await
}

/// Reads items by identifier, deleted ones among them.
///
/// # Errors
/// Returns the database's error.
pub async fn items(
    executor: impl PgExecutor<'_>,
    call: &Call,
    config_ids: &[&str],
) -> Result<Vec<ItemRow>, sqlx::Error> {
    let mut query =
        QueryBuilder::<Postgres>::new(format!("SELECT {ITEM} FROM pay_fee_config item WHERE community_id = "));
    query.push_bind(call.tenant.id.clone());
    query.push(" AND config_id = ANY (").push_bind(config_ids).push(")");
    query.build_query_as().fetch_all(executor).named("fee_items_by_id").await
}

/// Deletes a locked item. The row stays, for its fees and its history.
///
/// # Errors
/// Returns the database's error.
pub async fn delete(connection: &mut PgConnection, call: &Call, config_id: &str) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE pay_fee_config SET deleted_at = $3 WHERE community_id = $1 AND config_id = $2",
        call.tenant.id,
        config_id,
        call.at,
    )
    .execute(connection)
    .named("fee_item_delete")
    .await?;
    Ok(())
}

/// The columns of an [`ItemRow`]. Never `*`: a prepared statement fails when a migration adds a
/// column to its result.
const ITEM: &str = "item.community_id, item.config_id, item.fee_type_cd, item.fee_name, item.fee_flag,
    item.start_time, item.end_time, item.computing_formula, item.computing_formula_text, item.square_price,
    item.additional_amount, item.is_default, item.bill_type, item.payment_cd, item.payment_cycle, item.deduct_from,
    item.pay_online, item.scale, item.decimal_place, item.units, item.prepayment_period, item.state, item.deleted_at";

/// An item as it is or was stored.
#[derive(Debug, FromRow)]
pub struct ItemRow {
    /// Community.
    pub community_id: String,
    /// Identifier.
    pub config_id: String,
    /// Fee type.
    pub fee_type_cd: Stored<FeeType>,
    /// Name.
    pub fee_name: String,
    /// Fee flag: periodic, one-off or indirect.
    pub fee_flag: Stored<FeeFlag>,
    /// First second of validity.
    pub start_time: NaiveDateTime,
    /// Last second of validity.
    pub end_time: NaiveDateTime,
    /// Code of the formula.
    pub computing_formula: Stored<Formula>,
    /// Custom formula.
    pub computing_formula_text: Option<String>,
    /// Unit price.
    pub square_price: Decimal,
    /// Additional amount.
    pub additional_amount: Decimal,
    /// Default item of the system, or ordinary.
    pub is_default: Stored<DefaultItem>,
    /// Bill type: the time at which bills are made.
    pub bill_type: Stored<BillType>,
    /// Prepaid or postpaid.
    pub payment_cd: Stored<PaymentTiming>,
    /// Payment cycle: the months of one period.
    pub payment_cycle: i16,
    /// Payment from the owner's account is allowed, or not.
    pub deduct_from: Stored<Choice>,
    /// Online payment is allowed, or not.
    pub pay_online: Stored<Choice>,
    /// Rounding mode.
    pub scale: Stored<Rounding>,
    /// Decimal places of the amount.
    pub decimal_place: Stored<DecimalPlace>,
    /// Unit of the amount.
    pub units: String,
    /// Prepayment window: days before the due instant at which the next period may be paid.
    pub prepayment_period: Option<i16>,
    /// In use or stopped.
    pub state: Stored<ItemState>,
    /// The instant of its deletion.
    pub deleted_at: Option<DateTime<Utc>>,
}

/// A row of a page by number.
#[derive(Debug, FromRow)]
struct PageRow<T> {
    #[sqlx(flatten)]
    row: T,
    /// Place in the whole list, from 1.
    place: i64,
    /// Rows of the whole list.
    total: i64,
}

/// Ends a statement that has `place` and `total`, and reads a page of it by number. The first row of
/// the list is read as well, because it has the total even if the page lies beyond the last one.
///
/// # Errors
/// Returns the database's error.
pub async fn page_of<R>(
    executor: impl PgExecutor<'_>,
    mut query: QueryBuilder<Postgres>,
    page: Page,
    name: &'static str,
) -> Result<(Vec<R>, i64), sqlx::Error>
where
    R: for<'r> FromRow<'r, PgRow> + Send + Unpin,
{
    query.push(" WHERE place = 1 OR place BETWEEN ").push_bind(page.first);
    query.push(" AND ").push_bind(page.last).push(" ORDER BY place");
    let rows: Vec<PageRow<R>> = query.build_query_as().fetch_all(executor).named(name).await?;
    let (rows, total) = page.cut(rows, |row| row.place, |row| row.total);
    Ok((rows.into_iter().map(|found| found.row).collect(), total))
}

/// A list that is read by the key of its table, from the last one on.
#[derive(Clone, Copy, Debug)]
pub struct Keyed {
    /// The statement, up to and with `WHERE community_id = `.
    pub select: &'static str,
    /// The table.
    pub table: &'static str,
    /// The key within a community, drawn in the order of creation.
    pub key: &'static str,
    /// The names of the statements that count and read.
    pub names: [&'static str; 2],
}

/// Reads a page by number of what fulfils conditions, and returns it with the number of rows in all. The page is read from
/// the primary key, without the rest of the community.
///
/// # Errors
/// Returns the database's error.
pub async fn page_by_key<R>(
    connection: &mut PgConnection,
    call: &Call,
    Keyed { select, table, key, names: [count, read] }: Keyed,
    conditions: impl Fn(&mut QueryBuilder<Postgres>),
    page: Page,
) -> Result<(Vec<R>, i64), sqlx::Error>
where
    R: for<'r> FromRow<'r, PgRow> + Send + Unpin,
{
    let mut query = QueryBuilder::<Postgres>::new(format!("SELECT count(*) FROM {table} WHERE community_id = "));
    query.push_bind(call.tenant.id.clone());
    conditions(&mut query);
    let total = query.build_query_scalar().fetch_one(&mut *connection).named(count).await?;
    let mut query = QueryBuilder::<Postgres>::new(select);
    query.push_bind(call.tenant.id.clone());
    conditions(&mut query);
    query.push(format!(" ORDER BY {key} DESC LIMIT ")).push_bind(page.rows());
    query.push(" OFFSET ").push_bind(page.offset());
    Ok((query.build_query_as().fetch_all(connection).named(read).await?, total))
}

/// Adds a condition to a statement, if there is a value for it.
pub fn filter<'a, T>(query: &mut QueryBuilder<Postgres>, condition: &str, value: Option<T>, end: &str)
where
    T: sqlx::Encode<'a, Postgres> + sqlx::Type<Postgres> + Send + 'a,
{
    if let Some(value) = value {
        query.push(" AND ").push(condition).push_bind(value).push(end);
    }
}

/// Reads a page of the live items, newest first, and returns it with the number of items in all.
///
/// # Errors
/// Returns the database's error.
pub async fn list(
    executor: impl PgExecutor<'_>,
    call: &Call,
    asked: &ListFilter,
    page: Page,
) -> Result<(Vec<ItemRow>, i64), sqlx::Error> {
    let ListFilter {
        config_id,
        name_part,
        name,
        fee_type,
        fee_flag,
        bill_type,
        payment,
        payment_cycle,
        formula,
        is_default,
        deduct_from,
        prepayment_window,
        state,
        start_time,
        end_time,
        ends_after,
    } = asked.clone();
    let mut query = QueryBuilder::<Postgres>::new(format!(
        "SELECT {ITEM}, place, total
         FROM (SELECT *, row_number() OVER (ORDER BY created_at DESC, config_id DESC) AS place,
                      count(*) OVER () AS total
               FROM pay_fee_config WHERE deleted_at IS NULL AND community_id = "
    ));
    query.push_bind(call.tenant.id.clone());
    filter(&mut query, "config_id = ", config_id, "");
    // strpos takes the part literally, % and _ included.
    filter(&mut query, "strpos(lower(fee_name), lower(", name_part, ")) > 0");
    filter(&mut query, "folded(fee_name) = folded(", name, ")");
    filter(&mut query, "fee_type_cd = ", fee_type.map(Stored), "");
    filter(&mut query, "fee_flag = ", fee_flag.map(Stored), "");
    filter(&mut query, "bill_type = ", bill_type.map(Stored), "");
    filter(&mut query, "payment_cd = ", payment.map(Stored), "");
    filter(&mut query, "payment_cycle = ", payment_cycle, "");
    filter(&mut query, "computing_formula = ", formula.map(Stored), "");
    filter(&mut query, "is_default = ", is_default.map(Stored), "");
    filter(&mut query, "deduct_from = ", deduct_from.map(Stored), "");
    filter(&mut query, "prepayment_period = ", prepayment_window, "");
    filter(&mut query, "state = ", state.map(Stored), "");
    filter(&mut query, "start_time = ", start_time, "");
    filter(&mut query, "end_time = ", end_time, "");
    filter(&mut query, "end_time > ", ends_after, "");
    query.push(") item");
    page_of(executor, query, page, "fee_item_list").await
}

/// An image of an item in its history.
#[derive(Debug, FromRow)]
pub struct ImageRow {
    /// The item as it was.
    #[sqlx(flatten)]
    pub item: ItemRow,
    /// ADD: after the change; DEL: before it, or deleted by it.
    pub operate: String,
    /// Name of the operator who made the change.
    pub operator_name: String,
    /// The instant of the change.
    pub changed_at: DateTime<Utc>,
}

/// Reads a page of the change log's images of items, newest change first and in it the image after
/// the change first, and returns it with the number of images in all.
///
/// A change has an image before (DEL) and after it (ADD); a new item has only the one after, and a
/// deleted one only the last. Images are read as rows of the table as it is today: a column that was
/// added since is in them by itself.
///
/// # Errors
/// Returns the database's error.
pub async fn history(
    executor: impl PgExecutor<'_>,
    call: &Call,
    asked: &HistoryFilter,
    page: Page,
) -> Result<(Vec<ImageRow>, i64), sqlx::Error> {
    let HistoryFilter { config_id, name_part, operator_part, from, before } = asked.clone();
    let mut query = QueryBuilder::<Postgres>::new(format!(
        "SELECT {ITEM}, operate, operator_name, changed_at, place, total
         FROM (SELECT image, operate, operator_name, changed_at,
                      row_number() OVER (ORDER BY change_number DESC, operate) AS place, count(*) OVER () AS total
               FROM platform.change
               CROSS JOIN LATERAL (VALUES
                   ('ADD', CASE WHEN after ->> 'deleted_at' IS NULL THEN after END),
                   ('DEL', CASE WHEN after ->> 'deleted_at' IS NULL THEN before ELSE after END)
               ) AS side (operate, image)
               WHERE image IS NOT NULL AND noun = '{NOUN}' AND tenant_id = "
    ));
    query.push_bind(call.tenant.id.clone());
    filter(&mut query, "key = ", config_id, "");
    // As for lists, strpos takes the parts literally.
    filter(&mut query, "strpos(lower(image ->> 'fee_name'), lower(", name_part, ")) > 0");
    filter(&mut query, "strpos(lower(operator_name), lower(", operator_part, ")) > 0");
    filter(&mut query, "changed_at >= ", from, "");
    filter(&mut query, "changed_at < ", before, "");
    query.push(") found CROSS JOIN LATERAL jsonb_populate_record(NULL::pay_fee_config, image) item");
    page_of(executor, query, page, "fee_item_history").await
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
pub struct ViewFilter<'a> {
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
/// Returns the database's error.
pub async fn view_page<R>(
    executor: impl PgExecutor<'_>,
    call: &Call,
    view: View,
    asked: ViewFilter<'_>,
    page: &KeyPage,
) -> Result<Vec<R>, sqlx::Error>
where
    R: for<'r> FromRow<'r, PgRow> + Send + Unpin,
{
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let mut query = QueryBuilder::<Postgres>::new(view.select);
    query.push_bind(&call.tenant.id);
    filter(&mut query, "config_id = ", given(asked.config_id), "");
    filter(&mut query, "payer_obj_id = ", given(asked.payer_obj_id), "");
    match asked.state {
        FeeState::Unspecified => {}
        // Written so that the planner estimates a third of the rows. It cannot know how many
        // items were stopped; with an estimate of few it would sort all rows for one page.
        FeeState::Ended => {
            query.push(" AND is_open::int < 1");
        }
        FeeState::NotStarted | FeeState::Charging => {
            query.push(" AND is_open AND own_state = ").push_bind(Stored(asked.state));
        }
    }
    query.push(" AND ").push(view.key).push(" > ").push_bind(&page.after);
    query.push(" ORDER BY ").push(view.key).push(" LIMIT ").push_bind(page.limit());
    query.build_query_as().fetch_all(executor).named(view.name).await
}
