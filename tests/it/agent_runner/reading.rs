//! What is read of an agent, and whether its answer is one.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Barrier};

use gateway::domain::run::{FailureKind, RunEvent};
use gateway::job::agent::How;
use gateway::provider::request::OutputForm;
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use super::{Bench, failure, text};
use crate::support::fake_agent::FakeDriver;

#[tokio::test]
async fn a_run_is_told_as_it_happens_and_leaves_nothing() {
    let bench = Bench::new(FakeDriver::default());
    let mut turn = bench.turn(
        r#"cat >"${0%/*}/prompt"; stat -c %a "$2" >"${0%/*}/mode"; cp "$2" "${0%/*}/plan"
        env >"${0%/*}/env"; pwd >"${0%/*}/cwd"
        echo '{"text":"one"}'; echo noise; echo '{"tool":"t"}'; echo '{"tool_result":"t"}'
        printf '{"answer":"done","session":"s","usage":{"in":1},"cost":0.5}'"#,
    );
    turn.request.prompt = "--danger\n/cost \u{2028} é\n\n".to_owned();
    let (report, heard) = bench.run(&turn).await;
    assert_eq!((report.how, text(&report), report.tool_ran), (How::Ended, "done", true));
    assert_eq!((report.session_id.as_deref(), report.cost_usd), (Some("s"), Some(0.5)));
    assert_eq!(heard.words(), ["attempt_started", "one", "tool_call", "tool_result"]);
    assert_eq!((heard.planned.len(), heard.started.len()), (1, 1));
    assert_eq!(bench.notes("prompt"), turn.request.prompt);
    assert_eq!(
        (bench.notes("mode"), bench.notes("plan")),
        ("600\n".to_owned(), r#"{"planned":true}"#.to_owned())
    );
    let env = bench.notes("env");
    assert!(env.contains("FAKE_SET=1") && !env.contains("FAKE_UNSET") && env.contains(&turn.mark));
    assert!(bench.notes("cwd").trim().ends_with(&format!("runs/{}/work", turn.mark)));
    let mode = std::fs::metadata(bench.path().join("state/work"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[tokio::test]
async fn an_exit_code_of_zero_hides_no_error() {
    let bench = Bench::new(FakeDriver::default());
    let turn = bench.turn(r#"echo '{"answer":"half"}'; echo '{"error":"model","message":"no such model"}'"#);
    let (report, _) = bench.run(&turn).await;
    assert_eq!(failure(&report), (FailureKind::Model, "no such model"));
    let turn = bench.turn("echo words >&2; exit 3");
    let (report, _) = bench.run(&turn).await;
    assert_eq!(failure(&report), (FailureKind::Crash, "words"));
    assert_eq!(report.process.unwrap().exit_code, Some(3));
}

#[tokio::test]
async fn half_a_character_loses_no_line() {
    let bench = Bench::new(FakeDriver::default());
    let body = r#"printf '%s\n' '{"answer":"\ude00 \ud83d\ude00"}'"#;
    let (report, _) = bench.run(&bench.turn(body)).await;
    assert_eq!(text(&report), "\u{fffd} \u{1f600}");
}

#[tokio::test]
async fn a_very_long_line_is_read() {
    let bench = Bench::new(FakeDriver::default());
    let body = r#"printf '{"answer":"'; head -c 10000000 /dev/zero | tr '\0' x; printf '"}'"#;
    let (report, _) = bench.run(&bench.turn(body)).await;
    assert_eq!(text(&report).len(), 10_000_000);
}

#[tokio::test]
async fn an_answer_is_held_against_its_schema() {
    let bench = Bench::new(FakeDriver::default());
    let with_schema = |body: &str, schema: Value| {
        let mut turn = bench.turn(body);
        turn.request.output = OutputForm::Json { schema: Some(schema) };
        turn
    };
    let good = r#"echo '{"answer":"Sure: {\"a\":1}"}'"#;
    let (report, _) = bench.run(&with_schema(good, json!({"needs": "a"}))).await;
    assert_eq!(report.answer.unwrap().structured, Some(json!({"a": 1})));
    let (report, _) = bench.run(&with_schema(good, json!({"needs": "b"}))).await;
    assert_eq!(
        (failure(&report), report.retries.len()),
        ((FailureKind::Answer, "b is missing"), 1)
    );
    let prose = r#"echo '{"answer":"see {x}"}'"#;
    let (report, _) = bench.run(&with_schema(prose, json!({"needs": "a"}))).await;
    assert_eq!(
        failure(&report),
        (FailureKind::Answer, "The answer holds no JSON object")
    );
    let (report, heard) = bench.run(&with_schema(good, json!({}))).await;
    assert_eq!((report.how, heard.events), (How::Refused, Vec::<RunEvent>::new()));
    let mut turn = bench.turn(prose);
    turn.request.output = OutputForm::Json { schema: None };
    assert_eq!(text(&bench.run(&turn).await.0), "see {x}");
}

#[tokio::test]
async fn an_answer_that_takes_long_to_judge_stops_nothing_else() {
    let slow = Arc::new(Barrier::new(2));
    let bench = Bench::new(FakeDriver {
        slow: Some(Arc::clone(&slow)),
        ..FakeDriver::default()
    });
    let mut turn = bench.turn(r#"echo '{"answer":"{\"a\":1}"}'"#);
    turn.request.output = OutputForm::Json {
        schema: Some(json!({"needs": "a"})),
    };
    let meanwhile = async {
        for _end_of_the_check in 0..2 {
            let slow = Arc::clone(&slow);
            spawn_blocking(move || slow.wait()).await.unwrap();
        }
    };
    let ((report, _), ()) = tokio::join!(bench.run(&turn), meanwhile);
    assert_eq!(report.answer.unwrap().structured, Some(json!({"a": 1})));
}
