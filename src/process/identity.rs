//! Which process it was: a pid alone may name a stranger by now.

use std::path::Path;

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use crate::process::group;
#[cfg(target_os = "macos")]
use crate::process::sys;

/// A process as it was when it was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessIdentity {
    /// Process id.
    pub pid: u32,
    /// Its process group.
    pub pgid: u32,
    /// Start time: clock ticks since boot on Linux, microseconds since the epoch on macOS. With the pid it names one
    /// process for good.
    pub start_ticks: Option<u64>,
}

/// What became of an attempt to end a group of an earlier run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupKill {
    /// It was there and got the final signal.
    Killed,
    /// Its leader is gone; nothing was signalled.
    Gone,
    /// The pid is somebody else's now, or it cannot be proved that it is not; nothing was signalled.
    NotProven,
}

impl ProcessIdentity {
    /// Describes the leader `pid` of its own group.
    pub(super) fn of_leader(pid: Pid) -> Self {
        let number = u32::try_from(pid.as_raw()).unwrap_or_default();
        Self {
            pid: number,
            pgid: number,
            start_ticks: stat(pid).map(|stat| stat.start_ticks),
        }
    }
}

/// Whether the process runs: neither gone nor a zombie, and the same one if `start_ticks` is known.
#[must_use]
pub fn alive(pid: u32, start_ticks: Option<u64>) -> bool {
    let Some(pid) = to_pid(pid) else {
        return false;
    };
    match stat(pid) {
        Some(stat) => !stat.is_dead() && start_ticks.is_none_or(|ticks| ticks == stat.start_ticks),
        // `/proc` lists everybody; other systems may keep a stranger's process to themselves.
        None => !cfg!(target_os = "linux") && matches!(kill(pid, None), Ok(()) | Err(Errno::EPERM)),
    }
}

/// Ends the group at once if its leader is provably the process it was.
pub fn kill_group_if_same(identity: ProcessIdentity) -> GroupKill {
    let (Some(pid), Some(pgid)) = (to_pid(identity.pid), to_pid(identity.pgid)) else {
        return GroupKill::NotProven;
    };
    if identity.start_ticks.is_none() {
        return if alive(identity.pid, None) {
            GroupKill::NotProven
        } else {
            GroupKill::Gone
        };
    }
    match stat(pid) {
        None if alive(identity.pid, None) => GroupKill::NotProven,
        None => GroupKill::Gone,
        // A dead leader that nobody reaped still pins the number, so the group is still the same one.
        Some(now) if Some(now.start_ticks) == identity.start_ticks => {
            group::kill(pgid);
            GroupKill::Killed
        }
        Some(_) => GroupKill::NotProven,
    }
}

/// Pids 0 and 1 (and what does not fit) are never ours; as targets of a signal they would mean something else.
pub(super) fn to_pid(number: u32) -> Option<Pid> {
    i32::try_from(number).ok().filter(|pid| *pid > 1).map(Pid::from_raw)
}

/// What matters here of `/proc/<pid>/stat`, or of what macOS tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    state: u8,
    pub(super) pgid: i32,
    start_ticks: u64,
}

impl Stat {
    /// Zombies and the dying do no work any more.
    pub(super) const fn is_dead(self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x')
    }

    fn parse(text: &[u8]) -> Option<Self> {
        // The name in parentheses may hold anything, also parentheses and bytes that are no text.
        let close = text.iter().rposition(|byte| *byte == b')')?;
        let fields = std::str::from_utf8(text.get(close + 1..)?).ok()?;
        let mut fields = fields.split_ascii_whitespace();
        let state = *fields.next()?.as_bytes().first()?;
        let pgid = fields.nth(1)?.parse().ok()?;
        let start_ticks = fields.nth(16)?.parse().ok()?;
        Some(Self {
            state,
            pgid,
            start_ticks,
        })
    }
}

/// None where there is no such process, or no `/proc`.
#[cfg(not(target_os = "macos"))]
pub(super) fn stat(pid: Pid) -> Option<Stat> {
    stat_in(&Path::new("/proc").join(pid.to_string()))
}

/// None where there is no such process, or it is a stranger's.
#[cfg(target_os = "macos")]
pub(super) fn stat(pid: Pid) -> Option<Stat> {
    let info = sys::info::of(pid)?;
    let since_second = info.pbi_start_tvusec;
    Some(Stat {
        state: if info.pbi_status == nix::libc::SZOMB {
            b'Z'
        } else {
            b'R'
        },
        pgid: i32::try_from(info.pbi_pgid).ok()?,
        start_ticks: info.pbi_start_tvsec.checked_mul(1_000_000)?.checked_add(since_second)?,
    })
}

pub(super) fn stat_in(process_dir: &Path) -> Option<Stat> {
    Stat::parse(&std::fs::read(process_dir.join("stat")).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_process_can_hold_anything() {
        let line = b"77 (a) R 1 (\xff ) S 1 42 43 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1 1\n";
        assert_eq!(
            Stat::parse(line),
            Some(Stat {
                state: b'S',
                pgid: 42,
                start_ticks: 987_654
            })
        );
        assert_eq!(Stat::parse(b"77 (x) S 1"), None);
    }

    #[test]
    fn a_wrong_start_time_is_another_process() {
        let own = std::process::id();
        let ticks = to_pid(own).and_then(stat).map(|stat| stat.start_ticks);
        assert!(alive(own, ticks));
        if let Some(ticks) = ticks {
            assert!(!alive(own, Some(ticks + 1)));
            let stranger = ProcessIdentity {
                pid: own,
                pgid: own,
                start_ticks: Some(ticks + 1),
            };
            assert_eq!(kill_group_if_same(stranger), GroupKill::NotProven);
        }
    }

    #[test]
    fn numbers_with_another_meaning_are_never_signalled() {
        for number in [0, 1, u32::MAX] {
            let identity = ProcessIdentity {
                pid: number,
                pgid: number,
                start_ticks: Some(1),
            };
            assert_eq!(kill_group_if_same(identity), GroupKill::NotProven);
            assert!(!alive(number, None));
        }
    }
}
