//! The catalogue (目录): the account items and category items that prices, packages and lines of a company name.

pub mod rpc;
pub mod store;
