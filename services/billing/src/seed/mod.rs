//! Demo data: two retail companies in the area of one network company, with packages on sale and two
//! years of bills. It is the same each time, and written by the same code as calls.

mod archive;
mod catalogue;
mod guaranteed;
mod lines;
mod reference;

use communal_kit::call::Call;
use communal_kit::clock::Clock;
use communal_kit::dates;
use communal_kit::identity::TenantKind;
use communal_kit::pool::Pool;
use communal_kit::uploads::{UploadLimits, Uploads};
use communal_proto::billing::v1::{ImportBatch, ImportReceivableLinesRequest};
use futures::stream;
use indicatif::{ProgressBar, ProgressStyle};
use tonic::Status;

use crate::rating::rates::{Rates, RowError};
use crate::receivables::import::{Terms, import};
use crate::receivables::store;
use crate::vocabulary::identifiers::BatchId;
use crate::vocabulary::personal::PersonalKeys;
use catalogue::{NETWORK, RETAILERS, demo_call, register, sell_packages};
use lines::{Account, guaranteed_accounts, lines_of_year, retail_accounts};

/// The rates of the five packages that each retail company sells, in their order.
///
/// # Errors
/// Returns a [`RowError`] if their price rows do not fit together.
pub fn demo_rates() -> Result<Vec<Rates>, RowError> {
    catalogue::TARIFFS.iter().map(catalogue::DemoTariff::rates).collect()
}

/// Accounts in one message of an import.
const ACCOUNTS_A_MESSAGE: usize = 100;

/// The amount of demo data.
#[derive(Clone, Copy, Debug)]
pub struct Volume {
    /// Settlement accounts of each retail company.
    pub accounts: usize,
    /// Accounts of the network company itself in each of a few books.
    pub guaranteed_in_a_book: usize,
    /// Calendar years of bills.
    pub years: u32,
}

impl Volume {
    /// The amount that `seed --demo` loads.
    pub const DEMO: Self = Self { accounts: 6_000, guaranteed_in_a_book: 20, years: 2 };
}

/// Loads the demo data, and returns whether it did: data that is there already stays.
///
/// # Errors
/// Returns the database's error, and an error if other data is in its place.
pub async fn demo(pool: &Pool, clock: &Clock, keys: &PersonalKeys, volume: &Volume) -> anyhow::Result<bool> {
    let last = batch_id(NETWORK, volume.years.saturating_sub(1));
    if store::batch(pool, NETWORK, &last).await?.is_some() {
        return Ok(false);
    }
    register(pool, clock).await?;
    reference::register(pool, clock).await?;
    let mut packages_of = Vec::new();
    for (retailer, id) in RETAILERS.into_iter().enumerate() {
        packages_of.push((id, sell_packages(pool, clock, retailer, id).await?));
    }
    let guaranteed = guaranteed::sell(pool, clock).await?;
    let guaranteed: Vec<_> = guaranteed_accounts(&guaranteed, volume.guaranteed_in_a_book).collect();
    let accounts = volume.accounts * RETAILERS.len() + guaranteed.len();
    let bar = ProgressBar::new(u64::try_from(accounts)? * u64::from(volume.years));
    bar.set_style(ProgressStyle::with_template("billing demo data {wide_bar} {pos}/{len} account years {elapsed}")?);
    for (retailer, (id, packages)) in packages_of.iter().enumerate() {
        let call = demo_call(id, TenantKind::RetailCompany, clock);
        let accounts = retail_accounts(retailer, packages, volume.accounts);
        archive::move_in(pool, keys, &call, accounts, volume.years, clock.today()).await?;
        for year in 0..volume.years {
            let accounts = retail_accounts(retailer, packages, volume.accounts).collect();
            load(pool, &call, year, accounts, &bar).await?;
        }
    }
    let call = demo_call(NETWORK, TenantKind::NetworkCompany, clock);
    for year in 0..volume.years {
        load(pool, &call, year, guaranteed.clone(), &bar).await?;
    }
    // Without statistics the first queries after a load of this size get bad plans.
    for statement in [
        "ANALYZE receivable_line, receivable_open, receivable_closing",
        "ANALYZE customer, user_account, settlement_account, meter_point, meter",
    ] {
        sqlx::query(statement).execute(pool).await?;
    }
    bar.finish();
    Ok(true)
}

fn batch_id(company_id: &str, year: u32) -> BatchId {
    format!("demo-{company_id}-{}", year + 1).into()
}

/// Imports one year's bills of a company's accounts, like a client's stream.
async fn load(pool: &Pool, call: &Call, year: u32, accounts: Vec<Account>, bar: &ProgressBar) -> anyhow::Result<()> {
    let batch = ImportBatch { batch_id: batch_id(&call.tenant.id, year).into(), ..ImportBatch::default() };
    let mut batch = Some(batch);
    let portions: Vec<_> = accounts.chunks(ACCOUNTS_A_MESSAGE).map(<[Account]>::to_vec).collect();
    let messages = portions.into_iter().map(move |portion| {
        let mut lines = Vec::new();
        for account in &portion {
            lines.extend(lines_of_year(account, year).map_err(|error| Status::internal(error.to_string()))?);
        }
        bar.inc(u64::try_from(portion.len()).unwrap_or_default());
        Ok(ImportReceivableLinesRequest { batch: batch.take(), lines })
    });
    let upload = Uploads::new("seed", UploadLimits::default()).begin(call)?;
    // The bills reach to the end of their years, whatever day it is.
    let end = dates::from_number(99_991_231).ok_or_else(|| anyhow::anyhow!("no last day"))?;
    let terms = Terms { upload, most_lines: u32::MAX, today: end };
    import(pool, call, terms, stream::iter(messages)).await?;
    Ok(())
}
