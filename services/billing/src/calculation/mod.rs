//! Calculation (费用计算): the fee lines of an open billing point, from its snapshot, its readings, the account's accumulators and
//! the prices in force. What is calculated waits for its charge-off, and nothing else moves.
//!
//! [`rates`] puts together what a package is priced by; [`facts`] leads from a point to its calculation, [`stored`] is what is
//! kept of it, [`rules`] judge a call and [`shown`] answers it; all of them are pure. [`adjustments`] make retro points.

pub mod adjustments;
pub mod facts;
pub mod rates;
pub mod rpc;
pub mod rules;
pub mod shown;
pub mod store;
pub mod stored;
