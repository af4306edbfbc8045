//! Codes of the contract that stand for a plain value.

use communal_proto::Coded;

/// A code that was given; `None` for the unspecified value, which is the default of every enum.
#[must_use]
pub fn given<C: Coded + Default + PartialEq>(code: C) -> Option<C> {
    (code != C::default()).then_some(code)
}

/// A count in the width of the documents.
#[must_use]
pub fn count(rows: i64) -> i32 {
    i32::try_from(rows).unwrap_or(i32::MAX)
}
