//! Recorded runs of Claude Code 2.1.329 and 2.1.197, and its traps.

use std::fmt::Write as _;

use gateway::domain::run::{Cumulative, FailureKind, RunEvent};
use gateway::provider::ProviderId;
use gateway::provider::claude::transcript::Reader;
use gateway::provider::plan::{Cli, Format};
use gateway::provider::request::{OutputForm, RunRequest, Session};
use gateway::provider::transcript::{Ended, Transcript};
use serde_json::{Value, json};

use crate::support::replay::{End, Recordings, Replayed, features, replay, request};

const SESSION: &str = "01a1fbb6-25d3-4471-8b5a-ff18f24241f0";
const HELP: &str = "--session-id --json-schema";

fn reader(request: &RunRequest, version: &str, format: Format) -> Box<dyn Transcript> {
    let features = features(ProviderId::ClaudeCode, HELP);
    let cli = Cli {
        features: &features,
        version: Some(version),
    };
    Box::new(Reader::new(request, cli, format))
}

/// What was asked for when a run was recorded shows in its name.
fn asked(name: &str) -> RunRequest {
    let session = match name {
        "turn_2" | "old_turn_2" => Session::Resume(SESSION.to_owned()),
        "unknown_session" => Session::Resume("22222222-2222-4222-8222-222222222222".to_owned()),
        "command" => Session::Ephemeral,
        _ => Session::New(SESSION.to_owned()),
    };
    let schema = json!({"type": "object", "properties": {"ships": {"type": "integer"}}, "required": ["ships"]});
    let output = if name.contains("schema") {
        OutputForm::Json { schema: Some(schema) }
    } else {
        OutputForm::Text
    };
    RunRequest {
        session,
        output,
        ..request("x")
    }
}

fn replayed_for(name: &str, asked: &RunRequest) -> Replayed {
    let version = if name.starts_with("old_") { "2.1.197" } else { "2.1.329" };
    let format = match name {
        "document" => Format::Json,
        "plain" | "plain_status_500" => Format::Text,
        _ => Format::JsonLines,
    };
    Recordings::of("claude").replay(name, reader(asked, version, format))
}

fn replayed(name: &str) -> Replayed {
    replayed_for(name, &asked(name))
}

fn kind(name: &str) -> FailureKind {
    replayed(name).end.answer.unwrap_err().kind
}

/// A run of lines that were never recorded.
fn invented(lines: &[Value]) -> Replayed {
    let stdout = lines.iter().map(|line| line.to_string() + "\n").collect::<String>();
    replay(
        stdout.as_bytes(),
        &End::default(),
        reader(&request("x"), "2.1.329", Format::JsonLines),
    )
}

#[test]
fn every_recorded_run_is_read() {
    let mut text = String::new();
    for name in Recordings::of("claude").ends.keys() {
        writeln!(text, "{name}\n{}", replayed(name).describe()).unwrap();
    }
    insta::assert_snapshot!("claude_transcripts", text);
}

/// Trap 1: `"subtype":"success"` with `is_error` is a failure, of the kind that the status tells.
#[test]
fn an_error_called_success_is_a_failure() {
    for (name, expected) in [
        ("status_400", FailureKind::Request),
        ("status_401", FailureKind::Authentication),
        ("status_403", FailureKind::Authentication),
        ("status_404", FailureKind::Model),
        ("status_413", FailureKind::Request),
        ("status_429", FailureKind::Quota),
        ("status_500", FailureKind::Capacity),
        ("status_529", FailureKind::Capacity),
        ("old_status_500", FailureKind::Capacity),
        ("plain_status_500", FailureKind::Capacity),
        ("refused_connection", FailureKind::Network),
        ("silent_headers", FailureKind::Network),
        ("no_key", FailureKind::Authentication),
        ("too_long", FailureKind::Request),
        ("budget", FailureKind::Limit),
    ] {
        assert_eq!(kind(name), expected, "{name}");
    }
}

/// Trap 1: exit code 0 without `structured_output` is no answer of the form asked for.
#[test]
fn a_schema_that_was_ignored_is_a_failure() {
    for name in ["schema_ignored", "old_schema_ignored", "schema_never_met"] {
        assert_eq!(kind(name), FailureKind::Answer, "{name}");
    }
    assert_eq!(kind("schema_invalid"), FailureKind::Request);
    let answer = replayed("schema").end.answer.unwrap();
    assert_eq!(answer.structured, Some(json!({"ships": 3})));
    assert!(!replayed("schema").end.tool_ran, "the schema's own tool does nothing");
}

