//! Through a real daemon, with a program that says it is Codex.

use serde_json::json;

use super::text;
use crate::support::daemon::Host;
use crate::support::eventually::eventually;
use crate::support::fake_agent::script;

const HELP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/providers/codex/help.txt");

fn codex(dir: &std::path::Path, then: &str) -> String {
    let body = format!(
        r#"case "$*" in --version) echo codex-cli 0.169.0; exit;; *--help*) cat '{HELP}'; exit;; esac
        cat >/dev/null; echo begun >"${{0%/*}}/begun"
        echo '{{"type":"thread.started","thread_id":"01a1fbb6-0000-7000-8000-000000000000"}}'; {then}
        echo '{{"type":"item.completed","item":{{"id":"i","type":"agent_message","text":"hello"}}}}'
        echo '{{"type":"turn.completed","usage":{{"input_tokens":3}}}}'"#
    );
    script(dir, &body)
}

#[tokio::test]
async fn a_model_run_reaches_its_agent_and_comes_back() {
    let (host, home) = (Host::new().await, tempfile::tempdir().unwrap());
    let daemon = host
        .start_ready(&[("PANORAMA_CODEX_CLI", &codex(home.path(), ""))])
        .await;
    let row = host.done(&host.submit("model_run", text("p"), json!({})).await).await;
    assert_eq!(
        (&row["status"], &row["result"]["output"]),
        (&json!("completed"), &json!({"text": "hello"})),
        "{row}"
    );
    assert_eq!(
        (&row["result"]["usage"]["input_tokens"], &row["result"]["exit_code"]),
        (&json!(3), &json!(0))
    );
    let debug = &row["debug"];
    assert_eq!(
        (&debug["provider_id"], &debug["timed_out"]),
        (&json!("codex"), &json!(false)),
        "{row}"
    );
    assert!(debug["finished_at"].is_string() && debug["stdout"].as_str().unwrap().contains("hello"));
    assert_eq!(daemon.stop().await.exit_code, Some(0));
}

#[tokio::test]
async fn a_model_run_cancelled_on_the_control_plane_ends() {
    let (host, home) = (Host::new().await, tempfile::tempdir().unwrap());
    let agent = codex(home.path(), "exec sleep 600");
    let daemon = host.start_ready(&[("PANORAMA_CODEX_CLI", &agent)]).await;
    let id = host.submit("model_run", text("p"), json!({})).await;
    eventually("the agent", || async {
        home.path().join("begun").exists().then_some(())
    })
    .await;
    host.cancel(&id).await;
    eventually("no job to run", || async {
        (daemon.status().await?.running_jobs == 0).then_some(())
    })
    .await;
    let mark = format!("GATEWAY_JOB_ID={id}");
    assert_eq!(crate::support::process_list::with_variable(&mark), []);
    assert_eq!(host.row(&id).await["status"], "cancelled");
    assert_eq!(daemon.stop().await.exit_code, Some(0));
}
