//! The gateway: the documented REST shapes of EPEIS and HC, byte for byte, served by calling
//! gRPC.
//!
//! It holds no business rule and no table. What it knows of an interface it reads from the
//! descriptors of the contract when it starts ([`plan`]); by that it turns JSON into protobuf
//! bytes and back ([`json`]). Only the two dialects, which differ in their envelope and in
//! where credentials travel, are written by hand.
//!
//! Credentials pass through: the services decide who may call.

mod body;
mod config;
mod dialects;
mod gateway;
pub mod json;
pub mod openapi;
mod pages;
pub mod plan;
mod refusal;
mod server;
mod upstream;

pub use config::{Config, Drain, Limits};
pub use server::{Bound, bind, bind_contract, serve};
pub use upstream::{ServiceUrls, ServiceUrlsFault};

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod test_contract;
