//! What one caller, and what all callers together may use, and how it is counted.
//!
//! A [`Limit`] is declared once: setting, default and meaning. The reader of settings, the metrics
//! and `docs/limits.md` all come from that declaration. A [`Quota`] is a limit at work: an
//! atomic count that is taken from and given back to, without a lock and without waiting. A caller
//! that asks for more than is left is refused.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use metrics::Counter;

use crate::config::Reader;

/// Counts how often a limit was reached.
const REACHED: &str = "communal_limit_reached_total";
/// How much of a limit is in use.
const USED: &str = "communal_limit_used";
/// How much of a limit there is.
const MOST: &str = "communal_limit";

/// What a limit is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Things: connections, calls, lines.
    Count,
    /// Bytes.
    Bytes,
    /// Milliseconds.
    Milliseconds,
}

/// A limit as it is declared.
#[derive(Debug)]
pub struct Limit {
    /// The setting, in lower case and without prefix. It is the label of the metrics as well.
    pub setting: &'static str,
    /// What it is where nothing is set.
    pub default: u64,
    /// What it is counted in.
    pub unit: Unit,
    /// What is limited.
    pub of: &'static str,
    /// What happens beyond it.
    pub beyond: &'static str,
}

impl Limit {
    /// A number of things.
    #[must_use]
    pub const fn count(setting: &'static str, default: u64, of: &'static str, beyond: &'static str) -> Self {
        Self { setting, default, unit: Unit::Count, of, beyond }
    }

    /// A number of bytes.
    #[must_use]
    pub const fn bytes(setting: &'static str, default: u64, of: &'static str, beyond: &'static str) -> Self {
        Self { setting, default, unit: Unit::Bytes, of, beyond }
    }

    /// A time in milliseconds.
    #[must_use]
    pub const fn time(setting: &'static str, default: u64, of: &'static str, beyond: &'static str) -> Self {
        Self { setting, default, unit: Unit::Milliseconds, of, beyond }
    }

    /// Reads the setting. Zero is a fault: nothing could be served under it.
    pub fn read<V: Value>(&self, reader: &mut Reader) -> V {
        let value = reader.parsed(self.setting, self.default);
        if value == 0 {
            reader.fault(self.setting, "must be at least 1");
        }
        V::from_number(value)
    }

    /// The counter of how often the limit was reached by callers of a service.
    pub fn reached(&self, service: &'static str) -> Counter {
        metrics::counter!(REACHED, "service" => service, "limit" => self.setting)
    }

    /// The row of `docs/limits.md`.
    #[must_use]
    pub fn row(&self) -> String {
        let Self { setting, of, beyond, .. } = self;
        format!("| {of} | {} | `COMMUNAL_{}` | `{setting}` | {beyond} |", self.readable(), setting.to_uppercase())
    }

    fn readable(&self) -> String {
        const KIB: u64 = 1024;
        const MIB: u64 = KIB * KIB;
        match (self.unit, self.default) {
            (Unit::Count, number) => number.to_string(),
            (Unit::Bytes, bytes) if bytes % MIB == 0 => format!("{} MiB", bytes / MIB),
            (Unit::Bytes, bytes) if bytes % KIB == 0 => format!("{} KiB", bytes / KIB),
            (Unit::Bytes, bytes) => format!("{bytes} B"),
            (Unit::Milliseconds, time) if time % 1_000 == 0 => format!("{} s", time / 1_000),
            (Unit::Milliseconds, time) => format!("{time} ms"),
        }
    }
}

/// What a limit is set to.
pub trait Value {
    /// Takes the number of a setting.
    fn from_number(number: u64) -> Self;
}

impl Value for usize {
    fn from_number(number: u64) -> Self {
        Self::try_from(number).unwrap_or(Self::MAX)
    }
}

impl Value for Duration {
    fn from_number(number: u64) -> Self {
        Self::from_millis(number)
    }
}

