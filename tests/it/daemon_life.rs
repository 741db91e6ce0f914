//! The daemon's life: crashes, sessions, stops, outages.

use std::time::Duration;

use gateway::process::identity::alive;
use gateway::wire::local::{LocalReply, LocalRequest, StopHow};
use nix::sys::signal::Signal;
use serde_json::json;
use tokio::time::Instant;

use crate::support::daemon::Host;
use crate::support::eventually::eventually;
use crate::support::recorder::Recorder;

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
    let mut host = Host::new().await;
    let proxy = Recorder::before(host.plane.address).await;
    host.url = proxy.url();
    host.write_session();
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
    let mut host = Host::new().await;
    let proxy = Recorder::before(host.plane.address).await;
    host.url = proxy.url();
    host.write_session();
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
async fn a_refused_session_is_a_final_error_at_start_and_a_state_later() {
    let host = Host::new().await;
    let daemon = host.start_ready(&[]).await;
    host.revoke().await;
    let status = daemon.reaches("unauthenticated").await;
    assert!(status.reason.unwrap_or_default().contains("gateway pair"));
    assert_eq!(daemon.stop().await.exit_code, Some(0));
    let exit = host.start(&[]).ended().await;
    assert_eq!(exit.exit_code, Some(1));
    let last = std::fs::read_to_string(host.paths().last_exit()).unwrap();
    assert!(last.contains("gateway pair"), "{last}");
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
