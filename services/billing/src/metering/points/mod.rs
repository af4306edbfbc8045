//! Billing points (计费点): what a settlement account is billed by in an account month, as it was when the point was made.
//!
//! [`snapshot`] is what a point holds, [`rules`] decide when one may be made; both are pure.

pub mod rpc;
pub mod rules;
pub mod snapshot;
pub mod store;
