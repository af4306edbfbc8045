//! Payer objects (付费对象): rooms, cars and contracts on which fees are charged, with the facts that
//! formulas read, their owners and meter readings, and the settings of their community.

pub mod import;
pub mod readings;
pub mod rpc;
pub mod rules;
pub mod settings;
pub mod store;
