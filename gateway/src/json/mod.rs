//! The transcoder: protobuf bytes to JSON and JSON to protobuf bytes, by the plans of the contract and without structs
//! between.
//!
//! [`Output`] writes an answer, [`Input`] reads a request. Values of a request that cannot be carried over are gathered in
//! [`Faults`], which the service reports. A body that is not JSON is [`Malformed`]; bytes of a service that break the
//! contract are a [`Defect`].

mod decimal;
mod faults;
mod input;
mod output;
mod path;
mod reader;

pub use decimal::{Number, NumberFault};
pub use faults::Faults;
pub use input::{Block, Input, Strictness, UnknownKeys};
pub use output::{Defect, Output};
pub use reader::{MOST_NESTING, Malformed};

#[cfg(test)]
mod tests;
