//! Reference data (基础资料): what must be known before anything can be billed. A folder for each kind of
//! record.

pub mod store;
mod utilities;

pub mod adjust_ratios;
pub mod approval_ratios;
pub mod catalogue;
pub mod catalogue_prices;
pub mod delivery_prices;
pub mod ladder_populations;
pub mod month_controls;
pub mod season_months;
