//! Calculation (费用计算): the fee lines of an open billing point, from its snapshot, its readings, the account's accumulators and
//! the prices in force. What is calculated waits for its charge-off, and nothing else moves.
//!
//! [`stored`] is what is kept of a calculation; it is pure.

pub mod stored;
