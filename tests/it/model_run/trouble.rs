//! Runs without an answer, and who is to blame for it.

use std::sync::Arc;

use gateway::domain::clock;
use gateway::domain::job::JobStatus;
use gateway::job::handler::{Context, JobLife, StopReason, model_run};
use gateway::provider::Providers;
use gateway::provider::capability::Finding;
use gateway::provider::document::Picture;
use gateway::provider::health::Verdict;
use gateway::provider::plan::Format;
use gateway::wire::heartbeat::HealthStatus;
use serde_json::json;
use tokio::sync::watch;

use super::{Bench, CODEX, result, text};
use crate::support::eventually::eventually;
use crate::support::fake_agent::FakeDriver;

#[tokio::test]
async fn a_payload_without_a_question_is_refused() {
    let bench = Bench::new("true", FakeDriver::default()).await;
    let (outcome, life) = bench.run(&json!({"prompt": "p", "model": ""})).await;
    assert_eq!(
        (outcome.status(), outcome.error()),
        (JobStatus::Failed, Some("Missing prompt or model"))
    );
    assert_eq!(
        result(&outcome),
        json!({"message": "Missing prompt or model for gateway model run"})
    );
    assert!(life.take_notes().is_empty() && bench.server.seen().is_empty());
}

#[tokio::test]
async fn only_the_providers_own_trouble_is_the_providers() {
    let body = r#"if [ -e "${0%/*}/in" ]; then echo '{"answer":"hi"}'; exit; fi
        echo 'x {"error":{"message":"bad key sk-12345678901234567890","type":"auth"}}' >&2
        echo '{"error":"authentication","message":"401: invalid key"}'"#;
    let bench = Bench::new(body, FakeDriver::default()).await;
    let (outcome, _) = bench.run(&text("p")).await;
    let error = "Gateway provider Codex is unhealthy. Try another provider or run \"gateway doctor\". Details: 401: invalid key";
    assert_eq!((outcome.status(), outcome.error()), (JobStatus::Failed, Some(error)));
    let failed = result(&outcome);
    assert_eq!(failed["message"], error);
    assert_eq!(
        (&failed["error_code"], &failed["exit_code"]),
        (&json!("authentication"), &json!(0))
    );
    assert_eq!(
        failed["error_summary"],
        json!({"message": "bad key [REDACTED]", "type": "auth"})
    );
    assert!(failed["hint"].as_str().unwrap().contains("log in") && !failed.to_string().contains("sk-1234"));
    assert_eq!(bench.health(), HealthStatus::Unhealthy);
    assert_eq!(bench.cx.providers.picture().witness(CODEX), Some(&bench.witness()));
    std::fs::File::options()
        .write(true)
        .create_new(true)
        .open(bench.home.path().join("in"))
        .unwrap();
    assert_eq!(bench.run(&text("p")).await.0.status(), JobStatus::Completed);
    assert_eq!(bench.health(), HealthStatus::Healthy);
}

#[tokio::test]
async fn trouble_of_one_job_leaves_the_provider_alone() {
    let body = r#"echo '{"error":"model","message":"unknown model"}'; exit 1"#;
    let bench = Bench::new(body, FakeDriver::default()).await;
    bench.cx.providers.judge(CODEX, &Verdict::Works, bench.witness());
    let (outcome, _) = bench.run(&text("p")).await;
    assert_eq!(
        outcome.error(),
        Some("Gateway model run failed. Details: unknown model")
    );
    assert_eq!(bench.health(), HealthStatus::Healthy);
    let slow = Bench::new("exec sleep 300", FakeDriver::default()).await;
    slow.cx.providers.judge(CODEX, &Verdict::Works, slow.witness());
    let mut payload = text("p");
    payload["timeout_ms"] = json!(10);
    let (outcome, life) = slow.run(&payload).await;
    let failed = result(&outcome);
    assert_eq!(
        failed["message"],
        "Gateway model run failed. Details: The run did not end within 1s"
    );
    assert_eq!(
        (&failed["timed_out"], &failed["timeout_clamped"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(
        (slow.health(), &life.take_notes()["timed_out"]),
        (HealthStatus::Healthy, &json!(true))
    );
}

#[tokio::test]
async fn more_than_fits_is_its_own_failure() {
    let driver = FakeDriver {
        format: Format::Text,
        ..FakeDriver::default()
    };
    let bench = Bench::new("exec yes", driver).await;
    let (outcome, _) = bench.run(&text("p")).await;
    let message = "Gateway model stdout exceeded the 5000000-byte output limit";
    assert_eq!((outcome.status(), outcome.error()), (JobStatus::Failed, Some(message)));
    let expected = json!({
        "message": message, "error_code": "GATEWAY_MODEL_OUTPUT_LIMIT", "boundary": "stdout",
        "output_limit_bytes": 5_000_000
    });
    assert_eq!((result(&outcome), bench.health()), (expected, HealthStatus::Unknown));
}

#[tokio::test]
async fn a_missing_cli_is_named_and_a_mended_one_is_used_at_once() {
    let bench = Bench::new(r#"echo '{"answer":"1.0.0"}'"#, FakeDriver::default()).await;
    let mut payload = text("p");
    payload["provider"] = json!("gemini");
    let (outcome, _) = bench.run(&payload).await;
    let error = "Gateway provider Gemini is unhealthy. Try another provider or run \"gateway doctor\". Details: spawn gemini ENOENT";
    assert_eq!(outcome.error(), Some(error));
    assert!(result(&outcome)["hint"].as_str().unwrap().starts_with("Install Gemini"));
    // As it looked half a minute ago; meanwhile it is there.
    let absent = Finding::unavailable("codex", "spawn codex ENOENT");
    let mut picture = Picture::default();
    picture.see(CODEX, absent, clock::now());
    let providers = Providers::new(bench.cx.providers.prober.clone(), watch::Sender::new(Arc::new(picture)));
    let cx = Context {
        providers,
        ..bench.cx.clone()
    };
    let outcome = model_run::run(&bench.job(&text("p")), &cx, &JobLife::default()).await;
    assert_eq!(outcome.status(), JobStatus::Completed, "{:?}", outcome.error());
}

#[tokio::test]
async fn a_cancelled_job_ends_at_once() {
    let bench = Bench::new(
        r#"echo x >"${0%/*}/begun"; trap '' TERM; while :; do sleep 1; done"#,
        FakeDriver::default(),
    )
    .await;
    let life = JobLife::default();
    let begun = bench.home.path().join("begun");
    let job = bench.job(&text("p"));
    let cancel = async {
        eventually("the agent", || async { begun.exists().then_some(()) }).await;
        life.end(StopReason::Cancelled);
    };
    let (outcome, ()) = tokio::join!(model_run::run(&job, &bench.cx, &life), cancel);
    assert_eq!(
        (outcome.status(), outcome.error()),
        (JobStatus::Cancelled, Some("Gateway job was cancelled"))
    );
    assert_eq!(bench.health(), HealthStatus::Unknown);
    let process = life.process().borrow().unwrap();
    assert!(!gateway::process::identity::alive(process.pid, process.start_ticks));
}
