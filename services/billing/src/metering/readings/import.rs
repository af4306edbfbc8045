//! Enters readings: those of one request, and of a stream.

use std::collections::{BTreeSet, HashMap, HashSet};

use communal_kit::call::Call;
use communal_kit::refusal::Refusal;
use communal_proto::billing::v1::Reason;
use communal_proto::billing::v1::fields::register_reading as fields;
use communal_proto::contract::v1::Reason as Common;
use communal_proto::{Fault, Reason as _};
use sqlx::PgConnection;

use super::rules::{Entered, ReadAt, judge};
use super::store::{self, ReadPoint};
use crate::archive::meters;
use crate::archive::settlement_accounts;
use crate::metering::points;

/// A reading that is not entered: its place, its reason if it has one of its own, and the fault, its field without the row.
#[derive(Debug)]
pub struct Refused {
    /// The place of the reading.
    pub row: usize,
    /// The reason, `None` for a fault of the reading itself.
    pub reason: Option<Reason>,
    /// The fault.
    pub fault: Fault,
}

/// Enters readings, each with its place, into the open points of their meters, and returns those that are refused. What is
/// not refused is written; whether it stays is for the caller to decide. Outdated points are made again first.
///
/// # Errors
/// Returns the database's error, and `CONFLICT` if a meter went to another account meanwhile.
pub async fn enter(
    tx: &mut PgConnection,
    call: &Call,
    readings: &[(usize, Entered)],
    at: ReadAt,
) -> Result<Vec<Refused>, Refusal> {
    let accounts = accounts(tx, call, readings).await?;
    let mut points = open_points(tx, call, &accounts).await?;
    let mut refused = Vec::new();
    let mut changed = HashSet::new();
    for (row, entered) in readings {
        let (reason, fault) = match accounts.get(&entered.meter_id) {
            None => {
                let reason = Reason::MeterNotFound;
                (Some(reason), Fault::rule(fields::METER_ID, "is no meter of the company", reason.text()))
            }
            Some(account) => {
                let point = account.as_ref().and_then(|account| points.get_mut(account));
                match point.filter(|point| point.snapshot.meter_id() == entered.meter_id) {
                    None => {
                        let reason = Reason::BillingPointNotOpen;
                        let english = "is on no account whose billing point is not charged off";
                        (Some(reason), Fault::rule(fields::METER_ID, english, reason.text()))
                    }
                    Some(point) => match judge(entered, &point.snapshot, at) {
                        Ok(read) => {
                            point.readings.enter(read);
                            changed.insert(point.settlement_account_id.clone());
                            continue;
                        }
                        Err(refused) => refused,
                    },
                }
            }
        };
        refused.push(Refused { row: *row, reason, fault });
    }
    let mut changed: Vec<_> = changed.iter().filter_map(|account| points.get(account)).collect();
    changed.sort_by(|a, b| a.settlement_account_id.cmp(&b.settlement_account_id));
    if !changed.is_empty() {
        store::write(tx, call, &changed).await?;
        let companies = vec![call.tenant.id.clone(); changed.len()];
        let ids: Vec<_> = changed.iter().map(|point| point.settlement_account_id.as_str()).collect();
        let months: Vec<_> = changed.iter().map(|point| point.account_month).collect();
        points::store::discard_calculations(tx, &companies, &ids, &months).await?;
    }
    Ok(refused)
}

/// The account of each meter that the company has, `None` of a meter in the store room.
async fn accounts(
    tx: &mut PgConnection,
    call: &Call,
    readings: &[(usize, Entered)],
) -> Result<HashMap<String, Option<String>>, sqlx::Error> {
    let ids: BTreeSet<_> = readings.iter().map(|(_, entered)| entered.meter_id.as_str()).collect();
    let ids: Vec<_> = ids.into_iter().collect();
    let meters = meters::store::read(tx, &call.tenant.id, &ids).await?;
    Ok(meters.into_iter().map(|meter| (meter.meter_id, meter.settlement_account_id)).collect())
}

/// Locks the open points of accounts, after the accounts of those that are made again, and returns them as they are then.
async fn open_points(
    tx: &mut PgConnection,
    call: &Call,
    accounts: &HashMap<String, Option<String>>,
) -> Result<HashMap<String, ReadPoint>, Refusal> {
    let ids: BTreeSet<_> = accounts.values().flatten().map(String::as_str).collect();
    let ids: Vec<_> = ids.into_iter().collect();
    let outdated = points::store::outdated(tx, call, &ids).await?;
    let outdated: Vec<_> = outdated.iter().map(String::as_str).collect();
    if !outdated.is_empty() {
        settlement_accounts::store::lock(tx, call, &outdated).await?;
    }
    let open = points::store::lock_open(tx, call, &ids).await?;
    if open.iter().any(|point| point.outdated && !outdated.contains(&point.settlement_account_id.as_str())) {
        return Err(Refusal::of(Common::Conflict));
    }
    if !outdated.is_empty() {
        points::store::remake(tx, call, &outdated).await?;
    }
    let ids: Vec<_> = open.iter().map(|point| point.settlement_account_id.as_str()).collect();
    let months: Vec<_> = open.iter().map(|point| point.account_month).collect();
    let points = store::points(tx, call, &ids, &months).await?;
    Ok(points.into_iter().map(|point| (point.settlement_account_id.clone(), point)).collect())
}
