//! The statements of books. Every query is bound by the company.
//!
//! Lock order: books by identifier.

use communal_kit::call::Call;
use communal_kit::database::Statement as _;
use communal_kit::database::stored::Stored;
use communal_kit::paging::Page;
use communal_kit::refusal::Refusal;
use communal_proto::billing::v1::{BookFilter, ChangedBook, NewBook, ReadPeriodType, Reason};
use communal_proto::{Coded as _, Fault, FieldPath, Reason as _};
use sqlx::{PgConnection, PgExecutor};

use crate::vocabulary::tariff::{Utility, YesNo};

/// A book as it is stored.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // the fields of the contract, documented there
pub struct BookRow {
    pub book_id: String,
    pub store_id: String,
    pub utility: Stored<Utility>,
    pub read: Stored<YesNo>,
    pub read_period: Option<Stored<ReadPeriodType>>,
    pub name: String,
    pub manager_id: String,
    pub meter_reader_id: String,
    pub region_code: String,
    pub place: i64,
    pub total: i64,
}

/// Returns the places, from 0, of the new books whose name is taken, by a stored book or by one before them.
///
/// # Errors
/// Returns the database's error.
pub async fn taken(tx: &mut PgConnection, call: &Call, books: &[NewBook]) -> Result<Vec<i64>, sqlx::Error> {
    let stores: Vec<_> = books.iter().map(|b| b.store_id.as_str()).collect();
    let utilities: Vec<_> = books.iter().map(|b| b.utility().code()).collect();
    let names: Vec<_> = books.iter().map(|b| b.book_name.as_str()).collect();
    sqlx::query_scalar!(
        r#"SELECT place - 1 AS "place!"
           FROM (SELECT place, store_id, utility, folded(name) AS name, row_number() OVER (
                     PARTITION BY store_id, utility, folded(name) ORDER BY place) AS nth
                 FROM unnest($2::text[], $3::text[], $4::text[]) WITH ORDINALITY AS given (store_id, utility, name, place)
                ) AS new
           WHERE nth > 1 OR EXISTS (
               SELECT FROM book b WHERE b.company_id = $1 AND b.store_id = new.store_id AND b.utility = new.utility
                   AND folded(b.name) = new.name)
           ORDER BY place"#,
        call.tenant.id,
        stores as _,
        utilities as _,
        names as _,
    )
    .fetch_all(tx)
    .named("book_taken")
    .await
}

/// Adds books, each under the identifier at its place, or under a new one if there is none. Returns their identifiers in this
/// order.
///
/// # Errors
/// Returns the database's error; it violates `book_name` if a name is taken.
pub async fn add(
    tx: &mut PgConnection,
    call: &Call,
    books: &[NewBook],
    book_ids: &[String],
) -> Result<Vec<String>, sqlx::Error> {
    let column = |value: fn(&NewBook) -> &str| books.iter().map(value).collect::<Vec<_>>();
    sqlx::query_scalar!(
        "INSERT INTO book (company_id, book_id, store_id, utility, read, read_period, name, manager_id, meter_reader_id)
         SELECT $1, coalesce(book_id, 'B' || nextval('book_number')), store_id, utility, read, nullif(read_period, ''), name, manager_id, meter_reader_id
         FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[])
             WITH ORDINALITY AS new (store_id, utility, read, read_period, name, manager_id, meter_reader_id, book_id, place)
         ORDER BY place
         RETURNING book_id",
        call.tenant.id,
        column(|b| &b.store_id) as _,
        column(|b| b.utility().code()) as _,
        column(|b| b.read().code()) as _,
        column(|b| b.reading_cycle().code()) as _,
        column(|b| &b.book_name) as _,
        column(|b| &b.manager_id) as _,
        column(|b| &b.meter_reader_id) as _,
        book_ids,
    )
    .fetch_all(tx)
    .named("book_add")
    .await
}

/// Selects a page of books. The first condition decides by which index they are found.
macro_rules! select_books {
    ($first:tt, $company_id:expr, $filter:expr, $page:expr) => {
        sqlx::query_as!(
            BookRow,
            r#"SELECT book_id, store_id, utility AS "utility: Stored<Utility>", read AS "read: Stored<YesNo>",
                   read_period AS "read_period: Stored<ReadPeriodType>", name, manager_id, meter_reader_id, region_code,
                   place AS "place!", total AS "total!"
               FROM (SELECT b.*, s.region_code, count(*) OVER () AS total, row_number() OVER (ORDER BY book_id) AS place
                     FROM book b JOIN store s USING (company_id, store_id)
                     WHERE company_id = $1 AND "#
                + $first
                + r#"
                         AND ($2::text IS NULL OR utility = $2) AND ($3::text IS NULL OR read = $3)
                         AND ($4::text IS NULL OR read_period = $4) AND ($5 = '' OR store_id = $5)
                         AND ($6 = '' OR meter_reader_id = $6) AND ($7 = '' OR region_code = $7)) AS found
               WHERE place = 1 OR place BETWEEN $9 AND $10
               ORDER BY place"#,
            $company_id,
            $filter.utility().stored(),
            $filter.read().stored(),
            $filter.reading_cycle().stored(),
            $filter.store_id,
            $filter.meter_reader_id,
            $filter.region_code,
            $filter.book_name,
            $page.first,
            $page.last,
        )
    };
}

