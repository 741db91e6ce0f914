//! Where a run ends that does not end by itself, and where it does not even begin.

use std::time::Duration;

use gateway::domain::run::FailureKind;
use gateway::job::agent::{Boundary, How};
use gateway::provider::plan::Format;

use super::{Bench, failure, text};
use crate::support::fake_agent::FakeDriver;

#[tokio::test]
async fn silence_ends_a_run_but_not_while_a_tool_works() {
    let bench = Bench::new(FakeDriver::default());
    let mut turn = bench.turn(r#"echo '{"text":"one"}'; exec sleep 300"#);
    turn.limits.idle = Duration::from_millis(300);
    let (report, heard) = bench.run(&turn).await;
    assert_eq!(report.how, How::Silent(turn.limits.idle));
    assert_eq!(failure(&report).0, FailureKind::Network);
    assert_eq!(heard.words(), ["attempt_started", "one"], "silence is not tried again");
    let mut turn = bench.turn(r#"echo '{"tool":"t"}'; sleep 1; echo '{"tool_result":"t","answer":"done"}'"#);
    turn.limits.idle = Duration::from_millis(300);
    assert_eq!(text(&bench.run(&turn).await.0), "done");
}

/// As Gemini CLI does in plan mode where its model is over quota.
#[tokio::test]
async fn a_run_that_tries_in_silence_tells_what_its_model_said() {
    let bench = Bench::new(FakeDriver::default());
    let mut turn = bench.turn(r"echo 'Attempt 2 failed with status 429. Retrying with backoff...' >&2; exec sleep 300");
    turn.limits.refused_idle = Duration::from_millis(300);
    let (report, heard) = bench.run(&turn).await;
    assert_eq!(report.how, How::Silent(turn.limits.refused_idle));
    let why = "The agent said nothing for 300ms; its model API answered 429";
    assert_eq!(failure(&report), (FailureKind::Quota, why));
    assert_eq!(heard.words(), ["attempt_started"], "silence is not tried again");
}

#[tokio::test]
async fn the_whole_run_has_a_deadline() {
    let bench = Bench::new(FakeDriver::default());
    let mut turn = bench.turn(r#"while :; do echo '{"text":"on and on"}'; sleep 0.05; done"#);
    turn.limits.total = Duration::from_millis(500);
    let (report, _) = bench.run(&turn).await;
    assert_eq!(report.how, How::TimedOut(turn.limits.total));
    assert_eq!(
        failure(&report),
        (FailureKind::Limit, "The run did not end within 500ms")
    );
}

#[tokio::test]
async fn an_answer_before_a_deadline_stays_one() {
    let bench = Bench::new(FakeDriver::default());
    let mut turn = bench.turn(r#"echo '{"answer":"done"}'; exec sleep 300"#);
    turn.limits.idle = Duration::from_millis(300);
    let (report, _) = bench.run(&turn).await;
    assert_eq!((report.how.is_deadline(), text(&report)), (true, "done"));
}

#[tokio::test]
async fn too_much_output_ends_the_run() {
    let bench = Bench::new(FakeDriver {
        format: Format::Text,
        ..FakeDriver::default()
    });
    let (report, _) = bench.run(&bench.turn("exec yes")).await;
    assert_eq!(report.how, How::TooMuch(Boundary::Stdout));
    let (report, _) = bench.run(&bench.turn("head -c 5000000 /dev/zero | tr '\\0' x")).await;
    assert_eq!((report.how, text(&report).len()), (How::Ended, 5_000_001));
    let (report, _) = bench.run(&bench.turn("head -c 5000001 /dev/zero | tr '\\0' x")).await;
    assert_eq!(report.how, How::TooMuch(Boundary::Stdout));
    let files = Bench::new(FakeDriver {
        format: Format::Text,
        writes_file: true,
        ..FakeDriver::default()
    });
    let (report, _) = files.run(&files.turn(r#"echo x >"${2%/*}/out.json""#)).await;
    assert_eq!(text(&report), "x\n");
    let (report, _) = files
        .run(&files.turn(r#"head -c 5000001 /dev/zero >"${2%/*}/out.json""#))
        .await;
    assert_eq!(report.how, How::TooMuch(Boundary::OutputFile));
    let (report, _) = files.run(&files.turn(r#"ln -s /etc/passwd "${2%/*}/out.json""#)).await;
    assert!(text(&report).starts_with("no file: "), "{}", text(&report));
}

#[tokio::test]
async fn what_cannot_start_says_why() {
    let bench = Bench::new(FakeDriver::default());
    let mut turn = bench.turn("true");
    turn.command = "/nowhere/agent".to_owned();
    let (report, _) = bench.run(&turn).await;
    assert_eq!(
        (report.how, failure(&report).1),
        (How::NotStarted, "spawn /nowhere/agent ENOENT")
    );
    let mut turn = bench.turn("true");
    turn.request.prompt = "a\0b".to_owned();
    let (report, heard) = bench.run(&turn).await;
    assert_eq!((report.how, failure(&report).0), (How::Refused, FailureKind::Request));
    assert!(heard.planned.is_empty() && report.process.is_none());
}
