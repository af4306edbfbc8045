//! Packages (零售套餐) of retail companies, and their prices.
//!
//! A package and its price rows are one: one lock and one version guard both, and a package is
//! submitted only with complete prices. [`lifecycle`] decides which step fits which state, [`draft`]
//! reads the content of a package; both are pure. [`store`] has the statements, [`rpc`] the methods of
//! `PackageService`, [`prices`] everything about price rows.

pub mod draft;
pub mod lifecycle;
pub mod prices;
pub mod rpc;
pub mod store;