/// Returns a page of the company's books, oldest first, and how many there are.
///
/// # Errors
/// Returns the database's error.
pub async fn list(
    executor: impl PgExecutor<'_>,
    company_id: &str,
    filter: &BookFilter,
    page: Page,
) -> Result<(Vec<BookRow>, i64), sqlx::Error> {
    let rows = if filter.book_name.is_empty() {
        select_books!("$8 = ''", company_id, filter, page).fetch_all(executor).named("book_list").await?
    } else {
        select_books!("folded(b.name) = folded($8)", company_id, filter, page)
            .fetch_all(executor)
            .named("book_find")
            .await?
    };
    Ok(page.cut(rows, |row| row.place, |row| row.total))
}

/// A locked book.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockedBook {
    /// Its utility.
    pub utility: Stored<Utility>,
    /// True if a meter point is in it.
    pub in_use: bool,
}

/// Locks a book and returns it.
///
/// # Errors
/// Returns the database's error.
pub async fn lock(tx: &mut PgConnection, call: &Call, book_id: &str) -> Result<Option<LockedBook>, sqlx::Error> {
    sqlx::query_as!(
        LockedBook,
        r#"SELECT utility AS "utility: Stored<Utility>", EXISTS (
               SELECT FROM meter_point p WHERE p.company_id = b.company_id AND p.book_id = b.book_id) AS "in_use!"
           FROM book b WHERE company_id = $1 AND book_id = $2 FOR UPDATE OF b"#,
        call.tenant.id,
        book_id,
    )
    .fetch_optional(tx)
    .named("book_lock")
    .await
}

/// Changes a locked book. A field that is not given stays.
///
/// # Errors
/// Returns the database's error; it violates `book_name` if the name is taken.
pub async fn change(tx: &mut PgConnection, call: &Call, changed: &ChangedBook) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE book SET utility = coalesce($3, utility), read_period = coalesce($4, read_period),
             store_id = coalesce(nullif($5, ''), store_id), name = coalesce(nullif($6, ''), name),
             manager_id = coalesce(nullif($7, ''), manager_id),
             meter_reader_id = coalesce(nullif($8, ''), meter_reader_id)
         WHERE company_id = $1 AND book_id = $2",
        call.tenant.id,
        changed.book_id,
        changed.utility().stored(),
        changed.reading_cycle().stored(),
        changed.store_id,
        changed.book_name,
        changed.manager_id,
        changed.meter_reader_id,
    )
    .execute(tx)
    .named("book_change")
    .await?;
    Ok(())
}

/// Returns the places, from 0, of the books that the company does not have. Locks the others.
///
/// # Errors
/// Returns the database's error.
pub async fn unknown(tx: &mut PgConnection, call: &Call, book_ids: &[&str]) -> Result<Vec<i64>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"WITH known AS MATERIALIZED (
               SELECT book_id FROM book WHERE company_id = $1 AND book_id = ANY($2) ORDER BY book_id FOR UPDATE)
           SELECT place - 1 AS "place!" FROM unnest($2::text[]) WITH ORDINALITY AS given (book_id, place)
           WHERE NOT EXISTS (SELECT FROM known WHERE known.book_id = given.book_id)
           ORDER BY place"#,
        call.tenant.id,
        book_ids as _,
    )
    .fetch_all(tx)
    .named("book_unknown")
    .await
}

/// Locks a book that a field names.
///
/// # Errors
/// Returns the database's error, and `BOOK_NOT_FOUND` if it is no book of the calling company.
pub async fn require(tx: &mut PgConnection, call: &Call, book_id: &str, field: FieldPath) -> Result<(), Refusal> {
    if unknown(tx, call, &[book_id]).await?.is_empty() {
        return Ok(());
    }
    Err(not_found(field))
}

/// Refuses a book that a query names and the company does not have. A query that names none is of all books.
///
/// # Errors
/// Returns the database's error, and `BOOK_NOT_FOUND` if it is no book of the company.
pub async fn require_known(
    executor: impl PgExecutor<'_>,
    company_id: &str,
    book_id: &str,
    field: FieldPath,
) -> Result<(), Refusal> {
    let known = sqlx::query_scalar!(
        r#"SELECT $2 = '' OR EXISTS (SELECT FROM book WHERE company_id = $1 AND book_id = $2) AS "known!""#,
        company_id,
        book_id,
    )
    .fetch_one(executor)
    .named("book_known")
    .await?;
    if known { Ok(()) } else { Err(not_found(field)) }
}

fn not_found(field: FieldPath) -> Refusal {
    let reason = Reason::BookNotFound;
    Refusal::of(reason).fault(Fault::rule(field, super::UNKNOWN, reason.text()))
}

/// Returns the places, from 0, of the locked books that have meter points.
///
/// # Errors
/// Returns the database's error.
pub async fn in_use(tx: &mut PgConnection, call: &Call, book_ids: &[&str]) -> Result<Vec<i64>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT place - 1 AS "place!" FROM unnest($2::text[]) WITH ORDINALITY AS given (book_id, place)
           WHERE EXISTS (SELECT FROM meter_point p WHERE p.company_id = $1 AND p.book_id = given.book_id)
               OR EXISTS (SELECT FROM point_open o WHERE o.company_id = $1 AND o.book_id = given.book_id)
           ORDER BY place"#,
        call.tenant.id,
        book_ids as _,
    )
    .fetch_all(tx)
    .named("book_in_use")
    .await
}

/// Deletes locked books.
///
/// # Errors
/// Returns the database's error.
pub async fn delete(tx: &mut PgConnection, call: &Call, book_ids: &[&str]) -> Result<(), sqlx::Error> {
    sqlx::query!("DELETE FROM book WHERE company_id = $1 AND book_id = ANY($2)", call.tenant.id, book_ids as _,)
        .execute(tx)
        .named("book_delete")
        .await?;
    Ok(())
}
