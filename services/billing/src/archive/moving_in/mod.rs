//! Moving in: the archive that a company brings along from another system.
//!
//! [`brought`] has the rules that only such rows have; everything else is judged by the rules of the calls that make such
//! rows. [`store`] has the statements, [`import`] reads the stream, [`rpc`] has the method.

pub mod brought;
pub mod import;
pub mod rpc;
pub mod store;
