//! Demo data: two retail companies in the area of one network company, with packages on sale and two years of bills. The
//! companies moved in with the bills of 21 months that another system made, and Communal itself billed the last three. It is
//! the same each time, and written by the same code as calls.

mod archive;
mod catalogue;
mod guaranteed;
mod lines;
mod months;
mod payments;
mod reference;
mod usage;

use std::collections::{BTreeSet, HashMap};

use anyhow::Context;
use chrono::NaiveDate;
use communal_kit::call::Call;
use communal_kit::clock::Clock;
use communal_kit::identity::TenantKind;
use communal_kit::pool::Pool;
use communal_kit::uploads::{UploadLimits, Uploads};
use communal_proto::billing::v1::{ImportBatch, ImportReceivableLinesRequest};
use futures::stream;
use indicatif::{ProgressBar, ProgressStyle};
use tonic::Status;

use crate::calculation::rates::{PriceKey, store as rates_store};
use crate::rating::rates::{Rates, RowError};
use crate::receivables::import::{Terms, import};
use crate::receivables::store;
use crate::vocabulary::dates::{AccountMonth, day};
use crate::vocabulary::identifiers::{BatchId, PackageId};
use crate::vocabulary::personal::PersonalKeys;
use crate::vocabulary::vacancy::VacancyRatios;
use catalogue::{NETWORK, NETWORK_STORE, RETAILERS, demo_call, register, sell_packages};
use lines::{Account, IMPORTED_MONTHS, RatesOfPackages, guaranteed_accounts, lines_of_year, retail_accounts};
use usage::{month_day, month_end};

/// The rates of the five packages that each retail company sells, in their order.
///
/// # Errors
/// Returns a [`RowError`] if their price rows do not fit together.
pub fn demo_rates() -> Result<Vec<Rates>, RowError> {
    catalogue::TARIFFS.iter().map(catalogue::DemoTariff::rates).collect()
}

/// Accounts in one message of an import, and in one transaction of points.
const ACCOUNTS_A_MESSAGE: usize = 500;
/// The day on which the companies move in: the bills of the last imported month are paid.
const MOVED_IN: i32 = 20_251_005;
/// Accounts in one message of lines, each with those of a year.
const ACCOUNTS_OF_LINES: usize = 100;

/// The amount of demo data.
#[derive(Clone, Copy, Debug)]
pub struct Volume {
    /// Settlement accounts of each retail company.
    pub accounts: usize,
    /// Accounts of the network company itself in each of its books.
    pub guaranteed_in_a_book: usize,
    /// Months that Communal bills after the imported ones.
    pub run_months: u32,
}

impl Volume {
    /// The amount that `seed --demo` loads.
    pub const DEMO: Self = Self { accounts: 6_000, guaranteed_in_a_book: 120, run_months: 3 };
}

/// A company with the accounts of its archive.
struct Company {
    call: Call,
    accounts: Vec<Account>,
}

/// Loads the demo data, and returns whether it did: data that is there already stays.
///
/// # Errors
/// Returns the database's error, and an error if other data is in its place.
pub async fn demo(pool: &Pool, clock: &Clock, keys: &PersonalKeys, volume: &Volume) -> anyhow::Result<bool> {
    if is_loaded(pool, volume).await? {
        return Ok(false);
    }
    register(pool, clock).await?;
    reference::register(pool, clock).await?;
    let mut companies = Vec::new();
    for (retailer, id) in RETAILERS.into_iter().enumerate() {
        let packages = sell_packages(pool, clock, retailer, id).await?;
        let accounts = retail_accounts(retailer, &packages, volume.accounts).collect();
        companies.push(Company { call: demo_call(id, TenantKind::RetailCompany, clock), accounts });
    }
    let guaranteed = guaranteed::sell(pool, clock).await?;
    let accounts = guaranteed_accounts(&guaranteed, volume.guaranteed_in_a_book).collect();
    // The last one: when its last bills are paid, everything is there.
    companies.push(Company { call: demo_call(NETWORK, TenantKind::NetworkCompany, clock), accounts });

    let accounts: usize = companies.iter().map(|company| company.accounts.len()).sum();
    let bar = ProgressBar::new(u64::try_from(accounts)? * u64::from(IMPORTED_MONTHS + volume.run_months));
    bar.set_style(ProgressStyle::with_template("billing demo data {wide_bar} {pos}/{len} bills {elapsed}")?);
    let moved_in = day(MOVED_IN).context("the day of the move")?;
    for Company { call, accounts } in &companies {
        archive::move_in(pool, keys, call, accounts, moved_in).await?;
        let rates = rates(pool, &call.tenant.id, accounts).await?;
        for year in 0..IMPORTED_MONTHS.div_ceil(12) {
            load(pool, call, year, accounts, &rates, moved_in, &bar).await?;
        }
    }
    // Without statistics the first statements after a load of this size get bad plans.
    analyze(pool).await?;
    for month in IMPORTED_MONTHS..IMPORTED_MONTHS + volume.run_months {
        for Company { call, accounts } in &companies {
            months::bill(pool, call, accounts, month).await?;
            payments::pay_bills(pool, call, accounts, month).await?;
            bar.inc(u64::try_from(accounts.len())?);
        }
    }
    analyze(pool).await?;
    bar.finish();
    Ok(true)
}

