//! What more than one noun speaks of: times, decimals, codes and charged periods, as the
//! documents write them. Pure, and imports nothing of this crate.

pub mod codes;
pub mod decimals;
pub mod periods;
pub mod times;
