//! Bill rules (出账规则): by them, bills on payer objects are made span after span. A bill is a fee that
//! charges one span of its rule.

pub mod bills;
pub mod changes;
pub mod listed;
pub mod rpc;
pub mod rules;
pub mod run;
pub mod store;
