//! A tiny process of our own that outlives a daemon which was killed, for as long as it takes to end its jobs.
//!
//! It is told over a pipe which jobs are at work. When the pipe ends, so has the daemon: in every ordinary case no job
//! is at work then, and the guardian just ends; after a kill -9 it ends what was, first. Nobody but the end of the pipe
//! ends it: it leads a session of its own, carries no mark, is in no job's cgroup and is deaf to polite signals, which
//! a service manager sends to everybody while the daemon still waits for its jobs. Killed itself, or not started for want of memory or descriptors, it is started with the next job.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, BufRead, PipeWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{SigSet, Signal};

use crate::process::env::ChildEnv;
use crate::process::identity::{ProcessIdentity, kill_group_if_same};
use crate::process::image::{self, Stdio};
use crate::process::mark;
use crate::process::owned::OwnedProcess;
use crate::process::pipes::nothing;
use crate::process::spec::Spec;

/// The word that makes our program a guardian; nobody needs to type it.
pub const WORD: &str = "guard-jobs";

static GUARDIAN: Mutex<Option<Guardian>> = Mutex::new(None);

/// Our end.
#[derive(Debug)]
struct Guardian {
    program: PathBuf,
    /// None when it could not be started.
    child: Option<GuardianProcess>,
    at_work: Jobs,
}

/// The process and the write end of its standard input.
#[derive(Debug)]
struct GuardianProcess {
    process: OwnedProcess,
    input: PipeWriter,
}

/// Jobs at work, each with the process that was started last.
type Jobs = BTreeMap<String, Option<ProcessIdentity>>;

/// Starts the guardian of this process: `program` is our own.
///
/// # Errors
/// What the system says. There is none then until a job begins.
pub fn start(program: &Path) -> io::Result<()> {
    let mut guardian = Guardian::of(program);
    let started = guardian.begin();
    *own() = Some(guardian);
    started
}

/// Its process id, while it lives.
pub(super) fn pid() -> Option<u32> {
    own().as_mut()?.pid()
}

/// A job is at work, or about to be; nothing in a process that wants no guardian.
pub(super) fn watch(job: &str, process: Option<ProcessIdentity>) {
    if let Some(guardian) = own().as_mut() {
        guardian.watch(job, process);
    }
}

/// A job is at work no more.
pub(super) fn forget(job: &str) {
    if let Some(guardian) = own().as_mut() {
        guardian.forget(job);
    }
}

fn own() -> MutexGuard<'static, Option<Guardian>> {
    GUARDIAN.lock().unwrap_or_else(PoisonError::into_inner)
}

impl GuardianProcess {
    fn begin(program: &Path) -> io::Result<Self> {
        let spec = Spec::new(program, ChildEnv::default()).args([WORD]);
        let (input, ours) = io::pipe()?;
        // A guardian that does not read keeps no job waiting.
        fcntl(&ours, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let stdio = Stdio {
            ends: [input.into(), nothing()?, nothing()?],
            terminal: false,
        };
        let process = OwnedProcess::launch(&image::of(&spec, stdio, None)?)?;
        Ok(Self { process, input: ours })
    }

    fn tell(&mut self, text: &str) -> io::Result<()> {
        self.input.write_all(text.as_bytes())
    }
}

impl Guardian {
    fn of(program: &Path) -> Self {
        Self {
            program: program.to_owned(),
            child: None,
            at_work: Jobs::new(),
        }
    }

    fn pid(&mut self) -> Option<u32> {
        let process = &mut self.child.as_mut()?.process;
        let is_alive = matches!(process.try_wait(), Ok(None));
        u32::try_from(process.pid().as_raw()).ok().filter(|_| is_alive)
    }

    fn watch(&mut self, job: &str, process: Option<ProcessIdentity>) {
        self.at_work.insert(job.to_owned(), process);
        self.tell(&entry(job, process));
    }

    fn forget(&mut self, job: &str) {
        if self.at_work.remove(job).is_some() && self.child.is_some() {
            self.tell(&format!("- {job}\n"));
        }
    }

    fn tell(&mut self, line: &str) {
        let told = self.child.as_mut().is_some_and(|child| child.tell(line).is_ok());
        if !told && let Err(error) = self.replace() {
            tracing::warn!(%error, "No guardian: nobody ends the jobs of this gateway should it be killed");
        }
    }

    /// The old one may only be slow. It has to be dead before its pipe ends.
    fn replace(&mut self) -> io::Result<()> {
        if let Some(old) = self.child.take() {
            tracing::warn!("The guardian of the jobs is gone; another takes its place");
            old.process.kill()?;
        }
        self.begin()
    }

    /// Starts one that knows what is at work.
    fn begin(&mut self) -> io::Result<()> {
        let all: String = self.at_work.iter().map(|(job, process)| entry(job, *process)).collect();
        self.child.insert(GuardianProcess::begin(&self.program)?).tell(&all)
    }
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

    #[test]
    fn one_that_could_not_be_started_is_started_with_the_next_job() {
        let dir = tempfile::tempdir().unwrap();
        let mut guardian = Guardian::of(&dir.path().join("yes"));
        guardian.begin().unwrap_err();
        guardian.watch("a", None);
        guardian.forget("a");
        assert_eq!(guardian.pid(), None);
        // Writes what it is called with until it is killed.
        std::os::unix::fs::symlink("/usr/bin/yes", dir.path().join("yes")).unwrap();
        guardian.watch("b", None);
        assert!(guardian.pid().is_some());
        guardian.child.unwrap().process.kill().unwrap();
    }
}
