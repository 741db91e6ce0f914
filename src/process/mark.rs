//! Work that left its process group or lost its leader: found by what every descendant inherits, a variable and, for
//! those that clear their environment, a limit.
//!
//! The mark is proof enough to kill: nobody else sets it, and a job's id is unique. To be the parent of every orphan
//! (a subreaper) would not tell whose it was, and ends with the daemon; the mark is still there for its guardian and for
//! the next start. Linux only; elsewhere nothing of another process can be read, and nothing is found.
//!
//! The limit is `RLIMIT_LOCKS`: the kernel hands it on over fork, exec, sessions and orphanhood, lets only root raise it
//! again, and has not looked at it since 2.4.25 (`getrlimit(2)`).

use std::collections::HashSet;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, sleep};

use crate::process::cgroup;
use crate::process::group::{FIRST_LOOK, KILL_DEADLINE, LONGEST_PAUSE};
use crate::process::identity::{Stat, stat_in};

/// The variable; its value is the job's id.
pub const NAME: &str = "GATEWAY_JOB_ID";
/// How the kernel calls the limit in `/proc/PID/limits`; the hard one is the second number.
const LIMIT: &str = "Max file locks";
/// Longer environments than the kernel lets a program start with are not read to their end.
const MAX_ENVIRONMENT: u64 = 8 << 20;

/// What a sweep came to: process ids.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Swept {
    /// Who was there.
    pub found: HashSet<i32>,
    /// Who could not be ended within the deadline.
    pub survivors: HashSet<i32>,
}

/// Kills every process in the cgroup of one of `jobs` or with its mark, and looks again until there is none: what is
/// born between a look and its signals is found by the next.
pub async fn kill_marked(jobs: &HashSet<&str>) -> Swept {
    let (inside, mut swept) = tokio::join!(cgroup::end(jobs.iter().copied()), kill_carriers(jobs));
    swept.found.extend(inside.found);
    swept.survivors.extend(inside.survivors);
    if !swept.survivors.is_empty() {
        tracing::warn!(pids = ?swept.survivors, ?jobs, "Processes of a job survive SIGKILL, going on without them");
    }
    swept
}

async fn kill_carriers(jobs: &HashSet<&str>) -> Swept {
    let deadline = Instant::now() + KILL_DEADLINE;
    let mut found = HashSet::new();
    let mut pause = FIRST_LOOK;
    loop {
        let carriers = marked(jobs);
        if carriers.is_empty() || Instant::now() >= deadline {
            let survivors = carriers.into_iter().map(Pid::as_raw).collect();
            return Swept { found, survivors };
        }
        for pid in carriers {
            end(pid);
            found.insert(pid.as_raw());
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn end(pid: Pid) {
    match kill(pid, Signal::SIGKILL) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(error) => tracing::warn!(%pid, %error, "could not kill what a job left behind"),
    }
}

/// The marks of everything that runs.
#[must_use]
pub fn at_work() -> HashSet<String> {
    let marks = others().filter_map(environment).flat_map(|text| {
        let marks = marks(&text).map(str::to_owned);
        marks.collect::<Vec<_>>()
    });
    marks.collect()
}

/// The mark of a job as a limit: below all that means "unlimited".
pub(super) fn limit(job: &str) -> u64 {
    let [a, b, c, d, e, f, g, h, ..]: [u8; 32] = Sha256::digest(job).into();
    u64::from_be_bytes([a, b, c, d, e, f, g, h]) >> 2
}

fn marked(jobs: &HashSet<&str>) -> Vec<Pid> {
    let limits: HashSet<u64> = jobs.iter().map(|job| limit(job)).collect();
    let carries = |pid: &Pid| {
        environment(*pid).is_some_and(|text| carries(&text, jobs))
            || limit_of(*pid).is_some_and(|limit| limits.contains(&limit))
    };
    others().filter(carries).collect()
}

fn limit_of(pid: Pid) -> Option<u64> {
    let limits = std::fs::read_to_string(place(pid).join("limits")).ok()?;
    let limit = limits.lines().find_map(|line| line.strip_prefix(LIMIT))?;
    let limit = limit.split_whitespace().nth(1)?.parse().ok()?;
    // A zombie has limits still.
    let is_dead = stat_in(&place(pid)).is_none_or(Stat::is_dead);
    (!is_dead).then_some(limit)
}

fn place(pid: Pid) -> PathBuf {
    Path::new("/proc").join(pid.to_string())
}

/// Everybody else's environment cannot be read, and a zombie has none.
fn others() -> impl Iterator<Item = Pid> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pid = |name: std::ffi::OsString| name.to_str()?.parse::<i32>().ok().map(Pid::from_raw);
    let pids = processes.filter_map(move |entry| pid(entry.file_name()));
    pids.filter(|pid| *pid != Pid::this())
}

fn environment(pid: Pid) -> Option<Vec<u8>> {
    let file = File::open(place(pid).join("environ")).ok()?;
    let mut text = Vec::new();
    file.take(MAX_ENVIRONMENT).read_to_end(&mut text).ok()?;
    Some(text)
}

fn carries(environment: &[u8], jobs: &HashSet<&str>) -> bool {
    marks(environment).any(|id| jobs.contains(id))
}

fn marks(environment: &[u8]) -> impl Iterator<Item = &str> {
    environment.split(|byte| *byte == 0).filter_map(|variable| {
        let value = variable.strip_prefix(NAME.as_bytes())?.strip_prefix(b"=")?;
        std::str::from_utf8(value).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_variable_with_a_known_id_counts() {
        let jobs = HashSet::from(["j-1"]);
        assert!(carries(b"A=1\0GATEWAY_JOB_ID=j-1\0B=2\0", &jobs));
        for other in [
            "",
            "GATEWAY_JOB_ID=j-12\0",
            "XGATEWAY_JOB_ID=j-1\0",
            "GATEWAY_JOB_ID_X=j-1\0",
            "A=GATEWAY_JOB_ID=j-1\0",
        ] {
            assert!(!carries(other.as_bytes(), &jobs), "{other}");
        }
    }
}
