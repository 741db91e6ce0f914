//! Turns of subagents on a control plane of the older kind: nobody accepts runs beforehand, and no function ends them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use gateway::control_plane::registry::{SUBAGENT_RUNS, SUBAGENTS};
use gateway::control_plane::store::Rows;
use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;

use crate::support::daemon::{Daemon, Host};
use crate::support::eventually::eventually;
use crate::support::fake_agent::script;
use crate::support::older::Older;
use crate::support::recorder::Recorder;

const HELP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/providers/codex/help.txt");

/// A host whose only agent is a Codex that fails, waits or answers as it is told.
pub(crate) struct Stage {
    pub(crate) host: Host,
    pub(crate) recorder: Recorder,
    pub(crate) older: Arc<Older>,
    agent: TempDir,
}

impl Stage {
    pub(crate) async fn new() -> Self {
        Self::with(|_| ()).await
    }

    async fn with(change: impl FnOnce(&mut Older)) -> Self {
        let (host, recorder) = Host::recorded().await;
        let mut older = Older::of(&host.plane).await;
        change(&mut older);
        let older = Arc::new(older);
        recorder.older(&older);
        let agent = tempfile::tempdir().unwrap();
        let body = format!(
            r#"case "$*" in --version) echo codex-cli 0.169.0; exit;; esac
            case "$*" in *--help*)
                [ -e "${{0%/*}}/meek" ] && grep -v sandbox '{HELP}' || cat '{HELP}'; exit;;
            esac
            prompt=$(cat); echo "$prompt" >>"${{0%/*}}/asked"
            case "$prompt $*" in "gone "*resume*)
                echo 'Error: thread/resume: thread/resume failed: no rollout found for thread id x (code -32600)' >&2
                exit 1;;
            esac
            case "$prompt" in stray) thread=1;; *) thread=0;; esac
            echo '{{"type":"thread.started","thread_id":"01a1fbb6-0000-7000-8000-00000000000'$thread'"}}'
            case "$prompt" in
                leak) echo 'sent Authorization: Bearer hunter2-hunter2' >&2
                    echo '{{"type":"turn.failed","error":{{"message":"no such key: sk-ant-hunter2-hunter2-hunter2"}}}}'
                    exit 1;;
                fail) echo '{{"type":"turn.failed","error":{{"message":"out of ideas"}}}}'; exit 1;;
                wait) while [ ! -e "${{0%/*}}/go" ]; do sleep 0.05; done;;
            esac
            echo '{{"type":"item.completed","item":{{"id":"i","type":"agent_message","text":"hello"}}}}'
            echo 'a word aside' >&2
            echo '{{"type":"turn.completed","usage":{{"input_tokens":3}}}}'"#
        );
        script(agent.path(), &body);
        Self {
            host,
            recorder,
            older,
            agent,
        }
    }

    pub(crate) async fn start(&self) -> Daemon {
        let codex = self.agent.path().join("agent").display().to_string();
        let settings = [
            ("PANORAMA_CODEX_CLI", codex.as_str()),
            ("PANORAMA_CLAUDE_CLI", "/nowhere/claude"),
            ("PANORAMA_GEMINI_CLI", "/nowhere/gemini"),
        ];
        self.host.start_ready(&settings).await
    }

    pub(crate) async fn subagent(&self, prompt: &str, metadata: Value) -> String {
        let row = json!({
            "team_id": self.host.paired.team_id, "gateway_id": self.host.paired.gateway_id,
            "input": {"prompt": prompt}, "metadata": metadata,
        });
        self.older.subagent(row).await
    }

    async fn submit(&self, payload: Value) -> String {
        self.host.submit("subagent_run", payload, json!({})).await
    }

    /// A turn to its end: its job.
    pub(crate) async fn turn(&self, payload: Value) -> Value {
        self.host.done(&self.submit(payload).await).await
    }

    async fn at_work(&self) {
        let asked = self.agent.path().join("asked");
        eventually("the agent to be asked", || async { asked.exists().then_some(()) }).await;
    }

    fn go(&self) {
        self.sign("go");
    }

    #[expect(clippy::disallowed_methods, reason = "a sign for a fake program")]
    pub(crate) fn sign(&self, name: &str) {
        std::fs::write(self.agent.path().join(name), "").unwrap();
    }

    /// What the agent was asked, in order.
    pub(crate) fn asked(&self) -> String {
        std::fs::read_to_string(self.agent.path().join("asked")).unwrap_or_default()
    }

    pub(crate) async fn events(&self, run: &Value) -> Vec<String> {
        let run = run["id"].as_str().unwrap();
        let path = format!("/rest/v1/subagent_run_events?run_id=eq.{run}&order=sequence.asc");
        let rows = self.host.plane.get(&path, &self.host.operator).await.1;
        let word = |row: &Value| row["event_type"].as_str().unwrap().to_owned();
        rows.as_array().unwrap().iter().map(word).collect()
    }
}

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
