//! Adjustments (退补): retro billing points that correct a quantity or an amount. A retro point is priced like a normal point of
//! today, has no readings and moves no last reading; an account has one that is not charged off at most.
//!
//! [`rules`] decides which there may be, and what such a point holds; it is pure.

pub mod rpc;
pub mod rules;
