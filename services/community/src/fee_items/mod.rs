//! Fee items (费用项): what a community charges for, at what price and by what formula. The types of
//! the noun.
//!
//! Stopping an item ends every open fee and bill rule of it. That is derived state: one row is
//! written however many there are, so all readers see it at once and no one waits for it (see the
//! migration `0003_fees_and_bill_rules.sql`).

pub mod rpc;
pub mod rules;
pub mod store;

use chrono::{DateTime, NaiveDateTime, Utc};
use communal_kit::database::stored::Stored;
use communal_proto::community::v1::{
    BillType, Choice, DecimalPlace, DefaultItem, FeeFlag, FeeType, Formula, ItemState, PaymentTiming, Rounding,
};
use rust_decimal::Decimal;

/// The terms of an item in a save or an update. A field that the request does not have is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Fee type.
    pub fee_type: FeeType,
    /// Name.
    pub fee_name: String,
    /// Fee flag: periodic, one-off or indirect.
    pub fee_flag: FeeFlag,
    /// First second of validity.
    pub start_time: NaiveDateTime,
    /// Last second of validity.
    pub end_time: NaiveDateTime,
    /// Code of the formula.
    pub formula: Formula,
    /// The custom formula, which parses.
    pub formula_text: Option<String>,
    /// Unit price.
    pub square_price: Decimal,
    /// Additional amount.
    pub additional_amount: Decimal,
    /// Bill type: the time at which bills are made.
    pub bill_type: BillType,
    /// Prepaid or postpaid.
    pub payment: Option<PaymentTiming>,
    /// Payment cycle: the months of one period.
    pub payment_cycle: Option<i16>,
    /// In use or stopped.
    pub state: Option<ItemState>,
    /// Payment from the owner's account is allowed, or not.
    pub deduct_from: Option<Choice>,
    /// Online payment is allowed, or not.
    pub pay_online: Option<Choice>,
    /// Rounding mode.
    pub rounding: Option<Rounding>,
    /// Decimal places of the amount.
    pub decimal_place: Option<DecimalPlace>,
    /// Unit of the amount.
    pub units: Option<String>,
    /// Prepayment window: days before the due instant at which the next period may be paid.
    pub prepayment_window: PrepaymentWindow,
}

/// The prepayment window in a request: the one optional field that can be cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrepaymentWindow {
    /// The request does not have it.
    Absent,
    /// The item has none from now on.
    Cleared,
    /// A number of days.
    Days(i16),
}

/// The facts of a stored item that rules judge by. Its row is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredItem {
    /// Fee flag: periodic, one-off or indirect.
    pub fee_flag: Stored<FeeFlag>,
    /// In use or stopped.
    pub state: Stored<ItemState>,
    /// Default item of the system, or ordinary.
    pub is_default: Stored<DefaultItem>,
    /// A custom formula is stored, used or not.
    pub has_formula_text: bool,
    /// Code of the formula.
    pub formula: Stored<Formula>,
    /// Its first second of validity.
    pub start_time: NaiveDateTime,
    /// Its last second of validity.
    pub end_time: NaiveDateTime,
    /// The count of closures: each stop of the item while it was in use.
    pub closures: i32,
}

/// The items that a list asks for; `None` takes any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListFilter {
    /// Identifier.
    pub config_id: Option<String>,
    /// A part of the name, in any case.
    pub name_part: Option<String>,
    /// The whole name.
    pub name: Option<String>,
    /// Fee type.
    pub fee_type: Option<FeeType>,
    /// Fee flag: periodic, one-off or indirect.
    pub fee_flag: Option<FeeFlag>,
    /// Bill type: the time at which bills are made.
    pub bill_type: Option<BillType>,
    /// Prepaid or postpaid.
    pub payment: Option<PaymentTiming>,
    /// Payment cycle: the months of one period.
    pub payment_cycle: Option<i16>,
    /// Code of the formula.
    pub formula: Option<Formula>,
    /// Default item of the system, or ordinary.
    pub is_default: Option<DefaultItem>,
    /// Payment from the owner's account is allowed, or not.
    pub deduct_from: Option<Choice>,
    /// Prepayment window, in days.
    pub prepayment_window: Option<i16>,
    /// In use or stopped.
    pub state: Option<ItemState>,
    /// First second of validity.
    pub start_time: Option<NaiveDateTime>,
    /// Last second of validity.
    pub end_time: Option<NaiveDateTime>,
    /// Only items whose validity ends after this time.
    pub ends_after: Option<NaiveDateTime>,
}

/// The changes that a history asks for; `None` takes any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryFilter {
    /// Identifier of the item.
    pub config_id: Option<String>,
    /// A part of the item's name, in any case.
    pub name_part: Option<String>,
    /// A part of the operator's name, in any case.
    pub operator_part: Option<String>,
    /// Changes at or after this instant.
    pub from: Option<DateTime<Utc>>,
    /// Changes before this instant.
    pub before: Option<DateTime<Utc>>,
}
