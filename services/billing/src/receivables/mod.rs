//! Receivables (应收、欠费): what was billed and what was paid on it.
//!
//! [`line`] knows what a line is, how it is recognised and how it is kept; [`arrears`] which
//! lines a caller sees; both are pure. [`store`] keeps lines, [`import`] takes over batches of
//! them, [`rpc`] serves the calls.

pub mod arrears;
pub mod import;
pub mod line;
pub mod rpc;
pub mod store;

/// Limits of the methods.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most lines of an unpaged answer.
    pub arrears_cap: u32,
    /// Most lines of an imported batch.
    pub import_lines: u32,
}