/// Trap 1: a prompt that the CLI took for a command of its own was never answered by the model.
#[test]
fn a_command_is_no_answer() {
    assert_eq!(kind("command"), FailureKind::Request);
}

/// Trap 2: a run that was told to end has no final word, whatever its exit code: after SIGINT it is 0.
#[test]
fn an_ended_run_is_no_success() {
    assert_eq!(Recordings::of("claude").ends["interrupted"].exit, 0);
    for name in ["interrupted", "terminated"] {
        assert_eq!(kind(name), FailureKind::Crash, "{name}");
    }
}

/// Trap 3: what the CLI tries again is told as it happens.
#[test]
fn retries_are_progress() {
    let recovers = replayed("recovers");
    assert_eq!(recovers.outcome(), Ok("Second try."));
    let retried = |event: &&RunEvent| matches!(event, RunEvent::Progress { phase, .. } if phase == "api_retry");
    let event = recovers.events.iter().find(retried).unwrap();
    assert_eq!(
        (&event.payload()["attempt"], &event.payload()["error_status"]),
        (&json!(1), &json!(500))
    );
}

/// Trap 4: `total_cost_usd` counts the whole session since some version; newer ones tell the run's own cost, too.
#[test]
fn the_models_of_a_resumed_session_are_counted_by_run() {
    let read = |name: &str| {
        let usage = &replayed(name).end.metadata["model_usage"]["claude-opus-5-5"];
        usage["inputTokens"].as_u64().unwrap()
    };
    assert_eq!((read("turn_1"), read("turn_2")), (100, 200));
}

#[test]
fn the_models_of_several_results_are_added() {
    let result = |own: u64, all: u64| {
        let used = |tokens: u64| json!({"opus": {"inputTokens": tokens, "contextWindow": 1_000, "costBasis": "list"}});
        json!({"type": "result", "subtype": "success", "is_error": false, "result": "x",
            "modelUsage": used(all), "model_usage_since_last_result": used(own)})
    };
    let run = invented(&[result(200, 900), result(50, 950)]);
    let own = json!({"opus": {"inputTokens": 250, "contextWindow": 1_000, "costBasis": "list"}});
    assert_eq!(run.end.metadata["model_usage"], own);
}

#[test]
fn the_cost_is_of_the_run_or_flagged() {
    let cost = |name| {
        let end = replayed(name).end;
        (end.cost_usd, end.cumulative)
    };
    let (first, second) = (cost("turn_1"), cost("turn_2"));
    assert_eq!(first, (Some(0.00042), Cumulative::default()));
    assert_eq!(second, (Some(0.00082), Cumulative::default()), "its total is 0.00124");
    assert_eq!(cost("old_turn_2").1, Cumulative::default());

    let result =
        json!({"type": "result", "subtype": "success", "is_error": false, "result": "x", "total_cost_usd": 2.5});
    let between = invented(&[result]).end;
    assert_eq!((between.cost_usd, between.cumulative.cost), (Some(2.5), true));
}

/// Trap 4: a run with several results used what they used together.
#[test]
fn a_run_with_two_results_is_one_run() {
    let run = replayed("background");
    assert_eq!(run.end.metadata["results"], 2);
    assert_eq!(run.end.usage.unwrap()["input_tokens"], 300);
    assert!(run.end.tool_ran);
}

/// No reader takes such a number, or so many levels.
#[test]
fn a_last_word_with_odd_json_in_it_is_heard() {
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    let line = format!(
        r#"{{"type":"result","subtype":"success","is_error":false,"result":"x","total_cost_usd":1e400,"deep":{deep}}}"#
    );
    let run = replay(
        line.as_bytes(),
        &End::default(),
        reader(&request("x"), "2.1.329", Format::JsonLines),
    );
    assert_eq!((run.outcome(), run.end.cost_usd), (Ok("x"), None));
}

/// Trap 5: an answer from another session is none.
#[test]
fn another_session_is_a_failure() {
    let mut request = asked("text");
    request.session = Session::Resume("33333333-3333-4333-8333-333333333333".to_owned());
    let other = replayed_for("text", &request);
    let why = format!("Claude answered in session {SESSION} instead of 33333333-3333-4333-8333-333333333333");
    assert_eq!(other.outcome(), Err((FailureKind::Session, why.as_str())));
    assert_eq!(kind("unknown_session"), FailureKind::NoSession);

    request.session = Session::Resume(SESSION.to_uppercase());
    assert!(
        replayed_for("text", &request).end.answer.is_ok(),
        "the same id in other letters"
    );
}

