//! The service over real gRPC, on a PostgreSQL database of its own for each test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod harness;

mod arrears;
mod bill_rules;
mod changes;
mod charging;
mod credentials;
mod earlier_names;
mod fee_items;
mod fees;
mod least_right;
mod payer_objects;
mod plans;
mod process;
mod quotes;
mod repeats;
mod schema;
mod signatures;
mod stopping;
