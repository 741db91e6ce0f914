//! A process of a job begins only once it is written down.

use std::future::{pending, ready};
use std::path::{Path, PathBuf};
use std::process::id;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use gateway::process::env::ChildEnv;
use gateway::process::hold::{Begun, Registrar, Unregistered};
use gateway::process::identity::{ProcessIdentity, alive};
use gateway::process::interactive::{Link, Size, spawn_interactive};
use gateway::process::spawn::{Child, NotSpawned, spawn, spawn_registered};
use gateway::process::spec::Spec;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::support::eventually::eventually;
use crate::support::process_list::with_variable;
use crate::support::registrar::Anybody;

/// What a process would leave that begins.
struct Job {
    home: TempDir,
    env: ChildEnv,
}

impl Job {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        // Without a mark: no cgroup does the work of the hold.
        let env = ChildEnv::exactly([("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into())]);
        Self { home, env }
    }

    fn spec(&self) -> Spec {
        let args = [Path::new("-c"), Path::new("echo begun >$0; echo said"), &self.trace()];
        Spec::new("/bin/sh", self.env.clone()).args(args)
    }

    fn trace(&self) -> PathBuf {
        self.home.path().join("trace")
    }

    fn has_begun(&self) -> bool {
        self.trace().exists()
    }
}

/// Looks at a process before it begins.
struct Witness<'a> {
    job: &'a Job,
    seen: Option<ProcessIdentity>,
    word: Word,
}

/// What the witness says.
enum Word {
    Go,
    No,
    Nothing,
}

impl<'a> Witness<'a> {
    const fn of(job: &'a Job, word: Word) -> Self {
        Self { job, seen: None, word }
    }
}

impl Registrar for Witness<'_> {
    fn register(&mut self, begun: Begun) -> BoxFuture<'_, Result<(), Unregistered>> {
        let process = begun.process;
        assert!(alive(process.pid, process.start_ticks) && process.pid != id());
        assert!(!self.job.has_begun());
        self.seen = Some(process);
        match self.word {
            Word::Go => ready(Ok(())).boxed(),
            Word::No => ready(Err(Unregistered("no".to_owned()))).boxed(),
            Word::Nothing => pending().boxed(),
        }
    }
}

async fn said(child: Child) -> Vec<u8> {
    child.wait(CancellationToken::new()).await.stdout.bytes
}

#[tokio::test]
async fn a_process_is_known_before_it_begins_and_stays_the_same() {
    let job = Job::new();
    let mut witness = Witness::of(&job, Word::Go);
    let child = spawn_registered(job.spec(), &mut witness).await.unwrap();
    assert_eq!(witness.seen, Some(child.identity()));
    assert_eq!(said(child).await, b"said\n");
    assert!(job.has_begun());
}

