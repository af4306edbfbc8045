//! Verification (审核): the steps that carry out the open business process of a settlement account.
//!
//! [`parameters`] reads the parameters of a meter point, [`registers`] decides which registers an account needs and what a
//! meter has measured when it is taken off; both are pure. [`store`] has the statements, [`rpc`] the methods.

pub mod parameters;
pub mod registers;
pub mod rpc;
pub mod store;
