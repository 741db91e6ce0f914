//! What is tried again, and what that takes.

use gateway::domain::run::FailureKind;
use gateway::provider::plan::Format;
use gateway::provider::request::{Access, OutputForm, Session};
use serde_json::json;

use super::{Bench, failure, text};
use crate::support::fake_agent::FakeDriver;

#[tokio::test]
async fn what_may_pass_is_tried_again_unless_a_tool_ran() {
    let bench = Bench::new(FakeDriver::default());
    let body = |before: &str| {
        format!(
            r#"echo x >>"${{0%/*}}/tries"; {before}
            if [ $(wc -l <"${{0%/*}}/tries") -lt 3 ]; then echo '{{"error":"capacity","message":"busy"}}'; exit 1; fi
            echo '{{"answer":"third"}}'"#
        )
    };
    let mut turn = bench.turn(&body(""));
    turn.request.session = Session::New("a".to_owned());
    let (report, heard) = bench.run(&turn).await;
    assert_eq!((text(&report), report.retries.len()), ("third", 2));
    let again = ["attempt_started", "retry_scheduled"];
    assert_eq!(heard.words(), [&again[..], &again[..], &again[..1]].concat());
    let sessions = bench.driver.sessions.lock().unwrap().clone();
    assert_eq!(sessions[0], Session::New("a".to_owned()));
    assert!(
        sessions[1] != sessions[0] && sessions[2] != sessions[1],
        "a begun session is not begun again"
    );
    std::fs::remove_file(bench.path().join("tries")).unwrap();
    let (report, _) = bench.run(&bench.turn(&body(r#"echo '{"tool":"t"}'"#))).await;
    assert_eq!(
        (failure(&report), report.retries.len()),
        ((FailureKind::Capacity, "busy"), 0)
    );
}

/// What prints plain text may have used its tools, unless it has none.
#[tokio::test]
async fn what_may_have_used_a_tool_is_not_tried_again() {
    for (access, retries) in [(Access::Restricted, 0), (Access::Full, 0), (Access::Answer, 1)] {
        let bench = Bench::new(FakeDriver {
            format: Format::Text,
            ..FakeDriver::default()
        });
        let mut turn = bench.turn("echo no object");
        turn.request.access = access;
        turn.request.output = OutputForm::Json {
            schema: Some(json!({"needs": "a"})),
        };
        let (report, _) = bench.run(&turn).await;
        assert_eq!(failure(&report).0, FailureKind::Answer);
        assert_eq!(report.retries.len(), retries, "{access:?}");
    }
}

#[tokio::test]
async fn what_failed_attempts_took_is_counted() {
    let bench = Bench::new(FakeDriver::default());
    let body = r#"echo x >>"${0%/*}/tries"
        if [ $(wc -l <"${0%/*}/tries") -lt 3 ]; then
            echo '{"error":"capacity","usage":{"in":10,"deep":{"n":1}},"cost":0.25}'; exit 1
        fi
        echo '{"answer":"third","usage":{"in":5,"deep":{"n":1},"out":2},"cost":0.5}'"#;
    let (report, _) = bench.run(&bench.turn(body)).await;
    assert_eq!((text(&report), report.retries.len()), ("third", 2));
    assert_eq!(
        (report.usage, report.cost_usd),
        (Some(json!({"in": 25, "deep": {"n": 3}, "out": 2})), Some(1.0))
    );
}
