//! Settings of a community (小区设置).

pub mod rpc;
pub mod rules;
pub mod store;

/// The settings of a community; by default all switches are off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Periodic items are charged by bill rules instead of fees.
    pub pay_fee_month: bool,
    /// Calendar months of one bill.
    pub pay_fee_month_cycle: i16,
    /// The same charge may be created twice.
    pub allow_duplicate_fee: bool,
    /// Operators may approve their own requests.
    pub batch_self_approval: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { pay_fee_month: false, pay_fee_month_cycle: 1, allow_duplicate_fee: false, batch_self_approval: false }
    }
}
