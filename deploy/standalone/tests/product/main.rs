//! The tests of the whole product: the structure of its sources (`architecture`), bad values for every documented
//! field (`contracts`), journeys over REST and gRPC (`journeys`), processes that are killed during their work
//! (`processes`), requests that cost more than they weigh (`requests`), and traces, metrics and logs (`telemetry`).
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod architecture;
mod contracts;
mod harness;
mod journeys;
mod processes;
#[path = "../../examples/trace_printer/receiver.rs"]
mod receiver;
mod requests;
mod telemetry;
