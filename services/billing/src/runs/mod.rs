//! Runs (批量出账): the accounts of a company, or of a book, are billed for a month.
//!
//! A run is planned once, as chunks of about a thousand accounts in the order of books; whoever works on it claims chunk after
//! chunk, a transaction each. [`outcome`] is what became of the accounts of a chunk, [`run`] the order of a run and of a chunk;
//! both are pure. [`store`] has the statements, [`rpc`] the methods.

pub mod outcome;
pub mod rpc;
pub mod run;
pub mod store;
