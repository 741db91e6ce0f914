//! The main job as a new user meets it: one command, an empty home, the real binary.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use gateway::process::identity::alive;
use serde_json::Value;

use crate::support::sandbox::Sandbox;

/// Every path below `dir` whose mode lets somebody else in.
fn too_open(dir: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let metadata = entry.path().symlink_metadata().unwrap();
        let mode = metadata.permissions().mode() & 0o777;
        let wanted = if metadata.is_dir() { 0o700 } else { 0o600 };
        if mode != wanted || metadata.uid() != nix::unistd::geteuid().as_raw() {
            found.push(format!("{} {mode:o}", entry.path().display()));
        }
        if metadata.is_dir() {
            too_open(&entry.path(), found);
        }
    }
}

#[tokio::test]
async fn one_command_runs_uname_and_stop_leaves_nothing_running() {
    let sandbox = Sandbox::new();
    let first = sandbox
        .run(&["exec", "--up", "--full-control", "--", "uname", "-a"])
        .await
        .ok();
    assert!(
        first
            .stdout
            .contains(nix::sys::utsname::uname().unwrap().release().to_str().unwrap()),
        "{}",
        first.stdout
    );
    let second = sandbox
        .run(&["exec", "--up", "--full-control", "--", "uname", "-a"])
        .await
        .ok();
    assert_eq!(second.stdout, first.stdout);

    let text = sandbox.run(&["status"]).await.ok().stdout;
    let status = sandbox.json(&["status", "--json"]).await;
    assert!(text.contains("Running"), "{text}");
    assert_eq!(status["running"], Value::from(true), "{status}");
    assert_eq!(status["daemon"]["state"], "ready", "{status}");
    assert!(text.contains(status["version"].as_str().unwrap()), "{text}\n{status}");

    let mut open = Vec::new();
    too_open(&sandbox.state_dir(), &mut open);
    assert!(open.is_empty(), "{open:?}");

    sandbox.run(&["stop"]).await.ok();
    assert!(sandbox.processes().is_empty(), "{:?}", sandbox.processes());
    let stopped = sandbox.json(&["status", "--json"]).await;
    assert_eq!(stopped["running"], Value::from(false), "{stopped}");
    assert!(sandbox.run(&["status"]).await.ok().stdout.contains("Stopped"));
}

#[tokio::test]
async fn exec_passes_output_and_exit_codes_through() {
    let sandbox = Sandbox::new();
    sandbox.up().await;
    sandbox.run(&["exec", "--", "exit 7"]).await.exits(7);
    let said = sandbox.run(&["exec", "--", "echo to-out; echo to-err >&2"]).await.ok();
    assert_eq!(
        (said.stdout.as_str(), said.stderr.contains("to-err")),
        ("to-out\n", true),
        "{}",
        said.stderr
    );
    // Several words are quoted and joined: the shell must see them as they are.
    let said = sandbox
        .run(&["exec", "--", "printf", "%s|", "a b", "$HOME", "it's"])
        .await
        .ok();
    assert_eq!(said.stdout, "a b|$HOME|it's|");
}

#[tokio::test]
async fn a_command_that_leaves_background_work_ends_at_once_and_leaves_it_alone() {
    let sandbox = Sandbox::new();
    sandbox.up().await;
    let said = sandbox.run(&["exec", "--", "sleep 300 & echo $!"]).await.ok();
    let pid: u32 = said.stdout.trim().parse().unwrap();
    assert!(alive(pid, None), "the background process was killed");
}

#[tokio::test]
async fn a_timeout_ends_the_whole_group_and_says_so() {
    let sandbox = Sandbox::new();
    sandbox.up().await;
    sandbox
        .run(&["exec", "--timeout", "1", "--", "sleep 3123 & sleep 3123"])
        .await
        .exits(124);
    assert!(!sandbox.runs("3123"), "{:?}", sandbox.processes());
}

#[tokio::test]
async fn a_running_daemon_survives_a_second_start() {
    let sandbox = Sandbox::new();
    sandbox.up().await;
    let pid = sandbox.daemon_pid().await;
    let again = sandbox.run(&["start"]).await.ok();
    assert!(again.stdout.contains("already running"), "{}", again.stdout);
    let foreground = sandbox.run(&["start", "--foreground"]).await.exits(1);
    assert!(foreground.stderr.contains(&pid.to_string()), "{}", foreground.stderr);
    assert_eq!(sandbox.daemon_pid().await, pid);
}
