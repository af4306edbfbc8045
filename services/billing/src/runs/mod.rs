//! Runs (批量出账): the accounts of a company, or of a book, are billed for a month.
//!
//! A run is planned once, as chunks of about a thousand accounts in the order of books. Each process that works on it claims one
//! chunk after the other, a transaction each. [`outcome`] decides which accounts of a chunk are billed and which are parked; it
//! is pure. [`run`] has the order of a run and of a chunk, [`store`] the statements, [`rpc`] the methods.

pub mod outcome;
pub mod rpc;
pub mod run;
pub mod store;
