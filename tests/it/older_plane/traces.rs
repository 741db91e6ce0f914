//! What a turn leaves behind when its agent strays, tells too much, may not do all, or others write at the same time.

use std::sync::atomic::Ordering;

use gateway::control_plane::registry::SUBAGENTS;
use gateway::control_plane::store::Rows;
use serde_json::{Value, json};
use uuid::Uuid;

use super::Stage;

#[tokio::test]
async fn a_turn_in_another_session_leaves_the_next_one_the_right_one() {
    let stage = Stage::new().await;
    let daemon = stage.start().await;
    let session = "01a1fbb6-0000-7000-8000-000000000000";
    let subagent = stage.subagent("stray", json!({"session_id": session})).await;
    let job = stage.turn(json!({"subagent_id": subagent})).await;
    assert_eq!(job["status"], "failed", "{job}");
    let row = stage.older.subagent_row(&subagent).await;
    assert_eq!(
        (&row["metadata"]["failure"], &row["metadata"]["session_id"]),
        (&json!("session"), &json!(session))
    );
    assert_eq!(daemon.stop().await.exit_code, Some(0));
}

#[tokio::test]
async fn a_session_that_is_gone_is_forgotten() {
    let stage = Stage::new().await;
    let daemon = stage.start().await;
    let session = "01a1fbb6-0000-7000-8000-000000000007";
    let subagent = stage.subagent("gone", json!({"session_id": session})).await;
    let job = stage.turn(json!({"subagent_id": subagent})).await;
    let why = job["error"].as_str().unwrap();
    assert!(why.contains("no rollout found"), "{why}");
    assert!(why.ends_with("The next turn begins a new session."), "{why}");
    let row = stage.older.subagent_row(&subagent).await;
    assert_eq!(
        (&row["metadata"]["failure"], &row["metadata"]["session_id"]),
        (&json!("no_session"), &Value::Null)
    );
    let again = Rows::of(&SUBAGENTS).eq("id", &subagent);
    stage.older.update(again, &json!({"status": "running"})).await;
    let job = stage.turn(json!({"subagent_id": subagent})).await;
    assert_eq!(job["status"], "completed", "{job}");
    assert_eq!(daemon.stop().await.exit_code, Some(0));
}

#[tokio::test]
async fn an_answer_to_the_end_that_nobody_understands_ends_it_too() {
    let stage = Stage::new().await;
    stage.older.mumbles.store(true, Ordering::SeqCst);
    let daemon = stage.start().await;
    let subagent = stage.subagent("one", json!({})).await;
    let job = stage.turn(json!({"subagent_id": subagent})).await;
    let why = "Unexpected response from finalize-gateway-subagent-run";
    assert_eq!((&job["status"], &job["error"]), (&json!("failed"), &json!(why)));
    let run = stage.older.runs_of(&subagent).await.remove(0);
    assert_eq!((&run["status"], &run["error"]), (&json!("failed"), &json!(why)));
    assert_eq!(stage.older.subagent_row(&subagent).await["status"], "failed");
    assert_eq!(daemon.stop().await.exit_code, Some(0));
}

#[tokio::test]
async fn a_turn_is_not_skipped_because_nobody_says_whether_it_is_the_next() {
    let stage = Stage::new().await;
    stage.older.secrets.store(1, Ordering::SeqCst);
    let daemon = stage.start().await;
    let subagent = stage.subagent("one", json!({"current_run_id": Uuid::new_v4()})).await;
    let asked = json!({"subagent_id": subagent, "run_id": Uuid::new_v4()});
    let job = stage.turn(asked).await;
    assert_eq!(
        (&job["status"], &job["result"]["message"]),
        (&json!("failed"), &json!("Failed to load accepted subagent run")),
        "{job}"
    );
    assert_eq!(stage.older.subagent_row(&subagent).await["status"], "failed");
    assert_eq!(daemon.stop().await.exit_code, Some(0));
}