/// Declares limits: a struct of what they are set to, and a static of their declarations.
#[macro_export]
macro_rules! limits {
    ($(#[$meta:meta])* $name:ident, $declared:ident: $declarations:ident {
        $($field:ident: $kind:ident($setting:literal, $default:expr, $of:literal, $beyond:literal),)*
    }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name {
            $(#[doc = concat!("Limits ", $of, ".")] pub $field: $crate::limits!(@value $kind),)*
        }

        /// The declarations of these limits.
        #[derive(Debug)]
        pub struct $declarations {
            $(#[doc = concat!("Declares the limit of ", $of, ".")] pub $field: $crate::limits::Limit,)*
        }

        /// The limits as they are declared.
        pub static $declared: $declarations = $declarations {
            $($field: $crate::limits::Limit::$kind($setting, $default, $of, $beyond),)*
        };

        impl $declarations {
            /// All of them, in the order of their declaration.
            #[must_use]
            pub fn all(&'static self) -> Vec<&'static $crate::limits::Limit> {
                vec![$(&self.$field),*]
            }
        }

        impl $name {
            /// Reads the settings.
            pub fn read(reader: &mut $crate::config::Reader) -> Self {
                Self { $($field: $declared.$field.read(reader),)* }
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $crate::limits::Value::from_number($declared.$field.default),)* }
            }
        }
    };
    (@value count) => { usize };
    (@value bytes) => { usize };
    (@value time) => { std::time::Duration };
}

/// The table of `docs/limits.md` of some limits.
#[must_use]
pub fn table(limits: &[&Limit]) -> String {
    let mut text = String::from(
        "| limit | default | setting | `limit` in metrics | beyond it |\n| --- | --- | --- | --- | --- |\n",
    );
    for limit in limits {
        let _ = writeln!(text, "{}", limit.row());
    }
    text
}

/// Says what is measured of limits.
pub fn describe_metrics() {
    metrics::describe_counter!(REACHED, "Times that a limit refused, closed or cut off something, by limit");
    metrics::describe_gauge!(USED, "How much of a limit is in use, by limit");
    metrics::describe_gauge!(MOST, "How much of a limit there is, by limit");
}

/// A limit at work. Refusals are counted by the limit, for all who share its name.
#[derive(Debug)]
pub struct Quota {
    most: u64,
    used: AtomicU64,
    reached: Counter,
}

impl Quota {
    /// Creates a quota for a limit of a service.
    #[must_use]
    pub fn new(service: &'static str, limit: &Limit, most: usize) -> Arc<Self> {
        Self::counted(most, limit.reached(service))
    }

    /// Creates a quota that counts its refusals by a counter.
    #[must_use]
    pub fn counted(most: usize, reached: Counter) -> Arc<Self> {
        // What is registered begins at zero, so that its first step is seen as one.
        reached.increment(0);
        Arc::new(Self { most: most as u64, used: AtomicU64::new(0), reached })
    }

    /// Takes an amount, or counts a refusal.
    #[must_use]
    pub fn take(self: &Arc<Self>, amount: u64) -> Option<Hold> {
        self.add(amount).then(|| Hold { quota: Arc::clone(self), amount })
    }

    /// Whether anything is left.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.used.load(Ordering::Relaxed) < self.most
    }

    /// How much is in use.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Counts a refusal by somebody who asked with [`Quota::has_room`].
    pub fn refuse(&self) {
        self.reached.increment(1);
    }

    fn add(&self, amount: u64) -> bool {
        let before = self.used.fetch_add(amount, Ordering::Relaxed);
        if before.saturating_add(amount) <= self.most {
            return true;
        }
        self.used.fetch_sub(amount, Ordering::Relaxed);
        self.reached.increment(1);
        false
    }
}

/// An amount that was taken; dropping it gives it back.
#[derive(Debug)]
#[must_use = "dropping it gives the amount back"]
pub struct Hold {
    quota: Arc<Quota>,
    amount: u64,
}

impl Hold {
    /// Takes more from the same quota.
    #[must_use]
    pub fn more(&mut self, amount: u64) -> bool {
        let taken = self.quota.add(amount);
        if taken {
            self.amount += amount;
        }
        taken
    }

