//! Answers in JSON on the real agent CLIs: what has the form asked for arrives, nothing else does.

use serde_json::{Value, json};

use crate::support::stage::Stage;

/// A property called `properties` is a property.
fn schema() -> Value {
    json!({
        "type": "object", "required": ["properties", "count"], "additionalProperties": false,
        "properties": {"properties": {"type": "string"}, "count": {"type": "integer", "minimum": 1}},
    })
}

/// The model keeps to the schema, then does not, whatever it is told.
async fn held_to_a_schema(agent: &str, why: &str) {
    let stage = Stage::new(&[agent]).await;
    stage.file("schema.json", &schema().to_string());
    let asked = ["--provider", agent, "--schema", "schema.json"];
    let good = stage
        .turn(&[&asked[..], &[r#"[[json:{"properties":"all","count":3}]]"#]].concat())
        .await;
    assert_eq!(
        (&good["content"], &good["content_type"], &good["error"]),
        (&json!({"properties": "all", "count": 3}), &json!("json"), &Value::Null),
        "{good}"
    );

    let wrong = r#"[[json:{"properties":"all","count":0}]] [[sticky]]"#;
    let refused = stage
        .sandbox
        .run(&[&["run", "--json"], &asked[..], &[wrong]].concat())
        .await
        .exits(1)
        .json();
    let error = refused["error"].as_str().unwrap();
    assert!(error.contains(why), "{error}");
    assert_eq!(
        (&refused["status"], &refused["content"]),
        (&json!("failed"), &Value::Null)
    );
    let run = stage.row("subagent_runs", &refused["run_id"]).await;
    let parse_error = run["metadata"]["parse_error"].as_str().unwrap();
    assert!(parse_error.contains(why), "{run}");
    assert_eq!(run["output"]["errors"], json!([error]), "{run}");
    let last = stage.events(&refused["run_id"]).await.pop().unwrap();
    assert_eq!(
        (last.word.as_str(), &last.payload["parse_error"]),
        ("run_failed", &json!(parse_error))
    );
}

#[tokio::test]
async fn claude_is_held_to_a_schema() {
    held_to_a_schema("claude", "/count").await;
}

#[tokio::test]
async fn codex_is_held_to_a_schema() {
    held_to_a_schema("codex", "at /count: 0 is less than the minimum of 1").await;
}

#[tokio::test]
async fn gemini_is_held_to_a_schema() {
    held_to_a_schema("gemini", "at /count: 0 is less than the minimum of 1").await;
}
