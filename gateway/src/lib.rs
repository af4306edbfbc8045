//! The gateway: the documented REST shapes, served by calling gRPC.

pub mod json;
pub mod plan;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod test_contract;
