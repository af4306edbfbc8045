//! Bill runs: bills are made for all rules of a community, a chunk of rules a transaction.
//!
//! Any number of runs may be at work at once: a chunk takes rules that no other run holds, and the cursor
//! moves in the transaction that makes the bills. So a run that is killed is simply run again. A run that
//! passed rules which another held looks at all of them once more and waits for them, because the other
//! may have been killed: when a run returns, every rule was looked at since it began.

use std::collections::{BTreeSet, HashMap};

use chrono::NaiveDateTime;
use communal_kit::call::Call;
use communal_kit::pool::Pool;
use communal_kit::refusal::Refusal;
use communal_kit::write::run_as;

use super::bills::{Rule, bills};
use super::store::{self, Claimed, Moved, NewBill};
use crate::amounts::Span;
use crate::fee_items;
use crate::fees::facts::terms;
use crate::payer_objects::settings;

/// Rules of a transaction.
const CHUNK: i64 = 1_000;

/// The state of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Rules that were open when the run began.
    pub total: i64,
    /// Rules that were looked at.
    pub rules: i64,
    /// Bills that were made.
    pub bills: i64,
    /// Rules that ended.
    pub ended: i64,
}

/// Makes the bills of a community that are due at `now`. `report` is told of each chunk; the run stops
/// after the chunk for which it returns false.
///
/// # Errors
/// Returns the refusal of a chunk; those before it stay.
pub async fn run(
    pool: &Pool,
    call: &Call,
    now: NaiveDateTime,
    mut report: impl FnMut(Progress) -> bool,
) -> Result<Progress, Refusal> {
    let mut progress = Progress { total: store::count_open(pool, call).await?, ..Progress::default() };
    for waits in [false, true] {
        let (mut after, mut seen) = (String::new(), 0);
        loop {
            let from = after.clone();
            let chunk = run_as(pool, call, async |tx| {
                let claimed = store::claim(&mut *tx, call, &from, CHUNK, waits).await?;
                let last = claimed.last().cloned();
                Ok((last, make(tx, call, &claimed, now).await?))
            });
            let (last, Made { rules, bills, ended }) = chunk.await?;
            let count = |rows: usize| i64::try_from(rows).unwrap_or(i64::MAX);
            seen += count(rules);
            progress.rules = progress.rules.max(seen);
            progress.bills += count(bills);
            progress.ended += count(ended);
            let Some(last) = last else { break };
            after = last;
            if !report(progress) {
                return Ok(progress);
            }
        }
        if seen >= progress.total {
            break;
        }
    }
    Ok(progress)
}

/// What was made of locked rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Made {
    /// Rules that are open.
    pub rules: usize,
    /// Bills that were made.
    pub bills: usize,
    /// Rules that ended.
    pub ended: usize,
}

/// Makes the bills of locked rules that are due at `now`.
///
/// # Errors
/// Returns the database's error.
pub async fn make(
    tx: &mut store::Connection,
    call: &Call,
    rule_ids: &[String],
    now: NaiveDateTime,
) -> Result<Made, Refusal> {
    let rules = store::claimed(&mut *tx, call, rule_ids).await?;
    if rules.is_empty() {
        return Ok(Made::default());
    }
    let settings = settings::store::read(&mut *tx, call).await?;
    let months = u32::try_from(settings.pay_fee_month_cycle).map_err(Refusal::internal)?;
    let config_ids: BTreeSet<_> = rules.iter().map(|rule| rule.config_id.as_str()).collect();
    let config_ids: Vec<_> = config_ids.into_iter().collect();
    let items = fee_items::store::items(&mut *tx, call, &config_ids).await?;
    let terms: HashMap<_, _> = items.iter().filter_map(|item| Some((item.config_id.as_str(), terms(item)?))).collect();
    let mut billed: HashMap<String, Vec<Span>> = HashMap::new();
    for (rule_id, span) in store::billed_ahead(&mut *tx, call, &rules).await? {
        billed.entry(rule_id).or_default().push(span);
    }
    let open = rules.len();
    let (mut new, mut moved, mut ended) = (Vec::new(), Vec::new(), Vec::new());
    for Claimed { rule_id, config_id, start_time, cur_year_month, max_time } in rules {
        let terms = terms.get(config_id.as_str());
        let terms = terms.ok_or_else(|| Refusal::internal(format!("bill rule {rule_id} has no item")))?;
        let rule = Rule { start: start_time.date(), cursor: cur_year_month, limit: max_time };
        let of_rule = billed.get(&rule_id).map_or(&[][..], Vec::as_slice);
        let billing = bills(terms, rule, of_rule, months, now);
        let billing = billing.map_err(|error| Refusal::internal(format!("bill rule {rule_id}: {error}")))?;
        new.extend(billing.spans.into_iter().map(|span| NewBill { rule_id: rule_id.clone(), span }));
        if billing.ends {
            ended.push(rule_id.clone());
        }
        if billing.cursor != cur_year_month {
            moved.push(Moved { rule_id, cursor: billing.cursor });
        }
    }
    store::insert_bills(&mut *tx, call, &new).await?;
    store::move_cursors(&mut *tx, call, &moved).await?;
    store::end(tx, call, &ended).await?;
    Ok(Made { rules: open, bills: new.len(), ended: ended.len() })
}
