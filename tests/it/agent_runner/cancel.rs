//! Runs that are cancelled, and what is left of them; it takes `/proc` to see that.

use gateway::job::agent::How;
use gateway::process::containment;
use gateway::process::identity::alive;
use gateway::provider::request::Access;

use super::{Bench, failure, text};
use crate::support::fake_agent::FakeDriver;
use crate::support::process_list;

/// A child in a session of its own, deaf to polite signals like its parent.
const STUBBORN: &str = r#"trap '' TERM INT HUP; mkdir .git .codex; echo kept >.codex/kept
    setsid sh -c 'trap "" TERM; while :; do sleep 1; done' </dev/null >/dev/null 2>&1 &
    echo '{"text":"stop me"}'; while :; do sleep 1; done"#;

#[tokio::test]
async fn a_cancelled_run_ends_for_certain() {
    let bench = Bench::new(FakeDriver::default());
    let cwd = bench.path().join("project");
    std::fs::create_dir(&cwd).unwrap();
    let mut turn = bench.turn(STUBBORN);
    turn.cwd = Some(cwd.clone());
    let (report, heard) = bench.run(&turn).await;
    assert_eq!(
        (report.how, failure(&report).1),
        (How::Cancelled, "The run was cancelled")
    );
    assert_eq!(heard.words(), ["attempt_started", "stop me"]);
    let mark = format!("GATEWAY_JOB_ID={}", turn.mark);
    assert_eq!(process_list::with_variable(&mark), []);
    assert!(!cwd.join(".git").exists() && cwd.join(".codex/kept").exists());
}

#[tokio::test]
async fn only_a_run_that_may_do_everything_leaves_work_behind() {
    for (access, left) in [(Access::Answer, 0), (Access::Restricted, 0), (Access::Full, 1)] {
        let bench = Bench::new(FakeDriver::default());
        let mut turn = bench.turn(r#"setsid sleep 4339 & echo '{"answer":"done"}'"#);
        turn.request.access = access;
        assert_eq!(text(&bench.run(&turn).await.0), "done");
        let found = process_list::with_variable(&format!("GATEWAY_JOB_ID={}", turn.mark));
        assert_eq!(found.len(), left, "{access:?}");
        for pid in found {
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
        }
    }
}

#[tokio::test]
async fn an_agent_that_may_leave_nothing_cannot_hide_it() {
    let bench = Bench::new(FakeDriver::default());
    let file = bench.path().join("pid");
    let script = format!(
        r#"setsid env -i sleep 4340 & echo $! >{}; echo '{{"answer":"done"}}'"#,
        file.display()
    );
    let mut turn = bench.turn(&script);
    turn.request.access = Access::Answer;
    assert_eq!(text(&bench.run(&turn).await.0), "done");
    let pid = std::fs::read_to_string(&file).unwrap().trim().parse().unwrap();
    let survives = alive(pid, None);
    assert_eq!(survives, containment::current().method != "cgroup");
    if survives {
        let pid = nix::unistd::Pid::from_raw(pid.try_into().unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    }
}

#[tokio::test]
async fn a_waiting_turn_can_be_cancelled() {
    let bench = Bench::new(FakeDriver::default());
    let [(first, _), (second, heard)] = bench.both(r#"echo '{"text":"stop me"}'; exec sleep 300"#).await;
    assert_eq!((first.how, second.how), (How::Cancelled, How::Cancelled));
    assert!(heard.started.is_empty());
}
