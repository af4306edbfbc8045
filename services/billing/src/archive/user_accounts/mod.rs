//! User accounts (用户账户): places of use of a customer.

pub mod rpc;
pub mod store;
