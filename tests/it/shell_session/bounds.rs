//! What a session may and may not: refusals, limits, and how long it stays.

use std::time::Duration;

use gateway::domain::job::JobStatus;
use gateway::job::handler::StopReason;
use serde_json::{Value, json};

use super::{Gateway, life};
use crate::shell_exec::facts;

#[tokio::test]
async fn a_flood_keeps_its_end() {
    let gateway = Gateway::new();
    let id = gateway
        .open(json!({"shell_args": ["-c", "yes 0123456789 | head -c 5000000; echo end"]}))
        .await;
    gateway.reaches(&id, "exited").await;
    let read = gateway
        .ok(json!({"action": "read", "session_id": id, "max_events": 1000}))
        .await;
    let events = read["events"].as_array().unwrap();
    let cost = |event: &Value| event["data"].as_str().unwrap().len() + 64;
    assert!(events.iter().map(cost).sum::<usize>() <= 1_000_000);
    assert!(events[0]["sequence"].as_u64().unwrap() > 1);
    assert!(gateway.said(&id, "stdout").await.ends_with("end\n"));
}

#[tokio::test]
async fn a_shell_that_does_not_read_blocks_nobody_for_long() {
    let gateway = Gateway::new();
    let id = gateway.open(json!({})).await;
    gateway.write(&id, "echo busy; sleep 4326").await;
    gateway.says(&id, "stdout", "busy").await;
    let full = json!({"action": "write", "session_id": id, "input": "x".repeat(200_000)});
    tokio::time::pause();
    let (error, result) = gateway.refused(full.clone()).await;
    tokio::time::resume();
    let taken = format!("timed out after 10 s, {} of 200000 bytes", result["bytes_written"]);
    assert!(error.contains(&taken), "{error}");
    let life = life(facts());
    let (outcome, ()) = tokio::join!(gateway.run(full.clone(), &life), async {
        life.end(StopReason::Cancelled);
    });
    assert_eq!(outcome.status(), JobStatus::Cancelled);
    let (refused, closed) = tokio::join!(gateway.refused(full), gateway.act("close", &id));
    assert_eq!(closed["status"], "closed");
    assert!(
        refused.0.starts_with("Failed to write to shell session: "),
        "{}",
        refused.0
    );
    let (error, _) = gateway
        .refused(json!({"action": "write", "session_id": id, "input": "x".repeat(300_000)}))
        .await;
    assert_eq!(error, "Shell session input is too large (300000 bytes, max 262144)");
}

#[tokio::test]
async fn what_is_not_understood_or_not_there_is_refused_in_order() {
    let gateway = Gateway::new();
    let refusals = [
        (json!({"action": "run"}), "Invalid shell session action"),
        (
            json!({"action": "open", "resource_id": " "}),
            "Missing resource_id in payload",
        ),
        (
            json!({"action": "open", "resource_id": "x"}),
            "Remote shell resource not found",
        ),
        (
            json!({"action": "open", "shell_args": "x"}),
            "Invalid shell_args in payload",
        ),
        (json!({"action": "open", "env": []}), "Invalid env in payload"),
        (
            json!({"action": "open", "pty": true, "rows": 0}),
            "Invalid columns or rows in payload",
        ),
        (
            json!({"action": "open", "shell": "/nowhere/sh"}),
            "Failed to open shell session: spawn /nowhere/sh ENOENT",
        ),
        (
            json!({"action": "open", "shell": "/nowhere/sh", "pty": true}),
            "Failed to open shell session: spawn /nowhere/sh ENOENT",
        ),
        (json!({"action": "read"}), "Missing session_id in payload"),
        (
            json!({"action": "read", "session_id": "x"}),
            "Shell session not found or expired",
        ),
    ];
    for (payload, expected) in refusals {
        assert_eq!(gateway.refused(payload).await.0, expected);
    }
    assert_eq!(gateway.cx.sessions.running(), 0);
}

#[tokio::test]
async fn a_session_is_known_by_its_id_and_its_resource() {
    let gateway = Gateway::new();
    let (_, result) = gateway.refused(json!({"action": "open", "env": []})).await;
    assert_eq!(
        result["message"],
        "Invalid env in payload (expected string/number/boolean map)"
    );
    let id = gateway.open(json!({"session_id": " mine "})).await;
    assert_eq!(id, "mine");
    let refusals = [
        (
            json!({"action": "open", "session_id": "mine"}),
            "Shell session ID already exists",
        ),
        (json!({"action": "write", "session_id": id}), "Missing input in payload"),
        (
            json!({"action": "resize", "session_id": id}),
            "Unsupported shell session action: resize",
        ),
        (
            json!({"action": "read", "session_id": id, "resource_id": "x"}),
            "Shell session resource mismatch",
        ),
    ];
    for (payload, expected) in refusals {
        assert_eq!(gateway.refused(payload).await.0, expected);
    }
    gateway.act("close", &id).await;
}

#[tokio::test]
async fn at_most_sixty_four_run() {
    let gateway = Gateway::new();
    for _ in 0..64 {
        gateway.open(json!({"shell": "/bin/cat"})).await;
    }
    let (error, result) = gateway.refused(json!({"action": "open"})).await;
    assert_eq!(error, "Too many active shell sessions (max 64)");
    assert_eq!(result["max_active_sessions"], 64);
    gateway.cx.sessions.close_all("gateway_shutdown_SIGTERM").await;
    assert_eq!(gateway.cx.sessions.running(), 0);
    gateway.open(json!({})).await;
}

#[tokio::test]
async fn what_is_over_is_forgotten_after_fifteen_minutes() {
    let gateway = Gateway::new();
    let id = gateway.open(json!({"shell_args": ["-c", "read -r go"]})).await;
    gateway.write(&id, "go").await;
    gateway.reaches(&id, "exited").await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(15 * 60 - 1)).await;
    gateway.act("status", &id).await;
    tokio::time::advance(Duration::from_secs(1)).await;
    let (error, _) = gateway.refused(json!({"action": "status", "session_id": id})).await;
    assert_eq!(error, "Shell session not found or expired");
}

#[tokio::test]
async fn a_session_nobody_uses_is_closed() {
    let gateway = Gateway::new();
    let id = gateway.open(json!({"idle_timeout_ms": 3_600_000})).await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(3599)).await;
    assert_eq!(gateway.act("status", &id).await["status"], "running");
    tokio::time::advance(Duration::from_secs(3600)).await;
    tokio::time::resume();
    gateway.reaches(&id, "closed").await;
    assert!(
        gateway
            .said(&id, "system")
            .await
            .ends_with("Session closed: nobody used it for 3600 s")
    );
}

/// Nobody learns the id of such a shell, so nobody could close it.
#[tokio::test]
async fn a_job_cancelled_while_it_opens_leaves_no_shell() {
    let gateway = Gateway::new();
    let life = life(facts());
    let open = json!({"action": "open", "shell": "/bin/bash", "session_id": "mine"});
    let (outcome, ()) = tokio::join!(gateway.run(open, &life), async {
        life.end(StopReason::Cancelled);
    });
    assert_eq!(outcome.status(), JobStatus::Cancelled);
    assert_eq!(gateway.cx.sessions.running(), 0);
    assert_eq!(gateway.act("status", "mine").await["status"], "closed");
}