/// Trap 6: a session that is in use says so.
#[test]
fn a_session_in_use_is_the_sessions_trouble() {
    assert_eq!(kind("session_in_use"), FailureKind::Session);
}

/// Trap 7: only `\n` ends a line, and no order of keys is relied on.
#[test]
fn separators_and_the_order_of_keys_do_not_matter() {
    let run = replayed("line_separator");
    assert_eq!(run.outcome(), Ok("one\u{2028}two\u{2029}three\u{85}four"));

    let recordings = Recordings::of("claude");
    for (name, end) in &recordings.ends {
        let sorted = recordings.stdout(name);
        let sorted = sorted.split(|byte| *byte == b'\n').flat_map(|line| {
            let mut line = serde_json::from_slice::<Value>(line).map_or_else(
                |_| line.to_vec(),
                |value| {
                    let mut value = value;
                    value.sort_all_objects();
                    value.to_string().into_bytes()
                },
            );
            line.push(b'\n');
            line
        });
        let reader = reader(&asked(name), "2.1.329", Format::JsonLines);
        let again = replay(&sorted.collect::<Vec<_>>(), end, reader);
        if !["document", "plain", "plain_status_500"].contains(&name.as_str()) && !name.starts_with("old_") {
            assert_eq!(again.outcome(), replayed(name).outcome(), "{name}");
            assert_eq!(again.events.len(), replayed(name).events.len(), "{name}");
        }
    }
}

/// Trap 9: an old version that npm chose is read by its own rules.
#[test]
fn an_old_version_is_read_by_its_rules() {
    let (one, two) = (replayed("old_turn_1"), replayed("old_turn_2"));
    assert_eq!((one.outcome(), two.outcome()), (Ok("First."), Ok("Second.")));
    assert!(!two.end.cumulative.cost && two.end.cost_usd < Some(0.002));
}

#[test]
fn what_an_old_cli_prints_is_read_too() {
    let document = replayed("document");
    assert_eq!(document.outcome(), Ok("One document."));
    assert_eq!(document.end.session_id.as_deref(), Some(SESSION));
    assert_eq!(replayed("plain").outcome(), Ok("Nothing but text."));
}

#[test]
fn the_text_of_a_broken_stream_may_come_again_and_says_so() {
    let delta = |text: &str| {
        let delta = json!({"type": "text_delta", "text": text});
        json!({"type": "stream_event", "event": {"type": "content_block_delta", "delta": delta}})
    };
    let start = || json!({"type": "stream_event", "event": {"type": "message_start"}});
    let run = invented(&[start(), delta("on"), start(), delta("on"), delta("e")]);
    let phases: Vec<_> = run
        .events
        .iter()
        .map(|event| event.payload()["phase"].clone())
        .collect();
    assert_eq!(
        phases,
        ["partial_text", "stream_restarted", "partial_text", "partial_text"]
    );
}

#[test]
fn calls_and_results_are_told_once_and_strange_parts_hide_no_others() {
    let call = json!({"type": "tool_use", "id": "t", "name": "Bash", "input": {"command": " ls "}});
    let strange = json!({"type": 7});
    let assistant = json!({"type": "assistant", "message": {"id": "m", "content": [strange, call]}});
    let result = json!({"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "x"}]});
    let user = json!({"type": "user", "message": {"content": [result]}});
    let run = invented(&[
        assistant.clone(),
        assistant,
        user.clone(),
        user,
        json!([1]),
        json!({"type": 5}),
    ]);
    let [
        RunEvent::ToolCall { summary, .. },
        RunEvent::ToolResult { name, content, .. },
    ] = &run.events[..]
    else {
        panic!("{:?}", run.events);
    };
    assert_eq!((summary.as_deref(), name.as_deref()), (Some("ls"), Some("Bash")));
    assert!(content.contains("\"text\": \"x\""));
}

#[test]
fn a_line_too_long_to_be_read_is_told_and_is_no_crash() {
    let mut reader = reader(&request("x"), "2.1.329", Format::JsonLines);
    let mut events = Vec::new();
    reader.overlong(9_000_000, &mut events);
    assert_eq!(
        events[0].payload(),
        json!({"phase": "line_dropped", "bytes": 9_000_000})
    );
    let facts = Ended {
        exit_code: Some(0),
        signal: None,
        stderr: b"",
        output_file: None,
    };
    let failure = reader.end(&facts).answer.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Limit);
    assert!(failure.message.contains("9000000 bytes"));
}
