//! Planted calls of tools that write outside of the working directory, on the real agent CLIs.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::eventually::eventually;
use crate::support::stage::{Event, Stage};

/// A restricted turn as a backend asks for it that grants whatever tools it can name; its end.
async fn restricted(stage: &Stage, agent: &str, model: &str, prompt: &str) -> Value {
    let kind = if agent == "claude" { "claude_code" } else { agent };
    let body = json!({
        "subagent_type": format!("{kind}_gateway"), "gateway_id": stage.sandbox.gateway_id().await, "prompt": prompt,
        "config": {"output_format": "text", "model": model, "allowed_tools": ["Read", "Write", "Edit"]},
    });
    let started = stage
        .sandbox
        .post("/functions/v1/start-gateway-subagent-run", &body)
        .await;
    eventually("the turn to end", || async {
        let run = stage.row("subagent_runs", &started["run_id"]).await;
        (run["status"] != "running").then_some(run)
    })
    .await
}

fn told(events: &[Event]) -> String {
    events
        .iter()
        .map(|event| format!("{} {}\n", event.word, event.payload))
        .collect()
}

/// The calls of tools by which an agent could write there, and whether one with full control does.
fn calls(agent: &str, outside: &Path) -> [(String, bool); 2] {
    let path = outside.display();
    let shell =
        |tool: &str, key: &str| format!(r#"[[call:{tool} {{"{key}":"echo planted >{path}","description":"d"}}]]"#);
    let write = |tool: &str| format!(r#"[[call:{tool} {{"file_path":"{path}","content":"planted"}}]]"#);
    match agent {
        "claude" => [(write("Write"), true), (shell("Bash", "command"), true)],
        "codex" => [
            (format!("[[tool:write {path} planted]]"), true),
            (shell("exec_command", "cmd"), true),
        ],
        // This tool of Gemini's never leaves the directory.
        _ => [
            (write("write_file"), false),
            (shell("run_shell_command", "command"), true),
        ],
    }
}

/// Called without leave nothing is written; with full control the same calls write.
async fn writes_nothing_outside(agent: &str, model: &str) {
    let stage = Stage::new(&[agent]).await;
    let outside = stage.sandbox.home().join("planted.txt");
    for (call, writes) in calls(agent, &outside) {
        let asked = stage.model.asked().len();
        let run = restricted(&stage, agent, model, &call).await;
        let events = stage.events(&run["id"]).await;
        assert!(!outside.exists(), "{call}: {}", told(&events));
        assert!(
            stage.model.asked().len() > asked + 1,
            "the model was told: {}",
            told(&events)
        );
        if writes {
            let full = ["--provider", agent, "--model", model, "--full-control", &call];
            let done = stage.turn(&full).await;
            assert!(outside.exists(), "the call is a call that writes: {call}: {done}");
            std::fs::remove_file(&outside).unwrap();
        }
    }
}

#[tokio::test]
async fn claude_writes_nothing_outside_its_directory() {
    writes_nothing_outside("claude", "sonnet").await;
}

#[tokio::test]
async fn codex_writes_nothing_outside_its_directory() {
    writes_nothing_outside("codex", "gpt-5.5").await;
}

#[tokio::test]
async fn gemini_writes_nothing_outside_its_directory() {
    writes_nothing_outside("gemini", "gemini-2.5-flash").await;
}
