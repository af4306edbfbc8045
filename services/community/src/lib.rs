//! Community fees (HC).
pub mod formula;
