//! Jobs through a real daemon: both ways in, cancels, crashes.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::daemon::Host;
use crate::support::eventually::eventually;

const PUSH_ONLY: &[(&str, &str)] = &[("PANORAMA_GATEWAY_TEST_POLLING", "off")];
const POLL_ONLY: &[(&str, &str)] = &[("PANORAMA_GATEWAY_TEST_REALTIME", "off")];

fn error(row: &Value) -> &str {
    row["error"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn a_shell_job_runs_and_reports() {
    let host = Host::new().await;
    let daemon = host.start_ready(&[]).await;
    let row = host.done(&host.shell("echo hi; exit 7").await).await;
    assert_eq!(
        (row["status"].as_str(), &row["result"]["exit_code"]),
        (Some("completed"), &json!(7)),
        "{row}"
    );
    assert_eq!(row["result"]["stdout"], "hi\n");
    assert!(
        row["debug"]["started_at"].is_string() && row["debug"]["finished_at"].is_string(),
        "{row}"
    );
    let exit = daemon.stop().await;
    assert_eq!(
        exit.exit_code,
        Some(0),
        "{}",
        String::from_utf8_lossy(&exit.stderr.bytes)
    );
    assert_eq!(host.wire_status().await, "offline");
}

#[tokio::test]
async fn push_alone_and_poll_alone_bring_jobs_and_say_so() {
    for (settings, ingress) in [(PUSH_ONLY, "push"), (POLL_ONLY, "poll")] {
        let host = Host::new().await;
        let daemon = host.start(settings);
        daemon.ready().await;
        let row = host.done(&host.shell("true").await).await;
        assert_eq!(
            (row["status"].as_str(), row["debug"]["ingress"].as_str()),
            (Some("completed"), Some(ingress)),
            "{row}"
        );
        daemon.stop().await.exit_code.unwrap();
    }
}

#[tokio::test]
async fn a_duplicate_ends_with_a_reason() {
    let host = Host::new().await;
    let daemon = host.start_ready(&[]).await;
    let payload = json!({"resource_id": host.resource, "command": "sleep 1"});
    let key = json!({"idempotency_key": "once"});
    let mut ends = Vec::new();
    for id in [
        host.submit("shell_exec", payload.clone(), key.clone()).await,
        host.submit("shell_exec", payload, key).await,
    ] {
        let row = host.done(&id).await;
        ends.push((row["status"].as_str().unwrap().to_owned(), error(&row).to_owned()));
    }
    assert_eq!(ends[0].0, "completed");
    assert_eq!(
        ends[1],
        (
            "cancelled".to_owned(),
            "Duplicate gateway job idempotency key; skipping execution".to_owned()
        )
    );
    daemon.stop().await.exit_code.unwrap();
}

#[tokio::test]
async fn diagnostic_is_completed_without_any_provider() {
    let host = Host::new().await;
    let daemon = host.start_ready(&[]).await;
    let row = host.done(&host.submit("diagnostic", json!({}), json!({})).await).await;
    assert_eq!(
        (row["status"].as_str(), &row["error"]),
        (Some("completed"), &Value::Null),
        "{row}"
    );
    daemon.stop().await.exit_code.unwrap();
}

#[tokio::test]
async fn a_refused_result_is_shortened_or_failed_but_never_dropped() {
    for (limit, refusal) in [(60_000, 422), (1_000, 400)] {
        let (host, proxy) = Host::recorded().await;
        let daemon = host.start_ready(&[]).await;
        proxy.limit_results(limit, refusal);
        let row = host.done(&host.shell("yes | head -c 2000000").await).await;
        let status = row["status"].as_str().unwrap();
        assert_eq!(row["result"]["result_shortened"], true, "{refusal}");
        if limit > 1_000 {
            let kept = row["result"]["stdout"].as_str().unwrap().len();
            assert!(
                status == "completed" && kept > 10_000 && kept < limit,
                "{status} {kept}"
            );
            assert_eq!(row["result"]["stdout_truncated"], true);
        } else {
            assert_eq!(
                (status, error(&row)),
                ("failed", "The control plane refused the result of this job")
            );
            assert_eq!(row["result"]["original_status"], "completed");
        }
        eventually("nothing to report", || async {
            (daemon.status().await?.unreported_results == 0).then_some(())
        })
        .await;
        daemon.stop().await.exit_code.unwrap();
    }
}

#[tokio::test]
async fn a_cancel_row_needs_no_slot() {
    for settings in [PUSH_ONLY, POLL_ONLY] {
        let host = Host::new().await;
        let settings = [settings, &[("PANORAMA_GATEWAY_CONCURRENCY", "1")]].concat();
        let daemon = host.start_ready(&settings).await;
        let busy = host.shell("sleep 600").await;
        host.reaches(&busy, &["running"]).await;
        let cancel = host
            .submit("subagent_cancel", json!({"subagent_id": Uuid::new_v4()}), json!({}))
            .await;
        let row = host.done(&cancel).await;
        assert_eq!(
            (
                &row["status"],
                &row["result"]["cancel_result"],
                &row["result"]["status"]
            ),
            (&json!("completed"), &json!("no_active_run"), &json!("not_found"))
        );
        assert_eq!(host.row(&busy).await["status"], "running");
        host.cancel(&busy).await;
        daemon.stop().await.exit_code.unwrap();
    }
}
