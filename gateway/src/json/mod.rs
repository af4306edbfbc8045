//! Protobuf bytes to JSON and JSON to protobuf bytes, by the plans of the contract and
//! with no structs between.
//!
//! [`Output`] writes an answer, [`Input`] reads a request. What a request holds that cannot
//! be carried over is gathered in [`Faults`] for the service to report; what is no JSON at
//! all is [`Malformed`]; bytes of a service that break the contract are a [`Defect`].

mod decimal;
mod faults;
mod input;
mod output;
mod path;
mod reader;
mod text;
mod wire;

pub use decimal::{Number, NumberFault};
pub use faults::Faults;
pub use input::{Block, Input, Strictness};
pub use output::{Defect, Output};
pub use reader::{MOST_NESTING, Malformed};

pub(crate) use text::push_json_text;
pub(crate) use wire::push_varint;

#[cfg(test)]
mod tests;
