//! Recorded runs of Codex 0.169.0, and its traps.

use std::fmt::Write as _;

use gateway::domain::run::{FailureKind, RunEvent};
use gateway::provider::capability::Features;
use gateway::provider::codex::transcript::Reader;
use gateway::provider::plan::{Cli, Format};
use gateway::provider::request::{OutputForm, RunRequest, Session};
use gateway::provider::transcript::{Ended, Transcript};
use serde_json::json;

use crate::support::replay::{End, Recordings, Replayed, replay, request};

fn reader(request: &RunRequest, format: Format) -> Box<dyn Transcript> {
    let features = Features::default();
    let cli = Cli {
        features: &features,
        version: Some("codex-cli 0.169.0"),
    };
    Box::new(Reader::new(request, cli, format))
}

fn replayed(name: &str, request: &RunRequest) -> Replayed {
    Recordings::of("codex").replay(name, reader(request, Format::JsonLines))
}

fn with_schema(schema: serde_json::Value) -> RunRequest {
    RunRequest {
        output: OutputForm::Json { schema: Some(schema) },
        ..request("x")
    }
}

#[test]
fn every_recorded_run_is_read() {
    let recordings = Recordings::of("codex");
    let mut text = String::new();
    for name in recordings.ends.keys() {
        writeln!(text, "{name}\n{}", replayed(name, &request("x")).describe()).unwrap();
    }
    insta::assert_snapshot!("codex_transcripts", text);
}

/// Trap 1: an exit code of 0 is no answer of the form asked for.
#[test]
fn a_violated_schema_is_a_failure_although_codex_exits_with_0() {
    let asked = with_schema(json!({"type": "object"}));
    let outcome = replayed("schema_ignored", &asked);
    assert_eq!(
        outcome.outcome(),
        Err((FailureKind::Answer, "Failed to parse JSON output"))
    );
    let good = replayed("schema", &asked).end.answer.unwrap();
    assert_eq!(good.structured, Some(json!({"ships": 3})));
}

/// Trap 1: an `error` is no end, and an item of that name a warning.
#[test]
fn an_error_on_the_way_is_no_failure() {
    assert_eq!(replayed("recovers", &request("x")).outcome(), Ok("Second try."));
    let warned = replayed("unknown_setting", &request("x"));
    assert_eq!(warned.outcome(), Ok("ok"));
    assert_eq!(warned.end.metadata["warnings"].as_array().unwrap().len(), 1);
}

/// Trap 4: the figures count the thread from its first turn on, and say so.
#[test]
fn usage_is_cumulative() {
    let tokens = |name| {
        let end = replayed(name, &request("x")).end;
        assert!(end.cumulative.usage);
        end.usage.unwrap()["input_tokens"].as_u64()
    };
    assert_eq!((tokens("turn_1"), tokens("turn_2")), (Some(100), Some(300)));
}

/// Trap 5: an id that is no UUID starts another thread, with exit code 0.
#[test]
fn an_answer_from_another_session_is_a_failure() {
    let asked = RunRequest {
        session: Session::Resume("01a1fbb4-0000-7000-8000-000000000000".to_owned()),
        ..request("x")
    };
    let other = replayed("other_thread", &asked);
    let (kind, message) = other.outcome().unwrap_err();
    assert_eq!(kind, FailureKind::Session);
    assert!(message.starts_with("Codex answered from session 01a1f"), "{message}");
    // Trap 6: a second turn at once is refused, not lost.
    let kind = |name| replayed(name, &asked).outcome().unwrap_err().0;
    assert_eq!(kind("busy_thread"), FailureKind::Session);
    assert_eq!(kind("unknown_thread"), FailureKind::NoSession);
}

/// Trap 7: U+2028 comes raw inside a line, and keys come in any order.
#[test]
fn only_a_line_feed_ends_a_line() {
    let recordings = Recordings::of("codex");
    assert!(
        String::from_utf8(recordings.stdout("line_separator"))
            .unwrap()
            .contains('\u{2028}')
    );
    assert_eq!(
        replayed("line_separator", &request("x")).outcome(),
        Ok("one\u{2028}two\u{2029}three")
    );
    let turned = br#"{"thread_id":"t","type":"thread.started"}
{"item":{"text":"hi","type":"agent_message","id":"a"},"new":[1],"type":"item.completed"}
{"usage":{},"type":"turn.completed"}"#;
    let turned = replay(turned, &End::default(), reader(&request("x"), Format::JsonLines));
    assert_eq!(
        (turned.outcome(), turned.end.session_id.as_deref()),
        (Ok("hi"), Some("t"))
    );
}

#[test]
fn arguments_of_a_tool_call_come_as_an_object() {
    let asked = with_schema(json!({"type": "object", "properties": {"name": {}, "args": {"type": "object"}}}));
    let answer = replayed("tool_arguments", &asked).end.answer.unwrap();
    assert_eq!(answer.structured, Some(json!({"name": "sail", "args": {"knots": 7}})));
    assert_eq!(answer.raw["args_json"], json!("{\"knots\":7}"));
}

#[test]
fn a_message_whose_line_was_too_long_is_read_from_its_file() {
    let mut reader = reader(&request("x"), Format::JsonLines);
    let mut events = Vec::new();
    reader.overlong(20_000_000, &mut events);
    reader.line(br#"{"type":"turn.completed","usage":{}}"#, &mut events);
    let facts = Ended {
        exit_code: Some(0),
        signal: None,
        stderr: b"",
        output_file: Some(Ok(b"the whole of it")),
    };
    assert_eq!(reader.end(&facts).answer.unwrap().text, "the whole of it");
    assert!(matches!(&events[0], RunEvent::Progress { phase, .. } if phase == "line_dropped"));
}

#[test]
fn lines_of_any_kind_are_survived() {
    let noise = b"\xff\xfe\nnull\n[]\n{}\n{\"type\":5}\n{\"type\":\"item.completed\"}\n{\"type\":\"item.completed\",\"item\":7}\nhm";
    let noise = replay(noise, &End::default(), reader(&request("x"), Format::JsonLines));
    assert!(noise.events.is_empty());
    assert_eq!(
        noise.outcome(),
        Err((
            FailureKind::Crash,
            "Codex ended with code 0 before its turn was complete"
        ))
    );
}

#[test]
fn an_old_codex_without_events_answers_in_plain_text() {
    let answer = replay(b"one\n\ntwo\n", &End::default(), reader(&request("x"), Format::Text));
    assert_eq!(answer.outcome(), Ok("one\n\ntwo"));
}
