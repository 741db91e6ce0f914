//! A run is done once and ends once, whatever is lost, crashes, or was written by somebody else.

use std::sync::atomic::Ordering;

use gateway::control_plane::registry::{SUBAGENT_RUNS, SUBAGENTS};
use gateway::control_plane::store::Rows;
use serde_json::json;
use uuid::Uuid;

use super::Stage;
use crate::support::eventually::eventually;

#[tokio::test]
async fn a_run_is_done_once_however_many_jobs_name_it() {
    let stage = Stage::new().await;
    let subagent = stage.subagent("one", json!({})).await;
    let payload = json!({"subagent_id": subagent, "run_id": Uuid::new_v4()});
    let jobs = [stage.submit(payload.clone()).await, stage.submit(payload).await];
    let daemon = stage.start().await;
    assert_eq!(stage.host.done(&jobs[0]).await["status"], "completed");
    assert_eq!(stage.host.done(&jobs[1]).await["status"], "cancelled");
    assert_eq!(stage.asked(), "one\n");
    assert_eq!(stage.older.runs_of(&subagent).await[0]["status"], "completed");
    assert_eq!(daemon.stop().await.exit_code, Some(0));
}

#[tokio::test]
async fn a_run_of_somebody_else_is_left_alone() {
    let stage = Stage::new().await;
    let daemon = stage.start().await;
    let subagent = stage.subagent("one", json!({})).await;
    let other = Uuid::new_v4().to_string();
    let row = json!({
        "id": other, "subagent_id": subagent, "team_id": stage.host.paired.team_id, "run_sequence": 1,
        "gateway_id": stage.host.paired.gateway_id, "status": "running", "metadata": {},
    });
    stage.older.insert(&SUBAGENT_RUNS, &row).await;
    let job = stage.turn(json!({"subagent_id": subagent})).await;
    assert_eq!(
        (&job["status"], &job["result"]["active_run_id"]),
        (&json!("cancelled"), &json!(other)),
        "{job}"
    );
    let runs = stage.older.runs_of(&subagent).await;
    assert_eq!((runs.len(), &runs[0]["status"]), (1, &json!("running")));
    assert_eq!(stage.older.subagent_row(&subagent).await["status"], "running");
    assert_eq!(daemon.stop().await.exit_code, Some(0));
}

#[tokio::test]
async fn a_run_whose_writing_was_not_answered_is_ours() {
    let stage = Stage::with(|older| older.lost_inserts = 1.into()).await;
    let daemon = stage.start().await;
    let subagent = stage.subagent("one", json!({})).await;
    let job = stage.turn(json!({"subagent_id": subagent})).await;
    assert_eq!(job["status"], "completed", "{job}");
    assert_eq!(stage.older.runs_of(&subagent).await.len(), 1);
    assert_eq!(daemon.stop().await.exit_code, Some(0));
}

#[tokio::test]
async fn a_crash_between_the_runs_end_and_the_jobs_loses_nothing() {
    let stage = Stage::new().await;
    let daemon = stage.start().await;
    stage.recorder.refuse_results(true);
    let subagent = stage.subagent("one", json!({})).await;
    let job = stage.submit(json!({"subagent_id": subagent})).await;
    eventually("the run to end and its job to wait", || async {
        let ended = stage.older.subagent_row(&subagent).await["status"] == "completed";
        (ended && daemon.status().await?.unreported_results == 1).then_some(())
    })
    .await;
    let before = stage.older.runs_of(&subagent).await.remove(0);
    daemon.crash().await;
    stage.recorder.refuse_results(false);
    let daemon = stage.start().await;
    let job = stage.host.done(&job).await;
    assert_eq!(
        (&job["status"], &job["result"]["output"]["content"]),
        (&json!("completed"), &json!("hello")),
        "{job}"
    );
    let after = stage.older.runs_of(&subagent).await.remove(0);
    assert_eq!(after, before, "an end is written once");
    let events = stage.events(&after).await;
    assert_eq!(events.iter().filter(|word| *word == "run_completed").count(), 1);
    assert_eq!(daemon.stop().await.exit_code, Some(0));
}

