//! A tiny process of our own that outlives a daemon which was killed, for as long as it takes to end its jobs.
//!
//! It is told over a pipe which jobs are at work. When the pipe ends, so has the daemon: in every ordinary case no job
//! is at work then, and the guardian just ends; after a kill -9 it ends what was, first. Nobody but the end of the pipe
//! ends it: it leads a session of its own, carries no mark, is in no job's cgroup and is deaf to polite signals, which
//! a service manager sends to everybody while the daemon still waits for its jobs. Killed itself, it is replaced.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, BufRead, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{SigSet, Signal};

use crate::process::env::ChildEnv;
use crate::process::identity::{ProcessIdentity, kill_group_if_same};
use crate::process::mark;
use crate::process::spawn::{command, without_inheritance};
use crate::process::sys;

/// The word that makes our program a guardian; nobody needs to type it.
pub const WORD: &str = "guard-jobs";

static GUARDIAN: Mutex<Option<Guardian>> = Mutex::new(None);

/// Our end.
#[derive(Debug)]
struct Guardian {
    program: PathBuf,
    child: Child,
    at_work: Jobs,
}

/// Jobs at work, each with the process that was started last.
type Jobs = BTreeMap<String, Option<ProcessIdentity>>;

/// Starts the guardian of this process: `program` is our own.
///
/// # Errors
/// What the system says. There is none then.
pub fn start(program: &Path) -> io::Result<()> {
    let guardian = Guardian {
        program: program.to_owned(),
        child: spawn(program)?,
        at_work: Jobs::new(),
    };
    *own() = Some(guardian);
    Ok(())
}

/// Its process id, while it lives.
pub(super) fn pid() -> Option<u32> {
    let mut own = own();
    let child = &mut own.as_mut()?.child;
    matches!(child.try_wait(), Ok(None)).then(|| child.id())
}

/// A job is at work, or about to be; nothing where there is no guardian.
pub(super) fn watch(job: &str, process: Option<ProcessIdentity>) {
    if let Some(guardian) = own().as_mut() {
        guardian.at_work.insert(job.to_owned(), process);
        guardian.tell(&entry(job, process));
    }
}

/// A job is at work no more.
pub(super) fn forget(job: &str) {
    if let Some(guardian) = own().as_mut()
        && guardian.at_work.remove(job).is_some()
    {
        guardian.tell(&format!("- {job}\n"));
    }
}

fn own() -> MutexGuard<'static, Option<Guardian>> {
    GUARDIAN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn spawn(program: &Path) -> io::Result<Child> {
    let mut command = command(program, &[WORD], &ChildEnv::default(), Path::new("/"));
    sys::session::lead_session(&mut command);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let child = without_inheritance(|| command.spawn())?;
    if let Some(pipe) = &child.stdin {
        // A guardian that does not read keeps no job waiting.
        fcntl(pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    }
    Ok(child)
}

impl Guardian {
    fn tell(&mut self, line: &str) {
        if write(&mut self.child, line).is_err()
            && let Err(error) = self.replace()
        {
            tracing::warn!(%error, "Nobody guards the jobs of this gateway any more");
        }
    }

    /// The old one may only be slow. It has to be dead before its pipe ends.
    fn replace(&mut self) -> io::Result<()> {
        tracing::warn!("The guardian of the jobs is gone; another takes its place");
        self.child.kill()?;
        self.child.wait()?;
        self.child = spawn(&self.program)?;
        let all: String = self.at_work.iter().map(|(job, process)| entry(job, *process)).collect();
        write(&mut self.child, &all)
    }
}

fn write(child: &mut Child, text: &str) -> io::Result<()> {
    let pipe = child.stdin.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
    pipe.write_all(text.as_bytes())
}

fn entry(job: &str, process: Option<ProcessIdentity>) -> String {
    let known = process.and_then(|process| Some((process.pid, process.start_ticks?)));
    known.map_or_else(
        || format!("+ {job}\n"),
        |(pid, start_ticks)| format!("+ {job} {pid} {start_ticks}\n"),
    )
}

/// The guardian's own life.
///
/// # Errors
/// What keeps it from its work.
pub fn run(words: impl BufRead) -> io::Result<()> {
    let polite = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT];
    polite.into_iter().collect::<SigSet>().thread_block()?;
    let mut at_work = Jobs::new();
    for line in words.lines() {
        hear(&line?, &mut at_work);
    }
    if at_work.is_empty() {
        return Ok(());
    }
    for process in at_work.values().flatten() {
        kill_group_if_same(*process);
    }
    let jobs: HashSet<&str> = at_work.keys().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    drop(runtime.block_on(mark::kill_marked(&jobs)));
    Ok(())
}

/// One line: a job begins or goes on as another process, or it ends.
fn hear(line: &str, at_work: &mut Jobs) {
    let mut words = line.split(' ');
    let (Some(sign), Some(job)) = (words.next(), words.next()) else {
        return;
    };
    if sign == "-" {
        at_work.remove(job);
    } else {
        let pid = words.next().and_then(|word| word.parse().ok());
        let start_ticks = words.next().and_then(|word| word.parse().ok());
        let process = pid.map(|pid| ProcessIdentity {
            pid,
            pgid: pid,
            start_ticks,
        });
        at_work.insert(job.to_owned(), process);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_heard() {
        let process = ProcessIdentity {
            pid: 7,
            pgid: 7,
            start_ticks: Some(99),
        };
        let mut jobs = Jobs::new();
        for line in [
            &entry("a", None),
            &entry("a", Some(process)),
            &entry("b", None),
            "- b\n",
            "?",
        ] {
            hear(line.trim_end(), &mut jobs);
        }
        assert_eq!(jobs, Jobs::from([("a".to_owned(), Some(process))]));
    }
}
