//! `gateway job cancel` on a turn of a subagent: its run ends with it.

use nix::sys::signal::{Signal, kill};
use serde_json::{Value, json};

use crate::support::eventually::eventually;
use crate::support::fake_agent::script;
use crate::support::process_list;
use crate::support::sandbox::Sandbox;

const HELP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/providers/codex/help.txt");

/// Control plane, daemon, and a Codex that answers nobody.
async fn stage() -> Sandbox {
    let mut sandbox = Sandbox::new();
    let body = format!(
        r#"case "$*" in --version) echo codex-cli 0.169.0; exit;; *--help*) cat '{HELP}'; exit;; esac
        cat >/dev/null
        echo '{{"type":"thread.started","thread_id":"01a1fbb6-0000-7000-8000-000000000000"}}'
        echo >"${{0%/*}}/begun"
        exec sleep 600"#
    );
    let agent = script(sandbox.home(), &body);
    sandbox.set_env("PANORAMA_CODEX_CLI", &agent);
    sandbox.run(&["up", "--detach"]).await.ok();
    sandbox
}

async fn job(sandbox: &Sandbox) -> Value {
    eventually("the job", || async {
        let jobs = sandbox.get("/rest/v1/gateway_jobs?job_type=eq.subagent_run").await;
        jobs.get(0).cloned()
    })
    .await
}

async fn states(sandbox: &Sandbox) -> [Value; 2] {
    let run = sandbox.get("/rest/v1/subagent_runs").await[0].clone();
    let subagent = sandbox.get("/rest/v1/subagents").await[0].clone();
    [run, subagent]
}

#[tokio::test]
async fn a_queued_turn_is_taken_back_whole() {
    let sandbox = stage().await;
    let daemon = sandbox.daemon_pid().await;
    kill(daemon, Signal::SIGSTOP).unwrap();
    let mut run = sandbox.start(&["run", "--provider", "codex", "hi"]);
    let id = job(&sandbox).await["id"].as_str().unwrap().to_owned();
    sandbox.run(&["job", "cancel", &id]).await.ok();
    kill(daemon, Signal::SIGCONT).unwrap();
    assert_eq!(job(&sandbox).await["status"], "cancelled");
    for row in states(&sandbox).await {
        assert_eq!(
            (&row["status"], &row["error"]),
            (&json!("cancelled"), &json!("Cancelled by the operator")),
            "{row}"
        );
    }
    assert_eq!(run.wait().await.unwrap().code(), Some(1));
    let again = sandbox.run(&["job", "cancel", &id]).await.exits(1);
    assert!(again.stderr.contains("The job is cancelled already."), "{again:?}");
}

#[tokio::test]
async fn a_turn_at_work_is_ended_by_its_gateway() {
    let sandbox = stage().await;
    let mut run = sandbox.start(&["run", "--provider", "codex", "hi"]);
    let begun = sandbox.home().join("begun");
    eventually("the agent", || async { begun.exists().then_some(()) }).await;
    let id = job(&sandbox).await["id"].as_str().unwrap().to_owned();
    let said = sandbox.json(&["job", "cancel", &id, "--json"]).await;
    assert_eq!(
        said,
        json!({"id": id, "status": "completed", "run_status": "cancelled"})
    );
    for row in states(&sandbox).await {
        assert_eq!(
            (&row["status"], &row["error"], &row["metadata"]["cancel_state"]),
            (
                &json!("cancelled"),
                &json!("Cancelled by the operator"),
                &json!("acknowledged")
            ),
            "{row}"
        );
    }
    assert_eq!(process_list::with_variable(&format!("GATEWAY_JOB_ID={id}")), []);
    assert_eq!(run.wait().await.unwrap().code(), Some(1));
    let again = sandbox.run(&["job", "cancel", &id]).await.exits(1);
    assert!(again.stderr.contains("The job is completed already."), "{again:?}");
}
