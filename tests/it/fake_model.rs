//! The scripted model is judged by the real CLIs: what they take for a model is one.

use std::time::Duration;

use gateway::fake_model::How;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::agent::Agent;
use crate::support::eventually::eventually;
use crate::support::fake_model::FakeModel;
use crate::support::home::Done;

const SESSION: &str = "6f0f2a4e-34c8-4f5f-8d4e-0a6a4c1d9a01";
/// White space, separators that are no line ends, and what looks like options and directives.
const ODD: &str = "--help /cost @/etc/passwd [[not]] \u{2028}\u{1f980}\tend";

fn was_asked(model: &FakeModel, text: &str) -> bool {
    let asked = model.asked();
    asked.iter().any(|asked| asked.user.iter().any(|block| block == text))
}

/// All text of Gemini's answer.
fn gemini_text(done: &Done) -> String {
    let lines = done.lines();
    let said = lines.iter().filter(|line| line["role"] == "assistant");
    said.map(|line| line["content"].as_str().unwrap()).collect()
}

/// Codex' completed items of one kind.
fn codex_items(done: &Done, kind: &str) -> Vec<Value> {
    let lines = done.lines().into_iter();
    let items = lines
        .filter(|line| line["type"] == "item.completed")
        .map(|line| line["item"].clone());
    items.filter(|item| item["type"] == kind).collect()
}

#[tokio::test]
async fn claude_reads_text_and_goes_on_with_a_session() {
    let agent = Agent::new().await;
    let first = agent.claude(&["--session-id", SESSION], ODD).await.ok();
    assert_eq!(first.last("result")["result"], format!("fake(1): {ODD}"));
    assert!(was_asked(&agent.model, ODD), "{:?}", agent.model.asked());
    let second = agent.claude(&["--resume", SESSION], "again").await.ok();
    assert_eq!(second.last("result")["result"], "fake(2): again");
    assert_eq!(second.last("result")["usage"]["input_tokens"], 200);
}

#[tokio::test]
async fn claude_thinks_and_uses_its_tools() {
    let agent = Agent::new().await;
    let prompt = "[[think:let me see]] [[tool:bash expr 40 + 2]] [[tool:write made.txt hi]] [[say:all done]]";
    let done = agent.claude(&["--allowedTools", "Bash,Write"], prompt).await.ok();
    assert_eq!(done.last("result")["result"], "all done");
    assert!(
        done.stdout.contains("42") && done.stdout.contains("let me see"),
        "{}",
        done.stdout
    );
    assert_eq!(std::fs::read_to_string(agent.work().join("made.txt")).unwrap(), "hi");
    let asked = agent.model.asked();
    assert!(asked.last().unwrap().results.len() == 2, "{asked:?}");
}

