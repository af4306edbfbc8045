//! Meters (计量仪表): the devices, on an account or in the store room.

pub mod rpc;
pub mod rules;
pub mod store;
