//! The kit over real connections: the pool and writes against a database, a server against its callers,
//! the bound of a replica's staleness. `quiet.rs` beside this folder has a process of its own, because it
//! sets the subscriber of its whole process.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod clients;
mod least_right;
mod limits;
mod pool;
mod server;
mod staleness;
mod write;
