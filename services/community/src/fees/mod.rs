//! Fees (费用): what is charged on payer objects by fee items, what it owes, and how it changes. Amounts
//! are computed when they are asked for, from the facts of today, and never stored.

pub mod batches;
pub mod changes;
pub mod detail;
pub mod facts;
pub mod report;
pub mod rpc;
pub mod rules;
pub mod store;

use chrono::{NaiveDate, NaiveDateTime};
use communal_kit::database::stored::Stored;
use communal_proto::community::v1::{FeeFlag, FeeState, FeeType, PayerObjectType};
use rust_decimal::Decimal;

use crate::amounts::Escalation;

/// What formulas keep on a fee.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeeTerms {
    /// The amount of formulas 4004, 6006 and 8008.
    pub amount: Option<Decimal>,
    /// The escalation of formula 1102.
    pub escalation: Option<Escalation>,
}

/// Rows that may be stored, by column, in the order of the request: their item is locked, and
/// their payer objects exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdmittedRows {
    /// The count of closures of the item. The rows end when it grows.
    pub epoch: i32,
    /// What the formula keeps on each.
    pub terms: FeeTerms,
    /// The meter reading that makes them; they are then one-off.
    pub reading_id: Option<String>,
    /// May stand beside the same charge: the community allows it.
    pub repeatable: bool,
    /// Identifiers of the payer objects.
    pub payer_obj_ids: Vec<String>,
    /// Kinds of payer object.
    pub types: Vec<Stored<PayerObjectType>>,
    /// The first second to charge for.
    pub starts: Vec<NaiveDateTime>,
    /// The last second to charge for; `None` for the end of the item.
    pub ends: Vec<Option<NaiveDateTime>>,
}

/// The fees that a list asks for; what is empty or `None` takes any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeeFilter {
    /// Identifier.
    pub fee_id: Option<String>,
    /// Fee items.
    pub config_ids: Vec<String>,
    /// Payer objects.
    pub payer_obj_ids: Vec<String>,
    /// Kind of payer object.
    pub payer_obj_type: Option<PayerObjectType>,
    /// State.
    pub state: Option<FeeState>,
    /// Fee type.
    pub fee_type: Option<FeeType>,
    /// Fee flag.
    pub fee_flag: Option<FeeFlag>,
    /// Owner.
    pub owner_id: Option<String>,
    /// A part of the owner's name.
    pub owner_part: Option<String>,
    /// Batch.
    pub batch_id: Option<String>,
    /// A part of the name of the payer object.
    pub payer_part: Option<String>,
    /// Building of a room.
    pub floor_id: Option<String>,
    /// Unit of a room.
    pub unit_id: Option<String>,
    /// Kind of a room.
    pub room_sub_type: Option<String>,
    /// A part of the number of a room.
    pub room_part: Option<String>,
    /// Only bills.
    pub bills_of: Option<BillsOf>,
}

/// The bills that a list asks for; `None` takes any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BillsOf {
    /// Their rule.
    pub rule_id: Option<String>,
    /// A bill of their rule.
    pub fee_id: Option<String>,
    /// Their first day.
    pub from: Option<NaiveDate>,
    /// A part of their name.
    pub name_part: Option<String>,
}
