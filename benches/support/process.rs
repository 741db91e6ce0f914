//! What Linux knows about a process from outside.

use std::fs;
use std::time::Duration;

use nix::unistd::{SysconfVar, sysconf};

/// A `kB` line of `/proc/PID/status`, in megabytes (10^6 bytes).
pub fn memory_mb(pid: u32, line: &str) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let value = text
        .lines()
        .find_map(|candidate| candidate.strip_prefix(line)?.strip_prefix(':'))
        .and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<f64>().ok());
    value.expect("a memory line") * 1024.0 / 1e6
}

/// CPU time of all its threads so far, its children not counted.
pub fn cpu(pid: u32) -> Duration {
    ticks(pid, 2)
}

/// CPU time of all its threads, and of the children it has collected.
pub fn cpu_with_children(pid: u32) -> Duration {
    ticks(pid, 4)
}

/// The sum of so many fields of its stat line, from `utime` on.
fn ticks(pid: u32, fields: usize) -> Duration {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    // The name in parentheses may hold blanks.
    let (_, all) = text.rsplit_once(") ").expect("a stat line");
    let ticks: u32 = all
        .split(' ')
        .skip(11)
        .take(fields)
        .map(|ticks| ticks.parse::<u32>().expect("ticks"))
        .sum();
    let per_second = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100);
    Duration::from_secs_f64(f64::from(ticks) / per_second as f64)
}

/// Whether it has ended; a zombie has.
pub fn is_gone(pid: u32) -> bool {
    let Ok(text) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return true;
    };
    text.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z'))
}
