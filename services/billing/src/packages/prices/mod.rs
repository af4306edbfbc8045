//! Prices of packages (零售套餐单价).
//!
//! [`row`] decides which dimensions a requested row has, [`change`] what a request does to the rows; both
//! are pure. [`store`] has the statements, [`rpc`] the methods of `PackagePriceService`. Which matrix is
//! complete is decided by [`crate::vocabulary::matrix`].

pub mod change;
pub mod row;
pub mod rpc;
pub mod store;