#[tokio::test]
async fn a_key_in_what_an_agent_says_of_its_failure_reaches_nobody() {
    let stage = Stage::new().await;
    let daemon = stage.start().await;
    let subagent = stage.subagent("leak", json!({})).await;
    let job = stage.turn(json!({"subagent_id": subagent})).await;
    let run = stage.older.runs_of(&subagent).await.remove(0);
    let error = run["error"].as_str().unwrap();
    assert!(error.contains("no such key: [REDACTED]"), "{error}");
    assert_eq!(run["metadata"]["stderr"], "sent Authorization: [REDACTED]\n");
    let told: String = stage.recorder.seen().into_iter().map(|seen| seen.body).collect();
    assert!(!told.contains("hunter2"), "{told}");
    assert_eq!(job["status"], "failed");
    assert_eq!(daemon.stop().await.exit_code, Some(0));
}

#[tokio::test]
async fn the_end_is_told_also_when_somebody_else_speaks_just_then() {
    let stage = Stage::new().await;
    stage.older.contested.lock().unwrap().push("run_completed");
    let daemon = stage.start().await;
    let subagent = stage.subagent("one", json!({})).await;
    let job = stage.turn(json!({"subagent_id": subagent})).await;
    assert_eq!(job["status"], "completed", "{job}");
    let run = stage.older.runs_of(&subagent).await.remove(0);
    assert_eq!(
        stage.events(&run).await,
        ["run_started", "run_progress", "message", "system", "run_completed"]
    );
    assert_eq!(daemon.stop().await.exit_code, Some(0));
}

#[tokio::test]
async fn events_whose_numbers_are_always_taken_are_counted() {
    let stage = Stage::new().await;
    *stage.older.contested.lock().unwrap() = vec!["hello"; 5];
    let daemon = stage.start().await;
    let subagent = stage.subagent("one", json!({})).await;
    let job = stage.turn(json!({"subagent_id": subagent})).await;
    assert_eq!(job["status"], "completed", "{job}");
    let run = stage.older.runs_of(&subagent).await.remove(0);
    let words = stage.events(&run).await;
    assert_eq!(words.iter().filter(|word| *word == "system").count(), 5, "{words:?}");
    assert!(!words.contains(&"message".to_owned()), "{words:?}");
    assert!(
        words.ends_with(&["run_progress".to_owned(), "run_completed".to_owned()]),
        "what is missing is told of: {words:?}"
    );
    assert_eq!(daemon.stop().await.exit_code, Some(0));
}

#[tokio::test]
async fn more_time_than_there_is_is_cut_and_said_to_be() {
    let stage = Stage::new().await;
    let daemon = stage.start().await;
    let subagent = json!({
        "team_id": stage.host.paired.team_id, "gateway_id": stage.host.paired.gateway_id,
        "input": {"prompt": "one"}, "metadata": {}, "config": {"timeout_ms": 1e12},
    });
    let subagent = stage.older.subagent(subagent).await;
    stage.turn(json!({"subagent_id": subagent})).await;
    let run = stage.older.runs_of(&subagent).await.remove(0);
    assert_eq!(
        (&run["metadata"]["timeout_ms"], &run["metadata"]["timeout_clamped"]),
        (&json!(14_400_000), &json!(true))
    );
    let command = run["metadata"]["command"].as_str().unwrap();
    assert!(command.contains("model_reasoning_effort=\"high\""), "{command}");
    assert_eq!(daemon.stop().await.exit_code, Some(0));
}

#[tokio::test]
async fn full_control_that_the_program_does_not_know_is_written_down_as_denied() {
    let stage = Stage::new().await;
    stage.sign("meek");
    let daemon = stage.start().await;
    let subagent = json!({
        "team_id": stage.host.paired.team_id, "gateway_id": stage.host.paired.gateway_id,
        "input": {"prompt": "one"}, "metadata": {}, "config": {"full_control": true},
    });
    let subagent = stage.older.subagent(subagent).await;
    let job = stage.turn(json!({"subagent_id": subagent})).await;
    let run = stage.older.runs_of(&subagent).await.remove(0);
    let why = job["error"].as_str().unwrap();
    assert!(why.starts_with("Codex CLI does not expose elevated"), "{why}");
    for key in ["full_control_requested", "full_control_effective"] {
        assert_eq!(run["metadata"][key], key == "full_control_requested", "{run}");
    }
    assert_eq!(run["metadata"]["full_control_denied_reason"], why);
    assert_eq!((stage.asked().as_str(), &run["status"]), ("", &json!("failed")));
    assert_eq!(daemon.stop().await.exit_code, Some(0));
}
