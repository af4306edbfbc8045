//! Fee items (费用项): what a community charges for. The rules of what an item may say, its
//! storage with the change history, and the RPCs.
//!
//! Stopping an item ends every open fee and bill rule of it. That is derived state: one row
//! is written however many there are, so it is atomic for every reader and nobody waits for
//! it (see the migration `0003_fees_and_bill_rules.sql` and [`store::update`]).

pub mod history;
pub mod query;
pub mod rpc;
pub mod rules;
pub mod store;

use chrono::NaiveDateTime;

/// What those who charge by an item need to know of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ItemToCharge {
    /// How often it was stopped so far.
    pub closures: i32,
    /// Whether it is stopped.
    pub stopped: bool,
    /// Its last second of validity.
    pub end_time: NaiveDateTime,
}
