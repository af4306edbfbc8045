//! Settlement accounts (结算户): a user account's supply with one utility, and the business processes that open, change
//! and close one.
//!
//! [`lifecycle`] decides which step fits which state, [`application`] what an application needs; both are pure. [`store`]
//! has the statements, [`rpc`] the methods.

pub mod application;
pub mod lifecycle;
pub mod rpc;
pub mod shown;
pub mod store;
