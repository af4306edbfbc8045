//! Fees (费用): what is charged on payer objects by fee items. Amounts are not computed yet.

pub mod rpc;
pub mod store;

use crate::charges::Names;

/// Where the rows are in a request.
pub const NAMES: Names = Names { rows: "fees", stop: "deadlineTime" };
