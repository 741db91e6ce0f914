//! What a job starts ends with it, whatever it does to hide; what it leaves on purpose goes on.
//!
//! Everything is held where cgroups are to be had, which for root on Linux must be the case.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use gateway::process::containment::{self, Method};
use gateway::process::env::ChildEnv;
use gateway::process::exit::{Ending, Exit};
use gateway::process::identity::alive;
use gateway::process::interactive::{Link, Size, spawn_interactive};
use gateway::process::mark;
use gateway::process::spawn::{spawn, spawn_registered};
use gateway::process::spec::Spec;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, geteuid};
use tempfile::TempDir;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::support::eventually::{PATIENCE, eventually};
use crate::support::process_list::any_runs_at_all;
use crate::support::registrar::Anybody;

/// Two forks, a session of its own, no environment, no ear for the polite signal; its pid goes to the file `$0`.
const HIDDEN: &str = r#"
    ( setsid env -i /bin/sh -c 'trap "" TERM HUP; echo $$ >"$1.new"; mv "$1.new" "$1"; exec sleep 300' \
      sh "$0" </dev/null >/dev/null 2>&1 & )
    while [ ! -e "$0" ]; do sleep 0.02; done"#;

/// A job of its own.
struct Job {
    id: String,
    dir: TempDir,
}

impl Job {
    fn new() -> Self {
        // A failure comes before anything that could hide.
        held();
        let id = uuid::Uuid::new_v4().to_string();
        let dir = TempDir::new().unwrap();
        Self { id, dir }
    }

