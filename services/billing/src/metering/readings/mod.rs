//! Readings (表底): what the registers of open billing points show, and what they measured since the last bill.
//!
//! [`stored`] is what is kept of the readings of a point, [`rules`] read and judge what is entered, [`shown`] prints
//! registers, [`fault_list`] lists those that deserve a look; all four are pure.

pub mod fault_list;
pub mod import;
pub mod rpc;
pub mod rules;
pub mod shown;
pub mod store;
pub mod stored;
