//! Receivables (应收、欠费): what was billed and what was paid on it.
//!
//! [`line`] has the rules of a line, its key and its stored form, [`arrears`] the rule of which lines a
//! caller sees; both are pure. [`store`] has the statements, [`import`] imports batches, [`rpc`] has the
//! methods of `ReceivableService`.

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
