//! Approval ratios (核定最大需量调节比例): how demand beyond the approved demand is billed.

pub mod rpc;
pub mod store;
