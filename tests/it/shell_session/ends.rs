//! How a session ends, and what is left then: nothing.

use std::time::Duration;

use gateway::domain::job::JobStatus;
use gateway::job::handler::{ControlFacts, StopReason};
use gateway::process::identity::alive;
use serde_json::{Value, json};

use super::{Gateway, life};
use crate::shell_exec::facts;

/// Everything allowed but what `pointer` of the resource says.
fn with_resource(pointer: &str, value: Value) -> ControlFacts {
    let mut facts = facts();
    let row = facts.resource.as_mut().unwrap().as_mut().unwrap();
    *row.pointer_mut(pointer).unwrap() = value;
    facts
}

fn number(text: &str) -> u32 {
    let line = text.lines().find(|line| line.trim().parse::<u32>().is_ok());
    line.unwrap_or_else(|| panic!("no pid in {text:?}"))
        .trim()
        .parse()
        .unwrap()
}

#[tokio::test]
async fn an_interactive_shell_ends_with_its_jobs_without_the_last_resort() {
    let gateway = Gateway::new();
    let id = gateway.open(json!({"pty": true, "shell_args": ["--norc", "-i"]})).await;
    gateway.write(&id, "sleep 4321 & sleep 4322 & wait").await;
    let said = gateway.says(&id, "stdout", "[2] ").await;
    let announced = |line: &str| line.rsplit_once("] ")?.1.trim().parse::<u32>().ok();
    let pids: Vec<_> = said.lines().filter_map(announced).collect();
    assert_eq!(pids.len(), 2, "{said}");
    let began = tokio::time::Instant::now();
    let closed = gateway.act("close", &id).await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(closed["signal"], 1, "{closed}");
    assert!(pids.into_iter().all(|pid| !alive(pid, None)));
}

#[tokio::test]
async fn closing_ends_what_ignores_it_and_what_left_the_session() {
    let gateway = Gateway::new();
    let id = gateway.open(json!({})).await;
    gateway
        .write(&id, "trap '' TERM HUP; setsid sleep 4323 & echo $!; echo ready")
        .await;
    let pid = number(&gateway.says(&id, "stdout", "ready").await);
    assert_eq!(gateway.act("close", &id).await["signal"], 9);
    assert!(!alive(pid, None));
}

#[tokio::test]
async fn background_work_outlives_a_shell_that_exits_and_ends_with_a_close() {
    let gateway = Gateway::new();
    let id = gateway.open(json!({})).await;
    gateway.write(&id, "sleep 4324 & echo $!; exit").await;
    gateway.reaches(&id, "exited").await;
    let pid = number(&gateway.said(&id, "stdout").await);
    assert!(alive(pid, None));
    gateway.act("close", &id).await;
    assert!(!alive(pid, None));
}

#[tokio::test]
async fn a_withdrawn_resource_closes_the_session() {
    let gateway = Gateway::new();
    let why = "Remote shell resource machine control is disabled";
    let id = gateway.open(json!({})).await;
    let viewer = with_resource("/max_access_level", json!("viewer"));
    assert_eq!(
        gateway
            .run(json!({"action": "read", "session_id": id}), &life(viewer))
            .await
            .status(),
        JobStatus::Completed
    );
    let off = with_resource("/metadata/full_control", json!(false));
    let (error, result) = gateway
        .refused_under(json!({"action": "status", "session_id": id}), off)
        .await;
    assert_eq!((error.as_str(), &result["status"]), (why, &json!("closed")));
    assert!(
        gateway
            .said(&id, "system")
            .await
            .ends_with(&format!("Session closed: {why}"))
    );
}

#[tokio::test]
async fn a_session_ends_with_the_word_of_host_or_team_but_not_with_a_late_heartbeat() {
    let gateway = Gateway::new();
    let id = gateway.open(json!({})).await;
    let change = |column: &str, value: Value| {
        let mut facts = facts();
        facts.gateway.as_mut().unwrap().as_mut().unwrap()[column] = value;
        facts
    };
    let status = json!({"action": "status", "session_id": id});
    let (error, _) = gateway
        .refused_under(status.clone(), change("last_seen_at", json!(null)))
        .await;
    assert_eq!(error, "Gateway is offline or heartbeat is stale");
    assert_eq!(gateway.act("status", &id).await["status"], "running");
    let (error, result) = gateway
        .refused_under(status, change("full_control_enabled", json!(false)))
        .await;
    assert_eq!(result, json!({"message": error}));
    assert_eq!(gateway.act("status", &id).await["status"], "closed");
}

#[tokio::test]
async fn another_context_sees_no_session() {
    let mut gateway = Gateway::new();
    let id = gateway.open(json!({})).await;
    let other = gateway::domain::ids::GatewayId::new("h").unwrap();
    let own = std::mem::replace(&mut gateway.cx.identity.gateway_id, other);
    let (error, _) = gateway.refused(json!({"action": "read", "session_id": id})).await;
    assert_eq!(error, "Shell session belongs to another gateway context");
    gateway.cx.identity.gateway_id = own;
    gateway.act("close", &id).await;
}

#[tokio::test]
async fn a_cancelled_job_opens_nothing() {
    let gateway = Gateway::new();
    let life = life(facts());
    life.end(StopReason::Cancelled);
    let outcome = gateway.run(json!({"action": "open"}), &life).await;
    assert_eq!(
        outcome.error(),
        Some("Gateway shell session job was cancelled before execution")
    );
    assert_eq!(gateway.cx.sessions.running(), 0);
}
