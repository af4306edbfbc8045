//! CPU time and memory of processes, from /proc. The cost of an operation is the CPU time of the processes that serve it,
//! which does not depend on the other work of the machine.

use std::fs;

use anyhow::Context;

/// Processes that are measured together: a service, the gateway, or PostgreSQL with its children.
#[derive(Clone, Debug)]
pub struct Group {
    root: u32,
    with_children: bool,
}

/// The CPU time used so far, in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reading(u64);

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

    /// Reads the CPU time of running processes and of children that have ended, because server processes end with the
    /// connections of a load generator.
    #[must_use]
    pub fn read(&self) -> Reading {
        let ended = if self.with_children { children_waited_for(self.root) } else { 0 };
        Reading(self.members().into_iter().map(process_nanoseconds).sum::<u64>() + ended)
    }

    /// Returns the CPU nanoseconds since a reading.
    #[must_use]
    pub fn since(&self, earlier: &Reading) -> u64 {
        self.read().0.saturating_sub(earlier.0)
    }

    /// Returns the peak resident memory of the root process in bytes.
    ///
    /// # Errors
    /// Returns an error if the process has ended.
    pub fn peak_resident(&self) -> anyhow::Result<u64> {
        self.status("VmHWM:")
    }

    /// Returns the resident memory of the root process in bytes.
    ///
    /// # Errors
    /// Returns an error if the process has ended.
    pub fn resident(&self) -> anyhow::Result<u64> {
        self.status("VmRSS:")
    }

    fn status(&self, key: &str) -> anyhow::Result<u64> {
        let path = format!("/proc/{}/status", self.root);
        let status = fs::read_to_string(&path).with_context(|| format!("{path} cannot be read"))?;
        status_bytes(&status, key).with_context(|| format!("{path} has no {key}"))
    }
}

/// Returns the CPU nanoseconds of this process and of its ended children, such as the load generators.
#[must_use]
pub fn own_nanoseconds() -> u64 {
    use nix::sys::resource::{UsageWho, getrusage};
    let used = |who| {
        getrusage(who).ok().map_or(0, |usage| {
            let both = [usage.user_time(), usage.system_time()];
            both.iter().map(|time| (time.tv_sec() * 1_000_000 + time.tv_usec()).unsigned_abs() * 1_000).sum()
        })
    };
    used(UsageWho::RUSAGE_SELF) + used(UsageWho::RUSAGE_CHILDREN)
}

fn process_nanoseconds(pid: u32) -> u64 {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return 0 };
    tasks
        .filter_map(|task| fs::read_to_string(task.ok()?.path().join("schedstat")).ok())
        .filter_map(|text| on_cpu(&text))
        .sum()
}

/// Returns the CPU nanoseconds of the ended children of a process.
fn children_waited_for(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let ticks_a_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok().flatten();
    let ticks_a_second = ticks_a_second.and_then(|ticks| u64::try_from(ticks).ok()).unwrap_or(100);
    waited_for_ticks(&stat).unwrap_or(0) * (1_000_000_000 / ticks_a_second.max(1))
}

/// Reads `cutime` and `cstime` of a stat line: the fourteenth and fifteenth number after the name, which may contain blanks
/// and parentheses.
fn waited_for_ticks(stat: &str) -> Option<u64> {
    let (_, numbers) = stat.rsplit_once(')')?;
    let mut numbers = numbers.split_whitespace().skip(13);
    let mut next = || numbers.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

/// Reads the first number of a schedstat line, the nanoseconds on a CPU.
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
    fn the_time_of_ended_children_is_read_after_the_name() {
        let stat = "42 (a (b) c) S 1 42 42 0 -1 4194560 1 2 3 4 11 12 250 17 20 0 1 0 5 6 7";
        assert_eq!(waited_for_ticks(stat), Some(267));
        assert_eq!(waited_for_ticks("42 nonsense"), None);
    }

    #[test]
    fn work_of_a_child_that_ended_is_not_lost() {
        let group = Group::family(std::process::id());
        let before = group.read();
        let burn = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done";
        let status = std::process::Command::new("sh").args(["-c", burn]).status().unwrap();
        assert!(status.success());
        assert!(group.since(&before) > 20_000_000, "{} ns", group.since(&before));
    }

    #[test]
    fn memory_is_read_in_bytes() {
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
