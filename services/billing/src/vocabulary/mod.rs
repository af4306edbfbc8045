//! Terms that several nouns share: dates and months, lifetimes, scales, the shape of a tariff
//! and positions in it, movements of registers, identifiers.
//!
//! A leaf: it imports nothing of the crate and does no I/O.

pub mod dates;
pub mod identifiers;
pub mod lifetime;
pub mod matrix;
pub mod movement;
pub mod paging;
pub mod personal;
pub mod position;
pub mod quantity;
pub mod tariff;
pub mod vacancy;
