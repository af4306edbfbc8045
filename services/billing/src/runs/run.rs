//! The order of a run, and of a chunk.
//!
//! Any number of processes work on one run. A chunk is claimed by the lock of its row, which ends with the transaction: a
//! process that is killed leaves its chunk as it was, and another one takes it. When nothing is left to claim, a process waits
//! for the chunks that others hold: when a run returns, every chunk is done.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::NaiveDate;
use communal_kit::call::Call;
use communal_kit::objections::Objections;
use communal_kit::pool::Pool;
use communal_kit::progress::at_once;
use communal_kit::refusal::Refusal;
use communal_kit::write::run_as;
use communal_proto::Fault;
use communal_proto::billing::v1::fields::run_book_request::{ACCOUNT_MONTH, BOOK_ID};
use communal_proto::billing::v1::{NormalRetroType, Reason};
use rust_decimal::Decimal;

use super::outcome::{billable, left_over, priceable};
use super::store::{self, Chunk, Connection, Done};
use crate::archive::{billable, books};
use crate::calculation;
use crate::charge_off;
use crate::charge_off::Settings;
use crate::charge_off::bill::Point;
use crate::metering::points;
use crate::metering::points::rules::{Making, making};
use crate::reference::month_controls::Series;
use crate::vocabulary::vacancy::VacancyRatios;

/// How long a process waits before it looks again for chunks that others held.
const WAIT: Duration = Duration::from_millis(200);

/// What a run is about.
#[derive(Clone, Debug)]
pub struct Scope {
    /// The account month.
    pub account_month: i32,
    /// One book; empty for all.
    pub book_id: String,
}

/// What a run needs besides its scope.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Charge-off.
    pub settings: Settings,
    /// The ratios of vacant premises.
    pub vacancy: VacancyRatios,
    /// Chunks that a process works on at once.
    pub workers: usize,
    /// The business day, and the time HHmmss.
    pub now: (NaiveDate, i32),
}

/// What the chunks of a run have in common.
#[derive(Debug)]
struct Plan {
    run_id: i64,
    scope: Scope,
    terms: Terms,
    /// The series of account months to which the accounts belonged when this process joined the run.
    series: Vec<Series>,
}

/// How far a run is, the work of all processes together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Chunks.
    pub chunks: i64,
    /// Chunks that are done.
    pub chunks_done: i64,
    /// Accounts.
    pub accounts: i64,
    /// Accounts of chunks that are done.
    pub accounts_done: i64,
    /// Bills that were made.
    pub bills: i64,
    /// Accounts that were parked.
    pub parked: i64,
    /// The sum of the bills.
    pub total: Decimal,
    /// What available funds paid.
    pub drawn: Decimal,
}

/// Bills the accounts of a scope. `report` is told of each chunk; the run stops after the chunk for which it returns false.
///
/// # Errors
/// Returns `ACCOUNT_MONTH_NOT_OPEN` if the month is open for none of the company's series, `BOOK_NOT_FOUND` for a book that is
/// not the company's, and the refusal of a chunk; those before it stay.
pub async fn run(
    pool: &Pool,
    call: &Call,
    scope: &Scope,
    terms: &Terms,
    report: impl Fn(Progress) -> bool + Send + Sync + 'static,
) -> Result<Progress, Refusal> {
    let mut objections = Objections::default();
    if !store::is_open(pool, &call.tenant.id, scope.account_month, terms.now.0).await? {
        let (english, chinese) = (
            "is not open today for any account of the company",
            format!("账务月份{}今天没有开放", scope.account_month),
        );
        objections.push(Reason::AccountMonthNotOpen, Fault::rule(ACCOUNT_MONTH, english, chinese));
    }
    objections.into_result()?;
    let run_id = run_as(pool, call, async |tx| {
        if !scope.book_id.is_empty() {
            books::store::require(tx, call, &scope.book_id, BOOK_ID.into()).await?;
        }
        Ok(store::join_or_plan(tx, call, scope).await?)
    })
    .await?;
    let series = billable::store::series_of_book(pool, &call.tenant.id, &scope.book_id).await?;
    let plan = Arc::new(Plan { run_id, scope: scope.clone(), terms: terms.clone(), series });
    let report = Arc::new(report);
    let worker = || work(pool.clone(), call.clone(), Arc::clone(&plan), Arc::clone(&report));
    at_once(terms.workers.max(1), worker).await?;
    Ok(store::progress(pool, &call.tenant.id, run_id).await?)
}

