//! Runs that end otherwise than with an answer, and those that never begin.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, BufReader};

use super::{Stage, ended, next_line, partial};
use crate::support::eventually::PATIENCE;
use crate::support::home::Home;

#[tokio::test]
async fn failures_have_their_codes() {
    let stage = Stage::new().await;
    let timed_out = json!({"timed_out": true, "usage": {"input_tokens": 5, "output_tokens": 6}});
    let refusal = "Gateway machine control is disabled in Team Integrations.";
    for (metadata, error, code, part) in [
        (json!({}), "Claude is over its quota.", 1, "Claude is over its quota."),
        (timed_out, "too slow", 124, "Tokens: 5 in, 6 out"),
        (json!({}), refusal, 6, "gateway control-plane gateway full-control"),
    ] {
        let child = stage.start(&["run", "hi"], "").await;
        let turn = stage.take("subagent_run").await;
        turn.events(1, &[partial("I begin")]).await;
        turn.end("failed", &Value::Null, Some(error), metadata).await;
        let done = ended(child).await.exits(code);
        assert_eq!(done.stdout, "I begin\n");
        assert!(done.stderr.contains(part) && done.stderr.contains(error), "{done:?}");
    }
}

#[tokio::test]
async fn an_interrupt_cancels_and_waits_for_the_end() {
    let stage = Stage::new().await;
    let mut child = stage.start(&["run", "hi"], "").await;
    let turn = stage.take("subagent_run").await;
    turn.events(1, &[partial("working\n")]).await;
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    next_line(&mut stdout).await;
    let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap());
    kill(pid, Signal::SIGINT).unwrap();
    let cancel = stage.take("subagent_cancel").await;
    assert_eq!(cancel.job["payload"]["run_id"], turn.job["payload"]["run_id"]);
    turn.end(
        "cancelled",
        &Value::Null,
        Some("Interrupted by the operator"),
        json!({}),
    )
    .await;
    let done = ended(child).await.exits(130);
    assert!(done.stderr.contains("the run was cancelled"), "{done:?}");
}

#[tokio::test]
async fn a_second_interrupt_leaves_the_run_and_ends_the_line() {
    let stage = Stage::new().await;
    let mut child = stage.start(&["run", "hi"], "").await;
    let turn = stage.take("subagent_run").await;
    turn.events(1, &[partial("half a line")]).await;
    let mut stdout = child.stdout.take().unwrap();
    let mut begun = [0; 11];
    tokio::time::timeout(PATIENCE, stdout.read_exact(&mut begun))
        .await
        .unwrap()
        .unwrap();
    let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap());
    kill(pid, Signal::SIGINT).unwrap();
    stage.take("subagent_cancel").await;
    kill(pid, Signal::SIGINT).unwrap();
    let done = ended(child).await.exits(130);
    assert!(done.stderr.contains("gateway job watch"), "{done:?}");
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "\n");
}

#[tokio::test]
async fn a_run_that_nobody_takes_is_taken_back_whole() {
    let stage = Stage::new().await;
    let done = stage.to_end(&["run", "hi"], "").await.exits(5);
    assert!(done.stderr.contains("No gateway took the job."), "{done:?}");
    for table in ["gateway_jobs", "subagent_runs", "subagents"] {
        assert_eq!(stage.rows(table).await[0]["status"], "cancelled", "{table}");
    }
    let child = stage.start(&["run", "--resume", "again"], "").await;
    let id = stage.take("subagent_run").await.job["payload"]["subagent_id"].clone();
    assert_eq!(id, stage.rows("subagents").await[0]["id"]);
    drop(child);
}

#[expect(clippy::disallowed_methods, reason = "a file as a person writes it")]
#[tokio::test]
async fn what_cannot_be_sent_is_refused_before_a_row_is_written() {
    let stage = Stage::new().await;
    std::fs::write(stage.home.path().join("bad.json"), "[1]").unwrap();
    std::fs::write(stage.home.path().join("odd.json"), r#"{"type": "odd"}"#).unwrap();
    let long = "x".repeat(10_000_001);
    for (args, input, part) in [
        (&["run", "-"][..], "a\0b", "NUL"),
        (&["run", "-"], " \n", "empty"),
        (
            &["run", "-", "--provider", "claude"],
            long.as_str(),
            "Claude takes at most 10000000",
        ),
        (&["run", "--schema", "bad.json", "x"], "", "no JSON object"),
        (&["run", "--schema", "odd.json", "x"], "", "not valid: at /type"),
        (&["run", "--timeout", "5h", "x"], "", "4h"),
        (&["run", "--sesion", "x"], "", "--session"),
    ] {
        let done = stage.to_end(args, input).await.exits(2);
        assert!(done.stderr.contains(part), "{args:?}: {done:?}");
    }
    stage.beat("unhealthy", "unhealthy").await;
    let done = stage.to_end(&["run", "x"], "").await.exits(1);
    assert!(done.stderr.contains("gateway doctor"), "{done:?}");
    assert_eq!(stage.rows("subagents").await, [Value::Null; 0]);
    let nobody = Home::new();
    nobody.gateway(&["run", "x"]).exits(7);
}
