//! A turn of an agent through everything: control plane, daemon, the real agent CLI and a scripted model.

use serde_json::{Value, json};

use crate::support::clis;
use crate::support::eventually::eventually_within;
use crate::support::fake_model::FakeModel;
use crate::support::sandbox::Sandbox;

/// What a gateway does for an agent takes seconds on a busy machine.
const TURN: std::time::Duration = std::time::Duration::from_secs(90);

/// A home with control plane and daemon, whose agent CLIs talk to a scripted model.
struct Stage {
    sandbox: Sandbox,
    model: FakeModel,
    gateway: String,
}

impl Stage {
    async fn new() -> Self {
        let model = FakeModel::start().await;
        let mut sandbox = Sandbox::within(clis::dir());
        sandbox.set_env("PATH", clis::path().to_str().unwrap());
        sandbox.run(&["up", "--detach", "--full-control"]).await.ok();
        let key = sandbox.home().join("key");
        std::io::Write::write_all(&mut std::fs::File::options().create_new(true).write(true).open(&key).unwrap(), b"sk-test-1234\n").unwrap();
        for provider in ["claude", "codex", "gemini"] {
            let words = ["providers", "set", provider, "--base-url", &model.url(), "--key-file", key.to_str().unwrap(), "--allow-root"];
            sandbox.run(&words).await.ok();
        }
        let gateway = sandbox.gateway_id().await;
        Self { sandbox, model, gateway }
    }

    /// Asks for a turn; gives what was written.
    async fn start(&self, body: &Value) -> Value {
        let (status, started) = self.sandbox.post("/functions/v1/start-gateway-subagent-run", body).await;
        assert_eq!(status, 200, "{started}");
        started
    }

    async fn row(&self, table: &str, id: &Value) -> Value {
        let path = format!("/rest/v1/{table}?id=eq.{}", id.as_str().unwrap());
        self.sandbox.get(&path).await[0].clone()
    }

    /// The run's row and its job's once both are final.
    async fn ended(&self, started: &Value) -> (Value, Value) {
        eventually_within(TURN, "the run to end", || async {
            let run = self.row("subagent_runs", &started["run_id"]).await;
            let job = self.row("gateway_jobs", &started["job_id"]).await;
            let final_ = |row: &Value| ["completed", "failed", "cancelled"].contains(&row["status"].as_str().unwrap());
            (final_(&run) && final_(&job)).then_some((run, job))
        })
        .await
    }

    async fn events(&self, started: &Value) -> Vec<Value> {
        let run = started["run_id"].as_str().unwrap();
        let path = format!("/rest/v1/subagent_run_events?run_id=eq.{run}&order=sequence.asc");
        self.sandbox.get(&path).await.as_array().unwrap().clone()
    }
}

fn new(stage: &Stage, kind: &str, prompt: &str) -> Value {
    json!({"gateway_id": stage.gateway, "subagent_type": kind, "prompt": prompt, "requested_via": "test"})
}

async fn two_turns(kind: &str) {
    let stage = Stage::new().await;
    let first = stage.start(&new(&stage, kind, "hello there")).await;
    let (run, job) = stage.ended(&first).await;
    assert_eq!((&run["status"], &job["status"]), (&json!("completed"), &json!("completed")), "{run}\n{job}");
    assert_eq!(run["output"]["content"], "fake(1): hello there", "{run}");
    assert_eq!(job["result"]["output"]["content"], "fake(1): hello there");
    let session = run["metadata"]["session_id"].as_str().expect("the session is known").to_owned();

    let more = json!({"subagent_id": first["subagent_id"], "prompt": "and more"});
    let second = stage.start(&more).await;
    let (run, _) = stage.ended(&second).await;
    assert_eq!(run["output"]["content"], "fake(2): and more", "{run}");
    assert_eq!(run["metadata"]["session_id"], session.as_str());

    let events = stage.events(&first).await;
    let kinds: Vec<&str> = events.iter().map(|event| event["event_type"].as_str().unwrap()).collect();
    assert_eq!((kinds.first(), kinds.last()), (Some(&"run_started"), Some(&"run_completed")), "{kinds:?}");
    let said = events.iter().find(|event| event["event_type"] == "message").expect("the answer is an event");
    assert_eq!(said["payload"]["content"], "fake(1): hello there");
    let sequences: Vec<i64> = events.iter().map(|event| event["sequence"].as_i64().unwrap()).collect();
    assert!(sequences.iter().zip(0..).all(|(found, at)| *found == at), "{sequences:?}");
    assert!(stage.model.asked().iter().any(|asked| asked.user == ["hello there"]));
}

#[tokio::test]
async fn claude_takes_two_turns_in_one_session() {
    two_turns("claude_code_gateway").await;
}

#[tokio::test]
async fn codex_takes_two_turns_in_one_session() {
    two_turns("codex_gateway").await;
}

#[tokio::test]
async fn gemini_takes_two_turns_in_one_session() {
    two_turns("gemini_gateway").await;
}

#[tokio::test]
async fn a_cancelled_turn_ends_and_leaves_nothing_running() {
    let stage = Stage::new().await;
    let started = stage.start(&new(&stage, "claude_code_gateway", "[[slow:60]] tell me a long story about it")).await;
    eventually_within(TURN, "the model to be asked", || async {
        (!stage.model.asked().is_empty()).then_some(())
    })
    .await;
    let cancel = json!({
        "team_id": started_team(&stage).await, "gateway_id": stage.gateway, "job_type": "subagent_cancel",
        "payload": {"subagent_id": started["subagent_id"], "run_id": started["run_id"], "reason": "enough"},
    });
    let (status, row) = stage.sandbox.post("/rest/v1/gateway_jobs", &cancel).await;
    assert_eq!(status, 201, "{row}");
    let (run, job) = stage.ended(&started).await;
    assert_eq!((&run["status"], &run["error"], &job["status"]), (&json!("cancelled"), &json!("enough"), &json!("completed")));
    let subagent = stage.row("subagents", &started["subagent_id"]).await;
    assert_eq!(subagent["status"], "cancelled");
    assert!(!stage.sandbox.runs("--output-format"), "the agent still runs");
}

async fn started_team(stage: &Stage) -> Value {
    stage.sandbox.json(&["status", "--json"]).await["team_id"].clone()
}
