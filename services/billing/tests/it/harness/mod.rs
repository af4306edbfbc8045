//! The support of the tests: a world to call, its credentials, packages and lines, and PostgreSQL
//! servers of a test's own.
#![allow(dead_code, unreachable_pub, missing_docs)]

mod archive;
mod calculation;
mod catalogue;
mod charge_off;
mod credentials;
mod metering;
mod packages;
pub mod postgres;
mod receivables;
mod world;

pub use archive::*;
pub use calculation::*;
pub use catalogue::*;
pub use charge_off::*;
pub use credentials::*;
pub use metering::*;
pub use packages::*;
pub use receivables::*;
pub use world::*;
