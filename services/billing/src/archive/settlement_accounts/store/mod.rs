//! The statements of settlement accounts and their business processes. Every query is bound by the company.

mod search;
mod write;

pub use search::{AccountRow, MeterPointRow, Person, UserAccountRow, list, unverified_of, users, verified_of};
pub use write::{LockedAccount, change, connect, lock, lock_alone, open, taken, user_account_of, withdraw};
