//! Recorded runs of Gemini CLI 0.61.0, and its traps.

use std::fmt::Write as _;

use gateway::domain::run::{FailureKind, RunEvent};
use gateway::provider::ProviderId;
use gateway::provider::gemini::transcript::Reader;
use gateway::provider::plan::{Cli, Format};
use gateway::provider::request::{Access, OutputForm, RunRequest, Session};
use gateway::provider::transcript::{Ended, Transcript};
use serde_json::json;

use crate::support::replay::{End, Recordings, Replayed, features, replay, request};

const SESSION: &str = "22222222-2222-4222-8222-222222222222";

fn reader(request: &RunRequest, format: Format) -> Box<dyn Transcript> {
    let features = features(ProviderId::Gemini, "--session-id");
    let cli = Cli {
        features: &features,
        version: Some("0.61.0"),
    };
    Box::new(Reader::new(request, cli, format))
}

fn asked() -> RunRequest {
    RunRequest {
        session: Session::Ephemeral,
        ..request("x")
    }
}

fn replayed(name: &str, request: &RunRequest) -> Replayed {
    Recordings::of("gemini").replay(name, reader(request, Format::JsonLines))
}

#[test]
fn every_recorded_run_is_read() {
    let recordings = Recordings::of("gemini");
    let mut text = String::new();
    for name in recordings.ends.keys() {
        writeln!(text, "{name}\n{}", replayed(name, &asked()).describe()).unwrap();
    }
    insta::assert_snapshot!("gemini_transcripts", text);
}

/// It stops in the middle and calls that a success.
#[test]
fn an_answer_taken_for_a_loop_is_none() {
    let run = replayed("loop", &asked());
    let (kind, why) = run.outcome().unwrap_err();
    assert_eq!(kind, FailureKind::Limit);
    assert!(why.contains("loop"), "{why}");
}

/// Trap 1: a broken stream ends with exit code 0, and other failures with a status of which the high byte is lost.
#[test]
fn an_exit_code_is_neither_success_nor_failure() {
    let recordings = Recordings::of("gemini");
    assert_eq!(recordings.ends["stream_broken"].exit, 0);
    let kind = |name| replayed(name, &asked()).outcome().unwrap_err().0;
    assert_eq!(kind("stream_broken"), FailureKind::Network);
    for (name, exit, expected) in [
        ("status_401", 145, FailureKind::Authentication),
        ("status_403", 147, FailureKind::Authentication),
        ("status_404", 1, FailureKind::Model),
        ("status_429", 173, FailureKind::Quota),
        ("status_500", 244, FailureKind::Capacity),
        ("refused_connection", 1, FailureKind::Network),
        ("no_key", 41, FailureKind::Authentication),
    ] {
        assert_eq!((recordings.ends[name].exit, kind(name)), (exit, expected), "{name}");
    }
}

/// Trap 1: a success without an answer is none.
#[test]
fn a_success_in_which_nothing_was_said_is_a_failure() {
    let silent = br#"{"type":"init","session_id":"s","model":"m"}
{"type":"result","status":"success","stats":{"total_tokens":0}}"#;
    let silent = replay(silent, &End::default(), reader(&asked(), Format::JsonLines));
    assert_eq!(silent.outcome().unwrap_err().0, FailureKind::Limit);
}

/// Trap 2: SIGTERM ends it with exit code 0 and no result; a prompt of 8 MiB does, too.
#[test]
fn an_end_without_a_result_is_a_failure() {
    let torn = "Gemini ended in the middle of a line: the prompt is too long for its model, or this host too busy to \
                read what it said in time; try again, or with a shorter prompt";
    for (name, why) in [("terminated", "Gemini ended without a result"), ("too_long", torn)] {
        let failure = (FailureKind::Crash, why);
        let run = replayed(name, &asked());
        assert_eq!(Recordings::of("gemini").ends[name].exit, 0);
        assert_eq!(run.outcome(), Err(failure), "{name}");
    }
}

/// Trap 4: the figures are those of the run, also in a resumed session.
#[test]
fn usage_is_that_of_the_run() {
    let end = replayed("turn_2", &asked()).end;
    assert!(!end.cumulative.usage && !end.cumulative.cost);
    assert_eq!(end.usage.unwrap()["input_tokens"], json!(200));
}

/// Trap 5: the session that answers is the one asked for.
#[test]
fn an_answer_from_another_session_is_a_failure() {
    let resume = |id: &str| RunRequest {
        session: Session::Resume(id.to_owned()),
        ..request("x")
    };
    assert_eq!(
        replayed("turn_2", &resume(SESSION)).outcome(),
        Ok("fake(2): Second mate.")
    );
    let other = replayed("turn_2", &resume("33333333-3333-4333-8333-333333333333"));
    assert_eq!(other.outcome().unwrap_err().0, FailureKind::Session);
    // A new one under our id is compared as well.
    assert_eq!(
        replayed("turn_1", &request("x")).outcome().unwrap_err().0,
        FailureKind::Session
    );
    let kind = |name| replayed(name, &asked()).outcome().unwrap_err().0;
    assert_eq!(kind("session_exists"), FailureKind::Session);
    assert_eq!(kind("unknown_session"), FailureKind::NoSession);
}

/// Trap 7: U+2028 comes raw inside a line, and keys come in any order.
#[test]
fn only_a_line_feed_ends_a_line() {
    assert!(
        String::from_utf8(Recordings::of("gemini").stdout("line_separator"))
            .unwrap()
            .contains('\u{2028}')
    );
    assert_eq!(
        replayed("line_separator", &asked()).outcome(),
        Ok("one\u{2028}two\u{2029}three")
    );
    let turned = br#"{"content":"hi","delta":true,"role":"assistant","type":"message"}
{"stats":{},"status":"success","new":[1],"type":"result"}"#;
    let turned = replay(turned, &End::default(), reader(&asked(), Format::JsonLines));
    assert_eq!(turned.outcome(), Ok("hi"));
}

