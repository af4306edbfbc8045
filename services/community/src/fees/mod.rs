//! Fees (费用): what is charged on payer objects by fee items. Amounts are not computed yet.

pub mod rpc;
pub mod rules;
pub mod store;

use chrono::NaiveDateTime;
use communal_kit::database::stored::Stored;
use communal_proto::community::v1::PayerObjectType;

/// Rows that may be stored, by column, in the order of the request: their item is locked, and
/// their payer objects exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdmittedRows {
    /// The count of closures of the item. The rows end when it grows.
    pub epoch: i32,
    /// Identifiers of the payer objects.
    pub payer_obj_ids: Vec<String>,
    /// Kinds of payer object.
    pub types: Vec<Stored<PayerObjectType>>,
    /// The first second to charge for.
    pub starts: Vec<NaiveDateTime>,
    /// The last second to charge for; `None` for the end of the item.
    pub ends: Vec<Option<NaiveDateTime>>,
}
