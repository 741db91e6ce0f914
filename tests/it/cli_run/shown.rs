//! What a run shows while it goes on, and in the end.

use serde_json::json;
use tokio::io::{AsyncReadExt as _, BufReader};

use super::{Stage, ended, figures, message, next_line, partial};

#[tokio::test]
async fn text_comes_as_it_is_said_and_only_once() {
    let stage = Stage::new().await;
    let mut child = stage.start(&["run", "-", "--provider", "claude"], " Say hello\n").await;
    let turn = stage.take("subagent_run").await;
    let subagent = turn.subagent().await;
    assert_eq!(
        (&subagent["subagent_type"], &subagent["input"]["prompt"]),
        (&json!("claude_code_gateway"), &json!(" Say hello\n"))
    );
    turn.events(1, &[("run_started", json!({})), partial("Hel"), partial("lo\n")])
        .await;
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = next_line(&mut stdout).await;
    assert_eq!(line, "Hello\n", "it is shown while the run goes on");
    let call = json!({"tool_name": "Bash", "tool_use_id": "t", "tool_input": {"command": "ls\n-l"}, "summary": null});
    let result = json!({"tool_use_id": "t", "tool_name": "Bash", "content": "one\ntwo\nthree", "is_error": false});
    turn.events(
        4,
        &[message("Hello\nyou"), ("tool_call", call), ("tool_result", result)],
    )
    .await;
    let retry = json!({"phase": "retry_scheduled", "attempt": 1, "reason": "quota", "delay_ms": 1500});
    turn.events(7, &[("run_progress", retry), partial("lost"), message("Done.")])
        .await;
    turn.end("completed", &json!("Done."), None, figures()).await;
    turn.events(10, &[("run_completed", json!({}))]).await;
    stdout.read_to_string(&mut line).await.unwrap();
    assert_eq!(line, "Hello\nyou\nlost\nDone.\n");
    let done = ended(child).await.ok();
    for part in [
        "> Bash  ls -l\n",
        "  one  (+2 lines)\n",
        "trying again in 1.5 s, because of quota\n",
        "OK Claude answered in 12.3s\n",
        "Tokens: 12,345 in (1,000 cached), 67 out\n",
        "Cost: $0.0123\n",
        "Model: m-1\n",
    ] {
        assert!(done.stderr.contains(part), "{part}: {}", done.stderr);
    }
    assert!(!done.stderr.contains('\u{1b}'), "no colour on a pipe");
}

#[tokio::test]
async fn an_answer_whose_events_were_lost_is_shown_in_the_end() {
    let stage = Stage::new().await;
    let child = stage.start(&["run", "hi"], "").await;
    let turn = stage.take("subagent_run").await;
    turn.events(1, &[("message", json!({"truncated": true, "preview": "{"}))])
        .await;
    turn.end("completed", &json!("All of it"), None, figures()).await;
    let done = ended(child).await.ok();
    assert_eq!(done.stdout, "All of it\n");
    assert!(done.stderr.contains("too long"), "{done:?}");
}

#[tokio::test]
async fn a_thousand_events_come_in_order() {
    let stage = Stage::new().await;
    let child = stage.start(&["run", "count"], "").await;
    let turn = stage.take("subagent_run").await;
    for batch in 0..5 {
        let events: Vec<_> = (0..200).map(|at| partial(&format!("{} ", batch * 200 + at))).collect();
        turn.events(batch * 200 + 1, &events).await;
    }
    let all: String = (0..1000).map(|number| format!("{number} ")).collect();
    turn.end("completed", &json!(all), None, figures()).await;
    assert_eq!(ended(child).await.ok().stdout, format!("{all}\n"));
}

#[tokio::test]
async fn a_run_goes_on_and_says_so() {
    let stage = Stage::new().await;
    stage.to_end(&["run", "--resume", "more"], "").await.exits(2);
    let first = [
        "run",
        "--provider",
        "gemini",
        "--model",
        "m",
        "--cwd",
        "/srv",
        "--full-control",
        "one",
    ];
    let child = stage.start(&first, "").await;
    let turn = stage.take("subagent_run").await;
    assert_eq!(turn.subagent().await["config"]["full_control"], true);
    turn.end("completed", &json!("1"), None, figures()).await;
    ended(child).await.ok();
    let id = turn.job["payload"]["subagent_id"].as_str().unwrap();
    for again in [&["run", "--resume", "two"][..], &["run", "--session", id, "two"]] {
        let child = stage.start(again, "").await;
        let turn = stage.take("subagent_run").await;
        assert_eq!(turn.job["payload"]["subagent_id"], id);
        let config = turn.subagent().await["config"].clone();
        assert_eq!(
            config,
            json!({"model": "m", "cwd": "/srv", "full_control": false, "output_format": "text"})
        );
        turn.end("completed", &json!("2"), None, figures()).await;
        let done = ended(child).await.ok();
        assert_eq!(done.stdout, "2\n");
        assert!(done.stderr.contains("Going on with Gemini, turn "), "{done:?}");
        assert!(done.stderr.contains("Session: the same as before\n"), "{done:?}");
    }
    let done = stage
        .to_end(&["run", "--resume", "--provider", "claude", "x"], "")
        .await
        .exits(2);
    assert!(done.stderr.contains("Gemini's"), "{done:?}");
    assert_eq!(stage.rows("subagent_runs").await.len(), 3);
}

#[expect(clippy::disallowed_methods, reason = "a file as a person writes it")]
#[tokio::test]
async fn json_is_one_document_and_chooses_an_agent_with_a_schema_mode() {
    let stage = Stage::new().await;
    stage.beat("unknown", "healthy").await;
    let schema = json!({"type": "object", "properties": {"a": {"type": "number"}}});
    std::fs::write(stage.home.path().join("s.json"), schema.to_string()).unwrap();
    let args = ["run", "--schema", "s.json", "--timeout", "90", "give"];
    for json in [true, false] {
        let args = [&args[..], if json { &["--json"] } else { &[] }].concat();
        let child = stage.start(&args, "").await;
        let turn = stage.take("subagent_run").await;
        let subagent = turn.subagent().await;
        assert_eq!(subagent["subagent_type"], "claude_code_gateway");
        assert_eq!(
            subagent["config"],
            json!({"full_control": false, "output_format": "json", "json_schema": schema, "timeout_ms": 90_000})
        );
        turn.events(1, &[message("I think it is 1")]).await;
        turn.end("completed", &json!({"a": 1}), None, figures()).await;
        let done = ended(child).await.ok();
        if json {
            let found = done.json();
            assert_eq!(
                (&found["status"], &found["content"]),
                (&json!("completed"), &json!({"a": 1}))
            );
            assert_eq!(
                (&found["session_id"], &found["cost_usd"]),
                (&json!("S1"), &json!(0.0123))
            );
            assert_eq!(
                (&found["run_sequence"], &found["provider"]),
                (&json!(1), &json!("claude_code"))
            );
            assert_eq!(done.stderr, "");
        } else {
            assert_eq!(done.json(), json!({"a": 1}), "stdout holds the answer alone");
        }
    }
}

#[tokio::test]
async fn prompts_that_look_like_options_are_text() {
    let stage = Stage::new().await;
    let prompt = "--dangerously-skip-permissions /cost @/etc/passwd \u{2028}";
    let child = stage.start(&["run", "--json", "--", prompt], "").await;
    let turn = stage.take("subagent_run").await;
    assert_eq!(turn.subagent().await["input"]["prompt"], prompt);
    turn.end("completed", &json!("ok"), None, figures()).await;
    assert_eq!(ended(child).await.ok().json()["content"], "ok");
}
