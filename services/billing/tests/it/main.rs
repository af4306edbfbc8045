//! Billing over real gRPC, on real PostgreSQL: a file a noun, and the support of all in `harness`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod arrears;
mod books;
mod catalogue;
mod catalogue_prices;
mod customers;
mod harness;
mod import;
mod least_right;
mod matrix;
mod meters;
mod month_controls;
mod packages;
mod prices;
mod process;
mod rating;
mod replicas;
mod schema;
mod seed;
mod settlement_accounts;
mod user_accounts;
mod verification;
