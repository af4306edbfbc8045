//! The parts that every Communal process needs and that have no business term: configuration,
//! telemetry, credentials, writes, refusals, pages, database, and a server with health and drain.
//!
//! The services and the gateway depend on this crate and on `communal-proto`, and not on each other. It
//! names no tariff and no fee.

pub mod administration;
pub mod call;
pub mod cli;
pub mod clock;
pub mod config;
pub mod database;
pub mod dates;
pub mod delivery;
pub mod edge;
pub mod gzip;
pub mod idempotency;
pub mod identity;
pub mod limits;
pub mod money;
pub mod objections;
pub mod paging;
pub mod pool;
pub mod portions;
pub mod progress;
pub mod refusal;
pub mod replicas;
pub mod request;
pub mod sandbox;
pub mod secret;
pub mod server;
pub mod telemetry;
pub mod tls;
pub mod uploads;
pub mod write;
