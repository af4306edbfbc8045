//! Customers (客户): who pays, and the codes that prove their phones.

pub mod certificates;
pub mod rpc;
pub mod store;
pub mod verify_codes;
