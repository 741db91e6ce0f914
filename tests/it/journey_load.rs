//! A thousand jobs at once, each with an effect that can be counted outside the daemon.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::eventually::eventually;
use crate::support::sandbox::Sandbox;

const JOBS: usize = 1_000;

#[tokio::test]
async fn a_thousand_pushed_jobs_run_exactly_once_each() {
    let sandbox = Sandbox::new();
    sandbox.up().await;
    let operator: Value =
        serde_json::from_slice(&std::fs::read(sandbox.state_dir().join("operator.json")).unwrap()).unwrap();
    let status = sandbox.json(&["status", "--json"]).await;
    let resource = sandbox.resource_of(&sandbox.gateway_id().await).await;
    let file = sandbox.home().join("effects");
    let rows: Vec<Value> = (0..JOBS)
        .map(|number| {
            json!({
                "team_id": status["daemon"]["team_id"], "gateway_id": status["daemon"]["gateway_id"],
                "job_type": "shell_exec", "status": "queued",
                "payload": {"resource_id": resource, "command": format!("echo {number} >> {}", file.display())},
            })
        })
        .collect();
    gateway::backend::http::install_crypto();
    #[expect(clippy::disallowed_methods, reason = "a plain client plays the operator's program")]
    let client = reqwest::Client::new();
    let text = |key: &str| operator[key].as_str().unwrap();
    let answer = client
        .post(format!("{}/rest/v1/gateway_jobs", text("url")))
        .header("apikey", text("anon_key"))
        .bearer_auth(text("token"))
        .json(&rows)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 201, "{}", answer.text().await.unwrap());

    let count = |state: &'static str| {
        let request = client
            .head(format!(
                "{}/rest/v1/gateway_jobs?status=eq.{state}&select=id",
                text("url")
            ))
            .header("apikey", text("anon_key"))
            .header("prefer", "count=exact")
            .bearer_auth(text("token"));
        async move {
            let answer = request.send().await.unwrap();
            let range = answer.headers()["content-range"].to_str().unwrap().to_owned();
            range.rsplit('/').next().unwrap().parse::<usize>().unwrap()
        }
    };
    eventually("every job is final", || async {
        (count("completed").await == JOBS).then_some(())
    })
    .await;
    let mut effects = BTreeMap::new();
    for line in std::fs::read_to_string(&file).unwrap().lines() {
        *effects.entry(line.to_owned()).or_insert(0) += 1;
    }
    assert_eq!(effects.len(), JOBS);
    assert!(effects.values().all(|times| *times == 1), "some job ran twice");
}
