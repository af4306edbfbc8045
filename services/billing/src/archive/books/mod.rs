//! Books (抄表区段): meter points that one reader reads in one round.

pub mod rpc;
pub mod store;

/// What is said of a field that names a book of another company, or none.
pub const UNKNOWN: &str = "is no book of the calling company";
