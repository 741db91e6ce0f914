//! Prompts that an agent does not take: refused before anything is written, or told by who could not read them.

use serde_json::{Value, json};

use crate::support::prompts::{arrived, long};
use crate::support::stage::Stage;

/// Their limits on paper are those of reading; the model's context ends before them, and they say so.
#[tokio::test]
async fn what_only_the_model_finds_too_long_is_told() {
    let stage = Stage::new(&["claude", "gemini"]).await;
    for (agent, characters, why) in [
        ("claude", 3_500_000, "Prompt is too long"),
        ("gemini", 4_300_000, "too long for its model"),
    ] {
        let args = ["run", "--json", "--provider", agent, "-"];
        let done = stage.with_input(&args, &long(characters)).await.exits(1).json();
        assert!(done["error"].as_str().unwrap().contains(why), "{done}");
        assert_eq!(stage.model.asked().len(), 0, "{agent}");
    }
}

#[tokio::test]
async fn what_gemini_would_not_take_as_text_is_refused_or_kept_from_it() {
    let stage = Stage::new(&["gemini"]).await;
    let dir = stage.workspace("project").await;
    stage.file("project/secret.txt", "the contents");
    let cwd = ["--provider", "gemini", "--cwd", dir.to_str().unwrap()];
    stage.turn(&[&cwd[..], &["/quit"]].concat()).await;
    assert_eq!(arrived(&stage), " /quit", "a command is sent behind a space");
    stage.turn(&[&cwd[..], &["/nothing of its own"]].concat()).await;
    assert_eq!(arrived(&stage), "/nothing of its own");
    let asked = stage.model.asked().len();
    let refused = stage
        .sandbox
        .run(&[&["run", "--json"], &cwd[..], &["read @secret.txt"]].concat())
        .await
        .exits(1)
        .json();
    assert!(refused["error"].as_str().unwrap().contains("secret.txt"), "{refused}");
    assert_eq!(stage.model.asked().len(), asked);
    stage
        .turn(&[&cwd[..], &["read secret.txt, not @nothing.txt"]].concat())
        .await;
    assert_eq!(arrived(&stage), "read secret.txt, not @nothing.txt");
}

#[tokio::test]
async fn what_nobody_takes_is_refused_and_no_row_is_written() {
    let stage = Stage::new(&[]).await;
    for (agent, limit, unit) in [
        ("claude", 10_000_000, "bytes"),
        ("codex", 1_048_576, "characters"),
        ("gemini", 8_388_608, "bytes"),
    ] {
        let label = agent[..1].to_uppercase() + &agent[1..];
        let long = format!("the prompt has {} {unit}, {label} takes at most {limit}", limit + 1);
        for (prompt, why) in [
            ("x".repeat(limit + 1), long.as_str()),
            ("before\0behind".to_owned(), "the prompt holds a NUL byte"),
            (" \n\u{2028}".to_owned(), "the prompt is empty"),
        ] {
            let done = stage
                .with_input(&["run", "--provider", agent, "-"], &prompt)
                .await
                .exits(2);
            assert!(done.stderr.contains(why), "{why}: {done:?}");
        }
    }
    let payload = json!({"prompt": "before\0behind", "model": "__default__", "output_format": "text"});
    let done = stage.submit("model_run", &payload).await;
    assert_ne!(done.code, 0, "{done:?}");
    assert!(done.stderr.contains("NUL"), "{done:?}");
    for table in ["gateway_jobs", "subagents", "subagent_runs"] {
        assert_eq!(stage.rows(table, "").await, [Value::Null; 0], "{table}");
    }
    assert_eq!(stage.model.asked().len(), 0);
}
