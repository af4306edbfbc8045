//! The statements of receivable lines. Every query is bound by a company.
//!
//! A line is written once, into the partition of its account month, and has there its identity; beside it there is
//! either a small row of what is outstanding or a closing.

mod arrears;
mod batches;
mod lines;
mod open;

use std::collections::BTreeSet;

use communal_kit::pool::Pool;

pub use arrears::{Place, arrears, arrears_statements, portion};
pub use batches::{Batch, batch, record_batch, reserve_batch, take_back};
pub use lines::{LineIdentity, NewLines, existing, open_line_months, write_billed};
pub use open::{OpenLine, Owed, Part, Payment, keep_parts, lock_open_of, owed_by, pay};

use super::references::{Asked, OfCompany, Registered};
use crate::{packages, suppliers};

/// Looks up names of lines: companies, stores and packages.
///
/// # Errors
/// Returns the database's error.
pub async fn registered(pool: &Pool, asked: &Asked) -> Result<Registered, sqlx::Error> {
    let split = |names: &BTreeSet<OfCompany>| -> (Vec<_>, Vec<_>) { names.iter().cloned().unzip() };
    let mut found = Registered::default();
    if !asked.companies.is_empty() {
        let ids: Vec<_> = asked.companies.iter().cloned().collect();
        found.companies = suppliers::store::kinds(pool, &ids).await?;
    }
    if !asked.stores.is_empty() {
        let (companies, stores) = split(&asked.stores);
        found.stores = suppliers::store::registered(pool, &companies, &stores).await?;
    }
    if !asked.packages.is_empty() {
        let (companies, packages) = split(&asked.packages);
        found.packages = packages::store::registered(pool, &companies, &packages).await?;
    }
    Ok(found)
}
