//! Metering (计量): billing points, and the readings of their registers.
//!
//! A billing point passes through phases: made, read, calculated, charged off. Each is a row of its own, and a row that is
//! not there was not reached; [`points`] makes them, [`readings`] are entered into them.

pub mod points;
pub mod readings;
