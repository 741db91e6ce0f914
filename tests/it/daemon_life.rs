//! The daemon's life: crashes, sessions, stops, outages.

use std::time::Duration;

use gateway::process::identity::alive;
use gateway::wire::local::{LocalReply, LocalRequest};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use tokio::time::Instant;

use crate::support::daemon::{Daemon, Host};
use crate::support::eventually::{eventually, within};
use crate::support::pids::{gone, lives, pid_in};

#[tokio::test]
async fn a_crash_while_a_job_runs_ends_its_tree_and_fails_it() {
    let host = Host::new().await;
    let daemon = host.start_ready(&[]).await;
    let marker = host.state.path().join("pid");
    let id = host
        .shell(&format!("echo $$ >> {}; sleep 600; true", marker.display()))
        .await;
    let pid = eventually("the command to start", || async {
        std::fs::read_to_string(&marker)
            .ok()
            .filter(|text| text.ends_with('\n'))
    })
    .await;
    // The process is in the journal before the command has done much; give the write its moment.
    host.reaches(&id, &["running"]).await;
    daemon.crash().await;
    let daemon = host.start_ready(&[]).await;
    let row = host.done(&id).await;
    assert_eq!(
        (row["status"].as_str(), &row["result"]["interrupted"]),
        (Some("failed"), &json!(true)),
        "{row}"
    );
    assert_eq!(row["error"], "Gateway was interrupted while the job ran");
    let number = pid.trim().parse().unwrap();
    eventually("the tree to end", || async { (!alive(number, None)).then_some(()) }).await;
    assert_eq!(std::fs::read_to_string(&marker).unwrap(), pid, "it ran once");
    assert_eq!(daemon.stop().await.exit_code, Some(0));
}

#[tokio::test]
async fn a_crash_between_end_and_report_loses_nothing() {
    let (host, proxy) = Host::recorded().await;
    let daemon = host.start_ready(&[]).await;
    proxy.refuse_results(true);
    let id = host.shell("echo precious").await;
    eventually("a result to wait", || async {
        (daemon.status().await?.unreported_results == 1).then_some(())
    })
    .await;
    daemon.crash().await;
    proxy.refuse_results(false);
    let daemon = host.start_ready(&[]).await;
    let row = host.done(&id).await;
    assert_eq!(
        (row["status"].as_str(), row["result"]["stdout"].as_str()),
        (Some("completed"), Some("precious\n")),
        "{row}"
    );
    assert_eq!(daemon.stop().await.exit_code, Some(0));
}

#[tokio::test]
async fn an_outage_is_waited_out_and_jobs_are_done_soon_after() {
    let (host, proxy) = Host::recorded().await;
    proxy.down(true);
    let daemon = host.start(&[]);
    daemon.reaches("offline").await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(host.shell("true").await);
    }
    proxy.down(false);
    let back = Instant::now();
    for id in &ids {
        assert_eq!(host.done(id).await["status"], "completed");
    }
    assert!(back.elapsed() < Duration::from_secs(6), "{:?}", back.elapsed());
    daemon.ready().await;
    assert_eq!(daemon.stop().await.exit_code, Some(0));
}

#[tokio::test]
async fn a_changed_host_switch_is_told_before_the_answer() {
    let host = Host::new().await;
    let daemon = host.start_ready(&[]).await;
    let store = gateway::state::session::SessionStore::new(&host.paths());
    store.update(|session| session.full_control_enabled = false).unwrap();
    assert_eq!(daemon.ask(LocalRequest::ReloadFullControl).await, Some(LocalReply::Ok));
    let row = host.done(&host.shell("id").await).await;
    assert_eq!(row["status"], "failed", "{row}");
    store.update(|session| session.full_control_enabled = true).unwrap();
    assert_eq!(daemon.ask(LocalRequest::ReloadFullControl).await, Some(LocalReply::Ok));
    assert_eq!(host.done(&host.shell("id").await).await["status"], "completed");
    assert_eq!(daemon.stop().await.exit_code, Some(0));
}

#[tokio::test]
async fn no_survivor_of_a_crash_although_the_leader_died_or_the_session_was_left() {
    let host = Host::new().await;
    let daemon = host.start_ready(&[]).await;
    let file = |name: &str| host.state.path().join(name);
    let command = format!(
        "sleep 600 & echo $! > {}; setsid sh -c 'echo $$ > {}; exec sleep 600' & echo $$ > {}; wait",
        file("member").display(),
        file("outside").display(),
        file("leader").display(),
    );
    let id = host.shell(&command).await;
    let (member, outside, leader) = (
        pid_in(&file("member")).await,
        pid_in(&file("outside")).await,
        pid_in(&file("leader")).await,
    );
    // Without its guardian, which would leave the next start nothing to do.
    kill(guardian_of(&daemon).await, Signal::SIGKILL).unwrap();
    daemon.crash().await;
    kill(leader, Signal::SIGKILL).unwrap();
    gone(leader).await;
    let daemon = host.start_ready(&[]).await;
    assert_eq!(host.done(&id).await["status"], "failed");
    gone(member).await;
    gone(outside).await;
    assert_eq!(daemon.stop().await.exit_code, Some(0));
}

