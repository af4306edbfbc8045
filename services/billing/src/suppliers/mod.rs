//! Suppliers (商户): the stores and nodes of network and retail companies. The company itself is a tenant, which
//! the kit keeps.

pub mod rpc;
pub mod rules;
pub mod store;
