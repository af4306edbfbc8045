//! Fees (费用): what is charged on payer objects by fee items. Amounts are not computed yet.

pub mod rpc;
pub mod store;

use crate::vocabulary::periods::Names;

/// The names of the rows of a request.
pub const NAMES: Names = Names { rows: "fees", end: "deadlineTime" };
