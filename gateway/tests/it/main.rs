//! The gateway over real HTTP, in front of a service that speaks real gRPC.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod documented;
mod epeis;
mod failures;
mod harness;
mod hc;
mod limits;
mod pages;
