//! Books (抄表区段): meter points that one reader reads in one round.

pub mod rpc;
pub mod store;
