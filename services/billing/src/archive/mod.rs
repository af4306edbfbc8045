//! The archive (归档): what a company keeps of its customers.
//!
//! A company runs its own archive: everything here belongs to the company that added it, and only it sees and changes it.
//! The documented writes return no identifier, so clients find what they added by its name; where a name is the
//! only handle it is unique, in whatever width, case and spacing it is written (`folded` in the migrations).

pub mod accumulators;
pub mod billable;
pub mod books;
pub mod customers;
pub mod meters;
pub mod moving_in;
pub mod rows;
pub mod settlement_accounts;
pub mod user_accounts;
pub mod verification;
