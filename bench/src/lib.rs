//! The benchmarks: each figure is compared with its physical limit and with an alternative (a peer), in one run on one
//! machine. `./dev bench` prints the table and writes docs/performance.md from it.
//!
//! CPU time per operation decides, because times of a shared machine prove little. Contestants take turns, and every ratio
//! comes from one run.
#![allow(clippy::float_arithmetic, reason = "a measurement is a float; money is not computed here")]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod arithmetic;
pub mod capture;
pub mod columns;
pub mod grpc;
pub mod lines;
pub mod load;
pub mod page;
pub mod plot;
pub mod processor;
pub mod report;
pub mod rows;
pub mod stage;
pub mod tariffs;
