//! What an answer brings into the row.

use gateway::domain::job::JobStatus;
use gateway::provider::plan::Format;
use gateway::wire::heartbeat::HealthStatus;
use serde_json::{Value, json};

use super::{Bench, result, text};
use crate::support::fake_agent::FakeDriver;

#[tokio::test]
async fn an_answer_in_json_has_every_member() {
    let body = r#"cat >"${0%/*}/prompt"
        echo '{"text":"working"}'; echo warn >&2
        echo '{"answer":"Here: {\"n\":1}","model":"gpt-5","usage":{"in":3},"cost":0.25}'"#;
    let bench = Bench::new(body, FakeDriver::default()).await;
    let payload = json!({"prompt": "-- count\n", "model": "gpt-5", "json_schema": {"needs": "n"}, "timeout_ms": 5e9});
    let (outcome, life) = bench.run(&payload).await;
    let mut result = result(&outcome);
    assert_eq!(
        (outcome.status(), outcome.error()),
        (JobStatus::Completed, None),
        "{result}"
    );
    let command = result["command"].as_str().unwrap().to_owned();
    assert!(
        command.contains("--plan ") && command.ends_with("--api-key [REDACTED]"),
        "{command}"
    );
    assert!(result["duration_ms"].is_u64());
    for name in ["command", "duration_ms", "raw"] {
        result.as_object_mut().unwrap().remove(name).unwrap();
    }
    assert_eq!(
        result,
        json!({
            "output": {"n": 1}, "usage": {"in": 3}, "model": "gpt-5", "cost_usd": 0.25, "exit_code": 0,
            "stdout_truncated": false, "stderr_truncated": false, "provider": "codex", "timeout_ms": 1_800_000,
            "timeout_clamped": true, "retry_count": 0
        })
    );
    assert_eq!(
        std::fs::read_to_string(bench.home.path().join("prompt")).unwrap(),
        "-- count\n"
    );
    let before = &bench.sent("PATCH", &format!("gateway_jobs?id=eq.{}", bench.id))[0]["debug"];
    assert_eq!(
        (&before["provider_id"], &before["prompt_chars"]),
        (&json!("codex"), &json!(9))
    );
    assert_eq!(
        (&before["json_schema_chars"], &before["output_mode"]),
        (&json!(13), &json!("stream-json"))
    );
    assert!(
        before["files"][0]
            .as_str()
            .unwrap()
            .ends_with(&format!("/model-runs/{}/files/plan.json", bench.id))
    );
    let after = Value::Object(life.take_notes());
    assert_eq!(
        (&after["stderr"], &after["stderr_bytes"]),
        (&json!("warn\n"), &json!(5))
    );
    assert!(after["stdout"].as_str().unwrap().contains("working") && after["timed_out"] == json!(false));
    let allowed = "provider_id command args command_line work_dir prompt_chars json_schema_chars timeout_ms output_mode \
        output_path files stdout stdout_truncated stdout_bytes stderr stderr_truncated stderr_bytes exit_code duration_ms \
        timed_out error_summary containment";
    let allowed: Vec<_> = allowed.split_whitespace().collect();
    assert!(
        after
            .as_object()
            .unwrap()
            .keys()
            .all(|key| allowed.contains(&key.as_str())),
        "{after}"
    );
    let everything = format!("{command}{before}{after}");
    assert!(
        !everything.contains("hunter2") && !everything.contains("count"),
        "{everything}"
    );
    assert_eq!(bench.health(), HealthStatus::Healthy);
    assert!(!bench.home.path().join("state/work/model-runs").join(&bench.id).exists());
}

#[tokio::test]
async fn an_answer_in_text_is_trimmed_and_raw_is_the_same() {
    let driver = FakeDriver {
        format: Format::Text,
        ..FakeDriver::default()
    };
    let bench = Bench::new("echo; echo ' one'; echo 'two '", driver).await;
    let (outcome, _) = bench.run(&text("p")).await;
    let result = result(&outcome);
    assert_eq!(result["output"], json!({"text": "one\ntwo"}));
    assert_eq!((&result["raw"], &result["usage"]), (&result["output"], &json!(null)));
    assert_eq!(
        (&result["timeout_ms"], &result["timeout_clamped"]),
        (&json!(110_000), &json!(false))
    );
}
