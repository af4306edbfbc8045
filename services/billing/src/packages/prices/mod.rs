//! Prices of packages (零售套餐单价).
//!
//! [`matrix`] decides which price matrix is complete, [`row`] which dimensions a requested row has,
//! [`change`] what a request does to the rows; all three are pure. [`store`] has the statements,
//! [`rpc`] the methods of `PackagePriceService`.

pub mod change;
pub mod matrix;
pub mod row;
pub mod rpc;
pub mod store;