#[test]
fn deltas_repeated_after_a_broken_stream_count_once() {
    let run = replayed("stream_repeated", &asked());
    let pieces: String = run
        .events
        .iter()
        .filter_map(|event| match event {
            RunEvent::Partial { text } => Some(text.as_str()),
            RunEvent::Message { .. }
            | RunEvent::ToolCall { .. }
            | RunEvent::ToolResult { .. }
            | RunEvent::Progress { .. } => None,
        })
        .collect();
    assert_eq!(pieces, "oneone two three");
    assert_eq!(run.outcome(), Ok("one two three"));
}

#[test]
fn a_long_prompt_that_comes_back_is_no_loss_but_a_long_answer_is() {
    let run = |lines_before: &[&[u8]]| {
        let mut reader = reader(&asked(), Format::JsonLines);
        let mut events = Vec::new();
        lines_before.iter().for_each(|line| reader.line(line, &mut events));
        reader.overlong(8_000_000, &mut events);
        reader.line(
            br#"{"type":"message","role":"assistant","content":"ok","delta":true}"#,
            &mut events,
        );
        reader.line(br#"{"type":"result","status":"success"}"#, &mut events);
        let facts = Ended {
            exit_code: Some(0),
            signal: None,
            stderr: b"",
            output_file: None,
        };
        reader.end(&facts).answer
    };
    assert_eq!(run(&[]).unwrap().text, "ok");
    let echo = br#"{"type":"message","role":"user","content":"short"}"#;
    assert_eq!(run(&[echo]).unwrap_err().kind, FailureKind::Answer);
}

#[test]
fn an_answer_without_end_is_not_kept() {
    let delta =
        json!({"type": "message", "role": "assistant", "content": "x".repeat(1 << 20), "delta": true}).to_string();
    let lines = [
        vec![delta.as_str(); 40],
        vec![r#"{"type":"result","status":"success"}"#],
    ]
    .concat();
    let run = replay(
        lines.join("\n").as_bytes(),
        &End::default(),
        reader(&asked(), Format::JsonLines),
    );
    assert_eq!(
        run.outcome(),
        Err((
            FailureKind::Answer,
            "Gemini's answer, or a line of it, was too long to be kept"
        ))
    );
}

#[test]
fn json_is_found_and_demanded_only_with_a_schema() {
    let form = |schema| RunRequest {
        output: OutputForm::Json { schema },
        ..asked()
    };
    let answer = replayed("schema", &form(Some(json!({})))).end.answer.unwrap();
    assert_eq!(answer.structured, Some(json!({"ships": 3})));
    assert_eq!(replayed("text", &form(None)).end.answer.unwrap().structured, None);
    assert_eq!(
        replayed("text", &form(Some(json!({})))).outcome().unwrap_err().0,
        FailureKind::Answer
    );
}

#[test]
fn a_version_without_events_answers_in_one_document() {
    let read = |stdout: &[u8], end: &End, format| replay(stdout, end, reader(&asked(), format));
    let document = b"{\n  \"session_id\": \"s\",\n  \"response\": \"hi\",\n  \"stats\": {\"models\": {\"m\": {}}}\n}\n";
    let run = read(document, &End::default(), Format::Json);
    assert_eq!((run.outcome(), run.end.model.as_deref()), (Ok("hi"), Some("m")));
    let broken_off = b"{\"response\": \"hi hi\", \"warnings\": [\"Loop detected, stopping execution\"]}";
    let run = read(broken_off, &End::default(), Format::Json);
    assert_eq!(run.outcome().unwrap_err().0, FailureKind::Limit);
    let end = End {
        exit: 145,
        stderr: "Ripgrep\n{\n  \"error\": {\"message\": \"bad key\", \"code\": 401}\n}\n".to_owned(),
    };
    assert_eq!(
        read(b"", &end, Format::Json).outcome(),
        Err((FailureKind::Authentication, "bad key"))
    );
    assert_eq!(read(b"plain\n", &End::default(), Format::Text).outcome(), Ok("plain"));
}

/// A run is repeated only when it is known that no tool ran.
#[test]
fn a_document_tells_of_tools_by_its_figures_alone() {
    let ran = |stats: &str, access| {
        let document = format!("{{\"response\": \"hi\", \"stats\": {stats}}}");
        let asked = RunRequest { access, ..asked() };
        replay(document.as_bytes(), &End::default(), reader(&asked, Format::Json))
            .end
            .tool_ran
    };
    assert!(ran(r#"{"tools": {"totalCalls": 2}}"#, Access::Restricted));
    assert!(ran("null", Access::Full), "nobody knows");
    assert!(!ran(r#"{"tools": {"totalCalls": 0}}"#, Access::Full));
    assert!(!ran("null", Access::Answer), "it has none");
}

#[test]
fn lines_of_any_kind_are_survived() {
    let noise =
        b"\xff\nnull\n[]\n{}\n{\"type\":5}\n{\"type\":\"message\"}\n{\"type\":\"tool_result\"}\nLoaded credentials.";
    let noise = replay(noise, &End::default(), reader(&asked(), Format::JsonLines));
    assert_eq!(
        noise.outcome(),
        Err((FailureKind::Crash, "Gemini ended without a result"))
    );
}
