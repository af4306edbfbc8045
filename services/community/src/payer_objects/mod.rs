//! Payer objects (付费对象): rooms, cars and contracts on which fees are charged, with the
//! facts that formulas read.

pub mod rpc;
pub mod rules;
pub mod store;
