//! Billing points (计费点): what a settlement account is billed by in an account month, as it was when the point was made.
//!
//! [`snapshot`] is what a point holds, [`rules`] decide when one may be made; both are pure.

use std::collections::BTreeMap;

use communal_proto::Coded as _;
use communal_proto::billing::v1::NormalRetroType;

pub mod rpc;
pub mod rules;
pub mod snapshot;
pub mod store;

/// The key of a billing point of a company.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PointKey {
    /// The account.
    pub settlement_account_id: String,
    /// The account month.
    pub account_month: i32,
    /// Normal or retro.
    pub kind: NormalRetroType,
    /// 0 of a normal point; retro points of a month are counted from 1.
    pub number: i32,
}

impl PointKey {
    /// The key of the normal point of an account and month.
    #[must_use]
    pub fn normal(settlement_account_id: &str, account_month: i32) -> Self {
        let settlement_account_id = settlement_account_id.to_owned();
        Self { settlement_account_id, account_month, kind: NormalRetroType::Normal, number: 0 }
    }
}

/// The keys of points as columns, the tenant among them: no part of a key is a constant to the planner.
#[derive(Debug, Default)]
#[allow(missing_docs)] // the columns of the tables, documented there
pub struct PointColumns<'k> {
    pub companies: Vec<&'k str>,
    pub accounts: Vec<&'k str>,
    pub months: Vec<i32>,
    pub kinds: Vec<Option<&'static str>>,
    pub numbers: Vec<i32>,
}

/// The points of each account month.
pub fn by_month<'k>(keys: impl IntoIterator<Item = &'k PointKey>) -> BTreeMap<i32, Vec<&'k PointKey>> {
    let mut months: BTreeMap<i32, Vec<&PointKey>> = BTreeMap::new();
    for key in keys {
        months.entry(key.account_month).or_default().push(key);
    }
    months
}

impl<'k> PointColumns<'k> {
    /// The columns of points of a company.
    pub fn of(company_id: &'k str, keys: impl IntoIterator<Item = &'k PointKey>) -> Self {
        let mut columns = Self::default();
        for PointKey { settlement_account_id, account_month, kind, number } in keys {
            columns.companies.push(company_id);
            columns.accounts.push(settlement_account_id);
            columns.months.push(*account_month);
            columns.kinds.push(kind.stored());
            columns.numbers.push(*number);
        }
        columns
    }
}
