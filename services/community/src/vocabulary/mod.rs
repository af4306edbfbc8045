//! Types that several nouns share: times, decimals and codes as the documents write them, and the
//! spans for which payer objects are charged. Imports nothing of this crate.

pub mod codes;
pub mod decimals;
pub mod spans;
pub mod times;