/// Returns true if everything is there: what is written last is.
async fn is_loaded(pool: &Pool, volume: &Volume) -> anyhow::Result<bool> {
    let last_year = (IMPORTED_MONTHS - 1) / 12;
    if store::batch(pool, NETWORK, &batch_id(NETWORK, last_year)).await?.is_none() {
        return Ok(false);
    }
    let Some(last) = volume.run_months.checked_sub(1).map(|place| IMPORTED_MONTHS + place) else { return Ok(true) };
    let accounts: Vec<_> = guaranteed_accounts(&PackageId::from(""), volume.guaranteed_in_a_book).collect();
    payments::are_paid(pool, NETWORK, &accounts, last).await
}

async fn analyze(pool: &Pool) -> Result<(), sqlx::Error> {
    for statement in [
        "ANALYZE receivable_line, receivable_open, receivable_closing",
        "ANALYZE customer, user_account, settlement_account, meter_point, meter, account_register, account_accumulator",
        "ANALYZE billing_point, point_reading, point_open, bill, ledger, balance, posting",
    ] {
        sqlx::query(statement).execute(pool).await?;
    }
    Ok(())
}

/// The rates of the packages of accounts, as they are read for a run. They are the same in all months of the demo.
async fn rates(pool: &Pool, company_id: &str, accounts: &[Account]) -> anyhow::Result<RatesOfPackages> {
    let (first, day) = (AccountMonth::of(month_day(0)?), month_end(0)?);
    let key = |account: &Account| PriceKey {
        retail_company_id: account.retail_company_id.to_owned(),
        package_id: account.package_id.clone(),
        network_company_id: NETWORK.to_owned(),
        network_store_id: NETWORK_STORE.to_owned(),
        utility: account.tariff.utility,
        account_month: first.number(),
        day,
    };
    let keys: BTreeSet<_> = accounts.iter().map(key).collect();
    let mut connection = pool.begin().await?;
    let found = rates_store::load(&mut connection, company_id, &keys, &VacancyRatios::default()).await?;
    connection.rollback().await?;
    let priced = found.into_iter().map(|(key, priced)| Ok((key.package_id, priced?.rates)));
    priced.collect::<anyhow::Result<HashMap<_, _>>>()
}

fn batch_id(company_id: &str, year: u32) -> BatchId {
    format!("demo-{company_id}-{}", year + 1).into()
}

/// Imports the bills of a company's accounts in one year, like a client's stream.
async fn load(
    pool: &Pool,
    call: &Call,
    year: u32,
    accounts: &[Account],
    rates: &RatesOfPackages,
    today: NaiveDate,
    bar: &ProgressBar,
) -> anyhow::Result<()> {
    let months = u64::from(IMPORTED_MONTHS.saturating_sub(year * 12).min(12));
    let batch = ImportBatch { batch_id: batch_id(&call.tenant.id, year).into(), ..ImportBatch::default() };
    let mut batch = Some(batch);
    let messages = accounts.chunks(ACCOUNTS_OF_LINES).map(|portion| {
        let mut lines = Vec::new();
        for account in portion {
            let of_year = lines_of_year(account, year, rates);
            lines.extend(of_year.map_err(|error| Status::internal(error.to_string()))?);
        }
        bar.inc(u64::try_from(portion.len()).unwrap_or_default() * months);
        Ok(ImportReceivableLinesRequest { batch: batch.take(), lines })
    });
    let upload = Uploads::new("seed", UploadLimits::default()).begin(call)?;
    let terms = Terms { upload, most_lines: u32::MAX, today };
    import(pool, call, terms, stream::iter(messages)).await?;
    Ok(())
}
