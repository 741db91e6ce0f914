//! What the real agent CLIs are known to do, met end to end.

use serde_json::{Value, json};

use crate::support::stage::{AGENTS, Stage};

/// npm brings an older release to an older Node without a word.
#[tokio::test]
async fn the_agents_are_of_the_versions_that_were_pinned() {
    let stage = Stage::new(&AGENTS).await;
    let pinned = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clis/package.json");
    let pinned: Value = serde_json::from_slice(&std::fs::read(pinned).unwrap()).unwrap();
    let listed = stage.sandbox.json(&["providers", "list", "--json"]).await;
    for (at, package) in ["@anthropic-ai/claude-code", "@openai/codex", "@google/gemini-cli"]
        .iter()
        .enumerate()
    {
        let version = pinned["dependencies"][package].as_str().unwrap();
        assert!(
            listed.to_string().contains(version),
            "{at} {package} {version}: {listed}"
        );
    }
}

/// The agent's shell sees neither the gateway's secrets nor, where the CLI can hide it, the key of its model.
#[tokio::test]
async fn the_shell_of_an_agent_sees_no_secrets() {
    const KEY: &str = "key-7d1f0b6cc2a94c0e";
    let stage = Stage::new(&AGENTS).await;
    let file = stage.file("key", KEY);
    for agent in AGENTS {
        let (url, file) = (stage.model.url(), file.to_str().unwrap().to_owned());
        let set = [
            "providers",
            "set",
            agent,
            "--base-url",
            &url,
            "--key-file",
            &file,
            "--allow-root",
        ];
        stage.sandbox.run(&set).await.ok();
        let run = stage
            .turn(&["--provider", agent, "--full-control", "[[tool:bash env >env.txt; pwd]]"])
            .await;
        let place = stage
            .sandbox
            .state_dir()
            .join("workspaces")
            .join(run["subagent_id"].as_str().unwrap());
        let env = std::fs::read_to_string(place.join("env.txt")).unwrap();
        assert!(env.contains("GATEWAY_JOB_ID="), "{env}");
        assert!(!env.contains("PANORAMA_") && !env.contains("SUPABASE_"), "{env}");
        // Claude Code has no way to hide it that works everywhere.
        assert_eq!(env.contains(KEY), agent == "claude", "{agent}: {env}");
        let rows = stage.row("subagent_runs", &run["run_id"]).await.to_string();
        assert!(!rows.contains(KEY), "{rows}");
    }
}

/// A program that says it is Codex, but not at once.
fn slow_codex() -> String {
    let help = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/providers/codex/help.txt");
    format!(
        r#"#!/bin/sh
case "$*" in --version) sleep 4; echo codex-cli 0.169.0; exit;; esac
case "$*" in *--help*) cat '{help}'; exit;; esac
cat >/dev/null
echo '{{"type":"thread.started","thread_id":"01a1fbb6-0000-7000-8000-000000000000"}}'
echo '{{"type":"item.completed","item":{{"id":"i","type":"agent_message","text":"hello"}}}}'
echo '{{"type":"turn.completed","usage":{{"input_tokens":3}}}}'
"#
    )
}

#[tokio::test]
async fn full_control_is_not_denied_to_an_agent_that_is_not_known_yet() {
    let stage = Stage::beside(&["claude"], &[("codex", &slow_codex())]).await;
    let args = ["run", "--json", "--provider", "codex", "--full-control", "hi"];
    let done = stage.sandbox.json(&args).await;
    assert_eq!(
        (&done["status"], &done["content"]),
        (&json!("completed"), &json!("hello")),
        "{done}"
    );
}
