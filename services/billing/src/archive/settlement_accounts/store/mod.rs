//! The statements of settlement accounts and their business processes. Every query is bound by the company.

mod search;
mod write;

pub use search::{AccountRow, MeterPointRow, Person, UserAccountRow, accounts_of, list, meter_points, users};
pub use write::{LockedAccount, change, connect, lock, open, taken};
