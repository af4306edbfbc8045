//! What every Communal process needs and no business word: configuration, telemetry,
//! credentials, idempotency, refusals, database, server with health and drain.
//!
//! The two services and the gateway stand on this crate and on `communal-proto`, and on
//! nothing else of each other. It may not name a tariff or a fee.

pub mod call;
pub mod clock;
pub mod config;
pub mod database;
pub mod dates;
pub mod delivery;
pub mod idempotency;
pub mod identity;
pub mod money;
pub mod pool;
pub mod refusal;
pub mod secret;
pub mod server;
pub mod telemetry;
#[cfg(feature = "test-support")]
pub mod test_support;
pub mod tls;
pub mod trace;
