//! Adjust ratios (力调比例): the reward or penalty of a power factor, for each standard and day.

pub mod rpc;
pub mod rules;
pub mod store;
