//! The form of a statement that reads a page of records and their total at once (see [`communal_kit::paging::Page`]), and of
//! one that reads the records of many keys at once.

/// Selects a page of rows: their columns, what they are selected from and by which condition, and their order. The
/// arguments of the condition are numbered from `$3`. Each row has its place and the total of rows.
macro_rules! select_page {
    ($page:expr, $columns:tt, $condition:tt, $order:tt, $($argument:expr),* $(,)?) => {
        sqlx::query!(
            "SELECT * FROM (SELECT "
                + $columns
                + r#", count(*) OVER () AS "total!", row_number() OVER (ORDER BY "#
                + $order
                + r#") AS "place!" FROM "#
                + $condition
                + r#") AS numbered WHERE "place!" = 1 OR "place!" BETWEEN $1 AND $2 ORDER BY "place!""#,
            $page.first,
            $page.last,
            $($argument),*
        )
    };
}
pub(super) use select_page;

/// The place, from 0, of what a row was asked by, of its number by `WITH ORDINALITY`.
#[must_use]
pub fn place_of(ordinality: i64) -> usize {
    usize::try_from(ordinality - 1).unwrap_or(usize::MAX)
}