#[tokio::test]
async fn claude_gets_a_structured_answer() {
    let agent = Agent::new().await;
    let schema = json!({"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}).to_string();
    let args = ["--json-schema", &schema];
    let done = agent
        .claude(&args, "[[json:{\"n\":\"wrong\"}]] [[json:{\"n\":7}]]")
        .await
        .ok();
    assert_eq!(done.last("result")["structured_output"], json!({"n": 7}));
    let done = agent.claude(&args, "hello").await.ok();
    assert_eq!(done.last("result")["structured_output"], json!({"n": 1}));
}

#[tokio::test]
async fn claude_sees_errors() {
    let agent = Agent::new().await;
    for status in [401, 429, 500] {
        let done = agent.claude(&[], &format!("[[error:{status}]]")).await.exits(1);
        let result = done.last("result");
        assert_eq!(
            (&result["is_error"], &result["api_error_status"]),
            (&json!(true), &json!(status))
        );
    }
    let done = agent.claude(&[], "[[drop]] [[say:one two three]]").await;
    let first = &agent.model.asked()[3];
    assert_eq!(agent.model.end_of(first.n), Some(How::Broken), "{done:?}");
}

#[tokio::test]
async fn codex_reads_text_and_goes_on_with_a_session() {
    let agent = Agent::new().await;
    let first = agent.codex(&[], ODD).await.ok();
    assert_eq!(
        codex_items(&first, "agent_message")[0]["text"],
        format!("fake(1): {ODD}")
    );
    assert!(was_asked(&agent.model, ODD), "{:?}", agent.model.asked());
    let id = first.last("thread.started")["thread_id"].as_str().unwrap().to_owned();
    let second = agent.codex(&["resume", &id], "again").await.ok();
    assert_eq!(codex_items(&second, "agent_message")[0]["text"], "fake(2): again");
    assert_eq!(second.last("thread.started")["thread_id"], json!(id));
}

#[tokio::test]
async fn codex_thinks_and_uses_its_tools() {
    let agent = Agent::new().await;
    let prompt = "[[think:let me see]] [[tool:bash expr 40 + 2]] [[tool:write made.txt hi]] [[say:all done]]";
    let done = agent.codex(&[], prompt).await.ok();
    assert_eq!(codex_items(&done, "agent_message")[0]["text"], "all done");
    assert_eq!(codex_items(&done, "command_execution")[0]["aggregated_output"], "42\n");
    assert!(!codex_items(&done, "reasoning").is_empty(), "{done:?}");
    assert_eq!(std::fs::read_to_string(agent.work().join("made.txt")).unwrap(), "hi\n");
}

#[tokio::test]
async fn codex_passes_a_schema_and_sees_errors() {
    let agent = Agent::new().await;
    let schema = json!({"type": "object", "additionalProperties": false, "required": ["n"],
        "properties": {"n": {"type": "integer"}}});
    let file = tempfile::NamedTempFile::new_in(agent.work()).unwrap();
    serde_json::to_writer(file.as_file(), &schema).unwrap();
    let done = agent
        .codex(&["--output-schema", file.path().to_str().unwrap()], "hello")
        .await
        .ok();
    assert_eq!(codex_items(&done, "agent_message")[0]["text"], "{\"n\":1}");
    assert!(agent.model.asked()[0].schema);
    for (status, words) in [(401, "401"), (429, "429"), (500, "high demand")] {
        let done = agent.codex(&[], &format!("[[error:{status}]]")).await.exits(1);
        let failed = done.last("turn.failed").to_string();
        assert!(failed.contains(words), "{done:?}");
    }
    let done = agent.codex(&[], "[[cut]] [[say:one two three]]").await.exits(1);
    assert!(done.last("turn.failed").to_string().contains("stream"), "{done:?}");
}

#[tokio::test]
async fn gemini_reads_text_and_goes_on_with_a_session() {
    let agent = Agent::new().await;
    // An `@` would bring in a file.
    let odd = ODD.replace('@', "");
    let done = agent.gemini(&[], &odd).await.ok();
    assert_eq!(gemini_text(&done), format!("fake(1): {odd}"));
    assert!(was_asked(&agent.model, &odd), "{:?}", agent.model.asked());
    // It finds no session again that holds a U+2028.
    agent.gemini(&["--session-id", SESSION], "hello").await.ok();
    let second = agent.gemini(&["--resume", SESSION], "again").await.ok();
    assert_eq!(gemini_text(&second), "fake(2): again");
}

#[tokio::test]
async fn gemini_thinks_and_uses_its_tools() {
    let agent = Agent::new().await;
    let prompt = "[[think:let me see]] [[tool:bash expr 40 + 2]] [[tool:write made.txt hi]] [[say:all done]]";
    let done = agent.gemini(&["--approval-mode", "yolo"], prompt).await.ok();
    assert_eq!(gemini_text(&done), "all done");
    assert!(done.stdout.contains("42"), "{}", done.stdout);
    assert_eq!(std::fs::read_to_string(agent.work().join("made.txt")).unwrap(), "hi");
}

#[tokio::test]
async fn gemini_sees_errors() {
    let agent = Agent::new().await;
    for status in [401, 429, 500] {
        let done = agent
            .gemini(&[], &format!("[[error:{status}]]"))
            .await
            .exits(status % 256);
        assert_eq!(done.last("result")["status"], "error");
    }
    // Without a model of its own to choose, it asks which one to take.
    let done = agent.gemini(&["-m", "auto"], "hello").await.ok();
    assert_eq!(gemini_text(&done), "fake(1): hello");
}

/// Sends one question by hand; gives the connection.
async fn ask(model: &FakeModel, prompt: &str) -> TcpStream {
    let body = json!({"stream": true, "messages": [{"role": "user", "content": prompt}]}).to_string();
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: sk-secret-1234\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(model.address).await.unwrap();
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn a_lost_connection_is_lost_in_the_middle_of_an_event() {
    let model = FakeModel::start().await;
    let (mut stream, mut text) = (ask(&model, "[[drop]] [[say:one two]]").await, String::new());
    // A reset may come as an error, after everything that was sent.
    drop(stream.read_to_string(&mut text).await);
    assert!(text.contains("\"text\":\"one\"") && !text.contains(" two"), "{text}");
    assert!(!text.ends_with("0\r\n\r\n"), "{text}");
    assert!(model.asked()[0].credential.as_deref() == Some("x-api-key ...1234"));
    assert_eq!(model.end_of(1), Some(How::Broken));
}

#[tokio::test]
async fn a_client_that_leaves_a_silent_stream_is_noticed() {
    let model = FakeModel::start().await;
    let mut stream = ask(&model, "[[hang]] [[say:one two]]").await;
    let mut text = String::new();
    while !text.contains("\"text\":\"one\"") {
        let mut piece = [0; 4096];
        let length = tokio::time::timeout(Duration::from_secs(20), stream.read(&mut piece)).await;
        text.push_str(&String::from_utf8_lossy(&piece[..length.unwrap().unwrap()]));
    }
    assert_eq!(model.end_of(1), None);
    drop(stream);
    let how = eventually("the client is missed", || async { model.end_of(1) }).await;
    assert_eq!(how, How::ClientLeft);
}
