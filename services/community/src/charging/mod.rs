//! Charging (创建费用) by the documented commands: rooms, cars, contracts and meter readings. In bill mode
//! (setting PAY_FEE_MONTH) a periodic item makes bill rules instead of fees.

pub mod rpc;
pub mod rules;
