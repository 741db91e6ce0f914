//! What the daemon tells about its host, and that nothing ever waits for it.

use gateway::config::paths::Paths;
use gateway::state::fs::OwnerDir;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::daemon::Host;
use crate::support::eventually::eventually;
use crate::support::recorder::{EventFate, Seen};

const NO_CLIS: [(&str, &str); 3] = [
    ("PANORAMA_CLAUDE_CLI", "/nowhere/claude"),
    ("PANORAMA_CODEX_CLI", "/nowhere/codex"),
    ("PANORAMA_GEMINI_CLI", "/nowhere/gemini"),
];

fn about(seen: &Seen) -> bool {
    seen.target.contains("gateway_events")
}

fn column(rows: &[Value], name: &str) -> Vec<Value> {
    rows.iter().map(|row| row[name].clone()).collect()
}

#[tokio::test]
async fn a_host_without_agent_clis_says_so_once_per_start() {
    let host = Host::new().await;
    for starts in [1, 2] {
        let daemon = host.start_ready(&NO_CLIS).await;
        let rows = host.told(3 * starts).await;
        assert_eq!(host.done(&host.shell("true").await).await["status"], "completed");
        assert_eq!(daemon.stop().await.exit_code, Some(0));
        assert_eq!(host.events().await, rows, "nothing is told twice in one life");
        let firsts: Vec<Value> = rows.iter().step_by(starts).cloned().collect();
        assert_eq!(column(&firsts, "provider"), ["claude_code", "codex", "gemini"]);
        assert!(
            rows.iter()
                .all(|row| row["gateway_id"] == json!(host.paired.gateway_id))
        );
        assert!(rows.iter().all(|row| row["details"]["context"] == "startup"));
        assert_eq!(
            rows[0]["message"],
            "claude_code validation failed: spawn /nowhere/claude ENOENT"
        );
    }
}

#[tokio::test]
async fn a_state_directory_that_had_to_move_is_told() {
    let host = Host::new().await;
    let dir = OwnerDir::open_or_create(&host.paths().dir).unwrap();
    dir.replace("in-use", b"instead of /home/x/.panorama/gateway\n")
        .unwrap();
    let daemon = host.start_ready(&NO_CLIS).await;
    let rows = host.told(4).await;
    let moved = rows.iter().find(|row| row["code"] == "config_dir_fallback").unwrap();
    assert_eq!((&moved["level"], &moved["provider"]), (&json!("warn"), &Value::Null));
    let current = host.paths().dir.display().to_string();
    let details = json!({"previous": "/home/x/.panorama/gateway", "current": current});
    assert_eq!(moved["details"], details);
    assert_eq!(daemon.stop().await.exit_code, Some(0));
}

#[tokio::test]
async fn an_event_that_is_never_answered_delays_nothing() {
    let (host, recorder) = Host::recorded().await;
    recorder.end_events_in(EventFate::Silence);
    let daemon = host.start_ready(&NO_CLIS).await;
    let sent = || async { recorder.seen().iter().any(about).then_some(()) };
    eventually("an event on its way", sent).await;
    assert_eq!(host.done(&host.shell("true").await).await["status"], "completed");
    let started = Instant::now();
    assert_eq!(daemon.stop().await.exit_code, Some(0));
    // A request may take 20 s.
    assert!(started.elapsed().as_secs() < 10, "{:?}", started.elapsed());
    assert_eq!(recorder.seen().iter().filter(|seen| about(seen)).count(), 1);
    assert_eq!(host.wire_status().await, "offline");
}

#[tokio::test]
async fn a_start_during_an_outage_tells_afterwards() {
    let (host, recorder) = Host::recorded().await;
    recorder.down(true);
    let daemon = host.start(&NO_CLIS);
    daemon.reaches("offline").await;
    recorder.down(false);
    daemon.ready().await;
    assert_eq!(column(&host.told(3).await, "level"), ["warn", "warn", "warn"]);
    assert_eq!(daemon.stop().await.exit_code, Some(0));
}

#[tokio::test]
async fn a_refused_event_is_logged_and_not_sent_again() {
    let (host, recorder) = Host::recorded().await;
    recorder.end_events_in(EventFate::Refused(403));
    let daemon = host.start_ready(&NO_CLIS).await;
    let log = || async {
        let lines = log(&host.paths());
        (lines.matches("Failed to record gateway event").count() == 3).then_some(lines)
    };
    let lines = eventually("three failures in the log", log).await;
    assert!(lines.contains("provider_validation"), "{lines}");
    assert_eq!(host.done(&host.shell("true").await).await["status"], "completed");
    assert_eq!(daemon.stop().await.exit_code, Some(0));
    assert_eq!(recorder.seen().iter().filter(|seen| about(seen)).count(), 3);
    assert_eq!(host.events().await, Vec::<Value>::new());
}

fn log(paths: &Paths) -> String {
    std::fs::read_to_string(&paths.log_file).unwrap_or_default()
}
