//! Receivables (应收、欠费): what was billed and what was paid on it.
//!
//! [`line`] has the rules of a line, its key and its stored form, [`references`] what is known of the
//! companies, stores and packages that lines name, [`arrears`] the rule of which lines a caller sees; all are pure. [`store`] has the statements, [`import`] imports batches, [`rpc`] has the
//! methods of `ReceivableService`.

pub mod allocation;
pub mod arrears;
pub mod import;
pub mod line;
pub mod penalty;
pub mod references;
pub mod rpc;
pub mod store;

use communal_kit::portions::PortionLimits;
use communal_kit::uploads::UploadLimits;

/// Limits of the methods.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most lines of an unpaged answer.
    pub arrears_cap: u32,
    /// Most lines of an imported batch.
    pub import_lines: u32,
    /// Of streams of answers.
    pub portions: PortionLimits,
    /// Of imports.
    pub uploads: UploadLimits,
}