    fn spec(&self, script: &str) -> Spec {
        let path = ("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into());
        let env = ChildEnv::exactly([path, (mark::NAME.into(), self.id.clone().into())]);
        let mut spec = Spec::new("/bin/sh", env).args(["-c", script]).args([self.file()]);
        spec.grace = Duration::from_millis(200);
        spec
    }

    fn file(&self) -> std::path::PathBuf {
        self.dir.path().join("pid")
    }

    async fn hidden(&self) -> u32 {
        eventually("the hidden process", || async {
            std::fs::read_to_string(self.file()).ok()?.trim().parse().ok()
        })
        .await
    }

    async fn sweep(&self) {
        mark::kill_marked(&HashSet::from([self.id.as_str()])).await;
    }

    fn leaf(&self) -> Option<std::path::PathBuf> {
        let tree = containment::current().cgroup?;
        Some(Path::new(&tree).join(format!("job-{}", self.id)))
    }
}

/// Whether cgroups hold jobs here.
fn held() -> bool {
    let now = containment::current();
    let is_cgroup = now.method == "cgroup";
    assert_eq!(is_cgroup, now.reason.is_none(), "{now:?}");
    assert!(is_cgroup || !geteuid().is_root(), "{now:?}");
    is_cgroup
}

async fn end(spec: Spec, stop: &CancellationToken) -> Exit {
    let child = spawn(spec).unwrap();
    timeout(PATIENCE, child.wait(stop.clone()))
        .await
        .expect("the child must end")
}

/// Nobody is left where cgroups hold; elsewhere the process has escaped, and this test ends it.
fn gone_if_held(pid: u32, job: &Job) {
    assert_eq!(alive(pid, None), !held());
    assert!(job.leaf().is_none_or(|leaf| !leaf.exists()));
    if !held() {
        kill(pid);
    }
}

fn kill(pid: u32) {
    nix::sys::signal::kill(Pid::from_raw(pid.try_into().unwrap()), Signal::SIGKILL).unwrap();
}

#[tokio::test]
async fn nobody_hides_from_a_timeout() {
    let job = Job::new();
    let spec = job
        .spec(&format!("{HIDDEN}; sleep 300"))
        .timeout(Duration::from_secs(2));
    let exit = end(spec, &CancellationToken::new()).await;
    assert!(matches!(exit.ending, Ending::TimedOut { .. }));
    gone_if_held(job.hidden().await, &job);
}

#[tokio::test]
async fn the_end_says_what_held() {
    let job = Job::new();
    let child = spawn_registered(job.spec("true"), &mut Anybody).await.unwrap();
    let exit = child.wait(CancellationToken::new()).await;
    let method = if held() { Method::Cgroup } else { Method::GroupAndMark };
    assert_eq!((exit.held_by, exit.exit_code), (method, Some(0)));
}

#[tokio::test]
async fn nobody_hides_from_a_cancel() {
    let job = Job::new();
    let stop = CancellationToken::new();
    let spec = job.spec(&format!("trap '' TERM; {HIDDEN}; sleep 300"));
    let (exit, pid) = tokio::join!(end(spec, &stop), async {
        let pid = job.hidden().await;
        stop.cancel();
        pid
    });
    assert!(matches!(exit.ending, Ending::Stopped { .. }));
    gone_if_held(pid, &job);
}

#[tokio::test]
async fn nobody_hides_from_the_end_of_a_shell() {
    let size = Size { columns: 80, rows: 24 };
    for link in [Link::Pipes, Link::Terminal(size)] {
        let job = Job::new();
        let (mut shell, _streams) = spawn_interactive(&job.spec(&format!("{HIDDEN}; sleep 300")), link, &mut Anybody)
            .await
            .unwrap();
        let pid = job.hidden().await;
        shell.end().await.expect("it ends");
        gone_if_held(pid, &job);
    }
}

#[tokio::test]
async fn nobody_hides_from_a_child_that_is_dropped() {
    let job = Job::new();
    let child = spawn(job.spec(&format!("{HIDDEN}; sleep 300"))).unwrap();
    let pid = job.hidden().await;
    drop(child);
    if held() {
        eventually("the hidden process to be gone", || async {
            (!alive(pid, None)).then_some(())
        })
        .await;
    } else {
        kill(pid);
    }
    job.sweep().await;
}

#[tokio::test]
async fn work_that_is_left_goes_on_and_can_still_be_found() {
    let job = Job::new();
    let exit = end(job.spec(HIDDEN), &CancellationToken::new()).await;
    assert!(exit.is_success());
    let pid = job.hidden().await;
    assert!(alive(pid, None));
    job.sweep().await;
    gone_if_held(pid, &job);
}

#[tokio::test]
async fn what_an_earlier_daemon_held_is_ended_where_it_is() {
    let job = Job::new();
    assert!(end(job.spec(HIDDEN), &CancellationToken::new()).await.is_success());
    let (pid, Some(leaf)) = (job.hidden().await, job.leaf()) else {
        return job.sweep().await;
    };
    containment::end_of_earlier(&leaf, "another").await;
    containment::end_of_earlier(job.dir.path(), &job.id).await;
    assert!(alive(pid, None) && job.dir.path().exists());
    containment::end_of_earlier(&leaf, &job.id).await;
    gone_if_held(pid, &job);
}

#[tokio::test]
async fn the_dead_survive_no_sweep() {
    let job = Job::new();
    // Nobody takes its status before it is awaited.
    let child = spawn(job.spec("true")).unwrap();
    let stat = format!("/proc/{}/stat", child.identity().pid);
    eventually("its end", || async {
        std::fs::read_to_string(&stat).ok()?.contains(") Z ").then_some(())
    })
    .await;
    let swept = mark::kill_marked(&HashSet::from([job.id.as_str()])).await;
    assert_eq!(swept, mark::Swept::default());
    assert!(child.wait(CancellationToken::new()).await.is_success());
}

#[tokio::test]
async fn a_job_that_leaves_nothing_leaves_no_cgroup() {
    let job = Job::new();
    let exit = end(job.spec("cat /proc/self/cgroup"), &CancellationToken::new()).await;
    let said = String::from_utf8(exit.stdout.bytes).unwrap();
    assert_eq!(said.contains(&format!("/gateway/job-{}\n", job.id)), held(), "{said}");
    assert!(job.leaf().is_none_or(|leaf| !leaf.exists()));
}

/// Twenty chains of processes, each of which starts its successor in a session of its own and is gone: nobody who
/// looks for pids catches up with them. They would end by themselves, but not soon.
#[tokio::test]
async fn a_swarm_is_ended() {
    let job = Job::new();
    let word = format!("swarm-{}", job.id);
    let link = format!(
        r#": {word}; [ "$1" -gt 0 ] && env -i setsid /bin/sh -c "$0" "$0" $(($1 - 1)) </dev/null >/dev/null 2>&1 &"#
    );
    let swarm = r#"for i in $(seq 20); do /bin/sh -c "$1" "$1" 500; done; : >"$0"; sleep 300"#;
    let stop = CancellationToken::new();
    let started = async {
        eventually("the swarm", || async { job.file().exists().then_some(()) }).await;
        assert!(any_runs_at_all(&word));
        stop.cancel();
    };
    let (exit, ()) = tokio::join!(end(job.spec(swarm).args([link]), &stop), started);
    assert!(matches!(exit.ending, Ending::Stopped { .. }));
    assert_eq!(any_runs_at_all(&word), !held());
}
