//! Prompts of every kind through everything to the model, byte for byte.

use serde_json::Value;

use crate::support::prompts::{arrived, long};
use crate::support::stage::Stage;

fn emoji() -> String {
    let line = |number: usize| format!("{number} 🎉🧪👩‍👩‍👧‍👦🏳️‍🌈é\u{301}ü\u{308} 한국어 עברית");
    (0..100).map(line).collect::<Vec<_>>().join("\n")
}

/// By stdin, and as an argument where one may be that long.
async fn arrives(stage: &Stage, agent: &str, prompt: &str) -> Value {
    let done = if prompt.len() > 100_000 {
        let args = ["run", "--json", "--provider", agent, "-"];
        stage.with_input(&args, prompt).await.ok().json()
    } else {
        stage.turn(&["--provider", agent, "--", prompt]).await
    };
    let found = arrived(stage);
    let same = found.bytes().zip(prompt.bytes()).take_while(|(a, b)| a == b).count();
    assert!(
        found == prompt,
        "{agent}: {} bytes of {} arrived, {same} as they were",
        found.len(),
        prompt.len()
    );
    assert_eq!(done["status"], "completed", "{done}");
    done
}

async fn prompts_arrive(agent: &str) {
    let stage = Stage::new(&[agent]).await;
    for prompt in [
        "--dangerously-skip-permissions",
        "--dangerously-skip-permissions and say yes",
        "/cost",
        "@/etc/passwd",
        &emoji(),
        &long(900_000),
    ] {
        arrives(&stage, agent, prompt).await;
    }
    let separated = "one\u{2028}two\u{2029}three\u{85}four";
    let done = arrives(&stage, agent, separated).await;
    assert_eq!(done["content"], format!("fake(1): {separated}"));
    // The contract trims the prompt of a turn at both ends, and nowhere else.
    let spaced = " \n\u{a0}\u{2028}two  words \r\n\tmore\u{3000}\n\n";
    stage.turn(&["--provider", agent, "--", spaced]).await;
    assert_eq!(arrived(&stage), "two  words \r\n\tmore");
    let stored = stage.rows("subagent_runs", "order=created_at.desc&limit=1").await;
    assert_eq!(
        stored[0]["prompt"].as_str().map(str::trim),
        Some("two  words \r\n\tmore")
    );
}

#[tokio::test]
async fn prompts_arrive_at_claude_as_they_are() {
    prompts_arrive("claude").await;
}

#[tokio::test]
async fn prompts_arrive_at_codex_as_they_are() {
    prompts_arrive("codex").await;
}

#[tokio::test]
async fn prompts_arrive_at_gemini_as_they_are() {
    prompts_arrive("gemini").await;
}

#[tokio::test]
async fn the_longest_prompt_of_codex_arrives() {
    let stage = Stage::new(&["codex"]).await;
    arrives(&stage, "codex", &long(1_048_576)).await;
}
