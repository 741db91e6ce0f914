//! How a turn is written down, from its beginning to its end.

use gateway::control_plane::registry::SUBAGENTS;
use gateway::control_plane::store::Rows;
use serde_json::{Value, json};
use uuid::Uuid;

use super::Stage;

async fn two_turns(numbers: bool) {
    let stage = Stage::with(|older| older.numbers = numbers).await;
    let daemon = stage.start().await;
    let subagent = stage.subagent("one", json!({"kept": "x"})).await;
    let job = stage.turn(json!({"subagent_id": subagent})).await;
    assert_eq!(
        (&job["status"], &job["result"]["output"]["content"]),
        (&json!("completed"), &json!("hello")),
        "{job}"
    );
    let again = json!({"status": "running", "input": {"prompt": "two"}});
    stage
        .older
        .update(Rows::of(&SUBAGENTS).eq("id", &subagent), &again)
        .await;
    let second = Uuid::new_v4().to_string();
    let job = stage.turn(json!({"subagent_id": subagent, "run_id": second})).await;
    assert_eq!(job["status"], "completed", "{job}");
    assert_eq!(stage.asked(), "one\ntwo\n");
    let runs = stage.older.runs_of(&subagent).await;
    let numbers: Vec<&Value> = runs.iter().map(|run| &run["run_sequence"]).collect();
    assert_eq!(numbers, [&json!(1), &json!(2)]);
    assert_eq!(runs[1]["id"], json!(second));
    for run in &runs {
        assert_eq!(
            (&run["status"], &run["output"]["content"], &run["error"]),
            (&json!("completed"), &json!("hello"), &Value::Null),
            "{run}"
        );
        assert!(
            run["started_at"].is_string() && run["completed_at"].is_string(),
            "{run}"
        );
        let metadata = &run["metadata"];
        assert_eq!(
            (&metadata["runner"], &metadata["cancel_state"], &metadata["exit_code"]),
            (&json!("gateway"), &json!("none"), &json!(0)),
            "{run}"
        );
        assert_eq!(metadata["stderr"], "a word aside\n", "{run}");
        assert_eq!(
            stage.events(run).await,
            ["run_started", "run_progress", "message", "run_completed"]
        );
    }
    let row = stage.older.subagent_row(&subagent).await;
    assert_eq!(
        (
            &row["status"],
            &row["metadata"]["kept"],
            &row["metadata"]["current_run_id"]
        ),
        (&json!("completed"), &json!("x"), &json!(second))
    );
    assert_eq!(daemon.stop().await.exit_code, Some(0));
}

#[tokio::test]
async fn two_turns_are_written_and_numbered() {
    two_turns(true).await;
}

#[tokio::test]
async fn turns_are_numbered_here_where_nobody_else_does() {
    two_turns(false).await;
}

#[tokio::test]
async fn a_failed_turn_fails_run_and_subagent() {
    let stage = Stage::new().await;
    let daemon = stage.start().await;
    let subagent = stage.subagent("fail", json!({})).await;
    let job = stage.turn(json!({"subagent_id": subagent})).await;
    assert_eq!(job["status"], "failed", "{job}");
    let run = stage.older.runs_of(&subagent).await.remove(0);
    for row in [&run, &stage.older.subagent_row(&subagent).await] {
        assert_eq!(
            (&row["status"], &row["error"]),
            (&json!("failed"), &json!("Codex: out of ideas")),
            "{row}"
        );
        assert_eq!(row["output"]["errors"], json!(["Codex: out of ideas"]));
    }
    assert_eq!(stage.events(&run).await.last().unwrap(), "run_failed");
    assert_eq!(daemon.stop().await.exit_code, Some(0));
}

#[tokio::test]
async fn a_cancelled_turn_ends_cancelled() {
    let stage = Stage::new().await;
    let daemon = stage.start().await;
    let subagent = stage.subagent("wait", json!({})).await;
    let job = stage.submit(json!({"subagent_id": subagent})).await;
    stage.at_work().await;
    let cancel = json!({"subagent_id": subagent, "reason": "enough"});
    let cancel = stage.host.submit("subagent_cancel", cancel, json!({})).await;
    assert_eq!(stage.host.done(&cancel).await["result"]["cancel_result"], "accepted");
    let job = stage.host.done(&job).await;
    assert_eq!(
        (&job["status"], &job["result"]["status"]),
        (&json!("completed"), &json!("cancelled")),
        "{job}"
    );
    let run = stage.older.runs_of(&subagent).await.remove(0);
    for row in [&run, &stage.older.subagent_row(&subagent).await] {
        assert_eq!(
            (&row["status"], &row["error"], &row["metadata"]["cancel_state"]),
            (&json!("cancelled"), &json!("enough"), &json!("acknowledged")),
            "{row}"
        );
    }
    let events = stage.events(&run).await;
    assert!(
        events.ends_with(&["cancellation_acknowledged".to_owned(), "run_cancelled".to_owned()]),
        "{events:?}"
    );
    assert_eq!(daemon.stop().await.exit_code, Some(0));
}

#[tokio::test]
async fn a_turn_cancelled_before_it_began_is_written_down_as_that() {
    let stage = Stage::new().await;
    let daemon = stage.start().await;
    let run = Uuid::new_v4().to_string();
    let metadata = json!({"cancel_run_id": run, "cancel_reason": "too late", "current_run_id": Uuid::new_v4()});
    let subagent = stage.subagent("one", metadata).await;
    let job = stage.turn(json!({"subagent_id": subagent, "run_id": run})).await;
    assert_eq!(
        (&job["status"], &job["result"]["error"]),
        (&json!("completed"), &json!("too late")),
        "{job}"
    );
    assert_eq!(stage.asked(), "");
    let written = stage.older.runs_of(&subagent).await.remove(0);
    for row in [&written, &stage.older.subagent_row(&subagent).await] {
        assert_eq!(
            (&row["status"], &row["error"], &row["metadata"]["cancelled"]),
            (&json!("cancelled"), &json!("too late"), &json!(true)),
            "{row}"
        );
    }
    assert_eq!(written["id"], json!(run));
    assert_eq!(
        stage.events(&written).await,
        ["cancellation_requested", "cancellation_acknowledged", "run_cancelled"]
    );
    assert_eq!(daemon.stop().await.exit_code, Some(0));
}
