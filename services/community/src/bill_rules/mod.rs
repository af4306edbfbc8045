//! Bill rules (出账规则): by them, bills on payer objects will be made period by period.

pub mod rpc;
pub mod store;

use crate::vocabulary::periods::Names;

/// The names of the rows of a request.
pub const NAMES: Names = Names { rows: "rules", end: "maxTime" };
