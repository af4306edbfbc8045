//! Bill rules (出账规则): by them, bills on payer objects will be made span after span.

pub mod rpc;
pub mod rules;
pub mod store;
