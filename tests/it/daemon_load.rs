//! Many jobs at once: each runs once, whatever way it comes.

use serde_json::json;

use crate::support::daemon::Host;
use crate::support::eventually::eventually;

const JOBS: usize = 300;

/// Ids that the jobs' commands wrote, sorted.
fn written(host: &Host) -> Vec<String> {
    let text = std::fs::read_to_string(host.state.path().join("ran")).unwrap_or_default();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

async fn insert_many(host: &Host, from: usize) {
    let rows: Vec<_> = (from..from + JOBS)
        .map(|n| {
            let command = format!("echo {n:04} >> {}", host.state.path().join("ran").display());
            json!({
                "team_id": host.paired.team_id, "gateway_id": host.paired.gateway_id, "job_type": "shell_exec",
                "payload": {"resource_id": host.resource, "command": command},
            })
        })
        .collect();
    let (status, body) = host
        .plane
        .post("/rest/v1/gateway_jobs", &host.operator, &json!(rows))
        .await;
    assert_eq!(status, 201, "{body}");
}

#[tokio::test]
async fn every_job_runs_once_pushed_or_found() {
    let host = Host::new().await;
    insert_many(&host, 0).await;
    let daemon = host.start_ready(&[]).await;
    insert_many(&host, JOBS).await;
    let path = "/rest/v1/gateway_jobs?select=status&status=neq.completed&limit=1";
    eventually("every job to be completed", || async {
        let (_, rows) = host.plane.get(path, &host.operator).await;
        rows.as_array().is_some_and(Vec::is_empty).then_some(())
    })
    .await;
    let expected: Vec<String> = (0..2 * JOBS).map(|n| format!("{n:04}")).collect();
    assert_eq!(written(&host), expected);
    eventually("everything to be reported", || async {
        let status = daemon.status().await?;
        (status.running_jobs + status.queued_jobs + status.unreported_results == 0).then_some(())
    })
    .await;
    assert_eq!(daemon.stop().await.exit_code, Some(0));
}