#[tokio::test]
async fn a_crash_at_any_step_of_the_beginning_leaves_nothing_running() {
    for written in [false, true] {
        let stage = Stage::with(|older| older.lost_changes = if written { u32::MAX } else { 0 }.into()).await;
        let daemon = stage.start().await;
        // What an earlier turn has left.
        let subagent = stage.subagent("wait", json!({"current_run_id": Uuid::new_v4()})).await;
        let job = stage.submit(json!({"subagent_id": subagent})).await;
        eventually("the run to be written", || async {
            stage.older.runs_of(&subagent).await.pop()
        })
        .await;
        if !written {
            stage.at_work().await;
        }
        daemon.crash().await;
        stage.older.lost_changes.store(0, Ordering::SeqCst);
        let daemon = stage.start().await;
        assert_eq!(stage.host.done(&job).await["status"], "failed");
        let run = stage.older.runs_of(&subagent).await.remove(0);
        let row = stage.older.subagent_row(&subagent).await;
        assert_eq!(
            (&run["status"], &row["status"]),
            (&json!("failed"), &json!("failed")),
            "{run} {row}"
        );
        for metadata in [&run["metadata"], &row["metadata"]] {
            assert_eq!(
                (
                    &metadata["gateway_error"],
                    &metadata["subagent_type"],
                    &metadata["trust_zone"]
                ),
                (
                    &json!("Gateway was interrupted while the job ran"),
                    &json!("codex_gateway"),
                    &json!("user_delegated_host")
                )
            );
        }
        assert_eq!(stage.events(&run).await.last().unwrap(), "run_failed");
        assert_eq!(daemon.stop().await.exit_code, Some(0));
    }
}

#[tokio::test]
async fn an_end_that_somebody_else_wrote_stands() {
    let stage = Stage::new().await;
    let daemon = stage.start().await;
    let subagent = stage.subagent("wait", json!({})).await;
    let job = stage.submit(json!({"subagent_id": subagent})).await;
    stage.at_work().await;
    let end = json!({"status": "cancelled", "error": "by the portal", "completed_at": "2026-11-21T10:00:00Z"});
    let rows = [
        Rows::of(&SUBAGENT_RUNS).eq("subagent_id", &subagent),
        Rows::of(&SUBAGENTS).eq("id", &subagent),
    ];
    for rows in rows {
        stage.older.update(rows, &end).await;
    }
    let before = [
        stage.older.runs_of(&subagent).await.remove(0),
        stage.older.subagent_row(&subagent).await,
    ];
    stage.go();
    let job = stage.host.done(&job).await;
    assert_eq!(
        (&job["status"], &job["error"]),
        (&json!("failed"), &json!("The run is cancelled already.")),
        "{job}"
    );
    let after = [
        stage.older.runs_of(&subagent).await.remove(0),
        stage.older.subagent_row(&subagent).await,
    ];
    assert_eq!(after, before);
    assert_eq!(daemon.stop().await.exit_code, Some(0));
}

#[tokio::test]
async fn what_others_write_meanwhile_is_kept() {
    let stage = Stage::new().await;
    let intrude = |tables: &[&'static str]| stage.older.intrusions.lock().unwrap().extend(tables);
    let daemon = stage.start().await;
    intrude(&["subagents"]);
    let subagent = stage.subagent("wait", json!({"kept": "x"})).await;
    let job = stage.submit(json!({"subagent_id": subagent})).await;
    stage.at_work().await;
    intrude(&["subagent_runs", "subagents"]);
    stage.go();
    assert_eq!(stage.host.done(&job).await["status"], "completed");
    let run = stage.older.runs_of(&subagent).await.remove(0);
    let row = stage.older.subagent_row(&subagent).await;
    assert_eq!(
        (&run["status"], &row["status"]),
        (&json!("completed"), &json!("completed"))
    );
    assert_eq!(run["metadata"]["others_2"], true, "{run}");
    for key in ["others_1", "others_3"] {
        assert_eq!(row["metadata"][key], true, "{row}");
    }
    assert_eq!(
        (&row["metadata"]["kept"], &row["metadata"]["exit_code"]),
        (&json!("x"), &json!(0))
    );
    assert_eq!(daemon.stop().await.exit_code, Some(0));
}
