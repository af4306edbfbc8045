//! Packages of retail companies (零售套餐) and of network companies (保底套餐), and their prices.
//!
//! Both kinds are one noun; [`kind`] says all in which they differ. A package and its price rows are one: one lock and one
//! version guard both, and a package is submitted only with complete prices. [`lifecycle`] decides which step fits
//! which state, [`draft`] reads the content of a package, [`catalogue`] judges prices of the catalogue; all pure. [`store`] has the
//! statements, [`rpc`] the steps of both kinds and the methods of `PackageService`, [`guaranteed`] those of
//! `GuaranteedPackageService`, [`prices`] everything about price rows.

pub mod catalogue;
pub mod draft;
pub mod guaranteed;
pub mod kind;
pub mod lifecycle;
pub mod prices;
pub mod rpc;
pub mod store;
