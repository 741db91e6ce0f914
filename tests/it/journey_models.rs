//! Model runs on the real agent CLIs: what the rows of their jobs tell.

use serde_json::{Value, json};

use crate::support::rows::has_all;
use crate::support::stage::{AGENTS, Stage};

/// A model run that has ended, as `job show` has it.
async fn model_run(stage: &Stage, agent: &str, more: &Value) -> Value {
    let wire = if agent == "claude" { "claude_code" } else { agent };
    let mut payload = json!({"provider": wire, "model": "__default__"});
    payload
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    let job = stage.submit("model_run", &payload).await.ok().json();
    let id = job["id"].as_str().unwrap();
    // Its exit code is that of the job.
    stage.sandbox.run(&["job", "watch", id]).await;
    stage.sandbox.json(&["job", "show", id, "--json"]).await
}

/// What `debug` tells of a model run that was held to a schema.
const DEBUG: &[&str] = &[
    "provider_id",
    "command",
    "args",
    "command_line",
    "work_dir",
    "prompt_chars",
    "json_schema_chars",
    "timeout_ms",
    "output_mode",
    "stdout",
    "stdout_truncated",
    "stdout_bytes",
    "stderr",
    "stderr_truncated",
    "stderr_bytes",
    "exit_code",
    "duration_ms",
    "timed_out",
];

#[tokio::test]
async fn model_runs_have_every_member() {
    let stage = Stage::new(&AGENTS).await;
    let schema = json!({"type": "object", "properties": {"count": {"type": "integer"}}});
    for agent in AGENTS {
        // White space belongs to the prompt of a model run.
        let prompt = " [[json:{\"count\":1}]]\n";
        let job = model_run(&stage, agent, &json!({"prompt": prompt, "json_schema": schema})).await;
        assert_eq!(job["status"], "completed", "{job:#}");
        let members = ["output", "raw", "usage", "model", "duration_ms", "exit_code"];
        has_all(&job["result"], &members);
        has_all(&job["result"], &["stdout_truncated", "stderr_truncated", "command"]);
        has_all(&job["debug"], DEBUG);
        assert_eq!(job["result"]["output"], json!({"count": 1}));
        assert_eq!(job["debug"]["prompt_chars"], prompt.chars().count());
        let asked = stage.model.asked();
        assert_eq!(asked.last().unwrap().user.last().unwrap(), prompt, "{agent}");
    }
}

#[tokio::test]
async fn failed_model_runs_have_every_member() {
    let stage = Stage::new(&AGENTS).await;
    for agent in AGENTS {
        let payload = json!({"prompt": "[[error:404]]", "output_format": "text"});
        let job = model_run(&stage, agent, &payload).await;
        assert_eq!(job["status"], "failed", "{job:#}");
        let members = ["message", "exit_code", "stderr", "stdout", "command", "error_summary"];
        has_all(&job["result"], &members);
        assert_eq!(job["result"]["message"], job["error"]);
        assert_eq!(job["result"]["error_code"], "model", "{job:#}");
    }
}
