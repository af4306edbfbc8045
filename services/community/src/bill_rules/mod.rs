//! Bill rules (出账规则): by them, bills on payer objects will be made period by period.

pub mod rpc;
pub mod store;

use crate::charges::Names;

/// Where the rows are in a request.
pub const NAMES: Names = Names { rows: "rules", stop: "maxTime" };