    /// Splits an amount off, to be given back apart. Splits off what there is where that is less.
    pub fn split(&mut self, amount: u64) -> Self {
        let amount = amount.min(self.amount);
        self.amount -= amount;
        Self { quota: Arc::clone(&self.quota), amount }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.quota.used.fetch_sub(self.amount, Ordering::Relaxed);
    }
}

/// The same of what everybody shares and of one party's share of it.
#[derive(Debug)]
#[must_use = "dropping it gives the amount back"]
pub struct Shared {
    all: Hold,
    share: Hold,
}

impl Shared {
    /// Takes an amount of both. The share is asked first: what one party takes too much is no
    /// refusal of all.
    #[must_use]
    pub fn take(all: &Arc<Quota>, share: &Arc<Quota>, amount: u64) -> Option<Self> {
        let share = share.take(amount)?;
        Some(Self { all: all.take(amount)?, share })
    }

    /// Takes more of both.
    #[must_use]
    pub fn more(&mut self, amount: u64) -> bool {
        if !self.share.more(amount) {
            return false;
        }
        let taken = self.all.more(amount);
        if !taken {
            drop(self.share.split(amount));
        }
        taken
    }

    /// Splits an amount of both off.
    pub fn split(&mut self, amount: u64) -> Self {
        Self { all: self.all.split(amount), share: self.share.split(amount) }
    }
}

/// Quotas whose levels are shown in the metrics.
#[derive(Debug)]
pub struct Levels {
    service: &'static str,
    quotas: Vec<(&'static str, Arc<Quota>)>,
}

impl Levels {
    /// Shows these, and says how much there is of each.
    #[must_use]
    pub fn new(service: &'static str, quotas: Vec<(&'static Limit, Arc<Quota>)>) -> Self {
        let quotas: Vec<_> = quotas.into_iter().map(|(limit, quota)| (limit.setting, quota)).collect();
        for (limit, quota) in &quotas {
            metrics::gauge!(MOST, "service" => service, "limit" => *limit).set(gauge(quota.most));
        }
        Self { service, quotas }
    }

    /// Measures them now.
    pub fn measure(&self) {
        for (limit, quota) in &self.quotas {
            metrics::gauge!(USED, "service" => self.service, "limit" => *limit).set(gauge(quota.used()));
        }
    }
}

/// Exact up to 2⁵³.
fn gauge(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn quota(most: usize) -> Arc<Quota> {
        Quota::counted(most, Counter::noop())
    }

    #[test]
    fn what_is_taken_comes_back_and_no_more_is_given() {
        let quota = quota(10);
        let mut first = quota.take(6).unwrap();
        assert!(quota.take(5).is_none());
        assert!(first.more(4) && !first.more(1) && !quota.has_room());
        drop(first.split(7));
        assert_eq!(quota.used(), 3);
        drop(first);
        assert_eq!(quota.used(), 0);
    }

    #[test]
    fn a_share_that_is_used_up_leaves_the_rest_to_others() {
        let (all, greedy, modest) = (quota(10), quota(6), quota(6));
        let mut held = Shared::take(&all, &greedy, 6).unwrap();
        assert!(Shared::take(&all, &greedy, 1).is_none() && !held.more(1));
        let other = Shared::take(&all, &modest, 4).unwrap();
        // Nothing of a refusal stays taken.
        assert!(Shared::take(&all, &modest, 2).is_none());
        assert_eq!((all.used(), greedy.used(), modest.used()), (10, 6, 4));
        drop((held.split(2), other));
        assert_eq!((all.used(), greedy.used(), modest.used()), (4, 4, 0));
    }

    #[test]
    fn a_row_says_what_the_code_does() {
        let limit = Limit::bytes("answer_bytes", 192 * 1024 * 1024, "answers", "refused");
        assert_eq!(limit.row(), "| answers | 192 MiB | `COMMUNAL_ANSWER_BYTES` | `answer_bytes` | refused |");
        assert_eq!(Limit::time("idle_ms", 1_500, "", "").readable(), "1500 ms");
    }
}
