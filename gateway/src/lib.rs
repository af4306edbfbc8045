//! The gateway serves the documented REST shapes of EPEIS and HC, byte for byte, by calling gRPC.
//!
//! It has no business rules and no tables. It reads the interfaces from the descriptors of the contract when it starts
//! ([`plan`]) and turns JSON into protobuf bytes and back by these plans ([`json`]). Only the two dialects, which differ
//! in the envelope and in the place of credentials, are written by hand.
//!
//! Credentials pass through: the services decide who may call.

mod body;
mod config;
mod dialects;
mod encoding;
mod gateway;
pub mod json;
pub mod openapi;
mod pages;
pub mod plan;
mod refused_call;
mod server;
mod service_urls;
mod shares;
mod upstream;

pub use config::{Config, Drain, LIMITS, LimitDeclarations, Limits, OnUnknownKeys};
pub use server::{Bound, bind, bind_contract, serve};
pub use service_urls::{ServiceUrls, ServiceUrlsFault};

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod test_contract;
