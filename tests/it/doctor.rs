//! `gateway doctor` beside a daemon: what the daemon knows about itself is part of the verdict.

use gateway::domain::secret::Secret;
use gateway::state::session::SessionStore;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::support::daemon::Host;
use crate::support::eventually::eventually;

const DOCTOR: [&str; 4] = ["doctor", "--validate", "light", "--json"];

fn check<'a>(report: &'a Value, name: &str) -> &'a Value {
    let checks = report["checks"].as_array().unwrap();
    let found = checks.iter().find(|check| check["check"] == name);
    found.unwrap_or(&Value::Null)
}

#[tokio::test]
async fn a_host_whose_session_was_refused_is_not_usable() {
    let host = Host::new().await;
    let daemon = host.start_ready(&[]).await;
    let report = host.cli(&DOCTOR).await.ok().json();
    assert_eq!(check(&report, "Gateway")["verdict"], "ok", "{report}");
    host.revoke().await;
    daemon.reaches("unauthenticated").await;
    let report = host.cli(&DOCTOR).await.exits(1).json();
    let gateway = check(&report, "Gateway");
    assert_eq!(
        (&report["usable"], &gateway["verdict"]),
        (&false.into(), &"failed".into())
    );
    assert_eq!(gateway["hint"], "gateway pair CODE");
    assert_eq!(daemon.stop().await.exit_code, Some(0));
}

#[tokio::test]
async fn a_gateway_that_is_offline_is_not_usable() {
    let (host, proxy) = Host::recorded().await;
    proxy.down(true);
    let daemon = host.start(&[]);
    daemon.reaches("offline").await;
    let report = host.cli(&DOCTOR).await.exits(1).json();
    assert_eq!(check(&report, "Gateway")["verdict"], "failed", "{report}");
    assert_eq!(daemon.stop().await.exit_code, Some(0));
}

#[tokio::test]
async fn a_stored_token_that_is_not_taken_is_a_warning_with_what_to_do() {
    let host = Host::new().await;
    let junk = |session: &mut gateway::state::session::Session| session.access_token = Secret::new("h.junk.s");
    SessionStore::new(&host.paths()).update(junk).unwrap();
    let report = host.cli(&DOCTOR).await.ok().json();
    let plane = check(&report, "Control plane");
    assert_eq!(plane["verdict"], "warning", "{report}");
    assert!(plane["hint"].as_str().unwrap().contains("gateway start"), "{report}");
    assert_eq!(check(&report, "Gateway"), &Value::Null, "none runs");
}

#[tokio::test]
async fn a_gateway_that_was_removed_is_not_usable() {
    let host = Host::new().await;
    host.cli(&DOCTOR).await.ok();
    host.plane.admin.remove_gateway(&host.paired.gateway_id).await.unwrap();
    let report = host.cli(&DOCTOR).await.exits(1).json();
    assert_eq!(check(&report, "Control plane")["verdict"], "failed", "{report}");
}

#[tokio::test]
async fn a_missing_guardian_is_told_until_the_next_job_brings_another() {
    let host = Host::new().await;
    let daemon = host.start_ready(&[]).await;
    let guardian = || async { daemon.status().await?.containment?.guardian };
    assert!(!host.cli(&["status"]).await.ok().stdout.contains("no guardian"));
    let report = host.cli(&DOCTOR).await.ok().json();
    assert_eq!(check(&report, "Guardian of jobs"), &Value::Null, "{report}");
    let pid = Pid::from_raw(guardian().await.unwrap().try_into().unwrap());
    kill(pid, Signal::SIGKILL).unwrap();
    eventually("the guardian to be missed", || async {
        guardian().await.is_none().then_some(())
    })
    .await;
    let said = host.cli(&["status"]).await.ok().stdout;
    assert!(said.contains("no guardian"), "{said}");
    let report = host.cli(&DOCTOR).await.ok().json();
    assert_eq!(check(&report, "Guardian of jobs")["verdict"], "warning", "{report}");
    host.done(&host.shell("true").await).await;
    assert!(guardian().await.is_some());
    assert_eq!(daemon.stop().await.exit_code, Some(0));
}
