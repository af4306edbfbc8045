//! Terms that several nouns share: dates and months, lifetimes, scales, the shape of a tariff,
//! identifiers.
//!
//! A leaf: it imports nothing of the crate and does no I/O.

pub mod dates;
pub mod identifiers;
pub mod lifetime;
pub mod quantity;
pub mod tariff;