async fn guardian_of(daemon: &Daemon) -> Pid {
    eventually("the guardian", || async {
        let held = daemon.status().await?.containment?;
        Some(Pid::from_raw(held.guardian?.try_into().unwrap()))
    })
    .await
}

/// What a crash of the daemon leaves, within this time and without a new start: nothing of a job that was at work.
const NOBODY_WITHIN: Duration = Duration::from_secs(2);

#[tokio::test]
async fn a_crash_ends_the_jobs_at_once_and_leaves_what_was_left_on_purpose() {
    let host = Host::new().await;
    let daemon = host.start_ready(&[]).await;
    let file = |name: &str| host.state.path().join(name);
    let left = format!("sleep 600 >/dev/null 2>&1 & echo $! > {}", file("left").display());
    assert_eq!(host.done(&host.shell(&left).await).await["status"], "completed");
    let left = pid_in(&file("left")).await;
    let command = format!(
        "trap '' TERM; setsid sh -c 'echo $$ > {}; exec sleep 600' & echo $$ > {}; wait; sleep 600",
        file("outside").display(),
        file("leader").display(),
    );
    host.shell(&command).await;
    let mut pids = vec![
        pid_in(&file("outside")).await,
        pid_in(&file("leader")).await,
        guardian_of(&daemon).await,
    ];
    if daemon.status().await.unwrap().containment.unwrap().cgroup.is_some() {
        let hidden = format!(
            "env -i setsid sh -c 'echo $$ > {}; exec sleep 600' & wait",
            file("hidden").display()
        );
        host.shell(&hidden).await;
        pids.push(pid_in(&file("hidden")).await);
    }
    daemon.crash().await;
    within(NOBODY_WITHIN, "everybody to be gone", || async {
        pids.iter().all(|pid| !lives(*pid)).then_some(())
    })
    .await;
    assert!(lives(left));
    kill(left, Signal::SIGKILL).unwrap();
}

#[tokio::test]
async fn a_guardian_ends_with_its_daemon_and_is_replaced_when_it_ends_before() {
    let host = Host::new().await;
    let daemon = host.start_ready(&[]).await;
    let first = guardian_of(&daemon).await;
    kill(first, Signal::SIGTERM).unwrap();
    host.done(&host.shell("true").await).await;
    assert_eq!(guardian_of(&daemon).await, first, "deaf to what is sent to everybody");
    kill(first, Signal::SIGKILL).unwrap();
    gone(first).await;
    host.done(&host.shell("true").await).await;
    let second = guardian_of(&daemon).await;
    assert_ne!(second, first);
    assert_eq!(daemon.stop().await.exit_code, Some(0));
    gone(second).await;
}

#[tokio::test]
async fn a_daemon_whose_state_directory_was_deleted_ends() {
    let host = Host::new().await;
    let daemon = host.start_ready(&[]).await;
    let file = host.state.path().join("pid");
    let id = host
        .shell(&format!("echo $$ > {}; sleep 600; true", file.display()))
        .await;
    let pid = pid_in(&file).await;
    std::fs::remove_dir_all(host.paths().dir).unwrap();
    let exit = daemon.ended().await;
    assert_eq!(exit.exit_code, Some(1));
    let said = String::from_utf8_lossy(&exit.stderr.bytes).into_owned();
    assert!(said.contains("state directory was deleted"), "{said}");
    assert!(!host.paths().dir.exists(), "it does not come back");
    assert_eq!(host.row(&id).await["status"], "cancelled");
    gone(pid).await;
    assert_eq!(host.wire_status().await, "offline");
}

#[tokio::test]
async fn a_third_signal_ends_at_once_also_without_a_control_plane() {
    let (host, proxy) = Host::recorded().await;
    let daemon = host.start_ready(&[]).await;
    let file = host.state.path().join("pid");
    host.shell(&format!(
        "trap '' TERM; echo $$ > {}; sleep 600; sleep 600",
        file.display()
    ))
    .await;
    let pid = pid_in(&file).await;
    proxy.down(true);
    daemon.signal(Signal::SIGTERM);
    daemon.reaches("draining").await;
    daemon.signal(Signal::SIGINT);
    daemon.signal(Signal::SIGTERM);
    let began = Instant::now();
    daemon.signal(Signal::SIGTERM);
    daemon.ended().await.exit_code.unwrap();
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    gone(pid).await;
}

/// It would never hear that a child has ended, nor that it is to stop itself.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn signals_that_somebody_had_blocked_are_heard() {
    let host = Host::new().await;
    let daemon = host.start_deaf(&[]);
    daemon.ready().await;
    let row = host.done(&host.shell("echo heard").await).await;
    assert_eq!(row["result"]["stdout"], "heard\n", "{row}");
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.ended().await.exit_code, Some(0));
}