#[tokio::test]
async fn a_shell_is_known_before_it_begins() {
    for link in [Link::Pipes, Link::Terminal(Size { columns: 80, rows: 24 })] {
        let job = Job::new();
        let mut witness = Witness::of(&job, Word::Go);
        let (mut shell, _streams) = spawn_interactive(&job.spec(), link, &mut witness).await.unwrap();
        assert_eq!(witness.seen.map(|seen| seen.pid), Some(shell.identity().pid));
        shell.wait().await.unwrap();
        assert!(job.has_begun(), "{link:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_written_down_never_begins() {
    let job = Job::new();
    let mut witness = Witness::of(&job, Word::No);
    let refused = spawn_registered(job.spec(), &mut witness).await.unwrap_err();
    assert!(matches!(refused, NotSpawned::Unregistered(_)), "{refused}");
    never_began(&job, &witness).await;
}

/// Each has copies of the other's pipes.
#[tokio::test]
async fn what_nobody_waits_for_any_more_never_begins() {
    let jobs = [Job::new(), Job::new()];
    let mut witnesses = jobs.each_ref().map(|job| Witness::of(job, Word::Nothing));
    let spawning = witnesses
        .iter_mut()
        .map(|witness| spawn_registered(witness.job.spec(), witness));
    let mut spawning = Box::pin(futures_util::future::join_all(spawning));
    eventually("the processes", || {
        let polled = spawning.as_mut().now_or_never();
        assert!(polled.is_none());
        ready((forks().len() == jobs.len()).then_some(()))
    })
    .await;
    // They may not have said yet who they are.
    drop(spawning);
    eventually("the end of the held processes", || {
        ready(forks().is_empty().then_some(()))
    })
    .await;
    assert!(!jobs.iter().any(Job::has_begun));
}

async fn never_began(job: &Job, witness: &Witness<'_>) {
    let seen = witness.seen.unwrap();
    eventually("the end of the held process", || {
        ready((!alive(seen.pid, seen.start_ticks)).then_some(()))
    })
    .await;
    assert!(!job.has_begun());
}

/// Children of this process.
fn forks() -> Vec<u32> {
    let tasks = format!("/proc/{}/task", id());
    let tasks = std::fs::read_dir(tasks).unwrap().flatten();
    let children = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    children
        .flat_map(|line| {
            line.split_whitespace()
                .map(|pid| pid.parse().unwrap())
                .collect::<Vec<_>>()
        })
        .collect()
}

#[tokio::test]
async fn many_are_held_at_once_and_each_goes_its_own_way() {
    let jobs: Vec<Job> = std::iter::repeat_with(Job::new).take(20).collect();
    let spawning = jobs.iter().enumerate().map(|(at, job)| async move {
        let word = if at % 2 == 0 { Word::Go } else { Word::No };
        let mut witness = Witness::of(job, word);
        match spawn_registered(job.spec(), &mut witness).await {
            Ok(child) => assert_eq!(said(child).await, b"said\n"),
            Err(_) => never_began(job, &witness).await,
        }
        assert_eq!(job.has_begun(), at % 2 == 0);
    });
    futures_util::future::join_all(spawning).await;
}

#[tokio::test]
async fn a_held_process_that_is_killed_is_an_end_like_any_other() {
    struct Killer;
    impl Registrar for Killer {
        fn register(&mut self, begun: Begun) -> BoxFuture<'_, Result<(), Unregistered>> {
            kill(Pid::from_raw(begun.process.pid.cast_signed()), Signal::SIGKILL).unwrap();
            ready(Ok(())).boxed()
        }
    }
    let job = Job::new();
    let child = spawn_registered(job.spec(), &mut Killer).await.unwrap();
    let exit = child.wait(CancellationToken::new()).await;
    assert_eq!(exit.signal, Some(9));
    assert!(!job.has_begun());
}

#[tokio::test]
async fn why_a_program_cannot_run_is_told_as_ever() {
    let job = Job::new();
    let spec = Spec::new("/nowhere/program", job.env.clone());
    let refused = spawn_registered(spec, &mut Anybody).await.unwrap_err();
    assert_eq!(refused.to_string(), "spawn /nowhere/program ENOENT");
}

/// In the environment of a process that holds many and is killed; its children have it too, as long as they are held.
const HOLDER: &str = "GATEWAY_TEST_HOLDER";

#[tokio::test]
async fn those_that_are_held_end_with_a_parent_that_is_killed() {
    if std::env::var_os(HOLDER).is_some() {
        return hold_many_and_die().await;
    }
    let token = uuid::Uuid::new_v4().to_string();
    let env = ChildEnv::exactly(std::env::vars_os()).with(HOLDER, &token);
    let test = "held::those_that_are_held_end_with_a_parent_that_is_killed";
    let spec = Spec::new(std::env::current_exe().unwrap(), env).args(["--exact", test, "--nocapture"]);
    let exit = spawn(spec).unwrap().wait(CancellationToken::new()).await;
    assert_eq!(exit.signal, Some(9), "{}", String::from_utf8_lossy(&exit.stderr.bytes));
    let mark = format!("{HOLDER}={token}");
    eventually("the held ones to end", || {
        ready(with_variable(&mark).is_empty().then_some(()))
    })
    .await;
}

async fn hold_many_and_die() {
    let jobs: Vec<Job> = std::iter::repeat_with(Job::new).take(8).collect();
    let mut witnesses: Vec<_> = jobs.iter().map(|job| Witness::of(job, Word::Nothing)).collect();
    let spawning = witnesses
        .iter_mut()
        .map(|witness| spawn_registered(witness.job.spec(), witness));
    let all = async {
        eventually("all to be held", || ready((forks().len() == jobs.len()).then_some(()))).await;
        kill(Pid::this(), Signal::SIGKILL).unwrap();
    };
    tokio::join!(futures_util::future::join_all(spawning), all);
}
