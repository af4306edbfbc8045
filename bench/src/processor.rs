//! CPU time and memory of processes, from /proc: what an operation costs is what the processes
//! that serve it have used, however busy the machine is otherwise.

use std::collections::HashMap;
use std::fs;

use anyhow::Context;

/// A set of processes measured together: a service, the gateway, PostgreSQL with its children.
#[derive(Clone, Debug)]
pub struct Group {
    root: u32,
    with_children: bool,
}

/// CPU time used so far, by process.
#[derive(Clone, Debug, Default)]
pub struct Reading(HashMap<u32, u64>);

impl Group {
    /// One process.
    #[must_use]
    pub fn process(pid: u32) -> Self {
        Self { root: pid, with_children: false }
    }

    /// A process and its children: the postmaster with its backends.
    #[must_use]
    pub fn family(pid: u32) -> Self {
        Self { root: pid, with_children: true }
    }

    fn members(&self) -> Vec<u32> {
        let mut members = vec![self.root];
        if self.with_children {
            let path = format!("/proc/{0}/task/{0}/children", self.root);
            let children = fs::read_to_string(path).unwrap_or_default();
            members.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        }
        members
    }

    /// CPU time used so far.
    #[must_use]
    pub fn read(&self) -> Reading {
        Reading(self.members().into_iter().map(|pid| (pid, process_nanoseconds(pid))).collect())
    }

    /// CPU nanoseconds since a reading. A process that began since counts from its start; one
    /// that ended is lost, so loads keep their connections.
    #[must_use]
    pub fn since(&self, earlier: &Reading) -> u64 {
        let now = self.read();
        now.0.iter().map(|(pid, used)| used.saturating_sub(earlier.0.get(pid).copied().unwrap_or(0))).sum()
    }

    /// The largest memory the root process ever had resident, in bytes.
    ///
    /// # Errors
    /// The process is gone.
    pub fn peak_resident(&self) -> anyhow::Result<u64> {
        self.status("VmHWM:")
    }

    /// The memory the root process has resident, in bytes.
    ///
    /// # Errors
    /// The process is gone.
    pub fn resident(&self) -> anyhow::Result<u64> {
        self.status("VmRSS:")
    }

    fn status(&self, key: &str) -> anyhow::Result<u64> {
        let path = format!("/proc/{}/status", self.root);
        let status = fs::read_to_string(&path).with_context(|| format!("{path} cannot be read"))?;
        status_bytes(&status, key).with_context(|| format!("{path} has no {key}"))
    }
}

fn process_nanoseconds(pid: u32) -> u64 {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return 0 };
    tasks
        .filter_map(|task| fs::read_to_string(task.ok()?.path().join("schedstat")).ok())
        .filter_map(|text| on_cpu(&text))
        .sum()
}

/// The first number of a schedstat line: nanoseconds on a CPU.
#[must_use]
pub fn on_cpu(schedstat: &str) -> Option<u64> {
    schedstat.split_whitespace().next()?.parse().ok()
}

fn status_bytes(status: &str, key: &str) -> Option<u64> {
    let line = status.lines().find(|line| line.starts_with(key))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    kilobytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedstat_is_read_by_its_first_number() {
        assert_eq!(on_cpu("53128837 1022843 311\n"), Some(53_128_837));
        assert_eq!(on_cpu(""), None);
        assert_eq!(on_cpu("nonsense 1 2"), None);
    }

    #[test]
    fn memory_is_told_in_bytes() {
        let status = "Name:\tgateway\nVmHWM:\t   15920 kB\nVmRSS:\t   14880 kB\n";
        assert_eq!(status_bytes(status, "VmRSS:"), Some(14_880 * 1024));
        assert_eq!(status_bytes(status, "VmSwap:"), None);
    }

    #[test]
    fn work_of_this_process_is_seen() {
        let group = Group::process(std::process::id());
        let before = group.read();
        let mut sum = 0_u64;
        while group.since(&before) < 20_000_000 {
            sum = (0..100_000).fold(sum, |sum, n| sum.wrapping_mul(31) ^ n);
        }
        assert_ne!(sum, 1);
        assert!(group.resident().unwrap() <= group.peak_resident().unwrap());
    }
}