/// Works on chunks of a run until none is left, or the caller went away.
async fn work(pool: Pool, call: Call, plan: Arc<Plan>, report: Arc<impl Fn(Progress) -> bool>) -> Result<(), Refusal> {
    loop {
        let outcome = run_as(&pool, &call, async |tx| {
            let Some(chunk) = store::claim(tx, &call, plan.run_id).await? else { return Ok(None) };
            let done = bill(tx, &call, &plan, &chunk).await?;
            store::finish(tx, &call, plan.run_id, &chunk, &done).await?;
            Ok(Some((chunk, done)))
        });
        let outcome = outcome.await?;
        if let Some((chunk, done)) = &outcome {
            let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
            metrics::counter!("communal_billing_run_bills_total").increment(count(done.charged.bills));
            metrics::counter!("communal_billing_run_parked_total").increment(count(done.parked.len()));
            // The first chunks of a month are what its partitions have their first statistics of.
            if chunk.chunk == 1 {
                store::analyze(&pool, plan.scope.account_month).await?;
            }
        }
        let progress = store::progress(&pool, &call.tenant.id, plan.run_id).await?;
        if !report(progress) {
            return Ok(());
        }
        if outcome.is_none() {
            if progress.chunks_done == progress.chunks {
                return Ok(());
            }
            store::wait(WAIT).await;
        }
    }
}

/// The normal points of accounts.
fn normal<'i>(ids: &[&'i str]) -> Vec<(&'i str, NormalRetroType)> {
    ids.iter().map(|id| (*id, NormalRetroType::Normal)).collect()
}

/// Bills the accounts of a claimed chunk.
async fn bill(
    tx: &mut Connection,
    call: &Call,
    Plan { run_id, scope, terms, series }: &Plan,
    chunk: &Chunk,
) -> Result<Done, Refusal> {
    let (today, _) = terms.now;
    let mut months = billable::store::open_in(tx, call, series, today).await?;
    let ids = store::lock_accounts(tx, call, chunk).await?;
    let ids: Vec<_> = ids.iter().map(String::as_str).collect();
    let mut points = calculation::store::lock_points(tx, call, &normal(&ids), today, &mut months).await?;
    let of_month = points.values().filter(|point| point.key.account_month == scope.account_month);
    let of_month: HashSet<_> = of_month.map(|point| point.key.settlement_account_id.as_str()).collect();
    let left = left_over(&points, scope.account_month);
    let is_left = |id: &str| left.binary_search_by(|parked| parked.settlement_account_id.as_str().cmp(id)).is_ok();
    // Accounts without a point are billed already, or their point is still to be made.
    let without: Vec<_> = ids.iter().copied().filter(|id| !of_month.contains(id) && !is_left(id)).collect();
    let made = make_missing(tx, call, scope.account_month, today, &without).await?;
    if !made.is_empty() {
        points.extend(calculation::store::lock_points(tx, call, &normal(&made), today, &mut months).await?);
    }
    let calculated = points.values().filter(|point| point.calculated);
    let calculated: HashSet<_> = calculated.map(|point| point.key.settlement_account_id.clone()).collect();
    let (points, mut parked) = priceable(points, scope.account_month, today);
    let keys: BTreeSet<_> = points.iter().map(|point| point.key().clone()).collect();
    let rates = calculation::rates::store::load(tx, &call.tenant.id, &keys, &terms.vacancy).await?;
    let points = billable(points, &rates, &terms.settings, terms.now, &mut parked);
    let points: Vec<_> = points.iter().collect();
    parked.extend(left);
    discard_calculations(tx, call, &points, &calculated).await?;
    let charged = charge_off::store::charge_off(tx, call, today, &terms.settings, &points).await?;
    store::park(tx, call, scope.account_month, *run_id, &ids, &parked).await?;
    Ok(Done { charged, parked })
}

/// Discards the calculations that wait for a charge-off of points that a run bills: the run calculated them anew.
async fn discard_calculations(
    tx: &mut Connection,
    call: &Call,
    points: &[&Point],
    calculated: &HashSet<String>,
) -> Result<(), Refusal> {
    let keys = points.iter().map(|point| &point.key).filter(|key| calculated.contains(&key.settlement_account_id));
    let (ids, months): (Vec<_>, Vec<_>) =
        keys.map(|key| (key.settlement_account_id.as_str(), key.account_month)).unzip();
    Ok(points::store::discard_calculations(tx, call, &ids, &months).await?)
}

/// Makes the points of the month that are missing of accounts, and returns whose. Accounts that cannot be billed, or not in this
/// month, have none.
async fn make_missing<'i>(
    tx: &mut Connection,
    call: &Call,
    account_month: i32,
    today: NaiveDate,
    without: &[&'i str],
) -> Result<Vec<&'i str>, Refusal> {
    if without.is_empty() {
        return Ok(Vec::new());
    }
    let missing = store::unbilled(tx, call, account_month, without).await?;
    if missing.is_empty() {
        return Ok(Vec::new());
    }
    let Some(basis) = points::store::basis(tx, call, &missing, today).await? else {
        return Err(Refusal::of(communal_proto::contract::v1::Reason::Conflict));
    };
    let makings: Vec<_> = missing
        .iter()
        .filter_map(|id| {
            let standing = basis.standing(id).filter(|standing| standing.open_month == Some(account_month))?;
            let making = making(standing, "").ok()?;
            let is_missing = !matches!(making, Making::Again { from, month } if from == month);
            is_missing.then_some((*id, making))
        })
        .collect();
    points::store::make(tx, call, &basis, &makings).await?;
    Ok(makings.into_iter().map(|(id, _)| id).collect())
}
