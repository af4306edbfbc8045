//! Charge-off (应收出账): what was calculated becomes what is owed.
//!
//! [`rules`] decide which billing points may be charged off, [`bill`] makes receivable lines of a calculation and holds it against the
//! bounds, [`registers`] says where the registers of a meter stand after it, [`draw`] what available funds pay; all are pure. [`store`] has
//! the statements and the one function by which calls and runs charge points off, [`rpc`] the methods.

pub mod bill;
pub mod draw;
pub mod registers;
pub mod rpc;
pub mod rules;
pub mod store;

use bill::Bounds;

use crate::receivables::penalty::PenaltyRates;
use crate::vocabulary::tariff::ByUtility;

/// The settings of charge-off.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Days from a charge-off to the levy date of its lines.
    pub grace_days: ByUtility<u32>,
    /// The bounds that a bill must keep.
    pub bounds: Bounds,
    /// The rates of the late-payment penalty.
    pub penalty_rates: PenaltyRates,
    /// True if available funds pay what is open after a charge-off.
    pub auto_draw: bool,
}
