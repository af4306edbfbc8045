//! The ledger (账簿): what customers have and owe, entry by entry.
//!
//! [`movements`] are the rules of which funds an event moves, [`chain`] numbers the entries and carries the balances; both are
//! pure. [`store`] has the statements. An event moves funds that add up to zero together with the inner accounts of the
//! company, which have no chain: a transaction has one row of them.

pub mod chain;
pub mod movements;
pub mod store;
