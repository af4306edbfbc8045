//! Ladder population (阶梯人口增减量): how the limits of a ladder rise with the persons of a household.

pub mod rpc;
pub mod store;
