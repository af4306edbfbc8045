//! The arrears of a community, by object: sums, order and pages. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::NaiveDateTime;
use communal_kit::money::at_scale;
use communal_kit::paging::Page;
use communal_proto::community::v1::{OweFeePriceError, OweItem, OweItemTotal, ReportOweFee};
use rust_decimal::Decimal;

use super::facts::{Facts, NoAmount, Reckoned};
use super::store::FeeRow;
use crate::vocabulary::times;

/// Most fees without an amount that an answer names.
const MOST_ERRORS: usize = 100;

/// The report: a page of objects, how many there are in all, and the fees without an amount.
#[derive(Debug, Default)]
pub struct Report {
    /// The objects of the page.
    pub rows: Vec<ReportOweFee>,
    /// Objects that owe.
    pub total: i64,
    /// The first fees without an amount.
    pub errors: Vec<OweFeePriceError>,
    /// Fees without an amount.
    pub error_count: usize,
}

/// What an object owes.
struct Owing<'a> {
    first: &'a FeeRow,
    by_item: BTreeMap<&'a str, Decimal>,
    owed: Decimal,
    end_time: NaiveDateTime,
    deadline: NaiveDateTime,
}

/// Makes the report of fees. `config_ids` are the items that each row lists; if it is empty, those of
/// which anything is owed.
#[must_use]
pub fn report(
    fees: &[(FeeRow, Result<Reckoned, NoAmount>)],
    facts: &Facts,
    config_ids: &[String],
    page: Page,
) -> Report {
    let mut report = Report::default();
    let mut errors = Vec::new();
    let mut objects: HashMap<&str, Owing<'_>> = HashMap::new();
    for (row, reckoned) in fees {
        match reckoned {
            Err(error) => errors.push((row, error)),
            Ok(reckoned) if reckoned.owed.net.is_zero() => {}
            Ok(reckoned) => {
                let owing = objects.entry(&row.payer_obj_id).or_insert_with(|| Owing {
                    first: row,
                    by_item: BTreeMap::new(),
                    owed: Decimal::ZERO,
                    end_time: reckoned.paid_through,
                    deadline: reckoned.owed.deadline,
                });
                // The fees are in no order; the oldest names the owner.
                if row.fee_id < owing.first.fee_id {
                    owing.first = row;
                }
                *owing.by_item.entry(&row.config_id).or_default() += reckoned.owed.net;
                owing.owed += reckoned.owed.net;
                owing.end_time = owing.end_time.min(reckoned.paid_through);
                owing.deadline = owing.deadline.max(reckoned.owed.deadline);
            }
        }
    }
    report.name_errors(errors, facts);
    let mut totals: BTreeMap<&str, Decimal> = config_ids.iter().map(|id| (id.as_str(), Decimal::ZERO)).collect();
    for owing in objects.values() {
        for (config_id, owed) in &owing.by_item {
            *totals.entry(config_id).or_default() += owed;
        }
    }
    // Sums of items with different decimals are printed with the most.
    let places = totals.keys().map(|config_id| facts.places(config_id)).max().unwrap_or(2);
    let print = |amount: Decimal| at_scale(amount, places);
    let grand_total = print(totals.values().sum());
    let item_totals: Vec<_> = totals
        .iter()
        .map(|(id, owed)| OweItemTotal { config_id: (*id).to_owned(), total_owe_amount: print(*owed) })
        .collect();
    let mut ordered: Vec<_> = objects.into_iter().collect();
    ordered.sort_unstable_by(|(a, first), (b, second)| second.owed.cmp(&first.owed).then(a.cmp(b)));
    report.total = i64::try_from(ordered.len()).unwrap_or(i64::MAX);
    let skipped = usize::try_from(page.offset()).unwrap_or(usize::MAX);
    let taken = usize::try_from(page.rows()).unwrap_or(usize::MAX);
    let listed: BTreeSet<&str> = totals.keys().copied().collect();
    let row = |(_, owing): (&str, Owing<'_>)| ReportOweFee {
        payer_obj_id: owing.first.payer_obj_id.clone(),
        payer_obj_type: owing.first.payer_obj_type.0.into(),
        payer_obj_name: owing.first.payer_name.clone(),
        owner_id: owing.first.owner_id.clone().unwrap_or_default(),
        owner_name: owing.first.owner_name.clone(),
        owner_tel: owing.first.owner_tel.clone(),
        amount_owed: print(owing.owed),
        end_time: times::print(owing.end_time),
        deadline_time: times::print(owing.deadline),
        items: listed
            .iter()
            .map(|config_id| OweItem {
                config_id: (*config_id).to_owned(),
                config_name: name_of(facts, config_id),
                amount_owed: print(owing.by_item.get(config_id).copied().unwrap_or_default()),
            })
            .collect(),
        total_owe_amount: grand_total.clone(),
        item_total_owe_amounts: item_totals.clone(),
    };
    report.rows = ordered.into_iter().skip(skipped).take(taken).map(row).collect();
    report
}

impl Report {
    /// Counts the fees without an amount and names the first.
    fn name_errors(&mut self, mut errors: Vec<(&FeeRow, &NoAmount)>, facts: &Facts) {
        self.error_count = errors.len();
        errors.sort_unstable_by(|(a, _), (b, _)| a.fee_id.cmp(&b.fee_id));
        let named = |(row, error): (&FeeRow, &NoAmount)| OweFeePriceError {
            fee_id: row.fee_id.clone(),
            fee_name: name_of(facts, &row.config_id),
            payer_obj_name: row.payer_name.clone(),
            fee_price_error: error.text(),
        };
        self.errors = errors.into_iter().take(MOST_ERRORS).map(named).collect();
    }
}

fn name_of(facts: &Facts, config_id: &str) -> String {
    facts.items.get(config_id).map(|item| item.fee_name.clone()).unwrap_or_default()
}
