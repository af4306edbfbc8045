//! The tests of the product as a whole: the shape of its sources (`architecture`), every documented field given badly
//! (`contracts`), whole journeys over REST and gRPC (`journeys`), processes that are killed in the middle of their work
//! (`processes`), and traces, metrics and logs (`telemetry`).
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod architecture;
mod contracts;
mod harness;
mod journeys;
mod processes;
#[path = "../../examples/trace_printer/receiver.rs"]
mod receiver;
mod telemetry;
