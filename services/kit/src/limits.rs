//! The limits of one caller and of all callers together, and their counters.
//!
//! A [`Limit`] is declared once: setting, default and meaning. The settings, the metrics and
//! `docs/limits.md` all come from that declaration. A [`Quota`] counts the use of a limit: an atomic
//! number, without locks and without waiting. A caller that asks for more than is left is refused. Calls
//! wait only for database connections, and for their own large queries ([`Lane`](crate::telemetry::lane::Lane)).

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use metrics::Counter;

use crate::config::Reader;

/// The number of refusals by a limit.
const REACHED: &str = "communal_limit_reached_total";
/// The used amount of a limit.
const USED: &str = "communal_limit_used";
/// The value of a limit.
const MOST: &str = "communal_limit";

/// The unit of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A number of things: connections, calls, lines.
    Count,
    /// Bytes.
    Bytes,
    /// Milliseconds.
    Milliseconds,
}

/// A declared limit.
#[derive(Debug)]
pub struct Limit {
    /// The setting, in lower case and without prefix. It is also the label in metrics.
    pub setting: &'static str,
    /// The value if the setting is absent.
    pub default: u64,
    /// The unit.
    pub unit: Unit,
    /// The limited thing.
    pub of: &'static str,
    /// The consequence of exceeding it.
    pub beyond: &'static str,
}

impl Limit {
    /// Declares a limit of a number of things.
    #[must_use]
    pub const fn count(setting: &'static str, default: u64, of: &'static str, beyond: &'static str) -> Self {
        Self { setting, default, unit: Unit::Count, of, beyond }
    }

    /// Declares a limit of bytes.
    #[must_use]
    pub const fn bytes(setting: &'static str, default: u64, of: &'static str, beyond: &'static str) -> Self {
        Self { setting, default, unit: Unit::Bytes, of, beyond }
    }

    /// Declares a limit of time in milliseconds.
    #[must_use]
    pub const fn time(setting: &'static str, default: u64, of: &'static str, beyond: &'static str) -> Self {
        Self { setting, default, unit: Unit::Milliseconds, of, beyond }
    }

    /// Reads the setting. Zero is a fault, because nothing could be served with it.
    pub fn read<V: Value>(&self, reader: &mut Reader) -> V {
        let value = reader.parsed(self.setting, self.default);
        if value == 0 {
            reader.fault(self.setting, "must be at least 1");
        }
        V::from_number(value)
    }

    /// Returns the counter of refusals by this limit in a service.
    pub fn reached(&self, service: &'static str) -> Counter {
        reached(service, self.setting)
    }

    /// Returns the row of `docs/limits.md`.
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

/// Returns the counter of refusals by a limit that has no setting.
pub fn reached(service: &'static str, limit: &'static str) -> Counter {
    metrics::counter!(REACHED, "service" => service, "limit" => limit)
}

/// A value of a limit.
pub trait Value {
    /// Converts the number of a setting.
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

/// Declares limits: a struct of their values, and a static of their declarations.
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

/// Returns the table of `docs/limits.md` for some limits.
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

/// Describes the metrics of limits.
pub fn describe_metrics() {
    metrics::describe_counter!(REACHED, "Times that a limit refused, closed or cut off something, by limit");
    metrics::describe_gauge!(USED, "How much of a limit is in use, by limit");
    metrics::describe_gauge!(MOST, "How much of a limit there is, by limit");
}

/// The use of a limit. Refusals are counted by limit, for all quotas with its name.
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

    /// Creates a quota that counts its refusals with a given counter.
    #[must_use]
    pub fn counted(most: usize, reached: Counter) -> Arc<Self> {
        // A registered counter starts at zero, so that its first increment is visible as one.
        reached.increment(0);
        Arc::new(Self { most: most as u64, used: AtomicU64::new(0), reached })
    }

    /// Takes an amount, or counts a refusal.
    #[must_use]
    pub fn take(self: &Arc<Self>, amount: u64) -> Option<Hold> {
        self.add(amount).then(|| Hold { quota: Arc::clone(self), amount })
    }

    /// Returns whether anything is left.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.used.load(Ordering::Relaxed) < self.most
    }

    /// Returns the used amount.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Counts a refusal by code that checked [`Quota::has_room`].
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

    /// Splits a part off, which is given back separately; at most the whole amount.
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

/// An amount that was taken both from the quota of all callers and from one caller's share.
#[derive(Debug)]
#[must_use = "dropping it gives the amount back"]
pub struct Shared {
    all: Hold,
    share: Hold,
}

impl Shared {
    /// Takes an amount from both. The share is asked first, so that a caller beyond its own share is
    /// not counted as a refusal by the limit of all.
    #[must_use]
    pub fn take(all: &Arc<Quota>, share: &Arc<Quota>, amount: u64) -> Option<Self> {
        let share = share.take(amount)?;
        Some(Self { all: all.take(amount)?, share })
    }

    /// Takes more from both.
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

    /// Splits a part off both.
    pub fn split(&mut self, amount: u64) -> Self {
        Self { all: self.all.split(amount), share: self.share.split(amount) }
    }
}

/// Quotas whose use is shown in the metrics.
#[derive(Debug)]
pub struct Levels {
    service: &'static str,
    quotas: Vec<(&'static str, Arc<Quota>)>,
}

impl Levels {
    /// Creates the gauges, and sets the values of the limits.
    #[must_use]
    pub fn new(service: &'static str, quotas: Vec<(&'static Limit, Arc<Quota>)>) -> Self {
        let quotas: Vec<_> = quotas.into_iter().map(|(limit, quota)| (limit.setting, quota)).collect();
        for (limit, quota) in &quotas {
            metrics::gauge!(MOST, "service" => service, "limit" => *limit).set(gauge(quota.most));
        }
        Self { service, quotas }
    }

    /// Updates the gauges.
    pub fn measure(&self) {
        for (limit, quota) in &self.quotas {
            metrics::gauge!(USED, "service" => self.service, "limit" => *limit).set(gauge(quota.used()));
        }
    }
}

/// Converts a number; exact up to 2⁵³.
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
