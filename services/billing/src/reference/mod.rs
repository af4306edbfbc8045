//! Reference data (基础资料): what must be known before anything can be billed. A folder for each kind of
//! record.

pub mod catalogue;
pub mod catalogue_prices;
pub mod month_controls;
