//! The daemon's life: crashes, sessions, stops, outages.

use std::time::Duration;

use gateway::process::identity::alive;
use gateway::wire::local::{LocalReply, LocalRequest, StopHow};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use tokio::time::Instant;

use crate::support::daemon::{Daemon, Host};
use crate::support::eventually::{eventually, within};

#[tokio::test]
async fn a_second_start_is_refused_and_names_the_holder() {
    let host = Host::new().await;
    let first = host.start_ready(&[]).await;
    let exit = host.start(&[]).ended().await;
    let said = String::from_utf8_lossy(&exit.stderr.bytes).into_owned();
    assert_eq!(exit.exit_code, Some(1), "{said}");
    assert!(said.contains(&first.pid().to_string()), "{said}");
    assert!(first.status().await.is_some(), "the first one is not disturbed");
    assert_eq!(first.stop().await.exit_code, Some(0));
}

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
async fn a_drain_lets_jobs_end_and_keeps_the_heartbeat() {
    let host = Host::new().await;
    let daemon = host.start_ready(&[("PANORAMA_GATEWAY_CONCURRENCY", "1")]).await;
    let go = host.state.path().join("go");
    let id = host
        .shell(&format!(
            "until [ -e {} ]; do sleep 0.05; done; echo done",
            go.display()
        ))
        .await;
    let waiting = host.shell("echo never").await;
    host.reaches(&id, &["running"]).await;
    daemon.signal(Signal::SIGHUP);
    daemon.signal(Signal::SIGTERM);
    daemon.reaches("draining").await;
    eventually("the wire to say pending", || async {
        (host.wire_status().await == "pending").then_some(())
    })
    .await;
    std::fs::create_dir(&go).unwrap();
    let row = host.done(&id).await;
    assert_eq!(
        (row["status"].as_str(), row["result"]["stdout"].as_str()),
        (Some("completed"), Some("done\n")),
        "{row}"
    );
    assert_eq!(daemon.ended().await.exit_code, Some(0));
    assert_eq!(host.row(&waiting).await["status"], "queued");
    assert_eq!(host.wire_status().await, "offline");
}

#[tokio::test]
async fn stop_now_and_a_second_signal_cancel_what_runs() {
    for second in [None, Some(Signal::SIGINT)] {
        let host = Host::new().await;
        let daemon = host.start_ready(&[]).await;
        let deaf = host.state.path().join("deaf");
        let command = format!("trap '' TERM; touch {}; sleep 600 & wait; sleep 600", deaf.display());
        let id = host.shell(&command).await;
        eventually("the command to be deaf", || async { deaf.exists().then_some(()) }).await;
        let began = Instant::now();
        match second {
            None => daemon.ask_to_stop(StopHow::Now).await,
            Some(signal) => {
                daemon.signal(Signal::SIGTERM);
                daemon.reaches("draining").await;
                daemon.signal(signal);
            }
        }
        assert_eq!(daemon.ended().await.exit_code, Some(0));
        assert!(began.elapsed() < Duration::from_secs(15));
        let row = host.row(&id).await;
        assert_eq!(
            (row["status"].as_str(), &row["result"]["cancelled"]),
            (Some("cancelled"), &json!(true)),
            "{row}"
        );
        assert!(
            row["error"].as_str().unwrap().starts_with("Gateway shutting down ("),
            "{row}"
        );
    }
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

/// The pid a command wrote into `file`.
async fn pid_in(file: &std::path::Path) -> Pid {
    eventually("a pid to be written", || async {
        let text = std::fs::read_to_string(file).ok().filter(|text| text.ends_with('\n'))?;
        text.trim().parse().ok().map(Pid::from_raw)
    })
    .await
}

async fn gone(pid: Pid) {
    eventually("a process to be gone", || async { (!lives(pid)).then_some(()) }).await;
}

fn lives(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !(stat.is_empty() || stat.contains(") Z "))
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
async fn a_timeout_ends_what_has_left_the_group() {
    let host = Host::new().await;
    let daemon = host.start_ready(&[]).await;
    let file = host.state.path().join("outside");
    let command = format!(
        "setsid sh -c 'echo $$ > {}; exec sleep 600' & sleep 600",
        file.display()
    );
    let payload = json!({"resource_id": host.resource, "command": command, "timeout_ms": 1_000});
    let row = host.done(&host.submit("shell_exec", payload, json!({})).await).await;
    assert_eq!(row["result"]["timed_out"], true, "{row}");
    gone(pid_in(&file).await).await;
    assert_eq!(daemon.stop().await.exit_code, Some(0));
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
