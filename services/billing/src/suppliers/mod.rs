//! Suppliers (商户): network and retail companies and their stores. The company itself is a
//! tenant, which the kit keeps; here are the stores.

pub mod rpc;
pub mod store;
