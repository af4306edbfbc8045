//! Season months (分枯月份): the season of the account months of a store. A month without one is flat.

pub mod rpc;
pub mod store;
