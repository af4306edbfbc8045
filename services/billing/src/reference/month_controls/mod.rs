//! Month controls (出账月份控制): the account months of a store and utility, each with the days on which
//! it is open.

pub mod rpc;
pub mod rules;
pub mod store;
